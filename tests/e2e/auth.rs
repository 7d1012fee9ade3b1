//! Which tokens are good, and what they allow, through HTTP.

mod algorithms;
mod claims;
mod forged;
mod headers;
mod hostile;
pub(crate) mod key_server;
mod keys;
mod times;

use harness::{World, api::Answer, attacks};
use serde_json::{Value, json};

/// What every refusal begins its challenge with.
const REALM: &str = "Bearer realm=\"audit-export\"";

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

/// Checks that a token was sent and called invalid, with the reason where clients look for it
/// (RFC 6750 §3).
#[track_caller]
fn unauthorized(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    let body = answer.expect_error(401, "unauthorized");
    let reason = body["error"].as_str().unwrap();
    assert_eq!(
        answer.header("www-authenticate"),
        format!("{REALM}, error=\"invalid_token\", error_description=\"{reason}\""),
        "{what}"
    );
    let plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    assert!(reason.chars().all(plain), "{what}: {reason}");
}

/// Checks that a token is asked for: none was sent, or not as tokens are.
#[track_caller]
fn asked_for_a_token(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    answer.expect_error(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), REALM, "{what}");
}

/// Tries tokens that are to be refused, and puts a row into the table of attacks for each.
async fn try_all(world: &World, tokens: Vec<(String, String)>) {
    for (what, token) in tokens {
        let answer = ask_with(world, &token).await;
        unauthorized(&answer, &what);
        attacks::record("forged or misused token", &what, &reason(&answer));
    }
}

/// Why a token was refused, as the table of attacks tells it.
fn reason(answer: &Answer) -> String {
    let reason = answer.json()["error"].as_str().unwrap().to_owned();
    format!("401, {reason}")
}
