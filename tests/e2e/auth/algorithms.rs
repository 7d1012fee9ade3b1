//! A key is for one algorithm, whatever a token says that it was signed by.

use harness::{attacks, tokens::Key};
use serde_json::json;

use super::{all_claims, ask_with, key_server::KeyServer, reason, try_all, unauthorized};

const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// The classic: what is public about a key, taken for a shared secret, in each form that it is
/// handed around in.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_not_a_secret() {
    let keys = [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")];
    let server = KeyServer::start(&keys.each_ref()).await;
    for with_secret in [true, false] {
        let world = server.world(with_secret).await;
        for (key, algorithm) in keys.iter().zip(ALGORITHMS) {
            ask_with(&world, &key.token(&all_claims()))
                .await
                .expect(200);
            let (pem, der, jwk) = (key.public_pem(), key.public_der(), key.jwk());
            let number = if jwk["n"].is_string() { "n" } else { "x" };
            let secrets = [
                ("PEM", pem.clone().into_bytes()),
                ("PEM without its last line break", pem.trim_end().into()),
                ("DER", der),
                ("JWK", jwk.to_string().into_bytes()),
                ("JWK's number", jwk[number].as_str().unwrap().into()),
            ];
            for (form, secret) in secrets {
                let forger = Key::secret(secret);
                for header in [
                    json!({"alg": "HS256", "kid": key.kid}),
                    json!({"alg": "HS256"}),
                ] {
                    let token = forger.token_with(&header, &all_claims());
                    unauthorized(&ask_with(&world, &token).await, form);
                }
                // And under the header of a good token.
                let header = json!({"alg": algorithm, "kid": key.kid});
                let token = forger.token_with(&header, &all_claims());
                unauthorized(&ask_with(&world, &token).await, form);
            }
        }
    }
    for algorithm in ALGORITHMS {
        attacks::record(
            "forged or misused token",
            &format!("HS256 by the public key of {algorithm}, as PEM, DER and JWK"),
            "401, with a shared secret beside the keys and without",
        );
    }
}

/// The signatures are good, and by keys that the set holds; the algorithms are none of ours.
#[tokio::test(flavor = "multi_thread")]
async fn other_algorithms_of_a_good_key_are_refused_by_name() {
    let rsa = Key::rs256("r");
    let server = KeyServer::start(&[&rsa]).await;
    // A set may allow a key more than we do.
    let mut unnamed = rsa.jwk();
    unnamed.as_object_mut().unwrap().remove("alg");
    let set = json!({"keys": [unnamed]});
    server.answer_with(axum::http::StatusCode::OK, &set.to_string());
    let world = server.world(true).await;
    ask_with(&world, &rsa.token(&all_claims()))
        .await
        .expect(200);
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        let answer = ask_with(&world, &rsa.token_by(algorithm, &all_claims())).await;
        unauthorized(&answer, algorithm);
        assert!(
            reason(&answer).contains("none of HS256, RS256, ES256 and EdDSA"),
            "{answer:?}"
        );
    }
    for algorithm in ["HS384", "HS512", "ES384", "EdDSA", "ES256"] {
        let header = json!({"alg": algorithm, "kid": "r"});
        let token = rsa.token_with(&header, &all_claims());
        unauthorized(&ask_with(&world, &token).await, algorithm);
    }
    attacks::record(
        "forged or misused token",
        "RS384, RS512, PS256, PS384 or PS512 by a good RSA key",
        "401, the algorithm is none of those known here",
    );
    let as_another = |alg: &str| rsa.token_with(&json!({"alg": alg, "kid": "r"}), &all_claims());
    try_all(
        &world,
        vec![
            (
                "HS256 in the header of an RSA signature".into(),
                as_another("HS256"),
            ),
            (
                "ES256 in the header of an RSA signature".into(),
                as_another("ES256"),
            ),
        ],
    )
    .await;
}
