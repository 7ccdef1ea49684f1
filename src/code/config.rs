//! What the operator allows: the bounds within which every request stays.

use super::request::or_default;
use super::time;
use super::validator::Policy;
use pinfold_runner::{AllowList, InvalidValue, Mount, Network};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Which backend runs the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// A sandbox of namespaces, cgroups, seccomp and Landlock for each request.
    #[default]
    #[serde(alias = "docker")]
    Namespace,
    /// A process of the host without any isolation; only with [`CodeConfig::enable_process_backend`].
    #[serde(alias = "native")]
    Process,
    /// WebAssembly, which is not there: every request is refused.
    Wasm,
}

/// The configuration of an executor. In JSON every field may be absent or `null`, and has its default then; a field that is
/// not known is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodeConfig {
    /// Which backend runs the code.
    #[serde(deserialize_with = "or_default")]
    pub mode: ExecutionMode,
    /// How long a program may run; none is [`CodeConfig::LONGEST`].
    #[serde(deserialize_with = "time::optional", serialize_with = "time::optional_nanoseconds")]
    pub timeout: Option<Duration>,
    /// How much memory it may use, in MiB; 0 is no limit.
    pub max_memory_mb: u64,
    /// How much of one CPU it may use, in percent; 0 is no limit. `None` is 50 where this host can hold it, and no limit
    /// elsewhere; what is said here is held, or the run fails.
    pub max_cpu_percent: Option<f64>,
    /// How many processes and threads it may have.
    pub max_processes: u64,
    /// Whether it has the host's network, as long as `allowed_hosts` is empty.
    pub network_enabled: bool,
    /// The hosts that it may connect to, and no others, as in a job's `{"allow": […]}`.
    #[serde(deserialize_with = "or_default")]
    pub allowed_hosts: Vec<String>,
    /// How much is kept of each of stdout and stderr, in bytes; 0 is the default of 1 MiB.
    pub max_output_bytes: u64,
    /// The languages that may be used, by any of their names; an empty list allows all.
    #[serde(deserialize_with = "or_default")]
    pub allowed_languages: Vec<String>,
    /// What of the host the program sees: from a path of the host to one in the sandbox, read-only. `:rw` after the
    /// latter makes it writable.
    #[serde(deserialize_with = "or_default")]
    pub mount_paths: BTreeMap<String, String>,
    /// The program's environment.
    #[serde(deserialize_with = "or_default")]
    pub env_vars: BTreeMap<String, String>,
    /// What is done about the validator's findings. The backend `process` runs nothing that has any.
    #[serde(deserialize_with = "or_default")]
    pub validation: Policy,
    /// Switches the backend `process` on, which isolates nothing.
    pub enable_process_backend: bool,
}

impl CodeConfig {
    /// How long a program may run that nobody gave a time.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// The share of a CPU that a default run has, in percent.
    pub const CPU_PERCENT: f64 = 50.0;
    /// How much is kept of an output stream by default.
    pub const OUTPUT_BYTES: u64 = 1 << 20;

    /// The mounts that `mount_paths` means.
    ///
    /// # Errors
    /// The first path that no mount can have.
    pub fn mounts(&self) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for (source, target) in &self.mount_paths {
            let (target, writable) = match target.rsplit_once(':') {
                Some((target, "rw")) => (target, true),
                Some((target, "ro")) => (target, false),
                _ => (target.as_str(), false),
            };
            let told = |error| format!("mount_paths: {error}");
            let source = source.as_str().try_into().map_err(told)?;
            let target: pinfold_runner::AbsolutePath = target.try_into().map_err(told)?;
            if let Some(taken) = ["/proc", "/sys", "/dev", "/workspace", super::backend::PROGRAM]
                .iter()
                .find(|taken| std::path::Path::new(target.as_str()).starts_with(taken) || target.as_str() == "/")
            {
                return Err(format!("mount_paths: `{target}` would hide `{taken}`"));
            }
            mounts.push(Mount { source, target, writable, as_owner: false });
        }
        Ok(mounts)
    }

    /// The network that a program has.
    ///
    /// # Errors
    /// The first of the `allowed_hosts` that is none.
    pub fn network(&self) -> Result<Network, String> {
        if self.allowed_hosts.is_empty() {
            return Ok(if self.network_enabled { Network::Host } else { Network::None });
        }
        let told = |error: InvalidValue| format!("allowed_hosts: {error}");
        let rules = self.allowed_hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>().map_err(told)?;
        AllowList::new(rules).map(Network::Allow).map_err(told)
    }

    /// The smaller of the two times that are there.
    pub(super) fn effective_timeout(&self, requested: Option<Duration>) -> Duration {
        let both = [self.timeout, requested].into_iter().flatten().filter(|time| !time.is_zero());
        both.min().unwrap_or(Self::LONGEST)
    }

    /// How much of each output stream is kept.
    pub(super) fn output_bytes(&self) -> u64 {
        if self.max_output_bytes == 0 { Self::OUTPUT_BYTES } else { self.max_output_bytes }
    }
}

impl Default for CodeConfig {
    fn default() -> Self {
        Self {
            mode: ExecutionMode::Namespace,
            timeout: Some(Duration::from_secs(30)),
            max_memory_mb: 512,
            max_cpu_percent: None,
            max_processes: 100,
            network_enabled: false,
            allowed_hosts: Vec::new(),
            max_output_bytes: Self::OUTPUT_BYTES,
            allowed_languages: vec!["python".to_owned(), "javascript".to_owned()],
            mount_paths: BTreeMap::new(),
            env_vars: BTreeMap::new(),
            validation: Policy::default(),
            enable_process_backend: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_time_counts_and_zero_is_none() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let effective =
            |own, requested| CodeConfig { timeout: own, ..CodeConfig::default() }.effective_timeout(requested);
        assert_eq!(effective(seconds(30), seconds(5)), Duration::from_secs(5));
        assert_eq!(effective(seconds(3), seconds(5)), Duration::from_secs(3));
        assert_eq!(effective(None, seconds(5)), Duration::from_secs(5));
        assert_eq!(effective(seconds(30), seconds(0)), Duration::from_secs(30));
        assert_eq!(effective(None, None), CodeConfig::LONGEST);
    }

    #[test]
    fn the_defaults_and_the_names_are_those_of_the_contract() {
        let config: CodeConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, CodeConfig::default());
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!((&json["mode"], &json["timeout"]), (&"namespace".into(), &30_000_000_000_u64.into()));
        assert_eq!((&json["max_memory_mb"], &json["max_output_bytes"]), (&512.into(), &1_048_576.into()));
        assert_eq!(json["allowed_languages"], serde_json::json!(["python", "javascript"]));
        assert!(serde_json::from_str::<CodeConfig>(r#"{"allowed_langauges": []}"#).is_err());
        assert_eq!(serde_json::from_str::<CodeConfig>(r#"{"mode": "native"}"#).unwrap().mode, ExecutionMode::Process);
    }

    #[test]
    fn hosts_are_none_all_or_those_that_are_named() {
        let config = |network_enabled, hosts: &[&str]| CodeConfig {
            network_enabled,
            allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..CodeConfig::default()
        };
        assert_eq!(config(false, &[]).network(), Ok(Network::None));
        assert_eq!(config(true, &[]).network(), Ok(Network::Host));
        for network_enabled in [false, true] {
            let network = config(network_enabled, &["example.org", "*.example.com:443"]).network().unwrap();
            assert_eq!(network.list().unwrap().ports_of("a.example.com"), [443]);
        }
        assert!(config(false, &["http://example.org"]).network().unwrap_err().starts_with("allowed_hosts: "));
    }

    #[test]
    fn mounts_are_read_only_unless_told_and_hide_nothing() {
        let config = |target: &str| CodeConfig {
            mount_paths: BTreeMap::from([("/srv/data".to_owned(), target.to_owned())]),
            ..CodeConfig::default()
        };
        assert!(!config("/data").mounts().unwrap()[0].writable);
        assert!(config("/data:rw").mounts().unwrap()[0].writable);
        for target in ["/", "/proc", "/proc/sys", "/sys", "/dev/shm", "data", "/workspace"] {
            assert!(config(target).mounts().is_err(), "{target}");
        }
    }
}
