//! `artifacts` of the job: what comes out, what doesn't and why, and that nothing of the sandbox is trusted on the way.

use crate::sandbox::{Job, Scratch, eventually};
use crate::support::is_root;
use pinfold_runner::{ArtifactErrorCode, Content, Status};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn artifacts(scratch: &Scratch, paths: &[&str]) -> Value {
    json!({"paths": paths, "directory": scratch.text("out")})
}

#[test]
fn files_and_folders_come_out_with_size_hash_and_mode() {
    let scratch = Scratch::new();
    for workspace in ["temp", "tmpfs"] {
        let script =
            "mkdir -p dist/deep; printf abc > dist/a; printf '' > dist/deep/empty; printf x > one; chmod 755 dist/a";
        let out = scratch.text(&format!("made/{workspace}"));
        let job = Job::sh(script).with("workspace", json!(workspace));
        let answer = job.with("artifacts", json!({"paths": ["dist", "one"], "directory": out})).run();
        answer.exited();
        let mut found: Vec<_> =
            answer.outcome.artifacts.iter().map(|file| (file.path.to_text(), file.bytes, file.executable)).collect();
        found.sort();
        let expected = [("dist/a".into(), 3, true), ("dist/deep/empty".into(), 0, false), ("one".into(), 1, false)];
        assert_eq!(found, expected);
        let a = answer.outcome.artifacts.iter().find(|file| file.bytes == 3).unwrap();
        assert_eq!(a.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fs::read_to_string(format!("{out}/dist/a")).unwrap(), "abc");
        assert_eq!(fs::metadata(format!("{out}/dist/a")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(answer.outcome.artifact_errors.is_empty());
    }
}

#[test]
fn each_refusal_has_its_code_and_changes_no_status() {
    let scratch = Scratch::new();
    scratch.dir("out");
    scratch.file("out/there", "the caller's");
    symlink(scratch.text("elsewhere"), scratch.path("out/dangling")).unwrap();
    symlink("/tmp", scratch.path("out/linked")).unwrap();
    let script = "ln -s /etc/passwd link; ln -s /nowhere broken; mkfifo fifo; echo new > there; echo new > dangling; mkdir linked d; \
                  echo x > linked/x; echo y > d/ok; ln -s ok d/inner; ln -s d through; exit 3";
    let paths = ["missing", "link", "broken", "fifo", "there", "dangling", "linked/x", "d", "through/ok", "d/ok/below"];
    let answer = Job::sh(script).with("artifacts", artifacts(&scratch, &paths)).run();
    assert_eq!((answer.outcome.status, answer.outcome.exit_code), (Status::Exited, Some(3)));
    let code = |path: &str| {
        answer.outcome.artifact_errors.iter().find(|error| error.path == Content::from(path)).map(|error| error.code)
    };
    use ArtifactErrorCode::{Exists, Missing, Special, Symlink};
    let expected = [
        ("missing", Missing),
        ("link", Symlink),
        ("broken", Symlink),
        ("fifo", Special),
        ("there", Exists),
        ("dangling", Exists),
        ("linked/x", Symlink),
        ("d/inner", Symlink),
        ("through/ok", Symlink),
        ("d/ok/below", Missing),
    ];
    for (path, expected) in expected {
        assert_eq!(code(path), Some(expected), "{path}: {}", answer.json["artifact_errors"]);
    }
    assert_eq!(answer.outcome.artifacts.len(), 1, "{}", answer.json["artifacts"]);
    assert_eq!(fs::read_to_string(scratch.path("out/there")).unwrap(), "the caller's");
    assert!(!scratch.path("elsewhere").exists());
}

#[test]
fn sockets_and_trees_without_end_are_refused_at_once() {
    let scratch = Scratch::new();
    let script = "import os, socket\nsocket.socket(socket.AF_UNIX).bind('sock')\nfor i in range(80):\n os.mkdir('n'); os.chdir('n')\nopen('f', 'w')";
    if !crate::support::has_program("python3") {
        return;
    }
    let answer =
        Job::new(&["/usr/bin/python3", "-c", script]).with("artifacts", artifacts(&scratch, &["sock", "n"])).run();
    answer.exited();
    let codes: Vec<_> = answer.outcome.artifact_errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, [ArtifactErrorCode::Special, ArtifactErrorCode::TooDeep], "{}", answer.json["artifact_errors"]);
}

#[test]
fn names_of_any_bytes_survive_the_round_trip() {
    let scratch = Scratch::new();
    let script = r#"mkdir d; cd d; for n in "$(printf 'a\377b')" "$(printf 'new\nline')" '-rf' '*' "é" ' '; do echo x > "$n"; done"#;
    let answer = Job::sh(script).with("artifacts", artifacts(&scratch, &["d"])).run();
    answer.exited();
    assert_eq!(answer.outcome.artifacts.len(), 6, "{}", answer.json);
    assert!(answer.outcome.artifacts.iter().any(|file| file.path == Content(b"d/a\xffb".to_vec())));
    assert_eq!(fs::read_dir(scratch.path("out/d")).unwrap().count(), 6);
}

#[test]
fn they_are_copied_however_the_command_ended() {
    let scratch = Scratch::new();
    for (index, (end, status)) in
        [("exit 1", Status::Exited), ("kill -SEGV $$", Status::Signaled), ("sleep 60", Status::TimedOut)]
            .into_iter()
            .enumerate()
    {
        let out = json!({"paths": ["made"], "directory": scratch.text(&format!("out{index}"))});
        let answer = Job::sh(&format!("echo x > made; {end}")).limit("wall_ms", 1500).with("artifacts", out).run();
        answer.is(status);
        assert_eq!(answer.outcome.artifacts.len(), 1, "{}", answer.json);
    }
}

#[test]
fn a_directory_that_the_command_could_write_to_is_refused() {
    let scratch = Scratch::new();
    let (work, other) = (scratch.dir("work"), scratch.dir("other"));
    symlink(&work, scratch.path("alias")).unwrap();
    for directory in [work.clone(), format!("{work}/out"), scratch.text("alias/out"), format!("{other}/deep")] {
        let job = Job::sh("touch ran").with("workspace", json!({"path": work})).mount(&other, "/other", true);
        let failure = job.with("artifacts", json!({"paths": ["x"], "directory": directory})).failure();
        assert!(failure.code == "artifacts" && failure.message.contains(&directory), "{failure:?}");
    }
    assert!(!scratch.path("work/ran").exists());
    assert!(!scratch.path("other/deep").exists(), "a refused directory is not made either");
    for (paths, directory) in
        [(json!(["../x"]), "/out"), (json!(["/etc/passwd"]), "/out"), (json!(["a"]), "out"), (json!([""]), "/out")]
    {
        let failure = Job::new(&["true"]).with("artifacts", json!({"paths": paths, "directory": directory})).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("artifacts"), "{failure:?}");
    }
}

#[test]
fn a_closed_tree_comes_out_or_says_why_and_is_removed_all_the_same() {
    let scratch = Scratch::new();
    let script = "mkdir -p a/b/c; echo x > a/b/c/f; chmod 000 a/b/c/f a/b/c a/b; chmod 500 a";
    let answer = Job::sh(script).with("artifacts", artifacts(&scratch, &["a"])).run();
    answer.exited();
    // Root reads it all the same; a user is told EACCES.
    let errors = &answer.outcome.artifact_errors;
    if is_root() {
        assert_eq!((answer.outcome.artifacts.len(), errors.len()), (1, 0), "{}", answer.json);
    } else {
        assert_eq!((errors.len(), errors[0].errno.as_deref()), (1, Some("EACCES")), "{}", answer.json);
    }
}

#[test]
fn a_sparse_file_is_counted_by_what_is_read_and_stays_whole() {
    let scratch = Scratch::new();
    let answer = Job::sh("truncate -s 20M sparse; printf end >> sparse")
        .with("artifacts", artifacts(&scratch, &["sparse"]))
        .run();
    answer.exited();
    assert_eq!(answer.outcome.artifacts[0].bytes, (20 << 20) + 3);
    assert_eq!(fs::metadata(scratch.path("out/sparse")).unwrap().len(), (20 << 20) + 3);
}

#[test]
fn set_id_bits_never_come_out() {
    let scratch = Scratch::new();
    let script = "cp /bin/true f; chmod 6755 f; stat -c %a f";
    let answer = Job::sh(script).with("artifacts", artifacts(&scratch, &["f"])).run();
    assert_eq!(answer.exited().trim(), "6755", "in a private workspace it can be made");
    assert_eq!(fs::metadata(scratch.path("out/f")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn the_umask_of_the_caller_plays_no_part() {
    let scratch = Scratch::new();
    let job = Job::sh("umask; mkdir d; echo x > d/f").with("artifacts", artifacts(&scratch, &["d"]));
    let answer = job.started_by(&["sh", "-c", r#"umask 0777; exec "$0" "$@""#], &[]).run();
    assert_eq!(answer.exited().trim(), "0022");
    assert_eq!(answer.outcome.artifacts.len(), 1, "{}", answer.json);
    for (name, mode) in [("out/d", 0o755), ("out/d/f", 0o644)] {
        eventually("the copy is there", || scratch.path(name).exists());
        assert_eq!(fs::metadata(scratch.path(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn nothing_comes_out_of_a_job_that_failed() {
    let scratch = Scratch::new();
    let job = Job::new(&["no-such-program"]).files(&[("made", "x")]);
    let answer = job.with("artifacts", artifacts(&scratch, &["made"])).run();
    answer.is(Status::Failed);
    assert!(answer.outcome.artifacts.is_empty());
}
