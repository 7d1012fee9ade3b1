//! With a wrong name, an unknown authority, a certificate that has expired, or without TLS.

use std::sync::Arc;

use harness::{
    World,
    api::Api,
    attacks, eventually,
    process::{Process, free_port, run_to_end},
    tls::Authority,
    tokens::{Key, claims},
};
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::ServerConfig;

use super::{NAME, STRICT, Servers, text};

/// How the table of attacks calls them.
const KIND: &str = "impostor server";

/// Waits until a program has said all this on one line.
async fn says(process: &Process, words: &[&str]) {
    let look = || async {
        let log = process.log();
        let mut lines = log.lines();
        lines
            .any(|line| words.iter().all(|word| line.contains(word)))
            .then_some(())
    };
    eventually(&format!("{words:?} in the log:\n{}", process.log()), look).await;
}

/// An API and a worker that are to trust nobody among these servers, whatever those show.
async fn nobody_is_trusted(world: &World, servers: &Servers, key: &Key, ca: &str, told: [&str; 3]) {
    let admin = format!("127.0.0.1:{}", free_port());
    let (database, amqp, keys) = (
        servers.database_url(world),
        servers.amqp_url(world),
        servers.keys_url(),
    );
    let (api, client) = world
        .spawn_api(&[
            ("SSL_CERT_FILE", ca),
            ("DATABASE_URL", &database),
            ("AMQP_URL", &amqp),
            ("AUDIT_EXPORT_ADMIN_LISTEN", &admin),
            ("AUDIT_EXPORT_JWT_JWKS_URL", &keys),
        ])
        .await;
    // One that cannot reach the broker, and one that hears of a job.
    let without_broker = world.spawn_worker(&[("SSL_CERT_FILE", ca), ("AMQP_URL", &amqp)]);
    let without_database =
        world.spawn_worker(&[("SSL_CERT_FILE", ca), ("DATABASE_URL", &database)]);
    let broker = world.broker.connect().await;
    let job =
        json!({"type": "export", "version": 1, "orgId": "acme", "runId": uuid::Uuid::now_v7()});
    broker.submit("export", &job).await;

    let [of_postgres, of_rabbitmq, of_keys] = told;
    says(&api, &["the scheduler failed", of_postgres]).await;
    says(&api, &["listening for test results", of_postgres]).await;
    says(&api, &["publishing is interrupted", of_rabbitmq]).await;
    says(&api, &["signing keys cannot be fetched", of_keys]).await;
    says(&without_broker, &["consuming is interrupted", of_rabbitmq]).await;
    says(&without_database, &["the database is away", of_postgres]).await;
    let readiness = Api::new(format!("http://{admin}"))
        .ask("GET", "/readyz")
        .send()
        .await;
    let readiness = readiness.expect(503);
    assert_eq!(
        (&readiness["postgres"], &readiness["broker"]),
        (&json!(false), &json!(false))
    );
    let by_key = key.token(&claims(json!({"orgs": {"acme": "owner"}})));
    let ask = client.ask("GET", "/orgs/acme/audit-export/runs");
    ask.token(&by_key)
        .send()
        .await
        .expect_error(503, "auth_unavailable");
    for (name, server) in servers.all() {
        assert!(server.asked() > 0, "{name}");
        assert_eq!(server.secured(), 0, "{name}");
    }
}

/// What `migrate` says where it fails.
fn failed_migration(servers: &Servers, world: &World, query: &str, ca: &str) -> String {
    let url = servers.owner_url(world, query);
    let settings = [("DATABASE_OWNER_URL", &*url), ("SSL_CERT_FILE", ca)];
    let output =
        tokio::task::block_in_place(|| run_to_end("audit-export-api", &["migrate"], &settings));
    assert!(!output.status.success(), "{query}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Three servers with a certificate that is not to be trusted, and what is to be said of it. `trusted`
/// is the authority that the programs are told of.
async fn impostors_hear_nothing(
    trusted: &Authority,
    certificate: Arc<ServerConfig>,
    what: &str,
    told: &str,
) {
    let dir = TempDir::new().unwrap();
    let ca = trusted.write_to(dir.path());
    let key = Key::es256("e");
    let world = World::start_without_api(String::new()).await;
    let servers = Servers::start(&key, &certificate).await;
    nobody_is_trusted(&world, &servers, &key, text(&ca), [told; 3]).await;
    // Nor does any weaker mode go on in plain text.
    for query in [
        STRICT,
        "sslmode=verify-ca",
        "sslmode=require",
        "sslmode=prefer",
        "",
    ] {
        let said = failed_migration(&servers, &world, query, text(&ca));
        assert!(said.contains(told), "{query}: {said}");
    }
    assert_eq!(servers.postgres.secured(), 0);
    for (name, _) in servers.all() {
        let refused = format!("no handshake, nothing said, and the log says: {told}");
        attacks::record(KIND, &format!("{name} with {what}"), &refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name() {
    let trusted = Authority::new();
    let certificate = trusted.certify("db.example");
    let what = "a certificate for another name";
    impostors_hear_nothing(&trusted, certificate, what, "not valid for name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority() {
    let certificate = Authority::new().certify(NAME);
    let what = "a certificate of an unknown authority";
    impostors_hear_nothing(&Authority::new(), certificate, what, "UnknownIssuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired() {
    let trusted = Authority::new();
    let certificate = trusted.certify_until(NAME, 2020);
    let what = "a certificate that has expired";
    impostors_hear_nothing(&trusted, certificate, what, "certificate expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_tls_hear_nothing() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::new().write_to(dir.path());
    let key = Key::es256("e");
    let world = World::start_without_api(String::new()).await;
    let servers = Servers::without_tls(&key).await;
    let no_tls = "server does not support TLS";
    nobody_is_trusted(&world, &servers, &key, text(&ca), [no_tls, "", ""]).await;
    for query in [
        STRICT,
        "sslmode=verify-ca",
        "sslmode=require",
        "sslrootcert=system",
    ] {
        let said = failed_migration(&servers, &world, query, text(&ca));
        assert!(said.contains(no_tls), "{query}: {said}");
    }
    assert_eq!(servers.postgres.heard(), b"", "not even who is there");
    for server in [&servers.rabbitmq, &servers.keys] {
        // A handshake (RFC 8446 §5.1), and none of what would follow it.
        let heard = server.heard();
        assert_eq!(heard[0], 22);
        for word in ["AMQP", "PLAIN", "GET ", "HTTP"] {
            assert!(
                !heard
                    .windows(word.len())
                    .any(|part| part == word.as_bytes()),
                "{word}"
            );
        }
    }
    for (name, _) in servers.all() {
        attacks::record(
            KIND,
            &format!("{name} says that it knows no TLS"),
            "nothing is said to it",
        );
    }

    // Without any of this the plain server would have been told who is there.
    failed_migration(&servers, &world, "sslmode=disable", text(&ca));
    assert_ne!(servers.postgres.heard(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_stops_the_start() {
    for (query, told) in [
        ("sslmode=verify-full&sslmode=disable", "given twice"),
        (
            "sslmode=prefer&sslrootcert=system",
            "sslrootcert needs sslmode",
        ),
        ("sslmode=verify_full", "sslmode is none of"),
        (
            "sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
            "/nowhere/ca.pem",
        ),
    ] {
        let url = format!("postgres://kim:hunter2@localhost/x?{query}");
        let settings = [
            ("DATABASE_URL", &*url),
            ("AMQP_URL", "amqp://localhost"),
            ("AUDIT_EXPORT_LISTEN", "127.0.0.1:0"),
            ("AUDIT_EXPORT_JWT_SECRET", harness::tokens::SECRET),
            ("AUDIT_EXPORT_JWT_ISSUER", "https://login.example"),
            ("AUDIT_EXPORT_JWT_AUDIENCE", "audit-export"),
            ("AWS_REGION", "eu-central-1"),
        ];
        for program in ["audit-export-api", "audit-export-exporter"] {
            let output = tokio::task::block_in_place(|| run_to_end(program, &[], &settings));
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success(), "{program}: {query}: {said}");
            assert!(said.contains(told), "{program}: {query}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    attacks::record(
        KIND,
        "a URL that asks for less TLS in a second sslmode, or trusts a file without requiring TLS",
        "the start is refused",
    );
}
