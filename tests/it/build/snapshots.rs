//! What comes in: files, archives, directories and workspaces, all of them a stranger's.

use super::{project, script};
use crate::workspaces::Home;
use pinfold::Content;
use pinfold::build::{Build, Builds, Error, Input, InputFile, Policy, SnapshotBounds, Submission};
use std::fs;

fn file(path: &str, content: &[u8]) -> InputFile {
    InputFile { path: path.try_into().unwrap(), content: Content(content.to_vec()), executable: false }
}

fn submit(home: &Home, input: Input<'_>, bounds: SnapshotBounds) -> Result<Build, Error> {
    let policy = Policy::default();
    let submission = Submission { bounds, ..Submission::new(input, &policy) };
    Builds::at(home.state()).unwrap().submit("a", "p", submission)
}

fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let toml = script("true");
    let all = [("pinfold.toml", tar::EntryType::Regular, toml.as_str())];
    for (path, kind, content) in all.iter().chain(entries) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        if kind.is_file() {
            header.set_size(content.len() as u64);
        } else {
            header.set_link_name_literal(content).unwrap();
            header.set_size(0);
        }
        header.set_cksum();
        builder.append(&header, if kind.is_file() { content.as_bytes() } else { b"" }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn the_same_files_are_the_same_snapshot_however_they_come() {
    let home = Home::new();
    let toml = script("true");
    let directory = project(&home, "dir", &toml);
    fs::create_dir(directory.join("src")).unwrap();
    fs::write(directory.join("src/a"), "a").unwrap();
    fs::create_dir(directory.join(".git")).unwrap();
    fs::write(directory.join(".git/secret"), "not taken").unwrap();
    let bounds = SnapshotBounds::default();
    let first = submit(&home, Input::Directory(directory.clone()), bounds).unwrap();
    let again = submit(&home, Input::Directory(directory), bounds).unwrap();
    assert_eq!((&first.snapshot, first.sequence, again.sequence), (&again.snapshot, 1, 2));
    let archived = archive(&[("src/a", tar::EntryType::Regular, "a")]);
    let of_archive = submit(&home, Input::Tar(&mut &archived[..]), bounds).unwrap();
    assert_eq!(of_archive.snapshot, first.snapshot);
    let store = home.store();
    let path = store.create("ws", None).unwrap();
    fs::write(path.join("pinfold.toml"), &toml).unwrap();
    fs::create_dir(path.join("src")).unwrap();
    fs::write(path.join("src/a"), "a").unwrap();
    let of_workspace = submit(&home, Input::Workspace("ws".into()), bounds).unwrap();
    assert_eq!(of_workspace.snapshot, first.snapshot);
    let of_files =
        || submit(&home, Input::Files(vec![file("src/a", b"a"), file("pinfold.toml", toml.as_bytes())]), bounds);
    assert_eq!(of_files().unwrap().snapshot, of_files().unwrap().snapshot);
    assert_eq!(fs::read_dir(home.state().join("builds/limbo")).unwrap().count(), 0);
}

#[test]
fn what_leads_outside_or_is_too_much_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let (toml, bounds) = (script("true"), SnapshotBounds { bytes: 1000, entries: 5 });
    let toml = || file("pinfold.toml", toml.as_bytes());
    for path in ["../x", "/etc/x", "a/../../x", "", "a\0b", "./a", "a//b"] {
        assert!(pinfold::WorkspacePath::try_from(path).is_err(), "{path:?}");
    }
    for (files, code) in [
        (vec![toml(), file("a", b"1"), file("a", b"2")], "invalid"),
        (vec![toml(), file("a", b"1"), file("a-b", b"2"), file("a/b", b"3")], "invalid"),
        (vec![toml(), file("big", &[0; 1001])], "too_big"),
        ((0..7).map(|number| file(&format!("{number}"), b"")).collect(), "too_big"),
        (vec![file("pinfold.toml", b"what = 1")], "project_file"),
        (vec![file("nothing", b"")], "project_file"),
    ] {
        assert_eq!(submit(&home, Input::Files(files), bounds).unwrap_err().code(), code);
    }
    for (entries, code) in [
        (vec![("../x", tar::EntryType::Regular, "x")], "archive"),
        (vec![("/x", tar::EntryType::Regular, "x")], "archive"),
        (vec![("l", tar::EntryType::Symlink, "/etc"), ("l/x", tar::EntryType::Regular, "x")], "archive"),
        (vec![("h", tar::EntryType::Link, "/etc/passwd")], "archive"),
        (vec![("f", tar::EntryType::Fifo, "")], "archive"),
        (vec![("big", tar::EntryType::Regular, &"x".repeat(2000))], "too_big"),
    ] {
        let bytes = archive(&entries);
        assert_eq!(submit(&home, Input::Tar(&mut &bytes[..]), bounds).unwrap_err().code(), code, "{entries:?}");
    }
    assert!(submit(&home, Input::Tar(&mut &b"no archive"[..]), bounds).is_err());
    let linked = home.scratch.path("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", linked.join("pinfold.toml")).unwrap();
    assert_eq!(submit(&home, Input::Directory(linked), bounds).unwrap_err().code(), "symlink");
    let builds = home.state().join("builds");
    for (folder, left) in [("limbo", 0), ("snapshots", 0), ("workspaces", 1)] {
        let names: Vec<_> =
            fs::read_dir(builds.join(folder)).unwrap().flatten().map(|entry| entry.file_name()).collect();
        // A plan that is refused comes after its snapshot, which the next one who clears up takes away.
        let names: Vec<_> = names.into_iter().filter(|_| folder != "snapshots").collect();
        assert_eq!(names.len(), left, "{folder}: {names:?}");
    }
    Builds::at(home.state()).unwrap().clear(std::time::Duration::ZERO).unwrap();
    assert_eq!(fs::read_dir(builds.join("snapshots")).unwrap().count(), 0);
}

#[test]
fn a_snapshot_stays_as_it_was_whatever_becomes_of_the_directory() {
    let home = Home::new();
    let directory = project(&home, "p", &script("cat input > out"));
    fs::write(directory.join("input"), "as it was\n").unwrap();
    let id = home.queue(&directory, &[]);
    fs::remove_dir_all(&directory).unwrap();
    home.told(&["jobs", "work", "--until-idle"]);
    assert_eq!(home.state_of(&id), "succeeded");
    let artifact = Builds::at(home.state()).unwrap().artifact(&Builds::own_owner(), &id).unwrap();
    assert_eq!(artifact.files.read("out").unwrap(), b"as it was\n");
}

#[test]
fn a_build_whose_snapshot_can_t_be_unpacked_fails_and_says_so() {
    let home = Home::new();
    let ids: Vec<_> = (0..2)
        .map(|n| home.queue(&project(&home, &format!("p{n}"), &script(&format!("mkdir out; echo {n} > out/a"))), &[]))
        .collect();
    let snapshots: Vec<_> =
        fs::read_dir(home.state().join("builds/snapshots")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(snapshots.len(), 2);
    let archive = snapshots[0].join("snapshot.tar");
    fs::remove_file(&archive).unwrap();
    fs::write(&archive, "this is no archive").unwrap();
    assert!({ home.worker(&["--until-idle"]) }.wait().unwrap().success());
    let builds = home.builds();
    let failed: Vec<_> = builds.iter().filter(|build| build["state"] == "failed").collect();
    // The other is built, and neither leaves a workspace.
    assert!(failed.len() == 1 && builds.iter().any(|build| build["state"] == "succeeded"), "{builds:?}");
    assert!(ids.iter().any(|id| failed[0]["id"] == **id));
    assert!(failed[0]["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{}", failed[0]);
    let workspaces = fs::read_dir(home.state().join("builds/workspaces")).unwrap().count();
    assert_eq!(workspaces, 1, "their limbo alone");
}
