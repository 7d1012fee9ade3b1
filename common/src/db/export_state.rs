//! `export_state`: how far an organisation's delivery has come, and whether it is paused. Made with
//! the organisation; written by the API's scheduler and saves, and by the exporter.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Client, Error, Failure, Tenant,
    export_configs::DeliveryState,
    seconds,
    system_events::{self, Action, Author},
};
use crate::ids::{OrgId, RunId, TestId};

/// How the probes of a paused destination are spaced: the first pause, doubled after every failed
/// probe up to the last.
#[derive(Debug, Clone, Copy)]
pub struct ProbePauses {
    /// From pausing to the first probe.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// How far delivery has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The last delivered sequence number.
    pub cursor_seq: i64,
    /// The last version a destination got.
    pub last_version: i64,
    /// Whether there ever was a config.
    pub started: bool,
}

/// Locks the organisation's row until the transaction's end and reads it: first of the locks in the
/// agreed order.
///
/// # Errors
/// Postgres's.
pub async fn lock(db: &Tenant<'_>) -> Result<Option<Progress>, Error> {
    let sql = "
        select cursor_seq, last_version, started from export_state
         where org_id = $1 for no key update";
    let row = db.query_opt(sql, &[db.org()]).await?;
    Ok(row.map(|row| Progress {
        cursor_seq: row.get("cursor_seq"),
        last_version: row.get("last_version"),
        started: row.get("started"),
    }))
}

/// Records that a config was saved: the version it got, and where delivery begins.
///
/// # Errors
/// Postgres's.
pub async fn begin(db: &Tenant<'_>, version: i64, cursor_seq: i64) -> Result<(), Error> {
    let sql = "
        update export_state set started = true, last_version = $2, cursor_seq = $3
         where org_id = $1";
    db.execute(sql, &[db.org(), &version, &cursor_seq]).await?;
    Ok(())
}

/// Ends a pause, if there is one, after a test that passed. How often it was probed is not forgotten
/// until something is delivered.
///
/// # Errors
/// Postgres's.
pub async fn resume(db: &Tenant<'_>) -> Result<(), Error> {
    if end_pause(db).await? {
        record(
            db,
            Action::DeliveryResumed,
            json!({"because": "test_passed"}),
        )
        .await?;
    }
    Ok(())
}

/// Likewise for a config that has just been replaced or deleted: what its probes came to says nothing of
/// the next.
///
/// # Errors
/// Postgres's.
pub async fn start_over(db: &Tenant<'_>) -> Result<(), Error> {
    let sql = "update export_state set probe_failures = 0 where org_id = $1";
    db.execute(sql, &[db.org()]).await?;
    if end_pause(db).await? {
        record(
            db,
            Action::DeliveryResumed,
            json!({"because": "config_changed"}),
        )
        .await?;
    }
    Ok(())
}

/// Has the scheduler look at once; a run that waits is due now. True where there was a pause.
async fn end_pause(db: &Tenant<'_>) -> Result<bool, Error> {
    let sql = "
        with run as (
            update export_runs set not_before = now(), published_at = null
             where org_id = $1 and state = 'queued' and not_before > now()
        )
        update export_state s
           set paused_at = null, pause_class = null, pause_error = null, next_probe_at = null,
               resumed_at = case when b.paused_at is null then s.resumed_at else now() end,
               internal_failures = 0, next_check_at = now()
          from export_state b
         where s.org_id = $1 and b.org_id = s.org_id
        returning b.paused_at is not null as was_paused";
    let row = db.query_opt(sql, &[db.org()]).await?;
    Ok(row.is_some_and(|row| row.get("was_paused")))
}

/// Pauses delivery, or keeps it paused after another failed probe. The pauses before probes begin anew
/// only when the last trouble was over for a while.
///
/// # Errors
/// Postgres's.
pub async fn pause(db: &Tenant<'_>, failure: &Failure, pauses: ProbePauses) -> Result<(), Error> {
    let sql = "
        with before as (
            select org_id, paused_at,
                   case when paused_at is not null
                             or resumed_at > now() - make_interval(secs => 2 * $5::float8)
                       then probe_failures else 0 end as failures
              from export_state
             where org_id = $1
        )
        update export_state s
           set paused_at = coalesce(s.paused_at, now()), pause_class = $2, pause_error = $3,
               next_probe_at = now() + make_interval(
                   secs => least($4 * 2 ^ least(b.failures, 30), $5)),
               probe_failures = b.failures + 1,
               next_check_at = null
          from before b
         where s.org_id = b.org_id
        returning b.paused_at is null as newly";
    let (first, longest) = (seconds(pauses.first), seconds(pauses.longest));
    let class = failure.class.as_str();
    let row = db
        .query_opt(sql, &[db.org(), &class, &failure.text, &first, &longest])
        .await?;
    if row.is_some_and(|row| row.get("newly")) {
        let what = json!({"class": class, "code": failure.code, "error": failure.text});
        record(db, Action::DeliveryPaused, what).await?;
    }
    Ok(())
}

async fn record(db: &Tenant<'_>, action: Action, what: Value) -> Result<(), Error> {
    let target = ("audit_export", db.org().as_str());
    system_events::record(db, action, &Author::system(), target, &what).await
}

/// Moves the cursor over a delivered range; false when it does not stand right before the range.
///
/// # Errors
/// Postgres's.
pub async fn advance(db: &Tenant<'_>, from: i64, to: i64) -> Result<bool, Error> {
    let sql = "
        update export_state
           set cursor_seq = $3, internal_failures = 0, probe_failures = 0
         where org_id = $1 and cursor_seq = $2";
    Ok(db.execute(sql, &[db.org(), &from, &to]).await? == 1)
}

/// How an organisation's delivery stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether events are delivered; `None` where there is no config.
    pub state: Option<DeliveryState>,
    /// Why delivery is paused.
    pub pause_error: Option<String>,
    /// Since when.
    pub paused_at: Option<Timestamp>,
    /// When a paused destination is next tried.
    pub next_probe_at: Option<Timestamp>,
    /// The last delivered sequence number.
    pub cursor_seq: i64,
    /// Events that are not delivered yet.
    pub pending_events: i64,
    /// The size of their lines, in bytes.
    pub pending_bytes: i64,
    /// When the oldest of them was recorded, and how long ago that is by Postgres's clock, in seconds.
    pub oldest_pending: Option<(Timestamp, i64)>,
    /// When an object was last delivered.
    pub last_exported_at: Option<Timestamp>,
    /// The last failure of a test or a delivery, until one succeeds.
    pub last_error: Option<String>,
    /// The run that is queued or at work.
    pub active_run: Option<RunId>,
    /// When it may begin; without one, when it is next looked whether one is due.
    pub next_run_at: Option<Timestamp>,
}

/// The statement of [`status`], for whoever measures or explains it.
pub const STATUS: &str = "
    select case when c.id is not null then delivery_state(c, s) end as state, s.pause_error, s.paused_at, s.next_probe_at,
           s.cursor_seq, c.last_exported_at, c.last_error,
           case when e.seq is null then 0 else q.next_seq - 1 - s.cursor_seq end
               as pending_events,
           case when e.seq is null then 0
                else q.total_bytes - (e.end_bytes - octet_length(e.line) - 1) end
               as pending_bytes,
           e.recorded_at as oldest_at,
           extract(epoch from now() - e.recorded_at)::bigint as oldest_age,
           r.id as run_id,
           case when r.state = 'running' then null
                else coalesce(r.not_before, s.next_check_at) end as next_run_at
      from export_state s
      join org_sequences q on q.org_id = s.org_id
      left join export_configs c on c.org_id = s.org_id
      left join export_runs r on r.org_id = s.org_id and r.state in ('queued', 'running')
      left join lateral (
          select a.seq, a.recorded_at, a.end_bytes, a.line from audit_events a
           where a.org_id = s.org_id and a.seq > s.cursor_seq
           order by a.seq
           limit 1) e on true
     where s.org_id = $1";

/// How the organisation's delivery stands. It costs the same whatever is pending: numbers and sizes are
/// differences of running totals.
///
/// # Errors
/// Postgres's.
pub async fn status(db: &Tenant<'_>) -> Result<Option<Status>, Error> {
    let row = db.query_opt(STATUS, &[db.org()]).await?;
    Ok(row.map(|row| Status {
        state: row
            .get::<_, Option<&str>>("state")
            .map(DeliveryState::from_sql),
        pause_error: row.get("pause_error"),
        paused_at: row.get("paused_at"),
        next_probe_at: row.get("next_probe_at"),
        cursor_seq: row.get("cursor_seq"),
        pending_events: row.get("pending_events"),
        pending_bytes: row.get("pending_bytes"),
        oldest_pending: row
            .get::<_, Option<Timestamp>>("oldest_at")
            .zip(row.get("oldest_age")),
        last_exported_at: row.get("last_exported_at"),
        last_error: row.get("last_error"),
        active_run: row.get("run_id"),
        next_run_at: row.get("next_run_at"),
    }))
}

/// What [`look_at_due`] queued.
#[derive(Debug, Default)]
pub struct Due {
    /// How many organisations were looked at: as many as the limit means that more may be due.
    pub looked_at: i64,
    /// The runs that were queued.
    pub runs: Vec<(OrgId, RunId)>,
    /// The tests that were queued.
    pub tests: Vec<(OrgId, TestId)>,
}

/// Looks at the organisations whose time has come, at most `limit` a call, and queues what is due for
/// them: runs and tests. What is queued counts as published: the caller publishes it now.
///
/// # Errors
/// Postgres's.
pub async fn look_at_due(db: &Client, interval: Duration, limit: i64) -> Result<Due, Error> {
    let sql = "select kind, org_id, id from look_at_due_orgs($1, $2)";
    let statement = db.prepare_cached(sql).await?;
    let mut due = Due::default();
    for row in db.query(&statement, &[&seconds(interval), &limit]).await? {
        let org = row.get("org_id");
        match row.get("kind") {
            "test" => due.tests.push((org, row.get("id"))),
            "run" => due.runs.push((org, row.get("id"))),
            _ => due.looked_at += 1,
        }
    }
    Ok(due)
}

/// Queues a probe, which is a test, for each paused organisation whose probe is due. The tests count
/// as published: the caller publishes them now.
///
/// # Errors
/// Postgres's.
pub async fn queue_due_probes(db: &Client, limit: i64) -> Result<Vec<(OrgId, TestId)>, Error> {
    let sql = "select org_id, id from queue_due_probes($1)";
    let statement = db.prepare_cached(sql).await?;
    let rows = db.query(&statement, &[&limit]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("org_id"), row.get("id")))
        .collect())
}
