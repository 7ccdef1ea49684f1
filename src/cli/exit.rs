//! The exit codes of `pinfold`, all of them, in the words of timeout(1), env(1) and the shell.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0.
    Success,
    /// 1: `doctor` found that the default job can't be confined here.
    Unfit,
    /// The command's own code.
    Command(u8),
    /// 128 + n: the command died of signal n, or was cancelled by it.
    Signal(u8),
    /// 124: the wall clock or the CPU time ran out; timeout(1)'s code.
    TimedOut,
    /// 125: Pinfold could not do what it was asked, wrong usage included; the code of env(1), timeout(1), docker run.
    Failed,
    /// 126: the command was found but can't be executed; the shell's code.
    NotExecutable,
    /// 127: the command was not found; the shell's code.
    NotFound,
    /// 137: out of memory; 128 + SIGKILL, as the kernel ends it.
    OutOfMemory,
    /// 153: the workspace passed its limit; 128 + SIGXFSZ, "file size limit exceeded".
    WorkspaceExceeded,
}

impl Exit {
    /// The number that the caller sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unfit => 1,
            Self::Command(code) => code,
            Self::Signal(number) => 128u8.saturating_add(number),
            Self::TimedOut => 124,
            Self::Failed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::OutOfMemory => 137,
            Self::WorkspaceExceeded => 153,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
