//! What the library promises to its hosts. Here is what its tests have in common: runners that are shell scripts.

mod faulty; // runners that die, hang and lie
mod honest; // runners that do their work
mod real; // the real runner

use pinfold::{Job, Pinfold, PinfoldBuilder, job};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for any machine, and short enough not to wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Far below what the fake runners sleep.
const GRACE: Duration = Duration::from_millis(300);

/// A directory of one test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pinfold-library-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A runner that is a shell script. `$scratch` is this directory, `read_job` reads the job and
    /// sets `$id`, and `answer STATUS [MORE]` prints a result.
    fn runner(&self, script: &str) -> PinfoldBuilder {
        self.runner_that_sweeps(script, "exit 0")
    }

    /// The same, and what it does for `--sweep` before the rest of it runs.
    fn runner_that_sweeps(&self, script: &str, sweep: &str) -> PinfoldBuilder {
        let text = format!(
            r#"#!/bin/sh
scratch='{}'
echo "$$ $*" >> "$scratch/started"
case "$*" in *--sweep*) {sweep} ;; esac
read_job() {{ cat > "$scratch/job"; id=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$scratch/job"); }}
isolation='{{"namespaces":[],"seccomp":null,"landlock":null,"cgroup":null,"memory":"none","pids":"none","cpu":"none","workspace":"none","groups":"none"}}'
usage='{{"wall_ms":1,"user_ms":null,"system_ms":null,"throttled_ms":null,"peak_memory_bytes":null,"peak_pids":null,"oom_kills":null,"read_bytes":null,"written_bytes":null,"setup_ms":null,"teardown_ms":null}}'
answer() {{
    echo "{{\"version\":1,\"id\":\"$id\",\"signal\":null,\"stdout\":\"${{stdout:-}}\",\"stderr\":\"\",\"stdout_bytes\":${{bytes:-0}},\"stderr_bytes\":0,\"stdout_truncated\":false,\"stderr_truncated\":false,\"usage\":$usage,\"isolation\":$isolation,\"status\":\"$1\",${{2:-\"exit_code\":0,\"error\":null}}}}"
}}
{script}
"#,
            self.0.display()
        );
        // Written by another process: had this one the script open for writing while another test's thread starts a runner,
        // the copy of the descriptor would make execve(2) fail with ETXTBSY.
        let path = self.path("runner");
        let mut shell = Command::new("sh")
            .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
            .arg(&path)
            .stdin(ProcessStdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        Pinfold::builder().runner(path).grace(GRACE)
    }

    /// The process ids of the runners that were started, sweeps included.
    fn started(&self) -> Vec<String> {
        self.read("started").lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn fake(scratch: &Scratch, script: &str) -> Pinfold {
    scratch.runner(script).build().unwrap()
}

fn anything() -> Job {
    job(["true"]).build().unwrap()
}

/// Waits until `condition` holds; the test fails if it never does.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Not even a zombie is left of a process.
fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
}
