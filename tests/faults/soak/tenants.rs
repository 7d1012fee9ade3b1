//! Organisations with their customers, whose admins change the configs in mid-run.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{World, api::Api, tokens, world::REGION};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::plan::Edit;

const PREFIXES: [&str; 3] = ["", "audit", "security/audit-log"];
/// How long a save may take before it is tried with another API.
const SAVE_TIME: Duration = Duration::from_secs(10);
/// The pause before a save is tried again.
const SAVE_PAUSE: Duration = Duration::from_millis(200);

/// An organisation.
pub struct Tenant {
    pub id: String,
    buckets: [String; 2],
    roles: [String; 2],
    /// Where its events go now. Locked while it is saved.
    place: Mutex<Place>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    bucket: usize,
    prefix: usize,
    role: usize,
}

/// Makes the organisations, with two buckets and two roles each, and waits until all are active.
pub async fn create(world: &World, count: usize) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    let mut orgs = Vec::new();
    for number in 1..=count {
        let org = world.org(&format!("tenant-{number}")).await;
        let customer = world.customer(&org);
        let other_bucket = format!("{}-b", customer.bucket_name);
        customer.add_bucket(&other_bucket, REGION);
        let tenant = Tenant {
            id: org.id().to_owned(),
            buckets: [customer.bucket_name.clone(), other_bucket],
            roles: [customer.role_arn.clone(), customer.add_role("another-role")],
            place: Mutex::default(),
        };
        org.save(tenant.settings(Place::default()))
            .await
            .expect(201);
        tenants.push(tenant);
        orgs.push(org);
    }
    join_all(orgs.iter().map(|org| org.wait_for_state("active"))).await;
    tenants
}

impl Tenant {
    fn settings(&self, place: Place) -> Value {
        json!({
            "bucket": self.buckets[place.bucket],
            "region": REGION,
            "roleArn": self.roles[place.role],
            "prefix": PREFIXES[place.prefix],
        })
    }

    /// Does what the admin does; returns how often the config was saved.
    pub async fn edit(&self, apis: &[Api], edit: Edit) -> usize {
        let mut place = self.place.lock().await;
        let before = *place;
        match edit {
            Edit::OtherBucket | Edit::ThereAndBack(_) => place.bucket = 1 - place.bucket,
            Edit::OtherPrefix => place.prefix = (place.prefix + 1) % PREFIXES.len(),
            Edit::OtherRole => place.role = 1 - place.role,
            Edit::Disable(_) => {}
        }
        match edit {
            Edit::OtherBucket | Edit::OtherPrefix | Edit::OtherRole => {
                self.save(apis, self.settings(*place)).await;
                1
            }
            Edit::ThereAndBack(time) => {
                self.save(apis, self.settings(*place)).await;
                tokio::time::sleep(time).await;
                *place = before;
                self.save(apis, self.settings(before)).await;
                2
            }
            Edit::Disable(time) => {
                self.enable(apis, before, false).await;
                tokio::time::sleep(time).await;
                self.enable(apis, before, true).await;
                2
            }
        }
    }

    /// Delivers nothing while `work` goes on.
    pub async fn disabled_during(&self, apis: &[Api], work: impl Future<Output = ()>) {
        let place = self.place.lock().await;
        self.enable(apis, *place, false).await;
        work.await;
        self.enable(apis, *place, true).await;
    }

    async fn enable(&self, apis: &[Api], place: Place, enabled: bool) {
        let mut settings = self.settings(place);
        settings["enabled"] = json!(enabled);
        self.save(apis, settings).await;
    }

    /// Saves a config with whichever API answers, however often it takes.
    async fn save(&self, apis: &[Api], settings: Value) {
        let path = format!("/orgs/{}/audit-export/config", self.id);
        for api in apis.iter().cycle() {
            let save = api
                .ask("POST", &path)
                .token(&tokens::member_of(&self.id, "admin"));
            match save.timeout(SAVE_TIME).json(&settings).try_send().await {
                Ok(answer) if answer.status == 201 => return,
                Ok(answer) if answer.status < 500 => panic!("{answer:?}"),
                _ => tokio::time::sleep(SAVE_PAUSE).await,
            }
        }
    }
}
