//! With the right name and a known authority.

use harness::{
    World,
    api::Api,
    events::events,
    process::{free_port, run_to_end},
    tls::Authority,
    tokens::{Key, claims},
};
use serde_json::json;
use tempfile::TempDir;

use super::{Servers, text};

/// The whole way of an event, with TLS on every stretch of ours: the API with its LISTEN, its keys and
/// its jobs, and a worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_export_over_tls() {
    let authority = Authority::new();
    let dir = TempDir::new().unwrap();
    let ca = authority.write_to(dir.path());
    let key = Key::es256("e");
    let servers = Servers::start(&key, &authority.certify(super::NAME)).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let admin = format!("127.0.0.1:{}", free_port());
    let world = World::start_without_api(format!("http://{listen}")).await;
    let (database, amqp, keys) = (
        servers.database_url(&world),
        servers.amqp_url(&world),
        servers.keys_url(),
    );
    let of_both = [
        ("SSL_CERT_FILE", text(&ca)),
        ("DATABASE_URL", &database),
        ("AMQP_URL", &amqp),
    ];
    let of_api = [
        ("AUDIT_EXPORT_LISTEN", &*listen),
        ("AUDIT_EXPORT_ADMIN_LISTEN", &admin),
        ("AUDIT_EXPORT_JWT_JWKS_URL", &keys),
    ];
    let (_process, api) = world.spawn_api(&[&of_both[..], &of_api].concat()).await;
    Api::new(format!("http://{admin}")).wait_until_ready().await;
    let _worker = world.spawn_worker(&of_both);

    let (acme, customer) = world.active_org("acme").await;
    acme.test().await.expect(200);
    acme.ingest(&events(5, 20)).await;
    acme.wait_until_delivered(&customer, 20).await;
    let by_key = key.token(&claims(json!({"orgs": {"acme": "owner"}})));
    let ask = api.ask("GET", "/orgs/acme/audit-export/runs");
    ask.token(&by_key).send().await.expect(200);

    let client = world.database.client().await;
    let sql = "select distinct application_name from pg_stat_activity
                where datname = current_database() and application_name like 'audit-export%' order by 1";
    let names = client.query(sql, &[]).await.unwrap();
    let names: Vec<String> = names.iter().map(|row| row.get(0)).collect();
    let expected = [
        "audit-export-api",
        "audit-export-exporter",
        "audit-export-listen",
    ];
    assert_eq!(names, expected, "and all of them by the URLs above");
    for (name, server) in servers.all() {
        assert!(server.secured() > 0, "{name}");
    }
}

/// The modes of a URL, and whom they trust, by what `migrate` says.
#[tokio::test(flavor = "multi_thread")]
async fn every_mode_of_a_url_that_is_to_work_does() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = TempDir::new().unwrap();
    let (ca, unknown) = (authority.write_to(dir.path()), other.write_to(dir.path()));
    let world = World::start_without_api(String::new()).await;
    let servers = Servers::start(&Key::es256("e"), &authority.certify(super::NAME)).await;
    let file = format!("sslrootcert={}", text(&ca));
    for (query, trusted) in [
        ("sslmode=verify-full", &ca),
        ("sslmode=verify-ca", &ca),
        ("sslmode=require", &ca),
        ("sslmode=prefer", &ca),
        ("", &ca),
        ("sslrootcert=system", &ca),
        // What the URL names is trusted instead of what the system does.
        (&file, &unknown),
        (&format!("sslmode=verify-full&{file}"), &unknown),
    ] {
        let before = servers.postgres.secured();
        let settings = [
            ("DATABASE_OWNER_URL", servers.owner_url(&world, query)),
            ("SSL_CERT_FILE", text(trusted).to_owned()),
        ];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let output =
            tokio::task::block_in_place(|| run_to_end("audit-export-api", &["migrate"], &settings));
        assert!(output.status.success(), "{query}: {output:?}");
        assert_eq!(servers.postgres.secured(), before + 1, "{query}");
    }
}
