//! Postgres's own COPY, from and to memory, in its binary form.

use std::pin::pin;

use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::{Client, CopyInSink};

/// What an append fills. Ids have a table of their own only so that events can be dropped by age:
/// the index that keeps them apart belongs to what COPY is compared with.
pub static TABLES: [&str; 2] = ["audit_events", "audit_event_ids"];
/// How much COPY is given at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Rows of [`TABLES`], of each as COPY gives and takes them.
pub type Rows = [Bytes; 2];

/// The rows of the events `e` for which a condition holds, in order.
pub async fn read(client: &Client, condition: &str) -> Rows {
    let events = format!("select e.* from audit_events e where {condition} order by e.seq");
    let ids = format!(
        "select i.* from audit_event_ids i join audit_events e using (org_id, event_id)
          where {condition} order by e.seq"
    );
    [
        result_of(client, &events).await,
        result_of(client, &ids).await,
    ]
}

async fn result_of(client: &Client, query: &str) -> Bytes {
    let sql = format!("copy ({query}) to stdout (format binary)");
    let mut rows = pin!(client.copy_out(&sql).await.unwrap());
    let mut bytes = Vec::new();
    while let Some(row) = rows.next().await {
        bytes.extend_from_slice(&row.unwrap());
    }
    bytes.into()
}

/// Writes rows into these tables, each by one statement; returns the number of events.
pub async fn write(client: Client, tables: &'static [&'static str], rows: Rows) -> usize {
    let mut counts = Vec::new();
    for (table, mut rest) in tables.iter().zip(rows) {
        let sql = format!("copy {table} from stdin (format binary)");
        let sink: CopyInSink<Bytes> = client.copy_in(&sql).await.unwrap();
        let mut sink = pin!(sink);
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            sink.feed(chunk).await.unwrap();
        }
        counts.push(sink.finish().await.unwrap());
    }
    usize::try_from(counts[0]).unwrap()
}
