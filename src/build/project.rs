//! `pinfold.toml`: what a project says of how it is built. It is the project's own, so nothing in it is more than a wish:
//! [`Policy`](super::Policy) says what is granted.

use super::error::Error;
use super::limits::PhaseLimits;
use pinfold_runner::{AbsolutePath, AllowList, Limits, Network, Rule};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The file's name.
pub const PROJECT_FILE: &str = "pinfold.toml";

/// The largest that is read.
pub(crate) const LARGEST: u64 = 256 << 10;

/// The most phases that a build has.
const MOST_PHASES: usize = 32;

/// What the file says. A field that is not known is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProjectFile {
    /// The file or folder of the workspace that the build makes.
    #[serde(default)]
    pub artifact: Option<String>,
    /// The toolchains that all phases see.
    #[serde(default)]
    pub toolchains: Option<Vec<String>>,
    /// Variables of all phases.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether phases that it leaves out are detected.
    #[serde(default = "yes")]
    pub detect: bool,
    /// Names of files and folders, at any depth, that a snapshot of a directory leaves out.
    #[serde(default)]
    pub exclude: Option<BTreeSet<String>>,
    /// The phases, in order.
    #[serde(default, rename = "phase")]
    pub phases: Vec<Phase>,
}

/// One phase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Phase {
    /// What it is called: `install`, `build`, `test`, or any other name.
    pub name: String,
    /// What is run.
    pub run: Run,
    /// The network that it has.
    #[serde(default)]
    pub network: PhaseNetwork,
    /// What it may use.
    #[serde(default)]
    pub limits: PhaseLimits,
    /// Variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The folders that it keeps for later builds.
    #[serde(default)]
    pub caches: Vec<CacheUse>,
}

/// A command: a line for the shell, or the command and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Run {
    /// For `sh -c`.
    Line(String),
    /// argv.
    Argv(Vec<String>),
}

impl Run {
    pub(crate) fn argv(&self) -> Vec<String> {
        match self {
            Self::Line(line) => ["sh", "-c", line].map(str::to_owned).to_vec(),
            Self::Argv(argv) => argv.clone(),
        }
    }
}

/// The network that a phase asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenNetwork")]
pub enum PhaseNetwork {
    /// `none`: a loopback of its own.
    #[default]
    None,
    /// `fetch`: the one that whoever runs builds gives to phases that fetch.
    Fetch,
    /// `host`: the host's.
    Host,
    /// These hosts.
    Hosts(AllowList),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenNetwork {
    Word(String),
    Hosts(Vec<Rule>),
}

impl TryFrom<WrittenNetwork> for PhaseNetwork {
    type Error = String;

    fn try_from(written: WrittenNetwork) -> Result<Self, String> {
        match written {
            WrittenNetwork::Hosts(rules) => AllowList::new(rules).map(Self::Hosts).map_err(|error| error.to_string()),
            WrittenNetwork::Word(word) => match word.as_str() {
                "none" => Ok(Self::None),
                "fetch" => Ok(Self::Fetch),
                "host" => Ok(Self::Host),
                _ => Err("`network` must be `none`, `fetch`, `host`, or a list of hosts".to_owned()),
            },
        }
    }
}

impl PhaseNetwork {
    /// What it comes to where phases that fetch have this network.
    pub(crate) fn with(&self, fetch: &Network) -> Network {
        match self {
            Self::None => Network::None,
            Self::Fetch => fetch.clone(),
            Self::Host => Network::Host,
            Self::Hosts(list) => Network::Allow(list.clone()),
        }
    }
}

/// A folder that is kept, under its name, for later builds of the same owner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct CacheUse {
    /// Its name.
    pub name: String,
    /// Where the phase sees it.
    pub path: AbsolutePath,
    /// Whether the phase may write to it.
    #[serde(default = "yes")]
    pub writable: bool,
}

fn yes() -> bool {
    true
}

/// What an empty file says.
impl Default for ProjectFile {
    fn default() -> Self {
        let (env, phases) = (BTreeMap::new(), Vec::new());
        Self { artifact: None, toolchains: None, env, detect: true, exclude: None, phases }
    }
}

impl ProjectFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::ProjectFile`], with the field at fault.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let told = |reason: String| Error::ProjectFile(reason);
        let text = std::str::from_utf8(text).map_err(|error| told(format!("it is not UTF-8: {error}")))?;
        let file: Self = toml::from_str(text).map_err(|error| told(error.to_string().trim_end().to_owned()))?;
        file.check().map_err(told)?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        if self.phases.len() > MOST_PHASES {
            return Err(format!("it has {} phases, of at most {MOST_PHASES}", self.phases.len()));
        }
        let mut seen = BTreeSet::new();
        for phase in &self.phases {
            check_name("phase", &phase.name)?;
            if !seen.insert(&phase.name) {
                return Err(format!("there are two phases `{}`", phase.name));
            }
            let told = |reason: String| format!("phase `{}`: {reason}", phase.name);
            phase.limits.over(&Limits::default()).map_err(told)?;
            for cache in &phase.caches {
                cache.check().map_err(told)?;
            }
        }
        Ok(())
    }
}

impl CacheUse {
    fn check(&self) -> Result<(), String> {
        check_name("cache", &self.name)?;
        let path = std::path::Path::new(self.path.as_str());
        let taken = ["/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64"];
        if let Some(taken) = taken.iter().find(|taken| path.starts_with(taken)) {
            return Err(format!("cache `{}` can't be at `{}`: that is part of `{taken}`", self.name, self.path));
        }
        if ["/", "/tmp", pinfold_runner::WORKSPACE].contains(&self.path.as_str()) {
            return Err(format!("cache `{}` can't be at `{}` itself", self.name, self.path));
        }
        Ok(())
    }
}

/// What phases, caches and projects may be called.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(100).collect();
        return Err(format!(
            "a {what}'s name has 1 to 100 bytes and no control characters: `{}`",
            shown.escape_debug()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_phases_with_all_that_is_theirs() {
        let file = ProjectFile::parse(
            br#"
            artifact = "dist"
            toolchains = ["node"]
            [[phase]]
            name = "install"
            run = "npm ci"
            network = ["registry.example:443"]
            limits = { memory = "2G", time = "5m" }
            caches = [{ name = "npm", path = "/tmp/npm" }]
            [[phase]]
            name = "build"
            run = ["npm", "run", "build"]
            "#,
        )
        .unwrap();
        let [install, build] = &file.phases[..] else { panic!("{:?}", file.phases) };
        assert_eq!(install.run.argv(), ["sh", "-c", "npm ci"]);
        assert!(matches!(&install.network, PhaseNetwork::Hosts(list) if list.rules().len() == 1));
        assert!(install.caches[0].writable && file.detect);
        assert_eq!(
            (build.run.argv(), &build.network),
            (vec!["npm".into(), "run".into(), "build".into()], &PhaseNetwork::None)
        );
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, named) in [
            ("artefact = 'dist'", "artefact"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\nnetworks = 'host'", "networks"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\nlimits = { memroy = '1G' }", "memroy"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\nlimits = { memory = 'much' }", "memory"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\nnetwork = 'all'", "network"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\ncaches = [{ name = 'c', path = '/etc/c' }]", "/etc"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\ncaches = [{ name = 'c', path = 'c' }]", "path"),
            ("[[phase]]\nname = ''\nrun = 'b'", "name"),
            ("[[phase]]\nname = 'a'\nrun = 'b'\n[[phase]]\nname = 'a'\nrun = 'b'", "two phases"),
            ("[[phase]]\nname = 'a'", "run"),
        ] {
            let error = ProjectFile::parse(text.as_bytes()).unwrap_err();
            assert!(error.code() == "project_file" && error.to_string().contains(named), "{text}: {error}");
        }
    }
}
