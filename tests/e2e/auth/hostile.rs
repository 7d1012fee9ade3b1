//! A key server that has been taken over, or stands where it should not.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use flate2::{Compression, write::GzEncoder};
use harness::{
    World, attacks,
    process::run_to_end,
    tokens::{AUDIENCE, ISSUER, Key, SECRET},
};
use serde_json::json;

use super::{all_claims, ask_with, key_server::KeyServer};

const KIND: &str = "hostile key server";
const MIB: usize = 1024 * 1024;
/// How long the API waits for keys, and what a busy machine may add.
const AT_MOST: Duration = Duration::from_secs(5 + 5);

/// A set with this key and so many others.
fn set_of(key: &Key, others: usize) -> String {
    let other = |n: usize| json!({"kty": "EC", "crv": "P-256", "kid": n, "x": "", "y": ""});
    let keys: Vec<_> = (0..others).map(other).chain([key.jwk()]).collect();
    json!({"keys": keys}).to_string()
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A key server and an API that never had better keys than its: that must say so within seconds, go
/// on with what needs no keys, and log what is wrong.
async fn has_no_keys(world: &World, key: &Key, server: KeyServer, what: &str, told: &str) {
    let url = server.url();
    let settings = [("AUDIT_EXPORT_JWT_JWKS_URL", &*url)];
    let (process, api) = world.spawn_api(&settings).await;
    let ask = |token: String| {
        let ask = api.ask("GET", "/orgs/acme/audit-export/runs");
        ask.token(&token).send()
    };
    let began = Instant::now();
    let refused = ask(key.token(&all_claims())).await;
    refused.expect_error(503, "auth_unavailable");
    assert!(began.elapsed() < AT_MOST, "{what}: {:?}", began.elapsed());
    ask(Key::shared().token(&all_claims())).await.expect(200);
    assert!((1..=2).contains(&server.fetches()), "{what}");
    let log = process.log();
    assert!(log.contains(told), "{what}: {log}");
    attacks::record(KIND, what, &format!("503, and the log says: {told}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_set_of_keys_in_time_is_none() {
    let world = World::start().await;
    world.org("acme").await;
    let key = Key::es256("e");
    let good = set_of(&key, 0);
    let elsewhere = KeyServer::start(&[&key]).await;

    let of_text = async |text: String| {
        let server = KeyServer::start(&[]).await;
        server.answer_with(StatusCode::OK, &text);
        server
    };
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    let too_large = of_text(padded(MIB + 1)).await;
    let too_many = of_text(set_of(&key, 256)).await;
    let html = of_text("<html>".to_owned()).await;
    let deep = of_text(format!("{{\"keys\": {}", "[".repeat(100_000))).await;
    let moved = KeyServer::start(&[]).await;
    moved.answer_as(StatusCode::FOUND, &[("location", &elsewhere.url())], vec![]);
    let bomb = KeyServer::start(&[]).await;
    let gzip = [("content-encoding", "gzip")];
    bomb.answer_as(StatusCode::OK, &gzip, gzipped(&padded(20 * MIB)));
    let slow = KeyServer::start(&[]).await;
    slow.drip();

    let fails = |server, what, told| has_no_keys(&world, &key, server, what, told);
    tokio::join!(
        fails(
            too_large,
            "a set of 1 MiB and a byte",
            "larger than 1048576 bytes"
        ),
        fails(too_many, "257 keys", "more than 256 keys"),
        fails(html, "HTML, with status 200", "not a JWKS"),
        fails(deep, "JSON nested 100,000 deep", "not a JWKS"),
        fails(moved, "a redirect to another server", "302"),
        fails(bomb, "a gzip bomb of 20 MiB", "not a JWKS"),
        fails(slow, "a byte ten times a second", "timed out"),
    );
    assert_eq!(elsewhere.fetches(), 0);

    // What is just not too much.
    for text in [padded(MIB), set_of(&key, 255)] {
        let server = of_text(text).await;
        let world = server.world(false).await;
        ask_with(&world, &key.token(&all_claims()))
            .await
            .expect(200);
    }
}

/// Keys that came by plain HTTP could be anybody's.
#[test]
fn keys_by_plain_http_are_for_this_machine_only() {
    for url in [
        "http://login.example/keys?client_secret=hunter2",
        "http://localhost.login.example/keys?hunter2",
        "http://127.0.0.1@login.example/hunter2",
        "ftp://localhost/hunter2",
    ] {
        let settings = [
            ("DATABASE_URL", "postgres://localhost/x"),
            ("AMQP_URL", "amqp://localhost"),
            ("AUDIT_EXPORT_LISTEN", "127.0.0.1:0"),
            ("AUDIT_EXPORT_JWT_SECRET", SECRET),
            ("AUDIT_EXPORT_JWT_ISSUER", ISSUER),
            ("AUDIT_EXPORT_JWT_AUDIENCE", AUDIENCE),
            ("AUDIT_EXPORT_JWT_JWKS_URL", url),
        ];
        let output = run_to_end("audit-export-api", &["serve"], &settings);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{url}: {said}");
        assert!(said.contains("must begin with https://"), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    attacks::record(
        KIND,
        "its URL is http://, of another machine or of one that looks like this one",
        "the API does not start",
    );
}
