//! The whole verdict, and breaches that Postgres's rows show.

use super::{figures, lines, sent, small};
use crate::checker::rows::StateRow;

#[test]
fn a_good_world_is_good() {
    let verdict = small().verdict();
    verdict.must_be_good();
    assert_eq!(figures(&verdict), (6, 0, 0));
    assert_eq!((verdict.sent, verdict.objects), (6, 2));
    assert_eq!(
        verdict.to_string(),
        "1 orgs, 6 events sent, 6 delivered, 0 lost, 0 doubled, 0 unacknowledged, 2 objects, \
         0 test objects, 0 problems"
    );
}

#[test]
fn an_event_whose_answer_was_lost_is_no_problem() {
    let mut world = small();
    world.sent.pop();
    let verdict = world.verdict();
    verdict.must_be_good();
    assert_eq!((verdict.delivered, verdict.unacknowledged), (5, 1));
}

#[test]
#[should_panic(expected = "lost: org acme: event e-7")]
fn a_bad_verdict_fails_the_test() {
    let mut world = small();
    world.sent.push(sent(7));
    world.verdict().must_be_good();
}

#[test]
fn a_gap_in_the_sequence_is_found() {
    let mut world = small();
    world.rows.events.remove(2);
    world.must_be("sequence", "seq 4 where 3 is due");
    world.must_be("sequence", "event e-3 was acknowledged");
    let mut world = small();
    world.rows.next_seq = Some(9);
    world.must_be("sequence", "next_seq");
    let mut world = small();
    world.rows.events[3].id = "e-3".into();
    world.must_be("sequence", "event e-3, which audit_events has already");
}

#[test]
fn a_gap_between_objects_loses_events() {
    let mut world = small();
    let place = world.place(0);
    world.objects.remove(&place);
    world.writes.remove(0);
    world.rows.objects.remove(0);
    let verdict = world.must_be("range", "seq 1 to 3");
    assert_eq!(figures(&verdict), (3, 3, 0));
    world.must_be("lost", "e-1");
}

#[test]
fn an_overlap_doubles_events() {
    let mut world = small();
    world.rows.objects[1].destination_version = 2;
    world.store(5, 6, &lines(5, 6));
    world.must_be("range", "seq 5 overlaps");
    world.must_be("range", "version falls");
    let verdict = world.must_be("doubled", "event e-5");
    assert_eq!(figures(&verdict), (4, 0, 2));
}

#[test]
fn a_range_that_was_stored_too_early_is_found() {
    let mut world = small();
    world.rows.objects[1].stored_at = Some("2026-01-31T09:59:59Z".parse().unwrap());
    world.must_be("range", "before the range before it");
}

#[test]
fn a_cursor_beside_the_objects_is_found() {
    for (cursor_seq, detail) in [
        (7, "stored objects end at seq 6"),
        (3, "last event is seq 6"),
    ] {
        let mut world = small();
        world.rows.state = Some(StateRow {
            cursor_seq,
            last_version: 2,
        });
        world.must_be("cursor", detail);
    }
    let mut world = small();
    world.rows.objects[1].destination_version = 3;
    world.must_be("cursor", "above the last one");
}

#[test]
fn a_plan_that_was_not_carried_out_is_found() {
    let mut world = small();
    world.rows.objects[1].state = "planned".into();
    world.must_be("plan", "seq 4 to 6");
    let verdict = world.must_be("lost", "e-4");
    assert_eq!(figures(&verdict), (3, 3, 0));
}

#[test]
fn runs_that_are_stuck_are_found() {
    let mut world = small();
    world.run("running", None);
    world.must_be("run", "is running");
    let mut world = small();
    world.run("queued", None);
    world.verdict().must_be_good();
    world.rows.runs[1].lease_expired = true;
    world.must_be("run", "its lease expired");
    world.run("queued", None);
    world.must_be("run", "2 are queued");
}

#[test]
fn many_problems_of_a_kind_are_told_in_few_lines() {
    let mut world = small();
    world.sent.extend((100..200).map(sent));
    let verdict = world.must_be("lost", "90 more");
    assert_eq!(verdict.lost, 100);
    assert!(verdict.problems.len() < 30, "{:#?}", verdict.problems);
}
