//! A tree that a hostile program made, and one that it goes on changing. Each attack has a twin that shows that it works on
//! whoever follows paths.

use super::{Place, SECRET, code};
use pinfold::files::{Bounds, Grep, Kind, Occurrences, Replace, Tree};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No turn is longer in coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a race when the test does, by a failure too: the scope would wait for the other thread for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every call that reaches a path, with the codes of those that failed.
fn everything(tree: &Tree, path: &str) -> Vec<Option<&'static str>> {
    let code = |result: Result<(), pinfold::files::Error>| result.err().map(|error| error.code());
    let other = Place::new();
    vec![
        code(tree.read(path).map(drop)),
        code(tree.read_range(path, 0, 10).map(drop)),
        code(tree.read_lines(path, 0, 10).map(drop)),
        code(tree.write(path, "evil")),
        code(tree.append(path, "evil")),
        code(tree.edit(path, "secret", "evil", Occurrences::All).map(drop)),
        code(tree.set_mode(path, 0o777)),
        code(tree.list(path).map(drop)),
        code(tree.make_directory_all(path)),
        code(tree.grep(&Grep::literal("secret").below(path)).map(drop)),
        code(tree.copy_to(path, &other.tree, "copy", &mut |_| {}).map(drop)),
        code(tree.pack(path, "", std::io::sink(), &mut |_| {}).map(drop)),
        code(tree.unpack(path, &[0; 1024][..], &mut |_| {}).map(drop)),
    ]
}

#[test]
fn a_link_is_followed_in_no_position() {
    let place = Place::new();
    let outside = place.outside("");
    symlink(outside.join("secret"), place.inside("last")).unwrap();
    symlink("../outside/secret", place.inside("relative")).unwrap();
    symlink(&outside, place.inside("way")).unwrap();
    symlink("way", place.inside("chain")).unwrap();
    symlink("/proc/self/root", place.inside("magic")).unwrap();
    symlink("loop", place.inside("loop")).unwrap();
    symlink("/no/where", place.inside("dangling")).unwrap();
    let absolute = outside.join("secret");
    let magic = format!("magic{}", absolute.display());
    assert_eq!(fs::read_to_string(place.inside("chain/secret")).unwrap(), SECRET, "who follows links reads it");
    for path in ["last", "relative", "way/secret", "chain/secret", &magic, "way", "way/folder", "loop", "loop/x"] {
        let codes = everything(&place.tree, path);
        // A directory that a link stands for is not even told to be one.
        assert!(codes.iter().all(|code| *code == Some("symlink")), "{path}: {codes:?}");
    }
    for path in ["way/new", "chain/new/er", "dangling"] {
        assert_eq!(code(place.tree.write(path, "x")), "symlink", "{path}");
        assert_eq!(code(place.tree.create(path, "x")), if path == "dangling" { "exists" } else { "symlink" }, "{path}");
        assert_eq!(code(place.tree.append(path, "x")), "symlink", "{path}");
    }
    for path in ["way/secret", "chain/folder"] {
        assert_eq!(code(place.tree.delete(path)), "symlink");
        assert_eq!(code(place.tree.delete_tree(path)), "symlink");
        assert_eq!(code(place.tree.rename(path, "mine", Replace::Allowed)), "symlink");
        assert_eq!(code(place.tree.rename("last", path, Replace::Allowed)), "symlink");
        assert_eq!(code(place.tree.stat(path)), "symlink");
    }
    place.outside_is_whole();
}

#[test]
fn a_walk_tells_links_and_goes_past_them() {
    let place = Place::new();
    symlink(place.outside(""), place.inside("way")).unwrap();
    symlink("..", place.inside("up")).unwrap();
    place.tree.write("mine", "secret").unwrap();
    let found = place.tree.glob("**").unwrap();
    let paths: Vec<_> = found.entries.iter().map(|entry| (entry.path.to_str().unwrap(), entry.kind)).collect();
    assert_eq!(paths, [("mine", Kind::File), ("up", Kind::Symlink), ("way", Kind::Symlink)]);
    let grep = place.tree.grep(&Grep::literal("secret")).unwrap();
    assert_eq!(grep.matches.len(), 1);
    assert_eq!(place.tree.stat("way").unwrap().target.as_deref(), Some(place.outside("").as_path()));
    // Removing takes the links, and nothing behind them.
    place.tree.delete_tree("way").unwrap();
    place.tree.clear().unwrap();
    assert!(place.tree.list(".").unwrap().entries.is_empty());
    place.outside_is_whole();
}

#[test]
fn a_link_that_is_swapped_in_while_we_work_leads_nowhere() {
    let place = Place::new();
    fs::create_dir(place.inside("d")).unwrap();
    fs::write(place.inside("d/secret"), "mine").unwrap();
    symlink(place.outside(""), place.inside("swap")).unwrap();
    let is_over = AtomicBool::new(false);
    let (mut fooled, mut read) = (0, 0);
    std::thread::scope(|scope| {
        let _at_the_end = Over(&is_over);
        scope.spawn(|| {
            let (one, other) = (place.inside("d"), place.inside("swap"));
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let target = Place::new();
        let begun = Instant::now();
        for round in 0.. {
            // Who swaps may have no turn for long.
            if round >= 1000 && (fooled > 0 && read > 0 || begun.elapsed() > PATIENCE) {
                break;
            }
            let naive = fs::read_to_string(place.inside("d/secret"));
            fooled += usize::from(naive.is_ok_and(|text| text == SECRET));
            match place.tree.read("d/secret") {
                Ok(bytes) => {
                    assert_eq!(bytes, b"mine");
                    read += 1;
                }
                Err(error) => assert!(matches!(error.code(), "symlink" | "not_found"), "{error}"),
            }
            let _either = place.tree.write("d/new", "evil");
            let _either = place.tree.append("d/new", "evil");
            let _either = place.tree.set_mode("d/secret", 0o600);
            let _either = place.tree.make_directory_all("d/sub/sub");
            let _either = place.tree.delete_tree("d/sub");
            let _either = place.tree.rename("d/new", "d/other", Replace::Allowed);
            if round % 10 == 0 {
                let _either = place.tree.copy_to("d", &target.tree, "copy", &mut |_| {});
                let _either = target.tree.copy_to(".", &place.tree, "d/back", &mut |_| {});
                let _either = place.tree.unpack("d", super::archive::small().as_slice(), &mut |_| {});
            }
            for found in place.tree.grep(&Grep::literal("e")).unwrap().matches {
                assert_ne!(found.bytes, SECRET.trim_end().as_bytes());
            }
        }
        for entry in target.tree.glob("copy/**").unwrap().entries {
            assert!(entry.kind != Kind::File || target.tree.read(&entry.path).unwrap() != SECRET.as_bytes());
        }
    });
    assert!(fooled > 0, "whoever follows paths is fooled");
    assert!(read > 0, "and we still read what is ours");
    place.outside_is_whole();
}

#[test]
fn a_tree_that_is_swapped_while_it_is_removed_takes_nothing_else_along() {
    let place = Place::new();
    for round in 0..50 {
        fs::create_dir_all(place.inside("d/inner/folder")).unwrap();
        fs::write(place.inside("d/inner/secret"), "mine").unwrap();
        symlink(place.outside(""), place.inside("swap")).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (place.inside("d/inner"), place.inside("swap"));
                let swap = || rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                while swap().is_ok() && !is_over.load(Ordering::Relaxed) {}
            });
            let _at_the_end = Over(&is_over);
            let _either = place.tree.delete_tree("d");
        });
        place.outside_is_whole();
        place.tree.clear().unwrap_or_else(|error| panic!("{round}: {error}"));
    }
}

#[test]
fn a_fifo_a_socket_and_a_device_are_refused_at_once() {
    let place = Place::new();
    rustix::fs::mknodat(CWD, place.inside("special"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut specials = vec!["special"];
    let _socket = std::os::unix::net::UnixListener::bind(place.inside("socket")).unwrap();
    specials.push("socket");
    if crate::support::is_root() {
        let null = rustix::fs::makedev(1, 3);
        match rustix::fs::mknodat(CWD, place.inside("device"), FileType::CharacterDevice, Mode::RWXU, null) {
            Ok(()) => specials.push("device"),
            Err(error) => crate::support::host_cannot(&format!("devices can't be made: {error}")),
        }
    } else {
        crate::support::host_cannot("only root can make devices");
    }
    for path in specials {
        let codes = everything(&place.tree, path);
        let known = |code: &Option<&str>| matches!(code, Some("not_regular" | "not_directory"));
        assert!(codes.iter().all(known), "{path}: {codes:?}");
        assert_eq!(place.tree.stat(path).unwrap().size, 0);
    }
    let target = Place::new();
    let report = place.tree.copy_to(".", &target.tree, ".", &mut |_| {}).unwrap();
    assert!(report.files == 0 && report.refused.iter().all(|error| error.code() == "not_regular"), "{report:?}");
    assert!(place.tree.grep(&Grep::literal("x")).unwrap().skipped.is_empty());
    place.tree.clear().unwrap();
}

#[test]
fn a_lease_makes_nobody_wait() {
    let place = Place::new();
    let script = "import fcntl, os, signal, sys\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                  f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\nfcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)\nprint('held', flush=True)\nsys.stdin.read()";
    if !crate::support::has_program("python3") {
        return;
    }
    let mut holder = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(place.inside("f"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut word).unwrap();
    let held = word == "held\n";
    let start = std::time::Instant::now();
    if held {
        assert_eq!(code(place.tree.read("f")), "busy");
        assert!(start.elapsed().as_secs() < 20, "the kernel gives the holder 45 seconds");
    } else {
        crate::support::host_cannot("this file system has no leases");
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn another_name_of_a_file_outside_keeps_its_content() {
    let place = Place::new();
    for name in ["one", "two", "three"] {
        fs::hard_link(place.outside("secret"), place.inside(name)).unwrap();
    }
    place.tree.write("one", "evil").unwrap();
    place.tree.append("two", "evil").unwrap();
    place.tree.edit("three", "secret", "evil", Occurrences::One).unwrap();
    assert_eq!(place.tree.read("two").unwrap(), format!("{SECRET}evil").into_bytes());
    place.outside_is_whole();
}

#[test]
fn a_sparse_or_growing_file_is_read_no_further_than_its_bound() {
    let place = Place::new();
    fs::File::create(place.inside("sparse")).unwrap().set_len(1 << 30).unwrap();
    let mut bounds = Bounds::default();
    (bounds.file_bytes, bounds.scan_bytes, bounds.copy_bytes) = (1 << 20, 1 << 22, 1 << 24);
    let tree = place.tree.clone().with_bounds(bounds);
    assert_eq!(code(tree.read("sparse")), "too_big");
    assert_eq!(code(tree.edit("sparse", "a", "b", Occurrences::All)), "too_big");
    assert_eq!(code(tree.read_lines("sparse", 0, 1)), "too_big");
    assert_eq!(code(tree.read_lines("sparse", 5, 1)), "too_big");
    assert!(tree.grep(&Grep::literal("x")).unwrap().is_truncated);
    assert_eq!(code(tree.pack(".", "", std::io::sink(), &mut |_| {})), "too_big");
    let target = Place::new();
    let mut bounds = Bounds::default();
    bounds.copy_bytes = 1 << 24;
    let to = target.tree.clone().with_bounds(bounds);
    assert_eq!(code(place.tree.copy_to("sparse", &to, "copy", &mut |_| {})), "too_big");
    assert!(!target.tree.exists("copy").unwrap());
    target.no_temporary_is_left();
    // Within its bound it is copied, and stays sparse.
    fs::File::options().write(true).open(place.inside("sparse")).unwrap().set_len(50 << 20).unwrap();
    place.tree.copy_to("sparse", &target.tree, "copy", &mut |_| {}).unwrap();
    let data = fs::metadata(target.inside("copy")).unwrap();
    assert!(data.len() == 50 << 20 && data.blocks() * 512 < 1 << 20, "{} blocks", data.blocks());
    // /dev/zero of a kind: a file that grows as fast as it is read.
    let (is_over, target) = (AtomicBool::new(false), Place::new());
    std::thread::scope(|scope| {
        let _at_the_end = Over(&is_over);
        scope.spawn(|| {
            let chunk = vec![b'x'; 1 << 20];
            while !is_over.load(Ordering::Relaxed)
                && fs::metadata(place.inside("grow")).map_or(0, |it| it.len()) < 1 << 27
            {
                let mut file = fs::File::options().append(true).create(true).open(place.inside("grow")).unwrap();
                std::io::Write::write_all(&mut file, &chunk).unwrap();
            }
        });
        while !place.inside("grow").exists() {
            std::thread::yield_now();
        }
        let _either = tree.read("grow");
        tree.clone().with_bounds(Bounds::default()).copy_to("grow", &target.tree, "grow", &mut |_| {}).unwrap();
    });
}

/// A tree of so many levels, made by names relative to each level's descriptor as paths are not long enough.
fn dig(top: &Path, levels: usize) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, c"d", flags, Mode::empty()).unwrap();
    }
    drop(rustix::fs::openat(&at, c"f", OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR).unwrap());
}

#[test]
fn a_tree_of_100_000_levels_is_refused_and_removed() {
    // In memory where that can be had: some disks take a millisecond to remove a directory.
    let memory = Path::new("/dev/shm");
    let top =
        if rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok() { memory } else { &std::env::temp_dir() };
    let top = top.join(format!("pinfold-it-deep-{}", std::process::id()));
    fs::create_dir(&top).unwrap();
    let tree = Tree::open(&top).unwrap();
    dig(&top, 100_000);
    let target = Place::new();
    let report = tree.copy_to(".", &target.tree, ".", &mut |_| {}).unwrap();
    assert_eq!(report.refused.iter().map(|error| error.code()).collect::<Vec<_>>(), ["too_deep"]);
    let found = tree.glob("**/f").unwrap();
    assert_eq!((found.entries.len(), found.skipped[0].code()), (0, "too_deep"));
    assert_eq!(tree.grep(&Grep::literal("x")).unwrap().skipped[0].code(), "too_deep");
    let report = tree.pack(".", "", std::io::sink(), &mut |_| {}).unwrap();
    assert_eq!(report.refused[0].code(), "too_deep");
    tree.delete_tree("d").unwrap();
    fs::remove_dir(&top).unwrap();
}

#[test]
fn a_wide_tree_of_closed_folders_is_removed() {
    let place = Place::new();
    for number in 0..10_000 {
        fs::write(place.inside(&format!("file{number}")), "").unwrap();
    }
    for number in 0..50 {
        fs::create_dir_all(place.inside(&format!("closed{number}/inner"))).unwrap();
        fs::write(place.inside(&format!("closed{number}/inner/f")), "").unwrap();
        for folder in [format!("closed{number}/inner"), format!("closed{number}")] {
            fs::set_permissions(place.inside(&folder), fs::Permissions::from_mode(0o000)).unwrap();
        }
    }
    // Root may read it all the same.
    let grep = place.tree.grep(&Grep::literal("x")).unwrap();
    assert_eq!(grep.skipped.len(), if crate::support::is_root() { 0 } else { 50 });
    place.tree.clear().unwrap();
    assert!(place.tree.list(".").unwrap().entries.is_empty());
}

#[test]
fn who_fills_a_folder_for_ever_does_not_keep_us() {
    let place = Place::new();
    let is_over = AtomicBool::new(false);
    let mut bounds = Bounds::default();
    bounds.entries = 500;
    let tree = place.tree.clone().with_bounds(bounds);
    std::thread::scope(|scope| {
        let _at_the_end = Over(&is_over);
        scope.spawn(|| {
            let mut number = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                let _either = fs::create_dir_all(place.inside(&format!("d/{number}/x")));
            }
        });
        while tree.list("d").map_or(0, |listing| listing.entries.len()) < 10 {
            std::thread::yield_now();
        }
        let _ends_either_way = tree.delete_tree("d");
        let _ends_either_way = tree.copy_to(".", &Place::new().tree, ".", &mut |_| {});
    });
}

#[test]
fn a_link_in_place_of_a_file_is_not_written_through_when_copied_over() {
    let (place, source) = (Place::new(), Place::new());
    source.tree.write("a", "new").unwrap();
    source.tree.write("d/secret", "new").unwrap();
    symlink(place.outside("secret"), place.inside("a")).unwrap();
    symlink(place.outside("folder"), place.inside("d")).unwrap();
    let report = source.tree.copy_to(".", &place.tree, ".", &mut |_| {}).unwrap();
    assert_eq!(report.refused.iter().map(|error| error.code()).collect::<Vec<_>>(), ["symlink"], "{report:?}");
    assert_eq!(place.tree.read("a").unwrap(), b"new", "the link itself was replaced");
    assert_eq!(
        rustix::fs::statat(CWD, place.inside("d"), AtFlags::SYMLINK_NOFOLLOW).unwrap().st_mode & 0o170_000,
        0o120_000
    );
    place.outside_is_whole();
}
