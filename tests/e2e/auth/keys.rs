//! Tokens signed with the identity provider's keys, which may rotate, and may be away.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use harness::{World, attacks, eventually, tokens::Key};
use serde_json::json;

use super::{all_claims, ask_with, key_server::KeyServer, try_all, unauthorized};

/// How long the API waits after a fetch before an unknown key may cause another.
const BETWEEN_FETCHES: Duration = Duration::from_secs(10);

async fn answers(world: &World, token: &str, status: u16) -> Option<()> {
    (ask_with(world, token).await.status == status).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_algorithms_and_the_secret_beside_them() {
    let keys = [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")];
    let server = KeyServer::start(&keys.each_ref()).await;
    let world = server.world(true).await;
    for _ in 0..20 {
        for key in &keys {
            ask_with(&world, &key.token(&all_claims()))
                .await
                .expect(200);
        }
    }
    ask_with(&world, &Key::shared().token(&all_claims()))
        .await
        .expect(200);
    assert_eq!(server.fetches(), 1, "they are kept");

    // A key is for its own algorithm, and an id for its own key.
    for (signer, named) in [(0, 1), (1, 2), (2, 0)] {
        let alg = ["RS256", "ES256", "EdDSA"][signer];
        let header = json!({"alg": alg, "kid": keys[named].kid});
        let token = keys[signer].token_with(&header, &all_claims());
        unauthorized(&ask_with(&world, &token).await, "another key's id");
    }
    for (mine, theirs) in [
        (Key::rs256("r"), "RS256"),
        (Key::es256("e"), "ES256"),
        (Key::eddsa("d"), "EdDSA"),
    ] {
        unauthorized(&ask_with(&world, &mine.token(&all_claims())).await, theirs);
    }
}

/// Without the secret, no secret is good.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_alone() {
    let key = Key::es256("e");
    let server = KeyServer::start(&[&key]).await;
    let world = server.world(false).await;
    ask_with(&world, &key.token(&all_claims()))
        .await
        .expect(200);
    unauthorized(
        &ask_with(&world, &Key::shared().token(&all_claims())).await,
        "a secret",
    );
    unauthorized(
        &ask_with(&world, &Key::secret("").token(&all_claims())).await,
        "an empty secret",
    );

    // A token that names no key is good where only one key can be meant.
    let header = json!({"alg": "ES256"});
    ask_with(&world, &key.token_with(&header, &all_claims()))
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_a_restart() {
    let (old, new) = (Key::rs256("2025"), Key::es256("2026"));
    let server = KeyServer::start(&[&old]).await;
    let world = server.world(true).await;
    let (old_token, new_token) = (old.token(&all_claims()), new.token(&all_claims()));
    ask_with(&world, &old_token).await.expect(200);
    let began = Instant::now();
    unauthorized(&ask_with(&world, &new_token).await, "a key of nobody's");

    server.serve(&[&new]);
    eventually("the new key is known", || answers(&world, &new_token, 200)).await;
    let in_time = server.fetches() <= 1 + periods(began);
    assert!(
        in_time,
        "{} fetches in {:?}",
        server.fetches(),
        began.elapsed()
    );
    assert!(server.fetches() > 1);
    unauthorized(
        &ask_with(&world, &old_token).await,
        "a key that was taken back",
    );
    ask_with(&world, &new_token).await.expect(200);
    attacks::record(
        "forged or misused token",
        "signed by a key that the provider has taken back",
        "401 from the next fetch on, without a restart",
    );
}

/// In how many periods of the rate limit something may have happened once each.
fn periods(since: Instant) -> usize {
    let periods = since.elapsed().as_secs() / BETWEEN_FETCHES.as_secs();
    usize::try_from(periods).unwrap() + 1
}

/// Whoever invents key ids must not be able to make us hammer the identity provider.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_cause_one_fetch_at_a_time() {
    let key = Key::eddsa("d");
    let server = KeyServer::start(&[&key]).await;
    let world = server.world(true).await;
    let began = Instant::now();
    let stranger = |n: usize| Key::eddsa(&format!("unknown-{n}")).token(&all_claims());
    for n in 0..40 {
        unauthorized(&ask_with(&world, &stranger(n)).await, "a stranger's key");
    }
    if began.elapsed() < BETWEEN_FETCHES / 2 {
        assert_eq!(server.fetches(), 1, "the first fetch is recent enough");
    }

    // When it no longer is, many at once cause one; and that brings the key that is new meanwhile.
    tokio::time::sleep(BETWEEN_FETCHES.saturating_sub(began.elapsed())).await;
    let new = Key::eddsa("new");
    server.serve(&[&key, &new]);
    let tokens: Vec<_> = (0..40).map(stranger).collect();
    let answers =
        futures_util::future::join_all(tokens.iter().map(|token| ask_with(&world, token))).await;
    for answer in answers {
        unauthorized(&answer, "a stranger's key");
    }
    let fetches = server.fetches();
    assert!(
        (2..=1 + periods(began)).contains(&fetches),
        "{fetches} fetches in {:?}",
        began.elapsed()
    );
    for key in [&key, &new] {
        ask_with(&world, &key.token(&all_claims()))
            .await
            .expect(200);
    }
    attacks::record(
        "forged or misused token",
        "a flood of invented key ids",
        "401; one fetch of the keys in 10 s, which still brings new ones",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_keys_at_the_start() {
    let key = Key::rs256("r");
    let server = KeyServer::start(&[]).await;
    server.answer_with(StatusCode::INTERNAL_SERVER_ERROR, "{}");
    let world = server.world(true).await;
    let token = key.token(&all_claims());
    for _ in 0..2 {
        let answer = ask_with(&world, &token).await;
        answer.expect_error(503, "auth_unavailable");
        assert_eq!(answer.header("retry-after"), "5");
        assert_eq!(
            answer.header("www-authenticate"),
            "",
            "the token may be good"
        );
    }
    // What can be judged without the keys is judged.
    ask_with(&world, &Key::shared().token(&all_claims()))
        .await
        .expect(200);
    unauthorized(&ask_with(&world, "nonsense").await, "nonsense");

    server.serve(&[&key]);
    eventually("the keys are there", || answers(&world, &token, 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_locks_nobody_out() {
    let key = Key::rs256("r");
    let server = KeyServer::start(&[&key]).await;
    let world = server.world(false).await;
    let (token, unknown) = (
        key.token(&all_claims()),
        Key::rs256("new").token(&all_claims()),
    );
    ask_with(&world, &token).await.expect(200);

    server.answer_with(StatusCode::OK, "<html>Down for maintenance</html>");
    // As soon as the keys are asked for in vain, nobody knows whether there is a new one.
    eventually("the outage is noticed", || answers(&world, &unknown, 503)).await;
    ask_with(&world, &unknown)
        .await
        .expect_error(503, "auth_unavailable");
    ask_with(&world, &token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there() {
    // Port 1 is nobody's.
    let world = World::start_with(|config| {
        config.jwks_url = Some("http://127.0.0.1:1/keys".parse().unwrap());
    })
    .await;
    world.org("acme").await;
    let answer = ask_with(&world, &Key::eddsa("d").token(&all_claims())).await;
    answer.expect_error(503, "auth_unavailable");
    ask_with(&world, &Key::shared().token(&all_claims()))
        .await
        .expect(200);
}

/// A token by an RSA key of 1024 bits, and that key: the library of these tests makes none so small.
const SMALL_KEY: &str = "4CP-21u1BW0v6SYpBc-6v0nSfAU_gEF8n4jLDjBzeq-Aqw6nW3znN_0sH3oRYgiq3BbVN4wxXNEK05O6Q2ogLcnVMB18KX3Y8XpWsERkPBgIWL0Ym8QxrFm5JtT-4B_IEAWXor-7KSs-jQBBGmBq71UQI2nh8AmxxoiJvV0aNQU";
const BY_SMALL_KEY: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InNtYWxsIn0.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJhdWQiOiJhdWRpdC1leHBvcnQiLCJleHAiOjI1MzM3MDc2NDgwMCwib3JncyI6eyJhY21lIjoib3duZXIifX0.l7socuqvYv82ohGKQcKKSR48GSJkRhB0IZBhfOvFoSFX6cvzpZ5MfSWoMbrPw3TWTsTa4tV8tCrKgCPT9hvT-4JGf6GL7ZOrRG4VKBEZsICiLRxFnDcMvTqJuDkpdU6EKrLROVCN89eNbdmZuxoaUZ1VlX_19khjpE1uPe30YtI";

/// What else may stand in a key set is none of ours, and does not spoil it.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_foreign_keys_in_it() {
    let (good, rsa) = (Key::es256("good"), Key::rs256("rsa"));
    let foreign = [
        ("use: enc", json!({"use": "enc"})),
        (
            "key_ops without verify",
            json!({"key_ops": ["sign", "encrypt"]}),
        ),
        ("no key_ops at all", json!({"key_ops": []})),
        ("alg: ES384", json!({"alg": "ES384"})),
        ("alg: ECDH-ES", json!({"alg": "ECDH-ES"})),
        ("crv: P-384", json!({"crv": "P-384"})),
    ];
    let foreign = foreign.map(|(what, changes)| {
        let key = Key::es256(what);
        let mut jwk = key.jwk();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        (what, key, jwk)
    });
    let twice = [Key::eddsa("twice"), Key::eddsa("twice")];
    let mut keys = vec![
        json!({"kty": "oct", "kid": "secret", "k": "YSBzZWNyZXQgb2YgMzIgYnl0ZXMgb3IgbW9yZSwgcmVhbGx5"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "broken", "x": "!", "y": "!"}),
        json!({"kty": "of the future", "kid": "future"}),
        json!({"kty": "RSA", "kid": "small", "n": SMALL_KEY, "e": "AQAB"}),
        json!("no key"),
        good.jwk(),
        rsa.jwk(),
    ];
    keys.extend(foreign.iter().map(|(_, _, jwk)| jwk.clone()));
    keys.extend(twice.iter().map(Key::jwk));
    let server = KeyServer::start(&[]).await;
    server.answer_with(StatusCode::OK, &json!({"keys": keys}).to_string());
    let world = server.world(false).await;
    // Without an id: the others do not count.
    for (key, alg) in [(&good, "ES256"), (&rsa, "RS256")] {
        ask_with(&world, &key.token(&all_claims()))
            .await
            .expect(200);
        let header = json!({"alg": alg});
        ask_with(&world, &key.token_with(&header, &all_claims()))
            .await
            .expect(200);
    }

    let secret = Key::secret("a secret of 32 bytes or more, really");
    let header = json!({"alg": "HS256", "kid": "secret"});
    let mut tokens: Vec<_> = foreign
        .iter()
        .map(|(what, key, _)| {
            let what = format!("signed by a key of the set that is for something else ({what})");
            (what, key.token(&all_claims()))
        })
        .collect();
    tokens.extend([
        (
            "signed by a secret that the set publishes".to_owned(),
            secret.token_with(&header, &all_claims()),
        ),
        (
            "signed by an RSA key of 1024 bits in the set".to_owned(),
            BY_SMALL_KEY.to_owned(),
        ),
        (
            "signed by one of two keys with the same id".to_owned(),
            twice[1].token(&all_claims()),
        ),
    ]);
    try_all(&world, tokens).await;
}
