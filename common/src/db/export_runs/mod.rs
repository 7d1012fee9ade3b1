//! `export_runs`: one row per batch run. Inserted by the API's scheduler and by admins, or by the
//! exporter (the next run of an organisation with more pending, runs that others submit); moved by
//! the exporter that holds the lease, and taken back by the scheduler when the lease has expired.

mod scheduler;
mod worker;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Error, Owner, Tenant, connection_tests::ReplyTo, is_unique_violation};
use crate::ids::{OrgId, RunId};

pub use scheduler::{mark_unpublished, take_back_expired, take_unpublished};
pub use worker::{
    Claimed, Delivered, GiveBackPauses, add_object, claim, fail, give_back, others_wait, put_off,
    reject_inactive, renew, succeed, warn,
};

/// A run as it is shown.
#[derive(Debug, Clone)]
pub struct ExportRun {
    /// Its id.
    pub id: RunId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Why it exists: `schedule`, `manual`, `continuation` or `submitted`.
    pub trigger: String,
    /// `queued`, `running`, `succeeded` or `failed`.
    pub state: String,
    /// Not claimed before.
    pub not_before: Timestamp,
    /// How often it was claimed.
    pub attempts: i32,
    /// The first delivered sequence number.
    pub first_seq: Option<i64>,
    /// The last delivered sequence number.
    pub last_seq: Option<i64>,
    /// Delivered events.
    pub events: i64,
    /// Size of the delivered objects, in bytes.
    pub bytes: i64,
    /// Delivered objects.
    pub objects: i32,
    /// The class of the failure, or of the reason why it was given back.
    pub error_class: Option<String>,
    /// Its stable name.
    pub error_code: Option<String>,
    /// What to do about it.
    pub error: Option<String>,
    /// What else an admin should know, such as an object of unknown outcome.
    pub warning: Option<String>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

const COLUMNS: &str = "r.id, r.org_id, r.trigger, r.state, r.not_before, r.attempts, r.first_seq, \
     r.last_seq, r.events, r.bytes, r.objects, r.error_class, r.error_code, r.error, r.warning, \
     r.created_at, r.started_at, r.finished_at";

impl From<&Row> for ExportRun {
    fn from(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            org_id: row.get("org_id"),
            trigger: row.get("trigger"),
            state: row.get("state"),
            not_before: row.get("not_before"),
            attempts: row.get("attempts"),
            first_seq: row.get("first_seq"),
            last_seq: row.get("last_seq"),
            events: row.get("events"),
            bytes: row.get("bytes"),
            objects: row.get("objects"),
            error_class: row.get("error_class"),
            error_code: row.get("error_code"),
            error: row.get("error"),
            warning: row.get("warning"),
            created_at: row.get("created_at"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
        }
    }
}

/// The organisation's runs, newest first: at most `limit`, older than the run `before`, in `state`.
///
/// # Errors
/// Postgres's.
pub async fn list(
    db: &Tenant<'_>,
    limit: i64,
    before: Option<RunId>,
    state: Option<&str>,
) -> Result<Vec<ExportRun>, Error> {
    let sql = format!(
        "
        select {COLUMNS} from export_runs r
         where r.org_id = $1
           and ($3::uuid is null or (r.created_at, r.id) <
                (select b.created_at, b.id from export_runs b
                  where b.org_id = $1 and b.id = $3))
           and ($4::text is null or r.state = $4)
         order by r.created_at desc, r.id desc
         limit $2"
    );
    let rows = db.query(&sql, &[db.org(), &limit, &before, &state]).await?;
    Ok(rows.iter().map(ExportRun::from).collect())
}

/// One run of the organisation.
///
/// # Errors
/// Postgres's.
pub async fn find(db: &Tenant<'_>, id: RunId) -> Result<Option<ExportRun>, Error> {
    let sql = format!("select {COLUMNS} from export_runs r where r.org_id = $1 and r.id = $2");
    Ok(db
        .query_opt(&sql, &[db.org(), &id])
        .await?
        .as_ref()
        .map(ExportRun::from))
}

/// Who has a run of this id, whatever its state.
///
/// # Errors
/// Postgres's.
pub async fn owner(db: &Tenant<'_>, id: RunId) -> Result<Owner, Error> {
    let sql = "
        select exists (select from export_runs where org_id = $1 and id = $2) as this,
               is_run_of_another_org($1, $2) as another";
    let row = db.query_one(sql, &[db.org(), &id]).await?;
    Ok(match (row.get("this"), row.get("another")) {
        (true, _) => Owner::This,
        (_, true) => Owner::Another,
        _ => Owner::Nobody,
    })
}

/// What came of asking for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// It is queued, and counts as published: the caller publishes it now.
    Queued,
    /// Another run of the organisation is queued or running, or the id is taken.
    RunInProgress,
    /// Delivery is not configured, disabled, not tested yet, or paused.
    NotActive,
}

/// Queues a run of an active organisation.
///
/// # Errors
/// Postgres's.
pub async fn request(
    db: &Tenant<'_>,
    id: RunId,
    trigger: &str,
    reply_to: &ReplyTo,
) -> Result<Requested, Error> {
    let sql = "
        insert into export_runs (id, org_id, trigger, reply_to, correlation_id, published_at)
        select $2, s.org_id, $3, $4, $5, now()
          from export_state s
          join export_configs c on c.org_id = s.org_id
         where s.org_id = $1 and delivery_state(c, s) = 'active'";
    let ReplyTo {
        queue,
        correlation_id,
    } = reply_to;
    match db
        .execute(sql, &[db.org(), &id, &trigger, queue, correlation_id])
        .await
    {
        Ok(0) => Ok(Requested::NotActive),
        Ok(_) => Ok(Requested::Queued),
        Err(e) if is_unique_violation(&e) => Ok(Requested::RunInProgress),
        Err(e) => Err(e),
    }
}

/// Queues the next run of an organisation whose last one hit its bound, in the transaction that ends
/// the last one. It counts as published: the caller publishes it after the commit.
///
/// # Errors
/// Postgres's.
pub async fn queue_continuation(db: &Tenant<'_>) -> Result<RunId, Error> {
    let sql = "
        insert into export_runs (id, org_id, trigger, published_at)
        values ($2, $1, 'continuation', now())";
    let id = RunId::new();
    db.execute(sql, &[db.org(), &id]).await?;
    Ok(id)
}
