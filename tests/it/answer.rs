//! The result, field by field: how a job ended, what it cost, what was enforced (DESIGN §4).

use crate::sandbox::{Answer, Job};
use crate::support::{has_cgroups, host_cannot, is_root};
use pinfold_runner::{Mechanism, Status, WorkspaceMechanism};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_result_has_exactly_the_fields_of_the_contract() {
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    for answer in [Job::new(&["true"]).run(), Job::new(&["no-such-program"]).run(), Job::from(json!({})).run()] {
        let json = &answer.json;
        assert_eq!(
            keys(json),
            "artifact_errors artifacts connections connections_omitted error exit_code id isolation signal status stderr stderr_bytes stderr_truncated stdout \
             stdout_bytes stdout_truncated usage version"
        );
        assert_eq!(
            keys(&json["usage"]),
            "involuntary_switches major_faults memory minor_faults oom_kills overhead_cpu_ms peak_memory_bytes peak_pids read_bytes \
             setup_ms system_ms teardown_ms throttled_ms throttled_periods total_pids user_ms voluntary_switches wall_ms written_bytes"
        );
        assert_eq!(
            keys(&json["isolation"]),
            "cgroup cpu cpuset groups io landlock lifetime memory mode namespaces network pids seccomp swap \
             workspace workspace_files workspace_inodes"
        );
        assert_eq!(json["version"], 1);
        if !json["error"].is_null() {
            assert_eq!(keys(&json["error"]), "code hint message");
        }
        assert!(answer.stderr.is_empty(), "{}", answer.stderr);
    }
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    for code in [0, 1, 124, 125, 126, 127, 137, 255] {
        assert_eq!(Job::probe("true", &[&code.to_string()]).run().outcome.exit_code, Some(code));
    }
    let signals = [("SIGSEGV", 11), ("SIGKILL", 9), ("SIGTERM", 15), ("SIGABRT", 6), ("SIGSYS", 31), ("SIGPIPE", 13)];
    for (name, number) in signals {
        let answer = Job::probe("process", &["signal", &number.to_string()]).run();
        assert_eq!(answer.is(Status::Signaled).outcome.signal.as_deref(), Some(name));
    }
    let answer = Job::probe("process", &["signal", "34"]).run();
    assert!(answer.is(Status::Signaled).outcome.signal.is_some());
}

#[test]
fn output_is_counted_and_kept_apart() {
    let answer = Job::sh("printf out; printf error >&2; exit 4").run();
    let outcome = &answer.outcome;
    assert_eq!((outcome.stdout.as_bytes(), outcome.stderr.as_bytes()), (&b"out"[..], &b"error"[..]));
    assert_eq!((outcome.stdout_bytes, outcome.stderr_bytes), (3, 5));
    assert!(!outcome.stdout_truncated && !outcome.stderr_truncated);
}

#[test]
fn usage_is_plausible() {
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; (sleep 0.2 & sleep 0.2 & wait); head -c 30000000 /dev/zero | tail -c 20000000 > /tmp/x; sleep 0.3";
    let answer = Job::sh(script).run();
    answer.exited();
    let usage = &answer.outcome.usage;
    let wall = usage.wall_ms.unwrap();
    assert!(wall >= 500.0 && wall <= answer.took.as_secs_f64() * 1e3, "{usage:?} {:?}", answer.took);
    let user = usage.user_ms.unwrap();
    assert!(user > 5.0 && user < wall * 4.0, "{usage:?}");
    assert!(usage.system_ms.unwrap() > 0.0 && usage.throttled_ms == Some(0.0), "{usage:?}");
    let (setup, teardown) = (usage.setup_ms.unwrap(), usage.teardown_ms.unwrap());
    assert!(
        setup > 0.0 && teardown > 0.0 && setup + teardown + wall <= answer.took.as_secs_f64() * 1e3 + 1.0,
        "{usage:?}"
    );
    if !has_cgroups() {
        assert_eq!(
            (usage.peak_memory_bytes, usage.peak_pids, usage.oom_kills),
            (None, None, None),
            "not measured is null"
        );
        return host_cannot("needs cgroups: peak memory, pids and OOM kills");
    }
    let peak = usage.peak_memory_bytes.unwrap();
    assert!((20_000_000..200_000_000).contains(&peak), "{usage:?}");
    assert!((3..=8).contains(&usage.peak_pids.unwrap()) && usage.oom_kills == Some(0), "{usage:?}");
}

#[test]
fn usage_counts_what_nobody_reaped() {
    // The shell is replaced while its child still spins, and init reaps that one.
    let answer = Job::sh("(timeout 0.5 sh -c 'while :; do :; done') & exec sleep 0.7").run();
    answer.exited();
    let usage = &answer.outcome.usage;
    assert!(usage.user_ms.unwrap() + usage.system_ms.unwrap() > 50.0, "{usage:?}");
}

#[test]
fn disk_traffic_is_counted() {
    let answer = Job::sh("head -c 8000000 /dev/zero > big; sync big").run();
    answer.exited();
    let written = answer.outcome.usage.written_bytes.unwrap();
    assert!((8_000_000..40_000_000).contains(&written), "{:?}", answer.outcome.usage);
    let nothing = Job::probe("true", &["0"]).run().outcome.usage.written_bytes.unwrap();
    assert!(nothing < 1_000_000, "{nothing}");
}

/// What the sandbox's own view of itself says of one name space.
fn namespace(answer: &Answer, name: &str) -> String {
    let line = answer.stdout().lines().find(|line| line.starts_with(&format!("{name}:"))).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no {name} in {}", answer.stdout()))
}

#[test]
fn isolation_tells_the_truth() {
    let kinds = [
        ("user", "user"),
        ("pid", "pid"),
        ("mount", "mnt"),
        ("net", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
    ];
    for network in ["none", "host"] {
        let script = "for n in user pid mnt net ipc uts cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/status; id -G";
        let answer = Job::sh(script).with("network", json!(network)).run();
        let isolation = &answer.outcome.isolation;
        for (name, link) in kinds {
            let inside = namespace(&answer, link);
            let outside = fs::read_link(format!("/proc/self/ns/{link}")).unwrap();
            let is_own = inside != outside.to_str().unwrap();
            assert_eq!(isolation.namespaces.iter().any(|told| told == name), is_own, "{name} with network {network}");
            assert!(is_own || name == "net" && network == "host", "{name} is shared");
        }
        assert_eq!(isolation.namespaces.len(), if network == "none" { 7 } else { 6 });
        let status = answer.exited();
        assert!(status.contains("Seccomp:\t2\n") && status.contains("NoNewPrivs:\t1\n"), "{status}");
        assert_eq!(isolation.seccomp.as_deref(), Some("default"));
        let groups = status.lines().last().unwrap().split(' ').count();
        assert_eq!(groups > 1, answer.json["isolation"]["groups"] == "caller", "{status}");
    }
}

#[test]
fn isolation_says_what_holds_each_limit() {
    let answer = Job::new(&["true"]).run();
    let isolation = &answer.outcome.isolation;
    if has_cgroups() {
        assert!(isolation.cgroup.is_some());
        assert_eq!([isolation.memory, isolation.pids, isolation.cpu], [Mechanism::Cgroup; 3]);
    } else {
        assert_ne!([isolation.memory, isolation.pids], [Mechanism::Cgroup; 2]);
    }
    assert_eq!(isolation.workspace, WorkspaceMechanism::Watched);
    let lifted = Job::new(&["true"]).limit("workspace_bytes", "max").run();
    assert_eq!(lifted.outcome.isolation.workspace, WorkspaceMechanism::None);
    let tmpfs = Job::new(&["true"]).with("workspace", json!("tmpfs")).run();
    assert_eq!(tmpfs.outcome.isolation.workspace, WorkspaceMechanism::Tmpfs);
    let abi = fs::read_to_string("/sys/kernel/security/lsm").map(|names| names.contains("landlock"));
    if let Ok(has_landlock) = abi {
        assert_eq!(isolation.landlock.is_some(), has_landlock);
    }
}

#[test]
fn a_failure_names_step_operand_and_errno_and_nothing_is_claimed() {
    let answer = Job::new(&["true"]).mount("/no/such/source", "/m", false).run();
    let error = answer.is(Status::Failed).outcome.error.clone().unwrap();
    assert!(error.message.starts_with("failed to open the mount source `/no/such/source`: ENOENT"), "{error:?}");
    assert_eq!(answer.outcome.usage, pinfold_runner::Usage::default());
    assert_eq!(answer.json["usage"]["wall_ms"], json!(null));
}

#[test]
fn a_user_s_sandbox_is_the_user_on_the_host_and_root_s_is_nobody() {
    let running = Job::new(&["sleep", "60"]).spawn();
    let init = running.init();
    let is_sleep = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    running.until("the command runs", || crate::sandbox::children(init).iter().any(is_sleep));
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
    let uids: BTreeSet<u32> = uids.split('\t').map(|uid| uid.parse().unwrap()).collect();
    let own = fs::metadata("/proc/self").unwrap().uid();
    assert_eq!(uids.len(), 1, "{status}");
    // The range that this suite hands out begins at 0x71000000.
    assert!(uids.iter().all(|uid| if is_root() { *uid >= 0x7100_0000 } else { *uid == own }), "{status}");
    crate::sandbox::kill(running.pid(), libc::SIGTERM);
    running.answer().is(Status::Cancelled);
}
