//! What `deploy/SECURITY.md` says: that the tests that it names are there, and that the rights that it
//! lists are enough.

use std::{collections::BTreeSet, fs, path::Path};

use common::queue::topology::EXPORT;
use harness::{
    World,
    events::events,
    process::free_port,
    project::{files, root},
};
use lapin::BasicProperties;
use serde_json::json;

const DOCUMENT: &str = include_str!("../../deploy/SECURITY.md");
/// Where tests are, and what their names begin with.
const TESTS: [(&str, &str); 6] = [
    ("tests/e2e", ""),
    ("tests/faults", "faults::"),
    ("tests/src", "harness::"),
    ("api/src", "api::"),
    ("common/src", "common::"),
    ("exporter/src", "exporter::"),
];

#[test]
fn every_test_that_is_named_exists() {
    let tests = all_tests();
    assert!(tests.len() > 300, "{}", tests.len());
    let quoted = DOCUMENT.split('`').skip(1).step_by(2);
    let named: Vec<_> = quoted.filter(|text| text.contains("::")).collect();
    assert!(named.len() > 30, "{named:?}");
    let gone: Vec<_> = named
        .into_iter()
        .filter(|name| !tests.contains(*name))
        .collect();
    assert!(gone.is_empty(), "SECURITY.md names no tests: {gone:#?}");
}

/// The names of all tests of the project, as `cargo test` shows them, behind that of the crate.
fn all_tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (dir, prefix) in TESTS {
        let dir = root().join(dir);
        for file in files(&dir, &|name| name.ends_with(".rs")) {
            let module = module_of(file.strip_prefix(&dir).unwrap());
            let code = fs::read_to_string(&file).unwrap();
            let names = tests_in(&code);
            tests.extend(names.map(|name| format!("{prefix}{module}{name}")));
        }
    }
    tests
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b::`; what lies in the crate's root has none.
fn module_of(file: &Path) -> String {
    let path = file.with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap());
    let parts = parts.filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(|part| format!("{part}::")).collect()
}

/// The functions that stand under an attribute of a test; those of an inner module go by its name.
fn tests_in(code: &str) -> impl Iterator<Item = String> {
    let mut inner = "";
    let mut is_test = false;
    code.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line == "mod tests {" {
            inner = "tests::";
        }
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let function = line.trim_start_matches("async ").strip_prefix("fn ")?;
        let (name, _) = function.split_once('(')?;
        std::mem::take(&mut is_test).then(|| format!("{inner}{name}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_need_no_more_rights_in_rabbitmq_than_written() {
    let address = format!("127.0.0.1:{}", free_port());
    let world = World::start_without_api(format!("http://{address}")).await;
    let url = world.broker.add_user_with("secret", written_rights()).await;
    let settings = [
        ("AMQP_URL", url.as_str()),
        ("AUDIT_EXPORT_LISTEN", &address),
    ];
    let (_api, _) = world.spawn_api(&settings).await;
    world.start_worker_with(|config| config.amqp_url = url.clone().into());

    let (acme, customer) = world.active_org("acme").await;
    let sent = events(91, 10);
    acme.ingest(&sent).await;
    acme.wait_until_delivered(&customer, 10).await;
    customer.bucket().must_hold("acme", &sent);

    let program = world.broker.connect().await;
    let (queue, mut answers) = program.private_queue().await;
    let run = "0198c0de-0000-7000-8000-000000000001";
    let job = json!({"type": "export", "version": 1, "orgId": "acme", "runId": run});
    let properties = BasicProperties::default().with_reply_to(queue.as_str().into());
    program
        .publish(EXPORT.routing_key, job.to_string().as_bytes(), properties)
        .await;
    assert_eq!(answers.next().await.body["runId"], run);
}

/// The row of the services: what they may configure, write and read.
fn written_rights() -> [String; 3] {
    let row = DOCUMENT
        .lines()
        .find(|line| line.starts_with("| the services | `"));
    let rights = row
        .expect("the row of the services")
        .replace("\\|", "\u{0}");
    let rights: Vec<_> = rights.split('`').skip(1).step_by(2).collect();
    let rights = rights.iter().map(|right| right.replace('\u{0}', "|"));
    rights.collect::<Vec<_>>().try_into().expect("three rights")
}
