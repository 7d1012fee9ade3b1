//! Which tokens are good, and what they allow, through HTTP.

mod claims;
mod forged;
mod key_server;
mod keys;

use harness::{World, api::Answer};
use serde_json::{Value, json};

/// Claims of an owner of `acme` and of the vendor's platform at once.
fn all_claims() -> Value {
    claims_with(json!({}))
}

/// The same with some added or replaced; null takes one away.
fn claims_with(changes: Value) -> Value {
    let mut all = json!({"orgs": {"acme": "owner"}, "scope": "orgs:write audit-events:write"});
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    harness::tokens::claims(all)
}

/// Asks for something of acme's that an owner may see.
async fn ask_with(world: &World, token: &str) -> Answer {
    world
        .api
        .ask("GET", "/orgs/acme/audit-export/runs")
        .token(token)
        .send()
        .await
}

#[track_caller]
fn unauthorized(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    answer.expect_error(401, "unauthorized");
    assert!(
        answer.header("www-authenticate").starts_with("Bearer "),
        "{what}: {answer:?}"
    );
}
