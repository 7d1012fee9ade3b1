use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::{
    super::test_keys::{AUDIENCE, ISSUER, SECRET, TestKey, claims},
    *,
};

fn by_secret() -> Authenticator {
    Authenticator::new(Some(&SECRET.into()), None, ISSUER, AUDIENCE)
}

async fn code(authenticator: &Authenticator, token: &str) -> &'static str {
    match authenticator.authenticate(token).await {
        Ok(_) => "ok",
        Err(error) => error.status_and_code().1,
    }
}

#[tokio::test]
async fn claims_about_the_token_are_checked() {
    let now = get_current_timestamp();
    for (changes, expected) in [
        (json!({}), "ok"),
        (json!({"aud": ["other", AUDIENCE]}), "ok"),
        (json!({"nbf": now}), "ok"),
        (json!({"exp": now - LEEWAY_SECONDS + 5}), "ok"),
        (json!({"nbf": now + LEEWAY_SECONDS - 5}), "ok"),
        (json!({"exp": now - LEEWAY_SECONDS - 5}), "token_expired"),
        (json!({"nbf": now + LEEWAY_SECONDS + 5}), "unauthorized"),
        (json!({"exp": null}), "unauthorized"),
        (json!({"exp": "tomorrow"}), "unauthorized"),
        (json!({"iss": null}), "unauthorized"),
        (json!({"iss": "https://evil.example"}), "unauthorized"),
        (json!({"aud": null}), "unauthorized"),
        (json!({"aud": "other"}), "unauthorized"),
        (json!({"aud": []}), "unauthorized"),
        (json!({"orgs": "acme"}), "unauthorized"),
        (json!({"scope": ["orgs:write"]}), "unauthorized"),
    ] {
        let token = TestKey::secret().token(None, &claims(changes.clone()));
        assert_eq!(code(&by_secret(), &token).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn only_the_right_key_will_do() {
    let good = TestKey::secret().token(Some("any"), &claims(json!({})));
    assert_eq!(code(&by_secret(), &good).await, "ok");
    let other = TestKey::Hs256(b"another secret of at least 32 bytes".to_vec())
        .token(None, &claims(json!({})));
    assert_eq!(code(&by_secret(), &other).await, "unauthorized");
    for token in [
        "",
        "x",
        "a.b",
        "a.b.c",
        "...",
        &good[..good.len() - 2],
        &format!("{good}.x"),
    ] {
        assert_eq!(code(&by_secret(), token).await, "unauthorized", "{token}");
    }
    // The claims of one token under the signature of another.
    let parts: Vec<&str> = good.split('.').collect();
    let forged = URL_SAFE_NO_PAD.encode(claims(json!({"orgs": {"beta": "owner"}})).to_string());
    assert_eq!(
        code(&by_secret(), &format!("{}.{forged}.{}", parts[0], parts[2])).await,
        "unauthorized"
    );
}

#[tokio::test]
async fn the_header_does_not_choose_the_algorithm() {
    let secret = TestKey::secret();
    for alg in [
        "none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "",
    ] {
        let token = secret.token_with(&json!({"alg": alg, "typ": "JWT"}), &claims(json!({})));
        assert_eq!(code(&by_secret(), &token).await, "unauthorized", "{alg}");
    }
    let unsigned = secret.token_with(&json!({"alg": "none"}), &claims(json!({})));
    let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
    assert_eq!(code(&by_secret(), unsigned).await, "unauthorized");
}

#[tokio::test]
async fn signed_tokens_are_good() {
    let secret: SecretString = SECRET.into();
    let new = NewToken {
        issuer: ISSUER,
        audience: AUDIENCE,
        lifetime: Duration::from_secs(60),
        org: Some(("acme", Role::Admin)),
        scope: None,
        subject: Some("kim"),
    };
    let caller = by_secret()
        .authenticate(&sign(&secret, &new).unwrap())
        .await
        .unwrap();
    assert!(caller.require_org_admin(&"acme".parse().unwrap()).is_ok());
    assert!(caller.require_scope(crate::auth::Scope::WriteOrgs).is_err());
    assert_eq!(caller.subject(), Some("kim"));

    let platform = NewToken {
        org: None,
        scope: Some("orgs:write"),
        subject: None,
        ..new
    };
    let caller = by_secret()
        .authenticate(&sign(&secret, &platform).unwrap())
        .await
        .unwrap();
    assert!(caller.require_scope(crate::auth::Scope::WriteOrgs).is_ok());
    assert!(caller.require_org_admin(&"acme".parse().unwrap()).is_err());
    assert_eq!(caller.subject(), None);
}
