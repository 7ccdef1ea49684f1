//! What processes have used, by the kernel's count for each process and its reaped children: getrusage(2).

use crate::sys::process;
use std::time::Instant;

/// The runner's beginning: the moment from which its processes count the times that they tell each other, and what had
/// been used by then, by whoever became the runner by exec.
pub(crate) struct Start {
    pub(crate) at: Instant,
    pub(crate) spent: Spent,
}

impl Start {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), spent: Spent::by_self() }
    }
}

/// One count. What children used counts once somebody has reaped them; of those whose parent ignores SIGCHLD, never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
}

impl Spent {
    pub(crate) const WORDS: usize = 8;

    /// What this process has used until now, without its children.
    pub(crate) fn by_self() -> Self {
        Self::of(&process::usage_of_self())
    }

    /// What all reaped descendants of this process have used.
    pub(crate) fn by_children() -> Self {
        Self::of(&process::usage_of_children())
    }

    pub(crate) fn of(usage: &libc::rusage) -> Self {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let us = |time: libc::timeval| number(time.tv_sec) * 1_000_000 + number(time.tv_usec);
        Self {
            user_us: us(usage.ru_utime),
            system_us: us(usage.ru_stime),
            // Blocks of 512 bytes, whatever the file system's are.
            read_bytes: number(usage.ru_inblock) * 512,
            written_bytes: number(usage.ru_oublock) * 512,
            minor_faults: number(usage.ru_minflt),
            major_faults: number(usage.ru_majflt),
            voluntary_switches: number(usage.ru_nvcsw),
            involuntary_switches: number(usage.ru_nivcsw),
        }
    }

    /// What came after an earlier count that is part of this one.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let (mut words, earlier) = (self.to_words(), earlier.to_words());
        for (word, earlier) in words.iter_mut().zip(earlier) {
            *word = word.saturating_sub(earlier);
        }
        Self::from_words(words)
    }

    pub(crate) fn cpu_ms(&self) -> f64 {
        (self.user_us + self.system_us) as f64 / 1e3
    }

    /// For a message between our own processes.
    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        [
            self.user_us,
            self.system_us,
            self.read_bytes,
            self.written_bytes,
            self.minor_faults,
            self.major_faults,
            self.voluntary_switches,
            self.involuntary_switches,
        ]
    }

    pub(crate) fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [user_us, system_us, read_bytes, written_bytes, minor_faults, major_faults, voluntary, involuntary] = words;
        Self {
            user_us,
            system_us,
            read_bytes,
            written_bytes,
            minor_faults,
            major_faults,
            voluntary_switches: voluntary,
            involuntary_switches: involuntary,
        }
    }
}
