//! Times as people write them on a command line: `500ms`, `10s`, `2m`. The type is std's `Duration`; only its text is ours.

use crate::quantity::{InvalidText, multiply, split_unit};
use pinfold_runner::Limit;
use std::time::Duration;

/// Reads a time: `500ms`, `10s`, `2m`, `1.5h`, `1d`. A plain number is seconds, as in timeout(1). Exact to the
/// microsecond; parts of one round up.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(pinfold::parse_duration("1.5s")?, Duration::from_millis(1500));
/// assert_eq!(pinfold::parse_duration("10")?, Duration::from_secs(10));
/// # Ok::<(), pinfold::InvalidText>(())
/// ```
///
/// # Errors
/// When `text` is no such time.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidText> {
    let (number, unit) = split_unit(text);
    let microseconds = match unit {
        "us" => Some(1),
        "ms" => Some(1_000),
        "" | "s" => Some(1_000_000),
        "m" | "min" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    };
    microseconds
        .and_then(|unit| multiply(number, unit))
        .map(Duration::from_micros)
        .ok_or_else(|| InvalidText::new(text, "a time in seconds, or with one of ms s m h d, such as 500ms or 2m"))
}

/// Reads a time or `max`, which lifts the limit.
///
/// # Errors
/// When `text` is neither.
pub fn parse_duration_limit(text: &str) -> Result<Limit<Duration>, InvalidText> {
    match text {
        "max" => Ok(Limit::Max),
        _ => parse_duration(text).map(Limit::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_a_plain_number_is_seconds() {
        for (text, milliseconds) in [
            ("0", 0),
            ("10", 10_000),
            ("500ms", 500),
            ("10s", 10_000),
            ("0.25s", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "-1s", "1 s", "1S", "1w", "1e3", "max", "inf", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn max_lifts_a_limit() {
        assert_eq!(parse_duration_limit("max"), Ok(Limit::Max));
    }
}
