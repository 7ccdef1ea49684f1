//! Layers that a sandbox made: what looks like overlayfs's own marks in them leads nowhere, and nothing is followed.

use super::{lines, read, save, script, write};
use crate::support::has_program;
use crate::workspaces::Home;
use pinfold::checkpoint::New;
use rustix::fs::{FileType, Mode, XattrFlags, mknodat, setxattr};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn marks_in_what_was_one_directory_lead_to_nothing_outside_and_hide_nothing_of_anybody_else() {
    let home = Home::new();
    let data = home.create("ws");
    let secret = home.scratch.file("secret", "classified");
    for name in ["dir", "opaque", "white"] {
        fs::create_dir(data.join(name)).unwrap();
        fs::write(data.join(name).join("inner"), name).unwrap();
    }
    for name in ["f", "meta", "origin", "gone"] {
        fs::write(data.join(name), name).unwrap();
    }
    let mark = |name: &str, attribute: &str, value: &[u8]| {
        setxattr(data.join(name), format!("user.overlay.{attribute}"), value, XattrFlags::empty()).unwrap();
    };
    // All that a sandbox could have set while there was one directory.
    for redirect in [&secret, "/../../../../../../etc", "../../../..", "dir"] {
        mark("dir", "redirect", redirect.as_bytes());
        mark("meta", "redirect", redirect.as_bytes());
    }
    mark("meta", "metacopy", b"");
    mark("origin", "origin", &[0, 0xfb, 29, 0, 1, 2, 3]);
    mark("opaque", "opaque", b"y");
    mark("white", "opaque", b"x");
    mark("white/inner", "whiteout", b"");
    setxattr(&data, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    setxattr(&data, "user.overlay.upper", b"xx", XattrFlags::empty()).unwrap();
    let dir = fs::File::open(&data).unwrap();
    mknodat(&dir, "device", FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    symlink(&secret, data.join("link")).unwrap();
    symlink("/etc", data.join("etc")).unwrap();
    let store = home.store();
    let first = save(&store, "ws", "first");
    let look = "for f in f origin dir/inner opaque/inner; do cat $f; echo; done; \
                (cat meta; cat white/inner; cat link; ls dir opaque etc/passwd) 2>&1 | grep -c -e classified -e passwd: -e root || true";
    let seen = script(&home, "ws", look);
    assert!(seen.starts_with("f\norigin\ndir\nopaque\n") && !seen.contains("classified"), "{seen}");
    // In further layers, in what is compared, joined, forked and exported.
    script(&home, "ws", "echo two > f; rm -r opaque; mkdir opaque; rm gone");
    let second = save(&store, "ws", "second");
    let changes = lines(&store.checkpoints("ws").diff(Some(&first), Some(&second)).unwrap());
    assert_eq!(changes, ["M f", "D gone", "D opaque/inner"]);
    store.checkpoints("ws").fork(Some(&first), "fork").unwrap();
    assert_eq!(read(&store, "fork"), "f");
    store.checkpoints("ws").remove(&first).unwrap();
    store.checkpoints("ws").compact().unwrap();
    assert_eq!(script(&home, "ws", "cat f dir/inner; ls opaque"), "two\ndir");
    let archive = home.scratch.text("out.tar");
    let (code, _, words) = home.run(&["export", "ws", &archive]);
    assert!(code == 0, "{words}");
    assert!(!fs::read(&archive).unwrap().windows(10).any(|bytes| bytes == b"classified"));
}

#[test]
fn no_mark_can_be_made_through_the_overlay() {
    if !has_program("python3") {
        return;
    }
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "one");
    script(&home, "ws", "mkdir d; echo in > d/in");
    let first = save(&store, "ws", "first");
    let attack = r#"
import os
def attempt(what):
    try: what()
    except OSError: pass
os.mkdir("mine")
for path in ["f", "d", "mine"]:
    for name in ["opaque", "redirect", "metacopy", "whiteout", "origin"]:
        for value in [b"y", b"x", b"/../../../etc", b""]:
            attempt(lambda: os.setxattr(path, "user.overlay." + name, value))
            attempt(lambda: os.setxattr(path, "trusted.overlay." + name, value))
attempt(lambda: os.mknod("d/in2", 0o20600, 0))
attempt(lambda: os.mknod("d/in", 0o20600, 0))
attempt(lambda: os.setxattr("d", "user.kept", b"kept"))
"#;
    fs::write(home.scratch.path("attack.py"), attack).unwrap();
    let ro = format!("{}:/attack.py", home.scratch.text("attack.py"));
    let job = home.pinfold(&["run", "-w", "ws:ws", "--ro", &ro, "--", "python3", "/attack.py"]).spawn().unwrap();
    assert_eq!(crate::support::finish(job), (0, String::new(), String::new()));
    // As the kernel sees it, as we compare it, as it is joined.
    assert_eq!(script(&home, "ws", "cat f d/in; ls d"), "onein\nin\n");
    assert_eq!(lines(&store.checkpoints("ws").diff(None, None).unwrap()), ["A mine/"]);
    save(&store, "ws", "second");
    assert_eq!(script(&home, "ws", "cat f d/in; ls d"), "onein\nin\n");
    store.checkpoints("ws").remove(&first).unwrap();
    store.checkpoints("ws").compact().unwrap();
    assert_eq!(script(&home, "ws", "cat f d/in; ls d"), "onein\nin\n");
}

#[test]
fn layers_and_what_tells_of_them_are_out_of_a_sandboxs_reach() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "one");
    save(&store, "ws", "first");
    let text = "ls -d /.layers /layers 2> /dev/null || true; find / -xdev -name thread.json 2> /dev/null || true; \
                ls /workspace/..; grep -e /layers -e workspaces/ /proc/self/mountinfo || true";
    let seen = script(&home, "ws", text);
    assert!(!seen.contains("layers") && !seen.contains("thread.json"), "{seen}");
}

#[test]
fn a_limit_on_the_disk_counts_what_a_job_adds_in_layers_too() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    script(&home, "ws", "head -c 3M /dev/zero > old");
    save(&store, "ws", "first");
    let run = |text: &str| {
        let job = home.pinfold(&["run", "-w", "ws:ws", "--disk", "1M", "--", "sh", "-c", text]).spawn().unwrap();
        crate::support::finish(job).0
    };
    assert_eq!(run("head -c 500K /dev/zero > new"), 0);
    // Written anew it is the job's, as is what has no name any more.
    assert_eq!(run("head -c 3M /dev/zero > new; sleep 60"), 153);
    assert_eq!(run("echo >> old; sleep 60"), 153);
    assert_eq!(run("exec 3> hidden; rm hidden; head -c 3M /dev/zero >&3; sleep 60"), 153);
    let new = New::default();
    store.checkpoints("ws").save(&new, None).unwrap();
}
