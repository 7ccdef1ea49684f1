//! Why a policy is refused. It deliberately holds no way around a refusal: a policy is taken whole or not at all.

use std::error::Error;
use std::fmt;

/// Why a policy is refused. `rule` counts the entries of `syscalls` from 0.
#[derive(Debug)]
pub enum PolicyError {
    /// The text is not JSON of the right form. What and where is in [`Error::source`].
    Form {
        /// The field or the character that is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The text is longer than [`MAX_BYTES`](super::MAX_BYTES).
    TooBig {
        /// Its length.
        bytes: usize,
    },
    /// A field of OCI that asks for a supervisor of system calls, or for flags of the filter.
    UnsupportedField {
        /// Its name in JSON.
        field: &'static str,
    },
    /// An action of OCI that needs a tracer or a supervisor.
    UnsupportedAction {
        /// Its name in JSON.
        action: &'static str,
    },
    /// An `errnoRet` beside an action that returns no error.
    StrayErrno {
        /// The rule, or nothing for the default action.
        rule: Option<usize>,
    },
    /// An error number that the kernel would not pass on.
    ErrnoRange {
        /// The number.
        errno: u32,
    },
    /// A name that is no architecture's.
    UnknownArchitecture {
        /// The name.
        name: String,
    },
    /// A list of architectures without this machine's.
    ForeignArchitecture,
    /// A name that is no system call's, on any architecture.
    UnknownSyscall {
        /// The name.
        name: String,
        /// The rule that has it.
        rule: usize,
    },
    /// A rule without a system call.
    NoNames {
        /// The rule.
        rule: usize,
    },
    /// An argument that no system call has.
    ArgumentIndex {
        /// Its number.
        index: u32,
        /// The rule that has it.
        rule: usize,
    },
    /// A masked comparison with bits outside its mask, or a `valueTwo` that the operator does not look at.
    ValueTwo {
        /// The rule that has it.
        rule: usize,
    },
    /// A kernel version that can't be decided before the policy runs.
    MinKernel {
        /// The version as written.
        version: String,
    },
    /// More instructions than the kernel takes in one program.
    TooLong {
        /// How many there would be.
        instructions: usize,
    },
}

impl PolicyError {
    /// What to do about it, where that is not plain from the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnsupportedField { .. } => Some("remove the field; nothing here answers for a policy while it runs"),
            Self::UnsupportedAction { .. } => {
                Some("use `SCMP_ACT_ERRNO` to refuse a system call, or `SCMP_ACT_LOG` to find out who makes it")
            }
            Self::StrayErrno { .. } => Some("remove `errnoRet`, or make the action `SCMP_ACT_ERRNO`"),
            Self::ForeignArchitecture => Some("add `SCMP_ARCH_X86_64`, or leave `architectures` out"),
            Self::UnknownSyscall { .. } => Some("`ausyscall --dump` and syscalls(2) list the names"),
            Self::ValueTwo { .. } => Some(
                "of `SCMP_CMP_MASKED_EQ`, `value` is the mask and `valueTwo` what must be left; the other operators compare with `value` alone",
            ),
            Self::MinKernel { .. } => Some("remove `minKernel`, or the rule"),
            Self::TooLong { .. } => Some("put system calls with the same action and no `args` into one rule"),
            _ => None,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { .. } => write!(f, "failed to read the seccomp policy"),
            Self::TooBig { bytes } => {
                write!(f, "the seccomp policy has {bytes} bytes, more than the {} allowed", super::MAX_BYTES)
            }
            Self::UnsupportedField { field } => write!(f, "the field `{field}` is not supported"),
            Self::UnsupportedAction { action } => write!(f, "the action `{action}` is not supported"),
            Self::StrayErrno { rule: Some(rule) } => {
                write!(f, "`errnoRet` in `syscalls[{rule}]` beside an action that returns no error")
            }
            Self::StrayErrno { rule: None } => {
                write!(f, "`defaultErrnoRet` beside a default action that returns no error")
            }
            Self::ErrnoRange { errno } => write!(f, "the error number `{errno}` is not between 0 and 4095"),
            Self::UnknownArchitecture { name } => write!(f, "unknown architecture `{name}`"),
            Self::ForeignArchitecture => write!(f, "the policy is not for this machine's architecture"),
            Self::UnknownSyscall { name, rule } => write!(f, "unknown system call `{name}` in `syscalls[{rule}]`"),
            Self::NoNames { rule } => write!(f, "no `names` in `syscalls[{rule}]`"),
            Self::ArgumentIndex { index, rule } => {
                write!(f, "the argument `{index}` in `syscalls[{rule}]` is not between 0 and 5")
            }
            Self::ValueTwo { rule } => write!(f, "a `valueTwo` in `syscalls[{rule}]` that can't match"),
            Self::MinKernel { version } => write!(f, "the `minKernel` `{version}` can't be decided"),
            Self::TooLong { instructions } => {
                write!(f, "the policy needs {instructions} instructions, more than the 4096 that the kernel takes")
            }
        }
    }
}

impl Error for PolicyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Form { source } => Some(source),
            _ => None,
        }
    }
}
