//! Key sets, as an identity provider sends them.

use std::sync::LazyLock;

use api::fuzzing::Tokens;
use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

use super::{json, tokens::bearer};
use crate::tokens::{AUDIENCE, ISSUER, Key, claims, seconds_from_now};

/// A key, the letter that stands for it in the input, and tokens that it has signed: with its id and
/// without.
struct Signer {
    letter: char,
    jwk: Value,
    /// The member that tells the key, beside its type.
    material: &'static str,
    tokens: [String; 2],
}

static SIGNERS: LazyLock<[Signer; 3]> = LazyLock::new(|| {
    let signer = |letter: char, key: fn(&str) -> Key, material| {
        let mut key = key(&letter.to_string());
        let claims = claims(json!({"exp": seconds_from_now(100_000_000)}));
        let with_id = key.token(&claims);
        let jwk = key.jwk();
        key.kid = None;
        Signer {
            letter,
            jwk,
            material,
            tokens: [with_id, key.token(&claims)],
        }
    };
    [
        signer('r', Key::rs256, "n"),
        signer('e', Key::es256, "x"),
        signer('d', Key::eddsa, "x"),
    ]
});

/// A token passes only where the set holds the key that has signed it, for that use; what is public
/// never serves as a secret; a bad key in a set does not hide the good ones. In the input `@r`, `@e`
/// and `@d` stand for keys of ours, `@R`, `@E` and `@D` for what is in them.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut document = text.to_owned();
    for Signer {
        letter,
        jwk,
        material,
        ..
    } in SIGNERS.iter()
    {
        let inner = jwk[material].as_str().unwrap();
        document = document.replace(&format!("@{letter}"), &jwk.to_string());
        document = document.replace(&format!("@{}", letter.to_ascii_uppercase()), inner);
    }
    if let Some(checker) = set(document.as_bytes()) {
        passes_only_what_is_in(&checker, &document);
    }
    if let Ok(junk) = serde_json::from_str::<Value>(&document) {
        hides_no_key(&junk);
    }
}

fn set(document: &[u8]) -> Option<Tokens> {
    Tokens::new(None, document, ISSUER, AUDIENCE)
}

fn passes_only_what_is_in(checker: &Tokens, document: &str) {
    let set: Value = serde_json::from_str(document).unwrap();
    assert!(set.is_object(), "{set}");
    for signer in SIGNERS.iter() {
        let holds = |jwk: &&Value| {
            let own = &signer.jwk;
            jwk["kty"] == own["kty"]
                && bytes(&jwk[signer.material]) == bytes(&own[signer.material])
                && (jwk["use"].is_null() || jwk["use"] == "sig")
        };
        let held: Vec<&Value> = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(holds)
            .collect();
        for (token, with_id) in signer.tokens.iter().zip([true, false]) {
            if checker.caller(bearer(token).unwrap()).is_ok() {
                let id = |jwk: &&Value| !with_id || jwk["kid"] == signer.jwk["kid"];
                assert!(held.iter().any(id), "{document}");
            }
        }
    }
    for text in json::strings(document.as_bytes()).iter().take(8) {
        let mut forger = Key::secret(text.as_str());
        for id in [None, Some("r"), Some("e"), Some("d")] {
            forger.kid = id.map(str::to_owned);
            let token = forger.token(&claims(json!({})));
            assert!(
                checker.caller(bearer(&token).unwrap()).is_err(),
                "{document}"
            );
        }
    }
}

/// Key ids are only ours if nobody else uses them.
fn hides_no_key(junk: &Value) {
    let is_ours = |signer: &Signer| junk["kid"] == signer.jwk["kid"];
    let good = SIGNERS.iter().map(|signer| signer.jwk.clone());
    let keys: Vec<Value> = [junk.clone()]
        .into_iter()
        .chain(good)
        .chain([junk.clone()])
        .collect();
    let checker = set(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    for signer in SIGNERS.iter().filter(|signer| !is_ours(signer)) {
        let headers = bearer(&signer.tokens[0]).unwrap();
        assert!(checker.caller(headers).is_ok(), "{junk}");
    }
}

/// A number in base64, without the zeros that it may begin with.
fn bytes(text: &Value) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&URL_SAFE, config)
        .decode(text.as_str()?)
        .ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec())
}
