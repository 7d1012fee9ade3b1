//! Two admins at once: `ETag`, `If-Match` and `If-None-Match`.

use harness::{Org, World, api::Answer, attacks, events::events};
use serde_json::{Value, json};

async fn ask(org: &Org<'_>, method: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let mut request = org.ask(method, "/audit-export/config");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await
}

async fn etag(org: &Org<'_>) -> String {
    let answer = ask(org, "GET", &[], None).await;
    answer.expect(200);
    answer.header("etag").to_owned()
}

/// Settings that can be told apart by their prefix. Nothing is tested, as nothing is enabled.
fn settings(prefix: &str) -> Value {
    json!({
        "bucket": "acme-audit-log",
        "region": "eu-central-1",
        "roleArn": "arn:aws:iam::210987654321:role/log-archive-writer",
        "prefix": prefix,
        "enabled": false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_admins_is_told() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let first = acme.save(settings("first")).await;
    first.expect(201);
    let read = first.header("etag").to_owned();
    assert!(read.starts_with('"') && read.ends_with('"'), "{read}");
    assert_eq!(etag(&acme).await, read);

    let if_match = [("if-match", &*read)];
    let faster = ask(&acme, "POST", &if_match, Some(settings("faster"))).await;
    faster.expect(201);
    assert_ne!(faster.header("etag"), read);
    for method in ["POST", "DELETE"] {
        let body = (method == "POST").then(|| settings("slower"));
        let slower = ask(&acme, method, &if_match, body).await;
        slower.expect_error(412, "precondition_failed");
    }
    assert_eq!(acme.config().await["prefix"], "faster");

    // As it says: read again, and repeat.
    let now = etag(&acme).await;
    let list = format!("\"other\", W/{now}, {now}");
    let again = ask(
        &acme,
        "POST",
        &[("if-match", &list)],
        Some(settings("again")),
    )
    .await;
    again.expect(201);
    let weak = format!("W/{}", again.header("etag"));
    let never = ask(
        &acme,
        "POST",
        &[("if-match", &weak)],
        Some(settings("weak")),
    )
    .await;
    never.expect_error(412, "precondition_failed");
    let any = ask(&acme, "POST", &[("if-match", "*")], Some(settings("any"))).await;
    any.expect(201);
    // Whoever asks for nothing is not held back.
    acme.save(settings("unasked")).await.expect(201);
    let bare = ask(&acme, "POST", &[("if-match", "3")], Some(settings("bare"))).await;
    let bare = bare.expect_error(422, "invalid_request");
    assert_eq!(bare["field"], "If-Match");
    assert_eq!(acme.config().await["prefix"], "unasked");

    let now = etag(&acme).await;
    let deleted = ask(&acme, "DELETE", &[("if-match", &now)], None).await;
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    let gone = ask(&acme, "DELETE", &[("if-match", &now)], None).await;
    gone.expect_error(404, "not_configured");
    for tag in [&*now, "*"] {
        let new = ask(&acme, "POST", &[("if-match", tag)], Some(settings("new"))).await;
        new.expect_error(412, "precondition_failed");
    }
    // What is made again is something else.
    acme.save(settings("unasked")).await.expect(201);
    assert_ne!(etag(&acme).await, now);
    let old = ask(&acme, "POST", &[("if-match", &now)], Some(settings("old"))).await;
    old.expect_error(412, "precondition_failed");
}

/// The precondition comes before what is wrong with the rest, which may be wrong only since the
/// other admin was faster.
#[tokio::test(flavor = "multi_thread")]
async fn a_mask_of_the_role_before_is_a_matter_of_being_late() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let first = acme.save(settings("first")).await;
    let mask = first.expect(201)["roleArnMasked"].clone();
    let mut other = settings("other");
    other["roleArn"] = json!("arn:aws:iam::123456789012:role/another");
    acme.save(other).await.expect(201);
    let mut late = settings("late");
    late["roleArn"] = mask;
    let if_match = [("if-match", first.header("etag"))];
    let answer = ask(&acme, "POST", &if_match, Some(late.clone())).await;
    answer.expect_error(412, "precondition_failed");
    let unasked = acme.save(late).await;
    unasked.expect_error(422, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_admins_at_once_one_is_heard() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let at_once = async |headers: &[(&str, &str)]| {
        let requests = (0..8).map(|n| {
            let body = Some(settings(&format!("p{n}")));
            ask(&acme, "POST", headers, body)
        });
        let answers = futures_util::future::join_all(requests).await;
        let saved: Vec<_> = answers.iter().filter(|one| one.status == 201).collect();
        let late = answers.iter().filter(|one| one.status == 412).count();
        assert_eq!((saved.len(), late), (1, 7), "{answers:?}");
        let (config, tag) = (acme.config().await, etag(&acme).await);
        assert_eq!(config, saved[0].json());
        assert_eq!(tag, saved[0].header("etag"));
        tag
    };
    // Only to create it, then from version to version.
    let mut tag = at_once(&[("if-none-match", "*")]).await;
    for _ in 0..5 {
        tag = at_once(&[("if-match", &tag)]).await;
    }
    let exists = [("if-none-match", "*")];
    let answer = ask(&acme, "POST", &exists, Some(settings("new"))).await;
    answer.expect_error(412, "precondition_failed");
    attacks::record(
        "lost update",
        "eight admins at once save what they changed of the same version",
        "one is heard, seven get 412 precondition_failed",
    );
}

/// An admin's tag is not outdated by what the system does meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn tests_and_deliveries_are_no_saves() {
    let world = World::start().await;
    world.start_worker();
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let saved = acme.save(customer.settings()).await;
    saved.expect(201);
    let read = saved.header("etag").to_owned();
    acme.wait_for_state("active").await;
    acme.ingest(&events(51, 10)).await;
    acme.wait_until_delivered(&customer, 10).await;
    customer.break_role();
    assert_eq!(acme.test().await.expect(200)["success"], false);
    acme.wait_for_state("paused").await;
    assert_eq!(etag(&acme).await, read);
    // So it cannot stand for the whole answer, and nobody is told that nothing has changed.
    let answer = ask(&acme, "GET", &[("if-none-match", &read)], None).await;
    assert_eq!(answer.expect(200)["state"], "paused");
    customer.mend_role();
    acme.wait_for_state("active").await;
    let body = Some(customer.settings());
    let again = ask(&acme, "POST", &[("if-match", &read)], body).await;
    again.expect(201);
    // A save that changes nothing is a save.
    assert_ne!(again.header("etag"), read);
}
