//! How long a whole sandbox takes for `/bin/true`, beside bubblewrap in the same run: `cargo bench`.
//!
//! Not a statistics package: it alternates the programs, so that a noisy machine is noisy to all, and prints medians and
//! their ratios. The absolute figures are the machine's; the ratios are what to compare.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The same job for everybody. Bubblewrap does far less here: no cgroup, no seccomp, no Landlock, no rlimits, no result.
const BWRAP: &str = "--unshare-all --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
                     --ro-bind /etc /etc --proc /proc --dev /dev --tmpfs /tmp --die-with-parent /bin/true";
const JOB: &str = r#"{"command": ["/bin/true"]}"#;
const ROUNDS: usize = 200;

fn main() {
    let pinfold = Path::new(env!("CARGO_BIN_EXE_pinfold"));
    let runner = pinfold.with_file_name("pinfold-runner");
    assert!(runner.exists(), "build it first: cargo build --release --workspace");
    let bwrap = ["/usr/bin/bwrap", "/usr/local/bin/bwrap"].map(Path::new).into_iter().find(|path| path.exists());
    let peer = bwrap.unwrap_or_else(|| {
        println!("bwrap is not installed (apt-get install bubblewrap): there is nothing to compare with");
        Path::new("/bin/true")
    });
    let arguments: Vec<&str> = if bwrap.is_some() { BWRAP.split_whitespace().collect() } else { Vec::new() };

    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut phases = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let (time, answer) = run_job(&runner);
        times[0].push(time);
        let outcome: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(outcome["status"], "exited", "{outcome}");
        for (phase, name) in phases.iter_mut().zip(PHASES) {
            phase.push(Duration::from_secs_f64(outcome["usage"][name].as_f64().unwrap() / 1e3));
        }
        times[1].push(run(peer, &arguments));
        times[2].push(run(pinfold, &["run", "--", "/bin/true"]));
        times[3].push(run(Path::new("/bin/true"), &[]));
    }
    let medians = times.map(median);
    println!("median of {ROUNDS} runs of /bin/true");
    for (name, time) in
        ["pinfold-runner, everything on", "bwrap --unshare-all", "pinfold run", "bare"].iter().zip(medians)
    {
        println!(
            "  {:<30} {:>8.3} ms   {:>5.2} of bwrap",
            name,
            ms(time),
            time.as_secs_f64() / medians[1].as_secs_f64()
        );
    }
    println!("phases of pinfold-runner");
    for (name, phase) in PHASES.iter().zip(phases) {
        println!("  {:<30} {:>8.3} ms", name, ms(median(phase)));
    }
}

const PHASES: [&str; 3] = ["setup_ms", "wall_ms", "teardown_ms"];

fn run_job(runner: &Path) -> (Duration, Vec<u8>) {
    let start = Instant::now();
    let mut child = Command::new(runner).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(JOB.as_bytes()).unwrap();
    let answer = child.wait_with_output().unwrap();
    (start.elapsed(), answer.stdout)
}

fn run(program: &Path, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{} failed", program.display());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
