//! Files in and out of a sandbox that lives, whatever its workspace is.

use super::Home;
use pinfold::files::{Bounds, Grep, Occurrences, Tree};
use pinfold::workspace::Store;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// In, changed by a command, and out again; what is put in is the sandbox's user's own, and no planted link leads out.
fn there_and_back(home: &Home, name: &str) {
    let own = home.scratch.path("own");
    let _there_already = fs::create_dir(&own);
    let path = |file: &str| own.join(file).to_str().unwrap().to_owned();
    fs::write(path("f"), "one\n").unwrap();
    home.ok(&["cp", "-q", &path("f"), &format!("{name}:")]);
    let script = "stat -c %u f; id -u; echo two >> f; mkdir -p d; mv f d; ln -s /etc/shadow x; ln -s / root";
    let said = home.says(name, script);
    let (owner, user) = said.trim_end().split_once('\n').unwrap();
    assert_eq!(owner, user, "{name}");
    let out = path(&format!("out-{name}"));
    home.ok(&["cp", "-q", &format!("{name}:d/f"), &out]);
    assert_eq!(fs::read_to_string(out).unwrap(), "one\ntwo\n");
    let listed = home.json(&["ls", "--json", &format!("{name}:d")]);
    assert_eq!((&listed["entries"][0]["name"], &listed["entries"][0]["bytes"]), (&"f".into(), &8.into()), "{listed}");
    let listed = home.ok(&["ls", name]);
    assert!(listed.contains("x -> /etc/shadow"), "{listed}");
    // A tree of several, which the sandbox's user can change and remove.
    fs::create_dir_all(path("tree/sub")).unwrap();
    fs::write(path("tree/sub/file"), "x").unwrap();
    fs::write(path("tree/run"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(path("tree/run"), fs::Permissions::from_mode(0o755)).unwrap();
    let _there_already = symlink("run", path("tree/link"));
    home.ok(&["cp", "-q", &path("tree"), &format!("{name}:")]);
    home.ok(&["cp", "-q", &path("tree"), &format!("{name}:d")]);
    assert_eq!(home.says(name, "tree/link; stat -c %a tree/run; echo y > tree/sub/file; rm -r tree"), "ran\n755\n");
    // Beneath a link there is nothing.
    home.fails(&["cp", "-q", &path("f"), &format!("{name}:root/tmp/f")], "link");
    home.fails(&["cp", "-q", &format!("{name}:x"), &path("shadow")], "link");
    home.fails(&["cp", "-q", &path("f"), &format!("{name}:x")], "link");
    home.fails(&["ls", &format!("{name}:root/etc")], "link");
}

/// The calls of the library that make, replace and remove.
fn by_the_library(home: &Home, name: &str) {
    let files = home.sandboxes().get(name).unwrap().files().unwrap();
    files.write("lib/a", "first").unwrap();
    files.write("lib/a", "second").unwrap();
    files.append("lib/a", " third").unwrap();
    files.edit("lib/a", "third", "fourth", Occurrences::One).unwrap();
    files.rename("lib/a", "lib/b", pinfold::files::Replace::Refused).unwrap();
    files.make_directory_all("lib/c/d").unwrap();
    assert_eq!(
        home.says(name, "cat lib/b; rmdir lib/c/d; echo by exec >> lib/b; stat -c %u lib/b lib/c | uniq | wc -l"),
        "second fourth1\n"
    );
    assert_eq!(files.read("/workspace/lib/b").unwrap(), b"second fourthby exec\n");
    files.delete_tree("lib").unwrap();
    assert_eq!(home.says(name, "ls | grep lib || true"), "");
    assert_eq!(files.read("x").unwrap_err().code(), "symlink");
    finds_and_refuses(&files);
}

/// What every place promises: to find, and to say what is wrong.
fn finds_and_refuses(files: &Tree) {
    files.write("find/a.txt", "one\ntwo 42\n").unwrap();
    files.write("find/b.md", "three\n").unwrap();
    let found = files.glob("find/*.txt").unwrap().entries;
    assert!(found.len() == 1 && found[0].path.ends_with("find/a.txt"), "{found:?}");
    let matches = files.grep(&Grep::regex("^two [0-9]+$").below("find")).unwrap().matches;
    assert!(matches.len() == 1 && matches[0].line == 2, "{matches:?}");
    let small = files.clone().with_bounds({
        let mut bounds = Bounds::default();
        bounds.file_bytes = 4;
        bounds
    });
    let codes = [
        files.read("find/none").unwrap_err(),
        files.read("../find").unwrap_err(),
        files.write("/etc/passwd", "x").unwrap_err(),
        small.read("find/a.txt").unwrap_err(),
        files.create("find/a.txt", "x").unwrap_err(),
        files.read("find").unwrap_err(),
        files.edit("find/a.txt", "four", "4", Occurrences::One).unwrap_err(),
    ];
    let codes = codes.map(|error| error.code());
    let expected = ["not_found", "invalid_path", "invalid_path", "too_big", "exists", "is_directory", "no_match"];
    assert_eq!(codes, expected);
    files.delete_tree("find").unwrap();
}

#[test]
fn of_a_workspace_at_rest() {
    let home = Home::new();
    let store = Store::at(home.scratch.path("state")).unwrap();
    store.create("plain", None).unwrap();
    finds_and_refuses(&store.open("plain").unwrap().into_files().unwrap());
    // One of layers.
    home.ok(&["checkpoint", "save", "plain"]);
    finds_and_refuses(&store.open("plain").unwrap().into_files().unwrap());
    for place in ["ws:plain:", "ws:plain:.", "ws:plain"] {
        assert_eq!(home.json(&["ls", "--json", place])["entries"], serde_json::json!([]));
    }
    let own = home.scratch.path("own");
    fs::write(&own, "12345").unwrap();
    let own = own.to_str().unwrap();
    home.ok(&["cp", "-q", own, "ws:plain:five"]);
    home.fails(&["cp", "-q", "ws:plain:none", "-"], "no such file");
    home.fails(&["cp", "-q", "ws:plain:../five", "-"], "`..`");
    home.fails(&["cp", "-q", own, "ws:plain:../five"], "`..`");
    home.fails(&["cp", "-q", "--max-bytes", "4", "ws:plain:five", &format!("{own}-2")], "larger than 4 bytes");
    home.fails(&["ls", "ws:nobody:"], "there is no workspace `nobody`");
}

fn all_of_it(name: &str, args: &[&str]) {
    let home = Home::new();
    home.start(name, args);
    there_and_back(&home, name);
    by_the_library(&home, name);
}

#[test]
fn of_a_temporary_workspace() {
    all_of_it("temp", &[]);
}

#[test]
fn of_one_in_memory() {
    all_of_it("memory", &["-w", "tmpfs"]);
}

#[test]
fn of_a_directory_of_the_callers() {
    let home = Home::new();
    let dir = home.scratch.path("mine");
    fs::create_dir(&dir).unwrap();
    home.start("own-directory", &["-w", dir.to_str().unwrap()]);
    there_and_back(&home, "own-directory");
    by_the_library(&home, "own-directory");
    // Outside it is the caller's, as everything that the sandbox makes in it.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(dir.join("d/f")).unwrap().uid(), fs::metadata(&dir).unwrap().uid());
}

#[test]
fn of_a_stored_one() {
    let home = Home::new();
    home.ok(&["workspace", "create", "ws"]);
    home.start("stored", &["-w", "ws:ws"]);
    there_and_back(&home, "stored");
    by_the_library(&home, "stored");
    home.ok(&["stop", "stored"]);
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "cat", "d/f"]), "one\ntwo\n");
}

#[test]
fn of_one_with_checkpoints_by_the_sandboxs_name_only() {
    let home = Home::new();
    home.ok(&["workspace", "create", "ws"]);
    home.ok(&["run", "-w", "ws:ws", "--", "sh", "-c", "mkdir old; echo old > old/f"]);
    home.ok(&["checkpoint", "save", "ws"]);
    let id = home.start("layered", &["-w", "ws:ws"]);
    let own = home.scratch.path("file");
    fs::write(&own, "x").unwrap();
    home.fails(&["cp", "-q", own.to_str().unwrap(), "ws:ws:"], "sandbox `layered`");
    // By its id too, and into a directory of a lower layer.
    home.ok(&["cp", "-q", own.to_str().unwrap(), &format!("{id}:old")]);
    assert_eq!(home.says("layered", "cat old/f old/file"), "old\nx");
    there_and_back(&home, "layered");
    by_the_library(&home, "layered");
    // It is in use for as long as its files are held.
    let files = home.sandboxes().get("layered").unwrap().files().unwrap();
    home.ok(&["stop", "layered"]);
    let store = Store::at(home.scratch.path("state")).unwrap();
    assert_eq!(store.remove("ws", true).unwrap_err().code(), "busy");
    drop(files);
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "cat", "d/f", "old/file"]), "one\ntwo\nx");
}

#[test]
fn what_is_no_place_is_told() {
    let home = Home::new();
    home.fails(&["ls", "nobody:"], "there is no sandbox `nobody`");
    home.fails(&["ls", "no such\nname:"], "name");
    home.start("gone", &[]);
    let held = home.sandboxes().get("gone").unwrap();
    home.ok(&["stop", "gone"]);
    home.start("gone", &[]);
    assert_eq!(held.files().unwrap_err().code(), "gone");
    home.ok(&["stop", "gone"]);
    assert_eq!(held.files().unwrap_err().code(), "not_found");
}
