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

const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

#[tokio::test]
async fn a_panic_is_answered_as_every_fault_of_ours() {
    async fn panic() {
        panic!("select secret from /src/main.rs");
    }
    let router = around(
        Router::new().route("/", axum::routing::get(panic)),
        state_for_tests(),
    );
    let request = Request::get("/").header("x-request-id", "mine:1");
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await;
    let (parts, body) = response.unwrap().into_parts();
    assert_eq!(parts.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(parts.headers["x-request-id"], "mine:1");
    for (name, value) in HEADERS {
        assert_eq!(parts.headers[name], value);
    }
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(body["code"], "internal");
    assert!(!body.to_string().contains("secret"), "{body}");
}

#[tokio::test]
async fn what_any_request_may_meet_is_documented() {
    let document = serde_json::to_value(openapi()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let mut statuses = vec!["401", "403", "414", "429", "431", "500", "503"];
            if operation.get("requestBody").is_some() {
                statuses.extend(["400", "408", "413", "415"]);
            }
            for status in statuses {
                assert!(responses.contains_key(status), "{method} {path}: {status}");
            }
            for (status, response) in responses {
                let text = response["description"].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{method} {path}: {status}");
                let headers = &response["headers"];
                assert!(
                    headers["X-Request-Id"].is_object(),
                    "{method} {path}: {status}"
                );
                let again = headers["Retry-After"].is_object();
                assert_eq!(again, ["429", "503"].contains(&status.as_str()), "{status}");
                let challenge = headers["WWW-Authenticate"].is_object();
                assert_eq!(challenge, status == "401", "{status}");
            }
        }
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
        ("GET", "/orgs/acme/audit-export/status"),
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
        (SETUP, &["get"]),
        (STATUS, &["get"]),
        (EVENTS, &["post"]),
        (ORG, &["put"]),
    ] {
        let mut found: Vec<_> = paths[path].as_object().unwrap().keys().collect();
        let mut expected: Vec<_> = methods.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(paths.len(), 8);
    // Every reference leads somewhere.
    let text = served.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap());
        assert!(served.pointer(&pointer).is_some(), "{pointer}");
    }
    // Where an answer names a run, it tells how to look at it.
    for (method, status, id) in [("post", "202", "/id"), ("get", "200", "/0/id")] {
        let link = &paths[RUNS][method]["responses"][status]["links"]["getRun"];
        assert_eq!(link["operationId"], paths[RUN]["get"]["operationId"]);
        let parameters = &link["parameters"];
        assert_eq!(parameters["orgId"], "$request.path.orgId");
        assert_eq!(parameters["runId"], format!("$response.body#{id}"));
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
        "bucketOwner",
        "kmsKeyArn",
        "compression",
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
