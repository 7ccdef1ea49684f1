//! What the runner and init of a held sandbox say to each other beside `message`. Both are this program, so the format is
//! whatever is shortest.

use crate::failure::StepError;
use crate::message::words_of_spent;
use crate::rlimit::Held;
use crate::spent::Spent;
use crate::sys::process::End;
use pinfold_runner::MAX_HELD_MESSAGE;

/// From the runner to init.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Make a process for the next command. With it come its end of the status pipe, where it hears [`Order::Exec`], and these
    /// many files of groups that it enters now. One that is to go on in a group as another has no status pipe yet: with it come
    /// where it hears the order and that group.
    Prepare { number: u64, tasks: u8, goes_on_in_group: bool },
    /// Start a command.
    Exec(Exec),
    /// Send a signal to its process group.
    Signal { number: u64, signal: i32 },
}

/// What init has to know of a command. What it asks for follows as the keeper sent it; with it come the status pipe's end,
/// `tasks` files, the counter, and then what came from the keeper. A process that stands ready hears the same, but has the
/// status pipe's end; one that goes on as another has all of them in a message of their own, after this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exec {
    /// Which no other process has.
    pub(super) number: u64,
    pub(super) terminal: Option<(u16, u16)>,
    pub(super) extra: u8,
    pub(super) tasks: u8,
    /// Whether the group that it is born in comes first of all.
    pub(super) is_born_in_group: bool,
    pub(super) held: Held,
    /// Whether the file is with it that tells how many processes there are; too many is too late to be told otherwise.
    pub(super) is_counted: bool,
}

/// The longest order.
pub(super) const LONGEST_ORDER: usize = MAX_HELD_MESSAGE + Exec::BYTES;

impl Exec {
    pub(super) const BYTES: usize = 19;
}

impl Order {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, number) = match self {
            Self::Prepare { number, .. } => (b'p', *number),
            Self::Exec(exec) => (b'x', exec.number),
            Self::Signal { number, .. } => (b's', *number),
        };
        let mut bytes = vec![kind];
        bytes.extend(number.to_le_bytes());
        match self {
            Self::Prepare { tasks, goes_on_in_group, .. } => bytes.extend([*tasks, u8::from(*goes_on_in_group)]),
            Self::Exec(Exec { terminal, extra, tasks, held, is_born_in_group, is_counted, .. }) => {
                let (rows, columns) = terminal.unwrap_or_default();
                bytes.extend([
                    u8::from(terminal.is_some()),
                    *extra,
                    *tasks,
                    held.encode(),
                    u8::from(*is_born_in_group),
                    u8::from(*is_counted),
                ]);
                bytes.extend(rows.to_le_bytes().into_iter().chain(columns.to_le_bytes()));
            }
            Self::Signal { signal, .. } => bytes.extend(signal.to_le_bytes()),
        }
        bytes
    }

    /// The order, and what follows it.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&kind, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        match kind {
            b'p' => {
                let (&[tasks, goes_on], rest) = rest.split_first_chunk()?;
                Some((Self::Prepare { number, tasks, goes_on_in_group: goes_on != 0 }, rest))
            }
            b'x' => {
                let (&[is_terminal, extra, tasks, held, born, counted, a, b, c, d], rest) = rest.split_first_chunk()?;
                let size = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                let terminal = (is_terminal != 0).then_some(size);
                let (held, is_born_in_group, is_counted) = (Held::decode(held), born != 0, counted != 0);
                let exec = Exec { number, terminal, extra, tasks, is_born_in_group, held, is_counted };
                Some((Self::Exec(exec), rest))
            }
            b's' => {
                let (signal, rest) = rest.split_first_chunk()?;
                Some((Self::Signal { number, signal: i32::from_le_bytes(*signal) }, rest))
            }
            _ => None,
        }
    }
}

/// From init to the runner.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// Init is in its cgroup namespace, so the groups of commands can be made: on v2, and before anything else.
    Hidden,
    /// Init takes orders. With it comes the workspace's directory.
    Serving,
    /// The master of a command's terminal comes with this.
    Terminal { number: u64 },
    /// There was no process to be had for a command, or nothing else that it needs.
    Refused { number: u64, error: StepError },
    /// A command's first process has ended, at so many microseconds since the runner's start.
    Ended { number: u64, end: End, ended_us: u64, spent: Spent },
}

impl News {
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = |kind: u8, number: u64| -> Vec<u8> { std::iter::once(kind).chain(number.to_le_bytes()).collect() };
        match self {
            Self::Hidden => head(b'H', 0),
            Self::Serving => head(b'S', 0),
            Self::Terminal { number } => head(b'T', *number),
            Self::Refused { number, error } => [head(b'R', *number), error.encode()].concat(),
            Self::Ended { number, end, ended_us, spent } => {
                let (kind, code) = match end {
                    End::Exited(code) => (0u8, code),
                    End::Signaled(signal) => (1u8, signal),
                };
                let mut bytes = head(b'E', *number);
                bytes.push(kind);
                bytes.extend(code.to_le_bytes());
                bytes.extend(std::iter::once(*ended_us).chain(spent.to_words()).flat_map(u64::to_le_bytes));
                bytes
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        match kind {
            b'H' => Some(Self::Hidden),
            b'S' => Some(Self::Serving),
            b'T' => Some(Self::Terminal { number }),
            b'R' => StepError::decode(rest).map(|error| Self::Refused { number, error }),
            b'E' => {
                let (&[kind, a, b, c, d], words) = rest.split_first_chunk()?;
                let code = i32::from_le_bytes([a, b, c, d]);
                let end = if kind == 0 { End::Exited(code) } else { End::Signaled(code) };
                let mut words =
                    words.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
                let ended_us = words.next()?;
                Some(Self::Ended { number, end, ended_us, spent: words_of_spent(&mut words)? })
            }
            _ => None,
        }
    }
}
