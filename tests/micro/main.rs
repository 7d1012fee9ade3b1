//! Steps that are taken for each event or each object, on their own. The whole is measured by
//! `tests/bench.sh`.

#![allow(missing_docs, reason = "criterion_group makes public items")]
#![allow(clippy::unwrap_used, reason = "what is measured is good input")]

use api::ingest::{self, Format};
use common::{
    destination::{Compression, Prefix},
    ids::{OrgId, PlanId},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exporter::benchmarking::{Compressor, Encoder, Lines, object_key};
use harness::{
    Event,
    events::{events, ndjson},
};

const ORG: &str = "acme";
const EVENTS: usize = 10_000;
const RECORDED_AT: &str = "2026-01-31T09:00:00.000000Z";
const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

/// A body with so many events, from its bytes to lines that are ready for the database.
fn parse(criterion: &mut Criterion) {
    let org: OrgId = ORG.parse().unwrap();
    let mut group = criterion.benchmark_group("parse");
    for count in [1, 1_000] {
        let body = ndjson(&events(1, count));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{count} events"), |bencher| {
            bencher.iter(|| ingest::parse(body.as_bytes(), Format::Ndjson, &org).unwrap());
        });
    }
}

/// Rows to blocks.
fn lines(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("to blocks", |bencher| bencher.iter(|| blocks(&rows)));
}

/// A block to a gzip member or a zstd frame.
fn compress(criterion: &mut Criterion) {
    let blocks = blocks(&rows());
    let mut group = criterion.benchmark_group("compress");
    for compression in BOTH {
        let mut compressor = Compressor::new(compression);
        group.throughput(Throughput::Bytes(blocks[0].len() as u64));
        group.bench_function(compression.as_str(), |bencher| {
            bencher.iter(|| compressor.pack(&blocks[0]).len());
        });
    }
}

/// Blocks to the parts of an object, with its checksum.
fn encode(criterion: &mut Criterion) {
    let blocks = blocks(&rows());
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("encode");
    for compression in BOTH {
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(compression.as_str(), |bencher| {
            bencher.iter(|| {
                let mut encoder = Encoder::new(compression);
                let parts = blocks
                    .iter()
                    .filter_map(|block| encoder.push(block))
                    .count();
                (parts, encoder.finish())
            });
        });
    }
}

/// The name of an object.
fn key(criterion: &mut Criterion) {
    let (org, prefix) = (
        ORG.parse().unwrap(),
        Prefix::parse("security/audit").unwrap(),
    );
    let (day, plan) = (jiff::civil::date(2026, 1, 31), PlanId::new());
    criterion.bench_function("key", |bencher| {
        bencher.iter(|| object_key(&prefix, &org, day, 1, 2_000, plan, Compression::Gzip));
    });
}

fn rows() -> Vec<String> {
    let line = |(seq, event): (i64, Event)| event.line(ORG, seq, RECORDED_AT);
    (1..).zip(events(1, EVENTS)).map(line).collect()
}

fn blocks(rows: &[String]) -> Vec<Vec<u8>> {
    let mut lines = Lines::new(1, i64::try_from(rows.len()).unwrap());
    for (seq, row) in (1..).zip(rows) {
        lines.push(seq, row.as_bytes());
    }
    lines.take_blocks().unwrap()
}

criterion_group!(steps, parse, lines, compress, encode, key);
criterion_main!(steps);
