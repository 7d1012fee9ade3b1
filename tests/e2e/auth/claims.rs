//! What a good signature is not enough for, and what claims grant.

use harness::{
    World,
    api::Answer,
    org::least_event,
    process::output_of,
    tokens::{AUDIENCE, ISSUER, Key, SECRET, seconds_from_now},
};
use serde_json::{Value, json};

use super::{all_claims, ask_with, claims_with, key_server::KeyServer, unauthorized};

#[tokio::test(flavor = "multi_thread")]
async fn issuer_audience_and_times_are_checked_whatever_the_key() {
    let keys = [
        Key::shared(),
        Key::rs256("r"),
        Key::es256("e"),
        Key::eddsa("d"),
    ];
    let server = KeyServer::start(&[&keys[1], &keys[2], &keys[3]]).await;
    let world = server.world(true).await;
    for key in &keys {
        let ask = async |changes: &Value| {
            ask_with(&world, &key.token(&claims_with(changes.clone()))).await
        };
        for changes in [
            json!({"iss": "https://other.example"}),
            json!({"iss": format!("{ISSUER}/")}),
            json!({"iss": ""}),
            json!({"iss": null}),
            json!({"aud": "another-service"}),
            json!({"aud": ["another-service", "audit"]}),
            json!({"aud": []}),
            json!({"aud": null}),
            json!({"exp": null}),
            json!({"exp": "tomorrow"}),
            json!({"nbf": seconds_from_now(600)}),
        ] {
            unauthorized(&ask(&changes).await, &changes.to_string());
        }
        for changes in [
            json!({"exp": seconds_from_now(-600)}),
            json!({"exp": seconds_from_now(-45)}),
            json!({"exp": 0}),
        ] {
            let answer = ask(&changes).await;
            answer.expect_error(401, "token_expired");
            assert!(
                answer.header("www-authenticate").contains("invalid_token"),
                "{answer:?}"
            );
        }
        // Clocks may be half a minute apart.
        for changes in [
            json!({}),
            json!({"exp": seconds_from_now(-5)}),
            json!({"nbf": seconds_from_now(5)}),
            json!({"nbf": seconds_from_now(-600), "iat": seconds_from_now(-600)}),
            json!({"aud": ["another-service", AUDIENCE]}),
            json!({"sub": "u-17", "custom": {"of": ["the", "vendor"]}}),
        ] {
            ask(&changes).await.expect(200);
        }
    }
}

/// The status of what an org admin may do to acme.
async fn as_admin(world: &World, claims: Value) -> Answer {
    let token = Key::shared().token(&harness::tokens::claims(claims));
    ask_with(world, &token).await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_in_both_forms() {
    let world = World::start().await;
    world.org("acme").await;
    for claims in [
        json!({"orgs": {"acme": "owner"}}),
        json!({"orgs": {"acme": "admin"}}),
        json!({"orgs": {"beta": "member", "acme": "admin"}}),
        json!({"org_id": "acme", "role": "owner"}),
        json!({"org_id": "acme", "role": "admin"}),
        json!({"orgs": {}, "org_id": "acme", "role": "admin"}),
        json!({"orgs": {"acme": "member"}, "org_id": "acme", "role": "admin"}),
        json!({"orgs": {"acme": "admin"}, "org_id": "beta", "role": "member"}),
        json!({"orgs": {"acme": "admin"}, "scope": "orgs:write"}),
    ] {
        let answer = as_admin(&world, claims.clone()).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text);
    }
    for claims in [
        json!({"orgs": {"acme": "member"}}),
        json!({"org_id": "acme", "role": "member"}),
        json!({"orgs": {"acme": "auditor"}}),
        json!({"orgs": {"acme": "Owner"}}),
        json!({"orgs": {"acme": ""}}),
        json!({"org_id": "acme", "role": "superuser"}),
        json!({"orgs": {"acme": "member"}, "scope": "orgs:write audit-events:write"}),
        json!({"orgs": {"acme": "member", "beta": "owner"}, "org_id": "beta", "role": "owner"}),
    ] {
        let answer = as_admin(&world, claims.clone()).await;
        assert_eq!(answer.status, 403, "{claims}: {}", answer.text);
        answer.expect_error(403, "forbidden");
    }
    for claims in [
        json!({}),
        json!({"orgs": {}}),
        json!({"orgs": {"ACME": "owner", "acme ": "owner", "": "owner", "*": "owner"}}),
        json!({"org_id": "acme"}),
        json!({"role": "owner"}),
        json!({"org_id": "beta", "role": "owner"}),
        json!({"org_id": "", "role": "owner"}),
        json!({"scope": "orgs:write audit-events:write"}),
        json!({"scope": "admin acme"}),
        json!({"roles": ["owner"], "admin": true}),
    ] {
        let answer = as_admin(&world, claims.clone()).await;
        assert_eq!(answer.status, 404, "{claims}: {}", answer.text);
        answer.expect_error(404, "not_found");
    }
    for claims in [
        json!({"orgs": ["acme"]}),
        json!({"orgs": "acme"}),
        json!({"orgs": {"acme": true}}),
        json!({"org_id": 7, "role": "owner"}),
        json!({"org_id": "acme", "role": ["owner"]}),
    ] {
        unauthorized(&as_admin(&world, claims.clone()).await, &claims.to_string());
    }
}

/// The statuses of both platform routes with this scope.
async fn statuses_with(world: &World, claims: Value) -> (u16, u16) {
    let token = Key::shared().token(&harness::tokens::claims(claims));
    let put = world
        .api
        .ask("PUT", "/orgs/acme")
        .token(&token)
        .json(&json!({"name": "Acme"}));
    let post = world
        .api
        .ask("POST", "/orgs/acme/audit-events")
        .token(&token);
    let post = post.json(&json!([least_event("e-1")]));
    (put.send().await.status, post.send().await.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes() {
    let world = World::start().await;
    world.org("acme").await;
    for (scope, expected) in [
        ("orgs:write", (200, 403)),
        ("audit-events:write", (403, 200)),
        ("orgs:write audit-events:write", (200, 200)),
        ("openid audit-events:write  profile", (403, 200)),
        ("", (403, 403)),
        ("orgs", (403, 403)),
        ("orgs:writer audit-events:write-all", (403, 403)),
        ("ORGS:WRITE", (403, 403)),
        ("orgs:write,audit-events:write", (403, 403)),
        ("*", (403, 403)),
    ] {
        assert_eq!(
            statuses_with(&world, json!({"scope": scope})).await,
            expected,
            "{scope}"
        );
    }
    let everything_else =
        json!({"orgs": {"acme": "owner"}, "scopes": "orgs:write", "role": "orgs:write"});
    assert_eq!(statuses_with(&world, everything_else).await, (403, 403));
    assert_eq!(
        statuses_with(&world, json!({"scope": ["orgs:write"]})).await,
        (401, 401)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_own_tokens_are_good() {
    let world = World::start().await;
    world.org("acme").await;
    let settings = [
        ("AUDIT_EXPORT_JWT_SECRET", SECRET),
        ("AUDIT_EXPORT_JWT_ISSUER", ISSUER),
        ("AUDIT_EXPORT_JWT_AUDIENCE", AUDIENCE),
    ];
    let token = |arguments: &[&str]| {
        let arguments = [&["token"], arguments].concat();
        output_of("audit-export-api", &arguments, &settings)
            .trim()
            .to_owned()
    };
    for (role, status) in [("owner", 200), ("admin", 200), ("member", 403)] {
        let token = token(&["--org", "acme", "--role", role]);
        assert_eq!(ask_with(&world, &token).await.status, status, "{role}");
    }
    let platform = token(&["--scope", "orgs:write"]);
    let ask = world.api.ask("PUT", "/orgs/acme").token(&platform);
    ask.json(&json!({"name": "Acme"})).send().await.expect(200);
    ask_with(&world, &platform)
        .await
        .expect_error(404, "not_found");
    ask_with(&world, &Key::shared().token(&all_claims()))
        .await
        .expect(200);
}
