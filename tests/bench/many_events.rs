//! What 100 million events come to, by what is measured of few: see `extrapolation.rs`.

use crate::{
    Lab,
    extrapolation::{self, Many, RunBounds, Slopes},
    fleet::start_worker,
    scaling::SUBJECT,
    stage::{self, Stage},
};

const MANY_EVENTS: f64 = 1e8;

/// What events came to that were delivered together.
struct Delivered {
    events: f64,
    line_bytes: f64,
    bytes: f64,
    seconds: f64,
    puts: f64,
}

pub async fn measure(lab: &mut Lab) {
    let (few, more) = lab.size((5_000, 25_000), (20_000, 120_000));
    let stage = Stage::start(&stage::NO_RUNS_BY_ITSELF).await;
    let _worker = start_worker(&stage.world, &[("AUDIT_EXPORT_CONCURRENCY", "1")]).await;
    let few = delivered(lab, &stage, "few", few).await;
    let more = delivered(lab, &stage, "more", more).await;
    let events = more.events - few.events;
    let slopes = Slopes {
        line_bytes: (more.line_bytes - few.line_bytes) / events,
        object_bytes: (more.bytes - few.bytes) / events,
        seconds: (more.seconds - few.seconds) / events,
    };
    let detail = format!(
        "slopes from {:.0} to {:.0} events: lines of {:.0} bytes, {:.1} bytes of an object, \
         {:.2} us of one worker; {} and {} PUTs, {} and {} by the model; list prices of us-east-1",
        few.events,
        more.events,
        slopes.line_bytes,
        slopes.object_bytes,
        slopes.seconds * 1e6,
        few.puts,
        more.puts,
        extrapolation::puts_of(few.bytes),
        extrapolation::puts_of(more.bytes),
    );
    let worker = stage.world.worker_config();
    let bounds = RunBounds {
        events: worker.run_max_events as f64,
        line_bytes: worker.run_max_bytes as f64,
    };
    let backlog = extrapolation::backlog(MANY_EVENTS, bounds, slopes);
    lab.figures("100 million events at once", &backlog, &detail);
    let value = (backlog.hours, "h");
    let what = "100 million events at once: time of one worker";
    lab.table.figure(SUBJECT, what, value, detail.as_str());
    let month = extrapolation::month(MANY_EVENTS, slopes);
    lab.figures("100 million events a month", &month, &detail);
}

impl Lab {
    fn figures(&mut self, name: &str, many: &Many, detail: &str) {
        for (what, value) in [
            ("objects", (many.objects, "objects")),
            ("PUTs", (many.puts, "PUTs")),
            ("in the bucket", (many.gib, "GiB")),
            ("price of the PUTs", (many.put_dollars, "USD")),
            ("S3 Standard, a month", (many.storage_dollars, "USD")),
        ] {
            self.table
                .figure(SUBJECT, format!("{name}: {what}"), value, detail);
        }
    }
}

/// Has so many events of a new organisation delivered by one run.
async fn delivered(lab: &Lab, stage: &Stage, id: &str, events: usize) -> Delivered {
    let world = &stage.world;
    let (org, customer) = world.active_org(id).await;
    stage::switch_off(&org, &customer).await;
    stage::ingest(world, &org, &lab.events, 0..events).await;
    stage::switch_on(&org, &customer, "gzip").await;
    let run = stage::export(&org, events).await;

    let client = world.database.client().await;
    let sql = "select total_bytes::float8 from org_sequences where org_id = $1";
    let line_bytes = client.query_one(sql, &[&id]).await.unwrap().get(0);
    let billed = [
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ];
    let is_billed = |call: &local_aws::CallRecord| {
        let is_event = call.key.as_ref().is_some_and(|key| key.contains("org_id="));
        is_event && billed.contains(&call.operation.as_str())
    };
    let of_bucket =
        |call: &local_aws::CallRecord| call.bucket.as_ref() == Some(&customer.bucket_name);
    let calls = world.aws.calls();
    let puts = calls
        .iter()
        .filter(|call| of_bucket(call) && is_billed(call));
    Delivered {
        events: events as f64,
        line_bytes,
        bytes: run["bytes"].as_f64().unwrap(),
        seconds: stage::duration_of(&run, "startedAt").as_secs_f64(),
        puts: puts.count() as f64,
    }
}
