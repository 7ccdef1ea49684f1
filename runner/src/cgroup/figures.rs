//! What the groups of a sandbox, or of one command, have measured.

use super::{Cgroups, file};

/// What cgroups measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// CPU time in all.
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) throttled_ms: Option<f64>,
    pub(crate) throttled_periods: Option<u64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) peak_pids: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
}

impl Cgroups {
    /// CPU time in user mode and in the kernel, by the groups' count.
    pub(crate) fn cpu_split_ms(&self) -> Option<(f64, f64)> {
        match self {
            Self::None => None,
            Self::V1(groups) => groups.cpu_split_ms(),
            Self::V2(groups) => groups.cpu_split_ms(),
        }
    }

    /// Forks that the limit on processes refused; 0 where no cgroup holds it.
    pub(crate) fn refused_forks(&self) -> Option<u64> {
        let pids = match self {
            Self::None => None,
            Self::V1(groups) => groups.get("pids"),
            Self::V2(groups) => groups.pids(),
        };
        pids.map_or(Some(0), file::refused_forks)
    }

    /// What was measured, but for what is seldom asked for.
    pub(crate) fn figures(&self, throttled: bool) -> Figures {
        let mut figures = match self {
            Self::None => Figures::default(),
            Self::V1(groups) => groups.figures(),
            Self::V2(groups) => groups.figures(),
        };
        // Without a limit on CPUs nobody is held back; that is a figure, and not a missing one.
        if !throttled {
            figures.throttled_ms = Some(0.0);
            figures.throttled_periods = Some(0);
        }
        figures
    }
}
