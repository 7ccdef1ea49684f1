//! The job, field by field: each works, none is accepted and ignored (DESIGN §3).

use crate::sandbox::{Job, Scratch};
use crate::support::{is_root, probe};
use pinfold_runner::Status;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

#[test]
fn a_command_alone_runs_with_every_default() {
    let answer = Job::sh("id -u; id -g; pwd; cat; echo hello >&2").run();
    assert_eq!(answer.exited(), "1000\n1000\n/workspace\n");
    assert_eq!(answer.json["stderr"], "hello\n");
}

#[test]
fn the_command_is_found_on_the_path_inside() {
    for (path, directory) in [("bin:/usr/bin", "bin"), ("", "")] {
        let file = format!("{directory}/mine").trim_start_matches('/').to_owned();
        let job = Job::new(&["mine"]).with("env", json!({"PATH": path}));
        let script = json!([{"path": file, "content": "#!/bin/sh\necho mine", "executable": true}]);
        assert_eq!(job.with("files", script).run().exited(), "mine\n", "PATH={path}");
    }
}

#[test]
fn a_command_that_is_missing_or_not_executable_has_its_own_code() {
    let files = |executable: bool, text: &str| json!([{"path": "it", "content": text, "executable": executable}]);
    let cases = [
        (Job::new(&["no-such-program"]), "exec_not_found"),
        (Job::new(&["./no-such-program"]), "exec_not_found"),
        (Job::new(&["./it"]).with("files", files(false, "#!/bin/sh\n")), "exec_not_executable"),
        (Job::new(&["./it"]).with("files", files(true, "neither script nor program")), "exec_not_executable"),
        (Job::new(&["./it"]).with("files", files(true, "#!/no/such/interpreter\n")), "exec_not_found"),
        (Job::new(&["/usr"]), "exec_not_executable"),
    ];
    for (job, code) in cases {
        let failure = job.failure();
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(failure.message.starts_with("failed to execute `"), "{failure:?}");
    }
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let odd = ["", " a  b ", "$HOME", "*", "new\nline", "\u{1f600}", "'\"\\"];
    let mut command = vec!["printf", "[%s]"];
    command.extend(odd);
    let expected: String = odd.iter().map(|word| format!("[{word}]")).collect();
    assert_eq!(Job::new(&command).run().exited(), expected);
}

#[test]
fn the_environment_is_built_from_nothing() {
    let running = Job::new(&["env"]).spawn_as(|command| {
        command.env("CANARY_OF_THE_CALLER", "1").env("LD_PRELOAD", "").env("TERM", "dumb");
    });
    let mut lines = running.answer().lines();
    lines.sort();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["HOME=/workspace", "LANG=C.UTF-8", path, "TMPDIR=/tmp", "USER=sandbox"]);
}

#[test]
fn env_is_added_and_wins_over_the_base() {
    let env = json!({"HOME": "/tmp", "ODD": "a=b\n", "EMPTY": "", "LANG": "C"});
    let answer = Job::sh(r#"printf '%s|' "$HOME" "$ODD" "${EMPTY-unset}" "$LANG" "$USER""#).with("env", env).run();
    assert_eq!(answer.exited(), "/tmp|a=b\n||C|sandbox|");
    for name in ["", "A=B", "A\0"] {
        let failure = Job::new(&["true"]).with("env", json!({name: "x"})).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("env"), "{failure:?}");
    }
}

#[test]
fn any_user_may_be_asked_for_and_has_a_name() {
    for (user, name) in [("0:0", "root"), ("1000:1000", "sandbox"), ("65534:65534", "nobody"), ("1234:4321", "sandbox")]
    {
        let answer = Job::sh("id -u; id -g; id -un; touch made; stat -c %u:%g made").with("user", json!(user)).run();
        let (uid, gid) = user.split_once(':').unwrap();
        assert_eq!(answer.lines(), [uid, gid, name, user]);
    }
    for user in ["root", "0", "0:", ":0", "-1:0", "4294967295:0", "0:4294967296", "1:1:1", " 1:1"] {
        let failure = Job::new(&["true"]).with("user", json!(user)).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("user"), "{user}: {failure:?}");
    }
}

#[test]
fn user_0_has_no_capability() {
    let status = Job::sh("grep Cap /proc/self/status").with("user", json!("0:0")).run().exited();
    assert_eq!(status.lines().count(), 5);
    assert!(status.lines().all(|line| line.ends_with("\t0000000000000000")), "{status}");
}

#[test]
fn cwd_is_absolute_or_relative_to_the_workspace() {
    for (cwd, pwd) in [("/tmp", "/tmp"), ("/", "/"), ("deep/er", "/workspace/deep/er"), (".", "/workspace")] {
        let job = Job::new(&["pwd", "-P"]).with("cwd", json!(cwd)).files(&[("deep/er/x", "")]);
        assert_eq!(job.run().exited().trim_end(), pwd);
    }
    let failure = Job::new(&["true"]).with("cwd", json!("missing")).failure();
    assert_eq!(failure.code, "cwd");
    assert!(failure.message.contains("`missing`: ENOENT") && failure.hint.is_some(), "{failure:?}");
    for cwd in ["", "..", "a/../b", "a\0b"] {
        assert_eq!(Job::new(&["true"]).with("cwd", json!(cwd)).failure().code, "bad_job", "{cwd:?}");
    }
}

#[test]
fn stdin_is_read_to_its_end() {
    assert_eq!(Job::new(&["wc", "-c"]).run().exited().trim(), "0");
    assert_eq!(Job::new(&["cat"]).with("stdin", json!("two\nlines")).run().exited(), "two\nlines");
    let bytes = Job::new(&["od", "-An", "-tx1"]).with("stdin", json!({"base64": "/wD+"})).run();
    assert_eq!(bytes.exited().trim(), "ff 00 fe");
    let large = "x".repeat(3 << 20);
    assert_eq!(Job::new(&["wc", "-c"]).with("stdin", json!(large)).run().exited().trim(), (3 << 20).to_string());
    // A command that never reads is not waited for.
    Job::new(&["true"]).with("stdin", json!(large)).run().exited();
}

#[test]
fn content_is_text_or_base64_and_nothing_else() {
    let answer = Job::new(&["printf", r"\377\000a"]).run();
    assert_eq!(answer.json["stdout"], json!({"base64": "/wBh"}));
    for content in [json!(1), json!(null), json!([]), json!({}), json!({"base64": "?"}), json!({"base46": ""})] {
        let failure = Job::new(&["true"]).with("stdin", content.clone()).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("stdin"), "{content}: {failure:?}");
    }
}

#[test]
fn files_are_written_with_their_parents_and_modes() {
    let files = json!([
        {"path": "a/b/c.txt", "content": "text"},
        {"path": "run.sh", "content": "#!/bin/sh\necho ran", "executable": true},
        {"path": "odd \n\u{e9}*", "content": {"base64": "AAH/"}},
        {"path": "twice", "content": "first, and longer"},
        {"path": "twice", "content": "second"},
    ]);
    let script = "stat -c '%a %U %n' a a/b/c.txt run.sh; cat a/b/c.txt twice; ./run.sh; od -An -tx1 odd*";
    let running = Job::sh(script).with("files", files).spawn_as(|_| {});
    let expected = "755 sandbox a\n644 sandbox a/b/c.txt\n755 sandbox run.sh\ntextsecondran\n 00 01 ff\n";
    assert_eq!(running.answer().exited(), expected);
}

#[test]
fn a_path_of_files_that_leaves_the_workspace_is_refused_by_name() {
    let (long, longer) = ("n".repeat(256), "d/".repeat(2100) + "f");
    for path in ["", "/etc/x", "../x", "a/../../x", "a/./b", "a//b", "a/", ".", "..", "a\0b", &long, &longer] {
        let failure = Job::new(&["true"]).with("files", json!([{"path": path, "content": ""}])).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("files[0].path"), "{failure:?}");
    }
    // Half of the path is a file: refused at the step, and the command does not run.
    let failure = Job::new(&["true"]).files(&[("a", ""), ("a/b", "")]).failure();
    assert!(failure.code == "files" && failure.message.contains("`a/b`"), "{failure:?}");
}

#[test]
fn a_link_in_a_callers_workspace_is_never_followed() {
    let scratch = Scratch::new();
    let (work, victim) = (scratch.dir("work"), scratch.file("victim", "untouched"));
    scratch.dir("outside");
    symlink(&victim, scratch.path("work/file")).unwrap();
    symlink(scratch.path("outside"), scratch.path("work/dir")).unwrap();
    symlink("/tmp", scratch.path("work/inside")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(scratch.path("work/fifo")).status().unwrap().success());
    for path in ["file", "dir/new", "inside/new", "fifo"] {
        let job = Job::new(&["true"]).with("workspace", json!({"path": work})).files(&[(path, "written")]);
        let failure = job.failure();
        assert!(failure.code == "files" && failure.message.contains(path), "{failure:?}");
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(scratch.path("outside")).unwrap().count(), 0);
}

#[test]
fn every_kind_of_workspace_is_empty_writable_and_home() {
    let scratch = Scratch::new();
    let path = scratch.dir("own");
    for workspace in [json!("temp"), json!("tmpfs"), json!({"path": path})] {
        let job = Job::sh("ls -A; echo data > made; cat made; cd ~; pwd").with("workspace", workspace);
        assert_eq!(job.run().exited(), "data\n/workspace\n");
    }
    assert_eq!(fs::read_to_string(scratch.path("own/made")).unwrap(), "data\n");
    for bad in [json!("disk"), json!({"path": "relative"}), json!({"path": "/tmp", "x": 1}), json!({}), json!("max")] {
        let failure = Job::new(&["true"]).with("workspace", bad).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("workspace"), "{failure:?}");
    }
    let failure = Job::new(&["true"]).with("workspace", json!({"path": scratch.text("missing")})).failure();
    assert!(failure.code == "workspace" && failure.message.contains("ENOENT"), "{failure:?}");
    let failure = Job::new(&["true"]).with("workspace", json!({"path": scratch.file("file", "")})).failure();
    assert!(failure.code == "workspace" && failure.message.contains("ENOTDIR"), "{failure:?}");
}

#[test]
fn what_is_left_in_a_callers_workspace_belongs_to_its_owner() {
    let scratch = Scratch::new();
    let owners: &[(u32, u32)] = if is_root() { &[(0, 0), (1001, 1001), (12345, 54321)] } else { &[(u32::MAX, 0)] };
    for (index, (uid, gid)) in owners.iter().enumerate() {
        let path = scratch.dir(&format!("work{index}"));
        if is_root() {
            chown(&path, Some(*uid), Some(*gid)).unwrap();
        }
        let owner = fs::metadata(&path).map(|data| (data.uid(), data.gid())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        for user in ["1000:1000", "0:0"] {
            let job = Job::sh("mkdir -p d; echo x > d/f; stat -c %u:%g d/f; rm d/f; echo y > d/f; ln -sf f d/l");
            let answer = job.with("user", json!(user)).with("workspace", json!({"path": path})).run();
            assert_eq!(answer.exited().trim(), user);
            for name in ["d", "d/f", "d/l"] {
                let data = fs::symlink_metadata(scratch.path(&format!("work{index}/{name}"))).unwrap();
                assert_eq!((data.uid(), data.gid()), owner, "{name} made by {user}");
            }
        }
    }
}

#[test]
fn an_id_comes_back_and_is_made_up_when_absent() {
    let longest = "a".repeat(128);
    for id in ["a", "A-b_c.d", "...", &longest] {
        assert_eq!(Job::new(&["true"]).with("id", json!(id)).run().json["id"], id);
    }
    let (one, other) = (Job::new(&["true"]).run().outcome.id, Job::new(&["true"]).run().outcome.id);
    assert!(one != other && one.len() >= 8, "{one} {other}");
    let too_long = "a".repeat(129);
    for id in ["", ".", "..", "a/b", "a b", "\u{e9}", "a\0", &too_long] {
        assert_eq!(Job::new(&["true"]).with("id", json!(id)).failure().code, "bad_job", "{id:?}");
    }
    // A job that can't be done keeps its name.
    assert_eq!(Job::new(&["no-such-program"]).with("id", json!("mine")).run().json["id"], "mine");
}

#[test]
fn an_unknown_field_is_named_wherever_it_is() {
    let places = [
        ("memroy", json!({"memroy": 1})),
        ("pidz", json!({"limits": {"pidz": 1}})),
        ("mode", json!({"files": [{"path": "a", "content": "", "mode": 1}]})),
        ("readonly", json!({"mounts": [{"source": "/a", "target": "/b", "readonly": true}]})),
        ("dir", json!({"artifacts": {"paths": [], "directory": "/a", "dir": 1}})),
        ("x", json!({"root": {"path": "/", "x": 1}})),
        ("y", json!({"seccomp": {"path": "/", "y": 1}})),
    ];
    for (name, fields) in places {
        let mut job = json!({"command": ["true"]});
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let failure = Job::from(job).failure();
        assert!(failure.code == "bad_job" && failure.message.contains(&format!("`{name}`")), "{failure:?}");
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named_and_null_is_no_value() {
    let fields = [
        "version",
        "id",
        "command",
        "env",
        "user",
        "cwd",
        "stdin",
        "files",
        "workspace",
        "root",
        "mounts",
        "network",
        "limits",
        "seccomp",
        "require",
        "artifacts",
    ];
    for field in fields {
        for value in [Value::Null, json!(true), json!(-1), json!({"a": 1}), json!([1])] {
            let failure = Job::new(&["true"]).with("stdin", json!("")).with_raw(field, value.clone()).failure();
            let named = failure.code == "bad_job" && failure.message.contains(field);
            assert!(named, "{field}: {value}: {failure:?}");
        }
    }
}

#[test]
fn another_version_of_the_contract_is_an_error() {
    Job::new(&["true"]).with("version", json!(1)).run().exited();
    for version in [json!(0), json!(2), json!(1.5), json!("1"), json!(4_294_967_297u64)] {
        let failure = Job::new(&["true"]).with("version", version).failure();
        assert!(failure.code == "bad_job" && failure.message.contains("version"), "{failure:?}");
    }
}

#[test]
fn what_is_required_is_in_force_or_the_command_never_runs() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    for name in ["cgroup", "landlock", "memory", "pids", "cpu", "workspace", "groups"] {
        let job = Job::sh("touch ran").with("workspace", json!({"path": work})).with("require", json!([name]));
        let answer = job.run();
        let ran = fs::remove_file(scratch.path("work/ran")).is_ok();
        match answer.outcome.status {
            Status::Exited => assert!(ran),
            _ => {
                let error = answer.outcome.error.unwrap();
                assert!(!ran && error.code == "requirement" && error.message.contains(name), "{error:?}");
                assert!(error.hint.is_some(), "{error:?}");
            }
        }
    }
    let failure = Job::new(&["true"]).with("require", json!(["cgruop"])).failure();
    assert!(failure.code == "bad_job" && failure.message.contains("cgruop"), "{failure:?}");
    Job::new(&["true"]).with("workspace", json!("tmpfs")).with("require", json!(["workspace"])).run().exited();
}

#[test]
fn a_probe_runs_by_itself_and_says_its_code() {
    assert_eq!(Job::probe("true", &["7"]).run().outcome.exit_code, Some(7));
    assert!(probe("true").exists());
}
