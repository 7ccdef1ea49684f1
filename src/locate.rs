//! Where the programs of the runner and the keeper are. The environment variables of the host don't decide it, save `PATH`, and that only last.

use crate::error::Error;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Finds the runner beside this program, or on `PATH`.
pub(crate) fn find() -> Result<PathBuf, Error> {
    program("pinfold-runner").ok_or(Error::RunnerNotFound)
}

/// Finds one of our programs beside this one, or on `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    program
        .as_deref()
        .into_iter()
        .flat_map(beside)
        // A relative entry of `PATH` means wherever the host happens to be: nothing to run confined jobs with.
        .chain(on_path.into_iter().filter(|directory| directory.is_absolute()))
        .map(|directory| directory.join(name))
        .find(|candidate| check(candidate).is_ok())
}

/// The directory of `program`, and the one above where cargo puts tests and examples one deeper than programs.
fn beside(program: &Path) -> impl Iterator<Item = PathBuf> {
    let directory = program.parent();
    let deeper = directory.filter(|d| d.ends_with("deps") || d.ends_with("examples")).and_then(Path::parent);
    [directory, deeper].into_iter().flatten().map(Path::to_owned)
}

/// The runner that the caller named, as an absolute path.
pub(crate) fn named(path: &Path) -> Result<PathBuf, Error> {
    let unusable = |source| Error::UnusableRunner { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(unusable)?;
    check(&absolute).map_err(unusable)?;
    Ok(absolute)
}

/// Whether `path` is an executable file. A courtesy for early words: execve(2) has the last one.
fn check(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not executable"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_looks_where_cargo_puts_programs() {
        let directories: Vec<_> = beside(Path::new("/t/debug/deps/it-1234")).collect();
        assert_eq!(directories, [Path::new("/t/debug/deps"), Path::new("/t/debug")]);
        assert_eq!(beside(Path::new("/usr/bin/host")).collect::<Vec<_>>(), [Path::new("/usr/bin")]);
    }

    #[test]
    fn a_directory_and_a_plain_file_are_no_runner() {
        assert!(matches!(named(Path::new("/")), Err(Error::UnusableRunner { .. })));
        assert!(matches!(named(Path::new("/proc/self/status")), Err(Error::UnusableRunner { .. })));
    }
}
