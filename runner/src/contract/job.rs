//! The job: what to run, in which view, under which limits. A `Job` that exists is valid in itself; whether this host
//! can do it is the runner's to find out.

use super::artifact::Artifacts;
use super::content::Content;
use super::isolation::{Mode, Requirement};
use super::limit::Limits;
use super::network::Network;
use super::text::{AbsolutePath, Argv, Cwd, Environment, InvalidValue, SandboxId, User, WorkspacePath, refuse};
use super::workspace::Workspace;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Everything that a sandbox is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The version of the contract: 1.
    #[serde(default = "version", deserialize_with = "supported_version")]
    pub version: u32,
    /// By what the command is confined.
    #[serde(default)]
    pub mode: Mode,
    /// Names the sandbox and comes back in the result; generated if absent.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub id: Option<SandboxId>,
    /// The command and its arguments; the first is looked up on `PATH` inside the sandbox.
    #[serde(default = "Argv::none", skip_serializing_if = "Argv::is_none")]
    pub command: Argv,
    /// Added to an environment built from nothing: `PATH`, `HOME`, `LANG`, `USER`, `TMPDIR`.
    #[serde(default)]
    pub env: Environment,
    /// Who the command is inside; `0:0` gives it no capability and nothing on the host.
    #[serde(default)]
    pub user: User,
    /// Where it starts: absolute in the sandbox, or relative to the workspace.
    #[serde(default)]
    pub cwd: Cwd,
    /// What it reads on stdin, then end-of-file.
    #[serde(default)]
    pub stdin: Content,
    /// Files written to the workspace before the command starts.
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// What `/workspace` is.
    #[serde(default)]
    pub workspace: Workspace,
    /// Where the workspace is to be found too, beside `/workspace`: for programs that know it by another path.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub workspace_at: Option<AbsolutePath>,
    /// What the rest of the file system is.
    #[serde(default)]
    pub root: Root,
    /// Paths of the host that are added.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Which network it has.
    #[serde(default)]
    pub network: Network,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Which system calls it may make.
    #[serde(default)]
    pub seccomp: Seccomp,
    /// Features that must be in force, or the job fails before the command runs.
    #[serde(default)]
    pub require: Vec<Requirement>,
    /// What to copy out of the workspace when the command has ended.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
}

impl Job {
    /// A job with every default of the contract.
    pub fn new(command: Argv) -> Self {
        Self {
            version: crate::CONTRACT_VERSION,
            mode: Mode::default(),
            id: None,
            command,
            env: Environment::default(),
            user: User::default(),
            cwd: Cwd::default(),
            stdin: Content::default(),
            files: Vec::new(),
            workspace: Workspace::default(),
            workspace_at: None,
            root: Root::default(),
            mounts: Vec::new(),
            network: Network::default(),
            limits: Limits::default(),
            seccomp: Seccomp::default(),
            require: Vec::new(),
            artifacts: None,
        }
    }

    /// Where a command finds its workspace: `/workspace`, or [`workspace_at`](Self::workspace_at).
    pub fn workspace_path(&self) -> &str {
        self.workspace_at.as_ref().map_or(crate::WORKSPACE, AbsolutePath::as_str)
    }

    /// Where the command starts: in its workspace, unless `cwd` says otherwise.
    pub fn starts_in(&self) -> &str {
        if self.cwd == Cwd::default() { self.workspace_path() } else { self.cwd.as_str() }
    }

    /// Reads a job: exactly one JSON object with nothing after it but white space.
    ///
    /// # Errors
    /// What is wrong, with the path of the field: `limits.memory_bytes`.
    pub fn from_json(json: &[u8]) -> Result<Self, JobError> {
        match Self::parse(json)? {
            job if job.command.is_none() => Err(JobError { path: None, reason: "missing field `command`".to_owned() }),
            job => Ok(job),
        }
    }

    /// Reads the job of a held sandbox, which has no command of its own.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and when it has one.
    pub fn held_from_json(json: &[u8]) -> Result<Self, JobError> {
        let refuse =
            |field: &str, reason: &str| Err(JobError { path: Some(field.to_owned()), reason: reason.to_owned() });
        let job = Self::parse(json)?;
        if !job.command.is_none() {
            return refuse("command", "a held sandbox starts without one");
        }
        if job.artifacts.is_some() {
            return refuse("artifacts", "a held sandbox has files, which are copied out of it while it lives");
        }
        Ok(job)
    }

    fn parse(json: &[u8]) -> Result<Self, JobError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let job: Self = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner().to_string();
            JobError { path: if path == "." { None } else { Some(path) }, reason }
        })?;
        deserializer
            .end()
            .map_err(|e| JobError { path: None, reason: format!("something follows the one JSON object: {e}") })?;
        Ok(job)
    }
}

/// Why a job is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// The field, such as `limits.memory_bytes`, where the fault lies in one.
    pub path: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "invalid job: `{path}`: {}", self.reason),
            None => write!(f, "invalid job: {}", self.reason),
        }
    }
}

impl std::error::Error for JobError {}

fn version() -> u32 {
    crate::CONTRACT_VERSION
}

fn supported_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        crate::CONTRACT_VERSION => Ok(crate::CONTRACT_VERSION),
        other => Err(serde::de::Error::custom(format!("version {other} is not supported, this is version 1"))),
    }
}

/// An optional field may be left out but not be `null`: null must never switch anything off.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// One file that is written to the workspace before the command starts, mode 0644, or 0755 if executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where, below the workspace; parents are made.
    pub path: WorkspacePath,
    /// What.
    pub content: Content,
    /// Whether it may be executed.
    #[serde(default)]
    pub executable: bool,
}

/// What the root file system is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// The host's `/usr` and the few files of `/etc` that programs need, read-only.
    #[default]
    Host,
    /// An extracted root file system, read-only.
    Path(AbsolutePath),
}

/// Which system calls the command may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// A built-in policy.
    Builtin(String),
    /// A policy of one's own in a file of the host, in the OCI `linux.seccomp` form.
    Path(AbsolutePath),
}

impl Default for Seccomp {
    fn default() -> Self {
        Self::Builtin("default".to_owned())
    }
}

impl Seccomp {
    /// The name that the result shows.
    pub fn name(&self) -> &str {
        match self {
            Self::Builtin(name) => name,
            Self::Path(path) => path.as_str(),
        }
    }
}

/// A JSON value that is a word, or `{"path": "/…"}`.
#[derive(Serialize)]
#[serde(untagged)]
enum WordOrPath {
    Word(String),
    Path(PathObject),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathObject {
    path: String,
}

/// Written by hand: what serde derives for an untagged enum can't name an unknown field.
impl<'de> Deserialize<'de> for WordOrPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrPathVisitor;
        impl<'de> serde::de::Visitor<'de> for WordOrPathVisitor {
            type Value = WordOrPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or an object with one absolute `path`")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<WordOrPath, E> {
                Ok(WordOrPath::Word(word.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<WordOrPath, A::Error> {
                PathObject::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(WordOrPath::Path)
            }
        }
        deserializer.deserialize_any(WordOrPathVisitor)
    }
}

impl WordOrPath {
    fn path(path: &AbsolutePath) -> Self {
        Self::Path(PathObject { path: path.as_str().to_owned() })
    }
}

macro_rules! word_or_path {
    ($name:ident, $to:expr, $from:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let to: fn(&$name) -> WordOrPath = $to;
                to(self).serialize(serializer)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let from: fn(WordOrPath) -> Result<$name, InvalidValue> = $from;
                from(WordOrPath::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

word_or_path!(
    Root,
    |root| match root {
        Root::Host => WordOrPath::Word("host".to_owned()),
        Root::Path(path) => WordOrPath::path(path),
    },
    |value| match value {
        WordOrPath::Word(word) if word == "host" => Ok(Root::Host),
        WordOrPath::Word(word) => refuse(format!("`{word}` is neither \"host\" nor {{\"path\": \"/abs/rootfs\"}}")),
        WordOrPath::Path(object) => Ok(Root::Path(object.path.try_into()?)),
    }
);

word_or_path!(
    Seccomp,
    |seccomp| match seccomp {
        Seccomp::Builtin(name) => WordOrPath::Word(name.clone()),
        Seccomp::Path(path) => WordOrPath::path(path),
    },
    |value| match value {
        WordOrPath::Word(name) => Seccomp::builtin(&name),
        WordOrPath::Path(object) => Ok(Seccomp::Path(object.path.try_into()?)),
    }
);

impl Seccomp {
    /// The built-in policy `name`.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those that there are.
    pub fn builtin(name: &str) -> Result<Self, InvalidValue> {
        let names = crate::seccomp::builtin_names();
        if names.contains(&name) {
            return Ok(Self::Builtin(name.to_owned()));
        }
        refuse(format!(
            "there is no built-in policy `{}`, only {}; one of your own is {{\"path\": \"/…\"}}",
            name.escape_debug(),
            names.join(", ")
        ))
    }
}

/// A path of the host that the caller adds; always nosuid and nodev.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The path on the host.
    pub source: AbsolutePath,
    /// Where it appears in the sandbox.
    pub target: AbsolutePath,
    /// Whether it may be written to.
    #[serde(default)]
    pub writable: bool,
    /// Whether the command may read in it what its owner may, also when root runs the sandbox. What is writable is so anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_owner: bool,
}
