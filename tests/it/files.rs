//! What the file service promises: whatever lies in a tree and whatever changes meanwhile, nothing outside is read, written,
//! removed or made. In the modules below the operations themselves, attacks, archives and the command line.

mod archive; // tar in and out, and archives that attack
mod attack; // links in every position, races, FIFOs, devices, depth, width, size
mod command; // `pinfold ls` and `pinfold cp`
mod operations; // what each call does when nobody attacks, and what each error is

use crate::sandbox::Scratch;
use pinfold::files::{Error, Tree};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A tree in a directory of the test's own, with something outside that must stay as it is.
struct Place {
    scratch: Scratch,
    tree: Tree,
}

const SECRET: &str = "the secret outside\n";

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        let inside = scratch.dir("inside");
        scratch.dir("outside/folder");
        scratch.file("outside/secret", SECRET);
        scratch.file("outside/folder/secret", SECRET);
        Self { tree: Tree::open(inside).unwrap(), scratch }
    }

    fn inside(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path("inside").join(name)
    }

    fn outside(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path("outside").join(name)
    }

    /// Fails if anything outside is not as it was.
    fn outside_is_whole(&self) {
        let names = |folder: &Path| {
            let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.outside("")), ["folder", "secret"]);
        assert_eq!(names(&self.outside("folder")), ["secret"]);
        for file in ["secret", "folder/secret"] {
            let data = fs::metadata(self.outside(file)).unwrap();
            assert_eq!((data.mode() & 0o7777, data.nlink()), (0o644, 1), "{file}");
            assert_eq!(fs::read_to_string(self.outside(file)).unwrap(), SECRET, "{file}");
        }
        assert_eq!(fs::metadata(self.outside("folder")).unwrap().mode() & 0o7777, 0o755);
    }

    /// Nothing of ours is left among the files.
    fn no_temporary_is_left(&self) {
        let listing = self.tree.list(".").unwrap();
        let left: Vec<_> = listing.entries.iter().filter(|entry| entry.path.starts_with(".pinfold-")).collect();
        assert!(left.is_empty() && listing.entries.iter().all(|it| !it.path.to_string_lossy().starts_with(".pinfold")));
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("this must fail").code()
}
