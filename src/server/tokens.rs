//! Who may ask: tokens, and whose they are. A token is compared by its digest and in constant time, with every one that there
//! is, so that time tells nothing of which comes near.

use hmac_sha256::Hash;
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The owner of the token that is made at the first start.
const FIRST: &str = "default";
/// The shortest token that may be chosen: less can be guessed.
const SHORTEST: usize = 16;
/// More of a file is not read.
const LARGEST: u64 = 1 << 20;

/// All tokens, as digests, each with the number of its owner.
#[derive(Debug)]
pub(super) struct Tokens {
    digests: Vec<([u8; 32], u32)>,
    owners: Vec<String>,
}

impl Tokens {
    /// Those of a file of the operator's.
    ///
    /// # Errors
    /// In words.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let told = |reason: String| format!("the token file `{}`: {reason}", path.display());
        let file = File::open(path).map_err(|error| told(error.to_string()))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| told(errno.to_string()))?;
        let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&stat.st_uid);
        if !is_ours || stat.st_mode & 0o077 != 0 {
            return Err(told("it must belong to you, and nobody else may read it (mode 0600)".to_owned()));
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).map_err(|error| told(error.to_string()))?;
        Self::parse(&text).map_err(told)
    }

    /// Those of the file in the state directory, which is made with a fresh token if it is absent.
    ///
    /// # Errors
    /// In words.
    pub(super) fn first(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            let told = |reason: String| format!("failed to make the token file `{}`: {reason}", path.display());
            make(path).map_err(|error| told(error.to_string()))?;
        }
        Self::read(path)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let (mut digests, mut owners) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |reason: &str| Err(format!("line {}: {reason}", index + 1));
            let Some((owner, token)) = line.split_once(char::is_whitespace) else {
                return refused("it is `NAME TOKEN`");
            };
            let token = token.trim_start();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
            if owner.is_empty() || owner.len() > 20 || !owner.bytes().all(plain) {
                return refused("a name has 1 to 20 of a-z 0-9 _ -");
            }
            if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return refused("a token has at least 16 characters, and no spaces");
            }
            let number = *numbers.entry(owner.to_owned()).or_insert_with(|| {
                owners.push(owner.to_owned());
                u32::try_from(owners.len() - 1).unwrap_or(u32::MAX)
            });
            digests.push((Hash::hash(token.as_bytes()), number));
        }
        if digests.is_empty() { Err("it has no token".to_owned()) } else { Ok(Self { digests, owners }) }
    }

    /// The names of all owners.
    pub(super) fn owners(&self) -> &[String] {
        &self.owners
    }

    /// The number of the owner of a token.
    pub(super) fn owner(&self, token: &str) -> Option<usize> {
        self.owner_of(self.find(token)?)
    }

    /// The number of a token.
    pub(super) fn find(&self, token: &str) -> Option<usize> {
        let digest = Hash::hash(token.as_bytes());
        let (mut found, mut at) = (Choice::from(0), 0u32);
        for ((known, _), number) in self.digests.iter().zip(0u32..) {
            let is_it = known.ct_eq(&digest);
            at.conditional_assign(&number, is_it);
            found |= is_it;
        }
        bool::from(found).then(|| usize::try_from(at).unwrap_or(usize::MAX))
    }

    /// The number of the owner of the token of this number.
    pub(super) fn owner_of(&self, token: usize) -> Option<usize> {
        usize::try_from(self.digests.get(token)?.1).ok()
    }

    /// The digest of the token of this number.
    pub(super) fn digest(&self, token: usize) -> Option<&[u8; 32]> {
        self.digests.get(token).map(|(digest, _)| digest)
    }
}

/// Writes it aside and gives it its name when it is whole, unless another server was faster.
fn make(path: &Path) -> std::io::Result<()> {
    let mut random = [0; 32];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut token = String::new();
    for byte in random {
        // Writing to a String can't fail.
        let _ = write!(token, "{byte:02x}");
    }
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&aside, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(format!("{FIRST} {token}\n").as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_one_owner_and_an_owner_may_have_several() {
        let tokens =
            Tokens::parse("# who\nann 0123456789abcdef\nbob  fedcba9876543210\n\nann another-token-of-hers\n").unwrap();
        assert_eq!(tokens.owners(), ["ann", "bob"]);
        let owner = |token| tokens.owner(token);
        assert_eq!([owner("0123456789abcdef"), owner("another-token-of-hers")], [Some(0), Some(0)]);
        assert_eq!([owner("fedcba9876543210"), owner("fedcba987654321"), owner("")], [Some(1), None, None]);
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_line() {
        for (text, reason) in [
            ("", "no token"),
            ("ann short", "line 1"),
            ("\nAnn 0123456789abcdef", "line 2"),
            ("a.b 0123456789abcdef", "line 1"),
            ("0123456789abcdef", "NAME TOKEN"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
