//! The limits of a job: one table of names, ranges and defaults, from which parsing and messages are made.

use super::cpuset::{self, Cpuset};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One limit: a number within its range, or `"max"`, which lifts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit<T> {
    /// No limit: `"max"` in JSON.
    Max,
    /// The limit, in the unit that the field's name says.
    At(T),
}

impl<T: Copy> Limit<T> {
    /// The number, or `None` when the limit is lifted.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Max => None,
            Self::At(value) => Some(value),
        }
    }
}

const YEAR_MS: u64 = 366 * 24 * 3600 * 1000;
const MIB: u64 = 1 << 20;

/// Writes the struct, its defaults, its parser and its serialiser from one table, so that they can't disagree.
macro_rules! limits {
    ($( $(#[$doc:meta])* $name:ident: $type:ty = $default:expr, $low:expr, $high:expr; )*) => {
        /// What a sandbox may use. Every field has a default; see each for unit, range and what passing it does.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Limits { $( $(#[$doc])* pub $name: $type, )* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $( $name: $default, )* }
            }
        }

        impl Limits {
            /// The names of all limits, as in JSON.
            pub const NAMES: &'static [&'static str] = &[$( stringify!($name) ),*];

            /// The range of the limit `name` as text, for messages and help: `1 to 31622400000`.
            pub fn range(name: &str) -> Option<String> {
                match name {
                    $( stringify!($name) => Some(format!("{} to {}", $low, $high)), )*
                    _ => None,
                }
            }

            /// Checks every limit that is set against its range.
            ///
            /// # Errors
            /// The first limit that is out of range, by name, with the range.
            pub fn check(&self) -> Result<(), String> {
                $( self.$name.check(stringify!($name), ($low).into(), ($high).into())?; )*
                Ok(())
            }
        }

        impl Serialize for Limits {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $( self.$name.write(&mut map, stringify!($name))?; )*
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for Limits {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct LimitsVisitor;
                impl<'de> Visitor<'de> for LimitsVisitor {
                    type Value = Limits;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object of limits")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
                        let mut limits = Limits::default();
                        let mut seen: Vec<String> = Vec::new();
                        while let Some(key) = map.next_key::<String>()? {
                            if seen.contains(&key) {
                                return Err(de::Error::custom(format!("duplicate field `{key}`")));
                            }
                            match key.as_str() {
                                $( stringify!($name) => {
                                    let raw: serde_json::Value = map.next_value()?;
                                    limits.$name = Parse::parse(&raw, stringify!($name), ($low).into(), ($high).into())
                                        .map_err(de::Error::custom)?;
                                } )*
                                _ => return Err(de::Error::unknown_field(&key, Limits::NAMES)),
                            }
                            seen.push(key);
                        }
                        Ok(limits)
                    }
                }
                deserializer.deserialize_map(LimitsVisitor)
            }
        }
    };
}

limits! {
    /// Wall-clock time in milliseconds, 1 to a year; default 30,000. When it has passed everything is killed: `timed_out`.
    wall_ms: Limit<u64> = Limit::At(30_000), 1u64, YEAR_MS;
    /// CPU time of all processes together in milliseconds, 1 to a year; default max. Passing it kills everything:
    /// `cpu_exceeded`.
    cpu_ms: Limit<u64> = Limit::Max, 1u64, YEAR_MS;
    /// Memory of the whole sandbox in bytes, its tmpfs included, without swap, 1 MiB to 2^50; default 512 MiB. The
    /// kernel's OOM killer acts, or, without a cgroup, the runner kills everything: `out_of_memory`.
    memory_bytes: Limit<u64> = Limit::At(512 * MIB), MIB, 1u64 << 50;
    /// Processes and threads, 1 to 4,194,304; default 256. One more, and fork fails with EAGAIN.
    pids: Limit<u64> = Limit::At(256), 1u64, 4_194_304u64;
    /// CPUs' worth of time, may be fractional, 0.01 to 1024; default max. The excess is throttled.
    cpus: Limit<f64> = Limit::Max, 0.01f64, 1024.0f64;
    /// This sandbox's share of the CPUs where they are short, 1 to 10,000, beside 100, which every other group has; default max:
    /// no weight of its own. It holds nobody back while a CPU is idle.
    cpu_weight: Limit<u64> = Limit::Max, 1u64, 10_000u64;
    /// The CPUs that it may run on, as a list such as `"0-3,8"` (cpuset(7)); by default all.
    cpuset: Option<Cpuset> = None, 0u64, cpuset::HIGHEST;
    /// Swap beside the memory in bytes, 0 to 2^50; default 0.
    swap_bytes: Limit<u64> = Limit::At(0), 0u64, 1u64 << 50;
    /// The stack of each process's first thread and, by custom, of every thread that doesn't say otherwise, in bytes, 64 KiB
    /// to 2^40; default 8 MiB. Passing it: SIGSEGV.
    stack_bytes: Limit<u64> = Limit::At(8 * MIB), 64u64 << 10, 1u64 << 40;
    /// Bytes a second read from each block device of the view, 4096 to 2^50; default max. The excess waits.
    io_read_bps: Limit<u64> = Limit::Max, 4096u64, 1u64 << 50;
    /// Bytes a second written to each block device of the view, 4096 to 2^50; default max. The excess waits.
    io_write_bps: Limit<u64> = Limit::Max, 4096u64, 1u64 << 50;
    /// Reads a second from each block device of the view, 2 to 2^31 - 1 (cgroup v2 takes no less); default max. The excess
    /// waits.
    io_read_iops: Limit<u64> = Limit::Max, 2u64, (1u64 << 31) - 1;
    /// Writes a second to each block device of the view, 2 to 2^31 - 1; default max. The excess waits.
    io_write_iops: Limit<u64> = Limit::Max, 2u64, (1u64 << 31) - 1;
    /// Bytes kept of each of stdout and stderr, 1 to 2^40; default 1 MiB. The rest is read and dropped, and
    /// `stdout_truncated` or `stderr_truncated` is set.
    output_bytes: Limit<u64> = Limit::At(MIB), 1u64, 1u64 << 40;
    /// Bytes in the workspace, 4096 to 2^60; by default 1 GiB for `"temp"`, half of the memory for `"tmpfs"`, max for an
    /// existing directory (of which only growth counts). `"temp"` and a directory are watched: everything is killed,
    /// `workspace_exceeded`; a tmpfs answers ENOSPC.
    workspace_bytes: Option<Limit<u64>> = None, 4096u64, 1u64 << 60;
    /// Files, directories and links in the workspace, 1 to 2^40; by default 1,048,576 for `"temp"`, one for each 2 KiB for
    /// `"tmpfs"`, max for an existing directory (of which only growth counts). What passing it does: see `workspace_bytes`.
    workspace_inodes: Option<Limit<u64>> = None, 1u64, 1u64 << 40;
    /// Bytes in `/tmp`, 4096 to 2^50; by default half of the memory. Passing it: ENOSPC.
    tmp_bytes: Option<Limit<u64>> = None, 4096u64, 1u64 << 50;
    /// Bytes in `/dev/shm`, 4096 to 2^50; default 64 MiB. Passing it: ENOSPC.
    shm_bytes: Limit<u64> = Limit::At(64 * MIB), 4096u64, 1u64 << 50;
    /// Open files of each process, 8 to 1,048,576; default 1024. One more: EMFILE.
    open_files: Limit<u64> = Limit::At(1024), 8u64, 1_048_576u64;
}

/// How one field of the table is read, checked and written; implemented for the three shapes a limit has.
trait Parse: Sized {
    type Bound: Copy + std::fmt::Display;
    fn parse(raw: &serde_json::Value, name: &str, low: Self::Bound, high: Self::Bound) -> Result<Self, String>;
    fn check(&self, name: &str, low: Self::Bound, high: Self::Bound) -> Result<(), String>;
    fn write<M: SerializeMap>(&self, map: &mut M, name: &str) -> Result<(), M::Error>;
}

fn out_of_range(
    name: &str,
    got: &dyn std::fmt::Display,
    low: impl std::fmt::Display,
    high: impl std::fmt::Display,
) -> String {
    format!("`{name}` is {got}: it must be a number from {low} to {high}, or \"max\"")
}

/// What a limit's number may be.
trait Number: Copy + PartialOrd + std::fmt::Display + Serialize {
    /// The JSON number as one of these, if it is one.
    fn of(number: &serde_json::Number) -> Option<Self>;
}

impl Number for u64 {
    fn of(number: &serde_json::Number) -> Option<Self> {
        number.as_u64()
    }
}

impl Number for f64 {
    fn of(number: &serde_json::Number) -> Option<Self> {
        number.as_f64()
    }
}

impl<T: Number> Parse for Limit<T> {
    type Bound = T;
    fn parse(raw: &serde_json::Value, name: &str, low: T, high: T) -> Result<Self, String> {
        match raw {
            serde_json::Value::String(text) if text == "max" => Ok(Self::Max),
            serde_json::Value::Number(number) => match T::of(number) {
                Some(value) if (low..=high).contains(&value) => Ok(Self::At(value)),
                _ => Err(out_of_range(name, number, low, high)),
            },
            other => Err(out_of_range(name, other, low, high)),
        }
    }
    fn check(&self, name: &str, low: T, high: T) -> Result<(), String> {
        match self {
            Self::At(value) if !(low..=high).contains(value) => Err(out_of_range(name, value, low, high)),
            _ => Ok(()),
        }
    }
    fn write<M: SerializeMap>(&self, map: &mut M, name: &str) -> Result<(), M::Error> {
        match self {
            Self::Max => map.serialize_entry(name, "max"),
            Self::At(value) => map.serialize_entry(name, value),
        }
    }
}

/// A limit whose default depends on the rest of the job: absent until asked for.
impl Parse for Option<Limit<u64>> {
    type Bound = u64;
    fn parse(raw: &serde_json::Value, name: &str, low: u64, high: u64) -> Result<Self, String> {
        Limit::parse(raw, name, low, high).map(Some)
    }
    fn check(&self, name: &str, low: u64, high: u64) -> Result<(), String> {
        self.as_ref().map_or(Ok(()), |limit| limit.check(name, low, high))
    }
    fn write<M: SerializeMap>(&self, map: &mut M, name: &str) -> Result<(), M::Error> {
        self.as_ref().map_or(Ok(()), |limit| limit.write(map, name))
    }
}

/// A set of CPUs: a string.
impl Parse for Option<Cpuset> {
    type Bound = u64;
    fn parse(raw: &serde_json::Value, name: &str, low: u64, high: u64) -> Result<Self, String> {
        let text = raw.as_str().ok_or_else(|| {
            format!("`{name}` is {raw}: it must be a string with a list of CPUs from {low} to {high}")
        })?;
        text.parse().map(Some).map_err(|error| format!("`{name}`: {error}"))
    }
    fn check(&self, _name: &str, _low: u64, _high: u64) -> Result<(), String> {
        Ok(())
    }
    fn write<M: SerializeMap>(&self, map: &mut M, name: &str) -> Result<(), M::Error> {
        self.as_ref().map_or(Ok(()), |cpuset| map.serialize_entry(name, &cpuset.to_string()))
    }
}
