//! The header `Authorization`, and the tokens in it.

use std::{collections::HashSet, sync::LazyLock};

use api::{
    auth::{Caller, LEEWAY_SECONDS, Scope},
    error::ApiError,
    fuzzing::Tokens,
};
use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::tokens::{AUDIENCE, ISSUER, Key, SECRET, claims, seconds_from_now};

/// The keys and tokens of one run; those tokens that are good come first.
struct World {
    checker: Tokens,
    tokens: Vec<String>,
    /// What stands before the signatures of good tokens.
    signed: HashSet<String>,
    /// Texts that an attacker knows and could sign with.
    public: Vec<String>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let keys = [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")];
    let jwks: Vec<Value> = keys.iter().map(Key::jwk).collect();
    let mut public = vec![keys[0].public_pem()];
    for jwk in &jwks {
        public.extend(
            ["n", "x", "y"]
                .iter()
                .filter_map(|name| Some(jwk[name].as_str()?.to_owned())),
        );
    }
    let keys = keys.into_iter().chain([Key::shared()]);
    let good = claims(json!({"exp": seconds_from_now(100_000_000), "orgs": {"acme": "owner"}}));
    let mut tokens: Vec<String> = keys.map(|key| key.token(&good)).collect();
    let signed = tokens
        .iter()
        .map(|token| message(token).to_owned())
        .collect();
    let bad = [
        json!({"exp": 1}),
        json!({"exp": null}),
        json!({"aud": "other"}),
        json!({"iss": null}),
        json!({"nbf": seconds_from_now(100_000_000)}),
    ];
    tokens.extend(bad.map(|changes| Key::shared().token(&claims(changes))));
    tokens.extend(
        [
            Key::secret("another secret, of 32 bytes or more"),
            Key::es256("e"),
        ]
        .map(|key| key.token(&good)),
    );
    let document = json!({"keys": jwks}).to_string();
    let checker = Tokens::new(Some(SECRET), document.as_bytes(), ISSUER, AUDIENCE).unwrap();
    for (at, token) in tokens.iter().enumerate() {
        assert_eq!(
            checker.caller(bearer(token).unwrap()).is_ok(),
            at < 4,
            "{at}"
        );
    }
    World {
        checker,
        tokens,
        signed,
        public,
    }
});

/// No token passes that we have not signed, and one that we have signed grants what it says. The first
/// byte tells what the others are: `e` changes to one of our tokens, `u` a header and claims that
/// somebody else signs (in lines), `s` the same signed by us; all else is the whole header.
pub fn tokens(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind {
        b'e' => edited(rest),
        b'u' => unsigned(rest),
        b's' => signed(rest),
        _ => {
            let Ok(header) = HeaderValue::from_bytes(data) else {
                return;
            };
            let refused = WORLD
                .checker
                .caller(HeaderMap::from_iter([(AUTHORIZATION, header)]));
            is_refusal(&refused.unwrap_err());
        }
    }
}

/// Three bytes a change: what, where, and which byte or token.
fn edited(changes: &[u8]) {
    let tokens = &WORLD.tokens;
    let pick = |byte: u8| &tokens[usize::from(byte) % tokens.len()];
    let Some((first, changes)) = changes.split_first() else {
        return;
    };
    let mut token = pick(*first).clone().into_bytes();
    for change in changes.chunks_exact(3) {
        let at = usize::from(change[1]) * token.len() / 256;
        match change[0] % 5 {
            0 => token.insert(at, change[2]),
            1 if at < token.len() => token[at] = change[2],
            2 if at < token.len() => drop(token.remove(at)),
            // Bits that the last character of a part has to spare.
            3 if at < token.len() => token[at] ^= 1 << (change[2] % 8),
            // A part of another token.
            4 => {
                let part = usize::from(change[1]) % 3;
                let text = String::from_utf8_lossy(&token).into_owned();
                let mut parts: Vec<&str> = text.split('.').collect();
                if let (Some(mine), Some(theirs)) =
                    (parts.get_mut(part), pick(change[2]).split('.').nth(part))
                {
                    *mine = theirs;
                }
                token = parts.join(".").into_bytes();
            }
            _ => {}
        }
    }
    let Some(headers) = std::str::from_utf8(&token).ok().and_then(bearer) else {
        return;
    };
    let token = String::from_utf8_lossy(&token);
    match WORLD.checker.caller(headers) {
        Ok(_) => assert!(WORLD.signed.contains(message(token.trim())), "{token}"),
        Err(error) => is_refusal(&error),
    }
}

fn unsigned(data: &[u8]) {
    let Some((header, claims)) = lines(data) else {
        return;
    };
    let message = format!("{}.{}", b64(header), b64(claims));
    let borrowed = WORLD.tokens.iter().map(|token| signature(token).to_owned());
    let by_public = WORLD.public.iter().map(|text| {
        let token = Key::secret(text.as_str()).token_of(header, claims);
        signature(&token).to_owned()
    });
    for signature in borrowed.chain(by_public).chain([String::new()]) {
        let token = format!("{message}.{signature}");
        match WORLD.checker.caller(bearer(&token).unwrap()) {
            Ok(_) => assert!(WORLD.signed.contains(&message), "{token}"),
            Err(error) => is_refusal(&error),
        }
    }
}

fn signed(data: &[u8]) {
    let Some((header, claims)) = lines(data) else {
        return;
    };
    let token = Key::shared().token_of(header, claims);
    let caller = match WORLD.checker.caller(bearer(&token).unwrap()) {
        Ok(caller) => caller,
        Err(error) => return is_refusal(&error),
    };
    let header: Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header["alg"], "HS256");
    let claims: Value = serde_json::from_slice(claims).unwrap();
    let holds = |claim: &Value, wanted: &str| match claim {
        Value::Array(values) => values.iter().any(|value| value == wanted),
        value => value == wanted,
    };
    assert!(
        holds(&claims["iss"], ISSUER) && holds(&claims["aud"], AUDIENCE),
        "{claims}"
    );
    // Half a second for rounding, and one that may have begun since.
    let leeway = f64::from(u32::try_from(LEEWAY_SECONDS).unwrap()) + 1.5;
    let now = f64::from(u32::try_from(seconds_from_now(0)).unwrap());
    assert!(claims["exp"].as_f64().unwrap() >= now - leeway, "{claims}");
    assert!(
        claims["nbf"].as_f64().unwrap_or(0.0) <= now + leeway,
        "{claims}"
    );
    grants_what_it_says(&caller, &claims);
}

fn grants_what_it_says(caller: &Caller, claims: &Value) {
    let administers = |role: &Value| role == "admin" || role == "owner";
    let by_pair = claims["org_id"] == "acme" && administers(&claims["role"]);
    let may = by_pair || administers(&claims["orgs"]["acme"]);
    let granted = caller.require_org_admin(&"acme".parse().unwrap()).is_ok();
    assert_eq!(granted, may, "{claims}");
    for scope in [Scope::WriteOrgs, Scope::WriteAuditEvents] {
        let words = claims["scope"].as_str().unwrap_or_default();
        let may = words.split(' ').any(|word| word == scope.to_string());
        assert_eq!(caller.require_scope(scope).is_ok(), may, "{claims}");
    }
    let subject = claims["sub"].as_str();
    let plain = |text: &&str| (1..=256).contains(&text.len()) && !text.contains(char::is_control);
    assert_eq!(caller.subject(), subject.filter(plain));
}

pub(super) fn is_refusal(error: &ApiError) {
    assert_eq!(error.status_and_code().0.as_u16(), 401, "{error}");
}

pub(super) fn bearer(token: &str) -> Option<HeaderMap> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    Some(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn lines(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..end], &data[end + 1..]))
}

fn message(token: &str) -> &str {
    token.rsplit_once('.').map_or("", |(message, _)| message)
}

fn signature(token: &str) -> &str {
    token
        .rsplit_once('.')
        .map_or("", |(_, signature)| signature)
}

fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
