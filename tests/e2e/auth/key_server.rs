//! An identity provider: a key set over HTTP that can change and fail, and counts who asks.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, Response, StatusCode},
    routing::get,
};
use futures_util::stream;
use harness::{World, eventually, tokens::Key};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// Makes an answer, each time that the keys are asked for.
type Answer = Arc<dyn Fn() -> Response<Body> + Send + Sync>;

pub(crate) struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nothing: Answer = Arc::new(|| Response::new(Body::empty()));
        let answer = Arc::new(Mutex::new(nothing));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (answers, counter) = (answer.clone(), fetches.clone());
        let handler = async move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let answer = answers.lock().unwrap().clone();
            answer()
        };
        let router = Router::new().route("/keys", get(handler));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let server = Self {
            address,
            answer,
            fetches,
            task,
        };
        server.serve(keys);
        server
    }

    /// Where the keys are.
    pub(super) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Where the server listens, for a proxy before it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on these are the keys.
    pub(super) fn serve(&self, keys: &[&Key]) {
        let set = json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()});
        self.answer_with(StatusCode::OK, &set.to_string());
    }

    /// From now on this is the answer.
    pub(super) fn answer_with(&self, status: StatusCode, text: &str) {
        self.answer_as(status, &[], text.to_owned().into_bytes());
    }

    /// The same with headers, and with a body that need not be text.
    pub(super) fn answer_as(&self, status: StatusCode, headers: &[(&str, &str)], body: Vec<u8>) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        *self.answer.lock().unwrap() = Arc::new(move || {
            let mut answer = Response::new(body.clone().into());
            *answer.status_mut() = status;
            answer.headers_mut().clone_from(&headers);
            answer
        });
    }

    /// From now on a byte comes ten times a second, without end.
    pub(super) fn drip(&self) {
        *self.answer.lock().unwrap() = Arc::new(|| {
            let bytes = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, Infallible>(" "), ()))
            });
            Response::new(Body::from_stream(bytes))
        });
    }

    /// How often the keys were asked for.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// A world whose API takes tokens that are signed with these keys, and with the shared secret
    /// where it is to. It has the organisation acme, and has asked for the keys.
    pub(super) async fn world(&self, with_secret: bool) -> World {
        let url = self.url().parse().unwrap();
        let world = World::start_with(|config| {
            config.jwks_url = Some(url);
            if !with_secret {
                config.jwt_secret = None;
            }
        })
        .await;
        // By SQL: nobody may have a good token yet.
        let sql =
            "with org as (insert into orgs (id, name, external_id) values ('acme', 'Acme', 'x')),
                   sequence as (insert into org_sequences (org_id) values ('acme'))
                   insert into export_state (org_id) values ('acme')";
        world
            .database
            .client()
            .await
            .batch_execute(sql)
            .await
            .unwrap();
        eventually("the keys are asked for", || async {
            (self.fetches() > 0).then_some(())
        })
        .await;
        world
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
