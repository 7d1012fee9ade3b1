//! Objects that do not hold what they should, or are not named by it.

use uuid::Uuid;

use super::{figures, gzip, line, lines, small};
use crate::checker::files::Place;

#[test]
fn an_event_that_stands_twice_in_an_object_is_doubled() {
    let mut world = small();
    world.text(1, &format!("{}{}", lines(4, 5), lines(5, 6)));
    world.must_be("line", "seq 6 is due here");
    let verdict = world.must_be("doubled", "event e-5");
    assert_eq!(figures(&verdict), (5, 0, 1));
}

#[test]
fn a_lost_line_is_found() {
    let mut world = small();
    world.text(0, &lines(1, 2));
    world.must_be("line", "ends with seq 2");
    let verdict = world.must_be("lost", "event e-3");
    assert_eq!(figures(&verdict), (5, 1, 0));
    let mut world = small();
    world.text(0, &(line(1) + "\n" + &line(3) + "\n"));
    world.must_be("line", "seq 3: seq 2 is due here");
}

#[test]
fn a_changed_value_is_found() {
    let mut world = small();
    world.text(1, &lines(4, 6).replace("1.0", "1"));
    world.must_be("line", "seq 4: audit_events has");
    world.must_be("line", "event e-4 is not as it was sent: metadata");
    // Postgres has it wrong, too.
    let mut world = small();
    for event in &mut world.rows.events {
        event.line = event.line.replace("1e400", "1e+400");
    }
    world.text(1, &lines(4, 6).replace("1e400", "1e+400"));
    world.must_be("line", "event e-6 is not as it was sent");
    let mut world = small();
    world.sent[0].json = world.sent[0].json.replace(r#""action":"a","#, "");
    world.must_be("line", "action was not there");
}

#[test]
fn a_member_that_stands_twice_or_white_space_is_found() {
    for form in [r#","action":"b","action":"a""#, r#", "action":"a""#] {
        let mut world = small();
        let changed = line(2).replace(r#","action":"a""#, form);
        world.rows.events[1].line.clone_from(&changed);
        world.text(0, &lines(1, 3).replace(&line(2), &changed));
        world.must_be("line", "seq 2: the members are not as documented");
    }
}

#[test]
fn a_foreign_organisations_line_is_a_leak() {
    let mut world = small();
    let foreign = line(2).replace(r#""orgId":"acme""#, r#""orgId":"beta""#);
    world.text(0, &lines(1, 3).replace(&line(2), &foreign));
    world.must_be("leaked", "seq 2 is an event of org beta");
    let verdict = world.must_be("lost", "e-2");
    assert_eq!(verdict.lost, 1);
}

#[test]
fn bytes_that_are_no_whole_gzip_are_found() {
    let mut world = small();
    let whole = gzip(&lines(1, 3));
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        world.put(0, whole[..length].to_vec());
        let verdict = world.must_be("object", "is not whole");
        assert_eq!(verdict.lost, 3, "{length}");
    }
    world.put(0, [&whole[..], b"trailing"].concat());
    world.must_be("object", "is not whole");
    world.text(0, lines(1, 3).trim_end());
    world.must_be("object", "ends within a line");
}

#[test]
fn an_object_that_is_not_what_its_row_says_is_found() {
    let mut world = small();
    world.rows.objects[0].bytes = Some(7);
    world.must_be("object", "Some(7) by its row");
    let mut world = small();
    world.rows.objects[0].sha256 = Some(vec![0; 32]);
    world.must_be("object", "another SHA-256");
    let mut world = small();
    world.rows.objects[0].sha256_candidates.clear();
    world.must_be("object", "not recorded before");
    let mut world = small();
    world.rows.objects[0].events = Some(4);
    world.must_be("object", "has 3 events");
    // Nothing is claimed of an object whose attempts differed.
    let mut world = small();
    (world.rows.objects[0].bytes, world.rows.objects[0].sha256) = (None, None);
    world.verdict().must_be_good();
}

#[test]
fn a_key_that_does_not_tell_what_is_there_is_found() {
    let mut world = small();
    world.rows.objects[0].plan_id = Uuid::new_v4();
    world.must_be("key", "should be named by");
    let mut world = small();
    world.rows.objects[0].codec = "zstd".into();
    world.must_be("key", "should be named by");
    for (from, to, kind) in [
        ("2026-01-31", "2026-01-30", "line"),
        ("0000001-", "000001-", "key"),
        ("date=", "day=", "key"),
    ] {
        let mut world = small();
        let (place, row) = (world.place(0), &mut world.rows.objects[0]);
        row.key = row.key.replacen(from, to, 1);
        let renamed = Place::new("bucket", &row.key);
        world.writes[0].key.clone_from(&renamed.key);
        let bytes = world.objects.remove(&place).unwrap();
        world.objects.insert(renamed, bytes);
        world.must_be(kind, "");
    }
}
