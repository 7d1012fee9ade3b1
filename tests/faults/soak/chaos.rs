//! Carrying the plan out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::queue::topology;
use futures_util::future::join_all;
use harness::{
    faults::http::{Calls, Injected},
    servers, within,
};

use super::{
    Soak, caught,
    plan::{self, Action, Injection, Line, Step},
    report::Count,
};

/// How long a broker that was just started may take until it purges queues.
const PURGE_TIME: Duration = Duration::from_secs(30);

/// A round of chaos; what went wrong with the chaos itself. No fault is left when this returns: all
/// servers and processes run, and all configs are enabled.
pub async fn run(soak: &Arc<Soak>, round: usize, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    let lanes = plan::lanes(soak.seed, round, time);
    let lanes = lanes
        .into_iter()
        .map(|steps| caught("a lane of the plan", lane(soak.clone(), steps, end)));
    join_all(lanes)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// One step after the other, for as long as there is time.
async fn lane(soak: Arc<Soak>, steps: Vec<Step>, end: Instant) {
    let mut injected = Vec::new();
    for step in steps {
        if Instant::now() + step.pause >= end {
            break;
        }
        tokio::time::sleep(step.pause).await;
        lift(&soak, &mut injected, Some(Instant::now()));
        soak.note(&format!("{:?}", step.action));
        match step.action {
            Action::Inject(injection) => injected.push(inject(&soak, injection)),
            action => act(&soak, action).await,
        }
    }
    tokio::time::sleep_until(end.into()).await;
    lift(&soak, &mut injected, None);
}

async fn act(soak: &Soak, action: Action) {
    let tally = &soak.tally;
    match action {
        Action::KillWorker(worker) => {
            soak.fleet.kill_worker(&soak.world, worker).await;
            tally.add(Count::WorkerKills, 1);
        }
        Action::KillApi(api) => {
            soak.fleet.kill_api(&soak.world, api).await;
            tally.add(Count::ApiKills, 1);
        }
        Action::Freeze { worker, time } => {
            soak.fleet.freeze(worker, time).await;
            tally.add(Count::Freezes, 1);
        }
        Action::KillRabbitMq => {
            servers::kill("rabbitmq").await;
            servers::start("rabbitmq").await;
            tally.add(Count::RabbitMqKills, 1);
        }
        Action::RestartRabbitMq => {
            servers::restart("rabbitmq").await;
            tally.add(Count::RabbitMqRestarts, 1);
        }
        Action::CrashPostgres => {
            servers::kill("postgres").await;
            servers::start("postgres").await;
            tally.add(Count::PostgresCrashes, 1);
        }
        Action::Purge => {
            for queue in [topology::EXPORT, topology::TEST_CONNECTION] {
                let purge =
                    || async { soak.world.broker.try_purge(queue.queue).await.then_some(()) };
                let purged = within(PURGE_TIME, purge).await;
                purged.expect("a queue can be purged");
            }
            tally.add(Count::Purges, 1);
        }
        Action::Cut(line) => {
            match line {
                Line::Postgres => soak.lines.postgres.cut_all(),
                Line::Amqp => soak.lines.amqp.cut_all(),
                Line::Aws => soak.lines.aws.cut_all(),
            }
            tally.add(Count::Cuts, 1);
        }
        Action::Edit { tenant, edit } => {
            let saved = soak.tenants[tenant].edit(&soak.fleet.clients, edit).await;
            tally.add(Count::Edits, saved);
        }
        Action::Inject(_) => unreachable!("it has to be lifted by the lane"),
    }
}

fn inject(soak: &Soak, injection: Injection) -> (Instant, Injected) {
    let Injection {
        operation,
        fault,
        hits,
        life,
    } = injection;
    let calls = Calls::of(operation).first(hits);
    (Instant::now() + life, soak.lines.aws.inject(calls, fault))
}

/// Lifts the faults whose time is up by now, or all of them, and counts how often they were met.
fn lift(soak: &Soak, injected: &mut Vec<(Instant, Injected)>, now: Option<Instant>) {
    injected.retain(|(until, injected)| {
        if now.is_some_and(|now| now < *until) {
            return true;
        }
        injected.lift();
        soak.tally.add(Count::Faults, injected.hits());
        false
    });
}
