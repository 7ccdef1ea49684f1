//! What a caller asks for: a piece of code, its language, and what goes in with it.

use super::error::CodeError;
use super::time;
use pinfold_runner::Content;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A piece of code to be run. `null` is as good as absent, as Go writes what is empty; a field that is not known is an
/// error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRequest {
    /// The caller's name for it, which comes back in the result; it may be empty, and need not be unique.
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    /// The language, by any of its names.
    #[serde(default, deserialize_with = "or_default")]
    pub language: String,
    /// The code.
    #[serde(default, deserialize_with = "or_default")]
    pub code: String,
    /// What the program reads on stdin.
    #[serde(default, deserialize_with = "or_default")]
    pub stdin: Content,
    /// The program's arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// The program's environment, beside and before the configuration's.
    #[serde(default, deserialize_with = "or_default")]
    pub env_vars: BTreeMap<String, String>,
    /// Files beside the code, by their paths; folders are made.
    #[serde(default, deserialize_with = "or_default")]
    pub files: BTreeMap<String, Content>,
    /// How long it may run; the smaller of this and the configuration's counts.
    #[serde(default, deserialize_with = "time::optional", serialize_with = "time::optional_nanoseconds")]
    pub timeout: Option<Duration>,
}

impl CodeRequest {
    /// A request with nothing but code.
    pub fn new(language: impl Into<String>, code: impl Into<String>) -> Self {
        Self { language: language.into(), code: code.into(), ..Self::default() }
    }

    /// Reads a request as JSON.
    ///
    /// # Errors
    /// [`CodeError::InvalidArguments`].
    pub fn from_json(json: &[u8]) -> Result<Self, CodeError> {
        // An array would be taken for the fields in their order.
        if json.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(CodeError::InvalidArguments("a request is a JSON object".to_owned()));
        }
        serde_json::from_slice(json).map_err(|error| CodeError::InvalidArguments(error.to_string()))
    }
}

/// What is there, or the default for `null`.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<CodeRequest, CodeError> {
        CodeRequest::from_json(json.as_bytes())
    }

    #[test]
    fn durations_are_nanoseconds_or_text_and_nothing_means_none() {
        for (written, timeout) in [
            ("1500000000", Some(Duration::from_millis(1500))),
            ("\"30s\"", Some(Duration::from_secs(30))),
            ("\"250ms\"", Some(Duration::from_millis(250))),
            ("0", None),
            ("-5", None),
            ("null", None),
        ] {
            assert_eq!(read(&format!("{{\"timeout\": {written}}}")).unwrap().timeout, timeout, "{written}");
        }
        let request = CodeRequest { timeout: Some(Duration::from_secs(2)), ..CodeRequest::new("python", "1") };
        assert_eq!(serde_json::to_value(request).unwrap()["timeout"], 2_000_000_000_u64);
    }

    #[test]
    fn null_is_absent_and_what_is_unknown_is_refused_by_name() {
        let request =
            read(r#"{"language": "go", "code": "x", "stdin": null, "args": null, "files": null, "env_vars": null}"#);
        assert_eq!(request.unwrap(), CodeRequest::new("go", "x"));
        let refusal = read(r#"{"langauge": "go"}"#).unwrap_err().to_string();
        assert!(
            read("[]").is_err() && refusal.starts_with("invalid arguments: ") && refusal.contains("langauge"),
            "{refusal}"
        );
    }
}
