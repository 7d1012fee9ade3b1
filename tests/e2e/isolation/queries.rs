//! Every query function of the services, as one organisation, with the ids and lease tokens of another.

use std::time::Duration;

use common::{
    db::{
        self, Failure, FailureClass, Owner, Tenant,
        connection_tests::{self, ReplyTo, TestOutcome},
        export_objects::{self, Stored},
        export_runs::{self, Delivered, GiveBackPauses},
        export_state::ProbePauses,
    },
    ids::{LeaseToken, OrgId, PlanId, RunId, TestId},
};
use harness::attacks;
use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{all_of, scene};

/// What belongs to the other organisation: a run, a test and a plan that are at work, each held.
struct Theirs {
    run: RunId,
    test: TestId,
    plan: PlanId,
    token: LeaseToken,
}

impl Theirs {
    async fn of(owner: &Client, org: &str, state: &str) -> Self {
        let token = Uuid::new_v4();
        let lease = (state == "running").then_some(token);
        let run = Uuid::now_v7();
        let sql = "insert into export_runs
                          (id, org_id, trigger, state, lease_token, lease_expires_at)
                   values ($1, $2, 'manual', $3, $4::uuid, case when $4::uuid is null then null else now() + interval '1 hour' end)";
        owner
            .execute(sql, &[&run, &org, &state, &lease])
            .await
            .unwrap();
        let test = Uuid::now_v7();
        let sql = "insert into connection_tests
                          (id, org_id, trigger, version, bucket, region, role_arn, prefix, state,
                           lease_token, lease_expires_at)
                   select $1, org_id, 'manual', version, bucket, region, role_arn, prefix, $3, $4::uuid,
                          case when $4::uuid is null then null else now() + interval '1 hour' end
                     from export_configs where org_id = $2";
        owner
            .execute(sql, &[&test, &org, &state, &lease])
            .await
            .unwrap();
        let plan = Uuid::new_v4();
        let sql = "insert into export_objects
                          (plan_id, org_id, run_id, destination_version, bucket, region, prefix, key,
                           codec, encoder_version, first_seq, last_seq)
                   select $1, $2, $3, 1, 'b', 'r', '', 'k', 'gzip', 1, 6, 6";
        owner.execute(sql, &[&plan, &org, &run]).await.unwrap();
        Self {
            run: RunId(run),
            test: TestId(test),
            plan: PlanId(plan),
            token: LeaseToken(token),
        }
    }
}

const LEASE: Duration = Duration::from_secs(3600);
const PAUSES: GiveBackPauses = GiveBackPauses {
    first: Duration::ZERO,
    longest: Duration::ZERO,
};

fn failure() -> Failure {
    Failure {
        class: FailureClass::Permanent,
        code: "AccessDenied".into(),
        text: "forged".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_tests_of_another_are_out_of_reach_whatever_their_state() {
    for state in ["queued", "running"] {
        let world = scene().await;
        let owner = world.database.client().await;
        let theirs = Theirs::of(&owner, "beta", state).await;
        let before = all_of(&owner, "beta").await;
        let pool = db::pool(world.database.url(), "a test", 2).unwrap();
        let acme: OrgId = "acme".parse().unwrap();
        let client = pool.get().await.unwrap();
        let db = Tenant::of(&client, &acme);

        of_runs(&db, &theirs).await;
        of_tests(&db, &theirs).await;
        of_objects(&db, &theirs).await;
        let outcome = TestOutcome {
            stages: json!([]),
            failure: Some(failure()),
            warning: None,
        };
        let pauses = ProbePauses {
            first: LEASE,
            longest: LEASE,
        };
        let mut other = pool.get().await.unwrap();
        let finished = connection_tests::finish(
            &mut other,
            &acme,
            theirs.test,
            theirs.token,
            &outcome,
            pauses,
        );
        assert!(!finished.await.unwrap());

        assert_eq!(all_of(&owner, "beta").await, before, "{state}");
    }
    attacks::record(
        "tenancy",
        "every query function, with run, test, plan and lease of another organisation",
        "nothing is read, nothing is changed",
    );
}

async fn of_runs(db: &Tenant<'_>, theirs: &Theirs) {
    let Theirs { run, token, .. } = *theirs;
    assert!(export_runs::find(db, run).await.unwrap().is_none());
    let before = export_runs::list(db, 100, Some(run), None).await.unwrap();
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(export_runs::owner(db, run).await.unwrap(), Owner::Another);
    assert!(
        export_runs::claim(db, run, token, LEASE, true)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        export_runs::reject_inactive(db, run)
            .await
            .unwrap()
            .is_none()
    );
    assert!(!export_runs::renew(db, run, token, LEASE).await.unwrap());
    assert!(!export_runs::put_off(db, run).await.unwrap());
    let delivered = Delivered {
        first_seq: 6,
        last_seq: 6,
        events: 1,
        bytes: 1,
    };
    assert!(
        !export_runs::add_object(db, run, token, &delivered)
            .await
            .unwrap()
    );
    assert!(
        export_runs::succeed(db, run, token)
            .await
            .unwrap()
            .is_none()
    );
    assert!(!export_runs::fail(db, run, token, &failure()).await.unwrap());
    let reason = failure();
    let given_back = export_runs::give_back(db, run, token, Some(&reason), PAUSES).await;
    assert!(!given_back.unwrap());
    export_runs::warn(db, run, "forged").await.unwrap();
    export_runs::mark_unpublished(db, run).await.unwrap();
    let asked = export_runs::request(db, run, "submitted", &ReplyTo::default()).await;
    assert_eq!(asked.unwrap(), export_runs::Requested::RunInProgress);
}

async fn of_tests(db: &Tenant<'_>, theirs: &Theirs) {
    let Theirs { test, token, .. } = *theirs;
    assert!(
        connection_tests::find_finished(db, test)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        connection_tests::owner(db, test).await.unwrap(),
        Owner::Another
    );
    assert!(
        connection_tests::claim(db, test, token, LEASE)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        !connection_tests::renew(db, test, token, LEASE)
            .await
            .unwrap()
    );
    connection_tests::withdraw(db, test).await.unwrap();
    connection_tests::give_back(db, test, token).await.unwrap();
    connection_tests::mark_unpublished(db, test).await.unwrap();
    let queued = connection_tests::queue_of_stored(db, test, "submitted", None).await;
    assert!(queued.unwrap().is_none(), "the id is taken");
}

async fn of_objects(db: &Tenant<'_>, theirs: &Theirs) {
    let Theirs {
        run, plan, token, ..
    } = *theirs;
    assert!(export_objects::of_run(db, run).await.unwrap().is_empty());
    assert!(export_objects::planned(db).await.unwrap().is_none());
    export_objects::adopt(db, plan, run, 9).await.unwrap();
    export_objects::abandon(db, plan).await.unwrap();
    export_objects::uploads_ended(db, plan).await.unwrap();
    assert!(
        !export_objects::expect_upload(db, plan, token)
            .await
            .unwrap()
    );
    assert!(
        !export_objects::set_upload(db, plan, token, "forged", true)
            .await
            .unwrap()
    );
    assert!(
        !export_objects::add_candidate(db, plan, token, b"forged", 9)
            .await
            .unwrap()
    );
    let stored = Stored {
        events: 1,
        bytes: 1,
        sha256: b"forged".to_vec(),
        etag: None,
        version_id: None,
        by_this_attempt: true,
        unfinished_uploads: false,
    };
    assert!(
        !export_objects::mark_stored(db, plan, token, &stored)
            .await
            .unwrap()
    );
    assert!(export_objects::left_open(db).await.unwrap().is_empty());
}
