//! Tokens that somebody has made up or changed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use harness::{
    World,
    tokens::{Key, SECRET, member_of},
};
use serde_json::{Value, json};

use super::{all_claims, ask_with, claims_with, key_server::KeyServer, unauthorized};

fn b64(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signature_is_no_signature() {
    let key = Key::rs256("r");
    let server = KeyServer::start(&[&key]).await;
    let world = server.world(true).await;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
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
}

/// The classic: what is public about an RSA key, taken for a shared secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_not_a_secret() {
    let key = Key::rs256("r");
    let server = KeyServer::start(&[&key]).await;
    let pem = key.public_pem();
    let jwk = key.jwk();
    let secrets = [
        pem.trim_end().to_owned(),
        pem,
        jwk.to_string(),
        jwk["n"].as_str().unwrap().to_owned(),
    ];
    for with_secret in [true, false] {
        let world = server.world(with_secret).await;
        ask_with(&world, &key.token(&all_claims()))
            .await
            .expect(200);
        for secret in &secrets {
            let forger = Key::secret(secret);
            for header in [json!({"alg": "HS256", "kid": "r"}), json!({"alg": "HS256"})] {
                let token = forger.token_with(&header, &all_claims());
                unauthorized(&ask_with(&world, &token).await, "HS256 with the public key");
            }
            let header = json!({"alg": "RS256", "kid": "r"});
            let token = forger.token_with(&header, &all_claims());
            unauthorized(&ask_with(&world, &token).await, "RS256 with an HMAC");
        }
    }
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
        unauthorized(&ask().header("authorization", header).send().await, header);
    }
    let two = ask().token(&good).token(&good).send().await;
    unauthorized(&two, "two tokens");
    let in_query = format!("/orgs/acme/audit-export/runs?access_token={good}");
    unauthorized(
        &world.api.ask("GET", &in_query).send().await,
        "a token in the query",
    );
    ask()
        .header("authorization", &format!("bearer {good}"))
        .send()
        .await
        .expect(200);
}
