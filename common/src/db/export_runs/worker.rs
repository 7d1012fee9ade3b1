//! What a worker does to a run: every write names the lease's token, and zero rows touched mean that
//! the lease was lost.

use std::time::Duration;

use tokio_postgres::Row;

use super::super::{
    Client, Error, Failure, FailureClass, Tenant, connection_tests::ReplyTo, destination,
    export_objects::LEFT_OPEN, seconds,
};
use crate::{
    destination::Destination,
    ids::{LeaseToken, RunId},
};

/// A run in a worker's hands.
#[derive(Debug)]
pub struct Claimed {
    /// Where its events go.
    pub destination: Destination,
    /// The destination's version.
    pub version: i64,
    /// The organisation's external id.
    pub external_id: String,
    /// The last delivered sequence number.
    pub cursor_seq: i64,
    /// How often the run was claimed, this time included.
    pub attempts: i32,
    /// Whether it was given back because of a failure.
    pub failed_before: bool,
    /// Whether uploads of earlier objects may be open.
    pub uploads_left_open: bool,
    /// Where the outcome goes besides the results exchange.
    pub reply_to: ReplyTo,
}

/// Takes a run that is due, of an organisation that is active; `None` where either is not so, or where
/// it was given back because of a failure and those are not `wanted`.
///
/// # Errors
/// Postgres's.
pub async fn claim(
    db: &Tenant<'_>,
    id: RunId,
    token: LeaseToken,
    lease: Duration,
    failed_wanted: bool,
) -> Result<Option<Claimed>, Error> {
    let sql = format!(
        "
        update export_runs r
           set state = 'running', lease_token = $3,
               lease_expires_at = now() + make_interval(secs => $4),
               attempts = r.attempts + 1, started_at = coalesce(r.started_at, now()),
               destination_version = c.version
          from export_configs c
          join export_state s on s.org_id = c.org_id
          join orgs o on o.id = c.org_id
         where r.org_id = $1 and r.id = $2 and r.state = 'queued' and r.not_before <= now()
           and (r.error_class is null or $5)
           and c.org_id = r.org_id and delivery_state(c, s) = 'active'
        returning c.bucket, c.region, c.role_arn, c.prefix, c.bucket_owner, c.kms_key_arn,
                  c.compression, c.version, s.cursor_seq,
                  o.external_id, r.attempts, r.reply_to, r.correlation_id,
                  r.error_class is not null as failed_before,
                  exists (select from export_objects p
                           where p.org_id = r.org_id and {LEFT_OPEN}) as uploads_left_open"
    );
    let row = db
        .query_opt(
            &sql,
            &[db.org(), &id, &token, &seconds(lease), &failed_wanted],
        )
        .await?;
    row.as_ref().map(claimed).transpose()
}

fn claimed(row: &Row) -> Result<Claimed, Error> {
    Ok(Claimed {
        destination: destination(row)?,
        version: row.get("version"),
        external_id: row.get("external_id"),
        cursor_seq: row.get("cursor_seq"),
        attempts: row.get("attempts"),
        failed_before: row.get("failed_before"),
        uploads_left_open: row.get("uploads_left_open"),
        reply_to: ReplyTo {
            queue: row.get("reply_to"),
            correlation_id: row.get("correlation_id"),
        },
    })
}

/// Fails a run that is due though its organisation is not active. `None` where it is not so.
///
/// # Errors
/// Postgres's.
pub async fn reject_inactive(db: &Tenant<'_>, id: RunId) -> Result<Option<ReplyTo>, Error> {
    let sql = "
        update export_runs r
           set state = 'failed', finished_at = now(), error_class = $3, error_code = $3,
               error = 'delivery was not active when the run was to begin'
         where r.org_id = $1 and r.id = $2 and r.state = 'queued' and r.not_before <= now()
           and not exists (select from export_configs c
                             join export_state s on s.org_id = c.org_id
                            where c.org_id = r.org_id and delivery_state(c, s) = 'active')
        returning r.reply_to, r.correlation_id";
    let row = db
        .query_opt(sql, &[db.org(), &id, &FailureClass::NotActive.as_str()])
        .await?;
    Ok(row.map(|row| ReplyTo {
        queue: row.get("reply_to"),
        correlation_id: row.get("correlation_id"),
    }))
}

/// Extends a lease; false when it was lost.
///
/// # Errors
/// Postgres's.
pub async fn renew(
    db: &Tenant<'_>,
    id: RunId,
    token: LeaseToken,
    lease: Duration,
) -> Result<bool, Error> {
    let sql = "
        update export_runs set lease_expires_at = now() + make_interval(secs => $4)
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    Ok(db
        .execute(sql, &[db.org(), &id, &token, &seconds(lease)])
        .await?
        == 1)
}

/// Puts a run off that was given back because of a failure and that nobody has a slot for: it is
/// published again soon, the later the more often it was tried. False where it is not such a run.
///
/// # Errors
/// Postgres's.
pub async fn put_off(db: &Tenant<'_>, id: RunId) -> Result<bool, Error> {
    let sql = "
        update export_runs
           set published_at = null,
               not_before = now() + make_interval(secs => least(2 * attempts, 30))
         where org_id = $1 and id = $2 and state = 'queued' and not_before <= now()
           and error_class is not null";
    Ok(db.execute(sql, &[db.org(), &id]).await? == 1)
}

/// Whether runs have been due for a while and nobody has had a slot for them, those that were given
/// back because of a failure among them or not.
///
/// # Errors
/// Postgres's.
pub async fn others_wait(db: &Client, failed_too: bool) -> Result<bool, Error> {
    let statement = db.prepare_cached("select runs_wait($1) as wait").await?;
    let row = db.query_one(&statement, &[&failed_too]).await?;
    Ok(row.get("wait"))
}

/// Adds a stored object to what the run delivered; false when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn add_object(
    db: &Tenant<'_>,
    id: RunId,
    token: LeaseToken,
    object: &Delivered,
) -> Result<bool, Error> {
    let sql = "
        update export_runs
           set first_seq = coalesce(first_seq, $4), last_seq = $5, events = events + $6,
               bytes = bytes + $7, objects = objects + 1, lost_leases = 0
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    let Delivered {
        first_seq,
        last_seq,
        events,
        bytes,
    } = object;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [db.org(), &id, &token, first_seq, last_seq, events, bytes];
    Ok(db.execute(sql, &params).await? == 1)
}

/// What one object delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Its first sequence number.
    pub first_seq: i64,
    /// Its last sequence number.
    pub last_seq: i64,
    /// Its events.
    pub events: i64,
    /// Its size, in bytes.
    pub bytes: i64,
}

/// Ends a run well and returns the events it delivered; `None` when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn succeed(db: &Tenant<'_>, id: RunId, token: LeaseToken) -> Result<Option<i64>, Error> {
    let sql = "
        update export_runs
           set state = 'succeeded', finished_at = now(), lease_token = null,
               lease_expires_at = null, error_class = null, error_code = null, error = null
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3
        returning events";
    let row = db.query_opt(sql, &[db.org(), &id, &token]).await?;
    Ok(row.map(|row| row.get("events")))
}

/// Ends a run badly; false when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn fail(
    db: &Tenant<'_>,
    id: RunId,
    token: LeaseToken,
    failure: &Failure,
) -> Result<bool, Error> {
    let sql = "
        update export_runs
           set state = 'failed', finished_at = now(), lease_token = null,
               lease_expires_at = null, error_class = $4, error_code = $5, error = $6
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    let Failure { class, code, text } = failure;
    Ok(db
        .execute(sql, &[db.org(), &id, &token, &class.as_str(), code, text])
        .await?
        == 1)
}

/// Gives a run back to the queue, to be published again after the pause, with the reason if there is
/// one. The pause doubles with every claim, up to `longest`. False when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn give_back(
    db: &Tenant<'_>,
    id: RunId,
    token: LeaseToken,
    reason: Option<&Failure>,
    pauses: GiveBackPauses,
) -> Result<bool, Error> {
    let sql = "
        update export_runs
           set state = 'queued', lease_token = null, lease_expires_at = null,
               published_at = null, lost_leases = 0,
               not_before = now() + make_interval(
                   secs => least($4 * 2 ^ least(attempts - 1, 30), $5)),
               error_class = $6, error_code = $7, error = $8
         where org_id = $1 and id = $2 and state = 'running' and lease_token = $3";
    let class = reason.map(|f| f.class.as_str());
    let code = reason.map(|f| f.code.as_str());
    let text = reason.map(|f| f.text.as_str());
    let (first, longest) = (seconds(pauses.first), seconds(pauses.longest));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        db.org(),
        &id,
        &token,
        &first,
        &longest,
        &class,
        &code,
        &text,
    ];
    Ok(db.execute(sql, &params).await? == 1)
}

/// How long a run that was given back waits.
#[derive(Debug, Clone, Copy)]
pub struct GiveBackPauses {
    /// After the first claim.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

/// Notes something an admin should know about a run.
///
/// # Errors
/// Postgres's.
pub async fn warn(db: &Tenant<'_>, id: RunId, warning: &str) -> Result<(), Error> {
    let sql = "
        update export_runs set warning = concat_ws(' ', warning, $3::text)
         where org_id = $1 and id = $2";
    db.execute(sql, &[db.org(), &id, &warning]).await?;
    Ok(())
}
