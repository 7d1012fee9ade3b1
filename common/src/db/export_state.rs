//! `export_state`: how far an organisation's delivery has come, and whether it is paused. Made with
//! the organisation; written by the API's scheduler and saves, and by the exporter.

use std::time::Duration;

use super::{Error, GenericClient, export_objects::LEFT_OPEN, seconds};
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
pub async fn lock(db: &impl GenericClient, org: &OrgId) -> Result<Option<Progress>, Error> {
    let statement = db
        .prepare_cached(
            "select cursor_seq, last_version, started from export_state
              where org_id = $1 for no key update",
        )
        .await?;
    let row = db.query_opt(&statement, &[org]).await?;
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
pub async fn begin(
    db: &impl GenericClient,
    org: &OrgId,
    version: i64,
    cursor_seq: i64,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update export_state set started = true, last_version = $2, cursor_seq = $3
              where org_id = $1",
        )
        .await?;
    db.execute(&statement, &[org, &version, &cursor_seq])
        .await?;
    Ok(())
}

/// Ends a pause, if there is one, and has the scheduler look at once; a run that waits is due now.
///
/// # Errors
/// Postgres's.
pub async fn resume(db: &impl GenericClient, org: &OrgId) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "with run as (
                 update export_runs set not_before = now(), published_at = null
                  where org_id = $1 and state = 'queued' and not_before > now()
             )
             update export_state
                set paused_at = null, pause_class = null, pause_error = null,
                    next_probe_at = null, probe_failures = 0, internal_failures = 0,
                    next_check_at = now()
              where org_id = $1",
        )
        .await?;
    db.execute(&statement, &[org]).await?;
    Ok(())
}

/// Pauses delivery, or keeps it paused after another failed probe.
///
/// # Errors
/// Postgres's.
pub async fn pause(
    db: &impl GenericClient,
    org: &OrgId,
    class: &str,
    error: &str,
    pauses: ProbePauses,
) -> Result<(), Error> {
    let statement = db
        .prepare_cached(
            "update export_state
                set paused_at = coalesce(paused_at, now()), pause_class = $2, pause_error = $3,
                    next_probe_at = now() + make_interval(
                        secs => least($4 * 2 ^ least(probe_failures, 30), $5)),
                    probe_failures = probe_failures + 1,
                    next_check_at = null
              where org_id = $1",
        )
        .await?;
    let (first, longest) = (seconds(pauses.first), seconds(pauses.longest));
    db.execute(&statement, &[org, &class, &error, &first, &longest])
        .await?;
    Ok(())
}

/// Moves the cursor over a delivered range; false when it does not stand right before the range.
///
/// # Errors
/// Postgres's.
pub async fn advance(
    db: &impl GenericClient,
    org: &OrgId,
    from: i64,
    to: i64,
) -> Result<bool, Error> {
    let statement = db
        .prepare_cached(
            "update export_state set cursor_seq = $3, internal_failures = 0
              where org_id = $1 and cursor_seq = $2",
        )
        .await?;
    Ok(db.execute(&statement, &[org, &from, &to]).await? == 1)
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
pub async fn look_at_due(
    db: &impl GenericClient,
    interval: Duration,
    limit: i64,
) -> Result<Due, Error> {
    let statement = db
        .prepare_cached(&format!(
            "with due as (
                 select s.org_id, s.cursor_seq, delivery_state(c, s) as state, c.version,
                        c.bucket, c.region, c.role_arn, c.prefix
                   from export_state s
                   left join export_configs c on c.org_id = s.org_id
                  where s.next_check_at <= now()
                  order by s.next_check_at
                  limit $1
                    for no key update of s skip locked
             ), looked_at as (
                 update export_state s
                    set next_check_at = case when d.state in ('active', 'awaiting_test')
                        then now() + make_interval(secs => $2) end
                   from due d
                  where s.org_id = d.org_id
             ), tests as (
                 insert into connection_tests
                        (id, org_id, trigger, version, bucket, region, role_arn, prefix,
                         published_at)
                 select gen_random_uuid(), d.org_id, 'automatic', d.version, d.bucket, d.region,
                        d.role_arn, d.prefix, now()
                   from due d
                  where d.state = 'awaiting_test'
                     on conflict do nothing
                 returning id, org_id
             ), runs as (
                 insert into export_runs (id, org_id, trigger, published_at)
                 select gen_random_uuid(), d.org_id, 'schedule', now()
                   from due d
                  where d.state = 'active'
                    and (d.cursor_seq < (select q.next_seq - 1 from org_sequences q
                                          where q.org_id = d.org_id)
                         or exists (select from export_objects o
                                     where o.org_id = d.org_id and {LEFT_OPEN}
                                       and coalesce(o.stored_at, o.created_at)
                                           > now() - interval '1 hour'))
                     on conflict do nothing
                 returning id, org_id
             )
             select 'look' as kind, org_id, null::uuid as id from due
             union all select 'test', org_id, id from tests
             union all select 'run', org_id, id from runs"
        ))
        .await?;
    let mut due = Due::default();
    for row in db.query(&statement, &[&limit, &seconds(interval)]).await? {
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
pub async fn queue_due_probes(
    db: &impl GenericClient,
    limit: i64,
) -> Result<Vec<(OrgId, TestId)>, Error> {
    // The test's end sets the real time of the next probe; a minute is for a test that never ends.
    let statement = db
        .prepare_cached(
            "with due as (
                 select s.org_id, c.version, c.bucket, c.region, c.role_arn, c.prefix
                   from export_state s
                   join export_configs c on c.org_id = s.org_id
                  where s.next_probe_at <= now()
                  order by s.next_probe_at
                  limit $1
                    for no key update of s skip locked
             ), looked_at as (
                 update export_state s set next_probe_at = now() + interval '1 minute'
                   from due d where s.org_id = d.org_id
             )
             insert into connection_tests
                    (id, org_id, trigger, version, bucket, region, role_arn, prefix, published_at)
             select gen_random_uuid(), d.org_id, 'probe', d.version, d.bucket, d.region,
                    d.role_arn, d.prefix, now()
               from due d
                 on conflict do nothing
             returning id, org_id",
        )
        .await?;
    let rows = db.query(&statement, &[&limit]).await?;
    Ok(rows
        .iter()
        .map(|row| (row.get("org_id"), row.get("id")))
        .collect())
}
