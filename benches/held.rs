//! What a command in a sandbox that stays costs beyond a bare spawn of the same, and what such a sandbox costs while nothing
//! runs in it: `cargo bench --bench held`.
//!
//! The programs alternate, so that a noisy machine is noisy to all. Minima are nearest to what the work itself takes; the
//! absolute figures are the machine's, the differences are what to look at. `/bin/true` is the host's own for everybody.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use pinfold::Status;
use pinfold::held::{Held, Sandboxes, Spec, command};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 1000;
const PROGRAM: &str = "/bin/true";
const NAME: &str = "bench";

/// A runtime and a state directory, gone at the end with the sandbox.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _gone_already = Sandboxes::at(self.0.join("runtime")).stop(NAME);
        let _nothing_to_be_done = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    let pinfold = Path::new(env!("CARGO_BIN_EXE_pinfold"));
    for program in ["pinfold-runner", "pinfold-keeper"] {
        assert!(pinfold.with_file_name(program).exists(), "build it first: cargo build --release --workspace");
    }
    let home = Home(std::env::temp_dir().join(format!("pinfold-bench-{}", std::process::id())));
    fs::create_dir(&home.0).unwrap();
    // A directory of its own, so that nobody's sandboxes are swept meanwhile.
    let runtime = home.0.join("runtime");
    let held = Sandboxes::at(&runtime).start(&Spec::named(NAME.try_into().unwrap())).unwrap();
    println!("{ROUNDS} rounds of {PROGRAM}, load average {}", load());
    time(&held, pinfold, &runtime);
    println!("idle");
    let (keeper, runner) = (held.record().keeper.pid, held.record().runner.pid);
    let mut sum = [0; 3];
    for (name, pid) in [("keeper", keeper), ("runner", runner)].into_iter().chain(inside(runner)) {
        let memory = ["Rss:", "Pss:", "Private_"].map(|key| kib(pid, key));
        row(name, memory);
        sum.iter_mut().zip(memory).for_each(|(sum, one)| *sum += one);
    }
    row("together", sum);
}

fn row(name: &str, [rss, pss, private]: [u64; 3]) {
    println!("  {name:<24} {rss:>6} KiB resident {pss:>6} KiB in proportion {private:>6} KiB private");
}

fn time(held: &Held, pinfold: &Path, runtime: &Path) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut times = [const { Vec::new() }; 4];
    for round in 0..ROUNDS + 20 {
        let round_times = [
            bare(Path::new(PROGRAM), &[], runtime),
            tokio.block_on(library(held)),
            bare(pinfold, &["exec", NAME, "--", PROGRAM], runtime),
            bare(pinfold, &["--version"], runtime),
        ];
        if round >= 20 {
            times.iter_mut().zip(round_times).for_each(|(times, time)| times.push(time));
        }
    }
    // What the last one takes is the program's own start.
    let names = ["bare", "Held::exec", "pinfold exec", "pinfold --version"];
    let spawns = times[0].clone();
    for (name, times) in names.iter().zip(times) {
        // Of the same round each, so that what slows the machine down is in both.
        let mut beyond: Vec<f64> = times.iter().zip(&spawns).map(|(time, bare)| ms(*time) - ms(*bare)).collect();
        beyond.sort_by(f64::total_cmp);
        let difference = beyond[beyond.len() / 2];
        let (least, least_bare) = (times.iter().min().unwrap(), spawns.iter().min().unwrap());
        println!(
            "  {name:<24} {:>7.3} ms least, {:>7.3} ms median; beyond bare: {:>7.3} ms of the least, {difference:>7.3} ms median",
            ms(*least),
            ms(median(times.clone())),
            ms(*least) - ms(*least_bare),
        );
    }
}

/// As most programs do it: three pipes, spawn, read to the end, wait.
fn bare(program: &Path, arguments: &[&str], runtime: &Path) -> Duration {
    let mut command = Command::new(program);
    command.args(arguments).env("PINFOLD_RUNTIME_DIR", runtime).stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().unwrap();
    let took = start.elapsed();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    took
}

async fn library(held: &Held) -> Duration {
    let job = command([PROGRAM]).build().unwrap();
    let start = Instant::now();
    let outcome = held.exec(job).await.unwrap();
    let took = start.elapsed();
    assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(0)), "{outcome:?}");
    took
}

/// Init and whoever stands ready in the sandbox.
fn inside(runner: i32) -> Vec<(&'static str, i32)> {
    let children = |pid: i32| -> Vec<i32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let inits = children(runner);
    let ready: Vec<i32> = inits.iter().flat_map(|init| children(*init)).collect();
    let named = |name: &'static str, pids: Vec<i32>| pids.into_iter().map(move |pid| (name, pid));
    named("init", inits).chain(named("the next command's", ready)).collect()
}

/// A figure of all of a process's memory, from `smaps_rollup`: proc_pid_smaps(5). Several lines may begin so.
fn kib(pid: i32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(key));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
