//! What is never shown: the role's whole ARN, its account, its name and its path.

use harness::{World, events::events, tokens};
use serde_json::{Value, json};

use super::{CONFIG, TEST_CONNECTION};

const ACCOUNT: &str = "210987654321";
const PATH: &str = "security-team/prod";
const NAME: &str = "log-archive-writer";

fn arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{PATH}/{NAME}")
}

fn hide(world: &World) {
    for part in [arn().as_str(), ACCOUNT, PATH, NAME] {
        world.api.must_never_show(part);
    }
}

/// Wherever an ARN may have been pasted by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_the_wrong_place_is_not_repeated() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    hide(&world);
    let arn = arn();
    let good = json!({"bucket": "acme-audit-log", "region": "eu-central-1", "roleArn": arn});
    let mut bodies = Vec::new();
    for field in [
        "bucket",
        "region",
        "prefix",
        "enabled",
        "startFrom",
        "role",
        arn.as_str(),
    ] {
        let mut body = good.clone();
        body[field] = json!(format!(" {arn}"));
        bodies.push(body.to_string());
        body[field] = json!({arn.as_str(): arn});
        bodies.push(body.to_string());
    }
    for wrong in [
        format!("{arn} "),
        format!("{arn}/"),
        arn.replace(":iam:", ":sts:"),
        arn.replace(":role/", ":assumed-role/"),
        arn.replace("aws", "aws-iso"),
        format!("{arn}*"),
    ] {
        let mut body = good.clone();
        body["roleArn"] = json!(wrong);
        bodies.push(body.to_string());
    }
    let mut other_partition = good.clone();
    other_partition["region"] = json!("cn-north-1");
    bodies.push(other_partition.to_string());
    bodies.push(json!(arn).to_string());
    bodies.push(json!([arn]).to_string());
    bodies.push(arn.clone());
    bodies.push(format!("{{\"{arn}\": 1, \"{arn}\": 2}}"));
    bodies.push(format!(
        "{{\"roleArn\": \"{arn}\", \"roleArn\": \"{arn}\"}}"
    ));
    bodies.push(format!("{{\"roleArn\": \"{arn}\""));

    let admin = tokens::member_of("acme", "admin");
    for body in bodies {
        for path in [CONFIG, TEST_CONNECTION].map(|path| path.replace("{orgId}", "acme")) {
            let ask = world.api.ask("POST", &path).token(&admin);
            let answer = ask.body("application/json", body.clone()).send().await;
            assert!(
                [400, 422].contains(&answer.status),
                "{body}: {}",
                answer.text
            );
        }
    }
    let encoded: String = arn.replace('/', "%2F");
    for (method, path) in [
        ("GET", format!("/orgs/{encoded}/audit-export/config")),
        ("GET", format!("/orgs/acme/audit-export/runs/{encoded}")),
        (
            "GET",
            format!("/orgs/acme/audit-export/runs?limit={encoded}"),
        ),
        (
            "GET",
            format!("/orgs/acme/audit-export/runs?before={encoded}"),
        ),
        (
            "GET",
            format!("/orgs/acme/audit-export/runs?status={encoded}"),
        ),
        ("GET", format!("/{encoded}")),
    ] {
        let answer = world.api.ask(method, &path).token(&admin).send().await;
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.text
        );
    }
    let none = acme.ask("GET", "/audit-export/config").send().await;
    none.expect_error(404, "not_configured");
}

/// Through tests, failures of all kinds, deliveries and runs.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_shows_the_role() {
    let world = World::start().await;
    world.start_worker();
    hide(&world);
    let ghost = world.org("ghost").await;
    // AWS's own messages name the role and the account.
    let no_such_role =
        json!({"bucket": "acme-audit-log", "region": "eu-central-1", "roleArn": arn()});
    must_fail(&ghost.test_of(no_such_role.clone()).await.expect(200));
    ghost.save(no_such_role).await.expect(201);
    ghost.wait_for_state("paused").await;
    must_fail(&ghost.test().await.expect(200));

    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    world.api.must_never_show(&customer.account);
    let (path, name) = customer.role_arn.rsplit_once('/').unwrap();
    let path = path.rsplit_once(":role/").unwrap().1;
    world.api.must_never_show(&format!("{path}/{name}"));
    world.api.must_never_show(&format!("/{name}"));

    let mask = acme.save(customer.settings()).await.expect(201)["roleArnMasked"].clone();
    assert!(
        mask.as_str().unwrap().contains(&customer.account[8..]),
        "{mask}"
    );
    acme.wait_for_state("active").await;
    acme.ingest(&events(1, 10)).await;
    acme.wait_until_delivered(&customer, 10).await;
    assert_eq!(acme.test().await.expect(200)["success"], true);

    customer.break_role();
    acme.ingest(&events(2, 10)).await;
    let paused = acme.wait_for_state("paused").await;
    must_fail(&acme.test().await.expect(200));
    assert!(paused["lastError"].is_string(), "{paused}");
    let run = acme.ask("POST", "/audit-export/runs").send().await;
    run.expect_error(409, "not_active");

    customer.set_trust(customer.trust("arn:aws:iam::999999999999:root", &json!({})));
    must_fail(&acme.test().await.expect(200));
    let runs = acme.runs().await;
    assert!(runs.iter().any(|run| run["status"] == "failed"), "{runs:?}");
    for run in runs {
        acme.run(run["id"].as_str().unwrap()).await;
    }
    assert_eq!(acme.config().await["roleArnMasked"], mask);
}

#[track_caller]
fn must_fail(result: &Value) {
    assert_eq!(result["success"], false, "{result}");
    assert!(result["error"].as_str().unwrap().contains(' '), "{result}");
}
