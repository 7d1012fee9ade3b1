//! Each kind of breach is found, and a good world is good.

mod objects;
mod order;
mod places;

use std::{collections::BTreeMap, io, io::Write};

use aws_lc_rs::digest::{SHA256, digest};
use flate2::{Compression, write::GzEncoder};
use local_aws::{OpenUpload, WriteRecord};
use uuid::Uuid;

use super::{
    Aws, Sent, Verdict, files,
    files::Place,
    judge::judge,
    rows::{EventRow, ObjectRow, Rows, RunRow, StateRow},
};

const METADATA: &str = r#"{"n":1.0,"large":1e400,"text":"\u00fc"}"#;

/// One organisation, acme, with what was sent, what Postgres holds and what lies in its buckets.
struct Small {
    sent: Vec<Sent>,
    rows: Rows,
    objects: BTreeMap<Place, Vec<u8>>,
    writes: Vec<WriteRecord>,
    uploads: Vec<(String, OpenUpload)>,
}

/// Six events in objects of three.
fn small() -> Small {
    let mut small = Small {
        sent: (1..=6).map(sent).collect(),
        rows: Rows {
            org: "acme".into(),
            events: (1..=6).map(event).collect(),
            next_seq: Some(7),
            state: Some(StateRow {
                cursor_seq: 6,
                last_version: 2,
            }),
            config: Some((2, Some(2))),
            objects: Vec::new(),
            runs: Vec::new(),
        },
        objects: BTreeMap::new(),
        writes: Vec::new(),
        uploads: Vec::new(),
    };
    small.store(1, 3, &lines(1, 3));
    small.store(4, 6, &lines(4, 6));
    small.run("succeeded", None);
    small
}

fn sent(seq: i64) -> Sent {
    let json = format!(
        r#"{{"id":"e-{seq}","action":"a","occurredAt":"2026-01-01T00:00:00Z","actor":{{"type":"user","id":"u"}},"metadata":{METADATA}}}"#
    );
    Sent {
        id: format!("e-{seq}"),
        json,
    }
}

fn recorded_at(seq: i64) -> String {
    format!("2026-01-31T09:00:00.{seq:06}Z")
}

fn line(seq: i64) -> String {
    let at = recorded_at(seq);
    format!(
        r#"{{"seq":{seq},"id":"e-{seq}","orgId":"acme","occurredAt":"2026-01-01T00:00:00Z","recordedAt":"{at}","action":"a","actor":{{"type":"user","id":"u"}},"metadata":{METADATA}}}"#
    )
}

fn lines(first: i64, last: i64) -> String {
    (first..=last).map(|seq| line(seq) + "\n").collect()
}

fn event(seq: i64) -> EventRow {
    EventRow {
        seq,
        id: format!("e-{seq}"),
        recorded_at: recorded_at(seq),
        line: line(seq),
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

impl Small {
    fn store(&mut self, first_seq: i64, last_seq: i64, text: &str) {
        let plan_id = Uuid::new_v4();
        let key = format!(
            "logs/org_id=acme/date=2026-01-31/{first_seq:020}-{last_seq:020}-{plan_id}.jsonl.gz"
        );
        self.rows.objects.push(ObjectRow {
            plan_id,
            destination_version: 1,
            bucket: "bucket".into(),
            prefix: "logs".into(),
            key: key.clone(),
            codec: "gzip".into(),
            first_seq,
            last_seq,
            state: "stored".into(),
            sha256_candidates: Vec::new(),
            events: Some(last_seq - first_seq + 1),
            bytes: None,
            sha256: None,
            stored_at: Some("2026-01-31T10:00:00Z".parse().unwrap()),
        });
        self.write(&Place::new("bucket", &key), false);
        let at = self.rows.objects.len() - 1;
        self.put(at, gzip(text));
    }

    /// Makes these the bytes of an object, as if they had been from the start.
    fn put(&mut self, at: usize, bytes: Vec<u8>) {
        let row = &mut self.rows.objects[at];
        let sha256 = digest(&SHA256, &bytes).as_ref().to_vec();
        row.bytes = Some(bytes.len().try_into().unwrap());
        row.sha256 = Some(sha256.clone());
        row.sha256_candidates = vec![sha256];
        for write in self.writes.iter_mut().filter(|write| write.key == row.key) {
            write.size = Some(bytes.len() as u64);
        }
        self.objects
            .insert(Place::new(&row.bucket, &row.key), bytes);
    }

    fn text(&mut self, at: usize, text: &str) {
        self.put(at, gzip(text));
    }

    fn write(&mut self, place: &Place, replaced: bool) {
        let size = self.objects.get(place).map(|bytes| bytes.len() as u64);
        self.writes.push(WriteRecord {
            time: "2026-01-31T10:00:00Z".parse().unwrap(),
            bucket: place.bucket.clone(),
            key: place.key.clone(),
            op: "PutObject".into(),
            etag: None,
            size,
            kms_key_arn: None,
            replaced,
            principal: "a worker".into(),
        });
    }

    fn run(&mut self, state: &str, warning: Option<String>) {
        self.rows.runs.push(RunRow {
            id: Uuid::new_v4(),
            state: state.into(),
            lease_expired: false,
            warning,
        });
    }

    fn place(&self, at: usize) -> Place {
        let row = &self.rows.objects[at];
        Place::new(&row.bucket, &row.key)
    }

    /// Puts the second object a second time into another bucket, with its write.
    fn copy_elsewhere(&mut self) -> Place {
        let mut place = self.place(1);
        let bytes = self.objects[&place].clone();
        "other".clone_into(&mut place.bucket);
        self.objects.insert(place.clone(), bytes);
        self.write(&place, false);
        place
    }

    /// Makes the last row one of a plan that was given up, and stores its range anew.
    fn abandon_last(&mut self) -> String {
        let at = self.rows.objects.len() - 1;
        self.rows.objects[at].state = "abandoned".into();
        self.store(4, 6, &lines(4, 6));
        let version = self.rows.objects[at].destination_version + 1;
        self.rows.objects[at + 1].destination_version = version;
        self.rows.state.as_mut().unwrap().last_version = version;
        self.rows.objects[at].key.clone()
    }

    fn verdict(&self) -> Verdict {
        let aws = Aws {
            data_dir: "/nowhere".as_ref(),
            writes: &self.writes,
            open_uploads: &self.uploads,
        };
        let mut found = files::by_org(self.objects.keys().cloned().collect(), &aws);
        let read = |place: &Place| {
            self.objects
                .get(place)
                .cloned()
                .ok_or(io::ErrorKind::NotFound.into())
        };
        let found = found.remove("acme").unwrap_or_default();
        judge(&self.rows, &found, &self.sent, &read)
    }

    /// Checks that a problem of this kind is told, with this in it.
    #[track_caller]
    fn must_be(&self, kind: &str, detail: &str) -> Verdict {
        let verdict = self.verdict();
        let begin = format!("{kind}: org acme: ");
        let told = |line: &String| line.starts_with(&begin) && line.contains(detail);
        assert!(
            verdict.problems.iter().any(told),
            "{verdict}\n{:#?}",
            verdict.problems
        );
        verdict
    }
}

fn figures(verdict: &Verdict) -> (usize, usize, usize) {
    (verdict.delivered, verdict.lost, verdict.doubled)
}
