//! What a held sandbox is called: a name of the caller's choice, and an id that no other sandbox ever had.

use super::error::Error;
use crate::workspace::key::Key;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest name: what a host name may have, so that it can be one.
const LONGEST: usize = 63;

/// The name of a held sandbox: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The checked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its files in the runtime directory.
    pub(crate) fn key(&self) -> Result<Key, Error> {
        Key::of(&self.0).map_err(|error| Error::invalid(format!("the name `{self}`"), error.to_string()))
    }
}

impl TryFrom<String> for Name {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if plain && begins && text.len() <= LONGEST {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(2 * LONGEST).collect();
        let reason = format!("it must be 1 to {LONGEST} of A-Z a-z 0-9 . _ -, the first a letter or a digit");
        Err(Error::invalid(format!("the name `{}`", shown.escape_debug()), reason))
    }
}

impl TryFrom<&str> for Name {
    type Error = Error;
    fn try_from(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new id: 16 hexadecimal digits, which are a name too.
pub(crate) fn fresh_id() -> Result<String, Error> {
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| Error::io("make up an id", errno))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_63_plain_characters() {
        for good in ["a", "7", "a.b_c-D", &"x".repeat(63), &fresh_id().unwrap()] {
            assert_eq!(Name::try_from(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert_eq!(Name::try_from(bad).unwrap_err().code(), "invalid", "{bad:?}");
        }
    }
}
