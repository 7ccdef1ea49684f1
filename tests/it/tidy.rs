//! Habits that no compiler keeps: what every source file has, and what none has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LONGEST: usize = 400;

/// Phrases that only pretend to say why something is safe. In two halves, so that this file does not say them.
const FORMULAS: [(&str, &str); 4] =
    [("valid ", "parameters"), ("always ", "safe"), ("trivially ", "safe"), ("library ", "function")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// Every Rust file of the project, its path below the root and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for room in ["src", "runner", "tests", "benches"] {
        files(&root().join(room), "rs", &mut found);
    }
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let sources: Vec<_> = found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect();
    assert!(sources.len() > 50, "{sources:?}");
    sources
}

fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert_none("these don't start with `//! `", silent);
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let length = |text: &str| text.lines().take_while(|line| !line.starts_with("mod tests {")).count();
    let long = sources().into_iter().filter(|(_, text)| length(text) > LONGEST);
    assert_none(
        &format!("more than {LONGEST} lines"),
        long.map(|(name, text)| format!("{name}: {}", length(&text))).collect(),
    );
}

#[test]
fn unsafe_lives_in_the_sys_rooms_and_the_probes() {
    let may = |name: &str| name.contains("/sys/") || name.ends_with("/sys.rs") || name.starts_with("tests/probes/");
    let mut found = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !may(name)) {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let word = |after: char| code.contains(&format!("{}{after}", concat!("uns", "afe")));
            if (word(' ') || word('{')) && !code.contains('"') {
                found.push(format!("{name}:{}: {line}", index + 1));
            }
        }
    }
    assert_none("outside of the sys rooms", found);
}

#[test]
fn no_safety_comment_is_a_formula() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (one, other) in FORMULAS {
            if text.to_lowercase().contains(&format!("{one}{other}")) {
                found.push(format!("{name}: {one}{other}"));
            }
        }
    }
    assert_none("says nothing", found);
}

#[test]
fn no_line_ends_in_white_space() {
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "json", "yml"] {
        let mut paths = Vec::new();
        files(root(), extension, &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines = text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t']));
            found.extend(lines.map(|(index, _)| format!("{}:{}", path.display(), index + 1)));
        }
    }
    assert_none("trailing white space", found);
}

#[test]
fn every_rule_of_a_policy_that_looks_at_arguments_says_why() {
    let mut policies = Vec::new();
    files(&root().join("seccomp"), "json", &mut policies);
    assert!(policies.len() >= 4);
    let mut found = Vec::new();
    for path in policies {
        let policy: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for rule in policy["syscalls"].as_array().unwrap() {
            let has_arguments = rule["args"].as_array().is_some_and(|arguments| !arguments.is_empty());
            if has_arguments && rule["comment"].as_str().is_none_or(str::is_empty) {
                found.push(format!("{}: {}", path.display(), rule["names"]));
            }
        }
    }
    assert_none("rules without a comment", found);
}

#[test]
fn the_map_names_every_module_of_the_runner() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        panic!("there is no ARCHITECTURE.md");
    };
    let words: BTreeSet<&str> = map.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("runner/src")).unwrap().flatten() {
        // A room of several files is named as a whole; what is in it, its own first lines say.
        let name = entry.path().with_extension("").file_name().unwrap().to_str().unwrap().to_owned();
        if !words.contains(name.as_str()) {
            missing.push(name);
        }
    }
    assert_none("ARCHITECTURE.md does not name", missing);
}

#[test]
fn no_test_is_called_test_and_none_is_ignored() {
    let (prefix, ignored) = (concat!("fn te", "st_"), concat!("#[ign", "ore"));
    let found =
        sources().into_iter().filter(|(_, text)| text.contains(prefix) || text.contains(ignored)).map(|(name, _)| name);
    assert_none("names are promises, and skips are loud", found.collect());
}

#[test]
fn every_limit_is_in_the_table_of_hosts_and_attacked_by_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let (hosts, attacks) = page.split_once("## Who attacks them").unwrap();
    let rows = |table: &str| -> Vec<(String, String)> {
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
        rows.map(|(names, rest)| (format!("`{names}"), rest.to_owned())).collect()
    };
    for name in pinfold::Limits::NAMES.iter().map(|name| format!("`{name}`")) {
        for table in [hosts, attacks] {
            assert_eq!(rows(table).iter().filter(|(names, _)| names.contains(&name)).count(), 1, "{name}");
        }
    }
    let sources = sources();
    for test in rows(attacks).iter().flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2)) {
        let (modules, name) = test.rsplit_once("::").unwrap();
        let file = format!("tests/it/{}.rs", modules.replace("::", "/"));
        let heads = ["", "pub(crate) "].map(|shared| format!("\n{shared}fn {name}() {{"));
        let exists = sources.iter().any(|(path, text)| *path == file && heads.iter().any(|head| text.contains(head)));
        assert!(exists, "{test}");
    }
}
