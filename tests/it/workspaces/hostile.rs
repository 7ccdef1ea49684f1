//! Archives and sandboxes that attack: nothing outside of a workspace's files is written or read, and the records stay.

use super::{Home, finish, ids};
use crate::support::{host_cannot, is_root};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// An archive in the making, by a writer that refuses nothing.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, path: &str, kind: u8, link: &str, content: &[u8]) -> Self {
        self.header(path, kind, link, 0o644, content.len() as u64);
        self.content(content);
        self
    }

    fn header(&mut self, path: &str, kind: u8, link: &str, mode: u32, size: u64) {
        let mut block = [0u8; 512];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        if size < 1 << 33 {
            block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        } else {
            block[124] = 0x80;
            block[128..136].copy_from_slice(&size.to_be_bytes());
        }
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
    }

    fn content(&mut self, content: &[u8]) {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn pax(self, key: &str, value: &str) -> Self {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..rest + 8).find(|length| rest + length.to_string().len() == *length).unwrap();
        self.add("pax", b'x', "", format!("{length} {key}={value}\n").as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A workspace with a file, which no refused archive may change, and a canary beside the state directory.
fn refuses(archive: Vec<u8>, words: &str) {
    let home = Home::new();
    let canary = home.scratch.file("canary", "alive");
    let data = home.create("ws");
    fs::write(data.join("kept"), "kept").unwrap();
    let (code, _, said) = home.feed(&["import", "ws", "-", "--replace"], &archive);
    assert!(code == 125 && said.contains(words), "{code}: {said} (wanted: {words})");
    assert_eq!(fs::read_to_string(data.join("kept")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(canary).unwrap(), "alive");
    assert_eq!(fs::read_dir(home.scratch.path("")).unwrap().count(), 2);
    assert_eq!((ids(&home.store()), home.limbo()), ((vec!["ws".to_owned()], 0), 0));
}

#[test]
fn no_entry_leads_out_of_the_workspace() {
    let file = |path: &str| Tar::default().add(path, b'0', "", b"evil").end();
    for path in ["/etc/evil", "//evil", "/"] {
        refuses(file(path), "absolute");
    }
    for path in ["../evil", "a/../../evil", "..", "a/.."] {
        refuses(file(path), "`..`");
    }
    refuses(Tar::default().pax("path", "../../evil").add("innocent", b'0', "", b"evil").end(), "`..`");
    refuses(Tar::default().add("l", b'L', "", b"/etc/evil\0").add("innocent", b'0', "", b"evil").end(), "absolute");
    // Through a link that came before, in every way there is to lay and use one.
    for target in ["..", "/", "/tmp", "../../../..", "."] {
        let link = || Tar::default().add("link", b'2', target, b"");
        refuses(link().add("link/evil", b'0', "", b"evil").end(), "through a link or a file");
        refuses(link().add("link/", b'5', "", b"").end(), "through a link or a file");
        refuses(link().add("link/evil/", b'5', "", b"").end(), "through a link or a file");
        refuses(link().add("link/evil", b'2', "x", b"").end(), "through a link or a file");
        refuses(link().add("hard", b'1', "link/canary", b"").end(), "through a link or a file");
    }
    refuses(Tar::default().add("dir/", b'5', "", b"").add("dir", b'2', "..", b"").end(), "is a directory");
    refuses(Tar::default().add("f", b'0', "", b"x").add("f/evil", b'0', "", b"evil").end(), "through a link or a file");
    // A hard link to what the archive did not bring.
    for target in ["/etc/passwd", "../../../canary", "canary", "", "../record.json"] {
        let archive = Tar::default().add("hard", b'1', target, b"").end();
        refuses(
            archive,
            if target.starts_with('/') {
                "absolute"
            } else if target.contains("..") {
                "`..`"
            } else {
                "hard link"
            },
        );
    }
    refuses(Tar::default().add("d/", b'5', "", b"").add("hard", b'1', "d", b"").end(), "no file");
}

#[test]
fn a_file_takes_a_link_s_place_and_writes_nothing_through_it() {
    let home = Home::new();
    let canary = home.scratch.file("canary", "alive");
    let data = home.create("ws");
    // First the link, then a file of its name, then another one through a hard link to a link.
    let archive = Tar::default().add("a", b'2', &canary, b"").add("a", b'0', "", b"mine");
    let archive = archive.add("b", b'2', &canary, b"").add("c", b'1', "b", b"").add("c", b'0', "", b"mine").end();
    assert_eq!(home.feed(&["import", "ws", "-"], &archive), (0, String::new(), String::new()));
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
    assert!(
        fs::symlink_metadata(data.join("a")).unwrap().is_file()
            && fs::symlink_metadata(data.join("c")).unwrap().is_file()
    );
    assert_eq!(fs::read_link(data.join("b")).unwrap(), Path::new(&canary));
}

#[test]
fn devices_and_fifos_and_what_only_overlayfs_may_say_are_refused() {
    for (kind, words) in
        [(b'3', "a device"), (b'4', "a device"), (b'6', "a FIFO"), (b'S', "sparse"), (b'D', "not known")]
    {
        refuses(Tar::default().add("evil", kind, "", b"").end(), words);
    }
    for name in ["trusted.overlay.opaque", "user.overlay.redirect", "trusted.overlay.metacopy"] {
        let archive = Tar::default().pax(&format!("SCHILY.xattr.{name}"), "y").add("dir/", b'5', "", b"").end();
        refuses(archive, "overlayfs");
        let archive = Tar::default().pax(&format!("LIBARCHIVE.xattr.{name}"), "eQ==").add("f", b'0', "", b"").end();
        refuses(archive, "overlayfs");
    }
    refuses(Tar::default().pax("GNU.sparse.major", "1").add("evil", b'0', "", b"").end(), "sparse");
}

#[test]
fn other_attributes_and_set_id_bits_and_owners_are_not_taken() {
    let home = Home::new();
    let data = home.create("ws");
    let mut archive = Tar::default().pax("SCHILY.xattr.user.mine", "x").pax("SCHILY.xattr.security.capability", "x");
    for (path, kind) in [("file", b'0'), ("dir/", b'5')] {
        archive.header(path, kind, "", 0o7777, 0);
    }
    let (code, _, words) = home.feed(&["import", "ws", "-"], &archive.end());
    assert!(code == 0 && words.contains("attributes of 1 entries were not taken"), "{words}");
    for name in ["file", "dir"] {
        let data = fs::metadata(data.join(name)).unwrap();
        assert_eq!((data.mode() & 0o7777, data.uid()), (0o777, fs::metadata("/proc/self").unwrap().uid()), "{name}");
    }
}

#[test]
fn the_files_of_another_owner_stay_his() {
    if !is_root() {
        return host_cannot("only root gives files away");
    }
    let home = Home::new();
    let data = home.create("ws");
    std::os::unix::fs::chown(&data, Some(4242), Some(4343)).unwrap();
    let archive =
        Tar::default().add("dir/", b'5', "", b"").add("dir/a/b", b'0', "", b"x").add("l", b'2', "dir", b"").end();
    assert_eq!(home.feed(&["import", "ws", "-"], &archive).0, 0);
    for name in ["", "dir", "dir/a", "dir/a/b", "l"] {
        let data = fs::symlink_metadata(data.join(name)).unwrap();
        assert_eq!((data.uid(), data.gid()), (4242, 4343), "{name}");
    }
}

#[test]
fn sizes_that_lie_fill_neither_memory_nor_disk() {
    let header = |kind: u8, size: u64| {
        let mut archive = Tar::default();
        archive.header("big", kind, "", 0o644, size);
        archive.end()
    };
    refuses(header(b'0', 1 << 40), "more than 16 GiB");
    refuses(header(b'0', u64::MAX >> 1), "more than 16 GiB");
    refuses(header(b'0', u64::MAX), "no tar archive, or damaged");
    refuses(header(b'0', 1 << 30), "ends too early");
    for kind in [b'x', b'g', b'L', b'K'] {
        refuses(header(kind, 1 << 40), "more than 1 MiB");
    }
    refuses(Tar::default().pax("size", "99999999999999").add("f", b'0', "", b"x").end(), "more than 16 GiB");
    refuses(Tar::default().pax("size", "-1").add("f", b'0', "", b"x").end(), "malformed");
    refuses(Tar::default().add("g", b'g', "", b"17 path=../evil\n").add("f", b'0', "", b"x").end(), "");
    refuses(Tar::default().add("g", b'g', "", b"12 path=../\n").add("f", b'0', "", b"x").end(), "global");
}

#[test]
fn a_size_in_a_pax_header_is_the_size_and_hides_no_entry() {
    // The header says 0, the pax header 512: a reader that takes the header's word reads the content as an entry.
    let mut hidden = Tar::default();
    hidden.header("hidden", b'2', "/etc", 0o777, 0);
    let mut archive = Tar::default().pax("size", "512");
    archive.header("file", b'0', "", 0o644, 0);
    archive.0.extend(&hidden.0);
    let home = Home::new();
    let data = home.create("ws");
    assert_eq!(home.feed(&["import", "ws", "-"], &archive.end()).0, 0);
    assert_eq!(fs::read(data.join("file")).unwrap(), hidden.0);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
}

#[test]
fn caps_and_quotas_hold_for_archives() {
    let home = Home::new();
    home.create("ws");
    let many = |count: usize| {
        let mut archive = Tar::default();
        (0..count).for_each(|number| archive.header(&format!("d/{number}"), b'0', "", 0o644, 0));
        archive.end()
    };
    let (code, _, words) = home.feed(&["import", "ws", "-", "--max-entries", "20000"], &many(20_001));
    assert!(code == 125 && words.contains("more than 20000 entries"), "{words}");
    assert_eq!((home.limbo(), home.store().usage("ws").unwrap().inodes), (0, 0));
    // Directories that an entry only implies count too.
    let deep = Tar::default().add(&"d/".repeat(45), b'5', "", b"").end();
    let (code, _, words) = home.feed(&["import", "ws", "-", "--max-entries", "40"], &deep);
    assert!(code == 125 && words.contains("more than 40 entries"), "{words}");
    home.ok(&["create", "ws", "--disk", "1M", "--inodes", "100"]);
    let (code, _, words) = home.feed(&["import", "ws", "-"], &many(101));
    assert!(code == 125 && words.contains("more than 100 entries"), "{words}");
    let large = Tar::default().add("f", b'0', "", &vec![1; 1 << 20]).add("g", b'0', "", b"x").end();
    let (code, _, words) = home.feed(&["import", "ws", "-"], &large);
    assert!(code == 125 && words.contains("more than 1 MiB"), "{words}");
    // In a row of the same name only the last is there, but each was to be written.
    let mut same = Tar::default();
    for _ in 0..3 {
        same = same.add("f", b'0', "", &vec![1; 400 << 10]);
    }
    let (code, _, words) = home.feed(&["import", "ws", "-"], &same.end());
    assert!(code == 125 && words.contains("more than 1 MiB"), "{words}");
    assert_eq!(home.feed(&["import", "ws", "-"], &many(99)).0, 0);
}

/// Every file of a workspace's own, but for what a sandbox may write.
fn own_files(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for place in fs::read_dir(home.state().join("workspaces")).unwrap().flatten() {
        for entry in fs::read_dir(place.path()).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_file() {
                files.insert(entry.path().to_str().unwrap().to_owned(), fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// Writes over every record that it can reach by any name. What it is given are paths of this test's own only, so that it
/// can be run unconfined as well.
const RAMPAGE: &str = r#"
    for above in "$@"; do
        for name in record.json lock use ../record.json ../lock ../use; do
            test -d "$above" && rm -f "$above/$name" && echo '{"version":1,"holders":[]}' > "$above/$name"
        done
    done 2>/dev/null
    true
"#;

/// What a program may do to the workspace itself, to catch whoever comes after it.
const TRAPS: &str = r#"
    cd /workspace || exit 1
    mkdir -p .gateway limbo holders data
    echo '{}' | tee record.json lock use .gateway/meta.json data/record.json > /dev/null
    ln -s "$1" state; ln -s .. up; ln -s "$1/../canary" file; ln -s / root
    mkfifo fifo
    mkdir -p deep/a/b; chmod 000 deep/a
    mv /workspace /gone 2>/dev/null
    true
"#;

#[test]
fn a_sandbox_that_writes_over_all_it_can_reach_reaches_no_record() {
    let home = Home::new();
    let canary = home.scratch.file("canary", "alive");
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o666)).unwrap();
    home.create("ws");
    home.create("neighbour");
    for (id, holder) in [("ws", "a"), ("ws", "b"), ("neighbour", "c")] {
        home.ok(&["ref", id, holder]);
    }
    let (before, state) = (own_files(&home), home.state());
    assert!(before.len() >= 6, "{before:?}");
    let mut aims = vec!["/workspace".to_owned(), "/workspace/data".to_owned(), "/workspace/..".to_owned()];
    aims.extend(aims_of(&home));
    for (script, aims) in [(TRAPS, vec![state.to_str().unwrap().to_owned()]), (RAMPAGE, aims)] {
        let mut args = vec!["run", "-w", "ws:ws", "--", "sh", "-c", script, "sh"];
        args.extend(aims.iter().map(String::as_str));
        let (code, _, words) = finish(home.pinfold(&args).spawn().unwrap());
        assert_eq!(code, 0, "{words}");
    }
    assert!(home.store().path("ws").unwrap().join("up").is_symlink(), "the traps are laid");
    assert_eq!(own_files(&home), before);
    // What comes after it meets the traps and steps into none.
    assert_eq!((home.holders("ws").len(), home.store().workspace_of("c").unwrap().as_deref()), (2, Some("neighbour")));
    assert!(home.store().usage("ws").unwrap().inodes > 10);
    let archive = home.scratch.text("out.tar");
    let (code, _, words) = home.run(&["export", "ws", &archive]);
    assert!(code == 0 && words.contains("`fifo`: it is a device, a FIFO or a socket"), "{words}");
    assert_eq!(words.contains("`deep/a`: it may not be read"), !is_root(), "{words}");
    let bytes = fs::read(&archive).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"alive"), "nothing outside is in the archive");
    home.create("copy");
    home.ok(&["import", "copy", &archive]);
    home.fails(&["remove", "ws"], "2 holders");
    home.ok(&["remove", "ws", "--force"]);
    assert_eq!((fs::read_to_string(&canary).unwrap().as_str(), home.limbo()), ("alive", 0));
    assert_eq!(ids(&home.store()), (vec!["copy".to_owned(), "neighbour".to_owned()], 0));
}

/// The host's paths of all directories that the records could be reached by.
fn aims_of(home: &Home) -> Vec<String> {
    let workspaces = home.state().join("workspaces");
    let places = fs::read_dir(&workspaces).unwrap().flatten().map(|entry| entry.path());
    let paths = places.flat_map(|place| [place.join("data"), place]).chain([workspaces, home.state()]);
    paths.map(|path| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_rampage_unconfined_reaches_the_records() {
    let home = Home::new();
    home.create("ws");
    let before = own_files(&home);
    let mut unconfined = std::process::Command::new("sh");
    let status =
        unconfined.args(["-c", RAMPAGE, "sh"]).args(aims_of(&home)).current_dir(home.scratch.path("")).status();
    assert!(status.unwrap().success());
    let after = own_files(&home);
    assert!(before.keys().all(|path| after[path] != before[path]), "{after:?}");
}
