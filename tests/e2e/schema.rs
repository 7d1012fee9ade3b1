//! The API against its own OpenAPI document, by schemathesis, which nobody here wrote: each operation
//! with all that the document allows and with what it does not, and every answer against what the
//! document says of it.

mod report;
mod strict;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use harness::{World, attacks, report as figures, tokens, tool};
use report::Report;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

/// How long a run may take: more than five times what it takes.
const TIME: Duration = Duration::from_secs(300);
const SETTINGS: &str = include_str!("schema/schemathesis.toml");
const HOOKS: &str = include_str!("schema/hooks.py");

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_to_its_document() {
    let world = World::start().await;
    world.start_worker();
    world.org("acme").await;
    let (ready, _customer) = world.active_org("ready").await;
    ready.ingest(&harness::events::events(71, 10)).await;
    let run = ready.export_now().await;

    let document = world.api.ask("GET", "/openapi.json").send().await.json();
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("openapi.json", &strict::of(&document).to_string());
    write("schemathesis.toml", SETTINGS);
    write("hooks.py", HOOKS);
    let token = tokens::Key::shared().token(&tokens::claims(json!({
        "sub": "schemathesis",
        "scope": "orgs:write audit-events:write",
        "orgs": {"acme": "admin", "ready": "admin"},
    })));
    let environment = [
        ("TOKEN", token),
        ("RUN", run["id"].as_str().unwrap().to_owned()),
    ];
    let (path, address) = (dir.path().to_owned(), world.api.address().to_owned());
    let running = spawn_blocking(move || schemathesis(&path, &address, &environment));
    let (passed, printed) = running.await.unwrap();
    assert!(passed, "{printed}");

    let lines = fs::read_to_string(dir.path().join("report.ndjson")).unwrap();
    let report = Report::read(&lines);
    report.must_cover(&document);
    figures::write("schema", &report.figures(&document));
    let (good, bad) = report.cases();
    attacks::record(
        "requests that the document does not allow",
        &format!("{bad} by schemathesis, beside {good} good ones, to every operation"),
        "each, as the document says",
    );
}

/// Whether it found nothing, and what it printed.
fn schemathesis(dir: &Path, address: &str, environment: &[(&str, String)]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command
        .arg(TIME.as_secs().to_string())
        .arg(tool("schemathesis"))
        .args(["--config-file", "schemathesis.toml", "run", "openapi.json"])
        .args(["--url", &format!("http://{address}"), "--checks", "all"])
        .args([
            "--report",
            "ndjson",
            "--report-ndjson-path",
            "report.ndjson",
        ])
        .arg("--no-color")
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null());
    for name in ["PATH", "AUDIT_EXPORT_TEST_RUN"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    for (name, value) in environment {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    (output.status.success(), printed)
}
