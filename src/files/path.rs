//! Paths below a tree, as callers write them: what one may be, and how it reaches the kernel.

use super::error::Reason;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The kernel's PATH_MAX counts the NUL at the end.
const LONGEST_PATH: usize = 4095;
/// NAME_MAX, which no file system of Linux exceeds.
const LONGEST_NAME: usize = 255;

/// A checked path below a tree: names that are neither empty nor `.` nor `..`. No name at all is the tree's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inside(Vec<OsString>);

impl Inside {
    /// Takes a path as people write it: relative to the root, or below `/workspace`, which is the root as a command in a
    /// sandbox sees it, or below what it sees it as too.
    pub(crate) fn new(path: &Path, known_as: Option<&str>) -> Result<Self, Reason> {
        let bytes = path.as_os_str().as_bytes();
        let is_below = |rest: &&[u8]| matches!(rest, [] | [b'/', ..]);
        let below = |root: &str| bytes.strip_prefix(root.as_bytes()).filter(is_below);
        match below(pinfold_runner::WORKSPACE).or_else(|| known_as.and_then(below)) {
            Some([]) => Ok(Self(Vec::new())),
            Some([b'/', rest @ ..]) if rest.iter().all(|byte| *byte == b'/') => Ok(Self(Vec::new())),
            Some([b'/', rest @ ..]) => Self::relative(trim_slashes(rest)),
            _ => Self::relative(bytes),
        }
    }

    /// Takes a path that nothing but a relative one will do for: one from an archive.
    pub(crate) fn relative(bytes: &[u8]) -> Result<Self, Reason> {
        let refusal = match bytes {
            [] => Some("the path is empty"),
            [b'/', ..] => Some("an absolute path must begin with /workspace"),
            _ if bytes.contains(&0) => Some("the path contains a NUL byte"),
            _ if bytes.len() > LONGEST_PATH => Some("the path is too long"),
            _ => None,
        };
        if let Some(why) = refusal {
            return Err(Reason::InvalidPath(why));
        }
        let mut names = Vec::new();
        for name in bytes.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(Reason::InvalidPath("the path contains `..`")),
                _ if name.len() > LONGEST_NAME => return Err(Reason::InvalidPath("a name in the path is too long")),
                _ => names.push(OsStr::from_bytes(name).to_owned()),
            }
        }
        Ok(Self(names))
    }

    /// The root itself.
    pub(crate) fn root() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> &[OsString] {
        &self.0
    }

    /// The folder that it is in, and its name; nothing for the root.
    pub(crate) fn split(&self) -> Option<(Self, &OsStr)> {
        let (name, parents) = self.0.split_last()?;
        Some((Self(parents.to_vec()), name))
    }

    /// As it is told: relative to the root, which is `.`.
    pub(crate) fn to_path(&self) -> PathBuf {
        if self.is_root() { PathBuf::from(".") } else { self.0.iter().collect() }
    }

    /// For the kernel.
    pub(crate) fn to_c(&self) -> Result<CString, Reason> {
        c_string(self.to_path().into_os_string())
    }
}

/// A name for the kernel.
pub(crate) fn c_string(text: impl Into<OsString>) -> Result<CString, Reason> {
    CString::new(text.into().into_vec()).map_err(|_nul| Reason::InvalidPath("the path contains a NUL byte"))
}

fn trim_slashes(mut bytes: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<PathBuf, &'static str> {
        Inside::new(Path::new(path), None).map(|inside| inside.to_path()).map_err(|reason| reason.code())
    }

    #[test]
    fn a_path_is_relative_to_the_root_or_below_the_workspace() {
        for (path, expected) in [
            ("a/b", "a/b"),
            ("./a//b/.", "a/b"),
            ("a/", "a"),
            (".", "."),
            ("-rf", "-rf"),
            ("new\nline", "new\nline"),
            ("...", "..."),
            ("..a", "..a"),
            ("/workspace", "."),
            ("/workspace/", "."),
            ("/workspace//a", "a"),
            ("/workspace/./a", "a"),
        ] {
            assert_eq!(read(path), Ok(PathBuf::from(expected)), "{path}");
        }
    }

    #[test]
    fn what_could_lead_outside_is_refused_as_it_stands() {
        let long_name = "n".repeat(256);
        let long_path = "n/".repeat(2048);
        for path in [
            "",
            "/",
            "/etc/passwd",
            "//etc",
            "/workspacex",
            "/workspace-evil/x",
            "..",
            "../x",
            "a/..",
            "a/../b",
            "a/../../b",
            "./..",
            "/workspace/..",
            "/workspace/../etc",
            "....//../x",
            "a\0b",
            &long_name,
            &long_path,
        ] {
            assert_eq!(read(path), Err("invalid_path"), "{path:?}");
        }
    }
}
