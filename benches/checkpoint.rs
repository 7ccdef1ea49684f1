//! How long a checkpoint, a rollback and a fork of a workspace of 1 GiB and 50,000 files take, and of one with a single file,
//! beside `cp -a --reflink=auto` of the same files in the same run: `cargo bench --bench checkpoint`.
//!
//! All is below `$TMPDIR`, which takes 3 GiB for as long as it runs. The absolute figures are the machine's; the ratios, and
//! that the size makes no difference, are what to look at.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const FILES: usize = 50_000;
const BYTES: usize = 1 << 30;
const ROUNDS: usize = 15;

/// A state directory, gone at the end.
struct State(PathBuf);

impl State {
    fn pinfold(&self, args: &[&str]) -> (Duration, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinfold"));
        command.args(args).env("PINFOLD_STATE_DIR", self.0.join("state"));
        let start = Instant::now();
        let output = command.output().unwrap();
        let took = start.elapsed();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        (took, String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _nothing_to_be_done = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    let runner = Path::new(env!("CARGO_BIN_EXE_pinfold")).with_file_name("pinfold-runner");
    assert!(runner.exists(), "build it first: cargo build --release --workspace");
    let path = std::env::temp_dir().join(format!("pinfold-bench-{}", std::process::id()));
    fs::create_dir(&path).unwrap();
    let state = State(path);
    let large = PathBuf::from(state.pinfold(&["workspace", "create", "large"]).1);
    let small = PathBuf::from(state.pinfold(&["workspace", "create", "small"]).1);
    fill(&large, FILES, BYTES / FILES);
    fill(&small, 1, 1);
    sync();
    let copy = time(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&large).arg(state.0.join("copy")));
    sync();
    // Whoever is the first to have something written to disk after so much was written waits for what the file system's journal
    // still has to do, whatever is saved.
    state.pinfold(&["workspace", "create", "first"]);
    state.pinfold(&["checkpoint", "save", "first"]);
    println!("1 GiB, 50,000 files: cp -a --reflink=auto takes {:.0} ms", ms(copy));
    for id in ["large", "small"] {
        let figures = figures(&state, id);
        println!("{id}: median of {ROUNDS}, the first save apart");
        for (name, took) in figures {
            println!("  {name:<12} {:>9.2} ms   1/{:.0} of cp", ms(took), copy.as_secs_f64() / took.as_secs_f64());
        }
    }
}

fn figures(state: &State, id: &str) -> [(&'static str, Duration); 5] {
    let (first, base) = state.pinfold(&["checkpoint", "save", id]);
    let place = format!("ws:{id}");
    let change = || drop(state.pinfold(&["run", "-w", &place, "--", "sh", "-c", "date >> changed"]));
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        change();
        times[0].push(state.pinfold(&["checkpoint", "save", id]).0);
        times[1].push(state.pinfold(&["checkpoint", "diff", id, &base]).0);
        change();
        times[2].push(state.pinfold(&["checkpoint", "rollback", id, &base]).0);
        let fork = format!("{id} {round}");
        times[3].push(state.pinfold(&["checkpoint", "fork", id, &fork, "--checkpoint", &base]).0);
    }
    let [save, diff, rollback, fork] = times.map(median);
    [("first save", first), ("save", save), ("diff", diff), ("rollback", rollback), ("fork", fork)]
}

fn fill(directory: &Path, files: usize, bytes: usize) {
    let mut content = vec![0u8; bytes];
    for number in 0..files {
        // No two alike, so that nothing but copying makes a copy.
        content[0] = u8::try_from(number % 251).unwrap();
        let parent = directory.join(format!("{}", number / 100));
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(format!("{number}")), &content).unwrap();
    }
}

/// What was written before is nobody's burden afterwards.
fn sync() {
    assert!(Command::new("sync").status().unwrap().success());
}

fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    assert!(command.status().unwrap().success());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
