//! Taking events in: batches beside Postgres's own COPY of the same rows, and single events beside
//! commits of single rows.

use std::time::Instant;

use axum::body::Bytes;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use crate::{
    Lab,
    copy::{self, Rows, TABLES},
    load::{self, Load},
    pgbench::{Pgbench, Report},
    samples::{Pairs, median},
    stage::{BATCH, Stage},
    table::Goal,
};

const SUBJECT: &str = "ingest";
/// Many writers, or organisations.
const MANY: usize = 16;
const HALF: Goal = Goal::AtLeast(0.5);

/// A row as an append makes it, committed by itself.
const INSERT: &str = r"\set seq :seq + 1
insert into audit_events (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
values ('org-' || :client_id, :seq, 'bench-' || :seq, now(), now(), :seq, :line);
";

pub async fn measure(lab: &mut Lab) {
    let ingest = Ingest::start().await;
    for (what, count, orgs) in [
        ("one writer", 1, 1),
        ("16 writers, one org", MANY, 1),
        ("16 writers, 16 orgs", MANY, MANY),
    ] {
        ingest.batches(lab, what, Writers { count, orgs }).await;
    }
    ingest.single_events(lab).await;
    ingest.events_of_one_org(lab).await;
}

/// Who writes: all to one organisation, or each to its own.
#[derive(Debug, Clone, Copy)]
struct Writers {
    count: usize,
    orgs: usize,
}

impl Writers {
    /// For each writer so many requests, each with so many events.
    fn requests(self, lab: &Lab, each: usize, events: usize) -> Vec<Vec<Bytes>> {
        let token = load::token(json!({"scope": "audit-events:write"}));
        let mut writers = vec![Vec::new(); self.count];
        for number in 0..self.count * each {
            let first = number * events;
            let lines = lab.events.ndjson(first..first + events);
            let writer = number % self.count;
            let org = org_id(writer % self.orgs);
            writers[writer].push(load::post_events(&org, &token, &lines));
        }
        writers
    }

    /// Which rows of `audit_events e` one of them is to write.
    fn share(self, writer: usize) -> String {
        if self.orgs == 1 {
            // Their batches lie side by side, as where writers take turns.
            format!("(e.seq - 1) / {BATCH} % {} = {writer}", self.count)
        } else {
            format!("e.org_id = '{}'", org_id(writer))
        }
    }
}

fn org_id(number: usize) -> String {
    format!("org-{number}")
}

struct Ingest {
    stage: Stage,
    owner: Client,
    superuser: Client,
}

impl Ingest {
    async fn start() -> Self {
        let stage = Stage::start(&[]).await;
        for number in 0..MANY {
            stage.world.org(&org_id(number)).await;
        }
        let owner = stage.world.database.client().await;
        let url = harness::required("AUDIT_EXPORT_TEST_SUPERUSER_URL");
        let (superuser, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self {
            stage,
            owner,
            superuser,
        }
    }

    /// Removes all events. Every measurement begins with nothing, and with nothing to write to disk
    /// that another one has left.
    async fn empty(&self) {
        let sql = "
            truncate audit_events, audit_event_ids;
            update org_sequences
               set next_seq = 1, total_bytes = 0, last_recorded_at = 'epoch'";
        self.owner.batch_execute(sql).await.unwrap();
        self.superuser.batch_execute("checkpoint").await.unwrap();
    }

    async fn rows_in(&self, table: &str) -> usize {
        let sql = format!("select count(*) from {table}");
        let count: i64 = self.owner.query_one(&sql, &[]).await.unwrap().get(0);
        usize::try_from(count).unwrap()
    }

    /// Sends requests to the API, each with so many new events.
    async fn send(&self, writers: &[Vec<Bytes>], events: usize) -> Load {
        self.empty().await;
        let requests = writers.iter().map(|requests| requests.clone().into_iter());
        let requests: Vec<_> = requests.collect();
        let load = load::send(self.stage.world.api.address(), requests).await;
        let sent: usize = writers.iter().map(Vec::len).sum();
        for table in TABLES {
            assert_eq!(self.rows_in(table).await, sent * events, "{table}");
        }
        load
    }

    async fn batches(&self, lab: &mut Lab, what: &str, writers: Writers) {
        let batches: usize = lab.size(32, 64);
        let each = batches / writers.count;
        let requests = writers.requests(lab, each, BATCH);
        // The first time warms up, and makes the rows.
        self.send(&requests, BATCH).await;
        let mut rows = Vec::new();
        for writer in 0..writers.count {
            rows.push(copy::read(&self.owner, &writers.share(writer)).await);
        }
        let (mut both, mut alone) = (Pairs::default(), Pairs::default());
        for _ in 0..lab.rounds() {
            let ours = self.send(&requests, BATCH).await.per_second() * BATCH as f64;
            both.push(ours, self.copy(&rows, &TABLES).await);
            alone.push(ours, self.copy(&rows, &TABLES[..1]).await);
        }

        let events = batches * BATCH;
        let detail = |ratios: &Pairs| format!("{}, {events} events", ratios.detail("events/s"));
        let figure = format!("batches of {BATCH}, {what}, by COPY");
        let (value, from) = ((both.ours_by_theirs(), "x"), detail(&both));
        lab.table.goal(SUBJECT, figure, value, HALF, from);
        let figure = format!("{what}, by COPY without the table of ids");
        let (value, from) = ((alone.ours_by_theirs(), "x"), detail(&alone));
        lab.table.figure(SUBJECT, figure, value, from);
    }

    /// Copies rows into these tables, each writer on a connection of its own; returns the events in
    /// a second.
    async fn copy(&self, rows: &[Rows], tables: &'static [&'static str]) -> f64 {
        self.empty().await;
        let mut writers = Vec::new();
        for share in rows {
            writers.push((self.stage.world.database.client().await, share.clone()));
        }
        let began = Instant::now();
        let copying: Vec<_> = writers
            .into_iter()
            .map(|(client, share)| tokio::spawn(copy::write(client, tables, share)))
            .collect();
        let mut copied = 0;
        for one in copying {
            copied += one.await.unwrap();
        }
        let seconds = began.elapsed().as_secs_f64();
        for table in tables {
            assert_eq!(self.rows_in(table).await, copied, "{table}");
        }
        copied as f64 / seconds
    }

    async fn single_events(&self, lab: &mut Lab) {
        let (count, orgs) = (MANY, MANY);
        let each = lab.size(250, 1_000);
        let requests = Writers { count, orgs }.requests(lab, each, 1);
        self.send(&requests, 1).await;
        let line = self.typical_line().await;
        let (mut rates, mut times) = (Pairs::default(), Pairs::default());
        for _ in 0..lab.rounds() {
            let ours = self.send(&requests, 1).await;
            let theirs = self.insert(&line, lab.size(2, 5)).await;
            rates.push(ours.per_second(), theirs.per_second);
            times.push(ours.percentile(50.0), theirs.milliseconds);
        }

        let times = times.detail("ms");
        let detail = format!("{}; p50 and mean {times}", rates.detail("events/s"));
        let figure = "single events, 16 clients, 16 orgs, by pgbench's inserts";
        let value = (rates.ours_by_theirs(), "x");
        lab.table.goal(SUBJECT, figure, value, HALF, detail);
    }

    /// A line of average size.
    async fn typical_line(&self) -> String {
        let sql = "
            select line from audit_events
             order by abs(octet_length(line) - (select avg(octet_length(line)) from audit_events))
             limit 1";
        self.owner.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Commits rows one by one, as the owner, who is held to no policy.
    async fn insert(&self, line: &str, seconds: usize) -> Report {
        self.empty().await;
        let pgbench = Pgbench {
            url: self.stage.world.database.owner_url(),
            script: INSERT,
            variables: &[("seq", "0"), ("line", line)],
            clients: MANY,
            seconds,
        };
        let report = pgbench.run().await;
        assert!(self.rows_in("audit_events").await >= report.transactions);
        report
    }

    /// One organisation's lock lets its commits happen one at a time. Beside it what it would be
    /// like if the API made one append of all that wait.
    async fn events_of_one_org(&self, lab: &mut Lab) {
        let each = lab.size(100, 500);
        for (what, count, events) in [
            ("single events, 16 clients, one org", MANY, 1),
            ("16 events a request, one client", 1, MANY),
        ] {
            let requests = Writers { count, orgs: 1 }.requests(lab, each, events);
            let (mut rates, mut halves, mut tails) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..lab.rounds() {
                let load = self.send(&requests, events).await;
                rates.push(load.per_second() * events as f64);
                halves.push(load.percentile(50.0));
                tails.push(load.percentile(99.0));
            }
            let (p50, p99) = (median(halves), median(tails));
            let detail = format!("p50 {p50:.2} ms, p99 {p99:.2} ms, {} times", rates.len());
            let value = (median(rates), "events/s");
            lab.table.figure(SUBJECT, what, value, detail);
        }
    }
}
