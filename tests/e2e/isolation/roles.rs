//! The two roles in Postgres, and what happens where they are not as they should be.

use std::time::Duration;

use api::migrate::migrate;
use harness::{World, eventually};
use secrecy::SecretString;

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
