//! What each call does when nobody attacks, and what each error is.

use super::{Place, code};
use pinfold::files::{Bounds, Grep, Kind, Occurrences, Replace, Tree};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn with(tree: &Tree, change: impl FnOnce(&mut Bounds)) -> Tree {
    let mut bounds = Bounds::default();
    change(&mut bounds);
    tree.clone().with_bounds(bounds)
}

#[test]
fn what_is_written_is_read_byte_for_byte() {
    let place = Place::new();
    for bytes in [&b""[..], b"text\n", b"\x00\xff\xfe", &vec![7; 300_000]] {
        place.tree.write("a/b/file", bytes).unwrap();
        assert_eq!(place.tree.read("a/b/file").unwrap(), bytes);
        assert_eq!(place.tree.read("/workspace/a//b/./file").unwrap(), bytes);
    }
    place.no_temporary_is_left();
}

#[test]
fn names_of_any_bytes_are_names() {
    let place = Place::new();
    let names: Vec<&[u8]> = vec![b"-rf", b"new\nline", b" ", b"*", b"\xff\xfe", "ü".as_bytes(), b"a:b", b"...", b"\\"];
    for name in &names {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        place.tree.create(path, name).unwrap();
        assert_eq!(place.tree.read(path).unwrap(), *name);
        assert_eq!(code(place.tree.create(path, "")), "exists");
    }
    let listing = place.tree.list(".").unwrap();
    let mut expected: Vec<_> = names.iter().map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))).collect();
    expected.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    assert_eq!(listing.entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>(), expected);
    for name in &names {
        place.tree.delete(Path::new(std::ffi::OsStr::from_bytes(name))).unwrap();
    }
    assert!(place.tree.list(".").unwrap().entries.is_empty());
}

#[test]
fn what_is_overwritten_keeps_its_mode_and_loses_set_id() {
    let place = Place::new();
    place.tree.write("f", "1").unwrap();
    assert_eq!(place.tree.stat("f").unwrap().mode, 0o644);
    place.tree.set_mode("f", 0o7751).unwrap();
    assert_eq!(place.tree.stat("f").unwrap().mode, 0o751);
    fs::set_permissions(place.inside("f"), fs::Permissions::from_mode(0o6751)).unwrap();
    place.tree.write("f", "2").unwrap();
    assert_eq!(place.tree.stat("f").unwrap().mode, 0o751);
    place.tree.edit("f", "2", "3", Occurrences::One).unwrap();
    assert_eq!(place.tree.stat("f").unwrap().mode, 0o751);
}

#[test]
fn ranges_and_lines_end_where_the_file_does() {
    let place = Place::new();
    place.tree.write("f", "one\ntwo\n\nfour").unwrap();
    let range = |offset, length| place.tree.read_range("f", offset, length).unwrap();
    assert_eq!(range(4, 3), b"two");
    assert_eq!(range(9, 100), b"four");
    assert_eq!((range(13, 5), range(u64::MAX, 5), range(i64::MAX as u64, 5)), (vec![], vec![], vec![]));
    let lines = |offset, limit| {
        let lines = place.tree.read_lines("f", offset, limit).unwrap();
        (String::from_utf8(lines.bytes).unwrap(), lines.count, lines.is_end)
    };
    assert_eq!(lines(0, 2), ("one\ntwo\n".into(), 2, false));
    assert_eq!(lines(2, 9), ("\nfour".into(), 2, true));
    assert_eq!(lines(3, 1), ("four".into(), 1, true));
    assert_eq!(lines(4, 1), (String::new(), 0, true));
    assert_eq!(lines(u64::MAX, 1), (String::new(), 0, true));
    assert_eq!(lines(0, 0), (String::new(), 0, false));
}

#[test]
fn text_is_read_as_text_with_numbers_if_wanted() {
    let place = Place::new();
    place.tree.write("f", "eins\nzw\u{f6}lf\n\nvier").unwrap();
    assert_eq!(place.tree.read_to_string("f").unwrap(), "eins\nzw\u{f6}lf\n\nvier");
    let numbered = |offset, limit| place.tree.read_lines("f", offset, limit).unwrap().numbered();
    assert_eq!(numbered(0, 2), "     1\teins\n     2\tzw\u{f6}lf\n");
    assert_eq!(numbered(2, 9), "     3\t\n     4\tvier");
    assert_eq!(numbered(4, 9), "");
    place.tree.write("bytes", b"a\xff\n").unwrap();
    assert_eq!(code(place.tree.read_to_string("bytes")), "not_text");
    assert_eq!(place.tree.read_lines("bytes", 0, 1).unwrap().numbered(), "     1\ta\u{fffd}\n");
    assert_eq!(code(place.tree.read_to_string("missing")), "not_found");
    let kind = |path: &str| std::io::Error::from(place.tree.read(path).unwrap_err()).kind();
    assert_eq!((kind("missing"), kind("../f")), (std::io::ErrorKind::NotFound, std::io::ErrorKind::InvalidInput));
}

#[test]
fn only_a_directory_is_one() {
    let place = Place::new();
    place.tree.write("dir/f", "").unwrap();
    std::os::unix::fs::symlink("dir", place.scratch.path("inside/link")).unwrap();
    let is = |path: &str| place.tree.is_directory(path).unwrap();
    assert!(is("dir") && is(".") && is("/workspace"));
    assert!(!is("dir/f") && !is("link") && !is("missing") && !is("dir/f/g"));
    assert_eq!(code(place.tree.is_directory("../x")), "invalid_path");
}

#[test]
fn an_edit_tells_how_often_the_text_occurs() {
    let place = Place::new();
    place.tree.write("f", b"a.b a.b axb \xff").unwrap();
    let error = place.tree.edit("f", "a.b", "$0", Occurrences::One).unwrap_err();
    assert!(error.code() == "ambiguous" && error.to_string().contains("2 times"), "{error}");
    assert_eq!(code(place.tree.edit("f", "a.c", "x", Occurrences::All)), "no_match");
    assert_eq!(code(place.tree.edit("f", "", "x", Occurrences::All)), "invalid_pattern");
    assert_eq!(code(place.tree.edit("g", "a", "x", Occurrences::All)), "not_found");
    assert_eq!(place.tree.edit("f", "a.b", "$0", Occurrences::All).unwrap(), 2);
    assert_eq!(place.tree.edit("f", b"\xff", b"\xfe", Occurrences::One).unwrap(), 1);
    assert_eq!(place.tree.read("f").unwrap(), b"$0 $0 axb \xfe");
    place.no_temporary_is_left();
}

#[test]
fn each_error_has_its_code() {
    let place = Place::new();
    let tree = &place.tree;
    tree.write("dir/file", "x").unwrap();
    assert_eq!(code(tree.read("none")), "not_found");
    assert_eq!(code(tree.read("dir")), "is_directory");
    assert_eq!(code(tree.read("dir/file/x")), "not_directory");
    assert_eq!(code(tree.list("dir/file")), "not_directory");
    assert_eq!(code(tree.write("dir", "x")), "is_directory");
    assert_eq!(code(tree.write(".", "x")), "is_directory");
    assert_eq!(code(tree.append("dir", "x")), "is_directory");
    assert_eq!(code(tree.create("dir/file", "x")), "exists");
    assert_eq!(code(tree.delete("dir")), "is_directory");
    assert_eq!(code(tree.delete("none")), "not_found");
    assert_eq!(code(tree.delete_tree(".")), "invalid_path");
    assert_eq!(code(tree.delete_tree("none")), "not_found");
    assert_eq!(code(tree.make_directory_all("dir/file")), "not_directory");
    assert_eq!(code(tree.rename("dir", "dir/inner", Replace::Allowed)), "invalid_path");
    tree.write("other", "y").unwrap();
    assert_eq!(code(tree.rename("other", "dir/file", Replace::Refused)), "exists");
    assert_eq!(code(tree.rename("dir", "other", Replace::Allowed)), "not_directory");
    tree.rename("other", "dir/file", Replace::Allowed).unwrap();
    assert_eq!((tree.read("dir/file").unwrap(), tree.exists("other").unwrap()), (b"y".to_vec(), false));
    for path in ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "/workspace/../x", "../../etc/x", "n\0n"] {
        assert_eq!(code(tree.read(path)), "invalid_path", "{path:?}");
        assert_eq!(code(tree.write(path, "x")), "invalid_path", "{path:?}");
        assert_eq!(code(tree.delete_tree(path)), "invalid_path", "{path:?}");
        assert_eq!(code(tree.rename("dir", path, Replace::Allowed)), "invalid_path", "{path:?}");
    }
    for pattern in ["../*", "/etc/*", "a/../*", ""] {
        assert_eq!(code(tree.glob(pattern)), "invalid_path", "{pattern:?}");
    }
    assert_eq!(code(tree.glob("[")), "invalid_pattern");
    assert_eq!(code(tree.grep(&Grep::regex("("))), "invalid_pattern");
}

#[test]
fn nothing_is_larger_than_its_bound() {
    let place = Place::new();
    let tree = with(&place.tree, |bounds| (bounds.file_bytes, bounds.entries, bounds.copy_bytes) = (10, 5, 20));
    tree.write("f", "0123456789").unwrap();
    assert_eq!(tree.read("f").unwrap().len(), 10);
    assert_eq!(code(tree.write("f", "01234567890")), "too_big");
    assert_eq!(code(tree.edit("f", "0", "00", Occurrences::One)), "too_big");
    assert_eq!(code(tree.read_range("f", 0, 11)), "too_big");
    tree.append("f", "0123456789").unwrap();
    assert_eq!(code(tree.append("f", "0")), "too_big");
    assert_eq!(code(tree.read("f")), "too_big");
    for number in 0..6 {
        fs::write(place.inside(&format!("many{number}")), "0123456789").unwrap();
    }
    let listing = tree.list(".").unwrap();
    assert_eq!((listing.entries.len(), listing.is_truncated), (5, true));
    assert!(tree.glob("*").unwrap().is_truncated);
    let other = Place::new();
    let to = with(&other.tree, |bounds| bounds.copy_bytes = 20);
    assert_eq!(code(place.tree.copy_to(".", &to, ".", &mut |_| {})), "too_big");
    other.no_temporary_is_left();
}

#[test]
fn what_matches_is_found_by_name_and_by_line() {
    let place = Place::new();
    let tree = &place.tree;
    for (path, text) in [
        ("main.rs", "fn main() {}\n"),
        ("src/lib.rs", "one\nfn two() {}\nthree fn\n"),
        ("src/deep/er/x.rs", "FN\n"),
        ("src/data.bin", "a\0fn\n"),
        ("notes.txt", "fn\r\n"),
    ] {
        tree.write(path, text).unwrap();
    }
    let glob = |pattern: &str| -> Vec<String> {
        tree.glob(pattern).unwrap().entries.iter().map(|entry| entry.path.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(glob("*.rs"), ["main.rs"]);
    assert_eq!(glob("**/*.rs"), ["main.rs", "src/deep/er/x.rs", "src/lib.rs"]);
    assert_eq!(glob("/workspace/src/*"), ["src/data.bin", "src/deep", "src/lib.rs"]);
    assert_eq!(glob("src/deep/er/x.rs"), ["src/deep/er/x.rs"]);
    assert_eq!(glob("{main,src/lib}.rs"), ["main.rs", "src/lib.rs"]);
    assert_eq!(glob("none/*"), Vec::<String>::new());
    let grep = |grep: Grep| {
        let found = tree.grep(&grep).unwrap();
        let lines = found.matches.iter().map(|it| format!("{}:{}", it.path.display(), it.line)).collect::<Vec<_>>();
        (lines, found.binary, found.is_truncated)
    };
    let (lines, binary, _) = grep(Grep::literal("fn"));
    assert_eq!(lines, ["main.rs:1", "notes.txt:1", "src/lib.rs:2", "src/lib.rs:3"]);
    assert_eq!(binary, [Path::new("src/data.bin")]);
    assert_eq!(grep(Grep::regex(r"^fn \w+\(")).0, ["main.rs:1", "src/lib.rs:2"]);
    assert_eq!(grep(Grep::literal("fn").only("*.rs").ignore_case().below("src")).0.len(), 3);
    assert_eq!(grep(Grep::literal("fn").below("src/lib.rs")).0, ["src/lib.rs:2", "src/lib.rs:3"]);
    let (lines, _, is_truncated) = grep(Grep::literal("fn").at_most(2));
    assert_eq!((lines.len(), is_truncated), (2, true));
    assert_eq!(code(tree.grep(&Grep::literal("x").below("none"))), "not_found");
}

#[test]
fn a_tree_is_copied_with_modes_links_times_and_empty_folders() {
    let (place, other) = (Place::new(), Place::new());
    place.tree.write("d/f", "text").unwrap();
    place.tree.set_mode("d/f", 0o755).unwrap();
    place.tree.make_directory_all("d/empty/er").unwrap();
    place.tree.set_mode("d", 0o700).unwrap();
    std::os::unix::fs::symlink("../../outside/secret", place.inside("d/link")).unwrap();
    let mut told = 0;
    let report = place.tree.copy_to("d", &other.tree, "new/place", &mut |_| told += 1).unwrap();
    assert_eq!((report.files, report.directories, report.links, report.bytes), (1, 2, 1, 4));
    assert!(told > 0 && report.refused.is_empty());
    let [one, two] = [place.tree.stat("d/f").unwrap(), other.tree.stat("new/place/f").unwrap()];
    assert_eq!((one.mode, one.modified, one.size), (two.mode, two.modified, two.size));
    assert_eq!(other.tree.stat("new/place").unwrap().mode, 0o700);
    assert_eq!(other.tree.stat("new/place/empty/er").unwrap().kind, Kind::Directory);
    let link = other.tree.stat("new/place/link").unwrap();
    assert_eq!((link.kind, link.target.as_deref()), (Kind::Symlink, Some(Path::new("../../outside/secret"))));
    assert_eq!(code(place.tree.copy_to("d", &place.tree, "d/inner", &mut |_| {})), "invalid_path");
    assert_eq!(code(place.tree.copy_to("none", &other.tree, "x", &mut |_| {})), "not_found");
}

#[test]
fn what_root_makes_belongs_to_whom_the_tree_belongs() {
    if !crate::support::is_root() {
        return crate::support::host_cannot("only root can give files away");
    }
    let place = Place::new();
    std::os::unix::fs::chown(place.inside(""), Some(4321), Some(4322)).unwrap();
    let tree = Tree::open(place.inside("")).unwrap();
    tree.write("a/b/f", "x").unwrap();
    tree.append("a/log", "x").unwrap();
    tree.edit("a/log", "x", "y", Occurrences::One).unwrap();
    tree.copy_to("a", &tree, "copy", &mut |_| {}).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.inside("link")).unwrap();
    tree.copy_to("a/b", &tree, "more", &mut |_| {}).unwrap();
    for path in ["a", "a/b", "a/b/f", "a/log", "copy", "copy/b/f", "more/f"] {
        let data = fs::symlink_metadata(place.inside(path)).unwrap();
        assert_eq!((data.uid(), data.gid()), (4321, 4322), "{path}");
    }
    let own = Tree::open_own(place.inside("")).unwrap();
    own.write("mine", "x").unwrap();
    assert_eq!(fs::metadata(place.inside("mine")).unwrap().uid(), 0, "as with cp");
}

#[test]
fn lines_that_many_append_at_once_are_all_there() {
    let place = Place::new();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let tree = place.tree.clone();
            std::thread::spawn(move || {
                for number in 0..250 {
                    tree.append("log", format!("{thread} {number}\n")).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let text = String::from_utf8(place.tree.read("log").unwrap()).unwrap();
    let lines: std::collections::BTreeSet<_> = text.lines().collect();
    assert_eq!((lines.len(), text.lines().count()), (1000, 1000));
}

#[test]
fn who_reads_while_it_is_written_sees_the_old_or_the_new() {
    let place = Place::new();
    let (old, new) = (vec![b'o'; 100_000], vec![b'n'; 200_000]);
    place.tree.write("f", &old).unwrap();
    let writer = {
        let (tree, old, new) = (place.tree.clone(), old.clone(), new.clone());
        std::thread::spawn(move || {
            (0..200).for_each(|i| tree.write("f", if i % 2 == 0 { &new } else { &old }).unwrap())
        })
    };
    while !writer.is_finished() {
        let read = place.tree.read("f").unwrap();
        assert!(read == old || read == new, "{} bytes", read.len());
    }
    writer.join().unwrap();
}
