//! Nobody waits for another organisation's trouble: how long events take from their append to the
//! bucket, with and without organisations that have too much to deliver or a bucket that never answers.

mod healthy;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::{
    Customer, Org, World,
    events::events,
    eventually,
    faults::http::{Calls, Fault, HttpProxy, Injected},
    process::Process,
};
use jiff::Timestamp;

use healthy::{BATCH, Healthy, table};

/// A request that is not answered holds up its run for this long.
const S3_TIMEOUT: Duration = Duration::from_secs(10);
/// An organisation with more to deliver than it gets to within the test.
const HUGE: i64 = 2_000_000;
/// What one run of it delivers.
const RUN_MAX_EVENTS: i64 = 20_000;

/// A worker that reaches S3 through the proxy.
fn worker(world: &World, proxy: &HttpProxy, settings: &[(&str, &str)]) -> Process {
    let endpoint = proxy.endpoint();
    let (timeout, events) = (S3_TIMEOUT.as_secs().to_string(), RUN_MAX_EVENTS.to_string());
    let mut all = vec![
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
        ("AUDIT_EXPORT_S3_TIMEOUT_SECONDS", &timeout),
        ("AUDIT_EXPORT_RUN_MAX_EVENTS", &events),
        ("AUDIT_EXPORT_LEASE_SECONDS", "15"),
        ("AUDIT_EXPORT_GIVE_BACK_SECONDS", "5"),
    ];
    all.extend_from_slice(settings);
    world.spawn_worker(&all)
}

/// Makes every request for the customer's bucket hang, gives its organisation an event, and returns
/// when the first request hangs.
async fn hang(proxy: &HttpProxy, org: &Org<'_>, customer: &Customer) -> Injected {
    let calls = Calls::default().to_bucket(&customer.bucket_name);
    let injected = proxy.inject(calls, Fault::Hang);
    org.ingest(&events(2, 1)).await;
    let hit = || async { (injected.hits() > 0).then_some(()) };
    eventually("a request hangs", hit).await;
    injected
}

/// Fills in pending events as `append_audit_events` would have, 300 bytes a line, but quickly.
async fn fill(world: &World, org: &str, count: i64) {
    let settings = world.database.client().await;
    // It would wake up in the middle of a measurement.
    settings
        .batch_execute("alter table audit_events set (autovacuum_enabled = off)")
        .await
        .unwrap();
    let half = count / 2;
    let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let part = |from: i64, to: i64| async move {
        let insert = "
            insert into audit_events
                   (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
            select $1::text, n, 'h-' || n, $4::timestamptz, $4, n * 301,
                   rpad('{\"seq\":' || n || ',\"id\":\"h-' || n || '\",\"orgId\":\"' || $1::text
                        || '\",\"occurredAt\":\"2026-01-31T09:00:00Z\",\"recordedAt\":\"'
                        || to_char($4 at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                        || '\",\"action\":\"user.login\",\"actor\":{\"type\":\"user\",\"id\":\"u-'
                        || n % 1000 || '\"},\"metadata\":{\"text\":\"' || md5(n::text), 297, '.')
                   || '\"}}'
              from generate_series($2::bigint, $3::bigint) n";
        let client = world.database.client().await;
        let inserted = client
            .execute(insert, &[&org, &from, &to, &at])
            .await
            .unwrap();
        assert_eq!(i64::try_from(inserted).unwrap(), to - from + 1);
    };
    tokio::join!(part(1, half), part(half + 1, count));
    let update = "update org_sequences set next_seq = $2::bigint + 1, total_bytes = $2 * 301,
                         last_recorded_at = $3
                   where org_id = $1";
    settings
        .execute(update, &[&org, &count, &at])
        .await
        .unwrap();
    settings
        .batch_execute("analyze audit_events")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_with_two_million_events_and_one_that_hangs_delay_nobody() {
    const HEALTHY: usize = 50;
    const ROUNDS: usize = 12;
    const PATIENCE: Duration = Duration::from_secs(120);
    let _servers = harness::servers::exclusive().await;
    // Delays of seconds: far above what a debug build and a small machine add by themselves.
    let world = World::start_with(|config| config.interval_seconds = 3).await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    let mut workers = [(); 2].map(|()| worker(&world, &proxy, &[]));
    let (stuck, stuck_customer) = world.active_org("stuck").await;
    let huge = world.org("huge").await;
    let huge_customer = world.customer(&huge);
    let filling = Instant::now();
    fill(&world, "huge", HUGE).await;
    let filling = filling.elapsed();
    let mut healthy = Healthy::new(&world, HEALTHY).await;

    let alone = healthy.delays(ROUNDS, PATIENCE).await;
    huge.save(huge_customer.settings()).await.expect(201);
    let progress = || async { (huge_customer.bucket().last_seq("huge") > 0).then_some(()) };
    eventually("the huge organisation is exported", progress).await;
    let hung = hang(&proxy, &stuck, &stuck_customer).await;
    let beside = healthy.delays(ROUNDS, PATIENCE).await;
    for worker in &mut workers {
        worker.must_run();
        worker.kill();
    }

    let delivered = huge_customer.bucket().last_seq("huge");
    let mut text = table(
        &format!(
            "{HEALTHY} healthy organisations, {BATCH} events a second each, 2 workers, interval 3 s"
        ),
        &[
            alone.line("alone"),
            beside.line("beside a huge and a hung one"),
        ],
    );
    text += &format!(
        "the huge one: {HUGE} events, filled in within {:.0} s, {delivered} delivered meanwhile; \
         the hung one: {} requests without an answer\n",
        filling.as_secs_f64(),
        hung.hits(),
    );
    harness::report::write("fairness", &text);

    // The two were at work all the time, and what was delivered of them is whole.
    assert!(delivered >= 2 * RUN_MAX_EVENTS, "{text}");
    let exported = huge_customer.bucket().events("huge");
    assert_eq!(i64::try_from(exported.len()).unwrap(), delivered);
    huge_customer.nothing_was_rewritten();
    assert_eq!(stuck_customer.bucket().last_seq("stuck"), 0);

    assert!(beside.mean() <= 2 * alone.mean(), "mean\n{text}");
    assert!(
        beside.percentile(95) <= 2 * alone.percentile(95),
        "95th percentile\n{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_hung_organisations_than_slots_leave_room_for_the_healthy_ones() {
    const HEALTHY: usize = 10;
    const HUNG: usize = 12;
    const SLOTS: usize = 4;
    const ROUNDS: usize = 20;
    /// Before a healthy run the queue may hold every hung one, each of which has a slot for as long as
    /// one request may take; 10 s are for the interval, and for a small machine.
    const BOUND: Duration = S3_TIMEOUT
        .saturating_mul(HUNG.div_ceil(SLOTS) as u32)
        .saturating_add(Duration::from_secs(10));
    let _servers = harness::servers::exclusive().await;
    let world = World::start().await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    let slots = SLOTS.to_string();
    let mut worker = worker(&world, &proxy, &[("AUDIT_EXPORT_CONCURRENCY", &slots)]);
    let ids: Vec<_> = (0..HUNG).map(|n| format!("hung-{n:02}")).collect();
    let hung = join_all(ids.iter().map(|id| world.active_org(id))).await;
    let mut healthy = Healthy::new(&world, HEALTHY).await;

    let alone = healthy.delays(ROUNDS, BOUND).await;
    let calls = |customer: &Customer| Calls::default().to_bucket(&customer.bucket_name);
    let injected: Vec<_> = hung
        .iter()
        .map(|(_, customer)| proxy.inject(calls(customer), Fault::Hang))
        .collect();
    for (org, _) in &hung {
        org.ingest(&events(2, 1)).await;
    }
    let all_slots = || async {
        let hits = injected.iter().filter(|one| one.hits() > 0).count();
        (hits >= SLOTS).then_some(())
    };
    eventually("every slot has met a bucket that hangs", all_slots).await;
    let beside = healthy.delays(ROUNDS, BOUND).await;
    worker.must_run();

    let text = table(
        &format!("{HEALTHY} healthy organisations, {BATCH} events a second each, {SLOTS} slots"),
        &[
            alone.line("alone"),
            beside.line(&format!("beside {HUNG} that hang")),
        ],
    );
    harness::report::write("fairness-hung", &text);
    assert!(
        beside.percentile(100) <= BOUND,
        "more than {BOUND:?}\n{text}"
    );
    let all = || async { injected.iter().all(|one| one.hits() > 0).then_some(()) };
    eventually("every one of them had its turn", all).await;

    // Once they answer again, theirs arrive as well.
    for one in &injected {
        one.lift();
    }
    for (org, customer) in &hung {
        let time = Duration::from_secs(180);
        org.wait_until_delivered_within(customer, 1, time).await;
        assert_eq!(customer.bucket().events(org.id()).len(), 1);
    }
}
