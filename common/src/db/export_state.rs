//! `export_state`: how far an organisation's delivery has come, and whether it is paused. Made with
//! the organisation; written by the API's scheduler and saves, and by the exporter.

use std::time::Duration;

use super::{Client, Error, Tenant, seconds};
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

/// Ends a pause, if there is one, and has the scheduler look at once; a run that waits is due now.
///
/// # Errors
/// Postgres's.
pub async fn resume(db: &Tenant<'_>) -> Result<(), Error> {
    let sql = "
        with run as (
            update export_runs set not_before = now(), published_at = null
             where org_id = $1 and state = 'queued' and not_before > now()
        )
        update export_state
           set paused_at = null, pause_class = null, pause_error = null,
               next_probe_at = null, probe_failures = 0, internal_failures = 0,
               next_check_at = now()
         where org_id = $1";
    db.execute(sql, &[db.org()]).await?;
    Ok(())
}

/// Pauses delivery, or keeps it paused after another failed probe.
///
/// # Errors
/// Postgres's.
pub async fn pause(
    db: &Tenant<'_>,
    class: &str,
    error: &str,
    pauses: ProbePauses,
) -> Result<(), Error> {
    let sql = "
        update export_state
           set paused_at = coalesce(paused_at, now()), pause_class = $2, pause_error = $3,
               next_probe_at = now() + make_interval(
                   secs => least($4 * 2 ^ least(probe_failures, 30), $5)),
               probe_failures = probe_failures + 1,
               next_check_at = null
         where org_id = $1";
    let (first, longest) = (seconds(pauses.first), seconds(pauses.longest));
    db.execute(sql, &[db.org(), &class, &error, &first, &longest])
        .await?;
    Ok(())
}

/// Moves the cursor over a delivered range; false when it does not stand right before the range.
///
/// # Errors
/// Postgres's.
pub async fn advance(db: &Tenant<'_>, from: i64, to: i64) -> Result<bool, Error> {
    let sql = "
        update export_state set cursor_seq = $3, internal_failures = 0
         where org_id = $1 and cursor_seq = $2";
    Ok(db.execute(sql, &[db.org(), &from, &to]).await? == 1)
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

/// Looks at the organisations whose time has come and sets when each is looked at next. One that is
/// active and has something pending, be it an upload that was left open within the hour, gets a run; one that waits for a test and has none under way
/// gets a test. At most `limit` organisations a call; none that another replica has in hand. What is
/// queued counts as published: the caller publishes it now.
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
