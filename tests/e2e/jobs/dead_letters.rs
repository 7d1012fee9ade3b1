//! `dead-letters list` and `redrive`: what a platform engineer does about the messages that nobody
//! could work on.

use std::net::TcpListener;

use common::queue::topology;
use harness::{
    World,
    events::events,
    process::{output_of, run_to_end},
};
use lapin::{
    BasicProperties, Channel, Connection,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions},
};
use serde_json::{Value, json};

use super::{
    EXPORT, SILENCE, TEST,
    contract::{expect_outcome, export, new_id, test},
    looked_at, start,
};

const PROGRAM: &str = "audit-export-exporter";

/// Runs a command that has to do all of what it is asked for. It is given nothing but the broker.
fn dead_letters(world: &World, arguments: &[&str]) -> String {
    let arguments = [&["dead-letters"], arguments].concat();
    let environment = [("AMQP_URL", world.broker.amqp_url())];
    tokio::task::block_in_place(|| output_of(PROGRAM, &arguments, &environment))
}

fn list(world: &World, options: &[&str]) -> Vec<Value> {
    dead_letters(world, &[&["list"], options].concat())
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[track_caller]
fn must_redrive(world: &World, options: &[&str], redriven: usize, left: usize) {
    let told = dead_letters(world, &[&["redrive"], options].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({"redriven": redriven, "left": left}));
}

/// Waits until so many dead letters are listed.
async fn wait_for_listed(world: &World, count: usize) -> Vec<Value> {
    harness::eventually(&format!("{count} dead letters are listed"), || {
        let listed = list(world, &[]);
        std::future::ready((listed.len() >= count).then_some(listed))
    })
    .await
}

/// A channel of somebody who knows the broker and nothing else.
async fn channel(world: &World) -> (Connection, Channel) {
    let connection = common::queue::connect(world.broker.amqp_url(), "a stranger")
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn next(channel: &Channel, queue: &str, no_ack: bool) -> BasicGetMessage {
    harness::eventually(&format!("a message in {queue}"), || async {
        let got = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack })
            .await;
        got.unwrap()
    })
    .await
}

/// Makes RabbitMQ itself put the next export job to the dead letters, of which there are then so many.
async fn reject_next(world: &World, channel: &Channel, dead: usize) {
    let message = next(channel, topology::EXPORT.queue, false).await;
    message
        .delivery
        .reject(BasicRejectOptions { requeue: false })
        .await
        .unwrap();
    wait_for_listed(world, dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_tells_why_and_stays() {
    let world = start().await;
    let program = world.broker.connect().await;
    assert!(list(&world, &[]).is_empty());
    let (rejected, unknown) = (export("acme", &new_id()), test("nobody", &new_id()));
    let began = jiff::Timestamp::now();
    program.submit(EXPORT, &rejected).await;
    let (_connection, channel) = channel(&world).await;
    reject_next(&world, &channel, 1).await;
    world.start_worker();
    program
        .publish(EXPORT, b"\xff no JSON", BasicProperties::default())
        .await;
    wait_for_listed(&world, 2).await;
    program.submit(TEST, &unknown).await;

    let listed = wait_for_listed(&world, 3).await;

    for (letter, key, reason) in [
        (
            &listed[0],
            EXPORT,
            "rejected (queue audit-export.export, count 1)",
        ),
        (&listed[1], EXPORT, "not a job"),
        (&listed[2], TEST, "no organisation has this id"),
    ] {
        assert_eq!(letter["routingKey"], key, "{letter}");
        let told = letter["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{reason} is not in {told:?}");
        let since: jiff::Timestamp = letter["deadSince"].as_str().unwrap().parse().unwrap();
        let passed = since.as_second() - began.as_second();
        assert!((-1..600).contains(&passed), "{letter}");
    }
    for (letter, org, id, body) in [
        (&listed[0], "acme", &rejected["runId"], &rejected),
        (&listed[2], "nobody", &unknown["testId"], &unknown),
    ] {
        assert_eq!(
            (&letter["orgId"], &letter["id"], &letter["body"]),
            (&json!(org), id, body)
        );
    }
    assert_eq!(listed[1]["body"], "\u{fffd} no JSON");
    assert_eq!(
        (&listed[1]["orgId"], &listed[1]["id"]),
        (&Value::Null, &Value::Null)
    );

    // They are all still there, in the same order, however often and at however many one looks.
    assert_eq!(list(&world, &["--limit", "2"]), listed[..2]);
    assert_eq!(list(&world, &["--limit", "1"]), listed[..1]);
    assert_eq!(list(&world, &["--org", "nobody"]), listed[2..]);
    assert!(list(&world, &["--org", "acm"]).is_empty());
    assert_eq!(list(&world, &[]), listed);
}

/// RabbitMQ from 4.0 on would drop a message after 20 looks, if the queue did not say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_outlives_any_number_of_looks() {
    let world = start().await;
    let program = world.broker.connect().await;
    program.submit(EXPORT, &export("acme", &new_id())).await;
    let (_connection, channel) = channel(&world).await;
    reject_next(&world, &channel, 1).await;
    for _ in 0..30 {
        assert_eq!(list(&world, &[]).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_submitted_again_is_done_once() {
    let world = start().await;
    world.start_worker();
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    let (queue, mut answers) = program.private_queue().await;
    let id = new_id();
    let properties = BasicProperties::default()
        .with_reply_to(queue.as_str().into())
        .with_correlation_id("question 1".into());
    let job = export("acme", &id).to_string();
    program.publish(EXPORT, job.as_bytes(), properties).await;
    wait_for_listed(&world, 1).await;
    // The cause is gone: the organisation is there now.
    let (acme, customer) = world.active_org("acme").await;
    looked_at(&world, &acme).await;
    let sent = events(41, 80);
    acme.ingest(&sent).await;

    must_redrive(&world, &["--all"], 1, 0);

    let outcome = outcomes.next_of("run.succeeded").await;
    expect_outcome(
        &outcome,
        "run.succeeded",
        "acme",
        &id,
        json!({"events": 80}),
    );
    // Who had asked is told, as if nothing had happened.
    let answer = answers.next().await;
    assert_eq!(answer.correlation_id.as_deref(), Some("question 1"));
    assert_eq!(answer.body, outcome.body);
    must_redrive(&world, &["--all"], 0, 0);
    assert!(list(&world, &[]).is_empty());
    assert!(outcomes.rest(SILENCE).await.is_empty());
    assert_eq!(acme.runs().await.len(), 1);
    assert_eq!(acme.run(&id).await["attempts"], 1);
    customer.bucket().must_hold("acme", &sent);
    customer.nothing_was_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_again_is_a_dead_letter_again_once() {
    let world = start().await;
    world.start_worker();
    let program = world.broker.connect().await;
    let mut outcomes = program.outcomes().await;
    for body in [&b"\xff no JSON"[..], b"{}"] {
        program
            .publish(EXPORT, body, BasicProperties::default())
            .await;
    }
    let bodies = |listed: &[Value]| {
        let mut bodies: Vec<_> = listed.iter().map(|l| l["body"].to_string()).collect();
        bodies.sort_unstable();
        bodies
    };
    let before = wait_for_listed(&world, 2).await;

    must_redrive(&world, &["--all"], 2, 0);

    wait_for_listed(&world, 2).await;
    assert!(outcomes.rest(SILENCE).await.is_empty());
    let after = list(&world, &[]);
    assert_eq!(bodies(&after), bodies(&before));
    for letter in &after {
        let told = letter["reason"].as_str().unwrap();
        assert!(told.contains("not a job"), "{letter}");
    }
}

/// Nobody works here, so what was submitted again can be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_chosen_is_submitted_as_it_first_was() {
    let world = start().await;
    let program = world.broker.connect().await;
    let (_connection, channel) = channel(&world).await;
    let jobs = ["acme", "other", "acme"].map(|org| export(org, &new_id()));
    for (job, dead) in jobs.iter().zip(1..) {
        let properties = BasicProperties::default()
            .with_correlation_id("question".into())
            .with_reply_to("answers".into());
        let body = job.to_string();
        program.publish(EXPORT, body.as_bytes(), properties).await;
        reject_next(&world, &channel, dead).await;
    }
    let listed = list(&world, &[]);

    for (options, left, job) in [
        (&["--org", "other"][..], &[0, 2][..], &jobs[1]),
        (&["--limit", "1"], &[2], &jobs[0]),
        (&[], &[], &jobs[2]),
    ] {
        must_redrive(&world, options, 1, left.len());
        let left: Vec<_> = left.iter().map(|n: &usize| listed[*n].clone()).collect();
        assert_eq!(list(&world, &[]), left, "in their order");
        let message = next(&channel, topology::EXPORT.queue, true).await.delivery;
        let body: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(&body, job);
        assert_eq!(
            (message.exchange.as_str(), message.routing_key.as_str()),
            (topology::JOBS_EXCHANGE, EXPORT)
        );
        let properties = &message.properties;
        let text = |field: &Option<lapin::types::ShortString>| field.clone().map(String::from);
        assert_eq!(
            (
                text(properties.correlation_id()),
                text(properties.reply_to())
            ),
            (Some("question".into()), Some("answers".into()))
        );
        assert_eq!(*properties.delivery_mode(), Some(2), "it is to survive");
        let headers = properties.headers().clone().unwrap_or_default();
        for name in ["x-death", topology::REASON_HEADER] {
            assert!(!headers.contains_key(name), "{headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_nowhere_holds_up_nothing() {
    let world = start().await;
    let program = world.broker.connect().await;
    let (_connection, channel) = channel(&world).await;
    // Put there by hand.
    let publishing = channel.basic_publish(
        topology::DEAD_LETTERS.into(),
        "elsewhere".into(),
        BasicPublishOptions::default(),
        b"a note",
        BasicProperties::default(),
    );
    publishing.await.unwrap().await.unwrap();
    wait_for_listed(&world, 1).await;
    let job = export("acme", &new_id());
    program.submit(EXPORT, &job).await;
    reject_next(&world, &channel, 2).await;

    let environment = [("AMQP_URL", world.broker.amqp_url())];
    let arguments = ["dead-letters", "redrive", "--all"];
    let output = tokio::task::block_in_place(|| run_to_end(PROGRAM, &arguments, &environment));

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nothing in them tells which queue"), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, json!({"redriven": 1, "left": 1}));
    let message = next(&channel, topology::EXPORT.queue, true).await.delivery;
    let body: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!(body, job);
    let note = json!({"routingKey": "elsewhere", "reason": "unknown", "body": "a note"});
    assert_eq!(list(&world, &[]), [note]);
}

#[test]
fn a_broker_that_is_away_is_told_in_a_sentence() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let url = format!("amqp://someone:hunter2@{address}/vhost");
    for command in ["list", "redrive"] {
        let output = run_to_end(PROGRAM, &["dead-letters", command], &[("AMQP_URL", &url)]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.starts_with("error: no connection to the message broker: "),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
