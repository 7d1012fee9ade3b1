//! One dead letter: what it says of itself, and where it belongs.

use common::queue::{topology, topology::JobQueue};
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde::Serialize;
use serde_json::Value;

/// Bytes of a body that are shown; what is longer is cut, and then ends with `…`.
const SHOWN_BYTES: usize = 4_096;

/// A dead letter as it is shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    routing_key: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    /// The run's or the test's.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// JSON as it is, all else as text.
    body: Value,
}

impl Letter {
    pub fn read(routing_key: &str, properties: &BasicProperties, data: &[u8]) -> Self {
        let json: Option<Value> = serde_json::from_slice(data).ok();
        let member = |name: &str| Some(cut(json.as_ref()?.get(name)?.as_str()?.to_owned()));
        let (reason, dead_since) = reason(properties);
        Self {
            routing_key: routing_key.to_owned(),
            reason,
            dead_since,
            org_id: member("orgId"),
            id: member("runId").or_else(|| member("testId")),
            body: match json {
                Some(json) if data.len() <= SHOWN_BYTES => json,
                _ => Value::String(text_of(data)),
            },
        }
    }

    /// Whether it names this organisation.
    pub fn is_of(&self, org: &str) -> bool {
        self.org_id.as_deref() == Some(org)
    }
}

/// The queue in which a dead letter waited before. Its routing key tells, which is the queue's own
/// name where it was published past the exchange; failing that, RabbitMQ.
pub fn origin(routing_key: &str, properties: &BasicProperties) -> Option<JobQueue> {
    let queue_of = |name: &str| {
        [topology::EXPORT, topology::TEST_CONNECTION]
            .into_iter()
            .find(|job| job.routing_key == name || job.queue == name)
    };
    queue_of(routing_key).or_else(|| queue_of(&text(death(properties)?, "queue")?))
}

/// Why and since when it is dead: as the worker says that has put it there, or else as RabbitMQ.
fn reason(properties: &BasicProperties) -> (String, Option<Timestamp>) {
    let headers = properties.headers().as_ref();
    let time = |seconds: u64| Timestamp::from_second(seconds.try_into().ok()?).ok();
    if let Some(reason) = headers.and_then(|headers| text(headers, topology::REASON_HEADER)) {
        return (reason, properties.timestamp().and_then(time));
    }
    let Some(death) = death(properties) else {
        return ("unknown".into(), None);
    };
    let why = text(death, "reason").unwrap_or_else(|| "unknown".into());
    let queue = text(death, "queue").unwrap_or_default();
    let value = |name: &str| death.inner().get(name);
    let count = value("count").and_then(AMQPValue::as_long_long_int);
    let since = value("time").and_then(AMQPValue::as_timestamp);
    (
        format!("{why} (queue {queue}, count {})", count.unwrap_or(1)),
        since.and_then(time),
    )
}

/// What RabbitMQ notes when it moves a message to the dead letters by itself; the newest note.
fn death(properties: &BasicProperties) -> Option<&FieldTable> {
    let headers = properties.headers().as_ref()?.inner();
    let notes = headers.get("x-death")?.as_array()?;
    notes.as_slice().first()?.as_field_table()
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text_of(text.as_bytes())),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn text_of(bytes: &[u8]) -> String {
    cut(String::from_utf8_lossy(bytes).into_owned())
}

fn cut(mut text: String) -> String {
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const JOB: &[u8] =
        br#"{"type":"test-connection", "version":1, "orgId":"acme", "testId":"t-1"}"#;

    fn table<const N: usize>(members: [(&str, AMQPValue); N]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in members {
            table.insert(name.into(), value);
        }
        table
    }

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    /// As RabbitMQ 3.10 and 4 write it.
    fn killed() -> BasicProperties {
        let note = table([
            ("count", AMQPValue::LongLongInt(2)),
            ("exchange", long("audit-export")),
            ("queue", long("audit-export.export")),
            ("reason", long("delivery_limit")),
            (
                "routing-keys",
                AMQPValue::FieldArray(vec![long("export")].into()),
            ),
            ("time", AMQPValue::Timestamp(1_769_850_000)),
        ]);
        let notes: FieldArray = vec![AMQPValue::FieldTable(note)].into();
        let headers = table([("x-death", AMQPValue::FieldArray(notes))]);
        BasicProperties::default().with_headers(headers)
    }

    fn shown(properties: &BasicProperties, data: &[u8]) -> Value {
        serde_json::to_value(Letter::read("export", properties, data)).unwrap()
    }

    #[test]
    fn a_reason_is_the_workers_or_the_brokers_or_unknown() {
        let headers = table([(topology::REASON_HEADER, long("no organisation"))]);
        let ours = BasicProperties::default()
            .with_headers(headers)
            .with_timestamp(1_769_850_000);
        let job =
            json!({"type": "test-connection", "version": 1, "orgId": "acme", "testId": "t-1"});
        assert_eq!(
            shown(&ours, JOB),
            json!({"routingKey": "export", "reason": "no organisation",
                   "deadSince": "2026-01-31T09:00:00Z", "orgId": "acme", "id": "t-1", "body": job})
        );
        let told = shown(&killed(), JOB);
        assert_eq!(
            told["reason"],
            "delivery_limit (queue audit-export.export, count 2)"
        );
        assert_eq!(told["deadSince"], "2026-01-31T09:00:00Z");
        assert_eq!(
            shown(&BasicProperties::default(), b"3"),
            json!({"routingKey": "export", "reason": "unknown", "body": 3})
        );
    }

    #[test]
    fn any_body_is_shown_on_one_short_line() {
        let none = BasicProperties::default();
        assert_eq!(shown(&none, b"\xff\n")["body"], "\u{fffd}\n");
        assert_eq!(shown(&none, b"")["body"], "");
        let long = format!(r#"{{"orgId": "acme", "x": "{}"}}"#, "ü".repeat(5_000));
        let told = shown(&none, long.as_bytes());
        assert_eq!(told["orgId"], "acme");
        let body = told["body"].as_str().unwrap_or_default();
        assert!(body.ends_with("ü…") && body.len() <= SHOWN_BYTES + '…'.len_utf8());
        let id = "x".repeat(1_000_000);
        let told = shown(
            &none,
            json!({"orgId": id, "runId": id}).to_string().as_bytes(),
        );
        assert!(told.to_string().len() < 4 * SHOWN_BYTES, "{told}");
        let line = serde_json::to_string(&Letter::read("a\nb", &none, b"{\n}")).unwrap();
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn where_it_belongs_is_told_by_its_key_or_by_the_broker() {
        let origin = |key: &str, properties| origin(key, properties).map(|queue| queue.queue);
        let (none, killed) = (BasicProperties::default(), killed());
        let (export, test) = (topology::EXPORT.queue, topology::TEST_CONNECTION.queue);
        assert_eq!(origin("export", &none), Some(export));
        assert_eq!(origin("test-connection", &killed), Some(test));
        assert_eq!(origin(test, &none), Some(test));
        assert_eq!(origin("elsewhere", &killed), Some(export));
        assert_eq!(origin("elsewhere", &none), None);
    }

    proptest! {
        /// What lies in the queue is from anybody, as are its headers.
        #[test]
        fn any_letter_is_shown_on_one_short_line_and_is_nobody_elses(
            key in "\\PC{0,20}|export",
            data in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\{\"(orgId|runId|x)\": *(\"(acme|\\PC{0,9})\"|[0-9]{1,3})\\}".prop_map(String::into_bytes),
            ],
            reason in prop::collection::vec(any::<u8>(), 0..40),
            seconds in any::<u64>(),
        ) {
            let text = AMQPValue::LongString(reason.into());
            let note = table([("reason", text.clone()), ("time", AMQPValue::Timestamp(seconds))]);
            let notes: FieldArray = vec![AMQPValue::FieldTable(note)].into();
            for header in [("x-death", AMQPValue::FieldArray(notes)), (topology::REASON_HEADER, text)] {
                let properties = BasicProperties::default()
                    .with_headers(table([header]))
                    .with_timestamp(seconds);
                let letter = Letter::read(&key, &properties, &data);
                let line = serde_json::to_string(&letter).unwrap();
                prop_assert!(!line.contains('\n') && line.len() < 8 * SHOWN_BYTES, "{}", line);
                let named = serde_json::from_slice::<Value>(&data).is_ok_and(|job| job["orgId"] == "acme");
                prop_assert_eq!(letter.is_of("acme"), named);
                let _ = origin(&key, &properties);
            }
        }
    }
}
