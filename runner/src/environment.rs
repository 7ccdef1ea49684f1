//! The command's arguments and environment, and finding it on `PATH` as execvp(3) does.

use crate::plan::Plan;
use crate::sys::{self, Errno, process};
use crate::view::etc;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Where programs are looked up unless the job says otherwise: Debian's path for root, which Docker uses too.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that execve(2) wants, made before the filter is in force.
pub(crate) struct Strings {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Strings {
    /// `own` is what the mode of confinement says of itself; the job's variables have the last word.
    pub(crate) fn new(plan: &Plan<'_>, own: &[(&str, &str)]) -> Result<Self, Errno> {
        let mut variables: BTreeMap<&str, &str> = BTreeMap::from([
            ("PATH", PATH),
            ("HOME", plan.job.workspace_path()),
            ("LANG", "C.UTF-8"),
            ("USER", etc::user_name(plan.job.user.uid)),
            ("TMPDIR", "/tmp"),
        ]);
        if plan.terminal.is_some() {
            variables.insert("TERM", "xterm");
        }
        variables.extend(own.iter().copied());
        variables.extend(plan.job.env.iter());
        let program = plan.job.command.program();
        let candidates = if program.contains('/') {
            vec![sys::c_string(program)?]
        } else {
            // An empty element means the current directory, as POSIX has it.
            let join = |dir: &str| if dir.is_empty() { program.to_owned() } else { format!("{dir}/{program}") };
            variables["PATH"].split(':').map(|dir| sys::c_string(join(dir))).collect::<Result<_, _>>()?
        };
        Ok(Self {
            candidates,
            argv: plan.job.command.as_slice().iter().map(sys::c_string).collect::<Result<_, _>>()?,
            envp: variables
                .iter()
                .map(|(name, value)| sys::c_string(format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Executes the first candidate that can be. Returns only on failure: EACCES if one was there but may not be
    /// executed, else ENOENT, else what the kernel said of the one that it could not start.
    pub(crate) fn execute(&self) -> Errno {
        let (argv, envp) = (process::pointers(&self.argv), process::pointers(&self.envp));
        let mut answer = Errno(libc::ENOENT);
        for candidate in &self.candidates {
            match process::execve(candidate, &argv, &envp) {
                Errno(libc::ENOENT | libc::ENOTDIR) => {}
                Errno(libc::EACCES) => answer = Errno(libc::EACCES),
                other => return other,
            }
        }
        answer
    }
}
