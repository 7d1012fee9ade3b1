//! RFC 3339, read apart from the code that is looked at.

/// The last second that the services know: 9999-12-30T22:00:00Z.
const LAST_SECOND: i64 = 253_402_207_200;

/// A time in nanoseconds since 1970.
pub(super) fn rfc3339(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |n, d| 10 * n + i64::from(d - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));

    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separators = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    let in_range = (1..=days).contains(&day) && hour <= 23 && minute <= 59 && second <= 60;
    if !separators || !in_range {
        return None;
    }

    let mut at = 19;
    let mut nanoseconds = 0;
    if is(at, b".") {
        let digits = bytes[at + 1..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        at += 1 + digits;
        nanoseconds = number(20, at)? * 10_i64.pow(9 - u32::try_from(digits).unwrap());
    }
    let offset = if is(at, b"Zz") {
        at += 1;
        0
    } else {
        let sign = match bytes.get(at)? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
        if !is(at + 3, b":") || hours > 23 || minutes > 59 {
            return None;
        }
        at += 6;
        sign * (hours * 3600 + minutes * 60)
    };
    if at != bytes.len() {
        return None;
    }
    // A leap second is taken for the one before it.
    let of_day = hour * 3600 + minute * 60 + second.min(59) - offset;
    let seconds = days_since_1970(year, month, day) * 86_400 + of_day;
    let known = seconds <= LAST_SECOND;
    known.then(|| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
}

/// Of a date in the Gregorian calendar, whose years here begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let seconds = |text: &str| rfc3339(text).map(|time| time / 1_000_000_000);
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-03-01T00:00:00+00:00"), Some(951_868_800));
        assert_eq!(seconds("2026-01-31T10:00:00+01:00"), Some(1_769_850_000));
        assert_eq!(seconds("2023-02-29T00:00:00Z"), None);
        assert_eq!(rfc3339("1970-01-01T00:00:00.000000001Z"), Some(1));
    }
}
