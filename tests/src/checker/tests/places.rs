//! Objects, writes and uploads that should not be there, or should.

use local_aws::OpenUpload;

use super::{lines, small};
use crate::checker::files::Place;

#[test]
fn an_object_that_is_gone_is_found() {
    let mut world = small();
    let place = world.place(0);
    world.objects.remove(&place);
    world.must_be("object", "stored and not there");
    world.must_be("object", "was written and is not there");
    let verdict = world.must_be("lost", "event e-1");
    assert_eq!(verdict.lost, 3);
}

#[test]
fn an_object_that_nobody_knows_is_doubled() {
    let mut world = small();
    let place = world.copy_elsewhere();
    world.must_be("unknown object", &place.to_string());
    let verdict = world.must_be("doubled", "event e-4");
    assert_eq!(verdict.doubled, 3);
}

#[test]
fn an_abandoned_object_may_stay_if_a_run_names_it() {
    let mut world = small();
    let key = world.abandon_last();
    world.must_be("unknown object", &key);
    world.run(
        "succeeded",
        Some(format!("s3://bucket/{key} may or may not exist.")),
    );
    world.verdict().must_be_good();
    // It has to be in another destination.
    world.rows.objects[2].destination_version -= 1;
    world.must_be("doubled", "hold the same");
    world.rows.objects[2].destination_version += 1;
    // It has to be right nevertheless.
    world.text(1, &lines(4, 6).replace("1.0", "2.0"));
    world.must_be("line", "audit_events has");
}

#[test]
fn tests_objects_and_the_customers_own_are_passed_over() {
    let mut world = small();
    for key in ["logs/audit-export-test/some-id", "index.html"] {
        world
            .objects
            .insert(Place::new("bucket", key), b"anything".to_vec());
    }
    world.verdict().must_be_good();
}

#[test]
fn a_rewritten_key_is_found() {
    let mut world = small();
    let place = world.place(0);
    world.write(&place, true);
    world.must_be("write", "was rewritten by a worker");
    world.must_be("write", "was written 2 times");
}

#[test]
fn a_deleted_key_and_a_write_of_another_size_are_found() {
    let mut world = small();
    let place = world.place(0);
    world.write(&place, true);
    world.writes.last_mut().unwrap().op = "DeleteObject".into();
    world.must_be("write", "DeleteObject of");
    let mut world = small();
    world.writes[0].size = Some(1);
    world.must_be("write", "Some(1) were written");
    let mut world = small();
    world.writes.remove(0);
    world.must_be("write", "no write of");
}

#[test]
fn an_open_upload_is_found_unless_a_run_names_it() {
    let mut world = small();
    let upload = OpenUpload {
        upload_id: "upload-1".into(),
        key: world.place(0).key,
        initiated: "2026-01-31T10:00:00Z".parse().unwrap(),
        parts: vec![1],
    };
    world.uploads.push(("bucket".into(), upload));
    world.must_be("open upload", "upload-1 of s3://bucket/logs/org_id=acme/");
    let warning = format!("an upload of {} may be open", world.place(0).key);
    world.run("succeeded", Some(warning));
    world.verdict().must_be_good();
}
