//! The REST API as its clients see it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

use crate::{
    manners,
    wait::{PATIENCE, eventually},
};

/// Members that an error body may have beside `error` and `code`.
const ERROR_EXTRAS: [&str; 2] = ["field", "index"];

/// A client of the API.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
    never_shown: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// A client for the API at this address.
    pub fn new(base: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Self {
            base,
            client: client.build().unwrap(),
            never_shown: Arc::default(),
        }
    }

    /// From now on an answer that holds this text fails the test, whatever was asked.
    pub fn must_never_show(&self, text: &str) {
        self.never_shown.lock().unwrap().push(text.to_owned());
    }

    /// Waits until a program has Postgres and the broker; this is a client of its admin listener.
    pub async fn wait_until_ready(&self) {
        let look = || async {
            let answer = self.ask("GET", "/readyz").try_send().await;
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        };
        eventually("a program is ready", look).await;
    }

    /// `HOST:PORT`, for clients that do not speak HTTP as they should.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Asks for something.
    pub fn ask(&self, method: &str, path: &str) -> Request {
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}{path}", self.base));
        Request {
            request,
            never_shown: self.never_shown.clone(),
        }
    }
}

/// A request in the making.
#[derive(Debug)]
pub struct Request {
    request: reqwest::RequestBuilder,
    never_shown: Arc<Mutex<Vec<String>>>,
}

impl Request {
    fn map(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        let request = change(self.request);
        Self { request, ..self }
    }

    /// Sends this token along.
    pub fn token(self, token: &str) -> Self {
        self.map(|r| r.bearer_auth(token))
    }

    /// Sends a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.map(|r| r.header(name, value))
    }

    /// Sends JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends anything.
    pub fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.map(|r| r.header("content-type", content_type).body(body))
    }

    /// Gives the answer no longer than this.
    pub fn timeout(self, time: Duration) -> Self {
        self.map(|r| r.timeout(time))
    }

    /// The answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the API answers")
    }

    /// The answer of an API that may be away.
    ///
    /// # Errors
    /// There was no answer, or not all of it.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let path = response.url().path().to_owned();
        let text = response.text().await?;
        for secret in self.never_shown.lock().unwrap().iter() {
            assert!(
                !text.contains(secret.as_str()),
                "{secret} is shown in {text}"
            );
            assert!(
                !format!("{headers:?}").contains(secret.as_str()),
                "{headers:?}"
            );
        }
        let answer = Answer {
            status,
            headers,
            text,
        };
        manners::check(&path, &answer);
        Ok(answer)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(json) => json,
            Err(error) => panic!("{error}: {self:?}"),
        }
    }

    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer that has this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Checks that this is a failure in the form that all failures have, and returns its body.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        let sentence = body["error"].as_str().unwrap_or_default();
        assert!(sentence.contains(' '), "not a sentence: {body}");
        assert!(self.header("content-type").starts_with("application/json"));
        for name in body.as_object().unwrap().keys() {
            let known = ["error", "code"].contains(&name.as_str());
            assert!(known || ERROR_EXTRAS.contains(&name.as_str()), "{body}");
        }
        body
    }
}
