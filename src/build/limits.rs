//! What a phase may use, in the words of a project's file, which are those of the command line.

use crate::byte_size::ByteSize;
use pinfold_runner::{Limit, Limits};
use serde::Deserialize;

/// Limits of a phase. What is not said is as whoever runs builds has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PhaseLimits {
    /// Wall-clock time: `5m`.
    pub time: Option<Quantity>,
    /// CPU time of all processes together.
    pub cpu_time: Option<Quantity>,
    /// Memory: `2G`.
    pub memory: Option<Quantity>,
    /// Processes and threads.
    pub pids: Option<Quantity>,
    /// CPUs, may be fractional.
    pub cpus: Option<f64>,
    /// Bytes that the workspace may grow by.
    pub disk: Option<Quantity>,
    /// Files that it may grow by.
    pub inodes: Option<Quantity>,
    /// Bytes in `/tmp`.
    pub tmp: Option<Quantity>,
    /// Bytes in `/dev/shm`.
    pub shm: Option<Quantity>,
    /// Open files of each process.
    pub open_files: Option<Quantity>,
}

/// A number, or a text with a unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// Bytes, or a count.
    Number(u64),
    /// With a unit, or `max`.
    Text(String),
}

impl Quantity {
    fn bytes(&self) -> Result<Limit<u64>, String> {
        match self {
            Self::Number(number) => Ok(Limit::At(*number)),
            Self::Text(text) => match ByteSize::parse_limit(text) {
                Ok(Limit::Max) => Ok(Limit::Max),
                Ok(Limit::At(size)) => Ok(Limit::At(size.bytes())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn milliseconds(&self) -> Result<Limit<u64>, String> {
        let Self::Text(text) = self else { return Err("a time needs a unit, such as `5m`".to_owned()) };
        match crate::parse_duration_limit(text) {
            Ok(Limit::Max) => Ok(Limit::Max),
            Ok(Limit::At(time)) => Ok(Limit::At(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1))),
            Err(error) => Err(error.to_string()),
        }
    }

    fn count(&self) -> Result<Limit<u64>, String> {
        match self {
            Self::Number(number) => Ok(Limit::At(*number)),
            Self::Text(text) if text == "max" => Ok(Limit::Max),
            Self::Text(text) => Err(format!("`{}` is no number", text.escape_debug())),
        }
    }
}

impl PhaseLimits {
    /// These limits where they say something, and `usual` where they don't.
    ///
    /// # Errors
    /// The first that can't be, by its name.
    pub(crate) fn over(&self, usual: &Limits) -> Result<Limits, String> {
        let mut limits = usual.clone();
        let set = |name: &str, from: &Option<Quantity>, read: fn(&Quantity) -> Result<Limit<u64>, String>| {
            from.as_ref()
                .map(|quantity| read(quantity).map_err(|reason| format!("`limits.{name}`: {reason}")))
                .transpose()
        };
        limits.wall_ms = set("time", &self.time, Quantity::milliseconds)?.unwrap_or(limits.wall_ms);
        limits.cpu_ms = set("cpu_time", &self.cpu_time, Quantity::milliseconds)?.unwrap_or(limits.cpu_ms);
        limits.memory_bytes = set("memory", &self.memory, Quantity::bytes)?.unwrap_or(limits.memory_bytes);
        limits.pids = set("pids", &self.pids, Quantity::count)?.unwrap_or(limits.pids);
        limits.cpus = self.cpus.map_or(limits.cpus, Limit::At);
        limits.workspace_bytes = set("disk", &self.disk, Quantity::bytes)?.or(limits.workspace_bytes);
        limits.workspace_inodes = set("inodes", &self.inodes, Quantity::count)?.or(limits.workspace_inodes);
        limits.tmp_bytes = set("tmp", &self.tmp, Quantity::bytes)?.or(limits.tmp_bytes);
        limits.shm_bytes = set("shm", &self.shm, Quantity::bytes)?.unwrap_or(limits.shm_bytes);
        limits.open_files = set("open_files", &self.open_files, Quantity::count)?.unwrap_or(limits.open_files);
        limits.check()?;
        Ok(limits)
    }
}

/// The first limit that is above the most that is granted.
pub(crate) fn above(limits: &Limits, most: &Limits) -> Option<&'static str> {
    let number = |limit: Limit<u64>| limit.value().unwrap_or(u64::MAX);
    let optional = |limit: Option<Limit<u64>>| limit.map_or(u64::MAX, number);
    let cpus = |limit: Limit<f64>| limit.value().unwrap_or(f64::INFINITY);
    let pairs = [
        ("time", number(limits.wall_ms) > number(most.wall_ms)),
        ("cpu_time", number(limits.cpu_ms) > number(most.cpu_ms)),
        ("memory", number(limits.memory_bytes) > number(most.memory_bytes)),
        ("pids", number(limits.pids) > number(most.pids)),
        ("cpus", cpus(limits.cpus) > cpus(most.cpus)),
        ("disk", optional(limits.workspace_bytes) > optional(most.workspace_bytes)),
        ("inodes", optional(limits.workspace_inodes) > optional(most.workspace_inodes)),
        ("shm", number(limits.shm_bytes) > number(most.shm_bytes)),
        ("open_files", number(limits.open_files) > number(most.open_files)),
    ];
    pairs.into_iter().find(|(_, is_above)| *is_above).map(|(name, _)| name)
}

/// Limits that bound nothing.
pub(crate) fn boundless() -> Limits {
    let (wall_ms, memory_bytes, pids) = (Limit::Max, Limit::Max, Limit::Max);
    let (shm_bytes, open_files) = (Limit::Max, Limit::Max);
    Limits { wall_ms, memory_bytes, pids, shm_bytes, open_files, ..Limits::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Result<Limits, String> {
        toml::from_str::<PhaseLimits>(text).map_err(|error| error.to_string())?.over(&Limits::default())
    }

    #[test]
    fn limits_are_written_as_people_do() {
        let read = limits("memory = '2G'\ntime = '5m'\npids = 64\ncpus = 1.5\ndisk = 'max'").unwrap();
        assert_eq!((read.memory_bytes, read.wall_ms), (Limit::At(2 << 30), Limit::At(300_000)));
        assert_eq!((read.pids, read.cpus, read.workspace_bytes), (Limit::At(64), Limit::At(1.5), Some(Limit::Max)));
        for (text, named) in
            [("time = 5", "time"), ("memory = 'x'", "memory"), ("memory = 1", "memory_bytes"), ("pids = '9'", "pids")]
        {
            assert!(limits(text).unwrap_err().contains(named), "{text}");
        }
    }

    #[test]
    fn none_passes_the_most_that_is_granted() {
        let most = Limits { memory_bytes: Limit::At(1 << 30), ..boundless() };
        assert_eq!(above(&limits("memory = '1G'").unwrap(), &most), None);
        assert_eq!(above(&limits("memory = '2G'").unwrap(), &most), Some("memory"));
        assert_eq!(above(&limits("memory = 'max'").unwrap(), &most), Some("memory"));
        assert_eq!(above(&limits("memory = 'max'\npids = 'max'\nshm = 'max'").unwrap(), &boundless()), None);
    }
}
