//! Limits on a host without cgroups, where the runner looks now and then: each attacked by a program that means to slip through
//! between two looks or to be counted for less than it takes, and each with an honest twin that must be left alone.

use crate::faults::can_trace;
use crate::sandbox::{Answer, Job};
use crate::support::{has_cgroups, host_cannot, is_root};
use pinfold_runner::{Mechanism, Status};
use serde_json::json;
use std::fs;

const MIB: u64 = 1 << 20;

/// The job where no cgroup can be seen: root hides them in a mount namespace of the runner's own. `None`, loudly, where
/// nobody can.
fn without_cgroups(job: Job) -> Option<Job> {
    if is_root() {
        let hide = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
        return Some(job.started_by(&["unshare", "--mount", "sh", "-c", hide, "sh"], &[]));
    }
    if has_cgroups() {
        host_cannot("has cgroups, and only root can hide them");
        return None;
    }
    Some(job)
}

/// The probe `crowd` under a memory limit that is watched.
fn crowd(words: &[&str], limit: u64) -> Option<Answer> {
    let job = Job::probe("crowd", words).limit("memory_bytes", limit).limit("wall_ms", 60_000);
    let job = job.limit("tmp_bytes", "max").limit("shm_bytes", "max").limit("pids", 1000);
    let answer = without_cgroups(job)?.run();
    assert_eq!(answer.outcome.isolation.memory, Mechanism::Watched, "{}", answer.json);
    Some(answer)
}

#[test]
fn memory_that_many_processes_take_together_is_one_sum() {
    // Each of them is far below the limit.
    let Some(answer) = crowd(&["children", "8", "50", "30000"], 200 * MIB) else { return };
    answer.is(Status::OutOfMemory);
    // Half a second holds many looks.
    assert_eq!(crowd(&["children", "8", "20", "500"], 200 * MIB).unwrap().exited(), "held\n");
}

#[test]
fn memory_that_processes_share_counts_once() {
    for words in [["shared", "4", "150", "500"], ["copies", "8", "150", "500"], ["open-memfd", "4", "150", "500"]] {
        let Some(answer) = crowd(&words, 200 * MIB) else { return };
        assert_eq!(answer.exited(), "held\n", "{words:?}");
    }
    for words in [["shared", "4", "250", "30000"], ["open-memfd", "4", "250", "30000"]] {
        crowd(&words, 200 * MIB).unwrap().is(Status::OutOfMemory);
    }
}

#[test]
fn memory_that_processes_have_in_common_counts_once() {
    // Until it executes something, a child of vfork has its parent's.
    let Some(answer) = crowd(&["borrowers", "4", "100", "500"], 200 * MIB) else { return };
    assert_eq!(answer.exited(), "held\n");
}

#[test]
fn memory_of_a_process_whose_first_thread_is_gone_counts() {
    let Some(answer) = crowd(&["leaderless", "1", "300", "30000"], 200 * MIB) else { return };
    answer.is(Status::OutOfMemory);
    assert_eq!(crowd(&["leaderless", "1", "100", "500"], 200 * MIB).unwrap().exited(), "held\n");
}

#[test]
fn memory_that_nobody_has_mapped_counts() {
    for kind in ["memfds", "hidden-memfds", "closed-memfds", "detached"] {
        let Some(answer) = crowd(&[kind, "5", "50", "30000"], 200 * MIB) else { return };
        answer.is(Status::OutOfMemory);
        // Who hides is answerable for what neighbours take, such as the other tests.
        if kind != "hidden-memfds" {
            assert_eq!(crowd(&[kind, "5", "30", "500"], 200 * MIB).unwrap().exited(), "held\n", "{kind}");
        }
    }
}

#[test]
fn files_in_memory_count() {
    for path in ["/tmp/big", "/dev/shm/big", "/workspace/big"] {
        let fill = |mib: &str, kind: &str| {
            let job = Job::probe("disk", &[kind, path, mib]).with("workspace", "tmpfs".into());
            let job = job.limit("tmp_bytes", "max").limit("shm_bytes", "max").limit("workspace_bytes", "max");
            without_cgroups(job.limit("memory_bytes", 100 * MIB))
        };
        for kind in ["bytes", "unlinked"] {
            let Some(job) = fill("150", kind) else { return };
            job.limit("wall_ms", 60_000).run().is(Status::OutOfMemory);
            fill("50", kind).unwrap().limit("wall_ms", 600).run().is(Status::TimedOut);
        }
    }
}

#[test]
fn private_and_shared_memory_are_added() {
    // 80 in a file and 80 in each of two children, of which none alone is too much.
    let job = |limit: u64, ms: &str| {
        let script = format!("head -c 80M /dev/zero > /tmp/file; exec /probe/crowd children 2 80 {ms}");
        let job = Job::sh(&script).with_probe("crowd").limit("memory_bytes", limit).limit("tmp_bytes", "max");
        without_cgroups(job.limit("wall_ms", 60_000))
    };
    let Some(over) = job(200 * MIB, "30000") else { return };
    over.run().is(Status::OutOfMemory);
    assert_eq!(job(300 * MIB, "500").unwrap().run().exited(), "held\n");
}

#[test]
fn memory_that_is_handed_down_a_chain_of_forks_is_found() {
    let Some(answer) = crowd(&["chain", "0", "250", "30000"], 200 * MIB) else { return };
    answer.is(Status::OutOfMemory);
    assert_eq!(crowd(&["chain", "0", "100", "500"], 200 * MIB).unwrap().exited(), "held\n");
}

#[test]
fn one_process_alone_is_refused_memory_at_once() {
    let job = |limit: u64| without_cgroups(Job::probe("memory", &["heap", "200"]).limit("memory_bytes", limit));
    let Some(over) = job(100 * MIB) else { return };
    // The allocation fails, which Rust answers with SIGABRT.
    let answer = over.run();
    assert_eq!(answer.is(Status::Signaled).outcome.signal.as_deref(), Some("SIGABRT"));
    assert_eq!(job(300 * MIB).unwrap().run().exited(), "held\n");
}

#[test]
fn a_child_s_excess_ends_a_command_that_would_exit_with_0() {
    let script = "/probe/crowd memfds 1 150 30000 & sleep 60; exit 0";
    let job = Job::sh(script).with_probe("crowd").limit("memory_bytes", 100 * MIB);
    let Some(job) = without_cgroups(job) else { return };
    job.run().is(Status::OutOfMemory);
}

#[test]
fn cpu_time_is_limited_though_the_kernel_s_counter_is_lost() {
    // The kernel ends all counting of a process that executes what it can't read.
    let script = "cp /probe/process p && chmod 111 p && exec ./p spin 30000";
    let job = Job::sh(script).with_probe("process").limit("cpu_ms", 1000).limit("wall_ms", 60_000);
    let Some(job) = without_cgroups(job) else { return };
    let answer = job.run();
    let usage = &answer.is(Status::CpuExceeded).outcome.usage;
    let used = usage.user_ms.unwrap() + usage.system_ms.unwrap();
    assert!((900.0..5000.0).contains(&used), "{usage:?}");
}

#[test]
fn cpu_time_is_limited_though_nobody_reaps() {
    // With the kernel's counter all of it; without, what is seen at looks of some 20 ms.
    for (kind, ms) in [("unreaped-spinners", "1"), ("unreaped-spinners", "50"), ("short-spinners", "3")] {
        let exact = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
        let is_exact = exact.is_ok_and(|level| level.trim().parse().is_ok_and(|level: i32| level <= 2));
        if !is_exact && ms == "1" {
            host_cannot("`kernel.perf_event_paranoid` forbids the counter that sees children of a millisecond");
            continue;
        }
        let job = Job::probe("process", &[kind, ms]).limit("cpu_ms", 500).limit("wall_ms", 30_000);
        let Some(job) = without_cgroups(job) else { return };
        let answer = job.run();
        assert_eq!(answer.outcome.isolation.cpu, Mechanism::Watched);
        answer.is(Status::CpuExceeded);
        // One process at a time runs, so what is used is no more than what has passed.
        if is_exact {
            let usage = &answer.outcome.usage;
            let used = usage.user_ms.unwrap() + usage.system_ms.unwrap();
            assert!((450.0..5000.0).contains(&used), "{kind} {ms}: {usage:?}");
        }
        let wall = answer.outcome.usage.wall_ms.unwrap();
        assert!((if is_exact { 450.0..5000.0 } else { 450.0..20_000.0 }).contains(&wall), "{kind} {ms}: {wall}");
    }
    // Where the kernel gives no counter: children that live through a look or two are counted as far as they were seen.
    if can_trace() {
        let refuse = ["-e", "trace=perf_event_open", "-e", "inject=perf_event_open:error=EACCES"];
        let words = [&["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"], &refuse[..]].concat();
        let job = Job::probe("process", &["unreaped-spinners", "100"]).limit("cpu_ms", 500).limit("wall_ms", 30_000);
        without_cgroups(job.started_by(&words, &[])).unwrap().run().is(Status::CpuExceeded);
    }
    let idle = Job::new(&["sleep", "0.6"]).limit("cpu_ms", 400);
    without_cgroups(idle).unwrap().run().exited();
}

#[test]
fn who_requires_a_cgroup_is_told_why_this_host_has_none() {
    let job = Job::new(&["true"]).with("require", json!(["cgroup"]));
    let Some(job) = without_cgroups(job) else { return };
    let failure = job.run().outcome.error.unwrap();
    assert_eq!(failure.code, "requirement");
    let hint = failure.hint.unwrap();
    let hierarchy = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let has_v1 = hierarchy.lines().any(|line| line.contains(" - cgroup "));
    let cause = match (has_v1, is_root()) {
        (true, false) => "this host has cgroup v1",
        (_, true) => "not mounted",
        (false, false) => "cgroup",
    };
    assert!(hint.contains(cause) && hint.contains("`pinfold doctor`"), "{hint}");
}
