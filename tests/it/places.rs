//! `root`, `mounts`, `network` and `seccomp` of the job: what the sandbox sees, and by which rules (DESIGN §3).

use crate::sandbox::{Job, Scratch, unconfined};
use crate::support::{host_cannot, is_root, probe};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const EROFS: &str = "30";
const EACCES: &str = "13";
const ENOENT: &str = "2";

/// Open to everybody, so that nothing but the mount can be what denies.
fn open_up(path: impl AsRef<Path>) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn an_extracted_root_is_the_whole_file_system_and_read_only() {
    let scratch = Scratch::new();
    let root = scratch.dir("root");
    for name in ["bin", "etc", "srv", "var", "dev", "proc", "tmp"] {
        scratch.dir(&format!("root/{name}"));
    }
    fs::copy(probe("file"), scratch.path("root/bin/file")).unwrap();
    scratch.file("root/etc/passwd", "its own");
    scratch.file("root/dev/planted", "");
    scratch.file("root/top", "of the tree");
    ["root/top", "root/srv", "root/etc/passwd"].iter().for_each(|name| open_up(scratch.path(name)));
    let outside = scratch.file("outside", "secret");
    symlink(&outside, scratch.path("root/escape")).unwrap();
    symlink("bin/file", scratch.path("root/alias")).unwrap();
    let asked = [
        ("list /usr", ENOENT),
        ("list /lib", ENOENT),
        ("read /etc/passwd", "ok"),
        ("read /etc/hosts", ENOENT),
        ("read /top", "ok"),
        ("read /escape", ENOENT),
        ("stat /escape", "ok"),
        ("stat /dev/planted", ENOENT),
        ("append /top", EROFS),
        ("create /new", EROFS),
        ("create /srv/new", EROFS),
        ("open-write /etc/passwd", EROFS),
        ("create /tmp/new", "ok"),
        ("create /dev/shm/new", "ok"),
        ("create /workspace/new", "ok"),
        ("open-write /dev/null", "ok"),
        ("read /proc/self/status", "ok"),
    ];
    let mut command = vec!["/alias"];
    command.extend(asked.iter().map(|(what, _)| *what));
    let lines = Job::new(&command).with("root", json!({"path": root})).run().lines();
    for ((what, expected), got) in asked.iter().zip(&lines) {
        assert_eq!(got, expected, "{what}");
    }
    assert_eq!(lines.len(), asked.len());
}

#[test]
fn an_image_whose_directories_are_links_still_starts() {
    let scratch = Scratch::new();
    for name in ["bin", "usr", "real-var"] {
        scratch.dir(&format!("root/{name}"));
    }
    fs::copy(probe("true"), scratch.path("root/bin/true")).unwrap();
    symlink("real-var", scratch.path("root/var")).unwrap();
    symlink("usr", scratch.path("root/etc")).unwrap();
    let answer = Job::new(&["/bin/true", "5"]).with("root", json!({"path": scratch.text("root")})).run();
    assert_eq!(answer.outcome.exit_code, Some(5), "{}", answer.json);
}

#[test]
fn a_root_that_is_missing_or_no_directory_is_an_error() {
    let scratch = Scratch::new();
    for (path, errno) in [(scratch.text("missing"), "ENOENT"), (scratch.file("file", ""), "ENOTDIR")] {
        let failure = Job::new(&["true"]).with("root", json!({"path": path})).failure();
        assert!(failure.code == "root" && failure.message.contains(errno), "{failure:?}");
    }
    for bad in [json!("guest"), json!({"path": "x"}), json!({"path": ""}), json!([])] {
        assert_eq!(Job::new(&["true"]).with("root", bad).failure().code, "bad_job");
    }
}

#[test]
fn a_mount_is_read_only_unless_it_is_asked_for() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    scratch.file("source/there", "kept");
    open_up(&source);
    open_up(scratch.path("source/there"));
    let asked = [
        "read /m/there",
        "append /m/there",
        "open-write /m/there",
        "create /m/new",
        "remove /m/there",
        "chmod /m/there",
    ];
    let denied = Job::probe("file", &asked).mount(&source, "/m", false).run().lines();
    assert_eq!(denied, ["ok", EROFS, EROFS, EROFS, EROFS, EROFS]);
    assert_eq!(fs::read_to_string(scratch.path("source/there")).unwrap(), "kept");
    let allowed = Job::probe("file", &asked[..4]).mount(&source, "/m", true).run().lines();
    assert_eq!(allowed, ["ok", "ok", "ok", "ok"]);
    assert_eq!(fs::read_to_string(scratch.path("source/there")).unwrap(), "keptx");
    let (new, dir) = (fs::metadata(scratch.path("source/new")).unwrap(), fs::metadata(&source).unwrap());
    assert_eq!((new.uid(), new.gid()), (dir.uid(), dir.gid()));
}

#[test]
fn what_its_owner_alone_may_read_is_read_as_the_owner_where_that_is_asked_for() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    let file = scratch.file("source/own", "kept");
    for (path, mode) in [(&source, 0o700), (&file, 0o600)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let asked = ["read /m/own", "append /m/own", "chmod /m/own", "create /m/new"];
    let run = |more: Value| {
        let mut mount = json!({"source": source, "target": "/m"});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Job::probe("file", &asked).with("mounts", json!([mount])).run().lines()
    };
    assert_eq!(run(json!({"as_owner": true})), ["ok", EROFS, EROFS, EROFS]);
    // Nobody reads it unasked where a sandbox is somebody else.
    let unasked = run(json!({}));
    assert_eq!(unasked[0] == "ok", !is_root(), "{unasked:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn a_single_file_can_be_mounted_both_ways() {
    let scratch = Scratch::new();
    let file = scratch.file("file", "kept");
    open_up(&file);
    let asked = ["read /etc/extra", "append /etc/extra"];
    assert_eq!(Job::probe("file", &asked).mount(&file, "/etc/extra", false).run().lines(), ["ok", EROFS]);
    assert_eq!(Job::probe("file", &asked).mount(&file, "/etc/extra", true).run().lines(), ["ok", "ok"]);
    assert_eq!(fs::read_to_string(file).unwrap(), "keptx");
}

#[test]
fn a_mount_carries_neither_set_id_nor_devices() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    for writable in [false, true] {
        let options = Job::sh("grep ' /m ' /proc/self/mountinfo").mount(&source, "/m", writable).run().exited();
        let options: Vec<&str> = options.split(' ').nth(5).unwrap().split(',').collect();
        assert!(options.contains(&"nosuid") && options.contains(&"nodev"), "{options:?}");
        assert_eq!(options.contains(&"ro"), !writable, "{options:?}");
    }
}

#[test]
fn every_mount_of_the_view_is_nosuid_and_nodev_and_private() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    let table = Job::sh("cat /proc/self/mountinfo").mount(&source, "/m", true).run().exited();
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (place, options) = (words[4], words[5]);
        assert!(options.contains("nosuid"), "{line}");
        // A device node's own mount and devpts must be devices; everything else must not.
        assert!(options.contains("nodev") || place.starts_with("/dev/") || place.starts_with("/proc/"), "{line}");
        assert_eq!(words[6], "-", "not private: {line}");
        let writable = ["/workspace", "/tmp", "/dev/shm", "/m"].contains(&place);
        let harmless = place == "/proc" || place.starts_with("/dev/");
        assert!(writable || harmless || options.split(',').any(|option| option == "ro"), "{line}");
    }
}

/// The runner in a mount namespace of its own, where a tmpfs lies on `place`: only root can mount one.
fn with_nested(job: Job, place: &str) -> Job {
    let script = r#"mount -t tmpfs nested "$0" && echo kept > "$0/there" && chmod 777 "$0" "$0/there" && exec "$@""#;
    job.started_by(&["unshare", "--mount", "sh", "-c", script, place], &[])
}

#[test]
fn mounts_below_a_mount_are_read_only_too_as_root() {
    if !is_root() {
        return host_cannot("needs root, to mount something below the source");
    }
    let scratch = Scratch::new();
    let (source, nested) = (scratch.dir("source"), scratch.dir("source/nested"));
    let asked = ["read /m/nested/there", "append /m/nested/there", "create /m/nested/new"];
    let job = Job::probe("file", &asked).mount(&source, "/m", false);
    assert_eq!(with_nested(job, &nested).run().lines(), ["ok", EROFS, EROFS]);
    // The twin: without the sandbox's flags the same file can be written to.
    let job = Job::probe("file", &asked[..2]).mount(&source, "/m", true);
    let answer = with_nested(job, &nested).run();
    assert!(answer.outcome.error.is_some() || answer.lines() == ["ok", "ok"], "{}", answer.json);
}

#[test]
fn root_s_own_files_stay_closed_behind_a_read_only_mount_as_root() {
    if !is_root() {
        return host_cannot("needs root, whose files they are");
    }
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    let secret = scratch.file("source/secret", "canary");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for user in ["1000:1000", "0:0"] {
        let job =
            Job::probe("file", &["read /m/secret", "read /s"]).mount(&source, "/m", false).mount(&secret, "/s", false);
        assert_eq!(job.with("user", json!(user)).run().lines(), [EACCES, EACCES]);
    }
    assert_eq!(unconfined("file", &[&format!("read {secret}")]), ["ok"]);
}

#[test]
fn a_writable_mount_gives_its_owner_s_rights_and_nobody_else_s_as_root() {
    if !is_root() {
        return host_cannot("needs root, to give files to several owners");
    }
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    for (name, uid) in [("root", 0), ("owner", 1001), ("other", 1002)] {
        let file = scratch.file(&format!("source/{name}"), "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(uid), Some(uid)).unwrap();
    }
    chown(&source, Some(1001), Some(1001)).unwrap();
    let asked =
        ["read /m/owner", "read /m/root", "read /m/other", "open-write /m/root", "chmod /m/root", "create /m/new"];
    let lines = Job::probe("file", &asked).mount(&source, "/m", true).run().lines();
    assert_eq!(lines[0], "ok");
    assert!(lines[1..4].iter().all(|line| line == EACCES), "{lines:?}");
    assert!(["1", EACCES, "75"].contains(&lines[4].as_str()), "{lines:?}");
    assert_eq!((lines[5].as_str(), fs::metadata(scratch.path("source/new")).unwrap().uid()), ("ok", 1001));
}

#[test]
fn a_target_may_lie_in_the_workspace_and_is_not_left_writable() {
    let scratch = Scratch::new();
    let (source, work) = (scratch.dir("source"), scratch.dir("work"));
    scratch.file("source/there", "kept");
    for workspace in [json!("temp"), json!("tmpfs"), json!({"path": work})] {
        let asked = ["read in/deep/there", "create in/deep/new", "create beside"];
        let job = Job::probe("file", &asked).with("workspace", workspace).mount(&source, "/workspace/in/deep", false);
        assert_eq!(job.run().lines(), ["ok", EROFS, "ok"]);
    }
    assert!(!scratch.path("work/in/deep/there").exists());
}

#[test]
fn what_is_mounted_inside_is_not_mounted_on_the_host_where_mounts_are_shared_as_root() {
    if !is_root() {
        return host_cannot("needs root, to share mounts as systemd does");
    }
    let scratch = Scratch::new();
    let (source, work) = (scratch.dir("source"), scratch.dir("work"));
    scratch.file("source/there", "kept");
    let script = r#"cd "$0"; mount --bind work work && mount --make-shared work || exit
        mount --bind source source && "$@"; code=$?; grep -c "$0/work/in/deep" /proc/self/mountinfo >seen; exit $code"#;
    let at = scratch.text("");
    let job = Job::probe("file", &["read in/deep/there"]).with("workspace", json!({"path": work}));
    let job = job.mount(&source, "/workspace/in/deep", false);
    let lines =
        job.started_by(&["unshare", "--mount", "sh", "-c", script, at.trim_end_matches('/')], &[]).run().lines();
    assert_eq!(lines, ["ok"]);
    assert_eq!(fs::read_to_string(scratch.path("seen")).unwrap(), "0\n");
}

#[test]
fn a_target_is_made_but_not_in_a_read_only_place() {
    let scratch = Scratch::new();
    let (source, ro) = (scratch.dir("source"), scratch.dir("ro"));
    scratch.file("source/there", "x");
    for target in ["/opt/a/b", "/home/x", "/tmp/in", "/var/lib/x", "/etc/x"] {
        let asked = format!("read {target}/there");
        assert_eq!(Job::probe("file", &[&asked]).mount(&source, target, false).run().lines(), ["ok"], "{target}");
    }
    for target in ["/usr/no-such", "/ro/new"] {
        let failure = Job::new(&["true"]).mount(&ro, "/ro", false).mount(&source, target, false).failure();
        assert!(failure.code == "mount" && failure.message.contains(target), "{failure:?}");
        assert!(failure.message.contains("EROFS") && failure.hint.is_some(), "{failure:?}");
    }
    assert_eq!(fs::read_dir(ro).unwrap().count(), 0);
}

#[test]
fn a_link_on_the_way_to_a_target_is_refused() {
    let scratch = Scratch::new();
    let (source, work, outside) = (scratch.dir("source"), scratch.dir("work"), scratch.dir("outside"));
    symlink(&outside, scratch.path("work/host")).unwrap();
    symlink("/tmp", scratch.path("work/inside")).unwrap();
    symlink("/etc", scratch.path("work/last")).unwrap();
    for target in ["/workspace/host/x", "/workspace/inside/x", "/workspace/last"] {
        let job = Job::new(&["true"]).with("workspace", json!({"path": work})).mount(&source, target, false);
        let failure = job.failure();
        assert!(failure.code == "mount" && failure.message.contains(target), "{failure:?}");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn a_mount_s_source_must_exist_and_paths_must_be_absolute() {
    let scratch = Scratch::new();
    let failure = Job::new(&["true"]).mount(&scratch.text("missing"), "/m", false).failure();
    assert!(failure.code == "mount" && failure.message.contains("ENOENT") && failure.hint.is_some(), "{failure:?}");
    let long = format!("/{}", "a/".repeat(2100));
    for (source, target) in [
        ("a", "/m"),
        ("/tmp", "m"),
        ("/tmp/../etc", "/m"),
        ("/tmp", "/m/.."),
        ("", "/m"),
        ("/tmp", ""),
        ("/tmp", &long),
    ] {
        let failure = Job::new(&["true"]).mount(source, target, false).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("mounts[0]"), "{failure:?}");
    }
}

#[test]
fn a_mount_never_covers_what_holds_the_sandbox_together() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    // Covering the root or its own directories is either refused by name or harmless; never a view of the host.
    for target in ["/", "//", "/.", "/proc", "/dev", "/proc/self", "/proc/sys"] {
        let answer = Job::probe("file", &["read /etc/shadow", "list /root"]).mount(&source, target, true).run();
        match &answer.outcome.error {
            Some(error) => assert!(["mount", "bad_job"].contains(&error.code.as_str()), "{target}: {error:?}"),
            None => assert_eq!(answer.lines(), [ENOENT, ENOENT], "{target}"),
        }
    }
}

#[test]
fn network_none_has_only_loopback_and_host_is_the_host_s() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to_host = format!("tcp {}", listener.local_addr().unwrap());
    let names = |text: String| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    };
    let none = Job::sh("cat /proc/net/dev").run();
    assert_eq!(names(none.exited()), ["lo"]);
    assert!(none.outcome.isolation.namespaces.contains(&"net".to_owned()));
    let lines = Job::probe("socket", &["loopback", &to_host]).run().lines();
    assert_eq!(lines, ["ok", &libc::ECONNREFUSED.to_string()]);

    let host = Job::sh("cat /proc/net/dev").with("network", json!("host")).run();
    assert_eq!(names(host.exited()), names(fs::read_to_string("/proc/net/dev").unwrap()));
    assert!(!host.outcome.isolation.namespaces.contains(&"net".to_owned()));
    let lines = Job::probe("socket", &["loopback", &to_host]).with("network", json!("host")).run().lines();
    assert_eq!(lines, ["ok", "ok"]);
    for bad in [json!("bridge"), json!(true), json!("None"), json!({})] {
        assert_eq!(Job::new(&["true"]).with("network", bad).failure().code, "bad_job");
    }
}

#[test]
fn each_seccomp_policy_is_the_one_in_force() {
    let fork = format!("{}:", libc::SYS_getppid);
    for name in ["default", "debug"] {
        let answer = Job::probe("syscall", &[&fork]).with("seccomp", json!(name)).run();
        assert_eq!((answer.lines(), answer.outcome.isolation.seccomp.as_deref()), (vec!["ok".to_owned()], Some(name)));
    }
    // `strict` knows no other process: the probe, which forks, loses it; a program alone runs.
    let answer = Job::probe("syscall", &[&fork]).with("seccomp", json!("strict")).run();
    assert_eq!(answer.lines(), ["lost"]);
    Job::probe("true", &["0"]).with("seccomp", json!("strict")).run().exited();
    for bad in ["unconfined", "floor", "init", "", "../default"] {
        let failure = Job::new(&["true"]).with("seccomp", json!(bad)).failure();
        assert!(["bad_job", "seccomp"].contains(&failure.code.as_str()), "{failure:?}");
    }
}

#[test]
fn a_policy_of_one_s_own_is_loaded_from_its_path() {
    let scratch = Scratch::new();
    let path = scratch.text("policy.json");
    let policy = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]}"#;
    fs::write(&path, policy).unwrap();
    let answer = Job::probe("file", &["mkdir made", "create file"]).with("seccomp", json!({"path": path})).run();
    assert_eq!(
        (answer.lines(), answer.outcome.isolation.seccomp),
        (vec!["77".into(), "ok".into()], Some(path.clone()))
    );
    // What no policy can allow stays closed.
    let unshare = format!("{}:{}", libc::SYS_unshare, libc::CLONE_NEWUSER);
    let answer = Job::probe("syscall", &[&unshare]).with("seccomp", json!({"path": path})).run();
    assert_eq!(answer.lines(), ["1"]);
    for (text, word) in [
        ("{", "policy.json"),
        (r#"{"defaultAction": "X"}"#, "X"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "rules": []}"#, "rules"),
    ] {
        fs::write(&path, text).unwrap();
        let failure = Job::new(&["true"]).with("seccomp", json!({"path": path})).failure();
        assert!(failure.code == "seccomp" && failure.message.contains(word), "{failure:?}");
    }
    let failure = Job::new(&["true"]).with("seccomp", json!({"path": scratch.text("missing")})).failure();
    assert!(failure.code == "seccomp" && failure.message.contains("ENOENT"), "{failure:?}");
}
