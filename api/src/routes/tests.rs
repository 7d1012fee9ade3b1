use axum::{
    body::Body,
    http::{Request, Response, StatusCode, header::ALLOW},
};
use tower::ServiceExt;

use super::*;
use crate::state_for_tests;

async fn ask(method: &str, path: &str) -> (Response<()>, serde_json::Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    let (parts, body) = router(state_for_tests())
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (
        Response::from_parts(parts, ()),
        serde_json::from_slice(&bytes).unwrap_or_default(),
    )
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_usual_shape() {
    for path in [
        "/",
        "/orgs",
        "/orgs/acme/audit-export",
        "/orgs/acme/audit-export/config/",
        "/healthz",
    ] {
        let (response, body) = ask("GET", path).await;
        assert_eq!(
            (response.status(), &body["code"]),
            (StatusCode::NOT_FOUND, &"not_found".into()),
            "{path}"
        );
        assert!(response.headers().contains_key("x-request-id"));
    }
    let (response, body) = ask("PATCH", "/orgs/acme/audit-export/config").await;
    assert_eq!(
        (response.status(), &body["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"method_not_allowed".into())
    );
    let allowed = response.headers()[ALLOW].to_str().unwrap();
    for method in ["GET", "POST", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    for (method, path) in [
        ("GET", "/orgs/acme/audit-export/config"),
        ("POST", "/orgs/acme/audit-export/config"),
        ("DELETE", "/orgs/acme/audit-export/config"),
        ("POST", "/orgs/acme/audit-export/test-connection"),
        ("GET", "/orgs/acme/audit-export/runs"),
        ("GET", "/orgs/%ff/audit-export/runs?limit=x"),
        ("POST", "/orgs/acme/audit-export/runs"),
        ("GET", "/orgs/acme/audit-export/runs/x"),
        ("POST", "/orgs/acme/audit-events"),
        ("PUT", "/orgs/acme"),
    ] {
        let (response, body) = ask(method, path).await;
        assert_eq!(
            response.status(),
            StatusCode::UNAUTHORIZED,
            "{method} {path}"
        );
        assert_eq!(body["code"], "unauthorized");
        assert!(response.headers().contains_key("www-authenticate"));
    }
}

#[tokio::test]
async fn the_document_is_served_and_complete() {
    let (response, served) = ask("GET", OPENAPI).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(served, serde_json::to_value(openapi()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = served["paths"].as_object().unwrap();
    for (path, methods) in [
        (CONFIG, &["get", "post", "delete"][..]),
        (TEST_CONNECTION, &["post"]),
        (RUNS, &["get", "post"]),
        (RUN, &["get"]),
        (EVENTS, &["post"]),
        (ORG, &["put"]),
    ] {
        let mut found: Vec<_> = paths[path].as_object().unwrap().keys().collect();
        let mut expected: Vec<_> = methods.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(paths.len(), 6);
    // Every reference leads somewhere.
    let text = served.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap());
        assert!(served.pointer(&pointer).is_some(), "{pointer}");
    }
    let config = &served["components"]["schemas"]["AuditExportConfig"];
    let required: Vec<_> = config["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    for name in [
        "id",
        "orgId",
        "bucket",
        "region",
        "roleArnMasked",
        "enabled",
        "lastTestedAt",
        "lastTestOk",
        "lastError",
        "lastExportedAt",
        "createdAt",
        "updatedAt",
    ] {
        assert!(required.contains(&name), "{name}");
    }
}
