//! The JSON form of a policy: `linux.seccomp` of the OCI runtime specification, as Docker's users know it.
//! It only says what the text says; what it means, and whether it can be had, is decided in `policy`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::docker::{ArchMap, Filter};

/// A whole policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "comment")]
    _comment: Option<String>,
    pub(super) default_action: Action,
    pub(super) default_errno_ret: Option<u32>,
    pub(super) architectures: Option<Vec<String>>,
    pub(super) arch_map: Option<Vec<ArchMap>>,
    /// The next three are read to be refused by name.
    pub(super) flags: Option<Vec<IgnoredAny>>,
    pub(super) listener_path: Option<IgnoredAny>,
    pub(super) listener_metadata: Option<IgnoredAny>,
    pub(super) syscalls: Option<Vec<Entry>>,
}

/// One entry of `syscalls`: what happens to some system calls, when all of `args` hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(rename = "comment")]
    pub(super) _comment: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) action: Action,
    pub(super) errno_ret: Option<u32>,
    pub(super) args: Option<Vec<Argument>>,
    pub(super) includes: Option<Filter>,
    pub(super) excludes: Option<Filter>,
}

/// One comparison of one argument.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Operator,
}

/// How an argument is compared with `value`, in 64 bits and without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// `value` is the mask: argument AND `value` equals `valueTwo`.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// `SCMP_ACT_KILL` is the older name, in libseccomp as well.
    #[serde(rename = "SCMP_ACT_KILL_THREAD", alias = "SCMP_ACT_KILL")]
    KillThread,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}
