//! A machine whose clock is wrong by hours: what AWS's clock says is measured, and nobody notices.

use harness::{World, events::events};
use jiff::SignedDuration;

/// What AWS says to a request whose time is too far off, and to a session that has ended by its clock.
const CODES: [&str; 4] = [
    "RequestTimeTooSkewed",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "ExpiredToken",
];
/// Calls that may be refused each time that the clocks part: one to notice, and a few that were
/// signed before that.
const MOST_REFUSED: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_two_hours_fast_is_measured_and_corrected() {
    aws_is_ahead_by(SignedDuration::from_hours(-2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_two_hours_slow_is_measured_and_corrected() {
    aws_is_ahead_by(SignedDuration::from_hours(2)).await;
}

async fn aws_is_ahead_by(offset: SignedDuration) {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    let sent = events(7, 90);

    // With no session at hand, then with one; and back to where both clocks are right.
    for (n, ahead_by) in [offset, SignedDuration::ZERO, offset]
        .into_iter()
        .enumerate()
    {
        world.aws.set_clock_offset(ahead_by);
        let calls_before = world.aws.calls().len();
        acme.ingest(&sent[30 * n..30 * (n + 1)]).await;
        let last_seq = 30 * (i64::try_from(n).unwrap() + 1);
        acme.wait_until_delivered(&customer, last_seq).await;

        let calls = world.aws.calls().split_off(calls_before);
        let refused: Vec<_> = calls.iter().filter(|call| call.status >= 400).collect();
        assert!(
            (1..=MOST_REFUSED).contains(&refused.len()),
            "ahead by {ahead_by}: {refused:#?}"
        );
        for call in refused {
            let code = call.error_code.as_deref().unwrap_or_default();
            assert!(CODES.contains(&code), "{call:?}");
        }
    }
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
    let runs = acme.runs().await;
    let at_once = |run: &serde_json::Value| run["status"] == "succeeded" && run["attempts"] == 1;
    assert!(runs.iter().all(at_once), "{runs:?}");

    // A test finds out as well.
    world.aws.set_clock_offset(SignedDuration::ZERO);
    let result = acme.test().await.expect(200);
    assert_eq!(result["success"], true, "{result}");
    assert_eq!(acme.config().await["state"], "active");
}
