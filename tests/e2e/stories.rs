//! Stories of a customer's, told against a server of S3, STS and IAM that nobody here wrote.

use std::{process::Output, thread, time::Duration};

use harness::{
    World, attacks,
    events::events,
    ministack::{ForeignCustomer, Ministack},
    process::run_script,
    tool,
    world::REGION,
};
use serde_json::{Value, json};

/// A world with a worker whose AWS is the peer, and whose hours are seconds.
async fn start() -> (World, Ministack) {
    let world = World::start_with(|config| config.system_events = true);
    let (world, peer) = tokio::join!(world, Ministack::start());
    world.start_worker_at(&peer.service(), |config| {
        config.probe_first = Duration::from_millis(500);
        config.probe_longest = Duration::from_secs(2);
    });
    (world, peer)
}

/// Runs a script of the setup's as it is, with the AWS CLI and the customer's own credentials.
fn run(script: &str, customer: &ForeignCustomer<'_>) -> Output {
    let programs = tool("aws");
    run_script(script, programs.parent().unwrap(), &customer.environment())
}

/// An admin without any configuration asks for the setup, follows it to the letter and goes live.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_follows_the_setup_goes_live() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let mut customer = peer.customer_without_role(&acme).await;
    let path = format!(
        "/audit-export/setup?bucket={}&region={REGION}&prefix=security/audit&roleName={}",
        customer.bucket_name, customer.role_name
    );
    let setup = acme.ask("GET", &path).send().await.expect(200);
    let script = setup["awsCli"].as_str().unwrap();

    let output = tokio::task::block_in_place(|| run(script, &customer));
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    customer.role_arn = printed.trim_end().to_owned();
    world.api.must_never_show(&customer.role_arn);

    let works = async || {
        let result = acme.test_of(customer.settings()).await.expect(200);
        assert_eq!(result["success"], true, "{result}");
        assert_eq!(result["warning"], Value::Null, "{result}");
        assert_eq!(result["stages"].as_array().unwrap().len(), 5, "{result}");
    };
    works().await;
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let sent = events(121, 300);
    acme.ingest(&sent).await;
    let arrived = || async {
        let fetched = customer.fetch().await;
        let ids = fetched.bucket.events("acme").into_iter();
        let mut ids = ids.map(|event| event.id()).collect::<Vec<_>>();
        ids.retain(|id| sent.iter().any(|event| event.id == *id));
        let expected = sent.iter().map(|event| event.id.clone());
        ids.into_iter().eq(expected).then_some(())
    };
    acme.eventually("the events arrive, once and in order", arrived)
        .await;

    // The script again changes nothing; that of another organisation leaves the role alone.
    let beta = world.org("beta").await;
    let others = beta.ask("GET", &path).send().await.expect(200);
    let others = others["awsCli"].as_str().unwrap();
    let (again, other) = tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            let other = scope.spawn(|| run(others, &customer));
            (run(script, &customer), other.join().unwrap())
        })
    });
    assert!(again.status.success(), "{again:?}");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), printed);
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("ask for another roleName"), "{said}");
    works().await;
    attacks::record(
        "mistake",
        "the script of one organisation, run where another one's role has the same name",
        "the script ends with a sentence, and the role stays as it is",
    );

    // Without its condition everybody could have us assume the role; the script puts it back.
    let mut open = customer.good_trust();
    open["Statement"][0]
        .as_object_mut()
        .unwrap()
        .remove("Condition");
    customer.set_trust(&open).await;
    let result = acme.test_of(customer.settings()).await.expect(200);
    let stages = result["stages"].as_array().unwrap();
    assert_eq!(
        stages.last().unwrap()["name"],
        "confused_deputy",
        "{result}"
    );
    let mended = tokio::task::block_in_place(|| run(script, &customer));
    assert!(mended.status.success(), "{mended:?}");
    works().await;
}

/// The customer breaks the role, events keep coming, and some time later the customer mends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_broken_for_long_is_caught_up_with_by_itself() {
    let (world, peer) = start().await;
    let acme = world.org("acme").await;
    let customer = peer.customer(&acme).await;
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("active").await;
    let sent = events(101, 600);
    let mut last_seq = 0;
    for batch in sent[..200].chunks(100) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
    }

    customer.allow(&["s3:GetObject"]).await;
    for batch in sent[200..500].chunks(20) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let paused = acme.wait_for_state("paused").await;
    let reason = paused["stateReason"].as_str().unwrap();
    assert!(reason.contains("allow it s3:PutObject"), "{reason}");
    let runs = acme.runs().await;
    let failed = runs.iter().filter(|run| run["status"] == "failed").count();
    assert_eq!(failed, 1, "one run tells of the whole time: {runs:?}");

    customer.mend_role().await;
    acme.wait_for_state("active").await;
    for batch in sent[500..].chunks(50) {
        last_seq = acme.ingest(batch).await["lastSeq"].as_i64().unwrap();
    }
    let delivered = || async {
        let status = acme
            .ask("GET", "/audit-export/status")
            .send()
            .await
            .expect(200);
        (status["deliveredSeq"].as_i64().unwrap() >= last_seq).then_some(())
    };
    acme.eventually("all is delivered", delivered).await;

    // Each of them once, in order and unchanged, among what the system itself has told.
    let arrived = customer.fetch().await.bucket.events("acme");
    let (own, product): (Vec<_>, Vec<_>) = arrived
        .iter()
        .partition(|event| event.raw("action").starts_with("\"audit_export."));
    let ids: Vec<String> = product.iter().map(|event| event.id()).collect();
    let expected: Vec<String> = sent.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids, expected);
    let told: Vec<String> = own.iter().map(|event| event.raw("action")).collect();
    for action in ["delivery.paused", "delivery.resumed"] {
        let action = format!("\"audit_export.{action}\"");
        assert_eq!(
            told.iter().filter(|told| **told == action).count(),
            1,
            "{told:?}"
        );
    }
}

/// An organisation names the role and the bucket of another one.
#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_victims_role_and_bucket_gets_nothing() {
    let (world, peer) = start().await;
    let victim = world.org("victim").await;
    let customer = peer.customer(&victim).await;
    victim.save(customer.settings()).await.expect(201);
    victim.wait_for_state("active").await;
    let sent = events(111, 20);
    victim.ingest(&sent).await;

    let mallory = world.org("mallory").await;
    mallory.ingest(&events(112, 20)).await;
    let answer = mallory.test_of(customer.settings()).await.expect(200);
    assert_eq!(answer["success"], false, "{answer}");
    let told = answer["error"].as_str().unwrap();
    assert!(!told.contains(victim.external_id()), "{told}");
    mallory.save(customer.settings()).await.expect(201);
    let paused = mallory.wait_for_state("paused").await;
    assert_eq!(paused["lastTestOk"], false);
    attacks::record(
        "confused deputy",
        "another organisation's role and bucket, named as one's own",
        "STS refuses the external id; nothing is delivered, nothing is told of the victim",
    );

    // Not even where the victim has forgotten the condition.
    let mut asks_for_nothing = customer.good_trust();
    asks_for_nothing["Statement"][0]["Condition"] = json!({});
    customer.set_trust(&asks_for_nothing).await;
    let answer = mallory.test_of(customer.settings()).await.expect(200);
    assert_eq!(answer["success"], false, "{answer}");
    let told = answer["error"].as_str().unwrap();
    assert!(told.contains("without any external id"), "{told}");
    mallory.save(customer.settings()).await.expect(201);
    let tested = || async {
        let config = mallory.config().await;
        (config["state"] == "paused" && config["lastTestOk"] == false).then_some(())
    };
    mallory.eventually("the test has failed", tested).await;
    mallory
        .ask("POST", "/audit-export/runs")
        .send()
        .await
        .expect_error(409, "not_active");
    attacks::record(
        "confused deputy",
        "the role of a victim who has forgotten the condition on the external id",
        "the test fails and names the condition; nothing is delivered",
    );

    customer.set_trust(&customer.good_trust()).await;
    let delivered = || async {
        let fetched = customer.fetch().await;
        let victims = fetched.bucket.events("victim");
        let product = |event: &&harness::bucket::Exported| {
            !event.raw("action").starts_with("\"audit_export.")
        };
        (victims.iter().filter(product).count() == sent.len()).then_some(fetched)
    };
    let fetched = victim
        .eventually("the victim's own events arrive", delivered)
        .await;
    assert!(
        fetched
            .bucket
            .keys()
            .iter()
            .all(|key| !key.contains("mallory")),
        "{:?}",
        fetched.bucket.keys()
    );
}
