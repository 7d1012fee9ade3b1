//! Every route through HTTP: what it takes, whom it refuses, and the exact form of its answers.
//! What test-connection and ingest do beyond that has modules of its own.

mod access;
mod config;
mod document;
mod requests;
mod runs;
mod secrets;
mod validation;

use harness::{
    World,
    api::{Answer, Request},
    org::least_event,
    tokens,
};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// A route, as the OpenAPI document names it.
#[derive(Debug, Clone, Copy)]
struct Route {
    method: &'static str,
    path: &'static str,
    whose: Whose,
    body: Body,
    /// The status of its success.
    ok: u16,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Admins and owners of the organisation.
    Org,
    /// Platform tokens with this scope.
    Platform(&'static str),
}

/// What a route takes as its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Nothing,
    Name,
    Events,
    Settings,
    OptionalSettings,
}

const fn org_route(method: &'static str, path: &'static str, body: Body, ok: u16) -> Route {
    let whose = Whose::Org;
    Route {
        method,
        path,
        whose,
        body,
        ok,
    }
}

const CONFIG: &str = "/orgs/{orgId}/audit-export/config";
const TEST_CONNECTION: &str = "/orgs/{orgId}/audit-export/test-connection";
const SETUP: &str = "/orgs/{orgId}/audit-export/setup";
const STATUS: &str = "/orgs/{orgId}/audit-export/status";
const RUNS: &str = "/orgs/{orgId}/audit-export/runs";
const RUN: &str = "/orgs/{orgId}/audit-export/runs/{runId}";

/// All routes, in an order in which each can succeed.
const ROUTES: [Route; 11] = [
    Route {
        method: "PUT",
        path: "/orgs/{orgId}",
        whose: Whose::Platform("orgs:write"),
        body: Body::Name,
        ok: 201,
    },
    Route {
        method: "POST",
        path: "/orgs/{orgId}/audit-events",
        whose: Whose::Platform("audit-events:write"),
        body: Body::Events,
        ok: 200,
    },
    org_route("POST", CONFIG, Body::Settings, 201),
    org_route("GET", CONFIG, Body::Nothing, 200),
    org_route("GET", SETUP, Body::Nothing, 200),
    org_route("POST", TEST_CONNECTION, Body::OptionalSettings, 200),
    org_route("POST", RUNS, Body::Nothing, 202),
    org_route("GET", RUNS, Body::Nothing, 200),
    org_route("GET", RUN, Body::Nothing, 200),
    org_route("GET", STATUS, Body::Nothing, 200),
    org_route("DELETE", CONFIG, Body::Nothing, 204),
];

impl Route {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A request without a token and a body.
    fn ask(&self, world: &World, org: &str, run: &str) -> Request {
        let path = self.path.replace("{orgId}", org).replace("{runId}", run);
        world.api.ask(self.method, &path)
    }

    /// A token that opens this route.
    fn token(&self, org: &str) -> String {
        match self.whose {
            Whose::Org => tokens::member_of(org, "admin"),
            Whose::Platform(scope) => tokens::platform(scope),
        }
    }

    /// A request with a body that this route takes.
    fn with_body(&self, request: Request, settings: &Value) -> Request {
        match self.body {
            Body::Nothing => request,
            Body::Name => request.json(&json!({"name": "Some company"})),
            Body::Events => request.json(&json!([least_event("e-1")])),
            Body::Settings | Body::OptionalSettings => request.json(settings),
        }
    }
}

/// Checks a refusal to the last member of its body, and returns its sentence. The extras are those
/// beside `error` and `code`.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, extras: &Value) -> String {
    let mut body = answer.expect_error(status, code);
    let members = body.as_object_mut().unwrap();
    let sentence = members.remove("error").unwrap();
    members.remove("code");
    assert_eq!(body, *extras, "{}", answer.text);
    sentence.as_str().unwrap().to_owned()
}

/// Settings that are in order, for tests without a customer.
fn settings() -> Value {
    json!({
        "bucket": "acme-audit-log",
        "region": "eu-central-1",
        "roleArn": "arn:aws:iam::210987654321:role/log-archive-writer",
    })
}

fn settings_with(changes: Value) -> Value {
    let mut settings = settings();
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

/// Stores a run that ended so long ago.
async fn insert_run(client: &Client, org: &str, state: &str, seconds_ago: i32) -> String {
    let id = Uuid::new_v4();
    let sql =
        "insert into export_runs (id, org_id, trigger, state, created_at, started_at, finished_at)
               select $1, $2, 'schedule', $3, t, t, t
                 from (select now() - make_interval(secs => $4) as t) as times";
    client
        .execute(sql, &[&id, &org, &state, &f64::from(seconds_ago)])
        .await
        .unwrap();
    id.to_string()
}
