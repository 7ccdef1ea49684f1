//! Whose groups a sandbox's are made in on a cgroup v2 host: the caller's, where they were handed to him; a scope that
//! his service manager makes; or none, where the manager is silent or lies, and where there is nothing to make groups in.
//!
//! What needs a user's manager runs as a user under systemd. What needs another kind of host is made here by root, in a
//! mount namespace with the unified hierarchy on `/sys/fs/cgroup`, on a host of either version.

use crate::sandbox::{Answer, Job, Scratch, eventually, kill};
use crate::support::{has_program, host_cannot, is_root};
use pinfold_runner::{CgroupVersion, Mechanism};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const TOP: &str = "/sys/fs/cgroup";

/// The user nobody, on every system.
const NOBODY: u32 = 65534;

/// How long the runner waits for a manager that is silent, and for one that never comes to the point; and how much more
/// a slow host may take for the rest.
const SILENCE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(40);

/// Shows the unified hierarchy where a v2 host has it. Not mounted anew, which would change the options of the host's.
const UNIFIED: &str = r#"
    top=/sys/fs/cgroup
    there=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/self/mounts | head -n 1)
    [ -e $top/cgroup.controllers ] || mount --bind "$there" $top || exit 99
    # A group is busy for a moment after its last process has ended.
    remove() {
        echo $$ >$top/cgroup.procs
        for _ in $(seq 200)
        do
            find $group -depth -type d -exec rmdir {} + 2>/dev/null
            [ -d $group ] || return 0
            sleep 0.05
        done
    }
"#;

/// Starts the runner as nobody in a new group. `$1` is how the group's name ends, `$2` is evaluated before anybody is in
/// it and `$3` when the runner is about to start, `$4` is its XDG_RUNTIME_DIR.
const IN_GROUP: &str = r#"
    group=$top/pinfold-it-$$$1 home=${PINFOLD_STATE_DIR%/*}
    made=$group && mkdir $group && eval "$2" || exit 99
    mkdir -m 700 "$PINFOLD_STATE_DIR" && chown 65534:65534 "$PINFOLD_STATE_DIR" && cp "$5" "$home/runner" || exit 99
    (echo 0 >$group/cgroup.procs && eval "$3" || exit 99
     exec setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR="$4" "$home/runner")
    code=$?
    mount -o remount,bind,rw $top
    group=$made && remove
    exit $code
"#;

/// What an administrator does who hands a group over: cgroups(7), "delegation".
const HAND_OVER: &str =
    "chown 65534:65534 $group $group/cgroup.procs $group/cgroup.subtree_control $group/cgroup.threads";

/// A job of nobody's in a group of his own, if root is here to arrange that.
fn in_group(job: Job, ending: &str, before: &str, then: &str, runtime: &str) -> Job {
    let script = format!("{UNIFIED}{IN_GROUP}");
    job.started_by(&["unshare", "--mount", "sh", "-c", &script, "sh", ending, before, then, runtime], &[])
}

/// Whether root can make a group below the unified hierarchy's top: not in most containers.
fn makes_groups() -> bool {
    let script = format!("{UNIFIED} group=$top/pinfold-it-$$; mkdir $group && echo $$ >$group/cgroup.procs && remove");
    let can = is_root()
        && Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().is_ok_and(|it| it.status.success());
    if !can {
        host_cannot("needs root at the top of the unified hierarchy");
    }
    can
}

/// Whether the unified hierarchy's own controllers are those that limits need.
fn has_controllers() -> bool {
    let there = fs::read_to_string(format!("{TOP}/cgroup.subtree_control")).unwrap_or_default();
    let has = ["memory", "pids"].iter().all(|name| there.split_whitespace().any(|word| word == *name));
    if !has {
        host_cannot("needs cgroup v2 with memory and pids enabled below its top");
    }
    has
}

const PLAIN_SCOPE: [&str; 4] = ["systemd-run", "--user", "--scope", "--quiet"];

/// Whether a service manager serves this user. Root has one at times, and never asks it.
fn has_manager() -> bool {
    let has = !is_root()
        && Path::new(TOP).join("cgroup.controllers").exists()
        && Command::new(PLAIN_SCOPE[0])
            .args(&PLAIN_SCOPE[1..])
            .arg("true")
            .output()
            .is_ok_and(|output| output.status.success());
    if !has {
        host_cannot("needs an ordinary user with a `systemd --user` of his own");
    }
    has
}

fn has_no_cgroup(answer: &Answer) {
    answer.exited();
    let isolation = &answer.outcome.isolation;
    assert_eq!(isolation.cgroup, None, "{}", answer.json);
    assert!(isolation.memory != Mechanism::Cgroup && isolation.pids != Mechanism::Cgroup, "{}", answer.json);
}

fn scopes_of(pid: &str) -> Vec<String> {
    let user = Command::new("find").args([TOP, "-type", "d", "-name", &format!("pinfold-{pid}-*.scope")]).output();
    String::from_utf8(user.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn outside_of_any_delegated_unit_the_runner_gets_a_scope_of_its_own() {
    if !has_manager() {
        return;
    }
    // The shell is what must not be moved.
    let script = r#"cat /proc/self/cgroup >&2; exec 3<&0; "$0" <&3 & wait $!; code=$?; echo $! >&2
                    cat /proc/self/cgroup >&2; exit $code"#;
    let before = [&PLAIN_SCOPE[..], &["sh", "-c", script]].concat();
    let job = Job::new(&["cat", "/proc/self/cgroup"]).with("require", json!(["cgroup", "memory", "pids"]));
    let answer = job.started_by(&before, &[]).run();
    assert_eq!(answer.exited(), "0::/\n");
    assert_eq!(answer.outcome.isolation.cgroup, Some(CgroupVersion::V2));
    let told: Vec<_> = answer.stderr.lines().collect();
    assert!(told[0] == told[2] && !told[0].contains("pinfold"), "{told:?}");
    eventually("the scope is gone", || scopes_of(told[1]).is_empty());
}

#[test]
fn a_scope_goes_with_its_runner_even_when_that_is_shot() {
    if !has_manager() {
        return;
    }
    // systemd-run becomes what it starts, so the child is the runner.
    let running = Job::new(&["sleep", "1000"]).started_by(&PLAIN_SCOPE, &[]).spawn();
    let pid = running.pid().to_string();
    let init = running.init();
    let group = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    assert!(group.contains(&format!("/pinfold-{pid}-")) && scopes_of(&pid).len() == 1, "{group}");
    kill(running.pid(), libc::SIGKILL);
    running.sweep();
    eventually("the scope is gone", || scopes_of(&pid).is_empty());
}

/// A service manager that is none. `$1` is its socket, `$2` what it does.
const FAKE: &str = r#"
import re, socket, struct, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
asked = b""
while b"CollectMode" not in asked:
    asked += connection.recv(65536)
name = re.search(rb"pinfold-\d+-[0-9a-f]{16}\.scope", asked)[0]
print(name.decode(), flush=True)
ok = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n"
pad = lambda data: data + bytes(-len(data) % 8)
text = lambda data: pad(struct.pack("<I", len(data)) + data + b"\0")
def message(kind, fields, body):
    return pad(struct.pack("<4BIII", 108, kind, 0, 1, len(body), 7, len(fields)) + fields) + body
signal = pad(b"\3\1s\0" + text(b"JobRemoved")) + b"\10\1g\0\4uoss\0"
done = message(4, signal, pad(struct.pack("<I", 1) + text(b"/job/1")[:11]) + text(name) + text(b"done"))
other = message(4, signal, pad(struct.pack("<I", 1) + text(b"/job/1")[:11]) + text(b"other.scope") + text(b"done"))
error = message(3, b"\5\1u\0\3\0\0\0", b"")
answers = {
    "silent": b"", "greets": ok, "stops in the middle": ok + done[:-20], "talks": ok + other,
    "rejects": b"REJECTED EXTERNAL\r\n", "sends nonsense": ok + b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "sends a huge message": ok + b"l\4\1\1\xff\xff\xff\xff\1\0\0\0\xff\xff\xff\xff", "refuses": ok + error,
    "lies": ok + done, "leaves": b"",
}
connection.sendall(answers[sys.argv[2]])
if sys.argv[2] == "leaves":
    connection.shutdown(socket.SHUT_RDWR)
try:
    while sys.argv[2] == "talks":
        connection.sendall(other)
    while connection.recv(65536): pass
except OSError: pass
print("left", flush=True)
"#;

/// A fake at work, in a runtime directory of its own.
struct Fake {
    runtime: Scratch,
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Fake {
    fn start(does: &str) -> Self {
        let runtime = Scratch::new();
        let socket = runtime.dir("systemd") + "/private";
        let mut command = Command::new(if is_root() { "setpriv" } else { "env" });
        if is_root() {
            chown(runtime.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
            chown(runtime.path("systemd"), Some(NOBODY), Some(NOBODY)).unwrap();
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        command.args(["/usr/bin/python3", "-c", FAKE, &socket, does]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut fake = Self { runtime, process, said };
        assert_eq!(fake.line(), "listening");
        fake
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The job where nothing is delegated and the fake is who serves the user.
    fn serve(&self, job: Job) -> Job {
        let runtime = self.runtime.text("");
        if is_root() {
            return in_group(job, ".scope", "", "", &runtime);
        }
        job.started_by(&[&PLAIN_SCOPE[..], &["env", &format!("XDG_RUNTIME_DIR={runtime}")]].concat(), &[])
    }

    /// It was asked for a scope, and is not spoken to any more.
    fn was_asked(mut self) {
        let name = self.line();
        assert!(name.starts_with("pinfold-") && name.ends_with(".scope"), "{name}");
        assert_eq!(self.line(), "left");
        assert!(self.process.wait().unwrap().success());
    }
}

fn can_fake() -> bool {
    if is_root() { makes_groups() && has_program("python3") } else { has_manager() && has_program("python3") }
}

#[test]
fn a_manager_that_hangs_holds_a_job_up_only_until_the_deadline() {
    if !can_fake() {
        return;
    }
    let fakes: Vec<_> = ["silent", "greets", "stops in the middle", "talks"]
        .map(|does| {
            let fake = Fake::start(does);
            let running = fake.serve(Job::new(&["true"])).spawn();
            (does, fake, running)
        })
        .into_iter()
        .collect();
    for (does, fake, running) in fakes {
        let answer = running.answer();
        has_no_cgroup(&answer);
        // By the runner's own clock: the four wait at the same time.
        let waited = Duration::from_secs_f64(answer.outcome.usage.setup_ms.unwrap() / 1e3);
        let deadline = if does == "talks" { DEADLINE } else { SILENCE };
        assert!((deadline..deadline + MARGIN).contains(&waited), "{does}: {waited:?}");
        fake.was_asked();
    }
}

#[test]
fn a_manager_that_refuses_or_lies_is_not_believed() {
    if !can_fake() {
        return;
    }
    for does in ["rejects", "sends nonsense", "sends a huge message", "refuses", "lies", "leaves"] {
        let fake = Fake::start(does);
        let answer = fake.serve(Job::new(&["true"])).run();
        has_no_cgroup(&answer);
        assert!(answer.took < MARGIN, "{does}: {:?}", answer.took);
        fake.was_asked();
    }
}

#[test]
fn a_socket_of_another_user_is_not_spoken_to() {
    if !makes_groups() {
        return;
    }
    let runtime = Scratch::new();
    let listener = UnixListener::bind(runtime.dir("systemd") + "/private").unwrap();
    chown(runtime.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(runtime.path("systemd/private"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let job = in_group(Job::new(&["true"]), ".scope", "", "", &runtime.text(""));
    has_no_cgroup(&job.run());
    // It came, looked who is there, and left without a word.
    let (mut stream, _) = listener.accept().unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
}

#[test]
fn a_service_of_the_system_s_is_not_left() {
    if !makes_groups() || !has_program("python3") {
        return;
    }
    let mut fake = Fake::start("silent");
    let job = in_group(Job::new(&["true"]), ".service", "", "", &fake.runtime.text(""));
    has_no_cgroup(&job.run());
    fake.process.kill().unwrap();
    fake.process.wait().unwrap();
    assert_eq!(fake.line(), "", "nobody asked");
}

#[test]
fn a_group_that_an_administrator_handed_over_is_used() {
    if !has_controllers() || !makes_groups() {
        return;
    }
    let job = || Job::new(&["cat", "/proc/self/cgroup"]);
    let required = json!(["cgroup", "memory", "pids"]);
    let answer = in_group(job().with("require", required), "", HAND_OVER, "", "").run();
    assert_eq!(answer.exited(), "0::/\n");
    // Two at once: the second finds the shell and the first moved aside.
    let two = [(); 2].map(|()| in_group(job().with("require", json!(["pids"])), "", HAND_OVER, "", "").spawn());
    two.into_iter().for_each(|running| _ = running.answer().exited());
    // The directory alone is not enough.
    has_no_cgroup(&in_group(job(), "", "chown 65534 $group", "", "").run());
    has_no_cgroup(&in_group(job(), "", "", "", "").run());
}

#[test]
fn a_user_s_groups_that_are_read_only_or_without_controllers_are_none() {
    if !makes_groups() {
        return;
    }
    let read_only = "mount -o remount,bind,ro $top";
    let without = format!("mkdir $group/sub && group=$group/sub && {HAND_OVER}");
    for (before, then) in [(HAND_OVER, read_only), (&without, "")] {
        has_no_cgroup(&in_group(Job::new(&["true"]), "", before, then, "").run());
        let job = Job::new(&["true"]).with("require", json!(["cgroup"]));
        assert_eq!(in_group(job, "", before, then, "").failure().code, "requirement", "{before}; {then}");
    }
}

#[test]
fn root_s_groups_that_are_read_only_absent_or_without_controllers_are_none() {
    if !makes_groups() {
        return;
    }
    let read_only = "for mount in $(grep cgroup /proc/self/mounts | cut -d ' ' -f 2)
                     do mount -o remount,bind,ro $mount || exit 99; done; exec \"$0\"";
    // As in a container whose part of the hierarchy was given no controllers.
    let without = format!(
        "{UNIFIED} export top; group=$top/pinfold-it-$$
         mkdir -p $group/sub && echo $$ >$group/sub/cgroup.procs || exit 99
         unshare --cgroup --mount sh -c 'mount -t tmpfs none $top && mount -t cgroup2 none $top && exec \"$0\"' \"$0\"
         code=$?; remove; exit $code"
    );
    for script in [
        read_only,
        "umount --recursive --lazy /sys/fs/cgroup || exit 99; exec \"$0\"",
        "mount -t tmpfs none /sys/fs/cgroup || exit 99; exec \"$0\"",
        &without,
    ] {
        let start = |job: Job| job.started_by(&["unshare", "--mount", "sh", "-c", script], &[]);
        has_no_cgroup(&start(Job::new(&["true"])).run());
        let job = Job::new(&["true"]).with("require", json!(["cgroup"]));
        assert_eq!(start(job).failure().code, "requirement", "{script}");
    }
}
