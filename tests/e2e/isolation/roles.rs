//! The two roles in Postgres, and what happens where they are not as they should be.

use std::time::Duration;

use api::migrate::migrate;
use harness::{World, database::append, eventually, org::least_event};
use secrecy::SecretString;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::limits::{AtEnd, server};

#[tokio::test(flavor = "multi_thread")]
async fn services_that_no_policy_holds_for_say_so() {
    let world = World::start().await;
    let said = "row-level security does not hold";
    let owner = [("DATABASE_URL", world.database.owner_url())];
    let (exempt, _) = world.spawn_api(&owner).await;
    eventually("the API as the owner says so", || async {
        exempt.log().contains(said).then_some(())
    })
    .await;
    let (confined, api) = world.spawn_api(&[]).await;
    // It has been connected by then.
    api.ask("GET", "/orgs/acme/audit-export/config")
        .send()
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!confined.log().contains(said), "{}", confined.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_again_changes_nothing_and_a_missing_role_is_named() {
    let world = World::start().await;
    let url = |url: &str| SecretString::from(url.to_owned());
    let owner = url(world.database.owner_url());
    let services = url(world.database.url());
    let applied = migrate(&owner, Some(&services)).await.unwrap();
    assert_eq!(applied, [""; 0]);
    let nobody = world
        .database
        .url()
        .replace("audit_export@", "nobody_of_this_name@");
    let refused = migrate(&owner, Some(&url(&nobody))).await.unwrap_err();
    assert!(
        refused.to_string().contains("no role nobody_of_this_name"),
        "{refused}"
    );
}

/// As the README says it may be granted.
#[tokio::test(flavor = "multi_thread")]
async fn the_products_own_role_appends_and_can_do_nothing_else() {
    let product = format!("product_{}", Uuid::new_v4().simple());
    let create = format!("create role {product} login");
    server().await.batch_execute(&create).await.unwrap();
    // After the world, and with it the grant, has gone.
    let _end = AtEnd(format!("drop role if exists {product}"));
    let world = World::start().await;
    world.org("acme").await;
    let client = world.database.client_of(&product).await;
    let event = [least_event("e-1").to_string()];

    let refused = append(&client, "acme", &event).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let grant = format!("grant execute on function append_audit_events(text, text[]) to {product}");
    let owner = world.database.client().await;
    owner.batch_execute(&grant).await.unwrap();
    assert_eq!(append(&client, "acme", &event).await.unwrap(), 1);
    for sql in [
        "select * from audit_events",
        "select * from orgs",
        "insert into audit_event_ids select 'acme', 'e-2', now()",
        "select * from next_export_range('acme', 0, 1, 1)",
        "select append_prepared_audit_events('acme', '{}', '{}', '{}', '{}')",
        "select look_at_due_orgs(1, 1)",
    ] {
        let refused = client.query(sql, &[]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE),
            "{sql}"
        );
    }
}
