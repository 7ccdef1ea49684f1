//! The sandbox's processes as the host sees them, found from init down: where there is no cgroup to ask.
//!
//! Every process of the sandbox is a descendant of init, whoever its parent was: orphans become init's children. What
//! ends while we look is missed, and counted with its parent at the next look.

use std::fs;

/// Whether this kernel tells of a process's children: CONFIG_PROC_CHILDREN.
pub(crate) fn can_be_found() -> bool {
    fs::metadata("/proc/thread-self/children").is_ok()
}

/// The host's pids of all descendants of `init`. Empty on a kernel without CONFIG_PROC_CHILDREN.
pub(crate) fn below(init: i32) -> Vec<i32> {
    let mut found = Vec::new();
    visit_below(init, |pid| found.push(pid));
    found
}

/// Tells each of them as soon as it is seen, before its own children are looked for.
pub(crate) fn visit_below(init: i32, mut seen: impl FnMut(i32)) {
    let mut waiting = vec![init];
    while let Some(pid) = waiting.pop() {
        if pid != init {
            seen(pid);
        }
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
}

/// CPU time that init's descendants have used together, in milliseconds: what the living have used, and their reaped
/// children. A child whose parent ignores SIGCHLD is counted only while it lives.
pub(crate) fn cpu_ms(init: i32) -> Option<f64> {
    // Init's own time is none of the command's; the children that it reaped are.
    let reaped = times(init)?.1;
    let living: f64 = below(init).into_iter().filter_map(times).map(|(own, reaped)| own + reaped).sum();
    Some(reaped + living)
}

/// Fields 14 to 17 of `/proc/PID/stat`, proc_pid_stat(5), in milliseconds: own time, and that of reaped children. The
/// kernel counts them in hundredths of a second whatever its own tick is (USER_HZ).
fn times(pid: i32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || Some(fields.next()?.parse::<f64>().ok()? * 10.0);
    let (user, system, reaped_user, reaped_system) = (next()?, next()?, next()?, next()?);
    Some((user + system, reaped_user + reaped_system))
}
