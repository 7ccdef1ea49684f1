//! A command in a held sandbox is confined as the command of a job is, and sees nothing of another being set up.

use super::Held;
use crate::sandbox::{Job, Scratch};
use serde_json::json;
use std::collections::BTreeSet;

/// What a process can say of its own confinement.
const CONFINEMENT: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Sig(Blk|Ign|Cgt)|Cpus_allowed_list|Speculation)' /proc/self/status; \
    cat /proc/self/limits /proc/self/oom_score_adj /proc/self/personality 2>/dev/null; env | sort; \
    umask; nice; pwd; hostname; ls /proc/self/fd; cut -d' ' -f5 /proc/self/mountinfo; cat /proc/net/dev | wc -l; \
    touch /etc/x /usr/x /x; mount -t tmpfs x /tmp; unshare -U true; unshare -n true; readlink /proc/1/exe; \
    cat /proc/1/environ; chown 0:0 .; touch f && chmod u+s f && ls -l f | cut -c1-10";

#[test]
fn everything_is_as_for_the_command_of_a_job() {
    let scratch = Scratch::new();
    let shared = scratch.dir("shared");
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mounts = json!([{ "source": shared, "target": "/shared", "writable": true }]);
    for fields in [json!({}), json!({ "mounts": mounts }), json!({ "seccomp": "debug" }), json!({ "user": "0:0" })] {
        let mut job = Job::sh(&format!("({CONFINEMENT}) 2>&1; true")).limit("wall_ms", 90_000);
        for (name, value) in fields.as_object().unwrap() {
            job = job.with(name, value.clone());
        }
        let expected = job.run().exited();
        let held = Held::start(fields);
        assert_eq!(held.sh(&format!("({CONFINEMENT}) 2>&1; true")), expected);
        held.close();
    }
}

#[test]
fn the_same_system_calls_are_refused() {
    let some: Vec<&str> = [
        "435:0,0",
        "56:0x10000000",
        "272:0x10000000",
        "308:0,0",
        "16:0,0x5412,0",
        "317:9,0,0",
        "321:0,0,0",
        "425:0,0",
        "101:0,0,0,0",
    ]
    .into();
    let probe = crate::support::probe("syscall");
    let mounts = json!([{ "source": probe.to_str().unwrap(), "target": "/probe/syscall" }]);
    for policy in ["default", "strict", "debug"] {
        let expected = Job::probe("syscall", &some).with("seccomp", json!(policy)).run().lines();
        let held = Held::start(json!({ "mounts": mounts, "seccomp": policy }));
        let command: Vec<&str> = ["/probe/syscall"].into_iter().chain(some.iter().copied()).collect();
        assert_eq!(held.run(&command, json!({})).stdout.lines().collect::<Vec<_>>(), expected, "{policy}");
        held.close();
    }
}

#[test]
fn no_path_of_the_host_is_seen_in_the_cgroups() {
    let held = Held::start(json!({}));
    let text = held.sh("cat /proc/self/cgroup");
    let allowed =
        |path: &str| path.split('/').all(|part| ["", "..", "command"].contains(&part) || part.parse::<u32>().is_ok());
    assert!(text.lines().all(|line| allowed(line.rsplit(':').next().unwrap())), "{text}");
    held.close();
}

#[test]
fn commands_signal_each_other_s_services() {
    let held = Held::start(json!({}));
    held.sh(
        "sh -c 'trap \"echo got > got; exit\" TERM; echo $$ > service; while :; do sleep 0.01; done' >/dev/null 2>&1 &",
    );
    crate::sandbox::eventually("it is there", || {
        held.run(&["test", "-s", "service"], json!({})).outcome.exit_code == Some(0)
    });
    held.sh("kill $(cat service)");
    crate::sandbox::eventually("it was told", || {
        held.run(&["test", "-s", "got"], json!({})).outcome.exit_code == Some(0)
    });
    held.close();
}

#[test]
fn a_resident_learns_nothing_from_a_command_being_set_up() {
    let held = Held::start(json!({}));
    let secret = "s3cr3t-of-the-other";
    let look = "while :; do for p in /proc/[0-9]*; do case $p in /proc/$$) continue;; esac; \
        for f in exe cwd root; do readlink $p/$f; done; for f in cmdline comm; do tr '\\0' ' ' < $p/$f && echo; done; \
        ls -l $p/fd | sed 's/.*->//'; cat $p/maps | cut -d/ -f2-; tr '\\0' '\\n' < $p/environ; done; done 2>/dev/null >> seen";
    // The twin: who is no secret is seen.
    let seen_by_all = held.begin(&["sleep", "300"], json!({ "env": { "MARK": "seen" } }));
    let resident = held.begin(&["sh", "-c", look], json!({}));
    for _ in 0..crate::support::runs(200) {
        held.run(&["/bin/true"], json!({ "env": { "SECRET": secret } }));
    }
    crate::sandbox::eventually("it has looked at everybody", || {
        held.run(&["grep", "-q", "MARK=seen", "seen"], json!({})).outcome.exit_code == Some(0)
    });
    held.ask(&pinfold_runner::Ask::Cancel { number: resident.number });
    held.outcome(resident);
    drop(seen_by_all);
    let seen = held.sh("sort -u seen");
    let lines: BTreeSet<&str> = seen.lines().map(str::trim).collect();
    assert!(lines.contains("MARK=seen") && lines.contains("pinfold-runner"), "{seen}");
    let ours = |line: &&&str| (line.contains("pinfold") && **line != "pinfold-runner") || line.contains("--held");
    assert_eq!(lines.iter().filter(ours).count(), 0, "{seen}");
    assert!(!seen.contains("socket:"), "{seen}");
    held.close();
}
