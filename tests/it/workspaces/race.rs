//! A program that changes its files while they are read: what it puts in their place is never followed.

use super::Home;
use crate::sandbox::eventually;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const SECRET: &str = "a secret of the host";

/// Swaps a file with a link to another one outside, and a directory likewise, as fast as it can.
fn swap(data: &Path, outside: &Path, stop: &AtomicBool) {
    fs::write(data.join("file"), "mine").unwrap();
    symlink(outside.join("secret"), data.join("file link")).unwrap();
    fs::create_dir(data.join("dir")).unwrap();
    fs::write(data.join("dir/secret"), "mine").unwrap();
    symlink(outside, data.join("dir link")).unwrap();
    while !stop.load(Ordering::Relaxed) {
        for (one, other) in [("file", "file link"), ("dir", "dir link")] {
            renameat_with(CWD, data.join(one), CWD, data.join(other), RenameFlags::EXCHANGE).unwrap();
        }
    }
}

/// Ends the swapping however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_takes_a_file_s_place_while_it_is_exported_is_not_followed() {
    let home = Home::new();
    let data = home.create("ws");
    let outside = home.scratch.dir("outside");
    home.scratch.file("outside/secret", SECRET);
    let (stop, outside) = (AtomicBool::new(false), Path::new(&outside));
    std::thread::scope(|scope| {
        let _stops_when_this_ends = Stop(&stop);
        scope.spawn(|| swap(&data, outside, &stop));
        let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        // By their paths the links lead where they were meant to lead.
        for path in ["file", "dir/secret"] {
            eventually("a link is followed", || fs::read(data.join(path)).is_ok_and(|bytes| holds(&bytes)));
        }
        let (mut whole, mut archives) = (0, Vec::new());
        while whole < 1000 {
            let mut archive = Vec::new();
            let exported = home.store().export("ws", &mut archive, None);
            whole += u32::from(exported.is_ok_and(|exported| exported.entries > 0));
            assert!(!home.store().usage("ws").unwrap().incomplete);
            archives.push(archive);
        }
        assert!(archives.iter().all(|archive| !holds(archive)));
        assert!(archives.iter().any(|archive| archive.windows(4).any(|window| window == b"mine")));
    });
}
