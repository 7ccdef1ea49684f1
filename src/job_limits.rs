//! The limits of a job in Rust: quantities rather than numbers with a unit in their name.

use crate::byte_size::ByteSize;
use crate::job_builder::{JobBuilder, refusal};
use pinfold_runner::Limit;
use std::time::Duration;

/// A value that a limit may be set to: the quantity itself, or a [`Limit`] of it, so that [`Limit::Max`] lifts the limit.
pub trait IntoLimit<T> {
    /// The limit.
    fn into_limit(self) -> Limit<T>;
}

impl<T> IntoLimit<T> for Limit<T> {
    fn into_limit(self) -> Self {
        self
    }
}

macro_rules! into_limit {
    ($($quantity:ty),*) => {
        $(impl IntoLimit<$quantity> for $quantity {
            fn into_limit(self) -> Limit<$quantity> {
                Limit::At(self)
            }
        })*
    };
}

into_limit!(ByteSize, Duration, u64, f64);

fn bytes(limit: impl IntoLimit<ByteSize>) -> Limit<u64> {
    match limit.into_limit() {
        Limit::Max => Limit::Max,
        Limit::At(size) => Limit::At(size.bytes()),
    }
}

/// Parts of a millisecond round up, so that a short limit never becomes none.
fn milliseconds(limit: impl IntoLimit<Duration>) -> Limit<u64> {
    match limit.into_limit() {
        Limit::Max => Limit::Max,
        Limit::At(time) => Limit::At(u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)),
    }
}

impl JobBuilder {
    /// Limits wall-clock time, 1 ms to a year; by default 30 seconds. Then everything is killed: `timed_out`.
    pub fn wall(self, limit: impl IntoLimit<Duration>) -> Self {
        self.with(|job| job.limits.wall_ms = milliseconds(limit))
    }

    /// Limits the CPU time of all processes together, 1 ms to a year; by default not. Then everything is killed:
    /// `cpu_exceeded`.
    pub fn cpu_time(self, limit: impl IntoLimit<Duration>) -> Self {
        self.with(|job| job.limits.cpu_ms = milliseconds(limit))
    }

    /// Limits the memory of the whole sandbox, 1 MiB to 2^50 bytes; by default 512 MiB. The kernel kills: `out_of_memory`.
    pub fn memory(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.memory_bytes = bytes(limit))
    }

    /// Limits processes and threads; by default 256. One more fails with EAGAIN.
    pub fn pids(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.pids = limit.into_limit())
    }

    /// Limits the CPUs' worth of time, 0.01 to 1024; by default not. The excess is throttled.
    pub fn cpus(self, limit: impl IntoLimit<f64>) -> Self {
        self.with(|job| job.limits.cpus = limit.into_limit())
    }

    /// This sandbox's share of the CPUs where they are short, 1 to 10,000, beside 100, which every other group has; by
    /// default none of its own. It holds nobody back while a CPU is idle.
    pub fn cpu_weight(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.cpu_weight = limit.into_limit())
    }

    /// Limits the CPUs that it may run on to a list such as `0-3,8`; by default all.
    pub fn cpuset(self, cpus: &str) -> Self {
        self.set(|job| {
            job.limits.cpuset = Some(cpus.parse().map_err(|e| refusal("limits.cpuset", &e))?);
            Ok(())
        })
    }

    /// Limits swap beside the memory, 0 to 2^50 bytes; by default 0.
    pub fn swap(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.swap_bytes = bytes(limit))
    }

    /// Limits the stack of each process's first thread, and by custom of every other, 64 KiB to 2^40 bytes; by default 8 MiB.
    /// Then SIGSEGV.
    pub fn stack(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.stack_bytes = bytes(limit))
    }

    /// Limits what is read in a second from each block device of the view, 4096 to 2^50 bytes; by default not. The excess
    /// waits.
    pub fn io_read_bps(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.io_read_bps = bytes(limit))
    }

    /// The same of what is written. On cgroup v1 only what the command itself writes through to the device counts.
    pub fn io_write_bps(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.io_write_bps = bytes(limit))
    }

    /// Limits the reads in a second from each block device of the view, 2 to 2^31 - 1; by default not. The excess waits.
    pub fn io_read_iops(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.io_read_iops = limit.into_limit())
    }

    /// The same of writes.
    pub fn io_write_iops(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.io_write_iops = limit.into_limit())
    }

    /// Limits what is kept of each of stdout and stderr; by default 1 MiB. The rest is read and dropped.
    pub fn output(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.output_bytes = bytes(limit))
    }

    /// Limits the workspace, 4096 to 2^60 bytes; by default 1 GiB, in memory half of the memory, and an existing directory
    /// not. `workspace_exceeded`, or ENOSPC in memory.
    pub fn workspace_size(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.workspace_bytes = Some(bytes(limit)))
    }

    /// Limits files, directories and links in the workspace, 1 to 2^40; by default 1,048,576, in memory one for each 2 KiB, and
    /// an existing directory not. `workspace_exceeded`, or ENOSPC in memory.
    pub fn workspace_files(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.workspace_inodes = Some(limit.into_limit()))
    }

    /// Limits `/tmp`, 4096 to 2^50 bytes; by default half of the memory. Then ENOSPC.
    pub fn tmp_size(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.tmp_bytes = Some(bytes(limit)))
    }

    /// Limits `/dev/shm`, 4096 to 2^50 bytes; by default 64 MiB. Then ENOSPC.
    pub fn shm_size(self, limit: impl IntoLimit<ByteSize>) -> Self {
        self.with(|job| job.limits.shm_bytes = bytes(limit))
    }

    /// Limits the open files of each process, 8 to 1,048,576; by default 1024. Then EMFILE.
    pub fn open_files(self, limit: impl IntoLimit<u64>) -> Self {
        self.with(|job| job.limits.open_files = limit.into_limit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job;
    use pinfold_runner::Job;

    #[test]
    fn shares_and_rates_are_what_json_says() {
        let built = job(["a"])
            .cpu_weight(50)
            .cpuset("3,0-1")
            .swap(Limit::Max)
            .stack(ByteSize::mebibytes(1))
            .io_read_bps(ByteSize::kibibytes(4))
            .io_write_bps(ByteSize::kibibytes(8))
            .io_read_iops(2)
            .io_write_iops(3)
            .build();
        let parsed = Job::from_json(
            br#"{"command": ["a"], "limits": {"cpu_weight": 50, "cpuset": "0-1,3", "swap_bytes": "max", "stack_bytes": 1048576,
                "io_read_bps": 4096, "io_write_bps": 8192, "io_read_iops": 2, "io_write_iops": 3}}"#,
        );
        assert_eq!(built, parsed);
        assert_eq!(job(["a"]).cpuset("0-").build().unwrap_err().path.as_deref(), Some("limits.cpuset"));
    }
}
