//! Where a toolchain is on this host, past the shims of version managers, and what a sandbox needs to have it. Nothing is
//! installed, and nothing of a workspace is run.
//!
//! A shim answers for the directory in which it is asked: a `rust-toolchain.toml` or `.python-version` of somebody
//! else's project may name a program of its own, which would then run on the host. So every question is asked in `/`.

use super::language::{Place, Toolchain};
use super::probe;
use super::template::Values;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a sandbox looks for programs when nobody says otherwise.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a toolchain needs in a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Directories of the host to mount read-only at the same path; none below `/usr`, which is there already.
    pub mounts: Vec<PathBuf>,
    /// Directories to put first on `PATH`.
    pub path: Vec<PathBuf>,
    /// Variables that keep its caches out of the workspace and tell where it lives.
    pub env: BTreeMap<String, String>,
}

/// The host in which toolchains are looked for.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// `PATH`.
    pub path: &'a OsStr,
    /// The home directory, which is never mounted.
    pub home: Option<&'a Path>,
    /// Refuses programs that somebody else could have put there.
    pub trusted: &'a (dyn Fn(&Path) -> Result<(), String> + Sync),
}

/// A toolchain that is there.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) toolchain: Toolchain,
    /// The name that each of its programs has.
    pub(super) programs: BTreeMap<String, String>,
    pub(super) view: View,
}

impl Toolchain {
    /// What a sandbox needs to have it, as it says itself.
    ///
    /// # Errors
    /// When it is not there, is not trusted, does not answer, or lives where mounting it would show the home directory or
    /// more.
    pub fn view(&self, host: Host<'_>) -> Result<View, String> {
        let mut view = View::default();
        if let Some(place) = &self.place {
            // Only the one that is asked: a JRE without a compiler is a toolchain too.
            let programs = self.programs_on(host, |key| place.ask.contains(&format!("{{{key}}}")))?;
            self.add_place(&mut view, place, &programs, host)?;
        }
        Ok(self.completed(view))
    }

    /// Finds it. It is asked nothing where all of its programs lie below `/usr`, which every sandbox sees: that would often
    /// take longer than the program that is to be run.
    pub(super) fn locate(&self, host: Host<'_>) -> Result<Located, String> {
        let programs = self.programs_on(host, |_all| true)?;
        if !self.answers.is_empty() {
            probe::ask(&self.on_host(&self.answers, &programs))?;
        }
        let (mut view, mut answered) = (View::default(), Vec::new());
        let inside: Vec<&PathBuf> = programs.values().filter(|path| is_below_usr(path)).collect();
        if let (Some(place), true) = (&self.place, inside.len() < programs.len()) {
            answered = self.add_place(&mut view, place, &programs, host)?;
        }
        let mut names = BTreeMap::new();
        for (key, program) in &programs {
            let name = match is_below_usr(program) {
                true => Some(file_name(program)),
                false => self.name_of(key, program, &view, &answered),
            };
            let name = name.ok_or_else(|| format!("`{}` lives where no sandbox sees it", program.display()))?;
            names.insert(key.clone(), name);
        }
        for directory in inside.into_iter().filter_map(|program| program.parent()) {
            let known = DEFAULT_PATH.split(':').any(|known| Path::new(known) == directory);
            if !known && !view.path.iter().any(|other| other == directory) {
                view.path.push(directory.to_owned());
            }
        }
        Ok(Located { toolchain: self.clone(), programs: names, view: self.completed(view) })
    }

    /// What a sandbox calls a program that doesn't lie below `/usr`. A shim's own place says nothing: its name must be found
    /// where the toolchain lives, or else the executable that it stands for, or the script that it is a link to.
    fn name_of(&self, key: &str, program: &Path, view: &View, answered: &[PathBuf]) -> Option<String> {
        let name = file_name(program);
        if view.path.iter().any(|directory| directory.join(&name).is_file()) {
            return Some(name);
        }
        let is_asked =
            self.place.as_ref().is_some_and(|place| place.executable && place.ask[0] == format!("{{{key}}}"));
        let executable = answered.first().filter(|_| is_asked).cloned();
        let is_seen = |path: &PathBuf| view.mounts.iter().any(|mount| path.starts_with(mount));
        let seen = executable.into_iter().chain(program.canonicalize().ok()).find(is_seen)?;
        seen.to_str().map(str::to_owned)
    }

    /// The first line of what it says of its version.
    ///
    /// # Errors
    /// When it is not there, is not trusted, or does not answer.
    pub fn version(&self, host: Host<'_>) -> Result<String, String> {
        let programs = self.programs_on(host, |_all| true)?;
        if !self.answers.is_empty() {
            probe::ask(&self.on_host(&self.answers, &programs))?;
        }
        let answer = probe::ask(&self.on_host(&self.version, &programs))?;
        Ok(answer.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned())
    }

    fn programs_on(&self, host: Host<'_>, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, PathBuf>, String> {
        let mut programs = BTreeMap::new();
        for (key, names) in self.programs.iter().filter(|(key, _)| wanted(key)) {
            let program = names.iter().find_map(|name| look_up(name, host.path));
            let program = program.ok_or_else(|| format!("`{}` is not on `PATH`", names[0]))?;
            (host.trusted)(&program)?;
            programs.insert(key.clone(), program);
        }
        Ok(programs)
    }

    fn on_host(&self, command: &[String], programs: &BTreeMap<String, PathBuf>) -> Vec<String> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        programs.iter().fold(Values::default(), |values, (key, program)| values.with(key, path(program))).fill(command)
    }

    /// Adds where it lives, and tells the paths that it answered.
    fn add_place(
        &self,
        view: &mut View,
        place: &Place,
        programs: &BTreeMap<String, PathBuf>,
        host: Host<'_>,
    ) -> Result<Vec<PathBuf>, String> {
        let answer = probe::ask(&self.on_host(&place.ask, programs))?;
        let lines = answer.lines().filter_map(|line| line.trim().strip_prefix(place.prefix.as_str()));
        let answered: Vec<PathBuf> = lines.map(PathBuf::from).filter(|path| path.is_absolute()).collect();
        for (directory, bin) in answered.iter().filter_map(|path| home_of(path, place)) {
            check(&directory, host.home)
                .map_err(|reason| format!("{} lives in `{}`: {reason}", self.name, directory.display()))?;
            view.add(directory, bin, place.home.as_deref());
        }
        match view.path.is_empty() {
            true => Err(format!("{} does not say where it lives", self.name)),
            false => Ok(answered),
        }
    }

    fn completed(&self, mut view: View) -> View {
        view.mounts.extend(self.mounts.iter().filter(|path| path.exists()).cloned());
        // What it said of itself is true of this host.
        for (name, value) in &self.env {
            view.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        view
    }
}

impl Located {
    /// Whether what was found is where it was.
    pub(super) fn is_still_there(&self) -> bool {
        self.view.mounts.iter().chain(&self.view.path).all(|directory| directory.exists())
    }
}

impl View {
    fn add(&mut self, directory: PathBuf, bin: PathBuf, home: Option<&str>) {
        if let (Some(variable), Some(text)) = (home, directory.to_str()) {
            self.env.insert(variable.to_owned(), text.to_owned());
        }
        if !self.path.contains(&bin) {
            self.path.push(bin);
        }
        if !directory.starts_with("/usr") && !self.mounts.iter().any(|mount| directory.starts_with(mount)) {
            self.mounts.push(directory);
        }
    }
}

/// Whether every sandbox sees the program: it and what it is a link to lie below `/usr`, or in its kin `/bin`.
fn is_below_usr(program: &Path) -> bool {
    let seen = |path: &Path| ["/usr", "/bin", "/sbin"].iter().any(|place| path.starts_with(place));
    seen(program) && program.canonicalize().is_ok_and(|path| seen(&path))
}

/// The first executable file of that name on `path`. Relative directories are passed over: they would make the answer
/// depend on a directory that may be somebody else's.
fn look_up(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|directory| directory.is_absolute()).map(|directory| directory.join(name)).find(
        |candidate| candidate.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0),
    )
}

fn file_name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The directory in which what was answered lives, and that of its programs.
fn home_of(answered: &Path, place: &Place) -> Option<(PathBuf, PathBuf)> {
    if !place.executable {
        return Some((answered.to_owned(), answered.join("bin")));
    }
    let real = answered.canonicalize().ok()?;
    let bin = real.parent()?;
    // /opt/node/bin/node lives in /opt/node. What npm has unpacked may lie anywhere.
    let directory = if bin.ends_with("bin") { bin.parent()? } else { bin };
    Some((directory.to_owned(), bin.to_owned()))
}

/// Refuses directories that hold more than a toolchain.
fn check(directory: &Path, home: Option<&Path>) -> Result<(), String> {
    let holds_home = home.is_some_and(|home| home.starts_with(directory));
    if directory == Path::new("/") || directory == Path::new("/home") || holds_home {
        return Err("that is not a directory of its own, and mounting it would show more than the toolchain".to_owned());
    }
    match directory.is_dir() {
        true => Ok(()),
        false => Err("there is no such directory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_on_the_path_is_passed_over() {
        assert_eq!(look_up("sh", OsStr::new(".:bin:/bin")), Some(PathBuf::from("/bin/sh")));
        assert_eq!(look_up("sh", OsStr::new(".:bin")), None);
    }

    #[test]
    fn a_toolchain_that_is_a_home_directory_is_refused() {
        let home = Path::new("/tmp/somebody");
        assert!(check(Path::new("/"), Some(home)).is_err());
        assert!(check(Path::new("/tmp"), Some(home)).unwrap_err().contains("more than the toolchain"));
        assert!(check(Path::new("/usr"), Some(home)).is_ok());
    }

    #[test]
    fn what_lies_below_usr_needs_no_mount() {
        let mut view = View::default();
        for directory in ["/usr/local/go", "/opt/go", "/opt/go"].map(PathBuf::from) {
            let bin = directory.join("bin");
            view.add(directory, bin, None);
        }
        assert_eq!(view.mounts, [PathBuf::from("/opt/go")]);
        assert_eq!(view.path, [PathBuf::from("/usr/local/go/bin"), PathBuf::from("/opt/go/bin")]);
    }
}
