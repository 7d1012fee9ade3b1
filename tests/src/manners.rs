//! What holds for every answer of the API, whatever was asked.

use crate::api::Answer;

/// On the admin listener, which is not for the public.
const ADMIN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Headers that every answer has.
const ALWAYS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];
/// What stands in traces, queries, paths and errors of libraries, in lower case, and in no sentence for
/// a client.
const INSIDE: [&str; 22] = [
    "panicked",
    "backtrace",
    ".rs",
    "src/",
    "/usr/",
    "/tmp/",
    "/home/",
    "select ",
    "insert into",
    "from export_",
    "update export_",
    "relation \"",
    "constraint",
    "sqlstate",
    "postgres",
    "deadpool",
    "tokio",
    "lapin",
    "amqp",
    "hyper",
    "os error",
    "127.0.0.1",
];

/// Fails where an answer lacks a header that it must have, says by what it was made, lets other origins
/// read it, or tells what is inside.
#[track_caller]
pub(crate) fn check(path: &str, answer: &Answer) {
    if ADMIN_PATHS.contains(&path) {
        return;
    }
    for (name, value) in ALWAYS {
        assert_eq!(answer.header(name), value, "{name}: {answer:?}");
    }
    assert!(!answer.header("x-request-id").is_empty(), "{answer:?}");
    for name in answer.headers.keys().map(|name| name.as_str()) {
        let told = name == "server"
            || name.starts_with("x-powered")
            || name.starts_with("access-control-");
        assert!(!told, "{name}: {answer:?}");
    }
    if answer.status >= 400
        && let Some(inside) = inside(&answer.text)
    {
        panic!("{inside:?} is in {}", answer.text);
    }
}

fn inside(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    INSIDE.into_iter().find(|inside| text.contains(inside))
}

#[test]
fn what_is_inside_is_found() {
    for text in [
        "thread 'tokio-runtime-worker' panicked at api/src/routes/runs.rs:7:1",
        "error returned from database: relation \"export_runs\" does not exist",
        "SELECT id FROM orgs",
        "error connecting to server: Connection refused (os error 111)",
    ] {
        assert!(inside(text).is_some(), "{text}");
    }
    let sentence = "the database cannot be reached at the moment; try again soon";
    assert_eq!(inside(sentence), None);
}
