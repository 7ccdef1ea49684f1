//! The workspace's size and its number of files, attacked on disk and in memory.

use crate::faults::can_trace;
use crate::sandbox::{Job, Scratch, children, eventually, kill};
use crate::support::{has_program, host_cannot, is_root};
use pinfold_runner::{Status, WorkspaceMechanism};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// The probe in a workspace with room for so many files.
fn files(words: &[&str], workspace: &Value, most: u64) -> Job {
    let job = Job::probe("disk", words).with("workspace", workspace.clone());
    job.limit("workspace_inodes", most).limit("wall_ms", 60_000)
}

#[test]
fn a_workspace_in_memory_has_room_for_exactly_so_many_files() {
    let tmpfs = json!("tmpfs");
    let answer = files(&["inodes", ".", "100", "leave"], &tmpfs, 100).run();
    assert_eq!(answer.exited(), "all\n");
    assert_eq!(answer.outcome.isolation.workspace_inodes, WorkspaceMechanism::Tmpfs);
    let over = files(&["inodes", ".", "101", "leave"], &tmpfs, 100).run().exited();
    assert!(over.starts_with("errno 28"), "{over}");
    // Directories and links are files too.
    let script = "mkdir a && ln -s a b && touch c && ! mkdir d 2>/dev/null && ! touch e 2>/dev/null && echo full";
    let job = Job::sh(script).with("workspace", tmpfs).limit("workspace_inodes", 3);
    assert_eq!(job.run().exited(), "full\n");
    let lifted = Job::new(&["true"]).with("workspace", json!("tmpfs")).limit("workspace_inodes", "max").run();
    assert_eq!(lifted.outcome.isolation.workspace_inodes, WorkspaceMechanism::None);
}

#[test]
fn a_workspace_on_disk_is_watched_for_its_number_of_files() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    // What was there before does not count.
    (0..2000).for_each(|index| fs::write(format!("{work}/before-{index}"), "").unwrap());
    for workspace in [json!("temp"), json!({ "path": work })] {
        for kind in ["inodes", "unlinked-inodes"] {
            let answer = files(&[kind, ".", "900"], &workspace, 300).run();
            answer.is(Status::WorkspaceExceeded);
            assert_eq!(answer.outcome.isolation.workspace_inodes, WorkspaceMechanism::Watched);
            (0..900).for_each(|index| _ = fs::remove_file(format!("{work}/{index}")));
            files(&[kind, ".", "250"], &workspace, 300).limit("wall_ms", 700).run().is(Status::TimedOut);
            (0..900).for_each(|index| _ = fs::remove_file(format!("{work}/{index}")));
        }
        // A file counts once, whatever its names.
        files(&["links", ".", "900"], &workspace, 300).limit("wall_ms", 700).run().is(Status::TimedOut);
        (0..=900).for_each(|index| _ = fs::remove_file(format!("{work}/{index}")));
    }
    let lifted = Job::new(&["true"]).with("workspace", json!({ "path": work })).run();
    assert_eq!(lifted.outcome.isolation.workspace_inodes, WorkspaceMechanism::None);
}

#[test]
fn a_storm_of_empty_files_ends_in_time() {
    // As fast as the file system can, and much faster than one look at all of them.
    let storm = files(&["inodes", ".", "100000000"], &json!("temp"), 20_000).run();
    storm.is(Status::WorkspaceExceeded);
}

#[test]
fn space_that_is_taken_without_writing_ends_the_job_too() {
    // Gigabytes in a moment.
    let script = "i=0; while fallocate -l 64M file-$i; do i=$((i+1)); done; echo \"$i\"; sleep 60";
    let job = Job::sh(script).limit("workspace_bytes", 256 * MIB).limit("wall_ms", 60_000);
    job.run().is(Status::WorkspaceExceeded);
    let job = Job::sh("fallocate -l 64M file; sleep 0.5; echo held").limit("workspace_bytes", 256 * MIB);
    assert_eq!(job.run().exited(), "held\n");
}

#[test]
fn a_workspace_in_memory_that_is_full_to_the_brim_still_gives_a_result() {
    for kind in ["bytes", "inodes"] {
        let path = if kind == "bytes" { "/workspace/file" } else { "/workspace" };
        let out = Scratch::new();
        let job = Job::probe("disk", &[kind, path, "100000", "leave"]).with("workspace", json!("tmpfs"));
        let job = job.limit("workspace_bytes", 4 * MIB).limit("tmp_bytes", 4096).limit("shm_bytes", 4096);
        let answer = job.with("artifacts", json!({"paths": ["absent"], "directory": out.text("out")})).run();
        assert!(answer.exited().starts_with("errno 28"), "{}", answer.json);
        assert_eq!(answer.json["artifact_errors"][0]["code"], "missing");
    }
}

#[test]
fn a_job_is_cancelled_while_its_workspace_is_measured() {
    if !can_trace() {
        return;
    }
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    (0..4000).for_each(|index| fs::write(format!("{work}/{index}"), "").unwrap());
    // Each file takes ten milliseconds to be looked at.
    let log = scratch.text("log");
    let slow = ["strace", "-o", &log, "-e", "trace=newfstatat", "-e", "inject=newfstatat:delay_enter=10000"];
    let job = Job::new(&["true"]).with("workspace", json!({ "path": work })).limit("workspace_bytes", MIB);
    let running = job.started_by(&slow, &[]).spawn();
    let strace = running.pid();
    eventually("it is being measured", || fs::read_to_string(&log).is_ok_and(|log| log.lines().count() > 200));
    children(strace).into_iter().for_each(|runner| kill(runner, libc::SIGTERM));
    let answer = running.answer();
    answer.is(Status::Cancelled);
    assert!(answer.took < Duration::from_secs(30), "{:?}", answer.took);
}

/// A file system with project quotas, mounted for one test. `None`, loudly, where this kernel or this user can't have one.
struct WithQuota(Scratch);

impl WithQuota {
    fn mount() -> Option<Self> {
        let scratch = Scratch::new();
        let (image, place) = (scratch.text("image"), scratch.dir("mounted"));
        fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).unwrap();
        let works = |program: &str, arguments: &[&str]| {
            let done = std::process::Command::new(program).args(arguments).output();
            done.is_ok_and(|done| done.status.success())
        };
        let made = is_root()
            && works("mkfs.ext4", &["-q", "-O", "quota,project", "-E", "quotatype=prjquota", &image])
            && works("mount", &["-o", "loop,prjquota", &image, &place]);
        if !made {
            host_cannot("needs root, mkfs.ext4, loop devices, and a kernel with CONFIG_QUOTA and CONFIG_QFMT_V2");
            return None;
        }
        // Its `lost+found` belongs to root, as all of it does; a state directory must be closed to others.
        Some(Self(scratch))
    }

    fn run(&self, job: Job) -> crate::sandbox::Answer {
        let state = self.0.path("mounted/state");
        job.spawn_as(|command| _ = command.env("PINFOLD_STATE_DIR", state)).answer()
    }
}

impl Drop for WithQuota {
    fn drop(&mut self) {
        let _gone_with_the_machine = std::process::Command::new("umount").arg(self.0.path("mounted")).status();
    }
}

#[test]
fn a_quota_of_the_file_system_is_exact() {
    let Some(place) = WithQuota::mount() else { return };
    let probe = |kind: &str, path: &str, number: &str| {
        let job = Job::probe("disk", &[kind, path, number, "leave"]).limit("workspace_bytes", 8 * MIB);
        let answer = place.run(job.limit("workspace_inodes", 50).limit("wall_ms", 100_000));
        assert_eq!(answer.outcome.isolation.workspace, WorkspaceMechanism::Quota);
        assert_eq!(answer.outcome.isolation.workspace_inodes, WorkspaceMechanism::Quota);
        answer.exited()
    };
    // EDQUOT on ext4; each job has the same room again.
    for kind in ["bytes", "unlinked"] {
        assert!(probe(kind, "file", "9").starts_with("errno 122"), "{kind}");
        assert_eq!(probe(kind, "file", "8"), "all\n", "{kind}");
    }
    assert!(probe("inodes", ".", "51").starts_with("errno 122"));
    assert_eq!(probe("inodes", ".", "50"), "all\n");
    // Long and empty takes nothing.
    assert_eq!(probe("sparse", "file", "4096"), "all\n");
    let required = place.run(Job::new(&["echo", "ran"]).with("require", json!(["workspace"])));
    assert_eq!(required.exited(), "ran\n");
    if has_program("python3") {
        // EINVAL, fileattr_set_prepare: neither to another project nor out of what is inherited. To change nothing is allowed.
        let answer = place.run(Job::new(&["python3", "-c", LEAVES_PROJECT]).limit("workspace_bytes", 8 * MIB));
        assert_eq!(answer.exited(), "0 22 22\n");
    }
}

/// FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR of <linux/fs.h> on a directory of its own: as it is, with project 0, and without
/// FS_XFLAG_PROJINHERIT.
const LEAVES_PROJECT: &str = r#"
import fcntl, os, struct
os.mkdir("own")
fd = os.open("own", os.O_RDONLY)
fields = "IIIII8x"
flags, size, extents, project, cow = struct.unpack(fields, fcntl.ioctl(fd, 0x801c581f, bytes(28)))
assert project and flags & 0x200
def change(flags, project):
    try:
        fcntl.ioctl(fd, 0x401c5820, struct.pack(fields, flags, size, extents, project, cow))
        return 0
    except OSError as error:
        return error.errno
print(change(flags, project), change(flags, 0), change(flags & ~0x200, project))
"#;

/// Layers on two file systems, mounted for one test: an overlay shows its directories as one device, and its files as another.
struct Layered(Scratch);

impl Layered {
    fn mount() -> Option<Self> {
        let scratch = Scratch::new();
        let (top, place) = (scratch.dir("top"), scratch.dir("mounted"));
        let script = "mount -t tmpfs -o size=200m tmpfs \"$1\" && mkdir \"$1/upper\" \"$1/work\" && \
                      mount -t overlay -o \"lowerdir=$3,upperdir=$1/upper,workdir=$1/work\" overlay \"$2\"";
        let arguments = ["-c", script, "sh", &top, &place, &scratch.dir("lower")];
        let done = std::process::Command::new("sh").args(arguments).output();
        if !(is_root() && done.is_ok_and(|done| done.status.success())) {
            host_cannot("needs root, and overlayfs with a tmpfs as its upper layer");
            return None;
        }
        Some(Self(scratch))
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        for mount in ["mounted", "top"] {
            let _gone_with_the_machine = std::process::Command::new("umount").arg(self.0.path(mount)).status();
        }
    }
}

#[test]
fn a_workspace_on_an_overlay_of_two_file_systems_is_watched() {
    let Some(place) = Layered::mount() else { return };
    let run = |kind: &str, path: &str, number: &str| {
        let job = Job::probe("disk", &[kind, path, number]).limit("workspace_bytes", 16 * MIB).limit("wall_ms", 60_000);
        let state = place.0.path("mounted/state");
        job.limit("workspace_inodes", 300).spawn_as(|command| _ = command.env("PINFOLD_STATE_DIR", state)).answer()
    };
    for (kind, path, number) in [("bytes", "file", "64"), ("unlinked", "file", "64"), ("inodes", ".", "900")] {
        let answer = run(kind, path, number);
        assert_eq!(answer.is(Status::WorkspaceExceeded).outcome.isolation.workspace, WorkspaceMechanism::Watched);
    }
}
