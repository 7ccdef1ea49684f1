//! Who gets which sandbox, in whose directory.

use super::{Home, finish};
use crate::support;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

#[test]
fn start_prints_an_id_and_the_same_one_for_the_same_name() {
    let home = Home::new();
    let id = home.start("alice", &["--memory", "64M"]);
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(home.start("alice", &[]), id);
    assert_eq!(home.start("alice", &["--memory", "64M"]), id);
    home.fails(&["start", "--name", "alice", "--memory", "128M"], "differs in `limits.memory_bytes`");
    home.fails(&["start", "--name", "alice", "--net", "host"], "network");
    let other = home.ok(&["start"]);
    assert_ne!(other.trim_end(), id);
    // By name, id, and the beginning of an id.
    for name in ["alice", &id, &id[..12]] {
        assert_eq!(home.says(name, "echo here"), "here\n");
    }
    assert_eq!(home.says(other.trim_end(), "echo there"), "there\n");
    assert_eq!(home.ok(&["ps"]).lines().count(), 3);
    // A new one after the end.
    home.ok(&["stop", "alice"]);
    assert_ne!(home.start("alice", &["--memory", "128M"]), id);
}

#[test]
fn of_many_who_ask_at_once_all_get_the_same() {
    let home = Home::new();
    let children: Vec<_> = (0..20).map(|_| home.pinfold(&["start", "--name", "one"]).spawn().unwrap()).collect();
    let ids: Vec<_> = children.into_iter().map(finish).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.0 == 0 && id.1.len() == 17), "{ids:?}");
    assert_eq!(home.ok(&["ps"]).lines().count(), 2);
}

#[test]
fn starts_and_stops_at_once_end_in_one_or_none() {
    let home = Home::new();
    let children: Vec<_> = (0..support::runs(30))
        .map(|number| match number % 3 {
            0 => home.pinfold(&["stop", "one"]).spawn().unwrap(),
            _ => home.pinfold(&["start", "--name", "one"]).spawn().unwrap(),
        })
        .collect();
    for child in children {
        let (code, _, words) = finish(child);
        assert_eq!(code, 0, "{words}");
    }
    home.start("one", &[]);
    assert_eq!(home.says("one", "echo here"), "here\n");
    home.ok(&["stop", "one"]);
    home.is_clean();
}

#[test]
fn a_name_has_63_characters_at_most_and_none_that_is_odd() {
    let home = Home::new();
    let longest = "x".repeat(63);
    home.start(&longest, &[]);
    assert_eq!(home.says(&longest, "echo here"), "here\n");
    let too_long = "x".repeat(64);
    for name in [too_long.as_str(), "", ".", "..", "a/b", "-a", "a b", "ä"] {
        let (code, stdout, words) = home.run(&["start", &format!("--name={name}")]);
        assert_eq!((code, stdout.as_str()), (125, ""), "{name}: {words}");
        let (code, ..) = home.run(&["exec", "--", name, "true"]);
        assert_eq!(code, 125, "{name}");
    }
    home.fails(&["exec", &too_long, "--", "true"], "1 to 63");
    home.fails(&["exec", "nobody", "--", "true"], "there is no sandbox `nobody`");
}

#[test]
fn two_sandboxes_side_by_side_share_nothing() {
    let home = Home::new();
    home.start("a", &[]);
    home.start("b", &[]);
    home.says("a", "echo mine > /workspace/file; echo mine > /tmp/file; sleep 1000 >/dev/null 2>&1 &");
    assert_eq!(home.shell("b", "cat /workspace/file /tmp/file 2>/dev/null; grep -al sleep /proc/[0-9]*/comm").1, "");
    home.ok(&["stop", "b"]);
    assert_eq!(home.says("a", "cat /workspace/file /tmp/file"), "mine\nmine\n");
}

#[test]
fn a_directory_that_others_may_enter_or_that_is_a_link_is_refused() {
    let home = Home::new();
    let dir = home.scratch.dir("open");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, words) = finish(home.pinfold(&["start"]).env("PINFOLD_RUNTIME_DIR", &dir).spawn().unwrap());
    assert!(code == 125 && words.contains("0700"), "{words}");
    let private = home.scratch.dir("private");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&private, home.scratch.path("link")).unwrap();
    let link = home.scratch.path("link");
    let (code, _, words) = finish(home.pinfold(&["start"]).env("PINFOLD_RUNTIME_DIR", link).spawn().unwrap());
    assert_eq!(code, 125, "{words}");
    let (code, _, words) = finish(home.pinfold(&["start"]).env("PINFOLD_RUNTIME_DIR", "relative").spawn().unwrap());
    assert!(code == 125 && words.contains("absolute"), "{words}");
    if support::is_root() {
        chown(&private, Some(65_534), None).unwrap();
        let (code, _, words) = finish(home.pinfold(&["ps"]).env("PINFOLD_RUNTIME_DIR", &private).spawn().unwrap());
        assert!(code == 125 && words.contains("belong"), "{words}");
    }
}

#[test]
fn the_path_of_the_directory_may_be_long() {
    let home = Home::new();
    let deep = home.scratch.dir(&vec!["x".repeat(60); 5].join("/"));
    let runtime = format!("{deep}/runtime");
    let run = |args: &[&str]| finish(home.pinfold(args).env("PINFOLD_RUNTIME_DIR", &runtime).spawn().unwrap());
    assert_eq!(run(&["start", "--name", "a"]).0, 0);
    assert_eq!(run(&["exec", "a", "--", "echo", "here"]).1, "here\n");
    assert_eq!(run(&["stop", "a"]), (0, String::new(), String::new()));
}

#[test]
fn a_sandbox_that_cannot_be_made_is_told_with_its_reason() {
    let home = Home::new();
    // On disk the workspace is watched, which is not what is asked for.
    let (code, stdout, words) = home.run(&["start", "--name", "a", "--require", "workspace"]);
    assert_eq!((code, stdout.as_str()), (125, ""), "{words}");
    assert!(words.contains("workspace") && words.contains("hint: "), "{words}");
    home.is_clean();
    home.fails(&["start", "-w", "ws:none"], "there is no workspace `none`");
    home.is_clean();
}

#[test]
fn one_broken_record_hides_no_other() {
    let home = Home::new();
    home.start("a", &[]);
    let record = |home: &Home| {
        let mut files = fs::read_dir(home.runtime()).unwrap().flatten().map(|file| file.path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap()
    };
    let broken = record(&home);
    fs::write(&broken, "{").unwrap();
    home.start("b", &[]);
    let listed = home.json(&["ps", "--json"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (2, &"b".into()), "{listed}");
    assert!(listed[1]["broken"].is_string(), "{listed}");
    // It lives all the same, and is reached by those who know its name.
    assert_eq!(home.start("a", &[]).len(), 16);
    fs::remove_file(broken).unwrap();
    let held = home.sandboxes();
    assert!(held.start(&pinfold::held::Spec::named("a".try_into().unwrap())).unwrap().stop().is_ok());
}

#[test]
fn the_keeper_holds_nothing_of_its_starters() {
    let home = Home::new();
    let mut shell = Command::new("sh");
    let template = home.pinfold(&[]);
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script = format!("exec 7</etc/passwd; {} start --name a 9>&1", support::pinfold().display());
    let output = shell.args(["-c", &script]).env("SECRET", "s3cret").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (keeper, runner) = home.processes("a");
    for pid in [keeper, runner] {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            assert!(!target.ends_with("etc/passwd"), "{target:?}");
        }
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(!environ.windows(6).any(|window| window == b"s3cret"));
    }
    assert_eq!(fs::read_link(format!("/proc/{keeper}/cwd")).unwrap().to_str(), Some("/"));
    let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).unwrap();
    let session: i32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().parse().unwrap();
    assert_eq!(session, keeper, "a session of its own");
}
