//! Durations as JSON and TOML have them: a number of nanoseconds, as Go writes them, or text such as `30s`.

use crate::duration::parse_duration;
use serde::{Deserialize, Deserializer, Serializer};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Nanoseconds(i64),
    Text(String),
}

fn understood<E: serde::de::Error>(written: Written) -> Result<Duration, E> {
    match written {
        // What is negative means nothing, as zero does.
        Written::Nanoseconds(nanoseconds) => Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))),
        Written::Text(text) => parse_duration(&text).map_err(E::custom),
    }
}

/// A duration, of which zero and null are as good as none.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let written = Option::<Written>::deserialize(deserializer)?;
    Ok(written.map(understood).transpose()?.filter(|duration| !duration.is_zero()))
}

/// A duration as text alone.
pub(super) fn text_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Writes nanoseconds.
pub(super) fn nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Writes nanoseconds, or nothing.
pub(super) fn optional_nanoseconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => nanoseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
