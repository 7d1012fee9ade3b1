//! What Postgres holds of one organisation.

use std::pin::pin;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio_postgres::Client;
use uuid::Uuid;

/// The rows of one organisation.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) org: String,
    /// By seq.
    pub(super) events: Vec<EventRow>,
    /// `org_sequences.next_seq`.
    pub(super) next_seq: Option<i64>,
    /// `export_state`.
    pub(super) state: Option<StateRow>,
    /// Its config's version, and the version that passed a test.
    pub(super) config: Option<(i64, Option<i64>)>,
    /// By first seq.
    pub(super) objects: Vec<ObjectRow>,
    pub(super) runs: Vec<RunRow>,
}

/// A row of `audit_events`.
#[derive(Debug, Clone)]
pub(super) struct EventRow {
    pub(super) seq: i64,
    pub(super) id: String,
    /// In the form in which it is exported.
    pub(super) recorded_at: String,
    pub(super) line: String,
}

/// The row of `export_state`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StateRow {
    pub(super) cursor_seq: i64,
    pub(super) last_version: i64,
}

/// A row of `export_objects`.
#[derive(Debug, Clone)]
pub(super) struct ObjectRow {
    pub(super) plan_id: Uuid,
    pub(super) destination_version: i64,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) key: String,
    pub(super) codec: String,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    pub(super) state: String,
    pub(super) sha256_candidates: Vec<Vec<u8>>,
    pub(super) events: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) sha256: Option<Vec<u8>>,
    pub(super) stored_at: Option<Timestamp>,
}

/// A row of `export_runs`.
#[derive(Debug, Clone)]
pub(super) struct RunRow {
    pub(super) id: Uuid,
    pub(super) state: String,
    pub(super) lease_expired: bool,
    pub(super) warning: Option<String>,
}

impl Rows {
    /// An event.
    pub(super) fn event(&self, seq: i64) -> Option<&EventRow> {
        let at = self.events.binary_search_by_key(&seq, |event| event.seq);
        at.ok().map(|at| &self.events[at])
    }

    /// The stored objects, by first seq.
    pub(super) fn stored(&self) -> impl Iterator<Item = &ObjectRow> {
        self.objects.iter().filter(|row| row.state == "stored")
    }

    /// Whether a run tells of this key, as one that may have stayed behind.
    pub(super) fn warned_of(&self, key: &str) -> bool {
        let mut warnings = self.runs.iter().filter_map(|run| run.warning.as_ref());
        warnings.any(|warning| warning.contains(key))
    }
}

/// All organisations.
pub(super) async fn orgs(database: &Client) -> Vec<String> {
    let rows = database.query("select id from orgs", &[]).await.unwrap();
    rows.iter().map(|row| row.get("id")).collect()
}

/// What is known of an organisation, which need not exist.
pub(super) async fn read(database: &Client, org: &str) -> Rows {
    let sql = "select next_seq from org_sequences where org_id = $1";
    let sequence = database.query_opt(sql, &[&org]).await.unwrap();
    let sql = "select cursor_seq, last_version from export_state where org_id = $1";
    let state = database.query_opt(sql, &[&org]).await.unwrap();
    let sql = "select version, tested_version from export_configs where org_id = $1";
    let config = database.query_opt(sql, &[&org]).await.unwrap();
    Rows {
        org: org.to_owned(),
        events: events(database, org).await,
        next_seq: sequence.map(|row| row.get("next_seq")),
        state: state.map(|row| StateRow {
            cursor_seq: row.get("cursor_seq"),
            last_version: row.get("last_version"),
        }),
        config: config.map(|row| (row.get("version"), row.get("tested_version"))),
        objects: objects(database, org).await,
        runs: runs(database, org).await,
    }
}

async fn events(database: &Client, org: &str) -> Vec<EventRow> {
    let sql = "select seq, event_id, line,
                      to_char(recorded_at at time zone 'UTC',
                              'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as recorded_at
                 from audit_events where org_id = $1 order by seq";
    // One at a time: this is the table that can be large.
    let mut rows = pin!(database.query_raw(sql, [org]).await.unwrap());
    let mut events = Vec::new();
    while let Some(row) = rows.try_next().await.unwrap() {
        events.push(EventRow {
            seq: row.get("seq"),
            id: row.get("event_id"),
            recorded_at: row.get("recorded_at"),
            line: row.get("line"),
        });
    }
    events
}

async fn objects(database: &Client, org: &str) -> Vec<ObjectRow> {
    let sql =
        "select plan_id, destination_version, bucket, prefix, key, codec, first_seq, last_seq,
                      state, sha256_candidates, events, bytes, sha256, stored_at
                 from export_objects where org_id = $1 order by first_seq, created_at";
    let rows = database.query(sql, &[&org]).await.unwrap();
    let object = |row: &tokio_postgres::Row| ObjectRow {
        plan_id: row.get("plan_id"),
        destination_version: row.get("destination_version"),
        bucket: row.get("bucket"),
        prefix: row.get("prefix"),
        key: row.get("key"),
        codec: row.get("codec"),
        first_seq: row.get("first_seq"),
        last_seq: row.get("last_seq"),
        state: row.get("state"),
        sha256_candidates: row.get("sha256_candidates"),
        events: row.get("events"),
        bytes: row.get("bytes"),
        sha256: row.get("sha256"),
        stored_at: row.get("stored_at"),
    };
    rows.iter().map(object).collect()
}

async fn runs(database: &Client, org: &str) -> Vec<RunRow> {
    let sql =
        "select id, state, coalesce(lease_expires_at <= now(), false) as lease_expired, warning
                 from export_runs where org_id = $1 order by created_at, id";
    let rows = database.query(sql, &[&org]).await.unwrap();
    let run = |row: &tokio_postgres::Row| RunRow {
        id: row.get("id"),
        state: row.get("state"),
        lease_expired: row.get("lease_expired"),
        warning: row.get("warning"),
    };
    rows.iter().map(run).collect()
}
