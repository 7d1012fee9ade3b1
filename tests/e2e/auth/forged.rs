//! Tokens that somebody has made up or changed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use harness::{
    World, attacks,
    tokens::{Key, SECRET, member_of},
};
use serde_json::{Value, json};

use super::{
    all_claims, ask_with, asked_for_a_token, claims_with, key_server::KeyServer, unauthorized,
};

fn b64(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signature_is_no_signature() {
    let key = Key::rs256("r");
    let server = KeyServer::start(&[&key]).await;
    let world = server.world(true).await;
    for alg in ["none", "None", "NONE", "nOnE", "none ", ""] {
        for kid in [None, Some("r")] {
            let mut header = json!({"typ": "JWT", "alg": alg});
            header["kid"] = json!(kid);
            let unsigned = format!("{}.{}.", b64(&header), b64(&all_claims()));
            unauthorized(&ask_with(&world, &unsigned).await, alg);
            unauthorized(&ask_with(&world, unsigned.trim_end_matches('.')).await, alg);
            let signed = Key::shared().token_with(&header, &all_claims());
            unauthorized(&ask_with(&world, &signed).await, alg);
        }
    }
    for key in [&Key::shared(), &key] {
        let token = key.token(&all_claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        unauthorized(
            &ask_with(&world, &format!("{message}.")).await,
            "no signature",
        );
        let shorter = &signature[..signature.len() - 4];
        unauthorized(
            &ask_with(&world, &format!("{message}.{shorter}")).await,
            "a shorter one",
        );
    }
    attacks::record(
        "forged or misused token",
        "alg none, in every spelling, or no signature, or half of it",
        "401",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_is_not_what_was_signed() {
    let (rsa, ec, ed) = (Key::rs256("r"), Key::es256("e"), Key::eddsa("d"));
    let server = KeyServer::start(&[&rsa, &ec, &ed]).await;
    let world = server.world(true).await;
    for key in [Key::shared(), rsa, ec, ed] {
        let member = key.token(&claims_with(json!({"orgs": {"acme": "member"}})));
        ask_with(&world, &member)
            .await
            .expect_error(403, "forbidden");
        let parts: Vec<_> = member.split('.').collect();
        let owner = b64(&all_claims());
        let promoted = format!("{}.{owner}.{}", parts[0], parts[2]);
        unauthorized(
            &ask_with(&world, &promoted).await,
            "a member who would be an owner",
        );
    }
    attacks::record(
        "forged or misused token",
        "other claims under a good signature, of each algorithm",
        "401, the token's signature is wrong",
    );
}

/// A token cannot bring its own key along.
#[tokio::test(flavor = "multi_thread")]
async fn the_header_does_not_choose_the_key() {
    let (ours, theirs) = (Key::rs256("r"), Key::rs256("r"));
    let server = KeyServer::start(&[&ours]).await;
    let other_server = KeyServer::start(&[&theirs]).await;
    let world = server.world(true).await;
    let elsewhere = other_server.url();
    for header in [
        json!({"alg": "RS256", "jwk": theirs.jwk()}),
        json!({"alg": "RS256", "kid": "r", "jwk": theirs.jwk()}),
        json!({"alg": "RS256", "kid": "r", "jku": elsewhere}),
        json!({"alg": "RS256", "kid": elsewhere}),
        json!({"alg": "RS256", "kid": "r", "x5u": elsewhere}),
        json!({"alg": "RS256", "kid": "../keys"}),
        json!({"alg": "RS256", "kid": ""}),
    ] {
        let token = theirs.token_with(&header, &all_claims());
        unauthorized(&ask_with(&world, &token).await, &header.to_string());
    }
    assert_eq!(other_server.fetches(), 0);
    attacks::record(
        "forged or misused token",
        "a header that brings its key along (jwk), or points to it (jku, x5u, kid)",
        "401, and nothing is fetched",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_secrets_and_other_forms() {
    let world = World::start().await;
    world.org("acme").await;
    let good = member_of("acme", "owner");
    ask_with(&world, &good).await.expect(200);
    for secret in ["", "x", &SECRET[1..], &format!("{SECRET} ")] {
        let token = Key::secret(secret).token(&all_claims());
        unauthorized(&ask_with(&world, &token).await, secret);
    }
    // Without a key set, nothing but the secret counts; and that for HS256 alone.
    for key in [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")] {
        unauthorized(
            &ask_with(&world, &key.token(&all_claims())).await,
            "no key set",
        );
    }
    for alg in [
        "HS384", "HS512", "RS256", "RS512", "PS256", "ES384", "EdDSA",
    ] {
        let token = Key::shared().token_with(&json!({"alg": alg}), &all_claims());
        unauthorized(&ask_with(&world, &token).await, alg);
    }
    for header in [
        json!({}),
        json!([]),
        json!("HS256"),
        json!({"alg": 256}),
        json!({"alg": null}),
    ] {
        let token = Key::shared().token_with(&header, &all_claims());
        unauthorized(&ask_with(&world, &token).await, &header.to_string());
    }
    for text in [
        "a",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        &format!("{good}.x"),
        &format!("{good}="),
    ] {
        unauthorized(&ask_with(&world, text).await, text);
    }
    for claims in [json!([]), json!("x"), json!(null), json!({})] {
        let token = Key::shared().token(&claims);
        unauthorized(&ask_with(&world, &token).await, &claims.to_string());
    }

    let ask = || world.api.ask("GET", "/orgs/acme/audit-export/runs");
    for header in [
        "Basic YTpi",
        "Bearer",
        &good,
        &format!("Token {good}"),
        &format!("Bearer{good}"),
    ] {
        asked_for_a_token(&ask().header("authorization", header).send().await, header);
    }
    let two = ask().token(&good).token(&good).send().await;
    asked_for_a_token(&two, "two tokens");
    let in_query = format!("/orgs/acme/audit-export/runs?access_token={good}");
    asked_for_a_token(
        &world.api.ask("GET", &in_query).send().await,
        "a token in the query",
    );
    asked_for_a_token(&ask().send().await, "no token");
    attacks::record(
        "forged or misused token",
        "no token, two, one in the query, another scheme",
        "401, asked for a token",
    );
    ask()
        .header("authorization", &format!("bearer {good}"))
        .send()
        .await
        .expect(200);
}
