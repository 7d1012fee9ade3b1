//! S3 and STS fail in turns for longer than any budget for retries.

use std::time::{Duration, Instant};

use harness::{
    Customer, Org, World,
    events::events,
    faults::http::{Answer, Calls, Fault, HttpProxy, Operation},
    world::sdk_config,
};

use super::lab;

/// How often STS, then S3, takes its turn at failing.
const ROUNDS: usize = 3;
/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(2_500);
/// How long a job may sleep between attempts: all turns together last fifty times as long.
const RETRY_BUDGET: Duration = Duration::from_millis(300);
/// Pauses within an attempt are shorter, pauses between attempts longer.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(450);
/// The pauses are 0.5, 1, 2, 4 and 8 s, which is longer than all turns.
const MOST_ATTEMPTS: u64 = 7;
/// Two services, and three retries at most that the budget has room for.
const MOST_CALLS_OF_AN_ATTEMPT: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn s3_and_sts_that_fail_in_turns_cost_time_alone() {
    let world = World::start().await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    world.start_worker_at(&sdk_config(&proxy.endpoint()), |config| {
        config.retry_budget = RETRY_BUDGET;
    });
    let sent = events(3, 50);
    let mut orgs = Vec::new();
    for id in ["acme", "beta", "gamma"] {
        orgs.push(world.active_org(id).await);
    }

    let s3_fails = || {
        let fault = Fault::Answer(Answer::s3(503, "SlowDown"));
        proxy.inject(Calls::of(Operation::PutObject), fault)
    };
    let sts_fails = || {
        let fault = Fault::Answer(Answer::sts(503, "ServiceUnavailable"));
        proxy.inject(Calls::of(Operation::AssumeRole), fault)
    };
    let began = Instant::now();
    let mut failing = s3_fails();
    for (org, _) in &orgs {
        org.ingest(&sent).await;
    }
    for _ in 0..ROUNDS {
        // One begins before the other ends, so that there is no moment in which all is well.
        let sts = sts_fails();
        world.aws.expire_sessions().unwrap();
        failing.lift();
        turn(&orgs).await;
        failing = s3_fails();
        sts.lift();
        turn(&orgs).await;
    }
    assert!(began.elapsed() > 10 * RETRY_BUDGET);
    failing.lift();

    for (org, customer) in &orgs {
        org.wait_until_delivered(customer, 50).await;
        customer.bucket().must_hold(org.id(), &sent);
        customer.nothing_was_rewritten();
        let runs = org.runs().await;
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(runs[0]["status"], "succeeded", "{runs:?}");
        let attempts = runs[0]["attempts"].as_u64().unwrap();
        assert!((3..=MOST_ATTEMPTS).contains(&attempts), "{runs:?}");

        let times = times_of_calls(&proxy, customer, began);
        let calls = times.len() as u64;
        assert!(
            calls <= attempts * MOST_CALLS_OF_AN_ATTEMPT,
            "{calls} calls: {runs:?}"
        );
        let mut pauses: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
        pauses.retain(|pause| *pause > BETWEEN_ATTEMPTS);
        assert!(pauses.len() >= 2, "{pauses:?}");
        assert!(pauses.last() > pauses.first(), "they grow: {pauses:?}");
    }
    assert_eq!(lab::dead_letters(&world).await, 0, "dead letters");
}

/// Lets a turn pass. Nobody's destination is at fault.
async fn turn(orgs: &[(Org<'_>, Customer)]) {
    tokio::time::sleep(TURN).await;
    for (org, _) in orgs {
        let config = org.config().await;
        assert_eq!(config["state"], "active", "{config}");
    }
}

fn times_of_calls(proxy: &HttpProxy, to: &Customer, since: Instant) -> Vec<Instant> {
    let mut seen = proxy.seen();
    seen.retain(|seen| {
        let theirs = seen.bucket.as_ref() == Some(&to.bucket_name)
            || seen.role_arn.as_ref() == Some(&to.role_arn);
        seen.at >= since && theirs
    });
    seen.iter().map(|seen| seen.at).collect()
}
