//! What a worker does to a test: every write names the lease's token, and zero rows touched mean that
//! the lease was lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::{Row, types::ToSql};

use super::{
    super::{
        Client, Error, Failure, FailureClass, Tenant, destination, export_configs,
        export_configs::DeliveryState,
        export_state,
        export_state::ProbePauses,
        seconds,
        system_events::{self, Action, Author},
    },
    FINISHED_CHANNEL, PROBE, ReplyTo,
};
use crate::{
    destination::Destination,
    ids::{LeaseToken, OrgId, TestId},
};

/// A test in a worker's hands.
#[derive(Debug)]
pub struct Claimed {
    /// What to test.
    pub destination: Destination,
    /// The version of the stored config, where that is what is tested.
    pub version: Option<i64>,
    /// The organisation's external id.
    pub external_id: String,
    /// How often it was claimed, this time included.
    pub attempts: i32,
    /// Where the outcome goes besides the results exchange.
    pub reply_to: ReplyTo,
}

/// Takes a queued test; `None` where it is not queued any more.
///
/// # Errors
/// Postgres's.
pub async fn claim(
    db: &Tenant<'_>,
    id: TestId,
    token: LeaseToken,
    lease: Duration,
) -> Result<Option<Claimed>, Error> {
    let sql = "
        update connection_tests t
           set state = 'running', lease_token = $3, started_at = now(),
               lease_expires_at = now() + make_interval(secs => $4),
               attempts = t.attempts + 1
          from orgs o
         where t.org_id = $1 and t.id = $2 and t.state = 'queued' and o.id = t.org_id
        returning t.bucket, t.region, t.role_arn, t.prefix, t.bucket_owner, t.kms_key_arn,
                  t.compression, t.version, t.reply_to,
                  t.correlation_id, t.attempts, o.external_id";
    let row = db
        .query_opt(sql, &[db.org(), &id, &token, &seconds(lease)])
        .await?;
    row.as_ref().map(claimed).transpose()
}

fn claimed(row: &Row) -> Result<Claimed, Error> {
    Ok(Claimed {
        destination: destination(row)?,
        version: row.get("version"),
        external_id: row.get("external_id"),
        attempts: row.get("attempts"),
        reply_to: ReplyTo {
            queue: row.get("reply_to"),
            correlation_id: row.get("correlation_id"),
        },
    })
}

/// Extends a lease; false when it was lost.
///
/// # Errors
/// Postgres's.
pub async fn renew(
    db: &Tenant<'_>,
    id: TestId,
    token: LeaseToken,
    lease: Duration,
) -> Result<bool, Error> {
    let sql = "
        update connection_tests set lease_expires_at = now() + make_interval(secs => $4)
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    Ok(db
        .execute(sql, &[db.org(), &id, &token, &seconds(lease)])
        .await?
        == 1)
}

/// How a test went.
#[derive(Debug)]
pub struct TestOutcome {
    /// Its stages, as they are shown.
    pub stages: Value,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
    /// What is not perfect though it works.
    pub warning: Option<String>,
}

/// Records a test's outcome and what follows from it: a version that passed may be delivered to, a
/// destination that does not work is paused and probed. Tells the waiting API. False when the lease
/// was lost meanwhile; nothing is changed then.
///
/// # Errors
/// Postgres's.
pub async fn finish(
    client: &mut Client,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
    outcome: &TestOutcome,
    pauses: ProbePauses,
) -> Result<bool, Error> {
    let tx = Tenant::begin(client, org).await?;
    export_state::lock(&tx).await?;
    let failure = outcome.failure.as_ref();

    // The config before the test: the agreed order of locks. A test's version never changes.
    let sql = "
        select version, trigger from connection_tests
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    let Some(row) = tx.query_opt(sql, &[org, &id, &token]).await? else {
        return Ok(false);
    };
    if let Some(version) = row.get::<_, Option<i64>>("version")
        && let Some(before) = export_configs::record_test(&tx, version, failure).await?
    {
        match failure {
            None => export_state::resume(&tx).await?,
            Some(failure) if must_pause(before, failure.class) => {
                export_state::pause(&tx, failure, pauses).await?;
            }
            Some(_) => {}
        }
    }

    let sql = "
        update connection_tests
           set state = case when $4::text is null then 'succeeded' else 'failed' end,
               error_class = $5, error = $4, warning = $6, stages = $7, finished_at = now(),
               lease_token = null, lease_expires_at = null
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    let text = failure.map(|f| f.text.as_str());
    let class = failure.map(|f| f.class.as_str());
    let TestOutcome {
        stages, warning, ..
    } = outcome;
    let params: [&(dyn ToSql + Sync); 7] = [org, &id, &token, &text, &class, warning, stages];
    if tx.execute(sql, &params).await? == 0 {
        return Ok(false);
    }
    if row.get::<_, &str>("trigger") != PROBE {
        record_end(&tx, id, failure).await?;
    }
    notify_finished(&tx, id).await?;
    tx.commit().await?;
    Ok(true)
}

/// A disabled config is left alone; one that is being delivered to is paused only by what will not
/// go away by itself; one that waits for its test is tried again by probes whatever the reason.
fn must_pause(before: DeliveryState, class: FailureClass) -> bool {
    match before {
        DeliveryState::Disabled => false,
        DeliveryState::Active => class == FailureClass::Permanent,
        DeliveryState::AwaitingTest | DeliveryState::Paused => true,
    }
}

/// Of a test that somebody asked for, or a save. The ends of probes are told by pauses and resumes.
async fn record_end(db: &Tenant<'_>, id: TestId, failure: Option<&Failure>) -> Result<(), Error> {
    let (action, what) = match failure {
        None => (Action::TestSucceeded, json!({})),
        Some(Failure { class, code, text }) => (
            Action::TestFailed,
            json!({"class": class.as_str(), "code": code, "error": text}),
        ),
    };
    let target = ("connection_test", &*id.to_string());
    system_events::record(db, action, &Author::system(), target, &what).await
}

async fn notify_finished(db: &Tenant<'_>, id: TestId) -> Result<(), Error> {
    let sql = "select pg_notify($1, $2)";
    db.query(sql, &[&FINISHED_CHANNEL, &id.to_string()]).await?;
    Ok(())
}

/// Gives a test back unfinished, to be published again at once.
///
/// # Errors
/// Postgres's.
pub async fn give_back(db: &Tenant<'_>, id: TestId, token: LeaseToken) -> Result<(), Error> {
    let sql = "
        update connection_tests
           set state = 'queued', lease_token = null, lease_expires_at = null,
               published_at = null
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    db.execute(sql, &[db.org(), &id, &token]).await?;
    Ok(())
}
