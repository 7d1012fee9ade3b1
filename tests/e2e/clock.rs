//! A worker whose clock is not that of AWS.

use harness::{World, events::events};
use jiff::SignedDuration;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_two_hours_off_is_corrected_once() {
    for hours in [2, -2] {
        let world = World::start().await;
        let set_clock = |hours| {
            world
                .aws
                .set_clock_offset(SignedDuration::from_hours(hours))
        };
        set_clock(hours);
        world.start_worker();
        let (acme, customer) = world.active_org("acme").await;
        let sent = events(21, 50);
        for (n, batch) in (1..).zip(sent.chunks(10)) {
            if n == 5 {
                let calls = world.aws.calls();
                let refused = |code: &str| {
                    let code = Some(code);
                    let of_code = calls
                        .iter()
                        .filter(|call| call.error_code.as_deref() == code);
                    of_code.count()
                };
                let skewed = refused("SignatureDoesNotMatch") + refused("RequestTimeTooSkewed");
                assert_eq!(skewed, 1, "{hours}");
                // One session for the test, and one for all exports.
                let assumed = |call: &&local_aws::CallRecord| {
                    call.operation == "AssumeRole" && call.status == 200
                };
                assert_eq!(calls.iter().filter(assumed).count(), 2, "{hours}");
                // The session at hand has ended, or is good for longer than it looks.
                set_clock(-hours);
            }
            acme.ingest(batch).await;
            acme.wait_until_delivered(&customer, n * 10).await;
        }
        customer.bucket().must_hold("acme", &sent);
        customer.nothing_was_rewritten();
        assert_eq!(acme.config().await["lastError"], serde_json::Value::Null);
    }
}
