//! What of the host can be seen and touched from inside: nothing that was not declared. Each denial's errno is told,
//! and its twin is the same probe outside.

use crate::sandbox::{Job, Scratch, unconfined};
use crate::support::{host_cannot, is_root};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

const ENOENT: &str = "2";
const EACCES: &str = "13";
const EPERM: &str = "1";
const EROFS: &str = "30";

fn asked<'a>(operations: &'a [(&'a str, &'a [&'a str])]) -> Vec<&'a str> {
    operations.iter().map(|(what, _)| *what).collect()
}

fn check(job: Job, operations: &[(&str, &[&str])]) {
    let lines = job.run().lines();
    assert_eq!(lines.len(), operations.len(), "{lines:?}");
    for ((what, allowed), got) in operations.iter().zip(&lines) {
        assert!(allowed.contains(&got.as_str()), "{what}: {got}, expected {allowed:?}");
    }
}

#[test]
pub(crate) fn cannot_read_files_outside_the_root() {
    let scratch = Scratch::new();
    let canary = scratch.file("canary", "secret");
    let read = format!("read {canary}");
    let operations: Vec<(&str, &[&str])> = vec![
        (&read, &[ENOENT]),
        ("read /etc/shadow", &[ENOENT]),
        ("read /etc/ssh/sshd_config", &[ENOENT]),
        ("list /root", &[ENOENT]),
        ("list /home", &[ENOENT]),
        ("list /boot", &[ENOENT]),
        ("list /srv", &[ENOENT]),
        ("list /sys", &[ENOENT]),
        ("stat /run/systemd", &[ENOENT]),
        ("stat /var/lib", &[ENOENT]),
        ("stat /etc/ssl/private", &[ENOENT]),
        ("stat /proc/1/root/etc/shadow", &[EACCES, EPERM, ENOENT]),
        ("list /proc/1/root", &[EACCES, EPERM]),
        ("list /proc/1/cwd/", &[EACCES, EPERM]),
        ("list /../../..", &["ok"]),
        ("read /../../../etc/shadow", &[ENOENT]),
        ("read /proc/self/root/etc/shadow", &[ENOENT]),
        ("read /proc/self/cwd/../etc/shadow", &[ENOENT]),
    ];
    check(Job::probe("file", &asked(&operations)), &operations);
    assert_eq!(unconfined("file", &[&read, "list /sys", "list /boot"]), ["ok", "ok", "ok"]);
    for user in ["0:0", "65534:65534"] {
        check(Job::probe("file", &asked(&operations)).with("user", json!(user)), &operations);
    }
}

#[test]
pub(crate) fn the_top_of_the_view_is_what_the_contract_says() {
    let mut names: Vec<_> = Job::new(&["ls", "-A", "/"]).run().lines();
    names.retain(|name| !["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr"].contains(&name.as_str()));
    assert_eq!(names, ["dev", "etc", "proc", "run", "tmp", "var", "workspace"]);
    let empty = Job::sh("ls -A /run /tmp /dev/shm /workspace; ls -A /var").run().exited();
    assert_eq!(empty, "/dev/shm:\n\n/run:\n\n/tmp:\n\n/workspace:\ntmp\n");
}

#[test]
pub(crate) fn nothing_but_the_declared_places_can_be_written_to() {
    let operations: &[(&str, &[&str])] = &[
        ("create /new", &[EROFS, EACCES]),
        ("create /etc/new", &[EROFS, EACCES]),
        ("open-write /etc/passwd", &[EROFS, EACCES]),
        ("remove /etc/passwd", &[EROFS, EACCES]),
        ("create /usr/new", &[EROFS, EACCES]),
        ("open-write /usr/bin/env", &[EROFS, EACCES]),
        ("chmod /usr/bin/env", &[EROFS, EPERM]),
        ("create /dev/new", &[EROFS, EACCES]),
        ("mkdir /run/new", &[EROFS, EACCES]),
        ("mkdir /var/new", &[EROFS, EACCES]),
        ("mkdir /proc/new", &[ENOENT, EACCES, EPERM, EROFS]),
        ("rename /bin /nib", &[EROFS, EACCES]),
        ("link /etc/passwd /tmp/passwd", &["18", EPERM, EROFS]),
        ("create /tmp/new", &["ok"]),
        ("create /dev/shm/new", &["ok"]),
        ("create /workspace/new", &["ok"]),
    ];
    for user in ["1000:1000", "0:0"] {
        check(Job::probe("file", &asked(operations)).with("user", json!(user)), operations);
    }
    // The read-only flag is on the mounts, and not only rights on the files.
    let table = Job::sh("cat /proc/self/mounts").run().exited();
    let options = |place: &str| {
        table
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(place))
            .map(|line| line.split(' ').nth(3).unwrap().to_owned())
    };
    for place in ["/", "/usr"] {
        assert!(options(place).is_some_and(|options| options.starts_with("ro,")), "{place}: {table}");
    }
}

#[test]
pub(crate) fn devices_are_an_allow_list_and_none_can_be_made() {
    let names = Job::new(&["ls", "-A", "/dev"]).run().lines();
    let allowed =
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"];
    assert_eq!(names, allowed);
    let operations: &[(&str, &[&str])] = &[
        ("mkchar /tmp/null", &[EPERM]),
        ("mkblock /tmp/loop", &[EPERM]),
        ("mkchar /workspace/null", &[EPERM]),
        ("mkchar /dev/shm/null", &[EPERM]),
        ("mkfifo /tmp/fifo", &["ok"]),
        ("open-write /dev/null", &["ok"]),
        ("open-write /dev/full", &["ok"]),
        ("read /dev/urandom", &["ok"]),
    ];
    for user in ["1000:1000", "0:0"] {
        check(Job::probe("file", &asked(operations)).with("user", json!(user)), operations);
    }
    if is_root() {
        let scratch = Scratch::new();
        assert_eq!(unconfined("file", &[&format!("mkchar {}", scratch.text("null"))]), ["ok"]);
    } else {
        host_cannot("the twin needs root: nobody else makes device nodes");
    }
}

#[test]
pub(crate) fn only_the_sandbox_s_own_processes_are_seen() {
    let pids = Job::sh("echo /proc/[0-9]*").run().exited();
    assert!(pids.trim().split(' ').count() <= 3, "{pids}");
    let ours = std::process::id();
    let operations = format!("stat /proc/{ours}");
    let inside = Job::probe("file", &[&operations]).run().lines();
    // Pids inside are small; that of this test is not one of them unless the machine has just booted.
    assert!(ours < 10 || inside == [ENOENT], "{inside:?}");
    assert_eq!(unconfined("file", &[&operations]), ["ok"]);
}

#[test]
pub(crate) fn init_tells_nothing_of_the_host() {
    let operations: &[(&str, &[&str])] = &[
        ("read /proc/1/environ", &[EACCES, EPERM]),
        ("list /proc/1/fd", &[EACCES, EPERM]),
        ("list /proc/1/fdinfo", &[EACCES, EPERM]),
        ("read /proc/1/mem", &[EACCES, EPERM]),
        ("open-write /proc/1/mem", &[EACCES, EPERM]),
        ("read /proc/1/maps", &[EACCES, EPERM]),
        ("open-write /proc/1/exe", &[EACCES, EPERM]),
        ("execute /proc/1/exe", &[EACCES, EPERM]),
        ("list /proc/1/map_files", &[EACCES, EPERM]),
        ("read /proc/1/syscall", &[EACCES, EPERM]),
        ("read /proc/1/stack", &[EACCES, EPERM, ENOENT]),
        ("open-write /proc/1/oom_score_adj", &[EACCES, EPERM]),
        ("open-write /proc/1/uid_map", &[EACCES, EPERM, EROFS]),
        ("stat /proc/1/ns/pid", &["ok"]),
        ("read /proc/1/ns/pid", &[EACCES, EPERM]),
    ];
    for user in ["1000:1000", "0:0"] {
        check(Job::probe("file", &asked(operations)).with("user", json!(user)), operations);
    }
    let text = Job::sh("tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm /proc/1/cgroup /proc/self/cgroup").run();
    let text = text.stdout();
    for word in ["pinfold-it", "/sys/fs/cgroup", "process_api", "/var/lib/pinfold", "suite-target"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn the_cgroup_path_of_the_host_is_hidden_and_no_cgroup_can_be_reached() {
    let groups = Job::new(&["cat", "/proc/self/cgroup"]).run().exited();
    for line in groups.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap();
        // Hierarchies in which the sandbox has no group of its own show that they lie outside of its namespace.
        assert!(path == "/" || path.starts_with("/.."), "{groups}");
        assert!(!path.contains("pinfold"), "{groups}");
    }
    let operations: &[(&str, &[&str])] =
        &[("list /sys/fs/cgroup", &[ENOENT]), ("open-write /sys/fs/cgroup/cgroup.procs", &[ENOENT])];
    check(Job::probe("file", &asked(operations)), operations);
}

#[test]
pub(crate) fn no_kernel_knob_can_be_written_to() {
    let knobs = [
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/kernel/shmmax",
        "/proc/sys/fs/mqueue/msg_max",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/bus",
        "/proc/fs",
    ];
    let words: Vec<String> = knobs.iter().map(|knob| format!("open-write {knob}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for user in ["1000:1000", "0:0"] {
        let lines = Job::probe("file", &words).with("user", json!(user)).run().lines();
        for (knob, got) in knobs.iter().zip(&lines) {
            assert!([EACCES, EPERM, EROFS, ENOENT, "21"].contains(&got.as_str()), "{knob}: {got}");
        }
        let readable = Job::probe("file", &["read /proc/sys/kernel/hostname"]).with("user", json!(user)).run().lines();
        assert_eq!(readable, ["ok"], "it is there, and only writing is refused");
    }
    // Every file of /proc/sys, not only those we thought of.
    let script = "find /proc/sys -type f -writable 2>/dev/null; for f in $(find /proc/sys -type f 2>/dev/null); do (: >> $f) 2>/dev/null && echo opened $f; done; true";
    for user in ["1000:1000", "0:0"] {
        assert_eq!(Job::sh(script).with("user", json!(user)).run().exited(), "");
    }
    if is_root() {
        assert_eq!(unconfined("file", &["open-write /proc/sys/kernel/shmmax"]), ["ok"]);
    }
}

#[test]
pub(crate) fn sensitive_files_of_proc_are_masked_or_closed() {
    let files = [
        "kcore",
        "kallsyms",
        "kmsg",
        "keys",
        "key-users",
        "timer_list",
        "iomem",
        "ioports",
        "interrupts",
        "slabinfo",
        "vmallocinfo",
        "kpagecount",
        "kpageflags",
        "sched_debug",
        "latency_stats",
    ];
    for user in ["1000:1000", "0:0"] {
        let script: String = files.iter().map(|name| format!("head -c 100 /proc/{name} 2>/dev/null; ")).collect();
        assert_eq!(
            Job::sh(&(script + "ls -A /proc/acpi /proc/scsi /proc/driver 2>/dev/null | grep -v :; true"))
                .with("user", json!(user))
                .run()
                .exited()
                .trim(),
            ""
        );
    }
    assert!(!fs::read_to_string("/proc/interrupts").unwrap().is_empty());
}

#[test]
pub(crate) fn a_socket_outside_the_view_is_out_of_reach_and_a_mounted_one_is_given() {
    let scratch = Scratch::new();
    let dir = scratch.dir("dir");
    let _listener = UnixListener::bind(scratch.path("dir/socket")).unwrap();
    fs::set_permissions(scratch.path("dir/socket"), fs::Permissions::from_mode(0o777)).unwrap();
    let outside = format!("unix {dir}/socket");
    assert_eq!(Job::probe("socket", &[&outside]).run().lines(), [ENOENT]);
    assert_eq!(unconfined("socket", &[&outside]), ["ok"]);
    // Stated, not prevented: a folder with a socket in it gives that socket, read-only or not.
    let given = Job::probe("socket", &["unix /m/socket"]).mount(&dir, "/m", false).run().lines();
    assert_eq!(given, ["ok"]);
}

#[test]
pub(crate) fn set_id_files_are_not_made_where_the_host_would_see_them() {
    let scratch = Scratch::new();
    let (work, other) = (scratch.dir("work"), scratch.dir("other"));
    let operations =
        ["create f", "set-id f", "create-set-id g", "create /other/f", "set-id /other/f", "create-set-id /other/g"];
    for user in ["1000:1000", "0:0"] {
        let job = Job::probe("file", &operations).with("user", json!(user)).with("workspace", json!({"path": work}));
        assert_eq!(job.mount(&other, "/other", true).run().lines(), ["ok", EPERM, EPERM, "ok", EPERM, EPERM]);
        for file in ["work/f", "other/f"] {
            assert_eq!(fs::metadata(scratch.path(file)).unwrap().mode() & 0o6000, 0);
            fs::remove_file(scratch.path(file)).unwrap();
        }
        assert!(!scratch.path("work/g").exists());
    }
    // The twin: where nothing is the host's, it can be made, and is of no use to anyone.
    assert_eq!(Job::probe("file", &["create f", "set-id f", "create-set-id g"]).run().lines(), ["ok", "ok", "ok"]);
}

#[test]
pub(crate) fn host_name_hosts_and_users_are_made_up() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let text = Job::sh("uname -n; cat /etc/hostname /etc/hosts /etc/passwd /etc/group").run().exited();
    assert!(text.starts_with("pinfold\npinfold\n"), "{text}");
    assert!(host.trim() == "pinfold" || !text.contains(host.trim()), "{text}");
    assert_eq!(text.matches("/bin/sh").count(), 1, "{text}");
}

#[test]
pub(crate) fn the_old_root_is_gone_and_no_descriptor_leads_out() {
    let text = Job::sh("ls -l /proc/self/fd | sed 1d; pwd -P; cat /proc/self/mountinfo | wc -l").run().exited();
    // 0, 1, 2 and the one with which `ls` reads the directory itself.
    let links: Vec<&str> = text.lines().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(links.len(), 4, "{text}");
    assert!(
        links.iter().all(|line| ["/dev/null", "pipe:[", "/proc/"].iter().any(|word| line.contains(word))),
        "{text}"
    );
    // Every process of the sandbox that can be looked into; init can't.
    let all =
        Job::sh("sleep 1 & for p in /proc/[0-9]*; do ls $p/fd 2>/dev/null | grep -v '^[0-3]$'; done; echo looked")
            .run();
    assert_eq!(all.exited().lines().filter(|line| *line != "10" && *line != "255").collect::<Vec<_>>(), ["looked"]);
}
