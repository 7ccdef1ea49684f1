//! `pinfold ls` and `pinfold cp`: the rules of `docker cp`, what is printed, and that nothing in the place is followed.

use super::{Place, SECRET};
use crate::emulator::Emulator;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `pinfold` in the scratch directory, where the place is `./inside` and the user's own files are beside it.
fn pinfold(place: &Place, args: &[&str]) -> (i32, String, String) {
    let output = output(place, args, b"");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn output(place: &Place, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(crate::support::pinfold());
    command.args(args).current_dir(place.scratch.path("")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have refused before it reads.
    let _may_be_closed = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn done(place: &Place, args: &[&str]) {
    assert_eq!(pinfold(place, args), (0, String::new(), String::new()), "{args:?}");
}

fn refused(place: &Place, args: &[&str], words: &str) {
    let (code, stdout, stderr) = pinfold(place, args);
    assert_eq!((code, stdout.as_str()), (125, ""), "{args:?}: {stderr}");
    assert!(stderr.contains(words) && stderr.starts_with("pinfold: error:"), "{args:?}: {stderr}");
}

#[test]
fn ls_shows_what_is_there_and_obeys_no_name() {
    let place = Place::new();
    place.tree.write("d/new\nline\x1b[31m", "text").unwrap();
    place.tree.write("d/-rf", "").unwrap();
    symlink("/etc/shadow", place.inside("d/link")).unwrap();
    fs::set_permissions(place.inside("d/-rf"), fs::Permissions::from_mode(0o4750)).unwrap();
    let (code, stdout, stderr) = pinfold(&place, &["ls", "./inside:d"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() == 3 && !stdout.contains('\x1b'), "{stdout:?}");
    assert!(lines[0].starts_with("-rwsr-x---            0 20") && lines[0].ends_with(" -rf"), "{stdout}");
    assert!(lines[1].starts_with("lrwx") && lines[1].ends_with(" link -> /etc/shadow"), "{stdout}");
    assert!(lines[2].starts_with("-rw-r--r--            4 ") && lines[2].ends_with("\\u{1b}[31m"), "{stdout}");
    assert_eq!(pinfold(&place, &["ls", "./inside"]).1.lines().count(), 1);
    assert_eq!(pinfold(&place, &["ls", "./inside:/workspace/d/link"]).1.lines().count(), 1);
    refused(&place, &["ls", "./inside:none"], "no such file");
    refused(&place, &["ls", "./inside:d/link/x"], "symbolic link");
    refused(&place, &["ls", "./inside:../outside"], "`..`");
    refused(&place, &["ls", "./inside:/etc"], "/workspace");
    refused(&place, &["ls", "./nowhere"], "no such file");
    refused(&place, &["ls", "name:x"], "no sandbox `name`");
}

#[test]
fn ls_tells_names_of_any_bytes_as_json() {
    let place = Place::new();
    place.tree.write(std::ffi::OsStr::from_bytes(b"a\xff"), "12345").unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"\xfe"), place.inside("link")).unwrap();
    let (_, stdout, _) = pinfold(&place, &["ls", "--json", "./inside"]);
    let list: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&list["version"], &list["truncated"]), (&json!(1), &json!(false)));
    let file = &list["entries"][0];
    assert_eq!((&file["name"], &file["kind"], &file["bytes"]), (&json!({"base64": "Yf8="}), &json!("file"), &json!(5)));
    assert_eq!((&file["mode"], &file["target"]), (&json!("0644"), &Value::Null));
    assert!(file["modified_ms"].as_i64().unwrap() > 1_600_000_000_000);
    assert_eq!(list["entries"][1]["target"], json!({"base64": "/g=="}));
}

#[test]
fn cp_places_files_and_directories_as_docker_does() {
    let place = Place::new();
    place.scratch.dir("mine/sub");
    place.scratch.file("mine/sub/x", "x");
    place.scratch.file("f", "text");
    let inside = |path: &str| fs::read_to_string(place.inside(path)).unwrap();
    // In.
    done(&place, &["cp", "f", "./inside:"]);
    done(&place, &["cp", "f", "./inside:g"]);
    done(&place, &["cp", "mine", "./inside:new"]);
    done(&place, &["cp", "mine", "./inside:new"]);
    done(&place, &["cp", "mine/.", "./inside:/workspace/new"]);
    done(&place, &["cp", "./mine/sub/", "./inside:"]);
    for path in ["f", "g"] {
        assert_eq!(inside(path), "text");
    }
    for path in ["new/sub/x", "new/mine/sub/x", "sub/x"] {
        assert_eq!(inside(path), "x", "{path}");
    }
    refused(&place, &["cp", "f", "./inside:none/"], "no such directory");
    refused(&place, &["cp", "f", "./inside:none/f"], "no such file");
    refused(&place, &["cp", "f", "./inside:g/"], "not a directory");
    refused(&place, &["cp", "mine", "./inside:g"], "replace a file");
    refused(&place, &["cp", "none", "./inside:"], "no such file");
    // Out.
    let own = |path: &str| fs::read_to_string(place.scratch.path(path)).unwrap();
    done(&place, &["cp", "./inside:g", "out"]);
    done(&place, &["cp", "./inside:g", "mine"]);
    done(&place, &["cp", "./inside:new", "tree"]);
    done(&place, &["cp", "./inside:new", "tree"]);
    done(&place, &["cp", "./inside:new/mine/.", "tree"]);
    done(&place, &["cp", "./inside:", "all"]);
    for (path, text) in [("out", "text"), ("mine/g", "text"), ("tree/mine/sub/x", "x"), ("tree/new/sub/x", "x")] {
        assert_eq!(own(path), text, "{path}");
    }
    assert_eq!((own("tree/sub/x"), own("all/new/sub/x")), ("x".into(), "x".into()));
    refused(&place, &["cp", "./inside:new", "out"], "replace a file");
    refused(&place, &["cp", "./inside:g", "nowhere/g"], "no such file");
    refused(&place, &["cp", "./inside:g", "/dev/null"], "no regular file");
}

#[test]
fn cp_refuses_names_that_lead_outside() {
    let place = Place::new();
    place.scratch.file("f", "evil");
    place.tree.write("mine", "x").unwrap();
    for path in ["../../etc/x", "../outside/secret", "/etc/x", "a/../../x", "/workspace/../x", "..", "../outside/"] {
        refused(&place, &["cp", "f", &format!("./inside:{path}")], "failed to");
        refused(&place, &["cp", &format!("./inside:{path}"), "got"], "failed to");
    }
    refused(&place, &["cp", "f", "g"], "neither has a colon");
    refused(&place, &["cp", "./inside:mine", "./inside:other"], "both");
    refused(&place, &["cp", "./inside:mine", "-", "--max-bytes", "0"], "larger than");
    assert!(!place.scratch.path("got").exists());
    place.outside_is_whole();
}

#[test]
fn cp_follows_the_users_links_and_none_of_the_places() {
    let place = Place::new();
    place.scratch.file("f", "mine");
    symlink(place.scratch.path("f"), place.scratch.path("link")).unwrap();
    symlink("../outside/secret", place.inside("steal")).unwrap();
    symlink("../outside", place.inside("way")).unwrap();
    done(&place, &["cp", "link", "./inside:copied"]);
    assert!(!fs::symlink_metadata(place.inside("copied")).unwrap().is_symlink());
    refused(&place, &["cp", "./inside:steal", "got"], "symbolic link");
    refused(&place, &["cp", "./inside:way", "got"], "symbolic link");
    refused(&place, &["cp", "./inside:way/secret", "got"], "symbolic link");
    refused(&place, &["cp", "f", "./inside:steal"], "symbolic link");
    refused(&place, &["cp", "f", "./inside:way"], "symbolic link");
    refused(&place, &["cp", "f", "./inside:way/secret"], "symbolic link");
    // In a tree they come out as links; and what comes later is not written through them.
    done(&place, &["cp", "./inside:.", "tree"]);
    assert_eq!(fs::read_link(place.scratch.path("tree/way")).unwrap().to_str(), Some("../outside"));
    fs::remove_file(place.inside("way")).unwrap();
    place.tree.write("way/secret", "evil").unwrap();
    refused(&place, &["cp", "./inside:.", "tree"], "symbolic link");
    place.outside_is_whole();
}

#[test]
fn cp_streams_archives_both_ways() {
    let place = Place::new();
    place.tree.write("d/sub/f", "text").unwrap();
    place.tree.make_directory_all("to").unwrap();
    let archive = output(&place, &["cp", "./inside:d", "-"], b"");
    assert!(archive.status.success() && archive.stderr.is_empty());
    let back = output(&place, &["cp", "-", "./inside:to"], &archive.stdout);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    assert_eq!(place.tree.read("to/d/sub/f").unwrap(), b"text");
    let cut = output(&place, &["cp", "-", "./inside:to"], &archive.stdout[..600]);
    assert_eq!(cut.status.code(), Some(125));
    refused(&place, &["cp", "-", "./inside:none"], "no such file");
    refused(&place, &["cp", "-", "./inside:d/sub/f"], "not a directory");
}

#[test]
fn what_is_left_out_is_told_and_fails_and_the_rest_is_copied() {
    let place = Place::new();
    place.tree.write("a", "1").unwrap();
    place.tree.write("z", "2").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, place.inside("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    refused(&place, &["cp", "./inside:", "out"], "`fifo`");
    assert_eq!(fs::read_dir(place.scratch.path("out")).unwrap().count(), 2);
    refused(&place, &["cp", "./inside:fifo", "got"], "FIFO");
}

#[test]
fn a_file_system_that_is_mounted_in_the_place_is_not_entered() {
    let place = Place::new();
    place.tree.make_directory_all("m").unwrap();
    let script = r#"mount --bind outside inside/m && cat inside/m/secret || { echo cannot; exit; }
        for what in "cp ./inside:m/secret got" "cp ./inside:m got" "cp outside/secret ./inside:m/new" "ls ./inside:m/folder"; do
            "$PINFOLD" $what 2>&1 | head -1
        done
        "$PINFOLD" cp ./inside: whole; ls -A whole/m"#;
    let maps = if crate::support::is_root() { "-m" } else { "-Urm" };
    let mut command = Command::new("unshare");
    command.args([maps, "sh", "-c", script]).env("PINFOLD", crate::support::pinfold());
    let output = command.current_dir(place.scratch.path("")).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let Some(said) = stdout.strip_prefix(SECRET) else {
        return crate::support::host_cannot("nothing can be mounted here");
    };
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines.iter().all(|line| line.contains("another file system")), "{said}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another file system"), "{output:?}");
    place.outside_is_whole();
}

#[test]
fn a_long_copy_shows_on_a_terminal_how_far_it_is_and_leaves_nothing_of_that() {
    let place = Place::new();
    let mut emulator = Emulator::new(24, 80);
    let mut command = Command::new(crate::support::pinfold());
    command.args(["cp", "-", "./inside:"]).current_dir(place.scratch.path("")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(emulator.terminal()).spawn().unwrap();
    let mut archive = tar::Builder::new(child.stdin.take().unwrap());
    // Goes on until the bar has been seen, however long that takes.
    let is_seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                let mut header = tar::Header::new_gnu();
                header.set_size(100_000);
                header.set_mode(0o644);
                header.set_mtime(0);
                archive.append_data(&mut header, format!("file-{number}"), &[7; 100_000][..]).unwrap();
                if is_seen.load(Ordering::Relaxed) {
                    break;
                }
            }
            drop(archive.into_inner().unwrap());
        });
        let shown = emulator.sees(" files\x1b[K");
        is_seen.store(true, Ordering::Relaxed);
        assert!(shown.starts_with('\r') && shown.contains(" MiB, "), "{shown:?}");
        emulator.sees("\r\x1b[K");
    });
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_bar_is_for_terminals_only() {
    let place = Place::new();
    place.tree.write("f", "text").unwrap();
    let copy = output(&place, &["cp", "./inside:f", "-"], b"");
    assert!(copy.stderr.is_empty() && !copy.stdout.is_empty());
}
