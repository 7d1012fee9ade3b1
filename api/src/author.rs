//! What an organisation's audit log says of who changed something, and from where.

use std::net::IpAddr;

use axum::http::{HeaderMap, header::USER_AGENT, request::Parts};
use common::db::system_events::Author;

use crate::auth::Caller;

/// Where proxies tell, in order, for whom they ask: the client first, each proxy's own peer last.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// How much of a client's `User-Agent` is kept, in characters.
const MAX_USER_AGENT: usize = 256;
/// Who it is where the token does not say.
const UNNAMED: &str = "unnamed";

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Whoever sent this request, through so many proxies that tell the truth.
pub fn author(caller: &Caller, parts: &Parts, proxies: usize) -> Author {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let address = forwarded(&parts.headers, proxies).or(peer);
    let address = address.map(|address| address.to_string());
    let agent = parts.headers.get(USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    let agent = agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect::<String>());
    Author::user(
        caller.subject().unwrap_or(UNNAMED),
        address.as_deref(),
        agent.as_deref(),
    )
}

/// The address that the outermost of our own proxies saw. What stands before it was sent by the client,
/// who may have made it up.
pub(crate) fn forwarded(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    // Bytes, since an entry that is no text counts, too: the client's could otherwise take the place
    // of one that our proxy has added to the same line.
    let told: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    let at = told.len().checked_sub(proxies)?;
    let entry = std::str::from_utf8(told.get(at)?).ok()?;
    entry.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_our_own_proxies_say_is_believed() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded(&headers, 1), None);
        headers.append(FORWARDED_FOR, HeaderValue::from_static("1.1.1.1, 2.2.2.2"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("2001:db8::3"));
        let seen = |proxies| forwarded(&headers, proxies).map(|address| address.to_string());
        assert_eq!(seen(0), None);
        assert_eq!(seen(1).as_deref(), Some("2001:db8::3"));
        assert_eq!(seen(2).as_deref(), Some("2.2.2.2"));
        assert_eq!(seen(3).as_deref(), Some("1.1.1.1"));
        assert_eq!(seen(4), None);
    }

    #[test]
    fn what_is_no_text_takes_nobodys_place() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("6.6.6.6"));
        let line = HeaderValue::from_bytes(b"\xff, 2.2.2.2").unwrap();
        headers.append(FORWARDED_FOR, line);
        let seen = |proxies| forwarded(&headers, proxies).map(|address| address.to_string());
        assert_eq!(seen(1).as_deref(), Some("2.2.2.2"));
        assert_eq!(seen(2), None);
        assert_eq!(seen(3).as_deref(), Some("6.6.6.6"));
    }
}
