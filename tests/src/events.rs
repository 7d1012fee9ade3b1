//! Audit events in endless variety, and the line that each of them has to become.

use std::{fmt::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::offset};

const ACTIONS: [&str; 8] = [
    "user.login",
    "user.login_failed",
    "document.read",
    "document.shared",
    "role.granted",
    "apikey.created",
    "Invoice/Exported",
    "ärger.gemeldet",
];
const NAMES: [&str; 8] = [
    r#""Ada Lovelace""#,
    r#""Grüße, 世界 😀""#,
    r#""O'Brien \"Bob\" \\ Söhne""#,
    r#""Ren\u00e9e\tand\nfriends""#,
    r#""\ud83d\ude00 \/ escaped""#,
    r#""<script>alert('x')</script>""#,
    r#""line\u2028separator\u0001""#,
    r#""""#,
];
/// Values that readers of JSON like to change.
const VALUES: [&str; 20] = [
    "1.0",
    "1e400",
    "-1E-400",
    "-0",
    "-0.0",
    "0.10",
    "123456789012345678901234567890",
    "9007199254740993",
    "3.141592653589793238462643383279",
    "1E+2",
    "true",
    "null",
    "[]",
    "{}",
    r#"[1,"two",[3.00,{"four":[]}]]"#,
    r#"{"z":1,"a":{"m":[null,false],"":0},"z2":"\u00fc"}"#,
    r#""plain""#,
    r#""\\u0000 is no NUL""#,
    r#""\u001f\b\f""#,
    r#""2026-01-01""#,
];

/// An event, as it is sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id.
    pub id: String,
    occurred_at: String,
    /// What follows, from the comma after `occurredAt` to the end.
    rest: Arc<str>,
}

impl Event {
    /// The event as JSON, without white space.
    pub fn json(&self) -> String {
        let Self {
            id,
            occurred_at,
            rest,
        } = self;
        format!(r#"{{"id":"{id}","occurredAt":"{occurred_at}"{rest}"#)
    }

    /// The line that it becomes in the bucket.
    pub fn line(&self, org: &str, seq: i64, recorded_at: &str) -> String {
        let Self {
            id,
            occurred_at,
            rest,
        } = self;
        format!(
            r#"{{"seq":{seq},"id":"{id}","orgId":"{org}","occurredAt":"{occurred_at}","recordedAt":"{recorded_at}"{rest}"#
        )
    }

    /// The same under another id.
    pub fn with_id(&self, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { id, ..self.clone() }
    }
}

/// Events that are sent one a line.
pub fn ndjson(events: &[Event]) -> String {
    events.iter().map(|event| event.json() + "\n").collect()
}

/// Events without end, the same ones for the same seed.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    random: u64,
    count: u64,
    time: Timestamp,
    bytes: usize,
}

impl Generator {
    /// The events of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: seed,
            count: 0,
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            bytes: 0,
        }
    }

    /// Makes each about this large at least, in bytes, with text that hardly compresses.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random() % n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len() as u64);
        all[usize::try_from(at).unwrap()]
    }

    /// Sometimes nothing.
    fn maybe(&mut self, text: impl FnOnce(&mut Self) -> String) -> String {
        match self.below(4) {
            0 => String::new(),
            _ => text(self),
        }
    }

    fn party(&mut self, kinds: &[&str]) -> String {
        let kind = self.one_of(kinds);
        let id = self.random() >> 20;
        let name = self.maybe(|g| format!(r#","name":{}"#, g.one_of(&NAMES)));
        format!(r#"{{"type":"{kind}","id":"{kind}-{id:x}"{name}}}"#)
    }

    fn rest(&mut self) -> String {
        let mut rest = format!(r#","action":"{}""#, self.one_of(&ACTIONS));
        let actor = self.party(&["user", "service", "apiKey"]);
        write!(rest, r#","actor":{actor}"#).unwrap();
        rest += &self.maybe(|g| {
            let targets: Vec<_> = (0..g.below(4)).map(|_| g.party(&["doc", "user"])).collect();
            format!(r#","targets":[{}]"#, targets.join(","))
        });
        rest += &self.maybe(|g| match g.below(3) {
            0 => r#","context":{}"#.into(),
            1 => r#","context":{"location":"192.0.2.7"}"#.into(),
            _ => r#","context":{"location":"2001:db8::1","userAgent":"Mozilla/5.0 (X11; \"x\")"}"#
                .into(),
        });
        let padding = self.bytes.saturating_sub(rest.len() + 100);
        if padding > 0 || self.below(4) > 0 {
            let mut members: Vec<_> = (0..self.below(5))
                .map(|n| format!(r#""key{n}":{}"#, self.one_of(&VALUES)))
                .collect();
            if padding > 0 {
                let noise: String = (0..padding / 16)
                    .map(|_| format!("{:016x}", self.random()))
                    .collect();
                members.push(format!(r#""noise":"{noise}""#));
            }
            write!(rest, r#","metadata":{{{}}}"#, members.join(",")).unwrap();
        }
        rest + "}"
    }

    fn time(&mut self) -> String {
        let step = i64::try_from(self.below(5_000)).unwrap();
        self.time += SignedDuration::from_micros(1 + step * 777);
        match self.below(5) {
            0 => {
                let there = offset(2).to_datetime(self.time);
                there.strftime("%Y-%m-%dT%H:%M:%S%.6f+02:00").to_string()
            }
            _ => self.time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        }
    }
}

impl Iterator for Generator {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.count += 1;
        Some(Event {
            id: format!("evt-{:x}-{:08}", self.seed, self.count),
            occurred_at: self.time(),
            rest: self.rest().into(),
        })
    }
}

/// Events whose text compresses to five sixths at best, each of about this many bytes: the fewest
/// bytes of text that make an object of so many compressed ones.
pub fn noise_events(seed: u64, count: usize, bytes: usize) -> Vec<Event> {
    let mut random = Generator::new(seed);
    let plain: Vec<char> = (' '..='~').filter(|c| !['"', '\\'].contains(c)).collect();
    let choices = plain.len() as u64;
    let mut noise = || {
        let mut text = String::with_capacity(bytes);
        while text.len() < bytes {
            // A number of 64 bits holds nine choices of 93.
            let mut number = random.random();
            for _ in 0..9 {
                text.push(plain[usize::try_from(number % choices).unwrap()]);
                number /= choices;
            }
        }
        text
    };
    (1..=count)
        .map(|n| Event {
            id: format!("noise-{seed:x}-{n:06}"),
            occurred_at: "2026-01-31T09:00:00Z".into(),
            rest: format!(
                r#","action":"document.read","actor":{{"type":"user","id":"u-17"}},"metadata":{{"noise":"{}"}}}}"#,
                noise()
            )
            .into(),
        })
        .collect()
}

/// The first events of a seed.
pub fn events(seed: u64, count: usize) -> Vec<Event> {
    Generator::new(seed).take(count).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn events_are_json_and_repeat_by_seed() {
        let once = events(7, 500);
        assert!(
            once.iter()
                .all(|e| serde_json::from_str::<&RawValue>(&e.json()).is_ok())
        );
        let text = ndjson(&once);
        assert_eq!(text, ndjson(&events(7, 500)));
        assert_ne!(text, ndjson(&events(8, 500)));
        for value in [
            "1.0",
            "1e400",
            "123456789012345678901234567890",
            "[]",
            r"\u00e9",
        ] {
            assert!(text.contains(value), "{value}");
        }
        let noise = noise_events(7, 3, 2_000);
        assert!(
            noise
                .iter()
                .all(|e| serde_json::from_str::<&RawValue>(&e.json()).is_ok())
        );
        let large = Generator::new(7).bytes(1_500).take(50);
        assert!(
            large
                .into_iter()
                .all(|e| (1_300..2_200).contains(&e.json().len()))
        );
    }
}
