//! Organisations that have nothing to do with the others' trouble, and how long their events take.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use harness::{
    Customer, Event, Org, World, bucket::Exported, database::append, events::events, within,
};
use jiff::Timestamp;
use tokio_postgres::Client;

/// Events of one batch; each organisation gets one a second.
pub(crate) const BATCH: usize = 5;

/// Organisations that have nothing to do with the others' trouble.
pub(crate) struct Healthy<'w> {
    world: &'w World,
    orgs: Vec<(Org<'w>, Customer)>,
    batch: Vec<Event>,
    /// Rounds so far.
    rounds: usize,
}

impl<'w> Healthy<'w> {
    pub(crate) async fn new(world: &'w World, count: usize) -> Self {
        let ids: Vec<_> = (0..count).map(|n| format!("healthy-{n:02}")).collect();
        let orgs = join_all(ids.iter().map(|id| world.active_org(id))).await;
        Self {
            world,
            orgs,
            batch: events(1, BATCH),
            rounds: 0,
        }
    }

    /// Gives every organisation a batch each second, waits until all is delivered, for `patience` at
    /// most, and returns each event's time from `recordedAt` to the object that it is in.
    pub(crate) async fn delays(&mut self, rounds: usize, patience: Duration) -> Delays {
        let database = self.world.database.client().await;
        let before = i64::try_from(self.rounds * BATCH).unwrap();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..rounds {
            second.tick().await;
            self.rounds += 1;
            let named = |event: &Event| event.with_id(format!("{}-{}", event.id, self.rounds));
            let batch: Vec<_> = self.batch.iter().map(|e| named(e).json()).collect();
            for (org, _) in &self.orgs {
                let accepted = append(&database, org.id(), &batch).await.unwrap();
                assert_eq!(accepted, i64::try_from(BATCH).unwrap());
            }
        }
        let last = i64::try_from(self.rounds * BATCH).unwrap();
        let late = || async {
            let late = self.late(&database, last).await;
            late.is_empty().then_some(())
        };
        if within(patience, late).await.is_none() {
            let late = self.late(&database, last).await;
            panic!("not delivered within {patience:?}: {late:?}");
        }
        self.measure(before, last)
    }

    async fn late(&self, database: &Client, last: i64) -> Vec<String> {
        let late = "select org_id from export_state
                     where org_id like 'healthy-%' and cursor_seq < $1 order by org_id";
        let rows = database.query(late, &[&last]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Of the events after `before`; checks that they are all there, in order.
    fn measure(&self, before: i64, last: i64) -> Delays {
        let visible: HashMap<_, _> = self
            .world
            .aws
            .write_log()
            .into_iter()
            .map(|write| ((write.bucket, write.key), write.time))
            .collect();
        let mut delays = Vec::new();
        for (org, customer) in &self.orgs {
            let all = customer.bucket().events(org.id());
            assert_eq!(all.len(), usize::try_from(last).unwrap(), "{}", org.id());
            for (parts, object) in customer.bucket().exports(org.id()) {
                if parts.last_seq <= before {
                    continue;
                }
                assert!(parts.first_seq > before, "an object of two measurements");
                let visible = visible[&(customer.bucket_name.clone(), object.key.clone())];
                delays.extend(object.unzipped().lines().map(|line| {
                    let event = Exported {
                        line: line.to_owned(),
                        date: parts.date.clone(),
                    };
                    let recorded: Timestamp = event.recorded_at().parse().unwrap();
                    Duration::try_from(visible.duration_since(recorded)).unwrap_or_default()
                }));
            }
        }
        delays.sort();
        Delays(delays)
    }
}

/// Times from append to bucket, the shortest first.
pub(crate) struct Delays(Vec<Duration>);

impl Delays {
    pub(crate) fn mean(&self) -> Duration {
        self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).unwrap()
    }

    /// That of the event below which so many of 100 lie.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    pub(crate) fn line(&self, name: &str) -> String {
        let [mean, p50, p95, longest] = [
            self.mean(),
            self.percentile(50),
            self.percentile(95),
            self.percentile(100),
        ]
        .map(|delay| format!("{:>7.2} s", delay.as_secs_f64()));
        let count = self.0.len();
        format!("{name:<44}{count:>7}{mean}{p50}{p95}{longest}\n")
    }
}

pub(crate) fn table(title: &str, lines: &[String]) -> String {
    let head = format!(
        "{:<44}{:>7}{:>9}{:>9}{:>9}{:>9}\n",
        "append to bucket", "events", "mean", "p50", "p95", "longest"
    );
    format!("{title}\n\n{head}{}", lines.concat())
}
