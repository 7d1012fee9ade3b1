use std::sync::{
    Mutex as StdMutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};

use super::{
    super::{
        Authenticator,
        test_keys::{AUDIENCE, ISSUER, SECRET, TestKey, claims},
    },
    *,
};

/// An identity provider whose answer the test chooses.
struct Provider {
    url: String,
    answer: Arc<StdMutex<(StatusCode, String)>>,
    fetches: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(keys: &[Value]) -> Self {
        let answer = Arc::new(StdMutex::new((StatusCode::OK, String::new())));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&fetches));
        let router = Router::new()
            .route(
                "/jwks",
                get(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = answers.lock().unwrap().clone();
                    async move { answer }
                }),
            )
            .route(
                "/moved",
                get(|| async { axum::response::Redirect::temporary("/jwks").into_response() }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = Self {
            url,
            answer,
            fetches,
        };
        provider.publish(keys);
        provider
    }

    fn publish(&self, keys: &[Value]) {
        self.answer(StatusCode::OK, json!({"keys": keys}).to_string());
    }

    fn answer(&self, status: StatusCode, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn jwks(&self, path: &str, min_refresh_interval: Duration) -> Arc<Jwks> {
        let url = format!("{}{path}", self.url).parse().unwrap();
        Arc::new(Jwks::with_min_refresh_interval(url, min_refresh_interval).unwrap())
    }

    fn authenticator(&self, min_refresh_interval: Duration) -> Authenticator {
        Authenticator::new(
            None,
            Some(self.jwks("/jwks", min_refresh_interval)),
            ISSUER,
            AUDIENCE,
        )
    }
}

async fn code(authenticator: &Authenticator, token: &str) -> &'static str {
    match authenticator.authenticate(token).await {
        Ok(_) => "ok",
        Err(error) => error.status_and_code().1,
    }
}

fn good(key: &TestKey, kid: Option<&str>) -> String {
    key.token(kid, &claims(json!({})))
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn all_three_kinds_of_keys_sign() {
    let (rsa, ec, ed) = (TestKey::rsa(), TestKey::ec(), TestKey::ed());
    let junk = json!({"kty": "mystery", "kid": "m"});
    let provider = Provider::start(&[junk, rsa.jwk("r"), ec.jwk("e"), ed.jwk("d")]).await;
    let authenticator = provider.authenticator(LONG);
    for (key, kid) in [(&rsa, "r"), (&ec, "e"), (&ed, "d")] {
        assert_eq!(
            code(&authenticator, &good(key, Some(kid))).await,
            "ok",
            "{kid}"
        );
        // Without an id: the only key of that kind.
        assert_eq!(code(&authenticator, &good(key, None)).await, "ok", "{kid}");
    }
    assert_eq!(
        code(&authenticator, &good(&rsa, Some("e"))).await,
        "unauthorized"
    );
    assert_eq!(
        code(&authenticator, &good(&TestKey::ec(), Some("e"))).await,
        "unauthorized"
    );
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn a_key_keeps_to_its_algorithm() {
    let (rsa, ec) = (TestKey::rsa(), TestKey::ec());
    let mut for_pss = rsa.jwk("pss");
    for_pss["alg"] = "PS256".into();
    let mut for_encryption = rsa.jwk("enc");
    for_encryption["use"] = "enc".into();
    let secret = TestKey::secret();
    let keys = [for_pss, for_encryption, secret.jwk("oct"), ec.jwk("e")];
    let provider = Provider::start(&keys).await;
    let authenticator = provider.authenticator(LONG);
    for (key, kid) in [(&rsa, "pss"), (&rsa, "enc"), (&secret, "oct"), (&rsa, "e")] {
        assert_eq!(
            code(&authenticator, &good(key, Some(kid))).await,
            "unauthorized",
            "{kid}"
        );
    }
    // The classic: a public key used as if it were a shared secret.
    let public = keys[3]["x"].as_str().unwrap().as_bytes().to_vec();
    let forged = TestKey::Hs256(public).token(Some("e"), &claims(json!({})));
    assert_eq!(code(&authenticator, &forged).await, "unauthorized");
}

#[tokio::test]
async fn secret_and_keys_stand_side_by_side() {
    let ec = TestKey::ec();
    let provider = Provider::start(&[ec.jwk("e")]).await;
    let authenticator = Authenticator::new(
        Some(&SECRET.into()),
        Some(provider.jwks("/jwks", LONG)),
        ISSUER,
        AUDIENCE,
    );
    assert_eq!(code(&authenticator, &good(&ec, Some("e"))).await, "ok");
    assert_eq!(
        code(&authenticator, &good(&TestKey::secret(), None)).await,
        "ok"
    );
    assert_eq!(
        code(&authenticator, &good(&TestKey::secret(), Some("e"))).await,
        "ok"
    );
}

#[tokio::test]
async fn rotation_is_noticed_at_once() {
    let (old, new) = (TestKey::ec(), TestKey::ec());
    let provider = Provider::start(&[old.jwk("old")]).await;
    let authenticator = provider.authenticator(Duration::ZERO);
    assert_eq!(code(&authenticator, &good(&old, Some("old"))).await, "ok");
    provider.publish(&[new.jwk("new")]);
    assert_eq!(code(&authenticator, &good(&new, Some("new"))).await, "ok");
    assert_eq!(
        code(&authenticator, &good(&old, Some("old"))).await,
        "unauthorized"
    );
}

#[tokio::test]
async fn unknown_keys_cannot_cause_a_storm() {
    let ec = TestKey::ec();
    let provider = Provider::start(&[ec.jwk("e")]).await;
    let authenticator = provider.authenticator(LONG);
    let stranger = TestKey::ec();
    let tokens: Vec<String> = (0..50)
        .map(|n| good(&stranger, Some(&format!("k{n}"))))
        .collect();
    let answers =
        futures_util::future::join_all(tokens.iter().map(|token| code(&authenticator, token)))
            .await;
    assert!(answers.iter().all(|answer| *answer == "unauthorized"));
    assert_eq!(code(&authenticator, &good(&ec, Some("e"))).await, "ok");
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn known_keys_outlive_an_outage() {
    let ec = TestKey::ec();
    let provider = Provider::start(&[ec.jwk("e")]).await;
    let authenticator = provider.authenticator(Duration::ZERO);
    provider.answer(StatusCode::BAD_GATEWAY, String::new());
    assert_eq!(
        code(&authenticator, &good(&ec, Some("e"))).await,
        "auth_unavailable"
    );
    provider.publish(&[ec.jwk("e")]);
    assert_eq!(code(&authenticator, &good(&ec, Some("e"))).await, "ok");
    for broken in [
        "<html>".to_owned(),
        "{}".to_owned(),
        "[[]]".to_owned(),
        " ".repeat(MAX_ANSWER_BYTES + 1),
    ] {
        provider.answer(StatusCode::OK, broken);
        assert_eq!(code(&authenticator, &good(&ec, Some("e"))).await, "ok");
        assert_eq!(
            code(&authenticator, &good(&ec, Some("f"))).await,
            "auth_unavailable"
        );
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let ec = TestKey::ec();
    let provider = Provider::start(&[ec.jwk("e")]).await;
    let authenticator =
        Authenticator::new(None, Some(provider.jwks("/moved", LONG)), ISSUER, AUDIENCE);
    assert_eq!(
        code(&authenticator, &good(&ec, Some("e"))).await,
        "auth_unavailable"
    );
    assert_eq!(provider.fetches(), 0);
}

#[tokio::test]
async fn keys_are_kept_fresh_until_shutdown() {
    let provider = Provider::start(&[TestKey::ec().jwk("e")]).await;
    let shutdown = CancellationToken::new();
    let jwks = provider.jwks("/jwks", LONG);
    let task = tokio::spawn({
        let (jwks, shutdown) = (Arc::clone(&jwks), shutdown.clone());
        async move { jwks.keep_fresh(shutdown).await }
    });
    while jwks.keys().is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(provider.fetches(), 1);
}

#[test]
fn plain_http_only_from_this_machine() {
    for good in [
        "https://login.example/keys",
        "https://127.0.0.1/keys",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://127.9.9.9/keys",
        "http://[::1]:1/keys",
    ] {
        assert!(good.parse::<JwksUrl>().is_ok(), "{good}");
    }
    for bad in [
        "http://login.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "ftp://localhost/keys",
        "file:///etc/keys",
        "login.example/keys",
        "",
    ] {
        assert!(bad.parse::<JwksUrl>().is_err(), "{bad}");
    }
}
