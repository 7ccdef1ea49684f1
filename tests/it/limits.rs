//! Each limit attacked by a program that means to pass it. What a host without cgroups can't hold is skipped there by
//! name.

use crate::sandbox::{Job, Scratch};
use crate::support::{has_cgroups, host_cannot, is_slow, runs};
use pinfold_runner::Status;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// True when cgroups hold limits here; says so loudly when not.
fn held() -> bool {
    let held = has_cgroups();
    if !held {
        host_cannot("needs cgroups");
    }
    held
}

fn first_number(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
pub(crate) fn memory_is_one_limit_for_every_kind_of_memory() {
    if !held() {
        return;
    }
    for arguments in [
        vec!["heap", "200"],
        vec!["memfd", "200"],
        vec!["shm", "200"],
        vec!["file", "200", "/tmp/big"],
        vec!["file", "200", "/dev/shm/big"],
        vec!["file", "200", "/workspace/big"],
        vec!["pipes", "200"],
    ] {
        let mut words = vec!["/probe/memory"];
        words.extend(&arguments);
        let attack = |bytes: u64| {
            let job =
                Job::new(&words).with_probe("memory").with("workspace", json!("tmpfs")).limit("memory_bytes", bytes);
            let job = job.limit("tmp_bytes", "max").limit("shm_bytes", "max").limit("workspace_bytes", "max");
            job.limit("wall_ms", 60_000).run()
        };
        let shot = attack(64 * MIB);
        shot.is(Status::OutOfMemory);
        assert!(shot.outcome.usage.oom_kills.unwrap() > 0, "{arguments:?}");
        assert!(shot.outcome.usage.peak_memory_bytes.unwrap() <= 64 * MIB, "{arguments:?}");
        // Pipes have a limit of their own for each user, so of those less is to be had anywhere.
        if arguments[0] != "pipes" {
            assert_eq!(attack(600 * MIB).exited(), "held\n", "{arguments:?}");
        }
    }
}

#[test]
pub(crate) fn a_child_s_oom_kill_shows_though_the_command_exits_with_0() {
    if !held() {
        return;
    }
    let answer = Job::probe("memory", &["child", "200"]).limit("memory_bytes", 64 * MIB).run();
    assert_eq!(answer.exited(), "child ended by signal 9\nheld\n");
    assert!(answer.outcome.usage.oom_kills.unwrap() > 0);
}

#[test]
fn init_is_no_victim_of_the_command_s_limit() {
    if !held() {
        return;
    }
    // The least memory that may be asked for: even exec fails, and still it is the command that is shot.
    let answer = Job::probe("memory", &["heap", "100"]).limit("memory_bytes", MIB).run();
    answer.is(Status::OutOfMemory);
    let failure = Job::new(&["true"]).limit("memory_bytes", MIB - 1).failure();
    assert!(failure.message.contains("`memory_bytes`") && failure.message.contains("1048576"), "{failure:?}");
}

#[test]
pub(crate) fn processes_and_threads_are_counted_together() {
    for kind in ["forks", "threads"] {
        let answer = Job::probe("process", &[kind]).limit("pids", 20).run();
        let text = answer.exited();
        assert!(text.ends_with("errno 11\n"), "EAGAIN: {text}");
        assert!((15..=20).contains(&first_number(&text)), "{kind}: {text}");
        if has_cgroups() {
            assert_eq!(answer.outcome.usage.peak_pids, Some(20));
        }
    }
    let more = Job::probe("process", &["forks"]).limit("pids", 60).run().exited();
    assert!(first_number(&more) > 40, "{more}");
    // One process is a job too.
    let one = Job::probe("process", &["forks"]).limit("pids", 1).run().exited();
    assert_eq!(first_number(&one), 0, "{one}");
}

#[test]
fn a_fork_bomb_is_over_when_the_job_is() {
    for kind in ["bomb", "chain"] {
        for _ in 0..3 {
            let job = Job::probe("process", &[kind]).limit("wall_ms", 300).limit("pids", 100);
            let answer = job.run();
            // The chain's first process ends by itself: then the job is over, and all the others with it.
            assert!([Status::TimedOut, Status::Exited].contains(&answer.outcome.status), "{}", answer.json);
        }
    }
}

#[test]
pub(crate) fn the_cpu_quota_holds_with_many_spinners() {
    if !held() {
        return;
    }
    let spin = |cpus: Value| Job::probe("process", &["spinners", "8"]).limit("cpus", cpus).limit("wall_ms", 1500).run();
    let answer = spin(json!(0.2));
    let usage = &answer.is(Status::TimedOut).outcome.usage;
    assert!(usage.throttled_ms.unwrap() > 0.0, "{usage:?}");
    // 0.2 of 1.5 s is 300 ms; one period's overrun on each CPU comes on top.
    let used = usage.user_ms.unwrap() + usage.system_ms.unwrap();
    assert!((50.0..900.0).contains(&used), "{usage:?}");
    let free = spin(json!("max"));
    assert_eq!(free.is(Status::TimedOut).outcome.usage.throttled_ms, Some(0.0));
}

#[test]
pub(crate) fn cpu_time_is_limited_over_all_processes_however_short_they_live() {
    for arguments in [["spin", "60000"], ["spinners", "4"], ["short-spinners", "3"]] {
        // Without a cgroup, what is over between two looks is counted once somebody has reaped it.
        let answer = Job::probe("process", &arguments).limit("cpu_ms", 300).limit("wall_ms", 60_000).run();
        let usage = &answer.is(Status::CpuExceeded).outcome.usage;
        let used = usage.user_ms.unwrap() + usage.system_ms.unwrap();
        // The limit holds from the start; the figure is without our set-up, which takes its share on a slow machine.
        let least = if is_slow() { 100.0 } else { 250.0 };
        assert!((least..3000.0).contains(&used), "{arguments:?}: {usage:?}");
    }
    Job::probe("process", &["spin", "100"]).limit("cpu_ms", 20_000).run().exited();
    // Sleeping costs nothing.
    Job::new(&["sleep", "0.6"]).limit("cpu_ms", 400).run().exited();
}

#[test]
pub(crate) fn output_beyond_the_cap_is_read_counted_and_dropped() {
    let bytes = runs(200_000_000);
    let job = Job::probe("output", &["stdout", &bytes.to_string()]).limit("output_bytes", 1000);
    let answer = job.limit("wall_ms", 60_000).run();
    answer.exited();
    let outcome = &answer.outcome;
    assert_eq!((outcome.stdout.as_bytes().len(), outcome.stdout_bytes), (1000, bytes as u64));
    assert!(outcome.stdout_truncated && !outcome.stderr_truncated);
    let exact = Job::probe("output", &["stderr", "1000"]).limit("output_bytes", 1000).run();
    assert_eq!((exact.outcome.stderr.as_bytes().len(), exact.outcome.stderr_truncated), (1000, false));
}

#[test]
fn the_runner_s_memory_is_bounded_by_the_cap() {
    let job = Job::probe("output", &["stdout", &runs(300_000_000).to_string()]).limit("output_bytes", 10_000);
    let running = job.limit("wall_ms", 60_000).spawn();
    let mut most = 0;
    let path = format!("/proc/{}/status", running.pid());
    // A child of vfork(2) has our own memory, and our thread's name, for a moment after its parent goes on.
    let ours = format!("Name:\t{}", fs::read_to_string("/proc/thread-self/comm").unwrap());
    running.until("the runner is done", || {
        let status = fs::read_to_string(&path).unwrap_or_default();
        if status.starts_with(&ours) {
            return false;
        }
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim).map(str::to_owned);
        most = peak.map_or(most, |peak| first_number(&peak).max(most));
        status.is_empty() || status.contains("State:\tZ")
    });
    running.answer().exited();
    assert!((1..64 << 10).contains(&most), "{most} kB");
}

#[test]
pub(crate) fn a_cap_within_a_utf8_sequence_keeps_the_bytes_as_they_are() {
    for cap in 1..=8u64 {
        let answer = Job::probe("output", &["stdout", "40", "\u{20ac}"]).limit("output_bytes", cap).run();
        answer.exited();
        let kept = answer.outcome.stdout.as_bytes();
        assert_eq!(kept, &"\u{20ac}".repeat(4).as_bytes()[..usize::try_from(cap).unwrap()]);
        assert_eq!(answer.json["stdout"].is_string(), cap % 3 == 0, "{}", answer.json["stdout"]);
        assert_eq!(answer.outcome.stdout_bytes, 40);
    }
}

#[test]
fn a_workspace_on_disk_is_watched() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    for workspace in [json!("temp"), json!({"path": work})] {
        for kind in ["bytes", "unlinked"] {
            let job = Job::probe("disk", &[kind, "file", "64"]).with("workspace", workspace.clone());
            let answer = job.limit("workspace_bytes", 16 * MIB).limit("wall_ms", 60_000).run();
            answer.is(Status::WorkspaceExceeded);
            let _absent_when_unlinked = fs::remove_file(scratch.path("work/file"));
        }
        // Long, but with nothing in it: what counts is what it takes on disk.
        let job = Job::probe("disk", &["sparse", "file", "4096", "leave"]).with("workspace", workspace.clone());
        assert_eq!(job.limit("workspace_bytes", 16 * MIB).run().exited(), "all\n");
        let _only_in_the_second = fs::remove_file(scratch.path("work/file"));
        let job = Job::probe("disk", &["bytes", "file", "8", "leave"]).with("workspace", workspace.clone());
        assert_eq!(job.limit("workspace_bytes", 16 * MIB).run().exited(), "all\n");
    }
}

#[test]
fn empty_files_count_against_the_workspace_too() {
    let job = Job::probe("disk", &["inodes", ".", "60000"]).limit("workspace_bytes", 8 * MIB).limit("wall_ms", 20_000);
    job.run().is(Status::WorkspaceExceeded);
    let job = Job::probe("disk", &["inodes", ".", "60000", "leave"]).with("workspace", json!("tmpfs"));
    let text = job.limit("workspace_bytes", 8 * MIB).run().exited();
    assert!(text.starts_with("errno 28"), "{text}");
}

#[test]
fn only_growth_of_a_callers_workspace_counts() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    scratch.file("work/before", vec![1u8; 32 << 20]);
    let job = |arguments: &[&str]| {
        let job = Job::probe("disk", arguments).with("workspace", json!({"path": work}));
        job.limit("workspace_bytes", 16 * MIB).limit("wall_ms", 60_000).run()
    };
    assert_eq!(job(&["bytes", "file", "8", "leave"]).exited(), "all\n");
    job(&["bytes", "file", "40"]).is(Status::WorkspaceExceeded);
}

#[test]
fn what_is_written_while_a_large_workspace_is_measured_counts() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    for index in 0..60 {
        let dir = scratch.dir(&format!("work/{index}"));
        (0..500).for_each(|file| fs::write(format!("{dir}/{file}"), "").unwrap());
    }
    let job = Job::probe("disk", &["bytes", "file", "64"]).with("workspace", json!({"path": work}));
    job.limit("workspace_bytes", 16 * MIB).limit("wall_ms", 90_000).run().is(Status::WorkspaceExceeded);
}

#[test]
pub(crate) fn every_tmpfs_has_its_size() {
    let cases = [("tmp_bytes", "/tmp"), ("shm_bytes", "/dev/shm"), ("workspace_bytes", "/workspace")];
    for (limit, place) in cases {
        let job = |kind: &str, path: &str, number: &str| {
            let job = Job::probe("disk", &[kind, path, number, "leave"]).with("workspace", json!("tmpfs"));
            job.limit(limit, 8 * MIB).run().exited()
        };
        let file = format!("{place}/file");
        assert!(job("bytes", &file, "16").starts_with("errno 28"), "{place}");
        assert_eq!(job("bytes", &file, "6"), "all\n", "{place}");
        assert!(job("unlinked", &file, "16").starts_with("errno 28"), "{place}");
        assert!(job("inodes", place, "100000").starts_with("errno 28"), "{place}");
    }
    // The least: one page.
    let text = Job::probe("disk", &["bytes", "/tmp/file", "1", "leave"]).limit("tmp_bytes", 4096).run().exited();
    assert!(text.starts_with("errno 28"), "{text}");
}

#[test]
pub(crate) fn open_files_end_with_emfile() {
    for most in [8, 64, 1024] {
        let text =
            Job::probe("disk", &["descriptors", "/dev/null", "5000", "leave"]).limit("open_files", most).run().exited();
        assert!(text.starts_with("errno 24 after "), "{text}");
        let opened: u64 = text.trim_end().rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(opened, most - 3, "three are open already");
    }
}

#[test]
fn a_limit_out_of_range_is_refused_by_name_with_the_range() {
    let names = [
        "wall_ms",
        "cpu_ms",
        "memory_bytes",
        "pids",
        "cpus",
        "output_bytes",
        "workspace_bytes",
        "tmp_bytes",
        "shm_bytes",
        "open_files",
        "cpu_weight",
        "stack_bytes",
        "io_read_bps",
        "io_write_bps",
        "io_read_iops",
        "io_write_iops",
    ];
    let bad = [
        "0",
        "-1",
        "-0.0",
        "1152921504606846977",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "1e400",
        "\"10\"",
        "\"MAX\"",
        "\"\"",
        "null",
        "true",
        "[]",
        "{}",
    ];
    for name in names {
        for value in bad {
            let text = format!(r#"{{"command": ["true"], "limits": {{"{name}": {value}}}}}"#);
            let error = pinfold_runner::Job::from_json(text.as_bytes()).expect_err(&text).to_string();
            // A number that JSON can't carry is an error of JSON's; every other names field and range.
            assert!(
                value == "1e400" || error.contains(&format!("`{name}` is")) && error.contains(" to "),
                "{text}: {error}"
            );
        }
        // Through the runner once for each: the library's refusal is the runner's.
        let failure = Job::new(&["true"]).limit(name, Value::Null).failure();
        assert!(failure.code == "bad_job" && failure.message.contains(&format!("`{name}`")), "{failure:?}");
    }
    let failure = Job::new(&["true"]).limit("wall_ms", 1.5).failure();
    assert!(failure.message.contains("`wall_ms`"), "{failure:?}");
}

#[test]
fn the_edges_of_every_range_are_served() {
    let year: u64 = 366 * 24 * 3600 * 1000;
    let highest = json!({
        "wall_ms": year, "cpu_ms": year, "memory_bytes": 1u64 << 50, "pids": 4_194_304, "output_bytes": 1u64 << 40,
        "workspace_bytes": 1u64 << 60, "tmp_bytes": 1u64 << 50, "shm_bytes": 1u64 << 50, "stack_bytes": 1u64 << 40,
    });
    assert_eq!(Job::new(&["echo", "ran"]).with("limits", highest.clone()).run().exited(), "ran\n");
    let tmpfs = Job::new(&["echo", "ran"]).with("limits", highest).with("workspace", json!("tmpfs"));
    assert_eq!(tmpfs.run().exited(), "ran\n");
    let mut lifted = json!({});
    for name in [
        "wall_ms",
        "cpu_ms",
        "memory_bytes",
        "pids",
        "cpus",
        "output_bytes",
        "workspace_bytes",
        "tmp_bytes",
        "shm_bytes",
        "open_files",
        "cpu_weight",
        "swap_bytes",
        "stack_bytes",
        "io_read_bps",
        "io_write_bps",
        "io_read_iops",
        "io_write_iops",
    ] {
        lifted[name] = json!("max");
    }
    assert_eq!(Job::new(&["echo", "ran"]).with("limits", lifted).run().exited(), "ran\n");
    let lowest = json!({"output_bytes": 1, "workspace_bytes": 4096, "tmp_bytes": 4096, "shm_bytes": 4096, "open_files": 8, "stack_bytes": 64 << 10, "swap_bytes": 0});
    assert_eq!(Job::new(&["echo", "ran"]).with("limits", lowest).run().exited(), "r");
    if held() {
        for cpus in [0.01, 1024.0] {
            assert_eq!(Job::probe("true", &["0"]).limit("cpus", cpus).run().exited(), "");
        }
        let answer = Job::new(&["sleep", "60"]).limit("cpu_ms", 1).run();
        assert!(answer.took < Duration::from_secs(30));
        answer.is(Status::CpuExceeded);
    }
    Job::new(&["sleep", "60"]).limit("wall_ms", 1).run().is(Status::TimedOut);
}

#[test]
fn the_first_cause_gives_the_status() {
    // Past the deadline it would also fill the disk; the deadline comes first.
    let job = Job::sh("sleep 0.6; head -c 64M /dev/zero > big; sleep 60");
    job.limit("wall_ms", 300).limit("workspace_bytes", 16 * MIB).run().is(Status::TimedOut);
    let job = Job::sh("head -c 64M /dev/zero > big; sleep 60");
    job.limit("wall_ms", 20_000).limit("workspace_bytes", 16 * MIB).run().is(Status::WorkspaceExceeded);
}
