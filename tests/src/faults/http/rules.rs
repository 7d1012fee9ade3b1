//! What is done to which calls.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{Timestamp, fmt::rfc2822};

use super::{
    calls::{Call, Calls, Operation},
    wire::Message,
};

/// What can happen to a call, once it has arrived whole.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered instead of forwarded.
    Answer(Answer),
    /// The connection is reset before the request is forwarded.
    ResetBefore,
    /// Forwarded; it takes effect; then the connection is reset instead of the answer.
    LoseAnswer,
    /// Half of the request's body is forwarded, or half of its head if there is no body; then both
    /// connections are reset.
    CutRequest,
    /// Forwarded; half of the answer's body is sent, or half of its head if there is no body; then
    /// the connection is reset.
    CutAnswer,
    /// Forwarded after this long, even if the client has given up meanwhile.
    Delay(Duration),
    /// Never answered, never forwarded; the connection stays open until the client gives up.
    Hang,
    /// Forwarded and takes effect, but never answered.
    HangAfter,
}

/// An answer that the upstream did not give.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers. `Date` and `Content-Length` are added where they are not given.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

const REQUEST_ID: &str = "INJECTEDFAULT";
const MESSAGE: &str = "A fault that a test injected";

impl Answer {
    /// An error as S3 sends it.
    pub fn s3(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
             <Message>{MESSAGE}</Message><RequestId>{REQUEST_ID}</RequestId></Error>"
        );
        Self {
            status,
            headers: Vec::new(),
            body,
        }
        .header("content-type", "application/xml")
        .header("x-amz-request-id", REQUEST_ID)
    }

    /// An error as STS sends it.
    pub fn sts(status: u16, code: &str) -> Self {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code><Message>{MESSAGE}</Message></Error>\
             <RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
        );
        Self {
            status,
            headers: Vec::new(),
            body,
        }
        .header("content-type", "text/xml")
        .header("x-amzn-requestid", REQUEST_ID)
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// With a header, which replaces those of the same name.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        self.headers.push((name, value.into()));
        self
    }

    /// The answer to a request with this method.
    pub(super) fn message(&self, method: &str) -> Message {
        let mut head = format!("HTTP/1.1 {} \r\n", self.status);
        let mut add = |name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        for (name, value) in &self.headers {
            add(name, value);
        }
        let gives = |name: &str| {
            let mut names = self.headers.iter().map(|(name, _)| name);
            names.any(|given| given.eq_ignore_ascii_case(name))
        };
        if !gives("date") {
            let now =
                rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
            add("date", &now.unwrap());
        }
        if !gives("content-length") && self.status != 204 {
            add("content-length", &self.body.len().to_string());
        }
        head.push_str("\r\n");
        let body = match method {
            "HEAD" => "",
            _ => &self.body,
        };
        Message::new(head.into(), body.into())
    }
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When the whole of it had arrived.
    pub at: Instant,
    /// What it asked for.
    pub operation: Operation,
    /// In which bucket.
    pub bucket: Option<String>,
    /// Of which object.
    pub key: Option<String>,
    /// Which role it wanted to assume.
    pub role_arn: Option<String>,
    /// Whether a fault hit it.
    pub hit: bool,
}

/// A rule that was injected. It stays when this is dropped.
#[derive(Debug)]
pub struct Injected(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    hits: AtomicUsize,
    lifted: AtomicBool,
}

impl Injected {
    /// How many calls it has hit.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Ends it: calls from now on are not hit.
    pub fn lift(&self) {
        self.0.lifted.store(true, Ordering::SeqCst);
    }
}

/// The rules, and what became of the calls.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Rule {
    calls: Calls,
    fault: Fault,
    matched: usize,
    progress: Arc<Progress>,
}

impl Rules {
    pub(super) fn add(&self, calls: Calls, fault: Fault) -> Injected {
        let progress = Arc::<Progress>::default();
        self.0.lock().unwrap().rules.push(Rule {
            calls,
            fault,
            matched: 0,
            progress: progress.clone(),
        });
        Injected(progress)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    /// What is to happen to a call; `None`: it passes.
    pub(super) fn decide(&self, call: Call) -> Option<Fault> {
        let mut book = self.0.lock().unwrap();
        let Book { rules, seen } = &mut *book;
        let mut fault = None;
        // All of them count the call, whichever decides.
        for rule in rules {
            if rule.counts(&call) && fault.is_none() && rule.hits_left() {
                rule.progress.hits.fetch_add(1, Ordering::SeqCst);
                fault = Some(rule.fault.clone());
            }
        }
        seen.push(Seen {
            at: Instant::now(),
            operation: call.operation,
            bucket: call.bucket,
            key: call.key,
            role_arn: call.role_arn,
            hit: fault.is_some(),
        });
        fault
    }
}

impl Rule {
    /// Whether the rule is for this call, which does not pass as one of the first.
    fn counts(&mut self, call: &Call) -> bool {
        let matches = self.calls.match_call(call);
        self.matched += usize::from(matches);
        matches && self.matched > self.calls.skip
    }

    fn hits_left(&self) -> bool {
        let hits = self.progress.hits.load(Ordering::SeqCst);
        !self.progress.lifted.load(Ordering::SeqCst)
            && self.calls.limit.is_none_or(|limit| hits < limit)
    }
}
