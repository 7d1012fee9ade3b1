use proptest::prelude::*;

use super::*;

fn org() -> OrgId {
    "acme".parse().unwrap()
}

fn array(json: &str) -> Result<Vec<EncodedEvent>, IngestError> {
    parse(json.as_bytes(), Format::Array, &org())
}

fn ndjson(lines: &str) -> Result<Vec<EncodedEvent>, IngestError> {
    parse(lines.as_bytes(), Format::Ndjson, &org())
}

/// The line as the database makes it.
fn line(event: &EncodedEvent) -> String {
    format!(
        "{{\"seq\":7,{},\"recordedAt\":\"2026-01-01T00:00:00Z\"{}",
        event.head, event.tail
    )
}

/// A good event with some members more, or other ones in place of its own.
fn event(members: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("id", r#""e1""#),
        ("occurredAt", r#""2026-01-31T23:59:59Z""#),
        ("action", r#""user.login""#),
        ("actor", r#"{"type":"user","id":"u1"}"#),
    ];
    for member in members {
        all.retain(|(name, _)| name != &member.0);
    }
    all.extend(members.iter().filter(|(_, value)| !value.is_empty()));
    let members: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn fault(event: &str) -> (Option<String>, String) {
    match array(&format!("[{event}]")) {
        Err(IngestError::InvalidEvent {
            index: 0,
            field,
            message,
        }) => {
            assert!(message.starts_with("event 0: "), "{message}");
            (field, message)
        }
        other => panic!("{event}: {other:?}"),
    }
}

#[test]
fn the_line_has_the_fixed_order_and_the_values_as_sent() {
    let sent = "{ \"metadata\": {\"b\": 1.0, \"a\": [1e400, -0, 12345678901234567890123], \"b\": \"\\u0041 \\/\"},
        \"context\": { \"userAgent\": \"a b\", \"location\": null },
        \"targets\": [ ],
        \"actor\": { \"id\": \"\\u0075 1\", \"type\": \"user\", \"name\": \"A  B\" },
        \"action\": \"user\\u002elogin\",
        \"occurredAt\": \"2026-02-01T00:59:59.10+01:00\",
        \"i\\u0064\": \"e\\u0031\" }";
    let events = array(&format!("[{sent}]")).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_id, "e1");
    assert_eq!(
        events[0].occurred_at,
        "2026-01-31T23:59:59.1Z".parse().unwrap()
    );
    assert_eq!(
        line(&events[0]),
        concat!(
            r#"{"seq":7,"id":"e\u0031","orgId":"acme","occurredAt":"2026-02-01T00:59:59.10+01:00","#,
            r#""recordedAt":"2026-01-01T00:00:00Z","action":"user\u002elogin","#,
            r#""actor":{"id":"\u0075 1","type":"user","name":"A  B"},"targets":[],"#,
            r#""context":{"userAgent":"a b","location":null},"#,
            r#""metadata":{"b":1.0,"a":[1e400,-0,12345678901234567890123],"b":"\u0041 \/"}}"#,
        ),
    );
}

#[test]
fn absent_stays_absent_and_null_stays_null() {
    let bare = array(&format!("[{}]", event(&[]))).unwrap();
    assert_eq!(
        bare[0].tail,
        r#","action":"user.login","actor":{"type":"user","id":"u1"}}"#
    );
    let nulls = event(&[
        ("targets", "null"),
        ("context", "null"),
        ("metadata", "null"),
    ]);
    let nulls = array(&format!("[{nulls}]")).unwrap();
    assert!(
        nulls[0]
            .tail
            .ends_with(r#","targets":null,"context":null,"metadata":null}"#)
    );
}

#[test]
fn both_formats_give_the_same_events() {
    let (first, second) = (event(&[("id", "\"a\"")]), event(&[("id", "\"b\"")]));
    let from_array = array(&format!(" [ {first} ,\n {second} ]\n")).unwrap();
    for lines in [
        format!("{first}\n{second}"),
        format!("{first}\n{second}\n"),
        format!("\n  \r\n{first}\r\n\n \t{second} \n\n"),
    ] {
        assert_eq!(ndjson(&lines).unwrap(), from_array);
    }
}

#[test]
fn rules_name_the_field() {
    let long = format!("\"{}\"", "x".repeat(257));
    let targets = |n: usize| format!("[{}]", vec![r#"{"type":"t","id":"i"}"#; n].join(","));
    let too_many_targets = targets(1_001);
    for (members, field, rule) in [
        (&[("id", "")][..], "id", "is missing"),
        (&[("occurredAt", "")], "occurredAt", "is missing"),
        (&[("action", "")], "action", "is missing"),
        (&[("actor", "")], "actor", "is missing"),
        (&[("id", "7")], "id", "must be a string"),
        (&[("id", "null")], "id", "must be a string"),
        (&[("id", "\" \"")], "id", "blank"),
        (&[("id", "\"\\u0020\\t\"")], "id", "blank"),
        (&[("id", &*long)], "id", "256"),
        (&[("id", "\"\\u0000\"")], "id", "U+0000"),
        (&[("action", "\"\"")], "action", "blank"),
        (&[("action", &*long)], "action", "256"),
        (
            &[("action", "\"audit_export.paused\"")],
            "action",
            "reserves",
        ),
        (
            &[("action", "\"\\u0061udit_export.x\"")],
            "action",
            "reserves",
        ),
        (&[("occurredAt", "\"yesterday\"")], "occurredAt", "RFC 3339"),
        (
            &[("occurredAt", "\"2026-01-31T23:59:59\"")],
            "occurredAt",
            "RFC 3339",
        ),
        (
            &[("occurredAt", "1769903999")],
            "occurredAt",
            "must be a string",
        ),
        (&[("actor", "\"u1\"")], "actor", "must be an object"),
        (&[("actor", "null")], "actor", "must be an object"),
        (&[("actor", "{\"id\":\"u1\"}")], "actor.type", "is missing"),
        (
            &[("actor", "{\"type\":\"user\"}")],
            "actor.id",
            "is missing",
        ),
        (
            &[("actor", "{\"type\":\"user\",\"id\":7}")],
            "actor.id",
            "must be a string",
        ),
        (
            &[("actor", "{\"type\":\"\",\"id\":\"7\"}")],
            "actor.type",
            "blank",
        ),
        (
            &[("actor", "{\"type\":\"a\",\"id\":\"7\",\"name\":7}")],
            "actor.name",
            "must be a string",
        ),
        (
            &[("actor", "{\"type\":\"a\",\"id\":\"7\",\"mail\":1}")],
            "actor.mail",
            "type, id, name",
        ),
        (
            &[("actor", "{\"type\":\"a\",\"id\":\"7\",\"\\u0069d\":\"8\"}")],
            "actor.id",
            "twice",
        ),
        (&[("targets", "{}")], "targets", "must be an array"),
        (
            &[(
                "targets",
                "[{\"type\":\"a\",\"id\":\"7\"},{\"type\":\"a\"}]",
            )],
            "targets[1].id",
            "is missing",
        ),
        (&[("targets", "[null]")], "targets[0]", "must be an object"),
        (&[("targets", &*too_many_targets)], "targets", "1000"),
        (&[("context", "[]")], "context", "must be an object"),
        (
            &[("context", "{\"ip\":\"::1\"}")],
            "context.ip",
            "location, userAgent",
        ),
        (
            &[("context", "{\"location\":1}")],
            "context.location",
            "must be a string",
        ),
        (&[("metadata", "[]")], "metadata", "must be an object"),
        (&[("metadata", "\"x\"")], "metadata", "must be an object"),
        (
            &[("metadata", "{\"a\":[\"\\ud800\"]}")],
            "metadata",
            "surrogate",
        ),
        (&[("metadata", "{\"\\u0000\":1}")], "metadata", "U+0000"),
        (&[("seq", "1")], "seq", "is not a field"),
        (&[("orgId", "\"other\"")], "orgId", "is not a field"),
        (
            &[("recordedAt", "\"2026-01-31T23:59:59Z\"")],
            "recordedAt",
            "is not a field",
        ),
        (&[("ID", "1")], "ID", "is not a field"),
        (&[("i\\u0064", "\"e2\"")], "id", "twice"),
    ] {
        let (at, message) = fault(&event(members));
        assert_eq!(at.as_deref(), Some(field), "{message}");
        assert!(
            message.starts_with(&format!("event 0: {field} ")) && message.contains(rule),
            "{message}"
        );
    }
    assert!(array(&format!("[{}]", event(&[("targets", &targets(1_000))]))).is_ok());
    assert_eq!(
        fault("{\"id\":\"1\",\"id\":\"2\"}").0.as_deref(),
        Some("id")
    );
    assert_eq!(fault("\"e1\"").0, None);
    let long_name = "n".repeat(500);
    assert!(fault(&event(&[(&long_name, "1")])).1.len() < 250);
}

#[test]
fn escaped_backslashes_are_no_nul() {
    assert!(
        array(&format!(
            "[{}]",
            event(&[("metadata", r#"{"a":"\\u0000"}"#)])
        ))
        .is_ok()
    );
}

#[test]
fn depth_counts_the_event_itself() {
    let metadata = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    assert!(
        array(&format!(
            "[{}]",
            event(&[("metadata", &metadata(MAX_DEPTH - 1))])
        ))
        .is_ok()
    );
    let (field, message) = fault(&event(&[("metadata", &metadata(MAX_DEPTH))]));
    assert_eq!(field.as_deref(), Some("metadata"));
    assert!(message.contains("too deeply"), "{message}");
    assert!(matches!(
        array(&"{\"a\":".repeat(100_000)),
        Err(IngestError::NotAnArray)
    ));
}

#[test]
fn size_is_counted_without_white_space() {
    let sized =
        |bytes: usize| event(&[("metadata", &format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)))]);
    let parsed = array(&format!("[{}]", sized(0))).unwrap();
    let rest = parsed[0].head.len() + parsed[0].tail.len();
    let largest = sized(MAX_EVENT_BYTES - rest);
    assert!(array(&format!("[{largest}]")).is_ok());
    assert!(
        array(&format!(
            "[{}]",
            largest.replacen(',', &format!(",{}", " ".repeat(1_000)), 1)
        ))
        .is_ok()
    );
    let (field, message) = fault(&sized(MAX_EVENT_BYTES - rest + 1));
    assert_eq!(field, None);
    assert!(message.contains("too large"), "{message}");
}

#[test]
fn the_index_is_the_events_own() {
    let bad = format!("[{},{},{{}}]", event(&[]), event(&[("id", "\"e2\"")]));
    assert!(matches!(
        array(&bad),
        Err(IngestError::InvalidEvent { index: 2, .. })
    ));
    let bad = format!("{}\n\n\n{{}}\n", event(&[]));
    assert!(matches!(
        ndjson(&bad),
        Err(IngestError::InvalidEvent { index: 1, .. })
    ));
}

#[test]
fn batches_are_bounded_on_both_sides() {
    assert_eq!(array("[]"), Err(IngestError::Empty));
    assert_eq!(ndjson(""), Err(IngestError::Empty));
    assert_eq!(ndjson("\n \r\n"), Err(IngestError::Empty));
    let lines = |n: usize| vec![event(&[]); n].join("\n");
    assert_eq!(ndjson(&lines(MAX_EVENTS)).unwrap().len(), MAX_EVENTS);
    assert_eq!(ndjson(&lines(MAX_EVENTS + 1)), Err(IngestError::TooMany));
    let too_many = format!("[{}]", vec![event(&[]); MAX_EVENTS + 1].join(","));
    assert_eq!(array(&too_many), Err(IngestError::TooMany));
}

#[test]
fn bad_json_names_the_place() {
    for (text, place) in [
        ("", "line 1, column 1"),
        ("[", "line 1, column 2"),
        ("[\n{\"id\": é}]", "line 2, column 8"),
        ("[] x", "line 1, column 4"),
    ] {
        let Err(IngestError::InvalidJson(message)) = array(text) else {
            panic!("{text}")
        };
        assert!(message.ends_with(place), "{message}");
    }
    let good = event(&[]);
    for (text, place) in [
        (format!("{good}\n\n{{]"), "line 3"),
        (format!("{good} {good}"), "line 1"),
        ("{\n\"id\":\"pretty printed\"}".to_owned(), "line 1"),
    ] {
        let Err(IngestError::InvalidJson(message)) = ndjson(&text) else {
            panic!("{text}")
        };
        assert!(message.starts_with(place), "{message}");
    }
    assert_eq!(array(&good), Err(IngestError::NotAnArray));
    assert!(
        ndjson(&format!("[{good}]"))
            .unwrap_err()
            .to_string()
            .contains("must be a JSON object")
    );
}

#[test]
fn only_utf8_is_taken() {
    let bad = |bytes: &[u8], format| parse(bytes, format, &org()).unwrap_err().to_string();
    assert!(bad(b"[\"\xff\"]", Format::Array).contains("offset 2"));
    assert!(bad(b"\n\n\xed\xa0\x80", Format::Ndjson).contains("line 3"));
}

#[test]
fn content_types() {
    for (text, format) in [
        ("application/json", Some(Format::Array)),
        ("application/json; charset=utf-8", Some(Format::Array)),
        ("Application/X-NDJSON", Some(Format::Ndjson)),
        ("application/ndjson", Some(Format::Ndjson)),
        ("text/plain", None),
        ("application/jsonl", None),
        ("", None),
    ] {
        assert_eq!(Format::from_content_type(text), format);
    }
}

proptest! {
    /// Whatever is taken is one line of JSON that says what was sent, and nothing else.
    #[test]
    fn taken_events_are_one_json_line(
        id in "[a-z\\\\\"\n é\u{1}]{1,12}",
        action in "[a-z.\u{2028}]{1,12}",
        metadata in prop::collection::btree_map("\\PC{0,6}", "[\\PC\n\\\\\"]{0,12}", 0..5),
        pretty in any::<bool>(),
    ) {
        prop_assume!(!id.trim().is_empty() && !action.trim().is_empty());
        let sent = serde_json::json!({
            "metadata": metadata, "id": id, "action": action, "occurredAt": "2026-01-31T23:59:59Z",
            "actor": {"name": id, "type": "user", "id": "1"},
        });
        let body = if pretty { serde_json::to_string_pretty(&sent) } else { serde_json::to_string(&sent) }.unwrap();
        let events = array(&format!("[{body}]")).unwrap();
        prop_assert_eq!(&events[0].event_id, &id);
        let line = line(&events[0]);
        prop_assert!(!line.contains('\n'));
        let mut stored: serde_json::Value = serde_json::from_str(&line).unwrap();
        let members = stored.as_object_mut().unwrap();
        prop_assert_eq!(members.remove("seq"), Some(7.into()));
        prop_assert_eq!(members.remove("orgId"), Some("acme".into()));
        prop_assert!(members.remove("recordedAt").is_some());
        prop_assert_eq!(stored, sent);
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[{\"idactor:,}\\] \n\\\\u0]{0,60}") {
        for format in [Format::Array, Format::Ndjson] {
            let _ = parse(&body, format, &org());
            let _ = parse(text.as_bytes(), format, &org());
        }
    }
}
