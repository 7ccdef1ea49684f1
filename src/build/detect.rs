//! What a project leaves unsaid of how it is built, told by the files at its root. The kinds are data: `detect.toml`.

use super::project::{Phase, ProjectFile};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// A way in which projects are built.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) name: String,
    files: Vec<String>,
    #[serde(default)]
    pub(crate) toolchains: Vec<String>,
    #[serde(default)]
    leaves: BTreeSet<String>,
    pub(crate) artifact: Vec<String>,
    #[serde(rename = "phase")]
    phases: Vec<Phase>,
}

/// What no snapshot of a directory takes along by itself.
const NEVER: &str = ".git";

fn kinds() -> &'static [Kind] {
    #[derive(Deserialize)]
    struct Kinds {
        kind: Vec<Kind>,
    }
    static KINDS: OnceLock<Vec<Kind>> = OnceLock::new();
    // The text is part of this program, and a test reads it.
    KINDS.get_or_init(|| toml::from_str::<Kinds>(include_str!("detect.toml")).map_or(Vec::new(), |kinds| kinds.kind))
}

/// The kind of a project with these names at its root, if it is a known one.
pub(crate) fn kind(names: &BTreeSet<Vec<u8>>) -> Option<&'static Kind> {
    kinds().iter().find(|kind| kind.files.iter().all(|file| names.contains(file.as_bytes())))
}

/// The names that a snapshot of a directory leaves out.
pub(crate) fn excluded(file: &ProjectFile, names: &BTreeSet<Vec<u8>>) -> BTreeSet<String> {
    let usual = || {
        let leaves = kind(names).map(|kind| kind.leaves.clone()).unwrap_or_default();
        leaves.into_iter().chain([NEVER.to_owned()]).collect()
    };
    file.exclude.clone().unwrap_or_else(usual)
}

/// The phases of a project: its own, and those of its kind that it leaves out, each after the one that it follows there.
pub(crate) fn phases(file: &ProjectFile, kind: Option<&Kind>) -> Vec<Phase> {
    let mut phases = file.phases.clone();
    let Some(kind) = kind.filter(|_| file.detect) else { return phases };
    let mut next = 0;
    for known in &kind.phases {
        match phases.iter().position(|phase| phase.name == known.name) {
            Some(there) => next = there + 1,
            None => {
                phases.insert(next, known.clone());
                next += 1;
            }
        }
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_kinds_can_be_read_and_each_is_met() {
        let met = |files: &[&str]| kind(&names(files)).map_or("none", |kind| kind.name.as_str());
        assert!(kinds().len() >= 8);
        assert_eq!(met(&["package.json", "package-lock.json", "Makefile"]), "npm");
        assert_eq!(met(&["package.json"]), "npm");
        assert_eq!(met(&["package.json", "pnpm-lock.yaml"]), "pnpm");
        assert_eq!(met(&["Cargo.toml", "Makefile"]), "cargo");
        assert_eq!([met(&["go.mod"]), met(&["setup.py"]), met(&["pyproject.toml"])], ["go", "python", "python"]);
        assert_eq!([met(&["Makefile"]), met(&["README"])], ["make", "none"]);
        for kind in kinds() {
            let phases = toml::from_str::<ProjectFile>("").map(|file| phases(&file, Some(kind))).unwrap();
            assert!(phases.iter().any(|phase| phase.name == "build"), "{}", kind.name);
        }
    }

    #[test]
    fn what_is_left_out_is_put_where_it_belongs() {
        let kind = kind(&names(&["package.json"])).unwrap();
        let order = |text: &str| {
            let file = ProjectFile::parse(text.as_bytes()).unwrap();
            phases(&file, Some(kind)).iter().map(|phase| phase.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let phase = |name: &str| format!("[[phase]]\nname = '{name}'\nrun = 'true'\n");
        assert_eq!(order(""), "install build");
        assert_eq!(order(&phase("build")), "install build");
        assert_eq!(order(&[phase("install"), phase("test")].concat()), "install build test");
        assert_eq!(order(&[phase("lint"), phase("build"), phase("test")].concat()), "install lint build test");
        assert_eq!(order(&format!("detect = false\n{}", phase("test"))), "test");
    }

    #[test]
    fn a_directory_is_taken_without_what_builds_leave() {
        let file = ProjectFile::default();
        let usual = excluded(&file, &names(&["package.json"]));
        assert!(usual.contains("node_modules") && usual.contains(".git") && !usual.contains("target"));
        let own = ProjectFile::parse(b"exclude = ['big']").unwrap();
        assert_eq!(excluded(&own, &names(&["package.json"])), BTreeSet::from(["big".to_owned()]));
    }
}
