//! What is done when: a pure function of the seed.

use std::time::Duration;

use harness::faults::http::{Answer, Fault, Operation};

use super::{TENANTS, fleet, random::Random};

/// One thing that is done to the system.
#[derive(Debug, Clone)]
pub enum Action {
    KillWorker(usize),
    KillApi(usize),
    /// SIGSTOP, and SIGCONT when its leases are long over.
    Freeze {
        worker: usize,
        time: Duration,
    },
    KillRabbitMq,
    RestartRabbitMq,
    /// An immediate shutdown, and a start.
    CrashPostgres,
    Purge,
    Cut(Line),
    Inject(Injection),
    Edit {
        tenant: usize,
        edit: Edit,
    },
}

/// What lies between the processes and a server.
#[derive(Debug, Clone, Copy)]
pub enum Line {
    Postgres,
    Amqp,
    Aws,
}

/// A fault of S3 or STS, lifted after a time even if it was not met.
#[derive(Debug, Clone)]
pub struct Injection {
    pub operation: Operation,
    pub fault: Fault,
    pub hits: usize,
    pub life: Duration,
}

/// What an admin does to a config.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    OtherBucket,
    /// To the other bucket and back again after a time.
    ThereAndBack(Duration),
    OtherPrefix,
    OtherRole,
    /// Off, and on again after a time.
    Disable(Duration),
}

/// An action and the pause before it.
#[derive(Debug, Clone)]
pub struct Step {
    pub pause: Duration,
    pub action: Action,
}

/// Steps that go on beside each other.
pub fn lanes(seed: u64, round: usize, time: Duration) -> Vec<Vec<Step>> {
    let lane = |number: u64, draw: fn(&mut Random) -> Step| {
        let mut random = Random::new(seed).fork(round as u64).fork(number);
        let mut left = time;
        let mut steps = Vec::new();
        loop {
            let step = draw(&mut random);
            match left.checked_sub(step.pause) {
                Some(rest) => left = rest,
                None => return steps,
            }
            steps.push(step);
        }
    };
    vec![
        lane(1, kill),
        lane(2, freeze),
        lane(3, disturb_servers),
        lane(4, disturb_network),
        lane(5, edit),
    ]
}

/// An action after a pause of so many milliseconds.
fn step(random: &mut Random, pause: std::ops::Range<u64>, action: Action) -> Step {
    Step {
        pause: random.millis(pause),
        action,
    }
}

fn kill(random: &mut Random) -> Step {
    let action = match random.below(5) {
        0 => Action::KillApi(random.index(fleet::APIS)),
        _ => Action::KillWorker(random.index(fleet::WORKERS.len())),
    };
    step(random, 1_000..4_500, action)
}

fn freeze(random: &mut Random) -> Step {
    let action = Action::Freeze {
        worker: random.index(fleet::WORKERS.len()),
        time: random.millis(2_500..6_000),
    };
    step(random, 2_000..6_000, action)
}

fn disturb_servers(random: &mut Random) -> Step {
    let action = match random.below(8) {
        0 => Action::KillRabbitMq,
        1 => Action::RestartRabbitMq,
        2..5 => Action::CrashPostgres,
        _ => Action::Purge,
    };
    // RabbitMQ is away for 5 to 15 seconds each time: there has to be time to work.
    step(random, 3_000..9_000, action)
}

fn disturb_network(random: &mut Random) -> Step {
    let action = match random.below(9) {
        0 => Action::Cut(Line::Postgres),
        1 => Action::Cut(Line::Amqp),
        2 => Action::Cut(Line::Aws),
        _ => Action::Inject(injection(random)),
    };
    step(random, 300..1_500, action)
}

fn injection(random: &mut Random) -> Injection {
    use Operation::{
        AssumeRole, CompleteMultipartUpload, CreateMultipartUpload, PutObject, UploadPart,
    };
    let (operation, life) = match random.below(10) {
        0..4 => (PutObject, 3),
        4..6 => (AssumeRole, 3),
        // Seldom asked for, so they wait longer.
        6 => (UploadPart, 20),
        7 => (CreateMultipartUpload, 20),
        _ => (CompleteMultipartUpload, 20),
    };
    let unavailable = |random: &mut Random| match (operation, random.below(2)) {
        (AssumeRole, 0) => Answer::sts(503, "ServiceUnavailable"),
        (AssumeRole, _) => Answer::sts(400, "Throttling"),
        (_, 0) => Answer::s3(503, "SlowDown"),
        (_, _) => Answer::s3(500, "InternalError"),
    };
    let fault = match random.below(10) {
        0..3 => Fault::LoseAnswer,
        3..5 => Fault::Answer(unavailable(random)),
        5 => Fault::CutAnswer,
        6 => Fault::CutRequest,
        7 => Fault::ResetBefore,
        // Beyond every lease, with the answer or without.
        8 => Fault::Delay(random.millis(500..4_000)),
        _ => Fault::HangAfter,
    };
    Injection {
        operation,
        fault,
        hits: 1 + random.index(3),
        life: Duration::from_secs(life),
    }
}

fn edit(random: &mut Random) -> Step {
    let edit = match random.below(6) {
        0 | 1 => Edit::OtherBucket,
        2 => Edit::ThereAndBack(random.millis(0..1_000)),
        3 => Edit::OtherPrefix,
        4 => Edit::OtherRole,
        _ => Edit::Disable(random.millis(200..2_000)),
    };
    let tenant = random.index(TENANTS);
    step(random, 300..1_500, Action::Edit { tenant, edit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::{ROUND, SHORT, SHORT_SEED};

    fn count(lanes: &[Vec<Step>], wanted: fn(&Action) -> bool) -> usize {
        let steps = lanes.iter().flatten();
        steps.filter(|step| wanted(&step.action)).count()
    }

    #[test]
    fn a_seed_is_a_plan() {
        let text = |seed, round| format!("{:?}", lanes(seed, round, ROUND));
        assert_eq!(text(7, 0), text(7, 0));
        assert_ne!(text(7, 0), text(8, 0));
        assert_ne!(text(7, 0), text(7, 1));
        let kills = |action: &_| matches!(action, Action::KillWorker(_) | Action::KillApi(_));
        for seed in 0..20 {
            // Twenty minutes are five rounds, and have to have 200 kills: 40 a round, and some to spare.
            let planned = count(&lanes(seed, 0, ROUND), kills);
            assert!((60..=120).contains(&planned), "{planned}");
        }
    }

    #[test]
    fn the_short_form_has_some_of_everything() {
        let lanes = lanes(SHORT_SEED, 0, SHORT);
        let kinds: [fn(&Action) -> bool; 9] = [
            |a| matches!(a, Action::KillWorker(_)),
            |a| matches!(a, Action::KillApi(_)),
            |a| matches!(a, Action::Freeze { .. }),
            |a| matches!(a, Action::KillRabbitMq),
            |a| matches!(a, Action::CrashPostgres),
            |a| matches!(a, Action::Purge),
            |a| matches!(a, Action::Cut(_)),
            |a| matches!(a, Action::Inject(_)),
            |a| matches!(a, Action::Edit { .. }),
        ];
        for (number, kind) in kinds.into_iter().enumerate() {
            assert!(count(&lanes, kind) > 0, "kind {number} of {lanes:?}");
        }
        let rabbitmq = |a: &_| matches!(a, Action::KillRabbitMq | Action::RestartRabbitMq);
        assert!(count(&lanes, rabbitmq) <= 2, "{lanes:?}");
    }
}
