use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

const LEVELS: usize = 32;

fn compact(json: &str) -> Result<String, ScanError> {
    let mut scanner = Scanner::new(json);
    scanner.skip_spaces();
    let span = scanner.value(LEVELS)?;
    if !scanner.at_end() {
        return scanner.syntax("the end");
    }
    let mut out = String::new();
    scanner.append_compact(span, &mut out);
    Ok(out)
}

#[test]
fn values_stay_as_sent() {
    for json in [
        r#"1.0"#,
        "1e400",
        "-0",
        "-0.0E-0",
        "12345678901234567890123",
        r#""A\/\\u0000 é \ud83d\ude00 \"  x""#,
        r#"{"b":1,"a":2,"b":3}"#,
        "[]",
        "{}",
        "[null,true,false]",
        r#""\\""#,
    ] {
        assert_eq!(compact(json).unwrap(), json);
    }
}

#[test]
fn only_space_between_tokens_goes() {
    for (json, out) in [
        (" [ 1 , 2 ] ", "[1,2]"),
        (
            "{ \"a b\" :\t\"c\\\" d\" ,\r\n\"e\\\\\" : { } }",
            "{\"a b\":\"c\\\" d\",\"e\\\\\":{}}",
        ),
        ("[[ ],{}]", "[[],{}]"),
    ] {
        assert_eq!(compact(json).unwrap(), out);
    }
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for json in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "-",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "tru",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "\"a",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "'a'",
        "[1]]",
        "// c\n1",
        "\u{feff}1",
        "\"\\",
        "\"\\ud800\\u",
        "\0",
    ] {
        assert!(
            matches!(compact(json), Err(ScanError::Syntax { .. })),
            "{json}"
        );
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    for json in [
        r#""\u0000""#,
        r#"{"\u0000":1}"#,
        r#""\\\u0000""#,
        r#""\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\ud800\ud800""#,
        r#""\udc00""#,
        r#""\uDFFF\uD800""#,
    ] {
        assert!(
            matches!(compact(json), Err(ScanError::Refused(_))),
            "{json}"
        );
    }
    for json in [
        r#""\\u0000""#,
        r#""\\\\u0000""#,
        r#""\u0001""#,
        r#""\uD83D\uDE00""#,
    ] {
        assert_eq!(compact(json).unwrap(), json);
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(compact(&nested(LEVELS)).is_ok());
    assert!(matches!(
        compact(&nested(LEVELS + 1)),
        Err(ScanError::Refused(_))
    ));
    assert!(matches!(
        compact(&"[".repeat(1_000_000)),
        Err(ScanError::Refused(_))
    ));
    assert!(matches!(
        compact(&"{\"a\":".repeat(1_000_000)),
        Err(ScanError::Refused(_))
    ));
}

#[test]
fn unescaping() {
    assert!(matches!(unescape(r#""plain é""#), Cow::Borrowed("plain é")));
    assert_eq!(unescape(r#""\u0061\/\n\ud83d\ude00""#), "a/\n😀");
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
        "[\"\\\\/ \\t\\n\u{1}é😀]*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[\"\\\\a-c ]*", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn pretty_printed_json_is_compacted(value in json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let plain = serde_json::to_string(&value).unwrap();
        prop_assume!(!plain.contains("\\u0000"));
        prop_assert_eq!(compact(&pretty).unwrap(), plain.clone());
        prop_assert_eq!(compact(&plain).unwrap(), plain);
    }

    #[test]
    fn accepts_what_another_parser_accepts(json in "[\\[\\]{}\",:0-9eE.+\\- \\\\ua-ftrlns]{0,24}") {
        let theirs = serde_json::from_str::<&RawValue>(&json).is_ok();
        match compact(&json) {
            Ok(out) => {
                prop_assert!(theirs);
                prop_assert_eq!(compact(&out).unwrap(), out);
            }
            Err(ScanError::Syntax { .. }) => prop_assert!(!theirs),
            Err(ScanError::Refused(_)) => {}
        }
    }

    #[test]
    fn broken_json_never_panics(value in json(), cut in any::<prop::sample::Index>(), junk in "\\PC{0,3}") {
        let text = serde_json::to_string(&value).unwrap();
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) { at -= 1; }
        let broken = format!("{}{junk}{}", &text[..at], &text[at..]);
        let _ = compact(&broken);
        let _ = compact(&text[..at]);
    }
}
