//! Times as RFC 3339 writes them, and no other way.

use jiff::Timestamp;

/// Reads `2026-01-31T23:59:59.123456789+01:00`.
///
/// jiff's own parser also takes ISO 8601 forms, bracketed zone names and other liberties, which the
/// readers of the bucket could not be expected to know; so the shape is checked here.
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    has_rfc3339_shape(text.as_bytes())
        .then(|| text.parse().ok())
        .flatten()
}

fn has_rfc3339_shape(text: &[u8]) -> bool {
    const DATE_TIME: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    const OFFSET: &[u8] = b"+dd:dd";
    const MAX_FRACTION_DIGITS: usize = 9;
    let matches = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(&byte, &shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't'),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let Some((date_time, rest)) = text.split_at_checked(DATE_TIME.len()) else {
        return false;
    };
    let offset = match rest.split_first() {
        Some((b'.', rest)) => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=MAX_FRACTION_DIGITS).contains(&digits) {
                return false;
            }
            &rest[digits..]
        }
        _ => rest,
    };
    // jiff also takes offsets of a day and more.
    let in_range =
        |offset: &[u8]| &offset[1..3] <= b"23".as_slice() && &offset[4..6] <= b"59".as_slice();
    let is_offset = matches!(offset, b"Z" | b"z") || matches(offset, OFFSET) && in_range(offset);
    matches(date_time, DATE_TIME) && is_offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_times() {
        for (text, utc) in [
            ("2026-01-31T23:59:59Z", "2026-01-31T23:59:59Z"),
            ("2026-01-31t23:59:59z", "2026-01-31T23:59:59Z"),
            (
                "2026-01-31T23:59:59.123456789Z",
                "2026-01-31T23:59:59.123456789Z",
            ),
            ("2026-02-01T00:59:59+01:00", "2026-01-31T23:59:59Z"),
            ("2026-01-31T18:29:59-05:30", "2026-01-31T23:59:59Z"),
            ("2026-01-31T23:59:59-00:00", "2026-01-31T23:59:59Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2024-02-29T00:00:00.0+00:00", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(
                rfc3339(text).map(|t| t.to_string()),
                Some(utc.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T23:59:59",
            "2026-01-31 23:59:59Z",
            "2026-01-31T23:59Z",
            "20260131T235959Z",
            "2026-1-31T23:59:59Z",
            "2026-01-31T23:59:59,5Z",
            "2026-01-31T23:59:59.Z",
            "2026-01-31T23:59:59.1234567891Z",
            "2026-01-31T23:59:59+0100",
            "2026-01-31T23:59:59+01",
            "2026-01-31T23:59:59+01:00[Europe/Paris]",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "+002026-01-31T23:59:59Z",
            " 2026-01-31T23:59:59Z",
            "2026-01-31T23:59:59Z ",
            "1769903999",
            "now",
            "2026-01-31T23:59:59+99:99",
            "2026-01-31T23:59:59+24:00",
            "2026-01-31T23:59:59-25:59",
            "2026-01-31T23:59:59+01:60",
            "２026-01-31T23:59:59Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
