//! What the runner and its init say to each other over their socket. Both are this program and one is forked from the
//! other, so the format is whatever is shortest; the sandbox never holds the socket.

use crate::rlimit::Held;
use crate::sys::process::End;

/// From the runner to init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The id maps are written and the ground is laid: go on. The number is the slot's, in which the temporary workspace
    /// is. With it come the slot's directory, and the `tasks` files of the command's groups on cgroup v1.
    Begin(u32, Held),
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
            b's' => Some(Self::Signal(number)),
            b'k' => Some(Self::KillAll),
            _ => None,
        }
    }
}

/// From init to the runner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum News {
    /// The master of the command's terminal comes with this message.
    Terminal,
    /// The workspace's directory comes with this message.
    Workspace,
    /// The command has ended, and everything else is dead and reaped.
    Ended(Report),
}

/// How the command ended and what all processes together used, by the kernel's count of reaped children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// Whether init killed it because the supervisor's end of the lifeline was closed.
    pub(crate) is_orphaned: bool,
    pub(crate) user_ms: f64,
    pub(crate) system_ms: f64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl Report {
    pub(crate) fn new(end: End, is_orphaned: bool, usage: &libc::rusage) -> Self {
        let ms = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 / 1e3;
        // getrusage(2) counts blocks of 512 bytes, whatever the file system's are.
        let bytes = |blocks: i64| u64::try_from(blocks).unwrap_or(0) * 512;
        Self {
            end,
            is_orphaned,
            user_ms: ms(usage.ru_utime),
            system_ms: ms(usage.ru_stime),
            read_bytes: bytes(usage.ru_inblock),
            written_bytes: bytes(usage.ru_oublock),
        }
    }
}

/// No message is longer.
pub(crate) const LONGEST_NEWS: usize = 64;

impl News {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Terminal => vec![b't'],
            Self::Workspace => vec![b'w'],
            Self::Ended(report) => {
                let (kind, number) = match report.end {
                    End::Exited(code) => (0u8, code),
                    End::Signaled(signal) => (1u8, signal),
                };
                let mut bytes = vec![b'e', kind | u8::from(report.is_orphaned) << 1];
                bytes.extend_from_slice(&number.to_le_bytes());
                bytes.extend_from_slice(&report.user_ms.to_le_bytes());
                bytes.extend_from_slice(&report.system_ms.to_le_bytes());
                bytes.extend_from_slice(&report.read_bytes.to_le_bytes());
                bytes.extend_from_slice(&report.written_bytes.to_le_bytes());
                bytes
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            b't' => Some(Self::Terminal),
            b'w' => Some(Self::Workspace),
            b'e' => {
                let number = i32::from_le_bytes(bytes.get(2..6)?.try_into().ok()?);
                let word =
                    |index: usize| -> Option<[u8; 8]> { bytes.get(6 + index * 8..14 + index * 8)?.try_into().ok() };
                let end = if bytes[1] & 1 == 0 { End::Exited(number) } else { End::Signaled(number) };
                Some(Self::Ended(Report {
                    end,
                    is_orphaned: bytes[1] & 2 != 0,
                    user_ms: f64::from_le_bytes(word(0)?),
                    system_ms: f64::from_le_bytes(word(1)?),
                    read_bytes: u64::from_le_bytes(word(2)?),
                    written_bytes: u64::from_le_bytes(word(3)?),
                }))
            }
            _ => None,
        }
    }
}
