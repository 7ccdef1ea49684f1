//! Who may ask: tokens, and whose they are. A token is compared by its digest and in constant time, with every one that there
//! is, so that time tells nothing of which comes near.

use hmac_sha256::Hash;
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::{BTreeMap, BTreeSet};
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

/// All tokens. Each has a number, which means that token for as long as the server lives, and so has each owner.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
    owners: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    digest: [u8; 32],
    /// The number of its owner.
    owner: u32,
    /// Whether it was not withdrawn.
    is_good: bool,
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
        let (mut tokens, mut owners) = (Vec::<Token>::new(), Vec::new());
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
            let digest = Hash::hash(token.as_bytes());
            if tokens.iter().any(|token| token.digest == digest) {
                return refused("the same token stands further up");
            }
            tokens.push(Token { digest, owner: number, is_good: true });
        }
        if tokens.is_empty() { Err("it has no token".to_owned()) } else { Ok(Self { tokens, owners }) }
    }

    /// These after the file was read again. What was withdrawn keeps its number and is good no more, so that no number ever
    /// comes to mean another token or another owner.
    pub(super) fn renewed(&self, read: &Self) -> Self {
        let mut all = self.clone();
        all.tokens.iter_mut().for_each(|token| token.is_good = false);
        for token in &read.tokens {
            let Some(name) = read.name(token.owner) else { continue };
            let owner = all.number(name);
            match all.tokens.iter_mut().find(|known| (known.digest, known.owner) == (token.digest, owner)) {
                Some(known) => known.is_good = true,
                None => all.tokens.push(Token { owner, ..token.clone() }),
            }
        }
        all
    }

    fn name(&self, owner: u32) -> Option<&str> {
        self.owners.get(usize::try_from(owner).ok()?).map(String::as_str)
    }

    /// The number of an owner, who may be new.
    fn number(&mut self, name: &str) -> u32 {
        let at = self.owners.iter().position(|known| known == name).unwrap_or_else(|| {
            self.owners.push(name.to_owned());
            self.owners.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The names of all owners, also of those whose tokens were all withdrawn.
    pub(super) fn owners(&self) -> &[String] {
        &self.owners
    }

    /// How many owners may ask.
    pub(super) fn askers(&self) -> usize {
        let owners: BTreeSet<u32> = self.good().map(|token| token.owner).collect();
        owners.len()
    }

    fn good(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|token| token.is_good)
    }

    /// The number of a token.
    pub(super) fn find(&self, token: &str) -> Option<usize> {
        let digest = Hash::hash(token.as_bytes());
        let (mut found, mut at) = (Choice::from(0), 0u32);
        for (known, number) in self.tokens.iter().zip(0u32..) {
            let is_it = known.digest.ct_eq(&digest) & Choice::from(u8::from(known.is_good));
            at.conditional_assign(&number, is_it);
            found |= is_it;
        }
        bool::from(found).then(|| usize::try_from(at).unwrap_or(usize::MAX))
    }

    fn get(&self, token: usize) -> Option<&Token> {
        self.tokens.get(token).filter(|token| token.is_good)
    }

    /// The number of the owner of the token of this number, unless it was withdrawn.
    pub(super) fn owner_of(&self, token: usize) -> Option<usize> {
        usize::try_from(self.get(token)?.owner).ok()
    }

    /// The digest of the token of this number, unless it was withdrawn.
    pub(super) fn digest(&self, token: usize) -> Option<&[u8; 32]> {
        self.get(token).map(|token| &token.digest)
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
        let owner = |token| tokens.owner_of(tokens.find(token)?);
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
            ("ann 0123456789abcdef\nbob 0123456789abcdef", "line 2"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_number_never_comes_to_mean_another_token_or_owner() {
        let read = |text| Tokens::parse(text).unwrap();
        let first = read("ann 0123456789abcdef\nbob fedcba9876543210\n");
        let second = first.renewed(&read("cid a-token-of-the-third\nbob fedcba9876543210\nbob 0123456789abcdef\n"));
        let found = |tokens: &Tokens, token| tokens.find(token).map(|number| (number, tokens.owner_of(number)));
        // Ann's is withdrawn, and is Bob's by another number.
        assert_eq!(found(&second, "0123456789abcdef"), Some((3, Some(1))));
        assert_eq!((second.owner_of(0), second.digest(0)), (None, None));
        assert_eq!(found(&second, "fedcba9876543210"), Some((1, Some(1))));
        assert_eq!(found(&second, "a-token-of-the-third"), Some((2, Some(2))));
        assert_eq!((second.owners(), second.askers()), (&["ann", "bob", "cid"].map(str::to_owned)[..], 2));
        let third = second.renewed(&first);
        assert_eq!(found(&third, "0123456789abcdef"), Some((0, Some(0))));
        assert_eq!(found(&third, "a-token-of-the-third"), None);
    }
}
