//! The vendor's product: several writers that send events without end, each batch again and again
//! under the same ids until one of the APIs has acknowledged it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use harness::{
    Event,
    checker::Sent,
    events::{Generator, ndjson},
    tokens,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Soak, TENANTS, TIME_TO_SETTLE, caught, random::Random, report::Count};

const WRITERS: u64 = 4;
/// How long an append may take before it is sent again.
const APPEND_TIME: Duration = Duration::from_secs(20);
/// Bytes of a large event: an append may have 16 MiB.
const LARGE_EVENT: usize = 64 * 1024;
/// Large events in one append.
const LARGE_BATCH: usize = 120;
/// Appends one after the other: their events, pending together, fill an object of two parts.
const LARGE_BATCHES: usize = 3;
/// The longest pause between two such floods.
const FLOOD_PAUSE: Duration = Duration::from_secs(75);

/// The writers of a round.
pub struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<(), String>>>,
}

/// Starts them. Different rounds have different events.
pub fn start(soak: &Arc<Soak>, round: usize, time: Duration) -> Writers {
    let stop = CancellationToken::new();
    let random = |number: u64| {
        let mut all = Random::new(soak.seed).fork(round as u64);
        all.fork(100 + number)
    };
    let mut tasks: Vec<_> = (0..WRITERS)
        .map(|number| {
            let writing = write(soak.clone(), random(number), stop.clone());
            tokio::spawn(caught("a writer", writing))
        })
        .collect();
    // Twice or more in a round, the first time soon.
    let pause = FLOOD_PAUSE.min(time / 3);
    let flooding = flood(soak.clone(), random(WRITERS), pause, stop.clone());
    tasks.push(tokio::spawn(caught("the writer of large events", flooding)));
    Writers { stop, tasks }
}

impl Writers {
    /// Ends them when their last batch is acknowledged; what went wrong.
    pub async fn end(self) -> Vec<String> {
        self.stop.cancel();
        match tokio::time::timeout(TIME_TO_SETTLE, join_all(self.tasks)).await {
            Ok(ended) => ended
                .into_iter()
                .filter_map(|writer| writer.expect("its panics are caught").err())
                .collect(),
            Err(_) => vec![format!(
                "an append was not acknowledged within {TIME_TO_SETTLE:?} after the last fault"
            )],
        }
    }
}

async fn write(soak: Arc<Soak>, mut random: Random, stop: CancellationToken) {
    // The seed is in the events' ids.
    let mut events = Generator::new(random.draw());
    while !stop.is_cancelled() {
        let most = if random.below(4) == 0 { 200 } else { 20 };
        let batch: Vec<Event> = events.by_ref().take(1 + random.index(most)).collect();
        let tenant = random.index(TENANTS);
        append(&soak, tenant, &batch, &mut random).await;
        tokio::time::sleep(random.millis(100..700)).await;
    }
}

/// Now and then so much for one organisation that its object is uploaded in parts.
async fn flood(soak: Arc<Soak>, mut random: Random, pause: Duration, stop: CancellationToken) {
    let seed = random.draw();
    // Few, since noise takes time to make: what is 64 KiB away is too far for gzip to see.
    let different: Vec<_> = Generator::new(seed).bytes(LARGE_EVENT).take(24).collect();
    let mut count = 0;
    let mut wait = Duration::from_secs(2);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let began = Instant::now();
        let tenant = random.index(TENANTS);
        let batches = async {
            for _ in 0..LARGE_BATCHES {
                let event = |n: usize| {
                    different[n % different.len()].with_id(format!("large-{seed:x}-{}", count + n))
                };
                let batch: Vec<_> = (0..LARGE_BATCH).map(event).collect();
                count += LARGE_BATCH;
                append(&soak, tenant, &batch, &mut random).await;
            }
        };
        let clients = &soak.fleet.clients;
        soak.tenants[tenant].disabled_during(clients, batches).await;
        soak.tally.add(Count::Floods, 1);
        wait = pause.saturating_sub(began.elapsed());
    }
}

/// Sends a batch until it is acknowledged, and records it then.
async fn append(soak: &Soak, tenant: usize, batch: &[Event], random: &mut Random) {
    let org = &soak.tenants[tenant].id;
    let path = format!("/orgs/{org}/audit-events");
    let body = ndjson(batch);
    for attempt in random.index(2).. {
        let token = tokens::platform("audit-events:write");
        let api = &soak.fleet.clients[attempt % soak.fleet.clients.len()];
        let ask = api.ask("POST", &path).token(&token).timeout(APPEND_TIME);
        match ask
            .body("application/x-ndjson", body.clone())
            .try_send()
            .await
        {
            Ok(answer) if answer.status == 200 => {
                let answer = answer.json();
                let known = ["accepted", "duplicates"].map(|name| answer[name].as_u64().unwrap());
                assert_eq!(known.iter().sum::<u64>(), batch.len() as u64, "{answer}");
                break;
            }
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                panic!("{org}: {answer:?}")
            }
            _ => {
                soak.tally.add(Count::RepeatedAppends, 1);
                tokio::time::sleep(random.millis(20..300)).await;
            }
        }
    }
    let acknowledged = batch.iter().map(|event| Sent {
        id: event.id.clone(),
        json: event.json(),
    });
    let mut sent = soak.sent.lock().unwrap();
    sent.entry(org.clone()).or_default().extend(acknowledged);
}
