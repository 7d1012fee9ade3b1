//! How long people wait: for the result of a test, beyond what AWS takes for it, and from an event
//! to its object.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use harness::{Org, World, bucket::Exported, database::append, faults::tcp::TcpProxy};
use jiff::Timestamp;

use crate::{
    Lab,
    events::Events,
    fleet::{Fleet, Member, start_worker},
    samples::percentile,
    stage::Stage,
    table::Goal,
};

const SUBJECT: &str = "latency";
/// Organisations whose destinations are tested in turn.
const TESTED: usize = 4;
const TEST_P50_MILLISECONDS: Goal = Goal::AtMost(15.0);
const TEST_P99_MILLISECONDS: Goal = Goal::AtMost(50.0);
/// Events that an organisation gets at once.
const EVENTS: usize = 10;
const OBJECT_P99_SECONDS: Goal = Goal::AtMost(2.5);
/// Jobs of the worker at once.
const CONCURRENCY: &str = "16";
/// How long after the last event the last object may come.
const PATIENCE: Duration = Duration::from_secs(60);
/// By so much longer than planned appending may take, or it was not the load that is told.
const LATENESS: f64 = 1.1;

pub async fn measure(lab: &mut Lab) {
    tests(lab).await;
    objects(lab).await;
}

/// Where the time of a test went, in milliseconds.
struct Sample {
    total: f64,
    /// From the first byte of each request to S3 and STS to the last one of its answer.
    in_aws: f64,
    /// As the result tells, in whole milliseconds a stage.
    in_stages: f64,
}

async fn tests(lab: &mut Lab) {
    let stage = Stage::start(&[]).await;
    let world = &stage.world;
    let tap = TcpProxy::start(world.aws.address()).await;
    let endpoint = format!("http://{}", tap.address());
    let settings = [
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
    ];
    let _worker = start_worker(world, &settings).await;
    let mut orgs = Vec::new();
    for number in 0..TESTED {
        // Each is tested when it is saved, which warms up.
        orgs.push(world.active_org(&format!("acme-{number}")).await.0);
    }
    let count = lab.size(50, 200);
    let calls = tap.turns();
    let mut samples = Vec::new();
    for org in orgs.iter().cycle().take(count) {
        samples.push(test(org, &tap).await);
    }
    let calls = (tap.turns() - calls) as f64 / count as f64;

    let p50 = |part: fn(&Sample) -> f64| percentile(samples.iter().map(part), 50.0);
    let detail = format!(
        "{count} tests, one at a time; {calls:.1} calls each; p50 of the whole {:.1} ms, of the \
         calls on the wire {:.1} ms, of the stages' own times {:.0} ms",
        p50(|sample| sample.total),
        p50(|sample| sample.in_aws),
        p50(|sample| sample.in_stages),
    );
    for (percent, goal) in [(50.0, TEST_P50_MILLISECONDS), (99.0, TEST_P99_MILLISECONDS)] {
        let beyond = samples.iter().map(|sample| sample.total - sample.in_aws);
        let value = (percentile(beyond, percent), "ms");
        let what = format!("test-connection beyond S3 and STS, p{percent}");
        lab.table.goal(SUBJECT, what, value, goal, detail.as_str());
    }
}

async fn test(org: &Org<'_>, tap: &TcpProxy) -> Sample {
    let waited = tap.waited();
    let began = Instant::now();
    let answer = org.test().await;
    let total = began.elapsed();
    let in_aws = tap.waited() - waited;
    let result = answer.expect(200);
    assert_eq!(result["success"], true, "{result}");
    let stages = result["stages"].as_array().unwrap();
    let in_stages = stages
        .iter()
        .map(|stage| stage["durationMs"].as_f64().unwrap());
    Sample {
        total: total.as_secs_f64() * 1e3,
        in_aws: in_aws.as_secs_f64() * 1e3,
        in_stages: in_stages.sum(),
    }
}

async fn objects(lab: &mut Lab) {
    let (orgs, each_second, seconds) = lab.size((100, 10, 8), (500, 50, 30));
    let stage = Stage::start(&[("AUDIT_EXPORT_REPUBLISH_SECONDS", "60")]).await;
    let world = &stage.world;
    let fleet = Fleet::make(world, orgs).await;
    let _worker = start_worker(world, &[("AUDIT_EXPORT_CONCURRENCY", CONCURRENCY)]).await;
    fleet.wake().await;
    let load = Load {
        each_second,
        seconds,
    };
    let events_per_second = load.append(world, &fleet.members, &lab.events).await;
    fleet.wait_until_delivered(PATIENCE).await;

    let delays = delays(world, &fleet.members);
    let appended = load.appends() as usize * EVENTS;
    assert_eq!(delays.len(), appended, "events in the buckets");
    let at = |percent| percentile(delays.iter().copied(), percent);
    let detail = format!(
        "{orgs} organisations, {each_second} of them a second get {EVENTS} events, {seconds} s: \
         {events_per_second:.0} events/s in all; interval 1 s, one worker, concurrency \
         {CONCURRENCY}; from recordedAt, right before the commit; {appended} events, p50 {:.2} s, \
         longest {:.2} s",
        at(50.0),
        at(100.0)
    );
    let (what, value) = ("from an event's commit to its object, p99", (at(99.0), "s"));
    lab.table
        .goal(SUBJECT, what, value, OBJECT_P99_SECONDS, detail);
}

/// How often events come.
struct Load {
    /// Organisations that get events in a second, evenly spread over it.
    each_second: u32,
    seconds: u32,
}

impl Load {
    fn appends(&self) -> u32 {
        self.each_second * self.seconds
    }

    /// Gives events to one organisation after the other, as the vendor's own code would; returns
    /// the events in a second.
    async fn append(&self, world: &World, members: &[Member], events: &Events) -> f64 {
        let client = world.database.client().await;
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.each_second);
        let began = Instant::now();
        for (n, member) in (0..self.appends() as usize).zip(members.iter().cycle()) {
            tick.tick().await;
            let text = events.ndjson(n * EVENTS..(n + 1) * EVENTS);
            let batch: Vec<String> = text.lines().map(str::to_owned).collect();
            let accepted = append(&client, &member.id, &batch).await.unwrap();
            assert_eq!(usize::try_from(accepted).unwrap(), EVENTS);
        }
        let took = began.elapsed().as_secs_f64();
        let planned = f64::from(self.seconds);
        assert!(took < planned * LATENESS, "appending took {took:.1} s");
        (self.appends() as usize * EVENTS) as f64 / took
    }
}

/// How long after it was recorded each event was in its bucket, in seconds.
fn delays(world: &World, members: &[Member]) -> Vec<f64> {
    let writes = world.aws.write_log().into_iter();
    let visible: HashMap<_, Timestamp> = writes
        .map(|write| ((write.bucket, write.key), write.time))
        .collect();
    let mut delays = Vec::new();
    for member in members {
        for (parts, object) in member.bucket.exports(&member.id) {
            let text = object.unzipped();
            let visible = visible[&(member.bucket_name.clone(), object.key)];
            delays.extend(text.lines().map(|line| {
                let event = Exported {
                    line: line.to_owned(),
                    date: parts.date.clone(),
                };
                let recorded: Timestamp = event.recorded_at().parse().unwrap();
                visible.duration_since(recorded).as_secs_f64()
            }));
        }
    }
    delays
}
