//! What the runner and its init say to each other over their socket. Both are this program and one is forked from the
//! other, so the format is whatever is shortest; the sandbox never holds the socket.

use crate::cgroup::gauge::Reading;
use crate::rlimit::Held;
use crate::spent::Spent;
use crate::sys::process::End;
use pinfold_runner::MemoryUse;

/// From the runner to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The id maps are written and the ground is laid: go on. The number is the slot's, in which the temporary workspace
    /// is. With it come the slot's directory, and the `tasks` files of the command's groups on cgroup v1.
    Begin(u32, Held),
    /// With this come the files that tell of the sandbox's memory, if there are any. It always follows on the first.
    Measure,
    /// Send this signal to the command's process group.
    Signal(i32),
    /// Kill everything and report.
    KillAll,
}

impl Order {
    pub(crate) const BYTES: usize = 6;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let (kind, number, held) = match self {
            Self::Begin(slot, held) => (b'b', slot.cast_signed(), held.encode()),
            Self::Measure => (b'm', 0, 0),
            Self::Signal(number) => (b's', number, 0),
            Self::KillAll => (b'k', 0, 0),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, a, b, c, d, held]
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [kind, a, b, c, d, held] = *bytes else { return None };
        let number = i32::from_le_bytes([a, b, c, d]);
        match kind {
            b'b' => Some(Self::Begin(number.cast_unsigned(), Held::decode(held))),
            b'm' => Some(Self::Measure),
            b's' => Some(Self::Signal(number)),
            b'k' => Some(Self::KillAll),
            _ => None,
        }
    }
}

/// From init to the runner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// The master of the command's terminal comes with this message.
    Terminal,
    /// The workspace's directory comes with this message.
    Workspace,
    /// The counter of the command's CPU time comes with this message.
    Meter,
    /// What is in memory comes with this message: the table of System V segments, if there is one, then the tmpfs.
    Places { has_segments: bool },
    /// The command has ended, and everything else is dead and reaped.
    Ended(Box<Report>),
}

/// How the command ended, and what init knows of what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// Whether init killed it because the supervisor's end of the lifeline was closed.
    pub(crate) is_orphaned: bool,
    /// When the command ended, in microseconds since the runner's start.
    pub(crate) ended_us: u64,
    /// What all processes together used, set-up included, by the kernel's count of reaped children.
    pub(crate) spent: Spent,
    /// The number of the process or thread that was started last.
    pub(crate) last_number: Option<u64>,
    /// What the memory consisted of right before what was left was killed.
    pub(crate) reading: Option<Reading>,
}

/// No message is longer.
pub(crate) const LONGEST_NEWS: usize = 160;

/// What no figure ever is: stands for one that is not known.
const UNKNOWN: u64 = u64::MAX;

impl News {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Terminal => vec![b't'],
            Self::Workspace => vec![b'w'],
            Self::Meter => vec![b'm'],
            Self::Places { has_segments } => vec![b'p', u8::from(*has_segments)],
            Self::Ended(report) => report.encode(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            b't' => Some(Self::Terminal),
            b'w' => Some(Self::Workspace),
            b'm' => Some(Self::Meter),
            b'p' => Some(Self::Places { has_segments: *bytes.get(1)? != 0 }),
            b'e' => Report::decode(bytes).map(Box::new).map(Self::Ended),
            _ => None,
        }
    }
}

impl Report {
    fn encode(&self) -> Vec<u8> {
        let (kind, number) = match self.end {
            End::Exited(code) => (0u8, code),
            End::Signaled(signal) => (1u8, signal),
        };
        let mut bytes = vec![b'e', kind | u8::from(self.is_orphaned) << 1 | u8::from(self.reading.is_some()) << 2];
        bytes.extend_from_slice(&number.to_le_bytes());
        let Reading { memory, faults, major_faults } = self.reading.unwrap_or_default();
        let MemoryUse { anon_bytes, file_bytes, shmem_bytes, kernel_bytes, swap_bytes } = memory;
        let known =
            [self.last_number, faults, major_faults, anon_bytes, file_bytes, shmem_bytes, kernel_bytes, swap_bytes];
        let known = known.map(|figure| figure.unwrap_or(UNKNOWN));
        let words = std::iter::once(self.ended_us).chain(self.spent.to_words()).chain(known);
        bytes.extend(words.flat_map(u64::to_le_bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, words) = bytes.split_at_checked(6)?;
        let number = i32::from_le_bytes(head[2..].try_into().ok()?);
        let mut words = words.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let ended_us = words.next()?;
        let spent = words_of_spent(&mut words)?;
        let mut known = || words.next().map(|word| Some(word).filter(|word| *word != UNKNOWN));
        let (last_number, faults, major_faults) = (known()?, known()?, known()?);
        let memory = MemoryUse {
            anon_bytes: known()?,
            file_bytes: known()?,
            shmem_bytes: known()?,
            kernel_bytes: known()?,
            swap_bytes: known()?,
        };
        Some(Self {
            end: if head[1] & 1 == 0 { End::Exited(number) } else { End::Signaled(number) },
            is_orphaned: head[1] & 2 != 0,
            ended_us,
            spent,
            last_number,
            reading: (head[1] & 4 != 0).then_some(Reading { memory, faults, major_faults }),
        })
    }
}

/// What the command's process says right before exec: what its own setting up has cost, which is none of the command's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Departure {
    /// When that was, in microseconds since the runner's start.
    pub(crate) at_us: u64,
    /// All that it had used when it came into its cgroup.
    pub(crate) on_entry: Spent,
    /// All that it has used now.
    pub(crate) spent: Spent,
    /// In a held sandbox: its number in the sandbox's pid namespace.
    pub(crate) pid: u64,
}

impl Departure {
    pub(crate) const BYTES: usize = 16 + 16 * Spent::WORDS;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = std::iter::once(self.at_us).chain(self.on_entry.to_words()).chain(self.spent.to_words());
        words.chain([self.pid]).flat_map(u64::to_le_bytes).collect()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let at_us = words.next()?;
        let (on_entry, spent) = (words_of_spent(&mut words)?, words_of_spent(&mut words)?);
        Some(Self { at_us, on_entry, spent, pid: words.next()? })
    }

    /// What setting up has cost within the cgroup, and is in the cgroup's figures.
    pub(crate) fn in_group(&self) -> Spent {
        self.spent.since(&self.on_entry)
    }
}

pub(crate) fn words_of_spent(words: &mut impl Iterator<Item = u64>) -> Option<Spent> {
    let mut taken = [0; Spent::WORDS];
    for word in &mut taken {
        *word = words.next()?;
    }
    Some(Spent::from_words(taken))
}
