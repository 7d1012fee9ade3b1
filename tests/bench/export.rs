//! A large export beside what a user would reach for instead, and beside what limits it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use exporter::benchmarking::{Compressor, Lines};
use harness::{Customer, Org, World, process::Process};

use crate::{
    Lab,
    peers::{self, Done, Peer, Source},
    samples::{Pairs, median},
    stage::{self, Stage},
    table::Goal::{self, AtLeast, AtMost},
};

const SUBJECT: &str = "export";
const GZIP: &str = "gzip";
const ZSTD: &str = "zstd";

/// Measures it.
pub async fn measure(lab: &mut Lab) {
    let events = lab.size(60_000, 300_000);
    let stage = Stage::start(&stage::NO_RUNS_BY_ITSELF).await;
    let world = &stage.world;
    let worker = world.spawn_worker(&stage::ONE_LARGE_RUN);
    let (acme, customer) = world.active_org("acme").await;
    stage::switch_off(&acme, &customer).await;
    stage::ingest(world, &acme, &lab.events, 0..events).await;
    let source = Arc::new(Source::new(world, &acme, &customer, events));
    let bench = Bench {
        world,
        acme: &acme,
        customer: &customer,
        source: &source,
        worker: &worker,
    };
    bench.gzip(lab).await;
    bench.zstd(lab).await;
}

struct Bench<'a> {
    world: &'a World,
    acme: &'a Org<'a>,
    customer: &'a Customer,
    source: &'a Arc<Source>,
    worker: &'a Process,
}

impl Bench<'_> {
    async fn gzip(&self, lab: &mut Lab) {
        let goals = [
            (peers::GZIP_6, Some(4.0)),
            (peers::SLING_GZIP, Some(5.0)),
            (peers::DUCKDB_GZIP, Some(8.0)),
            (peers::GZIP_1, None),
            (peers::PIGZ_6, None),
            (peers::ZSTD_3, None),
            (peers::DUCKDB_PARQUET, None),
        ];
        self.compare(lab, GZIP, &goals, AtMost(1.1)).await;
    }

    async fn zstd(&self, lab: &mut Lab) {
        let goals = [(peers::GZIP_6, Some(6.0))];
        self.compare(lab, ZSTD, &goals, AtMost(0.9)).await;
    }

    /// How many times as fast as each peer, and how large beside the first of them.
    async fn compare(
        &self,
        lab: &mut Lab,
        compression: &str,
        goals: &[(Peer, Option<f64>)],
        size: Goal,
    ) {
        for (peer, goal) in goals {
            let what = format!("{compression}: times as fast as {}", peer.name);
            let mut pairs = Pairs::default();
            let mut last = None;
            for round in 0..lab.rounds() {
                let ours = self.export(compression).await;
                let Some(theirs) = self.peer(*peer, round == 0) else {
                    break;
                };
                pairs.push(ours.time.as_secs_f64(), theirs.time.as_secs_f64());
                last = Some((ours, theirs));
            }
            let Some((ours, theirs)) = last else {
                println!("NOT MEASURED: {what}: it is not installed");
                continue;
            };
            let detail = format!(
                "{}; {:.1} MB against {:.1} MB, {} MiB of memory against {}",
                pairs.detail("s"),
                megabytes(ours.object_bytes),
                megabytes(theirs.object_bytes),
                self.worker.peak_memory_kib() / 1024,
                theirs.peak_memory_kib / 1024,
            );
            let figure = (pairs.theirs_by_ours(), "x");
            match goal {
                Some(goal) => lab
                    .table
                    .goal(SUBJECT, what, figure, AtLeast(*goal), detail),
                None => lab.table.figure(SUBJECT, what, figure, detail),
            }
            if peer.name == peers::GZIP_6.name {
                let (ours, theirs) = (megabytes(ours.object_bytes), megabytes(theirs.object_bytes));
                let what = format!("{compression}: size against gzip -6");
                let detail = format!("{ours:.1} MB against {theirs:.1} MB");
                lab.table
                    .goal(SUBJECT, what, (ours / theirs, "x"), size, detail);
            }
        }
        self.limits(lab, compression).await;
    }

    fn peer(&self, peer: Peer, look_inside: bool) -> Option<Done> {
        tokio::task::block_in_place(|| peer.run(self.source, look_inside))
    }

    /// Beside the larger of what nobody can do without: reading the rows, and compressing them.
    async fn limits(&self, lab: &mut Lab, compression: &str) {
        let blocks = self.blocks().await;
        let mut ratios = Vec::new();
        let (mut all_ours, mut reading, mut packing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..lab.rounds() {
            let ours = self.export(compression).await.time.as_secs_f64();
            let read = tokio::task::block_in_place(|| self.source.copy_binary());
            let read = read.expect("psql is installed").as_secs_f64();
            let packed = pack(compression, &blocks).as_secs_f64();
            ratios.push(ours / read.max(packed));
            all_ours.push(ours);
            reading.push(read);
            packing.push(packed);
        }
        let detail = format!(
            "{:.3} s against {:.3} s of COPY BINARY and {:.3} s of the compressor",
            median(all_ours),
            median(reading),
            median(packing),
        );
        let what = format!("{compression}: time against the larger of its limits");
        lab.table
            .goal(SUBJECT, what, (median(ratios), "x"), AtMost(1.25), detail);
    }

    /// The lines as the worker hands them to the compressor.
    async fn blocks(&self) -> Vec<Vec<u8>> {
        let client = self.world.database.client().await;
        let sql = "select seq, line from audit_events where org_id = $1 order by seq";
        let rows = client.query(sql, &[&self.acme.id()]).await.unwrap();
        let mut lines = Lines::new(1, i64::try_from(rows.len()).unwrap());
        for row in &rows {
            lines.push(row.get(0), row.get::<_, &str>(1).as_bytes());
        }
        lines.take_blocks().unwrap()
    }

    /// Exports everything again, in one run of one object.
    async fn export(&self, compression: &str) -> Done {
        let Self {
            world,
            acme,
            customer,
            source,
            worker,
        } = self;
        stage::rewind(world, acme, customer).await;
        stage::switch_on(acme, customer, compression).await;
        let run = stage::export(acme, source.events()).await;
        stage::switch_off(acme, customer).await;
        let objects = customer.bucket().exports(acme.id());
        assert_eq!(objects.len(), 1);
        let object_bytes = std::fs::metadata(&objects[0].1.path).unwrap().len();
        assert_eq!(run["bytes"], object_bytes);
        Done {
            time: stage::duration_of(&run, "createdAt"),
            object_bytes,
            peak_memory_kib: worker.peak_memory_kib(),
        }
    }
}

/// How long one core takes.
fn pack(compression: &str, blocks: &[Vec<u8>]) -> Duration {
    let began = Instant::now();
    let mut compressor =
        Compressor::new(common::destination::Compression::parse(compression).unwrap());
    let bytes: usize = blocks
        .iter()
        .map(|block| compressor.pack(block).len())
        .sum();
    assert!(bytes > 0);
    began.elapsed()
}

#[allow(clippy::cast_precision_loss, reason = "sizes to be shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
