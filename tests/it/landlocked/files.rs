//! Files: what was not given can't be opened, whatever its permission bits say.

use super::{EACCES, EPERM, open_place, probe, sh, stands};
use crate::sandbox::{Scratch, unconfined};
use crate::support::is_root;
use pinfold_runner::Status;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;

const EOPNOTSUPP: &str = "95";

#[test]
fn nothing_outside_can_be_read_or_changed() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let dir = open_place(&scratch, "outside");
    let canary = format!("{dir}/canary");
    let on = |operation: &str| format!("{operation} {canary}");
    let new = |operation: &str| format!("{operation} {dir}/new");
    // `create` truncates what is there.
    let mut asked: Vec<String> = ["read", "open-write", "append", "create", "remove", "execute"].map(on).into();
    asked.extend(["create", "mkdir", "mkfifo", "remove"].map(new));
    asked.push(format!("list {dir}"));
    asked.push(format!("rename {canary} {dir}/renamed"));
    asked.push(format!("symlink /etc/passwd {dir}/symlink"));
    let words: Vec<&str> = asked.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "file", &words).run().lines();
    // Of what is not there, `remove` says so: paths are not hidden.
    let expected: Vec<&str> = asked.iter().map(|word| if *word == new("remove") { "2" } else { EACCES }).collect();
    assert_eq!(lines, expected, "{asked:?}");
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    for twin in [on("read"), on("append"), new("mkdir"), format!("list {dir}")] {
        assert_eq!(unconfined("file", &[&twin]), ["ok"], "{twin}");
    }
}

#[test]
fn nothing_is_carried_in_or_out() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let dir = open_place(&scratch, "outside");
    let script = format!(
        "touch mine; ln {dir}/canary in; mv {dir}/canary in; ln mine {dir}/out; mv mine {dir}/out; ln -s {dir}/canary l; cat l; \
         cat ../../*/workspace/*; ls; true"
    );
    assert_eq!(sh(&script).run().exited(), "l\nmine\n");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

#[test]
fn the_host_s_own_places_are_closed() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let closed = ["/home", "/root", "/var", "/run", "/tmp", "/sys", "/boot", "/dev", "/dev/shm", "/mnt", "/opt", "/"];
    let there: Vec<_> = closed.into_iter().filter(|path| fs::metadata(path).is_ok()).collect();
    let asked: Vec<String> = there.iter().map(|path| format!("list {path}")).collect();
    let writes =
        ["create /tmp/pinfold-x", "create /var/tmp/pinfold-x", "create /dev/shm/pinfold-x", "create /usr/pinfold-x"];
    let words: Vec<&str> = asked.iter().map(String::as_str).chain(writes).chain(["read /etc/shadow"]).collect();
    let lines = probe(&scratch, "file", &words).run().lines();
    assert!(lines.iter().all(|line| line == EACCES), "{words:?}: {lines:?}");
    let open = ["read /etc/passwd", "list /usr/bin", "execute /usr/bin/true", "read /dev/null", "append /dev/null"];
    let lines = probe(&scratch, "file", &open).run().lines();
    assert!(lines.iter().all(|line| line == "ok"), "{open:?}: {lines:?}");
}

#[test]
fn a_mount_gives_what_it_says_and_no_more() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let (shown, beside) = (open_place(&scratch, "shown"), open_place(&scratch, "beside"));
    let asked = [
        format!("read {shown}/canary"),
        format!("append {shown}/canary"),
        format!("create {shown}/new"),
        format!("read {beside}/canary"),
    ];
    let words: Vec<&str> = asked.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "file", &words).mount(&shown, &shown, false).run().lines();
    assert_eq!(lines, ["ok", EACCES, EACCES, EACCES]);
    if !is_root() {
        let lines = probe(&scratch, "file", &words).mount(&shown, &shown, true).run().lines();
        assert_eq!(lines, ["ok", "ok", "ok", EACCES]);
    }
}

#[test]
fn a_link_that_an_earlier_job_planted_is_no_way_out() {
    if !stands() {
        return;
    }
    if is_root() {
        // Root's sandboxes write to no directory of the caller's, so nothing can be planted there.
        return;
    }
    let scratch = Scratch::new();
    let (workspace, outside) = (scratch.dir("workspace"), open_place(&scratch, "outside"));
    let place = |job: crate::sandbox::Job| job.with("workspace", json!({"path": workspace}));
    place(sh(&format!("ln -s {outside} cache"))).run().exited();
    let cache = format!("{workspace}/cache");
    assert_eq!(place(sh(&format!("cat {cache}/canary"))).mount(&cache, &cache, false).failure().code, "mount");
    // What a job leaves in the caller's directory stays, and is his.
    place(sh("echo kept > left")).run().exited();
    assert_eq!(fs::read_to_string(format!("{workspace}/left")).unwrap(), "kept\n");
}

#[test]
fn set_id_files_and_devices_can_t_be_made_nor_files_be_given_away() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let asked = ["create made", "set-id made", "create-set-id other", "mkchar char", "mkblock block", "chmod made"];
    let lines = probe(&scratch, "file", &asked).run().lines();
    assert_eq!(lines[..3], ["ok", EPERM, EPERM]);
    assert!(lines[3..5].iter().all(|line| line == EPERM), "{lines:?}");
    // 0666: with the caller's uid this could be any file of his.
    assert_eq!(lines[5], if is_root() { "ok" } else { EPERM });
    assert_eq!(
        sh("touch a; chmod 755 a; chmod +x a; chmod 600 a; touch -d 2001-01-01 a; stat -c %a a").run().exited(),
        "600\n"
    );
    let outside = open_place(&scratch, "outside");
    let path = format!("{outside}/canary");
    let own = fs::metadata(&path).unwrap();
    let calls = [
        format!("{}:s/{path},s/user.x,s/1,1,0", libc::SYS_setxattr),
        format!("{}:s/{path},{},{}", libc::SYS_chown, own.uid(), own.gid()),
    ];
    let words: Vec<&str> = calls.iter().map(String::as_str).collect();
    if !is_root() {
        // To the slot's uid of root's sandboxes nothing outside belongs.
        assert_eq!(probe(&scratch, "syscall", &words).run().lines(), [EOPNOTSUPP, EPERM]);
    }
    assert_eq!(unconfined("syscall", &words), ["ok", "ok"]);
}

#[test]
fn artifacts_come_out_and_the_temporary_places_go_away() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let out = scratch.text("out");
    let answer =
        sh("mkdir d; echo text > d/f; ln -s /etc/passwd d/l; echo x > $TMPDIR/gone; mkdir -p a/b; chmod 0 a/b a")
            .with("artifacts", json!({"paths": ["d"], "directory": out}))
            .run();
    answer.is(Status::Exited);
    assert_eq!((answer.outcome.artifacts.len(), answer.outcome.artifact_errors.len()), (1, 1), "{}", answer.json);
    assert_eq!(fs::read_to_string(scratch.path("out/d/f")).unwrap(), "text\n");
}

#[test]
fn the_command_is_nobody_s_but_its_own_user() {
    if !stands() {
        return;
    }
    let text =
        sh("id -u; id -g; id -G; grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status")
            .run()
            .exited();
    let uid: u32 = text.lines().next().unwrap().parse().unwrap();
    if is_root() {
        assert!(uid >= 65536, "{text}");
        assert_eq!(text.lines().take(3).collect::<Vec<_>>(), [uid.to_string().as_str(); 3], "{text}");
    } else {
        assert_eq!(uid, fs::metadata("/proc/self").unwrap().uid());
    }
    assert_eq!(text.matches("\t0000000000000000\n").count(), 4, "{text}");
    assert!(text.contains("NoNewPrivs:\t1\n") && text.contains("Seccomp:\t2\n"), "{text}");
}

#[test]
fn what_may_only_be_read_is_opened_to_nobody_else_through_a_descriptor() {
    if !crate::support::has_program("python3") {
        return;
    }
    let scratch = Scratch::new();
    let place = open_place(&scratch, "mount");
    let script = r"
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
# FS_IOC_FSSETXATTR comes last.
for call in (lambda: os.fchmod(file, 0o666), lambda: os.fchown(file, -1, os.getgid()), lambda: os.fchmod(file, 0o600),
             lambda: fcntl.ioctl(file, 0x401c5820, bytes(28))):
  try: call(); print('ok')
  except OSError as error: print(error.errno)
";
    let canary = format!("{place}/canary");
    let command = ["/usr/bin/python3", "-c", script, &canary];
    let lines = super::job(&command).mount(&place, &place, false).run().lines();
    // To the slot's uid of root's sandboxes nothing outside belongs.
    let expected = if is_root() { [EPERM; 4] } else { [EPERM, EPERM, "ok", EOPNOTSUPP] };
    assert_eq!(lines, expected);
    let twin = std::process::Command::new(command[0]).args(&command[1..]).output().unwrap();
    assert!(String::from_utf8(twin.stdout).unwrap().starts_with("ok\nok\nok\n"));
}

#[test]
fn a_command_that_closes_the_way_to_itself_keeps_nobody_out() {
    let scratch = Scratch::new();
    let state = scratch.text("state");
    let run = |script: &str| sh(script).spawn_as(|command| _ = command.env("PINFOLD_STATE_DIR", &state)).answer();
    let close = r#"cd /; for mode in 0 400 755 770; do chmod $mode "$PINFOLD_WORKSPACE/../.." "$PINFOLD_WORKSPACE/.."; done
                   chmod 0 "$PINFOLD_WORKSPACE/.."; chmod 750 "$PINFOLD_WORKSPACE/../.."; chmod 0 "$PINFOLD_WORKSPACE""#;
    for _ in 0..2 {
        run(&format!("{close}; true")).exited();
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }
}
