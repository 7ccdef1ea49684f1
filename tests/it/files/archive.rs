//! Tar in and out, and archives that attack.

use super::{Place, code};
use pinfold::files::{Kind, Report};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use tar::{EntryType, Header};

/// An archive in the making, with whatever in it.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(self, kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o6755);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        self.raw(&header, content)
    }

    fn raw(mut self, header: &Header, content: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(EntryType::Regular, name.as_bytes(), b"", content.as_bytes())
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
    }

    fn pax(self, key: &str, value: &str) -> Self {
        let body = format!(" {key}={value}\n");
        let length =
            (1..).map(|digits| body.len() + digits).find(|length| length.to_string().len() == length - body.len());
        let record = format!("{}{body}", length.unwrap());
        self.add(EntryType::XHeader, b"pax", b"", record.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// Unpacks it, and tells what was refused.
    fn refusals(self, place: &Place) -> Vec<(String, &'static str)> {
        let report = place.tree.unpack(".", self.end().as_slice(), &mut |_| {}).unwrap();
        refused(&report)
    }
}

fn refused(report: &Report) -> Vec<(String, &'static str)> {
    report.refused.iter().map(|error| (error.path().to_string_lossy().into_owned(), error.code())).collect()
}

/// For a race.
pub(super) fn small() -> Vec<u8> {
    Archive::default().file("new", "evil").file("folder/secret", "evil").link("secret", "/x").end()
}

#[test]
fn what_is_packed_is_unpacked_the_same() {
    let (place, other) = (Place::new(), Place::new());
    let long = "long".repeat(60);
    place.tree.write(format!("d/{long}/{long}/f"), "deep").unwrap();
    place.tree.write(Path::new(std::ffi::OsStr::new("d/new\nline")), b"\x00\xff").unwrap();
    place.tree.write("d/empty", "").unwrap();
    place.tree.set_mode("d/empty", 0o700).unwrap();
    place.tree.make_directory_all("d/folder").unwrap();
    symlink(format!("/{long}/{long}"), place.inside("d/link")).unwrap();
    symlink(".", place.inside("d/here")).unwrap();
    let mut archive = Vec::new();
    let packed = place.tree.pack("d", "e", &mut archive, &mut |_| {}).unwrap();
    let unpacked = other.tree.unpack("to", archive.as_slice(), &mut |_| {}).unwrap();
    assert_eq!((packed.files, packed.links, packed.bytes), (unpacked.files, unpacked.links, unpacked.bytes));
    assert_eq!(other.tree.read(format!("to/e/{long}/{long}/f")).unwrap(), b"deep");
    assert_eq!(other.tree.read("to/e/new\nline").unwrap(), b"\x00\xff");
    assert_eq!(
        (other.tree.stat("to/e/empty").unwrap().mode, other.tree.stat("to/e/folder").unwrap().kind),
        (0o700, Kind::Directory)
    );
    assert_eq!(other.tree.stat("to/e/link").unwrap().target.unwrap(), Path::new(&format!("/{long}/{long}")));
    assert_eq!(other.tree.stat("to/e/here").unwrap().target.unwrap(), Path::new("."));
    assert!(other.tree.stat("to/e/empty").unwrap().modified <= place.tree.stat("d/empty").unwrap().modified);
}

#[test]
fn tar_itself_reads_what_we_pack_and_we_read_what_it_packs() {
    if !crate::support::has_program("tar") {
        return;
    }
    let place = Place::new();
    place.tree.write("d/a b", "text").unwrap();
    place.tree.write(format!("d/{}", "n".repeat(200)), "long").unwrap();
    symlink("/etc/passwd", place.inside("d/link")).unwrap();
    fs::hard_link(place.inside("d/a b"), place.inside("d/hard")).unwrap();
    let mut archive = Vec::new();
    place.tree.pack("d", "", &mut archive, &mut |_| {}).unwrap();
    fs::write(place.scratch.path("ours.tar"), archive).unwrap();
    let run = |args: &[&str]| {
        let tar = std::process::Command::new("tar").args(args).current_dir(place.scratch.path("")).output().unwrap();
        assert!(tar.status.success(), "{args:?}: {}", String::from_utf8_lossy(&tar.stderr));
    };
    place.scratch.dir("by-tar");
    run(&["-xf", "ours.tar", "-C", "by-tar"]);
    assert_eq!(fs::read_to_string(place.scratch.path("by-tar/a b")).unwrap(), "text");
    assert_eq!(fs::read_link(place.scratch.path("by-tar/link")).unwrap(), Path::new("/etc/passwd"));
    for format in ["gnu", "pax", "ustar", "v7"] {
        // Neither ustar nor the format of 1979 has room for a name of 200 bytes.
        let excluded = if matches!(format, "ustar" | "v7") { "--exclude=nnn*" } else { "--exclude=none" };
        run(&["-cf", "theirs.tar", &format!("--format={format}"), excluded, "-C", "inside/d", "."]);
        let theirs = fs::File::open(place.scratch.path("theirs.tar")).unwrap();
        let report = place.tree.unpack(format!("from-{format}"), theirs, &mut |_| {}).unwrap();
        assert_eq!(refused(&report), [], "{format}");
        assert_eq!(place.tree.read(format!("from-{format}/hard")).unwrap(), b"text", "{format}");
        let [one, two] =
            ["a b", "hard"].map(|it| fs::metadata(place.inside(&format!("from-{format}/{it}"))).unwrap().ino());
        assert_eq!(one, two, "{format}: a hard link stays one");
    }
}

#[test]
fn an_entry_is_placed_inside_or_refused_by_name() {
    let place = Place::new();
    let outside = place.outside("secret");
    let outside = outside.to_str().unwrap();
    let archive = Archive::default()
        .file("good", "1")
        .file("../evil", "2")
        .file("a/../../evil", "2")
        .file("/tmp/pinfold-evil", "2")
        .file("/workspace/evil", "2")
        .file("..", "2")
        .file("", "2")
        .add(EntryType::Char, b"device", b"", b"")
        .add(EntryType::Block, b"disk", b"", b"")
        .add(EntryType::Fifo, b"fifo", b"", b"")
        .add(EntryType::Link, b"hard", outside.as_bytes(), b"")
        .add(EntryType::Link, b"hard", b"../outside/secret", b"")
        .add(EntryType::Link, b"hard", b"missing", b"")
        .add(EntryType::Link, b"hard", b"", b"")
        .add(EntryType::new(b'Z'), b"unknown", b"", b"data")
        .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
        .file("opaque", "3")
        .pax("SCHILY.xattr.user.overlay.redirect", "/etc")
        .file("redirect", "3")
        .pax("path", "../by-pax")
        .file("by-pax", "3")
        .file("last", "4");
    let refusals = archive.refusals(&place);
    let expected = [
        ("../evil", "invalid_path"),
        ("a/../../evil", "invalid_path"),
        ("/tmp/pinfold-evil", "invalid_path"),
        ("/workspace/evil", "invalid_path"),
        ("..", "invalid_path"),
        ("", "invalid_path"),
        ("device", "not_regular"),
        ("disk", "not_regular"),
        ("fifo", "not_regular"),
        ("hard", "invalid_path"),
        ("hard", "invalid_path"),
        ("hard", "not_found"),
        ("hard", "bad_archive"),
        ("unknown", "bad_archive"),
        ("opaque", "bad_archive"),
        ("redirect", "bad_archive"),
        ("../by-pax", "invalid_path"),
    ];
    assert_eq!(refusals, expected.map(|(path, code)| (path.to_owned(), code)));
    let names: Vec<_> = place.tree.list(".").unwrap().entries.into_iter().map(|entry| entry.path).collect();
    assert_eq!(names, [Path::new("good"), Path::new("last")]);
    assert_eq!(place.tree.stat("good").unwrap().mode, 0o755, "without set-id");
    place.outside_is_whole();
}

#[test]
fn nothing_is_unpacked_through_a_link_of_the_archive_or_of_the_tree() {
    let place = Place::new();
    symlink(place.outside(""), place.inside("there")).unwrap();
    let outside = place.outside("");
    let archive = Archive::default()
        .link("way", outside.to_str().unwrap())
        .file("way/evil", "x")
        .file("there/evil", "x")
        .add(EntryType::Directory, b"way/folder", b"", b"")
        .add(EntryType::Directory, b"way", b"", b"")
        .link("way/link", "x")
        .link("up", "..")
        .file("up/outside/secret", "x")
        .add(EntryType::Link, b"hard", b"way/secret", b"")
        .add(EntryType::Link, b"hard", b"way", b"")
        .link("secret", "../outside/secret")
        .file("secret", "replaces the link");
    let refusals = archive.refusals(&place);
    let names: Vec<_> = refusals.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["way/evil", "there/evil", "way/folder", "way", "way/link", "up/outside/secret", "hard", "hard"]);
    assert!(refusals.iter().all(|(_, code)| *code == "symlink"), "{refusals:?}");
    assert_eq!(place.tree.read("secret").unwrap(), b"replaces the link");
    place.outside_is_whole();
}

#[test]
fn an_archive_that_lies_about_sizes_is_given_up() {
    let refuse = |bytes: &[u8]| {
        let place = Place::new();
        let code = code(place.tree.unpack(".", bytes, &mut |_| {}));
        place.no_temporary_is_left();
        code
    };
    let mut huge = Header::new_gnu();
    huge.set_entry_type(EntryType::Regular);
    huge.as_old_mut().name[..1].copy_from_slice(b"f");
    huge.set_mode(0o644);
    huge.set_mtime(0);
    huge.set_size(u64::MAX >> 1);
    huge.set_cksum();
    assert_eq!(refuse(&Archive::default().raw(&huge, b"short").end()), "bad_archive");
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
        huge.set_entry_type(kind);
        huge.set_size(1 << 40);
        huge.set_cksum();
        assert_eq!(refuse(&Archive::default().raw(&huge, b"short").end()), "bad_archive", "{kind:?}");
    }
    assert_eq!(refuse(&Archive::default().pax("size", "-5").file("f", "x").end()), "bad_archive");
    assert_eq!(refuse(&Archive::default().add(EntryType::GNUSparse, b"f", b"", b"x").end()), "bad_archive");
    let sparse = Archive::default().pax("GNU.sparse.major", "1").file("sparse", "3");
    assert_eq!(refuse(&sparse.end()), "bad_archive");
    // The size in a pax header is the size.
    let place = Place::new();
    let archive = Archive::default().pax("size", "5").file("f", "x").file("g", "y").end();
    place.tree.unpack(".", archive.as_slice(), &mut |_| {}).unwrap();
    assert_eq!((place.tree.read("f").unwrap(), place.tree.read("g").unwrap()), (b"x\0\0\0\0".to_vec(), b"y".to_vec()));
    let whole = Archive::default().file("f", &"x".repeat(600)).end();
    for length in [0, 100, 512, 700, 1024, 1536] {
        assert_eq!(refuse(&whole[..length]), "bad_archive", "{length}");
    }
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    assert_eq!(refuse(&damaged), "bad_archive");
    assert_eq!(refuse(&vec![0x41; 4096]), "bad_archive");
    // Its own bound: a bomb of zeros takes no more than that.
    let mut bounds = pinfold::files::Bounds::default();
    bounds.copy_bytes = 500;
    let place = Place::new();
    let tree = place.tree.clone().with_bounds(bounds);
    assert_eq!(code(tree.unpack(".", whole.as_slice(), &mut |_| {})), "too_big");
    assert!(tree.list(".").unwrap().entries.is_empty());
}

#[test]
fn what_can_not_be_packed_whole_has_no_end() {
    let (place, other) = (Place::new(), Place::new());
    place.tree.write("a", "1").unwrap();
    fs::File::create(place.inside("b")).unwrap().set_len(1 << 40).unwrap();
    let mut archive = Vec::new();
    assert_eq!(code(place.tree.pack(".", "", &mut archive, &mut |_| {})), "too_big");
    assert_eq!(code(other.tree.unpack(".", archive.as_slice(), &mut |_| {})), "bad_archive");
}

#[test]
fn an_archive_of_too_many_or_too_deep_entries_is_bounded() {
    let place = Place::new();
    let deep = "d/".repeat(40).into_bytes();
    let mut bounds = pinfold::files::Bounds::default();
    (bounds.entries, bounds.depth) = (10, 20);
    let tree = place.tree.clone().with_bounds(bounds);
    let archive = Archive::default().add(EntryType::Directory, &deep, b"", b"").end();
    assert_eq!(refused(&tree.unpack(".", archive.as_slice(), &mut |_| {}).unwrap())[0].1, "too_deep");
    let many = (0..20).fold(Archive::default(), |archive, number| archive.file(&format!("f{number}"), "")).end();
    assert_eq!(code(tree.unpack(".", many.as_slice(), &mut |_| {})), "too_many");
    assert_eq!(tree.list(".").unwrap().entries.len(), 10);
}
