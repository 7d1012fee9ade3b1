//! Who may do what: every route with every kind of token that does not open it.

use harness::{Org, World, api::Answer, tokens};
use reqwest::header::{DATE, HeaderMap};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{Body, ROUTES, Route, Whose, insert_run, refused, settings};

/// Two organisations, each with a config and a run.
struct Scene<'w> {
    world: &'w World,
    client: Client,
    acme_run: String,
    beta_run: String,
}

impl<'w> Scene<'w> {
    async fn of(world: &'w World) -> Self {
        let client = world.database.client().await;
        for id in ["acme", "beta"] {
            let org: Org<'_> = world.org(id).await;
            let mut settings = settings();
            settings["enabled"] = json!(false);
            org.save(settings).await.expect(201);
        }
        Self {
            world,
            acme_run: insert_run(&client, "acme", "succeeded", 60).await,
            beta_run: insert_run(&client, "beta", "succeeded", 60).await,
            client,
        }
    }

    /// Asks with a good body. There is a run under the id, wherever there is such an organisation.
    async fn ask(&self, route: &Route, org: &str, token: Option<&str>) -> Answer {
        let run = if org == "beta" {
            &self.beta_run
        } else {
            &self.acme_run
        };
        let request = route.with_body(route.ask(self.world, org, run), &settings());
        match token {
            Some(token) => request.token(token).send().await,
            None => request.send().await,
        }
    }

    /// All that a request could have changed.
    async fn stored(&self) -> String {
        let sql = "select jsonb_build_array(
            (select jsonb_agg(o order by o.id) from orgs o),
            (select jsonb_agg(c order by c.org_id) from export_configs c),
            (select jsonb_agg(r order by r.id) from export_runs r),
            (select count(*) from connection_tests),
            (select count(*) from audit_events))::text";
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

fn expired(claims: Value) -> String {
    let mut claims = tokens::claims(claims);
    claims["exp"] = json!(tokens::seconds_from_now(-3_600));
    tokens::Key::shared().token(&claims)
}

/// What two answers to different requests have to have in common to be indistinguishable.
fn visible(answer: &Answer) -> (u16, &str, HeaderMap) {
    let mut headers = answer.headers.clone();
    headers.remove(DATE);
    headers.remove("x-request-id");
    (answer.status, &answer.text, headers)
}

#[track_caller]
fn same(answer: &Answer, other: &Answer, name: &str) {
    assert_eq!(visible(answer), visible(other), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_nothing_is_told() {
    let world = World::start().await;
    let scene = Scene::of(&world).await;
    let before = scene.stored().await;
    let both = "orgs:write audit-events:write";
    let expired = expired(json!({"orgs": {"acme": "owner"}, "scope": both}));
    for route in ROUTES {
        let name = route.name();
        for org in ["acme", "nobody", "a%20b", "%ff"] {
            let none = scene.ask(&route, org, None).await;
            refused(&none, 401, "unauthorized", &json!({}));
            assert_eq!(
                none.header("www-authenticate"),
                "Bearer realm=\"audit-export\"",
                "{name}"
            );

            let old = scene.ask(&route, org, Some(&expired)).await;
            refused(&old, 401, "token_expired", &json!({}));
            let challenge = old.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer realm=\"audit-export\", error=\"invalid_token\"")
            );

            let nonsense = scene.ask(&route, org, Some("nonsense")).await;
            refused(&nonsense, 401, "unauthorized", &json!({}));
            assert!(
                nonsense.header("www-authenticate").starts_with("Bearer "),
                "{name}"
            );
        }
    }
    assert_eq!(scene.stored().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_there_for_its_admins_alone() {
    let world = World::start().await;
    let scene = Scene::of(&world).await;
    let before = scene.stored().await;
    let member = tokens::member_of("acme", "member");
    let stranger = tokens::member_of("beta", "owner");
    let platform = tokens::platform("orgs:write audit-events:write");
    let of_none = tokens::Key::shared().token(&tokens::claims(json!({})));
    let ghost = tokens::member_of("ghost", "owner");
    for route in ROUTES.iter().filter(|route| route.whose == Whose::Org) {
        let name = route.name();
        let answer = scene.ask(route, "acme", Some(&member)).await;
        refused(&answer, 403, "forbidden", &json!({}));

        let unknown = scene.ask(route, "nobody", Some(&stranger)).await;
        refused(&unknown, 404, "not_found", &json!({}));
        for token in [&stranger, &platform, &of_none] {
            same(
                &scene.ask(route, "acme", Some(token)).await,
                &unknown,
                &name,
            );
        }
        // Nor does a token help to an organisation that does not exist, or cannot.
        same(
            &scene.ask(route, "ghost", Some(&ghost)).await,
            &unknown,
            &name,
        );
        for never in ["a%20b", "...", "%ff", "ac%00me", &"x".repeat(65)] {
            same(
                &scene.ask(route, never, Some(&stranger)).await,
                &unknown,
                &name,
            );
        }

        // What a stranger sends is not even looked at.
        if route.body != Body::Nothing {
            for org in ["acme", "nobody"] {
                for (content_type, body) in [("application/json", "{"), ("text/plain", "{}")] {
                    let ask = route.ask(&world, org, &scene.acme_run).token(&stranger);
                    same(&ask.body(content_type, body).send().await, &unknown, &name);
                }
            }
        }
    }
    assert_eq!(scene.stored().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn platform_routes_are_there_for_platform_tokens_alone() {
    let world = World::start().await;
    let scene = Scene::of(&world).await;
    let before = scene.stored().await;
    let scopes = ["orgs:write", "audit-events:write"];
    for route in ROUTES {
        let Whose::Platform(scope) = route.whose else {
            continue;
        };
        let other = scopes.into_iter().find(|other| *other != scope).unwrap();
        let mut tokens = vec![tokens::platform(other), tokens::platform("")];
        tokens.extend(["owner", "admin", "member"].map(|role| tokens::member_of("acme", role)));
        tokens.push(tokens::member_of("beta", "owner"));
        for token in tokens {
            let known = scene.ask(&route, "acme", Some(&token)).await;
            let sentence = refused(&known, 403, "forbidden", &json!({}));
            assert!(sentence.contains(scope), "{sentence}");
            for unknown in ["nobody", "a%20b"] {
                let unknown = scene.ask(&route, unknown, Some(&token)).await;
                same(&unknown, &known, &route.name());
            }
            let ask = route.ask(&world, "acme", "").token(&token);
            same(
                &ask.body("text/plain", "{").send().await,
                &known,
                &route.name(),
            );
        }
    }
    assert_eq!(scene.stored().await, before);

    // With the right one, an organisation that does not exist gets no events, and one can be made.
    let token = tokens::platform("orgs:write audit-events:write");
    for nobody in ["nobody", "a%20b", "%ff"] {
        let events = scene.ask(&ROUTES[1], nobody, Some(&token)).await;
        refused(&events, 404, "not_found", &json!({}));
    }
    scene
        .ask(&ROUTES[0], "nobody", Some(&token))
        .await
        .expect(201);
    scene
        .ask(&ROUTES[0], "nobody", Some(&token))
        .await
        .expect(200);
    scene
        .ask(&ROUTES[1], "nobody", Some(&token))
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_run_is_an_unknown_run() {
    let world = World::start().await;
    let scene = Scene::of(&world).await;
    let admin = tokens::member_of("acme", "admin");
    let get = async |path: &str| {
        let path = format!("/orgs/acme/audit-export/runs{path}");
        world.api.ask("GET", &path).token(&admin).send().await
    };
    let unknown_id = "0198c0de-0000-7000-8000-000000000001";
    let unknown = get(&format!("/{unknown_id}")).await;
    refused(&unknown, 404, "run_not_found", &json!({}));
    same(
        &get(&format!("/{}", scene.beta_run)).await,
        &unknown,
        "another's run",
    );
    for never in ["x", "00000000", "a%20b"] {
        same(&get(&format!("/{never}")).await, &unknown, never);
    }

    let unknown = get(&format!("?before={unknown_id}")).await;
    refused(&unknown, 404, "run_not_found", &json!({}));
    same(
        &get(&format!("?before={}", scene.beta_run)).await,
        &unknown,
        "another's run",
    );

    let list = get("").await.expect(200);
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list[0]["id"], scene.acme_run);
}
