//! What a token's header demands, and how long a token may be.

use harness::{
    World, attacks,
    tokens::{Key, member_of},
};
use serde_json::{Value, json};

use super::{all_claims, ask_with, claims_with, try_all, unauthorized};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 48 * 1024;

fn with_header(more: Value) -> String {
    let mut header = json!({"typ": "JWT", "alg": "HS256"});
    for (name, value) in more.as_object().unwrap() {
        header[name] = value.clone();
    }
    Key::shared().token_with(&header, &all_claims())
}

/// Whoever demands that an extension is understood wants the token refused where it is not (RFC 7515
/// §4.1.11). Whatever else stands in a header is not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn demands_that_are_not_known_are_refused() {
    let world = World::start().await;
    world.org("acme").await;
    let deep = format!(
        r#"{{"alg": "HS256", "x": {}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let tokens = [
        (
            "crit: an unknown extension",
            json!({"crit": ["https://acme.example/ext"], "https://acme.example/ext": 1}),
        ),
        (
            "crit: exp, which is no extension",
            json!({"crit": ["exp"], "exp": 1}),
        ),
        ("crit: an empty list", json!({"crit": []})),
        ("crit: no list", json!({"crit": "exp"})),
        (
            "b64: false, demanded by crit",
            json!({"crit": ["b64"], "b64": false}),
        ),
        ("b64: false, in silence", json!({"b64": false})),
    ];
    let mut tokens: Vec<_> = tokens
        .into_iter()
        .map(|(what, header)| (what.to_owned(), with_header(header)))
        .collect();
    tokens.push((
        "a header nested 10,000 deep".into(),
        Key::shared().token_of(&deep, all_claims().to_string()),
    ));
    tokens.push((
        "a header that names two algorithms".into(),
        Key::shared().token_of(
            r#"{"alg": "HS256", "alg": "none"}"#,
            all_claims().to_string(),
        ),
    ));
    try_all(&world, tokens).await;
    for header in [
        json!({"typ": "at+jwt"}),
        json!({"cty": "json", "x5t": "AAAA", "custom": {"of": ["the", "vendor"]}}),
        json!({"kid": "any"}),
    ] {
        ask_with(&world, &with_header(header)).await.expect(200);
    }
}

/// A good token that is as long as can be and no longer than this.
fn as_long_as(bytes: usize) -> String {
    let token =
        |padding: usize| Key::shared().token(&claims_with(json!({"padding": "x".repeat(padding)})));
    let padding = (bytes - token(0).len()) / 4 * 3;
    let mut longest = (padding..padding + 4)
        .map(token)
        .filter(|token| token.len() <= bytes);
    longest.next_back().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_too_long_is_not_looked_at() {
    let world = World::start().await;
    world.org("acme").await;
    let longest = as_long_as(LONGEST);
    assert!(longest.len() + 3 > LONGEST);
    ask_with(&world, &longest).await.expect(200);
    let orgs: serde_json::Map<_, _> = (0..999)
        .map(|n| (format!("an-organisation-{n:03}"), json!("member")))
        .chain([("acme".to_owned(), json!("owner"))])
        .collect();
    let of_a_thousand = Key::shared().token(&claims_with(json!({"orgs": orgs})));
    ask_with(&world, &of_a_thousand).await.expect(200);

    let too_long = as_long_as(LONGEST + 4);
    assert!(too_long.len() > LONGEST);
    try_all(
        &world,
        vec![
            ("a good token of 48 KiB and a byte".into(), too_long),
            ("60 KiB of dots".into(), ".".repeat(60 * 1024)),
            ("60 KiB of nothing".into(), "A".repeat(60 * 1024)),
        ],
    )
    .await;
    let answer = ask_with(&world, &as_long_as(70 * 1024)).await;
    answer.expect_error(431, "headers_too_large");
    attacks::record(
        "forged or misused token",
        "a good token of 70 KiB",
        "431, as any head of more than 64 KiB",
    );
    unauthorized(
        &ask_with(&world, &member_of("acme", "owner")[1..]).await,
        "cut",
    );
}
