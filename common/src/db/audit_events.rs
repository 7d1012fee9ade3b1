//! `audit_events` and `audit_event_ids`. Written by the SQL functions `append_audit_events` and
//! `append_prepared_audit_events` alone; read by the exporter.

use std::fmt::Display;

use jiff::{Timestamp, civil::Date};
use tokio_postgres::types::Type;

use super::{Error, Tenant};

/// SQLSTATE of `append_…_audit_events`: no organisation has the id.
pub const UNKNOWN_ORG: &str = "AE001";

/// Events whose lines are prepared, column by column; all slices have one length.
///
/// The exported line is `{"seq":N,` + head + `,"recordedAt":"…"` + tail.
#[derive(Debug, Default)]
pub struct PreparedEvents<'a> {
    /// The ids, unescaped, by which duplicates are recognised.
    pub ids: Vec<&'a str>,
    /// When each happened.
    pub occurred_at: Vec<Timestamp>,
    /// `"id":…,"orgId":…,"occurredAt":…`
    pub heads: Vec<&'a str>,
    /// `,"action":…,"actor":…` and so on to the closing brace.
    pub tails: Vec<&'a str>,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Events that are stored now.
    pub accepted: i64,
    /// Events whose id was seen before, which are left out.
    pub duplicates: i64,
    /// The organisation's last sequence number.
    pub last_seq: i64,
}

/// Why an append did nothing.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No organisation has the id.
    #[error("no organisation has this id")]
    UnknownOrg,
    /// Postgres's own.
    #[error(transparent)]
    Database(#[from] Error),
}

/// Appends events, all or none. Outside a transaction of the caller's the append is durable when
/// this returns.
///
/// # Errors
/// The organisation does not exist, or Postgres's own.
pub async fn append(db: &Tenant<'_>, events: &PreparedEvents<'_>) -> Result<Appended, AppendError> {
    let sql = "
        select accepted, duplicates, last_seq
          from append_prepared_audit_events($1, $2, $3, $4, $5)";
    let PreparedEvents {
        ids,
        occurred_at,
        heads,
        tails,
    } = events;
    match db
        .query_one(sql, &[db.org(), ids, occurred_at, heads, tails])
        .await
    {
        Ok(row) => Ok(Appended {
            accepted: row.get("accepted"),
            duplicates: row.get("duplicates"),
            last_seq: row.get("last_seq"),
        }),
        Err(e) if e.code().is_some_and(|c| c.code() == UNKNOWN_ORG) => Err(AppendError::UnknownOrg),
        Err(e) => Err(e.into()),
    }
}

/// A contiguous range of events of one UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Its first sequence number.
    pub first_seq: i64,
    /// Its last sequence number.
    pub last_seq: i64,
    /// The UTC day on which all of it was recorded.
    pub recorded_on: Date,
}

/// The next range after `after`, bounded by events and by bytes of lines.
///
/// # Errors
/// Postgres's.
pub async fn next_range(
    db: &Tenant<'_>,
    after: i64,
    max_events: i64,
    max_bytes: i64,
) -> Result<Option<Range>, Error> {
    let sql = "select first_seq, last_seq, recorded_on from next_export_range($1, $2, $3, $4)";
    let row = db
        .query_opt(sql, &[db.org(), &after, &max_events, &max_bytes])
        .await?;
    Ok(row.map(|row| Range {
        first_seq: row.get("first_seq"),
        last_seq: row.get("last_seq"),
        recorded_on: row.get("recorded_on"),
    }))
}

/// The last sequence number that is visible now; 0 where there is none.
///
/// # Errors
/// Postgres's.
pub async fn last_seq(db: &Tenant<'_>) -> Result<i64, Error> {
    let sql = "select coalesce(max(seq), 0) as seq from audit_events where org_id = $1";
    Ok(db.query_one(sql, &[db.org()]).await?.get("seq"))
}

/// So few events are read faster by a statement that is prepared once than by COPY, which is planned
/// anew each time.
const FEW_EVENTS: i64 = 200;

/// Hands out the next lines after `after` up to `last`, in order, each with its sequence number and
/// without a line feed: at most `max_events` of them and about `max_bytes` bytes, but at least one where
/// there is one.
///
/// # Errors
/// Postgres's; some lines may have been handed out by then.
pub async fn read_lines(
    db: &Tenant<'_>,
    after: i64,
    last: i64,
    max_events: i64,
    max_bytes: i64,
    mut each: impl FnMut(i64, &[u8]),
) -> Result<(), Error> {
    if last - after <= FEW_EVENTS {
        let sql = page("$1", "$2", "$3", "$4", "$5");
        let rows = db
            .query(&sql, &[db.org(), &after, &last, &max_events, &max_bytes])
            .await?;
        for row in rows {
            each(row.get(0), row.get::<_, &str>(1).as_bytes());
        }
        return Ok(());
    }
    // COPY takes no parameters. The id of an organisation holds nothing that would have to be quoted.
    let org = format!("'{}'", db.org());
    let query = page(&org, after, last, max_events, max_bytes);
    // As bytes: Postgres has made sure that it is UTF-8.
    db.copy(&query, &[Type::INT8, Type::BYTEA], |row| {
        each(row.get(0), row.get(1));
    })
    .await
}

fn page<T: Display>(org: &str, after: T, last: T, max_events: T, max_bytes: T) -> String {
    format!(
        "select seq, line from audit_events
          where org_id = {org} and seq > {after}
            and seq <= (select least({last}, r.last_seq)
                          from next_export_range({org}, {after}, {max_events}, {max_bytes}) r)
          order by seq"
    )
}
