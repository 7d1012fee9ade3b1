//! More of everything: how throughput grows with the workers where S3 is slow, and what very many
//! events come to.

use std::{cell::Cell, fs, time::Duration};

use futures_util::future::join_all;
use harness::{
    World,
    faults::http::{Calls, Fault, HttpProxy, Operation},
};

use crate::{
    Lab,
    fleet::{self, Fleet, end_worker, start_worker},
    many_events,
    samples::median,
    stage::Stage,
    table::Goal,
};

pub const SUBJECT: &str = "scaling";
/// How long S3 takes to write an object.
const PUT_TIME: Duration = Duration::from_millis(100);
const MOST_WORKERS: usize = 8;
/// Jobs of a worker at once. With more, eight workers would write so many objects in a second that
/// two processors, which also run Postgres, RabbitMQ and S3, could not keep up.
const CONCURRENCY: &str = "1";
/// Organisations with something pending, for each worker.
const ORGS_PER_WORKER: usize = 8;
/// Objects of a run. Every event is of another day, and so has an object of its own.
const OBJECTS_PER_RUN: usize = 4;
/// Throughput by that of one worker and their number.
const LINEAR: Goal = Goal::AtLeast(0.9);
const PATIENCE: Duration = Duration::from_secs(300);
/// Of all objects so many percent at the beginning, and up to so many, count: not all workers have
/// something to do before and after.
const COUNTED_PERCENT: std::ops::Range<usize> = 5..85;

pub async fn measure(lab: &mut Lab) {
    workers(lab).await;
    many_events::measure(lab).await;
}

async fn workers(lab: &mut Lab) {
    let stage = Stage::start(&[("AUDIT_EXPORT_REPUBLISH_SECONDS", "60")]).await;
    let fleet = Fleet::make(&stage.world, MOST_WORKERS * ORGS_PER_WORKER).await;
    let proxy = HttpProxy::start(stage.world.aws.address()).await;
    proxy.inject(Calls::of(Operation::PutObject), Fault::Delay(PUT_TIME));
    let trial = Trial {
        world: &stage.world,
        fleet: &fleet,
        proxy: &proxy,
        runs_per_org: lab.size(2, 4),
        objects: Cell::new(0),
    };
    let numbers = lab.size::<&[usize]>(&[1, 8], &[1, 2, 4, 8]);
    let mut passes = vec![Vec::new(); numbers.len()];
    for _ in 0..lab.size(1, 3) {
        for (&workers, passes) in numbers.iter().zip(&mut passes) {
            passes.push(trial.pass(workers).await);
        }
    }
    trial.check_contents();

    let milliseconds = PUT_TIME.as_millis();
    for (&workers, passes) in numbers.iter().zip(&passes) {
        let rate = median(passes.iter().map(|pass| pass.objects_per_second));
        let busy = median(passes.iter().map(|pass| pass.busy)) * 100.0;
        let detail = format!(
            "{CONCURRENCY} job each, PUTs take {milliseconds} ms, {ORGS_PER_WORKER} organisations \
             a worker, {OBJECTS_PER_RUN} objects a run; the machine was {busy:.0} % busy; \
             median of {}",
            passes.len()
        );
        let what = format!("objects by {workers} workers");
        lab.table.figure(SUBJECT, what, (rate, "objects/s"), detail);
    }
    let (one, most) = (&passes[0], &passes[passes.len() - 1]);
    let ratios = one.iter().zip(most).map(|(one, most)| {
        most.objects_per_second / (MOST_WORKERS as f64 * one.objects_per_second)
    });
    let what = format!("throughput of {MOST_WORKERS} workers by {MOST_WORKERS} times that of one");
    let detail = format!("measured in turn, {} pairs", one.len());
    lab.table
        .goal(SUBJECT, what, (median(ratios), "x"), LINEAR, detail);
}

struct Trial<'l> {
    world: &'l World,
    fleet: &'l Fleet,
    proxy: &'l HttpProxy,
    runs_per_org: usize,
    /// That have been written so far.
    objects: Cell<usize>,
}

#[derive(Clone)]
struct Pass {
    objects_per_second: f64,
    /// Which part of the machine's time was used, by whomever.
    busy: f64,
}

impl Trial<'_> {
    /// Has so many workers deliver a work that grows with their number.
    async fn pass(&self, workers: usize) -> Pass {
        let orgs = workers * ORGS_PER_WORKER;
        let of_an_org = self.runs_per_org * OBJECTS_PER_RUN;
        self.append(orgs, of_an_org).await;
        let endpoint = self.proxy.endpoint();
        let run_max_events = OBJECTS_PER_RUN.to_string();
        let settings = [
            ("AUDIT_EXPORT_CONCURRENCY", CONCURRENCY),
            ("AUDIT_EXPORT_RUN_MAX_EVENTS", run_max_events.as_str()),
            ("AWS_ENDPOINT_URL_S3", &endpoint),
            ("AWS_ENDPOINT_URL_STS", &endpoint),
        ];
        let start = || start_worker(self.world, &settings);
        let started = join_all((0..workers).map(|_| start())).await;

        let before = MachineTime::now();
        self.fleet.wake().await;
        self.fleet.wait_until_delivered(PATIENCE).await;
        let busy = MachineTime::now().busy_since(&before);
        self.fleet.rest().await;
        join_all(started.into_iter().map(end_worker)).await;

        let first = self.objects.get();
        self.objects.set(first + orgs * of_an_org);
        let times = self.stored_at(first).await;
        assert_eq!(times.len(), orgs * of_an_org, "objects that were stored");
        Pass {
            objects_per_second: rate(&times),
            busy,
        }
    }

    /// Gives events to the first organisations, each event recorded on a day of its own, as
    /// `append_audit_events` would have done day after day.
    async fn append(&self, orgs: usize, events: usize) {
        let last_id = fleet::id_of(orgs);
        let sql = r#"
            with lines as (
                select q.org_id, q.total_bytes, d.seq, d.at,
                       '{"seq":' || d.seq || ',"id":"e-' || d.seq || '","orgId":"' || q.org_id
                           || '","occurredAt":"2020-01-01T00:00:00Z","recordedAt":"'
                           || to_char(d.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                           || '","action":"user.login","actor":{"type":"user","id":"u-17"}}' as line
                  from org_sequences q
                 cross join generate_series(0, $2::bigint - 1) n
                 cross join lateral (
                     select q.next_seq + n as seq,
                            timestamptz '2020-01-01 12:00:00Z'
                                + make_interval(days => (q.next_seq + n)::int) as at) d
                 where q.org_id like 'fleet-%' and q.org_id <= $1
            ), appended as (
                insert into audit_events
                       (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
                select org_id, seq, 'e-' || seq, at, at,
                       total_bytes + sum(octet_length(line) + 1) over (
                           partition by org_id order by seq),
                       line
                  from lines
                returning org_id, seq, recorded_at, end_bytes
            ), last as (
                select distinct on (org_id) * from appended order by org_id, seq desc
            ), counted as (
                update org_sequences q
                   set next_seq = l.seq + 1, last_recorded_at = l.recorded_at,
                       total_bytes = l.end_bytes
                  from last l
                 where q.org_id = l.org_id
            )
            select count(*) from appended"#;
        let of_an_org = i64::try_from(events).unwrap();
        let row = self.fleet.query_one(sql, &[&last_id, &of_an_org]).await;
        let appended = usize::try_from(row.get::<_, i64>(0)).unwrap();
        assert_eq!(appended, orgs * events);
    }

    /// When each object but the first ones was stored, in seconds, in order.
    async fn stored_at(&self, but_the_first: usize) -> Vec<f64> {
        let sql = "
            select coalesce(array_agg(extract(epoch from n.stored_at)::float8 order by n.stored_at),
                            '{}')
              from (select stored_at from export_objects
                     where state = 'stored' order by stored_at offset $1) n";
        let offset = i64::try_from(but_the_first).unwrap();
        self.fleet.query_one(sql, &[&offset]).await.get(0)
    }

    /// Checks that all objects lie in the buckets, and hold what they should.
    fn check_contents(&self) {
        let members = self.fleet.members.iter();
        let events = members.map(|member| member.bucket.events(&member.id).len());
        assert_eq!(events.sum::<usize>(), self.objects.get(), "events");
        assert_eq!(self.fleet.objects(), self.objects.get(), "objects");
    }
}

/// Objects in a second, by the times at which they were stored.
fn rate(times: &[f64]) -> f64 {
    let at = |percent: usize| times.len() * percent / 100;
    let (first, last) = (at(COUNTED_PERCENT.start), at(COUNTED_PERCENT.end));
    (last - first) as f64 / (times[last] - times[first])
}

/// The time of all processors since the start of the machine, in ticks (proc(5), /proc/stat).
struct MachineTime {
    all: f64,
    idle: f64,
}

impl MachineTime {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let total = stat.lines().next().unwrap();
        // The name, then user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
        let ticks = total.split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = ticks.map(|text| text.parse().unwrap()).collect();
        Self {
            all: ticks.iter().sum(),
            idle: ticks[3] + ticks[4],
        }
    }

    fn busy_since(&self, before: &Self) -> f64 {
        1.0 - (self.idle - before.idle) / (self.all - before.all)
    }
}
