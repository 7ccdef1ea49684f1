//! Honest archives: what goes out comes in again, and other programs read and write the same.

use super::{Home, finish};
use crate::support::has_program;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mode, time, content, and the first name of the same file.
type Kept = (u32, i64, Vec<u8>, Vec<u8>);

/// Everything below a directory that an archive keeps, by its path.
fn look(root: &Path) -> BTreeMap<Vec<u8>, Kept> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![root.to_owned()]);
    let mut first_names = BTreeMap::new();
    while let Some(dir) = pending.pop() {
        let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let data = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let content = if data.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if data.is_dir() {
                pending.push(path);
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let group: &Vec<u8> = first_names.entry(data.ino()).or_insert_with(|| name.clone());
            found.insert(name.clone(), (data.mode(), data.mtime(), content, group.clone()));
        }
    }
    found
}

/// Files of every kind and with every sort of name.
fn fill(root: &Path) {
    let binary: Vec<u8> = (0..1_000_003u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for size in [0, 1, 511, 512, 513, 1_000_003] {
        fs::write(root.join(format!("size {size}")), &binary[..size]).unwrap();
    }
    let deep: PathBuf = (0..12).map(|number| format!("directory number {number}")).collect();
    fs::create_dir_all(root.join(&deep)).unwrap();
    let longest = "n".repeat(255);
    let names: [&[u8]; 9] = [
        b" ",
        b"-rf",
        b"new\nline",
        b"\xff\xfe",
        "ünï 🦀".as_bytes(),
        b"back\\slash",
        b"..dots..",
        b"pax",
        longest.as_bytes(),
    ];
    for dir in [root.to_owned(), root.join(&deep)] {
        for name in names {
            fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
        }
        let odd = dir.join(OsStr::from_bytes(b"directory \xff\n"));
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("inner"), "inner").unwrap();
    }
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../..", root.join("up")).unwrap();
    symlink("x/".repeat(1500), root.join("long link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), root.join("odd link")).unwrap();
    fs::hard_link(root.join("size 513"), root.join("again")).unwrap();
    fs::hard_link(root.join("size 513"), root.join(&deep).join("once more")).unwrap();
    for (name, mode) in [("size 0", 0o600), ("size 1", 0o755), ("size 511", 0o440)] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, seconds) in [("size 0", 1u64), ("size 1", 1_000_000_000), ("size 512", 9_000_000_000)] {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn what_goes_out_comes_in_again() {
    let home = Home::new();
    let (from, to) = (home.create("from"), home.create("to"));
    fill(&from);
    let archive = home.scratch.text("all.tar");
    home.ok(&["export", "from", &archive]);
    home.ok(&["import", "to", &archive]);
    let (there, here) = (look(&from), look(&home.store().path("to").unwrap()));
    assert_eq!(there.keys().collect::<Vec<_>>(), here.keys().collect::<Vec<_>>());
    for (name, expected) in &there {
        assert_eq!(&here[name], expected, "{}", String::from_utf8_lossy(name));
    }
    assert!(there.len() > 40);
    // The same files make the same bytes, and through pipes as through files.
    let piped = home.workspace(&["export", "to", "-"]).output().unwrap();
    assert!(piped.status.success() && piped.stdout == fs::read(&archive).unwrap());
    assert_eq!(home.feed(&["import", "to", "-", "--replace"], &piped.stdout), (0, String::new(), String::new()));
    assert_eq!(look(&to), there);
    assert_eq!(home.limbo(), 0);
}

#[test]
fn gnu_tar_and_python_read_what_goes_out() {
    let home = Home::new();
    let from = home.create("from");
    fill(&from);
    let archive = home.scratch.text("all.tar");
    home.ok(&["export", "from", &archive]);
    let target = home.scratch.dir("gnu");
    // A directory's time is set when all is in it, and not when the first other thing follows.
    let options = ["--no-same-owner", "--delay-directory-restore"];
    let untar = Command::new("tar").args(["-xpf", &archive, "-C", &target]).args(options).output().unwrap();
    let words = String::from_utf8_lossy(&untar.stderr).into_owned();
    let only_of_time = words.lines().all(|line| line.contains("in the future"));
    assert!(untar.status.success() && only_of_time, "{untar:?}");
    assert_eq!(look(Path::new(&target)), look(&from));
    if has_program("python3") {
        let script =
            "import sys, tarfile\nprint(len(tarfile.open(sys.argv[1], errors='surrogateescape').getmembers()))";
        let counted = Command::new("python3").args(["-c", script, &archive]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), look(&from).len().to_string(), "{counted:?}");
    }
}

#[test]
fn what_other_programs_write_comes_in() {
    let home = Home::new();
    let source = home.scratch.dir("source");
    fill(Path::new(&source));
    home.create("ws");
    // ustar has no room for names and times like these, and GNU tar says so.
    for format in ["gnu", "pax", "oldgnu"] {
        let archive = home.scratch.text("made.tar");
        let words = ["-C", &source, "--format", format, "--numeric-owner", "-cf", &archive, "."];
        let made = Command::new("tar").args(words).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        assert_eq!(home.run(&["import", "ws", &archive, "--replace"]), (0, String::new(), String::new()), "{format}");
        assert_eq!(look(&home.store().path("ws").unwrap()), look(Path::new(&source)), "{format}");
    }
    let small = home.scratch.dir("small");
    fs::create_dir(format!("{small}/dir")).unwrap();
    fs::write(format!("{small}/dir/{}", "n".repeat(90)), "text").unwrap();
    let deep = format!("{small}/{}", "p".repeat(80));
    fs::create_dir(&deep).unwrap();
    fs::write(format!("{deep}/{}", "n".repeat(90)), "text").unwrap();
    for format in ["ustar", "v7"] {
        let archive = home.scratch.text("small.tar");
        if format == "v7" {
            fs::remove_dir_all(&deep).unwrap();
        }
        let words = ["-C", &small, "--format", format, "-cf", &archive, "."];
        assert!(Command::new("tar").args(words).status().unwrap().success());
        home.ok(&["import", "ws", &archive, "--replace"]);
        assert_eq!(look(&home.store().path("ws").unwrap()), look(Path::new(&small)), "{format}");
    }
}

#[test]
fn an_import_replaces_all_or_nothing_and_only_when_told() {
    let home = Home::new();
    let data = home.create("ws");
    let source = home.create("source");
    fs::write(source.join("new"), "new").unwrap();
    fs::write(data.join("old"), "old").unwrap();
    let archive = home.scratch.text("new.tar");
    home.ok(&["export", "source", &archive]);
    home.fails(&["import", "ws", &archive], "not empty");
    let whole = fs::read(&archive).unwrap();
    for length in [0, 100, 512, 514, 1024, whole.len() - 1024] {
        let (code, _, words) = home.feed(&["import", "ws", "-", "--replace"], &whole[..length]);
        assert!(code == 125 && words.contains("ends too early"), "{length}: {words}");
        assert_eq!(fs::read_to_string(data.join("old")).unwrap(), "old");
    }
    let (code, _, words) = home.feed(
        &["import", "ws", "-", "--replace"],
        b"\x1f\x8b and so on, which is more than 512 bytes".repeat(20).as_slice(),
    );
    assert!(code == 125 && words.contains("gzip -dc"), "{words}");
    home.ok(&["import", "ws", &archive, "--replace"]);
    assert_eq!(look(&data).len(), 1);
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "new");
    assert_eq!(home.limbo(), 0);
    // And it is a workspace as before, for jobs too.
    let run = home.pinfold(&["run", "-w", "ws:ws", "--", "sh", "-c", "cat new; echo more > more"]).spawn().unwrap();
    assert_eq!(finish(run), (0, "new".to_owned(), String::new()));
}

#[test]
fn an_export_that_fails_leaves_no_file_and_one_that_is_there_as_it_was() {
    let home = Home::new();
    let data = home.create("ws");
    // A terabyte of nothing: no archive of it is wanted by anybody.
    fs::File::create(data.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let archive = home.scratch.file("out/../precious.tar".trim_start_matches("out/../"), "precious");
    home.fails(&["export", "ws", &archive], "more than 16 GiB");
    assert_eq!(fs::read_to_string(&archive).unwrap(), "precious");
    assert_eq!(fs::read_dir(home.scratch.path("")).unwrap().count(), 2, "the state directory and the file");
    // Nothing is written to, or read from, where a command may have left a link.
    home.fails(&["export", "ws", data.join("x.tar").to_str().unwrap()], "nothing there is trusted");
    home.fails(&["import", "ws", data.join("hole").to_str().unwrap(), "--replace"], "nothing there is trusted");
}

#[test]
fn modes_of_directories_that_forbid_to_write_come_in_and_go() {
    let home = Home::new();
    let from = home.create("from");
    fs::create_dir_all(from.join("a/b/c")).unwrap();
    fs::write(from.join("a/b/c/file"), "x").unwrap();
    for dir in ["a/b/c", "a/b", "a"] {
        fs::set_permissions(from.join(dir), fs::Permissions::from_mode(0o555)).unwrap();
    }
    home.create("to");
    let archive = home.scratch.text("all.tar");
    home.ok(&["export", "from", &archive]);
    home.ok(&["import", "to", &archive]);
    assert_eq!(look(&home.store().path("to").unwrap()), look(&from));
    home.ok(&["import", "to", &archive, "--replace"]);
    home.ok(&["remove", "from"]);
    home.ok(&["remove", "to"]);
    assert_eq!(home.limbo(), 0);
}
