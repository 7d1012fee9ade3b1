//! The API: what it has acknowledged is stored, and nothing is stored by halves.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use harness::{
    World,
    api::Api,
    events::{Event, events, ndjson},
    eventually,
    process::{Process, free_port},
    tokens,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::ends_within;

/// Events in a request.
const BATCH: usize = 50;

/// An API as a process with a grace of five seconds, and its address.
async fn spawn(world: &World) -> (Process, Api, String) {
    let listen = format!("127.0.0.1:{}", free_port());
    let admin = format!("127.0.0.1:{}", free_port());
    let (process, api) = world
        .spawn_api(&[
            ("AUDIT_EXPORT_LISTEN", &listen),
            ("AUDIT_EXPORT_ADMIN_LISTEN", &admin),
            ("AUDIT_EXPORT_DRAIN_SECONDS", "5"),
        ])
        .await;
    Api::new(format!("http://{admin}")).wait_until_ready().await;
    (process, api, listen)
}

/// Events whose ids begin with the batch's name.
fn batch(name: &str) -> Vec<Event> {
    let all = events(43, BATCH).into_iter().enumerate();
    all.map(|(n, event)| event.with_id(format!("{name}/{n}")))
        .collect()
}

/// How many events of each batch are stored.
async fn stored(world: &World) -> BTreeMap<String, i64> {
    let sql = "select split_part(event_id, '/', 1), count(*) from audit_events group by 1";
    let rows = world.database.client().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// A request for events, half of whose body is sent; the API has begun to read it.
struct HalfSent {
    stream: TcpStream,
    rest: String,
}

impl HalfSent {
    async fn begin(listen: &str, events: &[Event]) -> Self {
        let mut body = ndjson(events);
        let mut stream = TcpStream::connect(listen).await.unwrap();
        let head = format!(
            "POST /orgs/acme/audit-events HTTP/1.1\r\nHost: {listen}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            tokens::platform("audit-events:write"),
            body.len(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked_to_go_on = [0; 25];
        stream.read_exact(&mut asked_to_go_on).await.unwrap();
        assert_eq!(&asked_to_go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        let half = (0..=body.len() / 2).rfind(|at| body.is_char_boundary(*at));
        let rest = body.split_off(half.unwrap());
        stream.write_all(body.as_bytes()).await.unwrap();
        Self { stream, rest }
    }

    /// Sends the rest, and reads the answer.
    async fn finish(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_have_begun_are_answered_and_nothing_is_stored_by_halves() {
    let world = World::start().await;
    let acme = world.org("acme").await;
    let customer = world.customer(&acme);
    let (mut process, api, listen) = spawn(&world).await;
    let finished_later = HalfSent::begin(&listen, &batch("finished")).await;
    let never_finished = HalfSent::begin(&listen, &batch("unfinished")).await;
    // No worker will answer this one.
    let test = api.ask("POST", "/orgs/acme/audit-export/test-connection");
    let test = test.token(&tokens::member_of("acme", "admin"));
    let test = tokio::spawn(test.json(&customer.settings()).send());
    let client = world.database.client().await;
    let sql = "select from connection_tests where org_id = 'acme' and published_at is not null";
    let look = || async { (!client.query(sql, &[]).await.unwrap().is_empty()).then_some(()) };
    eventually("a test waits for a worker", look).await;

    process.signal("TERM");
    let look = || async { TcpStream::connect(&listen).await.is_err().then_some(()) };
    eventually("new connections are refused", look).await;
    let answer = finished_later.finish().await;
    ends_within(&mut process, 5).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = test.await.unwrap();
    answer.expect_error(503, "shutting_down");
    let expected = BTreeMap::from([("finished".to_owned(), BATCH as i64)]);
    assert_eq!(stored(&world).await, expected);
    drop(never_finished);
}

/// Sends batches until one is not acknowledged; returns that one's name last.
async fn send_on(api: Api, writer: usize, acknowledged: &AtomicUsize) -> Vec<String> {
    let token = tokens::platform("audit-events:write");
    let mut names = Vec::new();
    loop {
        let name = format!("{writer}-{}", names.len());
        let body = ndjson(&batch(&name));
        names.push(name);
        let ask = api.ask("POST", "/orgs/acme/audit-events").token(&token);
        let answer = ask.body("application/x-ndjson", body).try_send().await;
        if !answer.is_ok_and(|answer| answer.status == 200) {
            return names;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_stored_and_the_rest_wholly_or_not_at_all() {
    let world = World::start().await;
    world.org("acme").await;
    let (mut process, api, _) = spawn(&world).await;
    let acknowledged = AtomicUsize::new(0);
    let writers = (0..4).map(|writer| send_on(api.clone(), writer, &acknowledged));
    let ending = async {
        let look = || async { (acknowledged.load(Ordering::Relaxed) >= 40).then_some(()) };
        eventually("batches are acknowledged", look).await;
        ends_within(&mut process, 5).await;
    };
    let (sent, ()) = tokio::join!(futures_util::future::join_all(writers), ending);

    let stored = stored(&world).await;
    for mut names in sent {
        let unknown = names.pop().unwrap();
        let count = stored.get(&unknown).copied().unwrap_or_default();
        assert!([0, BATCH as i64].contains(&count), "{unknown}: {count}");
        for name in names {
            assert_eq!(stored.get(&name), Some(&(BATCH as i64)), "{name}");
        }
    }
}
