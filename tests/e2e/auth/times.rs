//! Times, issuers and audiences that are none, and claims that stand twice.

use harness::{
    World,
    tokens::{AUDIENCE, ISSUER, Key, seconds_from_now},
};
use serde_json::{Value, json};

use super::{ask_with, claims_with, try_all};

/// A millisecond clock's idea of now.
fn milliseconds() -> i64 {
    seconds_from_now(0) * 1000
}

fn with_claims(changes: Value) -> String {
    Key::shared().token(&claims_with(changes))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_odd_types_and_sizes() {
    let world = World::start().await;
    world.org("acme").await;
    let soon = seconds_from_now(600);
    let refused = [
        ("exp: missing", json!({"exp": null})),
        ("exp: text", json!({"exp": soon.to_string()})),
        ("exp: a list", json!({"exp": [soon]})),
        ("exp: true", json!({"exp": true})),
        ("exp: -1", json!({"exp": -1})),
        ("exp: in milliseconds", json!({"exp": milliseconds()})),
        ("exp: 2^64 - 1", json!({"exp": u64::MAX})),
        ("exp: 1e300", json!({"exp": 1e300})),
        ("nbf: not yet", json!({"nbf": seconds_from_now(600)})),
        (
            "nbf: text",
            json!({"nbf": seconds_from_now(-600).to_string()}),
        ),
        ("nbf: -1", json!({"nbf": -1})),
        ("nbf: 1e300", json!({"nbf": 1e300})),
        ("iat: in an hour", json!({"iat": seconds_from_now(3600)})),
        ("iat: in milliseconds", json!({"iat": milliseconds()})),
        ("iat: text", json!({"iat": seconds_from_now(0).to_string()})),
        ("iat: -1", json!({"iat": -1})),
        ("iss: another", json!({"iss": "https://evil.example"})),
        (
            "iss: a list with the right one in it",
            json!({"iss": ["https://evil.example", ISSUER]}),
        ),
        ("iss: missing", json!({"iss": null})),
        ("iss: a number", json!({"iss": 7})),
        ("aud: another", json!({"aud": "another-service"})),
        ("aud: missing", json!({"aud": null})),
        ("aud: an object", json!({"aud": {AUDIENCE: true}})),
        (
            "aud: a list of more than text",
            json!({"aud": [AUDIENCE, 7]}),
        ),
        (
            "orgs: roles that are no text",
            json!({"orgs": {"acme": {"role": "owner"}}}),
        ),
    ];
    let refused = refused.map(|(what, claims)| (what.to_owned(), with_claims(claims)));
    try_all(&world, refused.into()).await;

    #[allow(clippy::cast_precision_loss, reason = "no token is that old")]
    let in_parts = |seconds: i64| seconds_from_now(seconds) as f64 + 0.25;
    for claims in [
        json!({"exp": in_parts(600), "nbf": in_parts(-600), "iat": in_parts(-600)}),
        json!({"exp": 253_402_300_799_i64}),
        json!({"iat": seconds_from_now(0), "nbf": seconds_from_now(0)}),
        json!({"iat": seconds_from_now(5)}),
        json!({"iat": 0, "nbf": 0}),
    ] {
        let answer = ask_with(&world, &with_claims(claims.clone())).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text);
    }
}

/// Of two claims of one name, one program could read the first and another the last (RFC 7519 §4).
#[tokio::test(flavor = "multi_thread")]
async fn claims_that_stand_twice() {
    let world = World::start().await;
    world.org("acme").await;
    let good =
        claims_with(json!({"sub": "kim", "org_id": "acme", "role": "owner", "nbf": 0, "iat": 0}));
    let good = good.to_string();
    let token = |claims: &str| Key::shared().token_of(r#"{"alg":"HS256"}"#, claims);
    ask_with(&world, &token(&good)).await.expect(200);
    let mut twice: Vec<_> = [
        ("exp", "9999999999"),
        ("nbf", "0"),
        ("iat", "0"),
        ("iss", "\"https://evil.example\""),
        ("aud", "\"another-service\""),
        ("sub", "\"lee\""),
        ("org_id", "\"beta\""),
        ("role", "\"member\""),
        ("scope", "\"\""),
        ("orgs", "{}"),
        // The same name, spelled otherwise.
        (r"\u0065xp", "9999999999"),
    ]
    .map(|(name, value)| {
        let more = format!(",\"{name}\":{value}}}");
        (
            format!("{name}: twice"),
            good[..good.len() - 1].to_owned() + &more,
        )
    })
    .into();
    twice.push((
        "orgs: one organisation with two roles".into(),
        good.replace(r#""acme":"owner""#, r#""acme":"member","acme":"owner""#),
    ));
    assert_ne!(twice.last().unwrap().1, good);
    let tokens = twice
        .iter()
        .map(|(what, claims)| (what.clone(), token(claims)));
    try_all(&world, tokens.collect()).await;
}
