//! From a caller's name to a directory's: SHA-256 in hexadecimal, so that no name, however odd, is ever a path.

use super::error::Error;
use hmac_sha256::Hash;
use std::fmt;

/// The longest id or holder's name in bytes: above what a command line takes, and nothing to fill a disk with.
const LONGEST: usize = 1 << 20;

/// Which workspace, or which holder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    /// The key of a name, which may be any text.
    pub(crate) fn of(name: &str) -> Result<Self, Error> {
        if name.len() > LONGEST {
            return Err(Error::invalid("a name", format!("it has {} bytes, {LONGEST} at most can be", name.len())));
        }
        let digest = Hash::hash(name.as_bytes());
        Ok(Self(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The key that a directory's name is, if it is one.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let is_key = name.len() == 64 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_key.then(|| Self(String::from_utf8_lossy(name).into_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The first two digits: which of the holders' locks is this one's.
    pub(crate) fn shard(&self) -> &str {
        &self.0[..2]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_sha256_and_nothing_else_is_one() {
        let empty = Key::of("").unwrap();
        assert_eq!(empty.as_str(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Key::parse(empty.as_str().as_bytes()), Some(empty.clone()));
        for other in ["", "limbo", "E3B0", &empty.as_str()[1..], &empty.as_str().to_uppercase()] {
            assert_eq!(Key::parse(other.as_bytes()), None, "{other}");
        }
        assert!(Key::of(&"x".repeat(LONGEST + 1)).is_err());
    }
}
