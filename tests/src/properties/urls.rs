//! Paths and queries.

use api::fuzzing;
use axum::http::{HeaderValue, Uri};
use common::ids::{OrgId, RunId};

/// The input is a path, and a query: ids in a path are what stands there and nothing else; a list's
/// next page is asked for in the same way as the list.
pub fn urls(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    ids(text);
    pages(text);
}

/// The input stands once for the organisation and once for the run.
fn ids(text: &str) {
    let (acme, id) = ("acme", "0198c0de-0000-7000-8000-000000000001");
    for (org, run) in [(text, id), (acme, text)] {
        let Ok(url) = format!("/orgs/{org}/audit-export/runs/{run}").parse::<Uri>() else {
            continue;
        };
        let ids = fuzzing::ids(url);
        // These end a part of the path, so that anything may follow.
        if text.is_empty() || text.contains(['/', '?', '#']) {
            continue;
        }
        let (org_id, run_id) = ids.unwrap_or_else(|| panic!("no route for {text:?}"));
        // In a path that is not UTF-8 nothing is an id.
        let (org, run) = decoded(org).zip(decoded(run)).unwrap_or_default();
        assert_eq!(org_id, org.parse::<OrgId>().ok(), "{text:?}");
        let expected = uuid::Uuid::try_parse(&run).ok();
        assert_eq!(run_id.map(|id| id.0), expected, "{text:?}");
    }
}

fn pages(text: &str) {
    let last: RunId = "0198c0de-0000-7000-8000-000000000001".parse().unwrap();
    let path = "/orgs/acme/audit-export/runs";
    let Ok(list) = format!("{path}?{text}").parse::<Uri>() else {
        return;
    };
    let pairs = pairs(list.query().unwrap_or_default());
    let value = |name: &str| {
        pairs
            .iter()
            .find(|pair| pair.0 == name)
            .map(|pair| &*pair.1)
    };
    match fuzzing::next_page(&list, last) {
        Ok(link) => {
            let limit = value("limit").map_or(20, |limit| limit.parse().unwrap());
            assert!((1..=100).contains(&limit), "{link}");
            let status = value("status").map(|status| {
                assert!(["queued", "running", "succeeded", "failed"].contains(&status));
                format!("&status={status}")
            });
            let next = format!(
                "{path}?limit={limit}&before={last}{}",
                status.unwrap_or_default()
            );
            assert_eq!(link, format!("<{next}>; rel=\"next\""));
            assert!(HeaderValue::from_str(&link).is_ok());
            assert_eq!(
                fuzzing::next_page(&next.parse().unwrap(), last).unwrap(),
                link
            );
        }
        Err(error) => {
            assert_eq!(error.status_and_code().0.as_u16(), 422);
            let known = ["limit", "before", "status"];
            let asked: Vec<_> = pairs
                .iter()
                .filter(|pair| known.contains(&&*pair.0))
                .collect();
            assert!(!asked.is_empty(), "{list}: {error}");
        }
    }
}

/// The text that percent-encoded UTF-8 stands for.
fn decoded(text: &str) -> Option<String> {
    String::from_utf8(bytes_of(text)).ok()
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(16 * high + low).unwrap());
                &after[2..]
            }
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    bytes
}

/// As forms are read: what is not UTF-8 is replaced.
fn pairs(query: &str) -> Vec<(String, String)> {
    let text =
        |part: &str| String::from_utf8_lossy(&bytes_of(&part.replace('+', " "))).into_owned();
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
