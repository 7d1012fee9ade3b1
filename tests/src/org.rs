//! An organisation: what its admins and the vendor's platform do for it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Customer, Event, World,
    api::{Answer, Request},
    events::ndjson,
    tokens,
    wait::{PATIENCE, within},
};

/// An organisation, and an admin of it.
#[derive(Debug)]
pub struct Org<'w> {
    world: &'w World,
    id: String,
    external_id: String,
    admin: String,
}

impl<'w> Org<'w> {
    pub(crate) fn new(world: &'w World, id: &str, external_id: &str) -> Self {
        Self {
            world,
            id: id.into(),
            external_id: external_id.into(),
            admin: tokens::member_of(id, "admin"),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What roles have to ask for.
    pub fn external_id(&self) -> &str {
        &self.external_id
    }

    /// Asks as an admin; the path begins after `/orgs/{orgId}`.
    pub fn ask(&self, method: &str, path: &str) -> Request {
        let path = format!("/orgs/{}{path}", self.id);
        self.world.api.ask(method, &path).token(&self.admin)
    }

    /// Saves a config.
    pub async fn save(&self, settings: Value) -> Answer {
        self.ask("POST", "/audit-export/config")
            .json(&settings)
            .send()
            .await
    }

    /// The config.
    pub async fn config(&self) -> Value {
        self.ask("GET", "/audit-export/config")
            .send()
            .await
            .expect(200)
    }

    /// Tests what is configured.
    pub async fn test(&self) -> Answer {
        self.ask("POST", "/audit-export/test-connection")
            .send()
            .await
    }

    /// Tests other settings.
    pub async fn test_of(&self, settings: Value) -> Answer {
        let ask = self.ask("POST", "/audit-export/test-connection");
        ask.json(&settings).send().await
    }

    /// The newest runs, newest first.
    pub async fn runs(&self) -> Vec<Value> {
        let runs = self.ask("GET", "/audit-export/runs?limit=100").send().await;
        runs.expect(200).as_array().unwrap().clone()
    }

    /// One run with its objects.
    pub async fn run(&self, id: &str) -> Value {
        let path = format!("/audit-export/runs/{id}");
        self.ask("GET", &path).send().await.expect(200)
    }

    /// Exports now and waits until the run has ended. Another run that is under way comes first.
    pub async fn export_now(&self) -> Value {
        let look = || async {
            let answer = self.ask("POST", "/audit-export/runs").send().await;
            match answer.status {
                409 => {
                    answer.expect_error(409, "run_in_progress");
                    None
                }
                _ => Some(answer.expect(202)),
            }
        };
        let run = self.eventually("a run is started", look).await;
        self.wait_for_run(run["id"].as_str().unwrap()).await
    }

    /// Waits until a run has ended.
    pub async fn wait_for_run(&self, id: &str) -> Value {
        let look = || async {
            let run = self.run(id).await;
            ["succeeded", "failed"]
                .contains(&run["status"].as_str().unwrap())
                .then_some(run)
        };
        self.eventually("a run ends", look).await
    }

    /// Waits until a run that somebody else asks for is there and has ended.
    pub async fn wait_for_run_to_appear(&self, id: &str) -> Value {
        let path = format!("/audit-export/runs/{id}");
        let look = || async {
            let answer = self.ask("GET", &path).send().await;
            (answer.status == 200).then_some(())
        };
        self.eventually("a run appears", look).await;
        self.wait_for_run(id).await
    }

    /// Waits until the config is in this state.
    pub async fn wait_for_state(&self, state: &str) -> Value {
        let look = || async {
            let config = self.config().await;
            (config["state"] == state).then_some(config)
        };
        self.eventually(&format!("the config is {state}"), look)
            .await
    }

    /// Waits until all events up to this one are in the bucket and no run is under way.
    pub async fn wait_until_delivered(&self, customer: &Customer, last_seq: i64) {
        self.wait_until_delivered_within(customer, last_seq, PATIENCE)
            .await;
    }

    /// Likewise, with a deadline of the test's.
    pub async fn wait_until_delivered_within(&self, to: &Customer, last_seq: i64, time: Duration) {
        let look = || async {
            if to.bucket().last_seq(&self.id) < last_seq {
                return None;
            }
            let under_way = |run: &Value| run["finishedAt"].is_null();
            (!self.runs().await.iter().any(under_way)).then_some(())
        };
        let what = format!("event {last_seq} is delivered");
        self.eventually_within(time, &what, look).await;
    }

    /// Appends events and checks that all of them were new.
    pub async fn ingest(&self, events: &[Event]) -> Value {
        let answer = self.send_ndjson(ndjson(events)).await.expect(200);
        assert_eq!(answer["accepted"], events.len(), "{answer}");
        answer
    }

    /// Appends the events of another organisation, whose id is as long, to this one, which has none:
    /// the rows are those that ingesting the same events would have made, copied within Postgres, since
    /// many organisations with megabytes of events each would take minutes to ingest.
    pub async fn append_large_copy(&self, of: &str) {
        assert_eq!(self.id.len(), of.len(), "sizes of lines would differ");
        let client = self.world.database.client().await;
        let sql = r#"
            with sequence as (
                update org_sequences s
                   set next_seq = t.next_seq, last_recorded_at = t.last_recorded_at,
                       total_bytes = t.total_bytes
                  from org_sequences t
                 where s.org_id = $1 and s.next_seq = 1 and t.org_id = $2
                returning s.org_id
            ), ids as (
                insert into audit_event_ids (org_id, event_id, recorded_at)
                select s.org_id, i.event_id, i.recorded_at
                  from sequence s, audit_event_ids i
                 where i.org_id = $2
            )
            insert into audit_events
                   (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
            select s.org_id, e.seq, e.event_id, e.occurred_at, e.recorded_at, e.end_bytes,
                   replace(e.line, '"orgId":"' || $2::text || '"', '"orgId":"' || $1::text || '"')
              from sequence s, audit_events e
             where e.org_id = $2"#;
        let copied = client.execute(sql, &[&self.id, &of]).await.unwrap();
        assert!(copied > 0, "{} had events, or {of} has none", self.id);
    }

    /// Sends events, one a line.
    pub async fn send_ndjson(&self, text: impl Into<String>) -> Answer {
        self.send_events("application/x-ndjson", text.into()).await
    }

    /// Sends events as an array.
    pub async fn send_array(&self, text: impl Into<String>) -> Answer {
        self.send_events("application/json", text.into()).await
    }

    async fn send_events(&self, content_type: &str, text: String) -> Answer {
        let token = tokens::platform("audit-events:write");
        let path = format!("/orgs/{}/audit-events", self.id);
        let ask = self.world.api.ask("POST", &path).token(&token);
        ask.body(content_type, text).send().await
    }

    /// Waits for something to happen to this organisation; tells what is known of it when it does
    /// not.
    pub async fn eventually<T, F>(&self, what: &str, look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        self.eventually_within(PATIENCE, what, look).await
    }

    async fn eventually_within<T, F>(
        &self,
        time: Duration,
        what: &str,
        look: impl FnMut() -> F,
    ) -> T
    where
        F: Future<Output = Option<T>>,
    {
        match within(time, look).await {
            Some(seen) => seen,
            None => panic!(
                "did not happen within {time:?}: {what}\n{}",
                self.dump().await
            ),
        }
    }

    /// What is known of it.
    async fn dump(&self) -> String {
        let config = self.ask("GET", "/audit-export/config").send().await;
        let runs = self.ask("GET", "/audit-export/runs?limit=5").send().await;
        let client = self.world.database.client().await;
        let mut text = format!("config: {}\nruns: {}\n", config.text, runs.text);
        for table in [
            "org_sequences",
            "export_state",
            "connection_tests",
            "export_objects",
        ] {
            let sql = format!("select to_json(t)::text from {table} t where org_id = $1 limit 20");
            for row in client.query(&sql, &[&self.id]).await.unwrap() {
                text += &format!("{table}: {}\n", row.get::<_, String>(0));
            }
        }
        for call in self.world.refused_calls().iter().rev().take(5) {
            text += &format!("refused: {call}\n");
        }
        text
    }
}

/// The ids of a whole page of runs, for comparisons.
pub fn run_ids(runs: &[Value]) -> Vec<String> {
    runs.iter()
        .map(|run| run["id"].as_str().unwrap().to_owned())
        .collect()
}

/// An event in the least form that is taken.
pub fn least_event(id: &str) -> Value {
    json!({
        "id": id,
        "occurredAt": "2026-01-31T09:00:00Z",
        "action": "user.login",
        "actor": {"type": "user", "id": "u-17"},
    })
}
