//! The checked values of a job: strings, paths, ids and maps that can't be invalid once they exist.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Why a value can't be part of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue(String);

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(reason.into()))
}

/// A checked string type: made by `TryFrom`, read as `&str`, and never anything else.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let check: fn(&str) -> Result<(), InvalidValue> = $check;
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidValue;
            fn try_from(text: &str) -> Result<Self, InvalidValue> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_string! {
    /// A sandbox's name: 1 to 128 of `A-Z a-z 0-9 . _ -`, and neither `.` nor `..`.
    SandboxId, |text| {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !plain || !(1..=128).contains(&text.len()) || text == "." || text == ".." {
            return refuse(format!("`{}` is not 1 to 128 of A-Z a-z 0-9 . _ -", text.escape_debug()));
        }
        Ok(())
    }
}

checked_string! {
    /// An absolute path without NUL and `..`, at most 4095 bytes.
    AbsolutePath, |text| {
        if !text.starts_with('/') {
            return refuse(format!("`{}` is not an absolute path", text.escape_debug()));
        }
        check_path(text)
    }
}

checked_string! {
    /// A path below the workspace: relative, not empty, without NUL, `.`, `..` and empty components.
    WorkspacePath, |text| {
        if text.is_empty() || text.starts_with('/') {
            return refuse(format!("`{}` is not a relative path below the workspace", text.escape_debug()));
        }
        if text.split('/').any(|part| part.is_empty() || part == ".") {
            return refuse(format!("`{}` has an empty component or `.`", text.escape_debug()));
        }
        check_path(text)
    }
}

checked_string! {
    /// The directory in which the command starts: absolute in the sandbox, or relative to the workspace.
    Cwd, |text| {
        if text.is_empty() {
            return refuse("an empty path");
        }
        check_path(text)
    }
}

impl Default for Cwd {
    fn default() -> Self {
        Self(crate::WORKSPACE.to_owned())
    }
}

/// PATH_MAX and NAME_MAX of <linux/limits.h>, less the NUL.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;

fn check_path(text: &str) -> Result<(), InvalidValue> {
    let shown = || text.chars().take(200).collect::<String>().escape_debug().to_string();
    if text.contains('\0') {
        return refuse(format!("`{}` has a NUL byte", shown()));
    }
    if text.len() > LONGEST_PATH {
        return refuse(format!("`{}…` is longer than {LONGEST_PATH} bytes", shown()));
    }
    for part in text.split('/') {
        if part == ".." {
            return refuse(format!("`{}` has a `..`", shown()));
        }
        if part.len() > LONGEST_NAME {
            return refuse(format!("`{}` has a name longer than {LONGEST_NAME} bytes", shown()));
        }
    }
    Ok(())
}

/// A command and its arguments: at least one string, the first not empty, none with a NUL byte. Only the job of a held
/// sandbox has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Argv(Vec<String>);

impl Argv {
    /// All strings, the command first.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// The command: the first string.
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// What stands in the job of a held sandbox, which starts without a command.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there is no command.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = InvalidValue;
    fn try_from(argv: Vec<String>) -> Result<Self, InvalidValue> {
        if argv.first().is_none_or(String::is_empty) {
            return refuse("there is no command");
        }
        match argv.iter().position(|arg| arg.contains('\0')) {
            Some(index) => refuse(format!("argument {index} has a NUL byte")),
            None => Ok(Self(argv)),
        }
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        argv.0
    }
}

/// Environment variables: no name is empty or has `=`, nothing has a NUL byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Environment(BTreeMap<String, String>);

/// Written by hand: a map of serde's takes a name twice, and the last one wins.
impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvironmentVisitor;
        impl<'de> serde::de::Visitor<'de> for EnvironmentVisitor {
            type Value = Environment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Environment, A::Error> {
                use serde::de::Error;
                let mut environment = Environment::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if environment.0.contains_key(&name) {
                        return Err(A::Error::custom(format!("duplicate field `{}`", name.escape_debug())));
                    }
                    environment.set(name, value).map_err(A::Error::custom)?;
                }
                Ok(environment)
            }
        }
        deserializer.deserialize_map(EnvironmentVisitor)
    }
}

impl Environment {
    /// Sets one variable.
    ///
    /// # Errors
    /// When the name or the value can't be one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<(), InvalidValue> {
        let (name, value) = (name.into(), value.into());
        check_variable(&name, &value)?;
        self.0.insert(name, value);
        Ok(())
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn check_variable(name: &str, value: &str) -> Result<(), InvalidValue> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return refuse(format!("`{}` can't be the name of a variable", name.escape_debug()));
    }
    if value.contains('\0') {
        return refuse(format!("the value of `{name}` has a NUL byte"));
    }
    Ok(())
}

/// Who the command is inside: `"uid:gid"`, each 0 to 4294967294.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct User {
    /// The user id inside.
    pub uid: u32,
    /// The group id inside.
    pub gid: u32,
}

impl Default for User {
    fn default() -> Self {
        Self { uid: 1000, gid: 1000 }
    }
}

impl std::str::FromStr for User {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // (uid_t) -1 means "leave it alone" to setresuid(2) and can't be a user. A plain sign is no digit.
        let id = |part: &str| match part.parse::<u32>() {
            Ok(id) if id != u32::MAX && part.bytes().all(|b| b.is_ascii_digit()) => Some(id),
            _ => None,
        };
        match text.split_once(':').map(|(uid, gid)| (id(uid), id(gid))) {
            Some((Some(uid), Some(gid))) => Ok(Self { uid, gid }),
            _ => refuse(format!("`{}` is not \"uid:gid\" in numbers, such as \"1000:1000\"", text.escape_debug())),
        }
    }
}

impl TryFrom<String> for User {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        format!("{}:{}", user.uid, user.gid)
    }
}
