//! Headers: what a write asks of the stored version, and for whom proxies ask.

use std::net::IpAddr;

use api::fuzzing;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use uuid::Uuid;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The inside of the stored version's ETag.
const STORED: &str = "0198c0de-0000-7000-8000-000000000001.3";

/// The lines are values of one header, sent by the client. Of `If-Match` and `If-None-Match` they mean
/// what RFC 9110 says; before what our own proxies add to `X-Forwarded-For`, they mean nothing.
pub fn headers(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    let Ok(lines) = lines
        .map(HeaderValue::from_bytes)
        .collect::<Result<Vec<_>, _>>()
    else {
        return;
    };
    preconditions(&lines);
    forwarded(&lines);
}

fn preconditions(lines: &[HeaderValue]) {
    let (id, revision) = STORED.split_once('.').unwrap();
    let stored = (
        id.parse::<Uuid>().unwrap(),
        revision.parse::<i64>().unwrap(),
    );
    let tags = tags(lines);
    for there in [Some(stored), None] {
        let expected = |header: HeaderName, passes: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header.clone(), line.clone());
            }
            let answer = fuzzing::preconditions(&headers, there);
            let code = answer.map_or_else(|error| error.status_and_code().0.as_u16(), |()| 204);
            let expected = match (&tags, passes) {
                (None, _) => 422,
                (Some(_), true) => 204,
                (Some(_), false) => 412,
            };
            assert_eq!(code, expected, "{headers:?}");
        };
        let named = |strong: bool| match &tags {
            Some(Tags::Any) => true,
            Some(Tags::These(tags)) => tags
                .iter()
                .any(|tag| tag.opaque == STORED && !(strong && tag.weak)),
            None => false,
        };
        expected(IF_MATCH, there.is_some() && named(true));
        expected(IF_NONE_MATCH, there.is_none() || !named(false));
    }
}

enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Default)]
struct Tag {
    weak: bool,
    opaque: String,
}

/// <https://www.rfc-editor.org/rfc/rfc9110#name-if-match>, read byte by byte: several lines are one
/// list, which may hold empty elements, but not those alone.
fn tags(lines: &[HeaderValue]) -> Option<Tags> {
    let lines: Result<Vec<_>, _> = lines.iter().map(HeaderValue::to_str).collect();
    let list = lines.ok()?.join(",");
    let mut elements = vec![String::new()];
    let mut quoted = false;
    for character in list.chars() {
        quoted ^= character == '"';
        match elements.last_mut() {
            Some(element) if quoted || character != ',' => element.push(character),
            _ => elements.push(String::new()),
        }
    }
    let elements = elements
        .iter()
        .map(|element| element.trim_matches([' ', '\t']));
    let elements: Vec<_> = elements.filter(|element| !element.is_empty()).collect();
    if elements == ["*"] && list.trim_matches([' ', '\t']) == "*" {
        return Some(Tags::Any);
    }
    let tag = |element: &&str| {
        let strong = element.strip_prefix("W/");
        let opaque = strong
            .unwrap_or(element)
            .strip_prefix('"')?
            .strip_suffix('"')?;
        (!opaque.contains('"')).then(|| Tag {
            weak: strong.is_some(),
            opaque: opaque.to_owned(),
        })
    };
    let tags: Vec<_> = elements.iter().map(tag).collect::<Option<_>>()?;
    (!tags.is_empty()).then_some(Tags::These(tags))
}

fn forwarded(lines: &[HeaderValue]) {
    let proxies: [IpAddr; 2] = [
        "198.51.100.7".parse().unwrap(),
        "2001:db8::9".parse().unwrap(),
    ];
    // Each proxy adds a line, or adds to the last one.
    for by_line in [true, false] {
        let mut told: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        for proxy in proxies {
            match told.last_mut() {
                Some(last) if !by_line => last.extend(format!(", {proxy}").as_bytes()),
                _ => told.push(proxy.to_string().into_bytes()),
            }
        }
        let mut headers = HeaderMap::new();
        for line in told {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(&line).unwrap());
        }
        for (count, first) in [(1, proxies[1]), (2, proxies[0])] {
            assert_eq!(
                fuzzing::forwarded(&headers, count),
                Some(first),
                "{headers:?}"
            );
        }
        assert_eq!(fuzzing::forwarded(&headers, 0), None);
    }
}
