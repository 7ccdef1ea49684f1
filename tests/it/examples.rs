//! What `examples/` promises: each is one command, and what it builds works.

use crate::sandbox::Scratch;
use crate::support::{pinfold, runner, skip};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an example's script ends with where a tool or a registry is missing, as automake's test harness has it.
const MISSING: i32 = 77;

/// Long enough to fetch and to build on a slow machine; `timeout(1)` takes care.
const PATIENCE: &str = "600";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Runs an example as its reader does, with the programs under test. `None` where it can't be run, which was said.
fn run(name: &str) -> Option<(Scratch, String)> {
    let script = directory().join(name).join("run");
    if let Err(error) = fs::metadata(&script) {
        skip(&format!("{} can't be read: {error}", script.display()));
        return None;
    }
    let scratch = Scratch::new();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(&script).stdin(Stdio::null());
    command.env("PINFOLD", pinfold()).env("PINFOLD_EXAMPLES_DIR", scratch.path(""));
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(MISSING) {
        skip(&format!("example `{name}`: {}", stderr.trim().lines().last().unwrap_or_default()));
        return None;
    }
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    Some((scratch, stdout.into_owned()))
}

/// The answers of both programs to a job of `examples/`.
fn answers(job: &str) -> [Value; 2] {
    let path = directory().join(job);
    let mut line = Command::new(pinfold());
    line.args(["run", "--json"]).arg(&path);
    let mut bare = Command::new(runner());
    bare.stdin(fs::File::open(&path).unwrap());
    [line, bare].map(|mut command| serde_json::from_slice(&command.output().unwrap().stdout).unwrap())
}

#[test]
fn a_newcomers_first_job_runs() {
    for answer in answers("hello.json") {
        assert_eq!(answer["exit_code"], 0, "{answer}");
        let stdout = answer["stdout"].as_str().unwrap();
        assert!(stdout.starts_with("Hello, newcomer! I am sandbox on pinfold, and"), "{stdout}");
        assert!(stdout.contains("/usr\n") && !stdout.contains("/home") && !stdout.contains("/root"), "{stdout}");
    }
}

#[test]
fn the_job_of_limits_names_those_that_hold_everywhere_and_meets_two() {
    let job: Value = serde_json::from_slice(&fs::read(directory().join("limits.json")).unwrap()).unwrap();
    let all = serde_json::to_value(pinfold::Job::from_json(br#"{"command": ["true"]}"#).unwrap().limits).unwrap();
    for limit in all.as_object().unwrap().keys() {
        // Only a cgroup shares CPUs out and holds disks back, and not every user has one.
        let needs_cgroup = limit.starts_with("cpu") || limit.starts_with("io_");
        let named = job["limits"].get(limit).is_some();
        assert_eq!(named, !needs_cgroup, "`{limit}` in examples/limits.json");
    }
    for answer in answers("limits.json") {
        assert_eq!(answer["status"], "timed_out", "{answer}");
        assert_eq!((&answer["stdout_truncated"], answer["stdout"].as_str().unwrap().len()), (&true.into(), 70));
    }
}

#[test]
fn a_cargo_package_is_built_offline_and_its_program_runs() {
    let Some((scratch, stdout)) = run("cargo") else { return };
    assert!(stdout.contains("test result: ok. 1 passed"), "{stdout}");
    let last = stdout.lines().last().unwrap();
    let expected = r#"{"requests":4,"bytes":21470,"statuses":{"200":2,"201":1,"404":1},"not_understood":0}"#;
    assert_eq!(last, expected);
    let program = fs::metadata(scratch.path("cargo/out/target/release/tally")).unwrap();
    assert_eq!((program.mode() & 0o777, program.uid()), (0o755, fs::metadata(scratch.path("cargo")).unwrap().uid()));
}

#[test]
fn a_web_site_is_built_offline_from_options_and_from_json_alike() {
    let Some((scratch, _)) = run("vite") else { return };
    let from_options = files(&scratch.path("vite/out/dist"));
    let from_json = files(&scratch.path("vite/json/dist"));
    assert!(from_options.len() >= 4, "{:?}", from_options.iter().map(|file| &file.0).collect::<Vec<_>>());
    assert!(from_options == from_json);
    let (_, page) = from_options.iter().find(|(name, _)| name == Path::new("index.html")).unwrap();
    let page = String::from_utf8_lossy(page);
    let assets: Vec<_> = from_options.iter().filter_map(|(name, _)| name.to_str()?.strip_prefix("assets/")).collect();
    for kind in [".js", ".css", ".svg"] {
        let asset = assets.iter().find(|name| name.ends_with(kind)).unwrap();
        assert!(page.contains(&format!("\"/assets/{asset}\"")), "{asset}: {page}");
    }
}

#[test]
fn a_c_extension_is_compiled_offline_and_passes_its_own_tests() {
    let Some((_scratch, stdout)) = run("python") else { return };
    assert!(stdout.contains("compiled: /workspace/") && stdout.contains("120 passed"), "{stdout}");
    assert!(stdout.lines().last().unwrap().ends_with(".whl"), "{stdout}");
}

#[test]
fn the_examples_leave_the_registry_to_the_reader() {
    for (name, bytes) in files(&directory()) {
        let text = String::from_utf8_lossy(&bytes);
        // Where a lock file notes where a package came from, it names the host that its writer used.
        for word in ["\"resolved\"", "source = \"registry+", "index-url", "registry="] {
            assert!(!text.contains(word), "examples/{}: {word}", name.display());
        }
    }
}

/// All files below a directory, their paths from there and what is in them.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push((path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
