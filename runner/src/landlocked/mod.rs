//! `"mode": "landlock"`: a command confined without namespaces, where they are denied. Landlock, seccomp, resource limits
//! and a process group stand around it; paths, processes and ids are the host's.
//!
//! One process of ours, the warden, stands where init stands otherwise, and speaks as init does: so the runner's loop,
//! streams, limits and verdict are the same. What differs is what the kernel does no more by itself:
//!
//! * **Nothing dies with the warden.** The runner and the warden are both subreapers: whatever the command starts stays a
//!   descendant of both. Each ends all of it when the other dies; only a SIGKILL of both leaves something alive, still
//!   confined. The command's own first process then dies by its parent-death signal.
//! * **Its uid may be the caller's.** Started by root the command has the slot's uid, to which nothing on the host
//!   belongs. Started by a user it has his, and permission bits don't keep it from what is his. So there Landlock has to
//!   close signals, which it does from ABI 6 on, and that is the least that we run with; see `demands`.
//! * **It shares what a namespace would split**: Unix sockets, System V IPC, message queues, limits and priorities of
//!   processes of the same uid. Filters close these: `seccomp/no-network.json`, `no-unix-sockets.json`, `shared-host.json`.

mod command;
pub(crate) mod demands;
mod others;
mod rules;
mod warden;

pub(crate) use others::count as count_of_user;
pub(crate) use warden::run;

use crate::plan::Plan;
use std::path::Path;

/// What tells the command where its workspace is.
const VARIABLE: &str = "PINFOLD_WORKSPACE";

/// The name of the private temporary directory in the slot.
pub(crate) const TMP: &str = "tmp";

/// Where the command may write, as paths of the host.
struct Places {
    workspace: String,
    tmp: String,
}

impl Places {
    fn new(plan: &Plan<'_>, state: &Path, slot: u32) -> Self {
        let slot = state.join(slot.to_string());
        let below = |name: &str| slot.join(name).to_string_lossy().into_owned();
        let named = plan.job.workspace.directory();
        let workspace = named.map_or_else(|| below("workspace"), |path| path.as_str().to_owned());
        Self { workspace, tmp: below(TMP) }
    }
}
