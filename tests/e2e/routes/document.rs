//! The OpenAPI document, and whether the routes answer as it says.

use std::collections::BTreeSet;

use harness::{World, process};
use serde_json::{Value, json};

use super::{Body, ROUTES, TEST_CONNECTION};

#[tokio::test(flavor = "multi_thread")]
async fn it_names_every_route_and_the_program_prints_it() {
    let world = World::start().await;
    let answer = world.api.ask("GET", "/openapi.json").send().await;
    let document = answer.expect(200);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json")
    );
    let version = document["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    let named: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(named, ROUTES.iter().map(|route| route.name()).collect());

    let printed = process::output_of("audit-export-api", &["openapi"], &[]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), document);
}

/// The whole life of an organisation, each answer as the document describes it.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_succeeds_as_it_says() {
    let world = World::start().await;
    world.start_worker();
    let document = world
        .api
        .ask("GET", "/openapi.json")
        .send()
        .await
        .expect(200);
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let mut run = String::new();
    for route in ROUTES {
        let org = if route.body == Body::Name {
            "new"
        } else {
            "acme"
        };
        let request = route.with_body(route.ask(&world, org, &run), &customer.settings());
        let answer = request.token(&route.token(org)).send().await;
        assert_eq!(answer.status, route.ok, "{}: {}", route.name(), answer.text);
        assert!(!answer.header("x-request-id").is_empty());

        let operation = &document["paths"][route.path][route.method.to_lowercase()];
        let described = &operation["responses"][route.ok.to_string()];
        assert!(described.is_object(), "{}", route.name());
        match &described["content"]["application/json"]["schema"] {
            Value::Null => assert_eq!(answer.text, "", "{}", route.name()),
            schema => must_fit(&document, schema, &answer.json(), &route.name()),
        }

        if route.body == Body::Settings {
            acme.wait_for_state("active").await;
            acme.wait_until_delivered(&customer, 1).await;
        }
        if route.path == TEST_CONNECTION {
            assert_eq!(answer.json()["success"], true, "{}", answer.text);
        }
        if route.ok == 202 {
            run = answer.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(
                answer.header("location"),
                format!("/orgs/acme/audit-export/runs/{run}")
            );
        }
    }
}

/// Checks that a value has the members that its schema requires, and none that it does not know.
fn must_fit(document: &Value, schema: &Value, value: &Value, place: &str) {
    let parts = parts(document, schema);
    for items in parts.iter().filter_map(|part| part.get("items")) {
        for (index, item) in value.as_array().expect(place).iter().enumerate() {
            must_fit(document, items, item, &format!("{place}[{index}]"));
        }
    }
    let known: Vec<_> = parts
        .iter()
        .filter_map(|part| part["properties"].as_object())
        .flatten()
        .collect();
    if known.is_empty() {
        return;
    }
    let members = value.as_object().expect(place);
    for name in parts
        .iter()
        .filter_map(|part| part["required"].as_array())
        .flatten()
    {
        assert!(
            members.contains_key(name.as_str().unwrap()),
            "{place} lacks {name}: {value}"
        );
    }
    for (name, member) in members {
        let property = known.iter().find(|(known, _)| *known == name);
        let (_, property) = property.unwrap_or_else(|| panic!("{place} has {name}: {value}"));
        let nullable = property["type"]
            .as_array()
            .is_some_and(|types| types.contains(&json!("null")));
        assert!(!member.is_null() || nullable, "{place}: {name} is null");
        must_fit(document, property, member, &format!("{place}.{name}"));
    }
}

/// The schemas that a schema is made of, references followed.
fn parts<'d>(document: &'d Value, schema: &'d Value) -> Vec<&'d Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(reference.trim_start_matches('#'))
            .expect(reference);
        return parts(document, target);
    }
    let all_of = schema["allOf"].as_array().into_iter().flatten();
    let mut found = vec![schema];
    found.extend(all_of.flat_map(|part| parts(document, part)));
    found
}
