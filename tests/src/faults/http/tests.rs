//! Each fault does what it says.

mod bytes;

use std::{
    error::Error,
    io::ErrorKind,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_sdk_s3::primitives::ByteStream;
use axum::{Router, body::Bytes, http::Method};
use local_aws::{LocalAws, Options};
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::{
    eventually,
    world::{REGION, sdk_config_of},
};

/// A server that answers everything, and counts the requests that reached it whole.
struct Upstream {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let count = requests.clone();
        let answer = move |method: Method, _body: Bytes| async move {
            count.fetch_add(1, Ordering::SeqCst);
            match method {
                Method::DELETE => (StatusCode::NO_CONTENT, ""),
                _ => (StatusCode::OK, "done"),
            }
        };
        let server = async move {
            let app = Router::new().fallback(answer);
            axum::serve(listener, app).await.unwrap();
        };
        Self {
            address,
            requests,
            _server: AbortOnDropHandle::new(tokio::spawn(server)),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn start() -> (Upstream, HttpProxy, Client) {
    let upstream = Upstream::start().await;
    let proxy = HttpProxy::start(upstream.address).await;
    // A connection for each request, lest one that was cut be taken from the pool.
    let client = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    (upstream, proxy, client)
}

fn url(proxy: &HttpProxy) -> String {
    format!("{}/bucket/key", proxy.endpoint())
}

/// Puts an object, and returns the answer's status.
async fn put(client: &Client, proxy: &HttpProxy) -> reqwest::Result<u16> {
    let answer = client.put(url(proxy)).body("event").send().await?;
    Ok(answer.status().as_u16())
}

fn kind(error: &reqwest::Error) -> Option<ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[track_caller]
fn assert_reset<T>(result: reqwest::Result<T>) {
    let error = result.err().expect("the connection was reset");
    assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset), "{error:?}");
}

#[tokio::test]
async fn an_injected_answer_never_reaches_the_upstream() {
    let (upstream, proxy, client) = start().await;
    let slow_down = Answer::s3(503, "SlowDown").header("retry-after", "1");
    proxy.inject(Calls::default().first(1), Fault::Answer(slow_down));
    let throttled = Answer::sts(400, "Throttling").header("Date", "Sat, 01 Jan 2000 00:00:00 GMT");
    proxy.inject(Calls::default().first(1), Fault::Answer(throttled));
    let gone = Fault::Answer(Answer::empty(204));
    proxy.inject(Calls::default().first(1), gone);

    let answer = client.put(url(&proxy)).body("event").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/xml");
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(answer.headers().contains_key("date"));
    let body = answer.text().await.unwrap();
    assert!(body.contains("<Error><Code>SlowDown</Code>"), "{body}");

    let answer = client.post(url(&proxy)).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let dates: Vec<_> = answer.headers().get_all("date").iter().collect();
    assert_eq!(dates, ["Sat, 01 Jan 2000 00:00:00 GMT"]);
    let body = answer.text().await.unwrap();
    assert!(body.contains("<Type>Sender</Type><Code>Throttling</Code>"));

    assert_eq!(put(&client, &proxy).await.unwrap(), 204);
    assert_eq!(upstream.requests(), 0);
    assert_eq!(put(&client, &proxy).await.unwrap(), 200);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_reset_request_has_no_effect_and_one_whose_answer_is_lost_has() {
    let (upstream, proxy, client) = start().await;
    let before = proxy.inject(Calls::default().first(1), Fault::ResetBefore);
    assert_reset(put(&client, &proxy).await);
    assert_eq!((before.hits(), upstream.requests()), (1, 0));
    let after = proxy.inject(Calls::default(), Fault::LoseAnswer);
    assert_reset(put(&client, &proxy).await);
    assert_eq!((after.hits(), upstream.requests()), (1, 1));
}

#[tokio::test]
async fn a_cut_answer_is_not_taken_for_one() {
    let (upstream, proxy, client) = start().await;
    proxy.inject(Calls::default(), Fault::CutAnswer);
    let answer = client.put(url(&proxy)).send().await.unwrap();
    assert!(answer.bytes().await.is_err());
    assert!(client.delete(url(&proxy)).send().await.is_err());
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_delayed_request_takes_effect_though_its_client_gave_up() {
    let (upstream, proxy, client) = start().await;
    let delay = Duration::from_millis(300);
    proxy.inject(Calls::default(), Fault::Delay(delay));
    let request = tokio::spawn({
        let (client, url) = (client.clone(), url(&proxy));
        async move { client.delete(url).send().await }
    });
    let arrived = || async { proxy.seen().first().cloned() };
    let seen = eventually("the request arrives", arrived).await;
    request.abort();
    let done = || async { (upstream.requests() == 1).then_some(()) };
    eventually("the request takes effect", done).await;
    assert!(seen.at.elapsed() >= delay);
}

#[tokio::test]
async fn what_hangs_stays_open_until_it_is_cut() {
    for (fault, effects) in [(Fault::Hang, 0), (Fault::HangAfter, 1)] {
        let (upstream, proxy, client) = start().await;
        let hanging = proxy.inject(Calls::default().first(1), fault);
        let request = tokio::spawn({
            let (client, url) = (client.clone(), url(&proxy));
            async move { client.delete(url).send().await }
        });
        let hit = || async { (hanging.hits() == 1).then_some(()) };
        eventually("the request hangs", hit).await;
        let done = || async { (upstream.requests() == effects).then_some(()) };
        eventually("it has the effect it should have", done).await;
        // Others pass meanwhile.
        assert_eq!(put(&client, &proxy).await.unwrap(), 200);
        assert!(!request.is_finished());
        proxy.cut_all();
        assert_reset(request.await.unwrap());
        assert_eq!(upstream.requests(), effects + 1);
    }
}

#[tokio::test]
async fn rules_hit_in_their_order_until_they_are_spent_or_lifted() {
    let (_upstream, proxy, client) = start().await;
    let puts = || Calls::of(Operation::PutObject).to_bucket("bucket");
    let answer = |status| Fault::Answer(Answer::empty(status));
    proxy.inject(Calls::of(Operation::DeleteObject), answer(400));
    let first = proxy.inject(puts().after(1).first(1), answer(501));
    let second = proxy.inject(puts().after(1).first(2), answer(502));
    let last = proxy.inject(puts().with_key("ke").after(4), answer(503));
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(put(&client, &proxy).await.unwrap());
    }
    assert_eq!(statuses, [200, 501, 502, 502, 503, 503]);
    last.lift();
    assert_eq!(put(&client, &proxy).await.unwrap(), 200);
    assert_eq!((first.hits(), second.hits(), last.hits()), (1, 2, 2));
    let hits: Vec<_> = proxy.seen().iter().map(|seen| seen.hit).collect();
    assert_eq!(hits, [false, true, true, true, true, true, false]);
}

#[tokio::test]
async fn a_port_that_refuses_comes_back() {
    let (upstream, proxy, client) = start().await;
    let address = proxy.endpoint().replace("http://", "");
    assert_eq!(put(&client, &proxy).await.unwrap(), 200);
    for round in 2..4 {
        let mut open = TcpStream::connect(&address).await.unwrap();
        let empty = b"DELETE /b/k HTTP/1.1\r\nhost: a\r\n\r\n";
        open.write_all(empty).await.unwrap();
        assert!(open.read_u8().await.is_ok());
        proxy.refuse(true).await;
        proxy.refuse(true).await;
        let mut rest = Vec::new();
        let end = open.read_to_end(&mut rest).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(&address).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        proxy.refuse(false).await;
        assert_eq!(put(&client, &proxy).await.unwrap(), 200);
        assert_eq!(upstream.requests(), 1 + 2 * (round - 1));
    }
}

#[tokio::test]
async fn nothing_of_a_dropped_proxy_stays() {
    let (_upstream, proxy, client) = start().await;
    proxy.inject(Calls::default(), Fault::Hang);
    let hanging = tokio::spawn(client.delete(url(&proxy)).send());
    let arrived = || async { proxy.seen().first().cloned() };
    eventually("the request arrives", arrived).await;
    let shared = Arc::downgrade(&proxy.shared);
    drop(proxy);
    assert!(hanging.await.unwrap().is_err());
    let ended = || async { shared.upgrade().is_none().then_some(()) };
    eventually("every task has ended", ended).await;
}

#[tokio::test]
async fn signatures_stay_valid() {
    let dir = tempfile::TempDir::new().unwrap();
    let state = json!({
        "region": REGION,
        "users": [{
            "arn": "arn:aws:iam::222222222222:user/owner",
            "accessKeyId": "AKIAOWNER",
            "secretAccessKey": "secret of the owner",
        }],
        "buckets": [{"name": "signed-requests", "region": REGION, "account": "222222222222"}],
    });
    let state: local_aws::State = serde_json::from_value(state).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: dir.path().join("s3"),
        state: state.into(),
        write_log: None,
    };
    let aws = LocalAws::start(options).await.unwrap();
    let proxy = HttpProxy::start(aws.address()).await;
    let config = sdk_config_of(&proxy.endpoint(), "AKIAOWNER", "secret of the owner");
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true);
    let s3 = aws_sdk_s3::Client::from_conf(config.build());
    let (bucket, key) = ("signed-requests", "org a/é+%/events");

    let events = vec![b'e'; 3 << 20];
    let put = s3.put_object().bucket(bucket).key(key);
    put.body(ByteStream::from(events)).send().await.unwrap();
    let create = s3.create_multipart_upload().bucket(bucket).key(key);
    let upload = create.send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let part = s3.upload_part().bucket(bucket).key(key).upload_id(id);
    let part = part.part_number(1).body(ByteStream::from_static(b"event"));
    part.send().await.unwrap();
    let list = s3.list_multipart_uploads().bucket(bucket);
    assert_eq!(list.send().await.unwrap().uploads().len(), 1);
    let abort = s3.abort_multipart_upload().bucket(bucket).key(key);
    abort.upload_id(id).send().await.unwrap();

    let writes = aws.write_log();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!((&*writes[0].key, writes[0].size), (key, Some(3 << 20)));
    let seen: Vec<_> = proxy.seen().iter().map(|seen| seen.operation).collect();
    let called = [
        Operation::PutObject,
        Operation::CreateMultipartUpload,
        Operation::UploadPart,
        Operation::ListMultipartUploads,
        Operation::AbortMultipartUpload,
    ];
    assert_eq!(seen, called);
    let keys = proxy.seen().into_iter().filter_map(|seen| seen.key);
    assert!(keys.into_iter().all(|seen| seen == key));
}
