//! `export_objects`: the frozen plans, and what became of them. Written by the exporter alone.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Error, Tenant};
use crate::{
    destination::Compression,
    ids::{LeaseToken, PlanId, RunId},
};

/// An object as it is shown.
#[derive(Debug, Clone)]
pub struct ExportObject {
    /// The bucket it is in.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// `planned`, `stored` or `abandoned`.
    pub state: String,
    /// Its first sequence number.
    pub first_seq: i64,
    /// Its last sequence number.
    pub last_seq: i64,
    /// Its events, once stored.
    pub events: Option<i64>,
    /// Its size in bytes, once stored.
    pub bytes: Option<i64>,
    /// SHA-256 of its bytes, once stored and where known without doubt.
    pub sha256: Option<Vec<u8>>,
    /// S3's ETag, where S3's answer was seen.
    pub etag: Option<String>,
    /// S3's version id, in a versioned bucket.
    pub version_id: Option<String>,
    /// When it was stored.
    pub stored_at: Option<Timestamp>,
}

/// The objects of one run, in sequence order.
///
/// # Errors
/// Postgres's.
pub async fn of_run(db: &Tenant<'_>, run: RunId) -> Result<Vec<ExportObject>, Error> {
    let sql = "
        select bucket, key, state, first_seq, last_seq, events, bytes, sha256, etag,
               version_id, stored_at
          from export_objects
         where org_id = $1 and run_id = $2
         order by first_seq, created_at";
    let rows = db.query(sql, &[db.org(), &run]).await?;
    Ok(rows.iter().map(object).collect())
}

fn object(row: &Row) -> ExportObject {
    ExportObject {
        bucket: row.get("bucket"),
        key: row.get("key"),
        state: row.get("state"),
        first_seq: row.get("first_seq"),
        last_seq: row.get("last_seq"),
        events: row.get("events"),
        bytes: row.get("bytes"),
        sha256: row.get("sha256"),
        etag: row.get("etag"),
        version_id: row.get("version_id"),
        stored_at: row.get("stored_at"),
    }
}

/// Whether the run that the plan belongs to is still held under the token `$3`.
const HELD: &str = "exists (select from export_runs r where r.id = run_id and r.state = 'running' \
     and r.lease_token = $3)";

/// What an object will hold and where, frozen before its first byte goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id, which stands in the key.
    pub id: PlanId,
    /// The destination's version when it was made or last adopted.
    pub destination_version: i64,
    /// The bucket.
    pub bucket: String,
    /// The bucket's region.
    pub region: String,
    /// The prefix that the key begins with.
    pub prefix: String,
    /// The key.
    pub key: String,
    /// How it is compressed.
    pub compression: Compression,
    /// The version of the code that turns lines into bytes.
    pub encoder_version: i32,
    /// Its first sequence number.
    pub first_seq: i64,
    /// Its last sequence number.
    pub last_seq: i64,
    /// A multipart upload of an earlier attempt that may still be open.
    pub upload_id: Option<String>,
    /// Whether there may be others, whose ids got lost.
    pub unfinished_uploads: bool,
    /// Whether an earlier attempt may have made an object visible under the key.
    pub attempted: bool,
}

/// The organisation's plan that is not yet carried out.
///
/// # Errors
/// Postgres's.
pub async fn planned(db: &Tenant<'_>) -> Result<Option<Plan>, Error> {
    let sql = "
        select plan_id, destination_version, bucket, region, prefix, key, codec,
               encoder_version, first_seq, last_seq, upload_id, unfinished_uploads,
               cardinality(sha256_candidates) > 0 as attempted
          from export_objects
         where org_id = $1 and state = 'planned'
           for no key update";
    let row = db.query_opt(sql, &[db.org()]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Plan {
        id: row.get("plan_id"),
        destination_version: row.get("destination_version"),
        bucket: row.get("bucket"),
        region: row.get("region"),
        prefix: row.get("prefix"),
        key: row.get("key"),
        compression: row.try_get("codec")?,
        encoder_version: row.get("encoder_version"),
        first_seq: row.get("first_seq"),
        last_seq: row.get("last_seq"),
        upload_id: row.get("upload_id"),
        unfinished_uploads: row.get("unfinished_uploads"),
        attempted: row.get("attempted"),
    }))
}

/// Freezes a plan for a run.
///
/// # Errors
/// Postgres's; a unique violation where the organisation has a plan already.
pub async fn insert(db: &Tenant<'_>, run: RunId, plan: &Plan) -> Result<(), Error> {
    let sql = "
        insert into export_objects
               (plan_id, org_id, run_id, destination_version, bucket, region, prefix, key,
                codec, encoder_version, first_seq, last_seq)
        values ($2, $1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 12] = [
        db.org(),
        &plan.id,
        &run,
        &plan.destination_version,
        &plan.bucket,
        &plan.region,
        &plan.prefix,
        &plan.key,
        &plan.compression.as_str(),
        &plan.encoder_version,
        &plan.first_seq,
        &plan.last_seq,
    ];
    db.execute(sql, &params).await?;
    Ok(())
}

/// Hands a plan to another run, under the destination's version of today.
///
/// # Errors
/// Postgres's.
pub async fn adopt(
    db: &Tenant<'_>,
    plan: PlanId,
    run: RunId,
    destination_version: i64,
) -> Result<(), Error> {
    let sql = "
        update export_objects set run_id = $3, destination_version = $4
         where org_id = $1 and plan_id = $2 and state = 'planned'";
    db.execute(sql, &[db.org(), &plan, &run, &destination_version])
        .await?;
    Ok(())
}

/// Gives a plan up: bucket or prefix have changed since.
///
/// # Errors
/// Postgres's.
pub async fn abandon(db: &Tenant<'_>, plan: PlanId) -> Result<(), Error> {
    let sql = "
        update export_objects set state = 'abandoned'
         where org_id = $1 and plan_id = $2 and state = 'planned'";
    db.execute(sql, &[db.org(), &plan]).await?;
    Ok(())
}

/// Records that a multipart upload is about to be begun; false when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn expect_upload(
    db: &Tenant<'_>,
    plan: PlanId,
    token: LeaseToken,
) -> Result<bool, Error> {
    let sql = format!(
        "
        update export_objects set unfinished_uploads = true, upload_id = null
         where org_id = $1 and plan_id = $2 and state = 'planned' and {HELD}"
    );
    Ok(db.execute(&sql, &[db.org(), &plan, &token]).await? == 1)
}

/// Records the multipart upload that is being filled, and whether there may be others; false when the
/// lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn set_upload(
    db: &Tenant<'_>,
    plan: PlanId,
    token: LeaseToken,
    upload_id: &str,
    others: bool,
) -> Result<bool, Error> {
    let sql = format!(
        "
        update export_objects set upload_id = $4, unfinished_uploads = $5
         where org_id = $1 and plan_id = $2 and state = 'planned' and {HELD}"
    );
    Ok(db
        .execute(&sql, &[db.org(), &plan, &token, &upload_id, &others])
        .await?
        == 1)
}

/// Commits the SHA-256 and the encoder's version before the request that makes the object visible;
/// false when the lease was lost.
///
/// # Errors
/// Postgres's.
pub async fn add_candidate(
    db: &Tenant<'_>,
    plan: PlanId,
    token: LeaseToken,
    sha256: &[u8],
    encoder_version: i32,
) -> Result<bool, Error> {
    let sql = format!(
        "
        update export_objects
           set encoder_version = $5,
               sha256_candidates = case when $4 = any (sha256_candidates)
                   then sha256_candidates else sha256_candidates || $4 end
         where org_id = $1 and plan_id = $2 and state = 'planned' and {HELD}"
    );
    Ok(db
        .execute(&sql, &[db.org(), &plan, &token, &sha256, &encoder_version])
        .await?
        == 1)
}

/// What is known of a stored object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its events.
    pub events: i64,
    /// The size of what this attempt sent, in bytes.
    pub bytes: i64,
    /// SHA-256 of what this attempt sent.
    pub sha256: Vec<u8>,
    /// S3's ETag; `None` when an earlier attempt had stored it.
    pub etag: Option<String>,
    /// S3's version id.
    pub version_id: Option<String>,
    /// Whether it is this attempt's bytes that are visible, or those of an earlier one.
    pub by_this_attempt: bool,
    /// Whether uploads may be open that could not be ended.
    pub unfinished_uploads: bool,
}

/// Marks a planned object stored; false when the lease was lost. Where an earlier
/// attempt stored it and the attempts' bytes differ, nothing is claimed of them.
///
/// # Errors
/// Postgres's.
pub async fn mark_stored(
    db: &Tenant<'_>,
    plan: PlanId,
    token: LeaseToken,
    stored: &Stored,
) -> Result<bool, Error> {
    let sql = format!(
        "
        update export_objects
           set state = 'stored', stored_at = now(), events = $4, upload_id = null,
               bytes = case when $9 or cardinality(sha256_candidates) = 1 then $5::bigint end,
               sha256 = case when $9 or cardinality(sha256_candidates) = 1 then $6::bytea end,
               etag = $7, version_id = $8, unfinished_uploads = $10
         where org_id = $1 and plan_id = $2 and state = 'planned' and {HELD}"
    );
    let Stored {
        events,
        bytes,
        sha256,
        etag,
        version_id,
        by_this_attempt,
        unfinished_uploads,
    } = stored;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
        db.org(),
        &plan,
        &token,
        events,
        bytes,
        sha256,
        etag,
        version_id,
        by_this_attempt,
        unfinished_uploads,
    ];
    Ok(db.execute(&sql, &params).await? == 1)
}

/// That uploads of an object may be open which nobody is at work on.
pub(super) const LEFT_OPEN: &str =
    "(unfinished_uploads or upload_id is not null) and state <> 'planned'";

/// An object that was delivered or given up, of which uploads may be open.
#[derive(Debug, Clone)]
pub struct LeftOpen {
    /// The plan.
    pub plan: PlanId,
    /// The bucket.
    pub bucket: String,
    /// The bucket's region.
    pub region: String,
    /// The key.
    pub key: String,
    /// An upload.
    pub upload_id: Option<String>,
    /// Whether there may be others.
    pub others: bool,
}

/// The organisation's objects of which uploads may be open, planned ones apart: at most ten.
///
/// # Errors
/// Postgres's.
pub async fn left_open(db: &Tenant<'_>) -> Result<Vec<LeftOpen>, Error> {
    let sql = format!(
        "
        select plan_id, bucket, region, key, upload_id, unfinished_uploads
          from export_objects
         where org_id = $1 and {LEFT_OPEN}
         order by first_seq
         limit 10"
    );
    let rows = db.query(&sql, &[db.org()]).await?;
    Ok(rows
        .iter()
        .map(|row| LeftOpen {
            plan: row.get("plan_id"),
            bucket: row.get("bucket"),
            region: row.get("region"),
            key: row.get("key"),
            upload_id: row.get("upload_id"),
            others: row.get("unfinished_uploads"),
        })
        .collect())
}

/// Records that nothing more can be done about an object's uploads.
///
/// # Errors
/// Postgres's.
pub async fn uploads_ended(db: &Tenant<'_>, plan: PlanId) -> Result<(), Error> {
    let sql = "
        update export_objects set unfinished_uploads = false, upload_id = null
         where org_id = $1 and plan_id = $2 and state <> 'planned'";
    db.execute(sql, &[db.org(), &plan]).await?;
    Ok(())
}
