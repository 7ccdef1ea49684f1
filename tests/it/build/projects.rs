//! Real projects from an empty checkout, as those who write them build them: no `pinfold.toml`, or next to none.

use crate::sandbox::Scratch;
use crate::support::{has_program, has_rust, skip};
use crate::workspaces::Home;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of a directory of this project.
pub(crate) fn checkout(scratch: &Scratch, from: &str, name: &str) -> PathBuf {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(from), scratch.path(name));
    let copied = Command::new("cp").arg("-R").arg(&from).arg(&to).status();
    if !copied.is_ok_and(|status| status.success()) {
        skip(&format!("{} can't be copied", from.display()));
    }
    to
}

/// What builds with the host's network and, of the tools' own settings, what this host has.
pub(crate) const WITH: [&str; 12] = [
    "--net",
    "host",
    "--time",
    "10m",
    "--env",
    "PIP_INDEX_URL",
    "--env",
    "PIP_CERT",
    "--env",
    "PIP_FIND_LINKS",
    "--env",
    "NPM_CONFIG_REGISTRY",
];

/// Where a build's artifact is, from its exit code, its stdout and its stderr. None, after a loud skip, where a registry is out
/// of reach.
pub(crate) fn made((code, stdout, stderr): (i32, String, String), build: &Value) -> Option<PathBuf> {
    if code != 0 && build["phases"][0]["name"] == "install" && build["phases"].as_array().unwrap().len() == 1 {
        let last = stderr.lines().rev().nth(3).unwrap_or_default();
        skip(&format!("the dependencies could not be fetched: {last}"));
        return None;
    }
    assert_eq!(code, 0, "{stderr}");
    Some(PathBuf::from(stdout.trim()))
}

fn build(home: &Home, directory: &Path, more: &[&str]) -> Option<PathBuf> {
    let ended = home.build(directory, &[&WITH, more].concat());
    made(ended, &home.builds()[0])
}

#[test]
fn a_cargo_project_becomes_its_program() {
    if !has_program("cc") || !has_rust() {
        return;
    }
    let home = Home::new();
    let directory = checkout(&home.scratch, "examples/cargo/package", "tally");
    let Some(made) = build(&home, &directory, &[]) else { return };
    let output = Command::new(made.join("tally")).stdin(std::process::Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"requests\":0"), "{output:?}");
    assert_eq!(home.builds()[0]["plan"]["kind"], "cargo");
    // Nothing but the program, and the checkout is as it was.
    assert_eq!(fs::read_dir(&made).unwrap().count(), 1);
    assert!(!directory.join("target").exists() && !directory.join("dist").exists());
}

#[test]
fn a_site_becomes_what_vite_makes_of_it() {
    if !has_program("npm") {
        return;
    }
    let home = Home::new();
    let directory = checkout(&home.scratch, "examples/vite/site", "site");
    let Some(made) = build(&home, &directory, &[]) else { return };
    let page = fs::read_to_string(made.join("index.html")).unwrap();
    assert!(page.contains("\"/assets/"), "{page}");
    assert!(fs::read_dir(made.join("assets")).unwrap().count() >= 3);
    assert!(!directory.join("node_modules").exists());
}

#[test]
fn a_python_package_becomes_a_wheel() {
    let home = Home::new();
    let directory = PathBuf::from(home.scratch.dir("greet"));
    let file = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n[project]\nname = 'greet'\n\
        version = '1.2'\n[tool.setuptools]\npackages = ['greet']\n";
    fs::write(directory.join("pyproject.toml"), file).unwrap();
    fs::create_dir(directory.join("greet")).unwrap();
    fs::write(directory.join("greet/__init__.py"), "def greet():\n    return 'hello'\n").unwrap();
    // Wheels that lie on this host, if its pip looks there.
    let wheels = std::env::var("PIP_FIND_LINKS").ok().filter(|path| Path::new(path).is_dir());
    let shown = wheels.as_ref().map(|path| ["--ro", path.as_str()]);
    let Some(made) = build(&home, &directory, shown.as_ref().map_or(&[][..], |shown| &shown[..])) else { return };
    assert!(made.join("greet-1.2-py3-none-any.whl").exists());
}
