//! What a job says and gets in this mode, and what it can't say.

use super::{job, sh, stands};
use crate::sandbox::{Job, Scratch};
use crate::support::{has_program, is_root};
use pinfold_runner::{Groups, Lifetime, Mechanism, Mode, NetworkFence, Status, WorkspaceMechanism};
use serde_json::{Value, json};

#[test]
fn the_result_says_which_fences_stood() {
    if !stands() {
        return;
    }
    let isolation = job(&["true"]).run().outcome.isolation;
    assert_eq!((isolation.mode, isolation.namespaces.len()), (Mode::Landlock, 0));
    assert_eq!((isolation.network, isolation.lifetime), (NetworkFence::Seccomp, Lifetime::BestEffort));
    assert_eq!(isolation.seccomp.as_deref(), Some("default"));
    assert!(isolation.landlock.is_some_and(|abi| abi >= 3));
    assert_eq!(isolation.workspace, WorkspaceMechanism::Watched);
    assert_ne!(isolation.pids, Mechanism::None);
    if is_root() {
        assert_eq!(isolation.groups, Groups::None);
    }
    let isolation = job(&["true"]).with("network", json!("host")).run().outcome.isolation;
    assert_eq!(isolation.network, NetworkFence::None);
    let other = Job::new(&["true"]).run().outcome;
    // Where namespaces are denied, nothing stood at all.
    if other.status == Status::Exited {
        assert_eq!((other.isolation.mode, other.isolation.lifetime), (Mode::Namespaces, Lifetime::Kernel));
    }
}

#[test]
fn what_can_t_be_had_is_an_error_and_never_something_else() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let dir = scratch.dir("dir");
    let link = scratch.text("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let mount = |source: &str, target: &str| json!([{"source": source, "target": target}]);
    let cases: Vec<(&str, Value)> = vec![
        ("root", json!({"path": &dir})),
        ("workspace", json!("tmpfs")),
        ("workspace", json!({"path": "/"})),
        ("workspace", json!({"path": "/proc/self"})),
        ("workspace", json!({"path": &link})),
        ("mounts", mount(&dir, "/elsewhere")),
        ("mounts", mount(&link, &link)),
        ("mounts", mount("/sys/fs", "/sys/fs")),
        ("user", json!("0:0")),
        ("user", json!("1234:1234")),
        ("cwd", json!("/workspace/below")),
        ("limits", json!({"tmp_bytes": 65536})),
        ("limits", json!({"shm_bytes": 65536})),
    ];
    for (field, value) in cases {
        let failure = job(&["true"]).with_raw(field, value.clone()).failure();
        assert_eq!(failure.code, if value["path"] == "/elsewhere" { "bad_job" } else { "mode" }, "{failure:?}");
        assert!(failure.hint.is_some(), "{failure:?}");
    }
    let failure = job(&["true"]).started_by(&[], &["--terminal=24x80"]).failure();
    assert!(["mode", "usage"].contains(&failure.code.as_str()), "{failure:?}");
}

#[test]
fn a_runner_that_has_children_kills_none_of_them() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let pid = scratch.text("pid");
    // Not before env has become sleep, which has none of the environment by which leftovers are known.
    let script = r#"env -i sleep 1000 >/dev/null 2>&1 & echo $! > "$0"
        until grep -q sleep /proc/$!/comm; do :; done; exec "$@""#;
    let failure = job(&["true"]).started_by(&["sh", "-c", script, &pid], &[]).failure();
    assert_eq!(failure.code, "mode");
    let pid = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(stat.contains("(sleep) S") || stat.contains("(sleep) R"), "{stat}");
    crate::sandbox::kill(pid, libc::SIGKILL);
}

#[test]
fn root_s_sandboxes_write_to_no_directory_of_the_caller_s() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let dir = scratch.dir("dir");
    let jobs = [job(&["true"]).with("workspace", json!({"path": dir})), job(&["true"]).mount(&dir, &dir, true)];
    for job in jobs {
        if is_root() {
            let failure = job.failure();
            assert!(failure.code == "mode" && failure.hint.is_some_and(|hint| hint.contains("owner")));
        } else {
            job.run().exited();
        }
    }
}

#[test]
fn a_kernel_that_holds_too_little_is_refused() {
    if !stands() {
        return;
    }
    if !has_program("strace") {
        return;
    }
    let least = if is_root() { 3 } else { 6 };
    for (abi, is_enough) in [(1, false), (least - 1, false), (least, true)] {
        let inject = format!("inject=landlock_create_ruleset:retval={abi}:when=1");
        let words = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=landlock_create_ruleset", "-e", &inject];
        let answer = job(&["true"]).started_by(&words, &[]).run();
        if is_enough {
            answer.exited();
            assert_eq!(answer.outcome.isolation.landlock, Some(abi));
        } else {
            let error = answer.is(Status::Failed).outcome.error.clone().unwrap();
            assert!(error.code == "landlock" && error.message.contains(&format!("ABI {least}")), "{error:?}");
        }
    }
}

#[test]
fn the_workspace_is_named_and_is_where_the_command_starts() {
    if !stands() {
        return;
    }
    let script = r#"[ "$PWD" = "$PINFOLD_WORKSPACE" ] && [ "$HOME" = "$PWD" ] && [ "$TMPDIR" != /tmp ] && touch "$TMPDIR/a" b && ls"#;
    assert_eq!(sh(script).run().exited(), "b\n");
    let below = sh("basename $PWD; cat file").files(&[("below/file", "text")]).with("cwd", json!("below"));
    assert_eq!(below.run().exited(), "below\ntext");
    assert_eq!(job(&["pwd"]).with("cwd", json!("/usr")).run().exited(), "/usr\n");
    assert_eq!(sh("echo $HOME").with("env", json!({"HOME": "/x"})).run().exited(), "/x\n");
}

#[test]
fn streams_files_and_requirements_are_as_in_the_other_mode() {
    if !stands() {
        return;
    }
    let answer = sh("cat; echo no >&2; exit 3").with("stdin", json!("yes")).run();
    assert_eq!((answer.stdout().as_str(), answer.outcome.exit_code), ("yes", Some(3)));
    assert_eq!(answer.outcome.stderr.to_text(), "no\n");
    assert_eq!(job(&["no-such-program"]).failure().code, "exec_not_found");
    assert_eq!(job(&["/etc/passwd"]).failure().code, "exec_not_executable");
    let answer = sh("kill -SEGV $$").run();
    assert_eq!(answer.is(Status::Signaled).outcome.signal.as_deref(), Some("SIGSEGV"));
    job(&["true"]).with("require", json!(["landlock"])).run().exited();
    assert_eq!(job(&["true"]).with("require", json!(["workspace"])).failure().code, "requirement");
    let answer = sh("head -c 5000 /dev/zero").limit("output_bytes", 1000).run();
    assert_eq!((answer.exited().len(), answer.outcome.stdout_bytes), (1000, 5000));
    // Reopening one's own stdout.
    assert_eq!(sh("echo a >/dev/stdout; echo b >/proc/self/fd/1").run().exited(), "a\nb\n");
}

#[test]
fn a_user_without_cgroups_limits_processes() {
    let answer = job(&["true"]).limit("pids", "max").run();
    if is_root() || answer.outcome.isolation.cgroup.is_some() {
        answer.exited();
    } else {
        assert_eq!(answer.outcome.error.unwrap().code, "mode");
    }
}
