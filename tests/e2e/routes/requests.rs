//! Requests that are wrong as such: nowhere to go, not JSON, too large, of the wrong form.

use std::collections::BTreeSet;

use harness::{World, org::least_event, tokens};
use serde_json::{Value, json};

use super::{Body, ROUTES, Route, refused, settings};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The routes that take a body, with a token that opens them and the largest body they take.
fn routes_with_body() -> impl Iterator<Item = (Route, String, usize)> {
    let routes = ROUTES
        .into_iter()
        .filter(|route| route.body != Body::Nothing);
    routes.map(|route| {
        let limit = if route.body == Body::Events {
            16 * MIB
        } else {
            64 * KIB
        };
        (route, route.token("acme"), limit)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods() {
    let world = World::start().await;
    world.org("acme").await;
    let admin = tokens::member_of("acme", "admin");
    for path in [
        "/",
        "/orgs",
        "/orgs/",
        "/orgs/acme/",
        "/orgs/acme/audit-export",
        "/orgs/acme/audit-export/config/",
        "/orgs/acme/audit-export/runs/1/objects",
        "/orgs/acme/audit-export/Config",
        "/openapi",
        "/metrics",
    ] {
        for method in ["GET", "POST", "PATCH"] {
            let answer = world.api.ask(method, path).token(&admin).send().await;
            refused(&answer, 404, "not_found", &json!({}));
        }
    }

    let paths: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| route.path)
        .chain(["/openapi.json"])
        .collect();
    for path in paths {
        let mut allowed: BTreeSet<_> = ROUTES
            .iter()
            .filter(|route| route.path == path)
            .map(|route| route.method)
            .collect();
        if path == "/openapi.json" {
            allowed.insert("GET");
        }
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let others: Vec<_> = methods
            .into_iter()
            .filter(|method| !allowed.contains(method))
            .collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        for method in others {
            let path = path.replace("{orgId}", "acme");
            let answer = world.api.ask(method, &path).token(&admin).send().await;
            refused(&answer, 405, "method_not_allowed", &json!({}));
            let told: BTreeSet<_> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(told, allowed, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_json() {
    let world = World::start().await;
    world.org("acme").await;
    for (route, token, _) in routes_with_body() {
        for body in [
            "{",
            "[{]",
            "{\"name\":}",
            "{} {}",
            "[] x",
            "nope",
            "'a'",
            "\u{feff}{}",
        ] {
            let ask = route.ask(&world, "acme", "").token(&token);
            let answer = ask.body("application/json", body).send().await;
            if route.body == Body::Events && body == "{} {}" {
                // More likely lines than an array that has come to grief.
                let sentence = refused(&answer, 422, "invalid_request", &json!({}));
                assert!(sentence.contains("application/x-ndjson"), "{sentence}");
            } else {
                refused(&answer, 400, "invalid_json", &json!({}));
            }
        }
        let ask = route.ask(&world, "acme", "").token(&token);
        let answer = ask
            .body("application/json", b"{\"name\": \"\xff\"}".to_vec())
            .send()
            .await;
        assert_eq!(answer.status, 400, "{}: {}", route.name(), answer.text);
        answer.expect_error(400, "invalid_json");

        let ask = route.ask(&world, "acme", "").token(&token);
        let answer = ask.body("application/json", "").send().await;
        match route.body {
            Body::OptionalSettings => refused(&answer, 404, "not_configured", &json!({})),
            _ => refused(&answer, 400, "invalid_json", &json!({})),
        };
    }
    let token = tokens::platform("audit-events:write");
    let ask = world
        .api
        .ask("POST", "/orgs/acme/audit-events")
        .token(&token);
    let lines = format!("{}\n{{\n", least_event("e-1"));
    let answer = ask.body("application/x-ndjson", lines).send().await;
    answer.expect_error(400, "invalid_json");
    assert_eq!(events_stored(&world).await, 0);
}

async fn events_stored(world: &World) -> i64 {
    let client = world.database.client().await;
    client
        .query_one("select count(*) from audit_events", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_type() {
    let world = World::start().await;
    world.org("acme").await;
    for (route, token, _) in routes_with_body() {
        let body = match route.body {
            Body::Events => json!([least_event("e-1")]),
            Body::Name => json!({"name": "Acme"}),
            _ => settings(),
        };
        let types = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "json",
            "",
        ];
        for content_type in types {
            let ask = route.ask(&world, "acme", "").token(&token);
            let answer = ask.body(content_type, body.to_string()).send().await;
            refused(&answer, 415, "unsupported_media_type", &json!({}));
        }
        if route.body != Body::OptionalSettings {
            let ask = route.ask(&world, "acme", "").token(&token);
            let answer = ask
                .body("Application/JSON ; charset=utf-8", body.to_string())
                .send()
                .await;
            assert!(
                (200..=201).contains(&answer.status),
                "{}: {}",
                route.name(),
                answer.text
            );
        }
    }
    assert_eq!(events_stored(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    acme.save(settings()).await.expect(201);
    for (route, token, limit) in routes_with_body() {
        let padded = |bytes: usize| {
            let text = match route.body {
                Body::Events => json!([least_event("e-1")]),
                Body::Name => json!({"name": "Acme"}),
                Body::Settings => settings(),
                // One that is read, but refused: a test would wait for a worker.
                _ => json!({"bucket": "acme"}),
            };
            let text = text.to_string();
            let spaces = " ".repeat(bytes - text.len());
            text + &spaces
        };
        let ask = route.ask(&world, "acme", "").token(&token);
        let answer = ask.body("application/json", padded(limit + 1)).send().await;
        let sentence = refused(&answer, 413, "payload_too_large", &json!({}));
        assert!(sentence.contains(&limit.to_string()), "{sentence}");

        let ask = route.ask(&world, "acme", "").token(&token);
        let answer = ask.body("application/json", padded(limit)).send().await;
        match route.body {
            Body::OptionalSettings => {
                refused(&answer, 422, "invalid_request", &json!({"field": "region"}));
            }
            _ => assert!(
                (200..=201).contains(&answer.status),
                "{}: {}",
                route.name(),
                answer.text
            ),
        }
    }
    assert_eq!(events_stored(&world).await, 1);
}

/// The rules of single values are in `validation`; this is about the form.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_wrong_form() {
    let world = World::start().await;
    world.org("acme").await;
    let role = "arn:aws:iam::123456789012:role/r";
    let cases: [(Body, Value, Value); 19] = [
        (Body::Settings, json!([]), json!({})),
        (
            Body::Settings,
            json!(["acme-audit-log", "eu-central-1", role, null, false, null]),
            json!({}),
        ),
        (Body::Settings, json!("x"), json!({})),
        (Body::Settings, json!(null), json!({})),
        (Body::Settings, json!({}), json!({"field": "bucket"})),
        (
            Body::Settings,
            json!({"bucket": 7}),
            json!({"field": "bucket"}),
        ),
        (
            Body::Settings,
            json!({"roleArn": ["x"]}),
            json!({"field": "roleArn"}),
        ),
        (
            Body::Settings,
            json!({"prefix": {}}),
            json!({"field": "prefix"}),
        ),
        (
            Body::Settings,
            json!({"bukket": "x"}),
            json!({"field": "bukket"}),
        ),
        (
            Body::Settings,
            json!({"role_arn": "x"}),
            json!({"field": "role_arn"}),
        ),
        (
            Body::Settings,
            json!({"enabled": "true"}),
            json!({"field": "enabled"}),
        ),
        (
            Body::Settings,
            json!({"startFrom": "later"}),
            json!({"field": "startFrom"}),
        ),
        (
            Body::Settings,
            json!({"startFrom": 1}),
            json!({"field": "startFrom"}),
        ),
        (Body::Name, json!([]), json!({})),
        (Body::Name, json!(["Acme"]), json!({})),
        (Body::Name, json!({}), json!({"field": "name"})),
        (Body::Name, json!({"name": 7}), json!({"field": "name"})),
        (Body::Name, json!({"name": " "}), json!({"field": "name"})),
        (
            Body::Name,
            json!({"name": "Acme", "externalId": "mine"}),
            json!({"field": "externalId"}),
        ),
    ];
    for (kind, body, extras) in cases {
        for (route, token, _) in routes_with_body() {
            let takes_settings = route.body == Body::OptionalSettings && kind == Body::Settings;
            if route.body == kind || takes_settings {
                let ask = route.ask(&world, "acme", "").token(&token);
                refused(
                    &ask.json(&body).send().await,
                    422,
                    "invalid_request",
                    &extras,
                );
            }
        }
    }
    let twice = r#"{"bucket": "acme-audit-log", "bucket": "other-bucket"}"#;
    for (route, token, _) in
        routes_with_body().filter(|(route, ..)| route.path.contains("audit-export"))
    {
        let ask = route.ask(&world, "acme", "").token(&token);
        let answer = ask.body("application/json", twice).send().await;
        refused(&answer, 422, "invalid_request", &json!({"field": "bucket"}));
    }

    let platform = tokens::platform("orgs:write audit-events:write");
    for id in ["a%20b", "...", "a%2Fb", &"x".repeat(65)] {
        let ask = world
            .api
            .ask("PUT", &format!("/orgs/{id}"))
            .token(&platform);
        let answer = ask.json(&json!({"name": "Acme"})).send().await;
        refused(&answer, 422, "invalid_request", &json!({"field": "orgId"}));
    }
    let mut nameless = least_event("e-2");
    nameless["actor"] = json!({"type": "user"});
    let cases = [
        (json!({}), "invalid_request", json!({})),
        (json!([]), "empty_batch", json!({})),
        (json!([7]), "invalid_event", json!({"index": 0})),
        (
            json!([least_event("e-1"), nameless]),
            "invalid_event",
            json!({"index": 1, "field": "actor.id"}),
        ),
    ];
    for (events, code, extras) in cases {
        let ask = world
            .api
            .ask("POST", "/orgs/acme/audit-events")
            .token(&platform);
        refused(&ask.json(&events).send().await, 422, code, &extras);
    }
    assert_eq!(events_stored(&world).await, 0);
}
