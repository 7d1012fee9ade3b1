//! What makes us somebody else's tool: a role that anybody can have us assume, or an STS that does not
//! tell whether it is one.

use harness::{
    World, attacks,
    faults::http::{Answer, Calls, Fault, HttpProxy, Operation},
    world::{PRINCIPAL_ARN, sdk_config},
};
use serde_json::{Value, json};

/// Checks that the stage refused, and returns the sentence.
#[track_caller]
fn refused(result: &Value) -> &str {
    assert_eq!(result["success"], false, "{result}");
    let stages = result["stages"].as_array().unwrap();
    assert_eq!(
        stages.last().unwrap()["name"],
        "confused_deputy",
        "{result}"
    );
    result["error"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sts_that_does_not_tell_is_asked_again_and_is_no_pass() {
    let world = World::start().await;
    let proxy = HttpProxy::start(world.aws.address()).await;
    world.start_worker_at(&sdk_config(&proxy.endpoint()), |_| {});
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    // With the right external id, without any, with a random one: each is asked for once.
    for probe in [1, 2] {
        for answer in [
            Answer::empty(403),
            Answer::sts(400, "ValidationError"),
            Answer::sts(403, "RegionDisabledException"),
        ] {
            let calls = Calls::of(Operation::AssumeRole).after(probe).first(1);
            let fault = proxy.inject(calls, Fault::Answer(answer.clone()));
            let result = acme.test_of(customer.settings()).await.expect(200);
            let sentence = refused(&result);
            assert!(
                sentence.contains("STS did not answer as it should"),
                "{sentence}"
            );
            assert_eq!(fault.hits(), 1, "{answer:?}");
            fault.lift();
        }
    }

    // It decides on delivery like the rest of the test, and mends itself.
    let calls = Calls::of(Operation::AssumeRole).after(1);
    let fault = proxy.inject(calls, Fault::Answer(Answer::empty(403)));
    acme.save(customer.settings()).await.expect(201);
    acme.wait_for_state("paused").await;
    fault.lift();
    acme.wait_for_state("active").await;
    attacks::record(
        "confused deputy",
        "an STS that refuses other external ids for another reason, or for none",
        "the test fails and is repeated; nothing is delivered meanwhile",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_stops_asking_for_its_external_id_is_found_by_the_next_test() {
    let world = World::start().await;
    world.start_worker();
    let (acme, customer) = world.active_org("acme").await;
    for (condition, how) in [
        (json!({}), "without any external id"),
        (
            json!({"StringLike": {"sts:ExternalId": "*"}}),
            "with any other",
        ),
        (
            json!({"StringLikeIfExists": {"sts:ExternalId": acme.external_id()}}),
            "without any external id",
        ),
    ] {
        customer.set_trust(customer.trust(PRINCIPAL_ARN, &condition));
        let result = acme.test().await.expect(200);
        let sentence = refused(&result);
        assert!(sentence.contains(how), "{sentence}");
        assert!(
            sentence.contains("add the condition StringEquals sts:ExternalId"),
            "{sentence}"
        );
        acme.wait_for_state("paused").await;
        attacks::record(
            "confused deputy",
            &format!("a role that can be assumed {how}: {condition}"),
            "the test fails and names the condition to add; delivery is paused",
        );
        customer.set_trust(customer.good_trust());
        acme.wait_for_state("active").await;
    }
}
