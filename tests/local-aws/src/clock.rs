//! The server's clock, which a test may set forward or back, and what it says to requests that were
//! signed by another one.

use std::sync::atomic::{AtomicI64, Ordering};

use http::{HeaderMap, Uri};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz};

use crate::errors::Fault;
use crate::identity::query;

/// How far a request's time may be from the server's.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(15);
/// ISO 8601 as Signature Version 4 has it.
const AMZ_DATE: &str = "%Y%m%dT%H%M%SZ";

/// The system's clock plus an offset.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn set_offset(&self, offset: SignedDuration) {
        let ms = i64::try_from(offset.as_millis()).unwrap_or_default();
        self.offset_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed))
    }

    /// How a request's time differs from the server's, if by too much. A presigned URL may be old:
    /// s3s looks at how long it is good, by the system's clock.
    pub(crate) fn skew(&self, headers: &HeaderMap, uri: &Uri) -> Option<Skew> {
        let header = headers.get("x-amz-date").and_then(|one| one.to_str().ok());
        let (text, presigned) = match header {
            Some(text) => (text.to_owned(), false),
            None => (query(uri, "X-Amz-Date")?, true),
        };
        // What is not a time at all is for s3s to refuse.
        let signed = DateTime::strptime(AMZ_DATE, &text).ok()?;
        let signed = tz::offset(0).to_timestamp(signed).ok()?;
        let server = self.now();
        let ahead = signed.duration_since(server);
        let refused = ahead > TOLERANCE || (ahead < -TOLERANCE && !presigned);
        refused.then_some(Skew { signed, server })
    }
}

/// A request's time and the server's, which differ by too much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Skew {
    signed: Timestamp,
    server: Timestamp,
}

impl Skew {
    /// S3's refusal, and the members that it adds to the error document.
    pub(crate) fn s3_fault(self) -> (Fault, [(&'static str, String); 3]) {
        let fault = Fault {
            code: "RequestTimeTooSkewed".into(),
            message: "The difference between the request time and the current time is too large."
                .into(),
        };
        let details = [
            ("RequestTime", amz_date(self.signed)),
            (
                "ServerTime",
                self.server.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ),
            (
                "MaxAllowedSkewMilliseconds",
                TOLERANCE.as_millis().to_string(),
            ),
        ];
        (fault, details)
    }

    /// STS's refusal.
    pub(crate) fn sts_fault(self) -> Fault {
        let (signed, server) = (amz_date(self.signed), amz_date(self.server));
        let message = if self.signed < self.server {
            let limit = amz_date(self.server - TOLERANCE);
            format!("Signature expired: {signed} is now earlier than {limit} ({server} - 15 min.)")
        } else {
            let limit = amz_date(self.server + TOLERANCE);
            format!(
                "Signature not yet current: {signed} is still later than {limit} ({server} + 15 min.)"
            )
        };
        Fault {
            code: "SignatureDoesNotMatch".into(),
            message,
        }
    }
}

fn amz_date(time: Timestamp) -> String {
    time.strftime(AMZ_DATE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(clock: &Clock, minutes: i64, presigned: bool) -> Option<Skew> {
        let date = amz_date(Timestamp::now() + SignedDuration::from_mins(minutes));
        let mut headers = HeaderMap::new();
        let mut uri = "/b/k".to_owned();
        if presigned {
            uri += &format!("?X-Amz-Date={date}");
        } else {
            headers.insert("x-amz-date", date.parse().unwrap());
        }
        clock.skew(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn fifteen_minutes_are_tolerated_in_either_direction() {
        let clock = Clock::default();
        for (minutes, refused) in [
            (0, false),
            (14, false),
            (-14, false),
            (16, true),
            (-16, true),
        ] {
            assert_eq!(skew(&clock, minutes, false).is_some(), refused, "{minutes}");
        }
        assert!(skew(&clock, 16, true).is_some());
        assert!(skew(&clock, -600, true).is_none());
        assert!(
            clock
                .skew(&HeaderMap::new(), &"/b/k".parse().unwrap())
                .is_none()
        );

        clock.set_offset(SignedDuration::from_hours(-2));
        assert!(skew(&clock, 0, false).is_some());
        assert!(skew(&clock, -120, false).is_none());
    }

    #[test]
    fn sts_says_which_way() {
        let server: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let message = |hours| {
            let signed = server + SignedDuration::from_hours(hours);
            Skew { signed, server }.sts_fault().message
        };
        assert_eq!(
            message(-2),
            "Signature expired: 20260131T100000Z is now earlier than 20260131T114500Z \
             (20260131T120000Z - 15 min.)"
        );
        assert_eq!(
            message(2),
            "Signature not yet current: 20260131T140000Z is still later than 20260131T121500Z \
             (20260131T120000Z + 15 min.)"
        );
    }
}
