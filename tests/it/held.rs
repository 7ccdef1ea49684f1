//! Held sandboxes: what `start`, `exec`, `ps`, `stats`, `logs` and `stop` promise, and the library beneath them, to many
//! at once and to those that die.

mod agent; // the session that is documented
mod checkpoints; // saved while it works
mod commands; // exec: stdio, exit codes, limits, signals, and what it leaves behind
mod crash; // SIGKILL of everyone at many moments
mod files; // files in and out
mod hostile; // the attacks of the whole suite, and those that only such sandboxes make possible
mod logs; // what is written down, and what can't be forged
mod manager; // many sandboxes in one program
mod names; // who gets which sandbox, in whose directory
mod plain; // exec without a runtime, and what it can't do without one
mod times; // idle, ttl, and what counts as use
mod wire; // clients that are hostile, slow or gone
mod workspaces; // sandboxes in workspaces that stay

use crate::sandbox::{PATIENCE, Scratch, leftovers};
use crate::support::{self, finish};
use pinfold::held::Sandboxes;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A runtime and a state directory of one test's own. Whatever of a sandbox is left at its end fails the test.
pub(crate) struct Home {
    pub(crate) scratch: Scratch,
    number: u32,
}

impl Home {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { scratch: Scratch::new(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.scratch.path("runtime")
    }

    pub(crate) fn sandboxes(&self) -> Sandboxes {
        support::pinfold();
        Sandboxes::at(self.runtime())
    }

    fn uids(&self) -> (u32, u32) {
        let first = 0x5200_0000 + ((std::process::id() % 3000) << 16) + self.number * 32;
        (first, first + 31)
    }

    /// `pinfold ARGS` in these directories, with uids of its own.
    pub(crate) fn pinfold(&self, args: &[&str]) -> Command {
        let (first, last) = self.uids();
        let mut command = Command::new(support::pinfold());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PINFOLD_STATE_DIR", self.scratch.path("state")).env("PINFOLD_UIDS", format!("{first}-{last}"));
        command.env("PINFOLD_RUNTIME_DIR", self.runtime());
        command
    }

    /// Runs to the end: the exit code, stdout and stderr.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        finish(self.pinfold(args).spawn().unwrap())
    }

    /// Must succeed without a word: its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        support::succeeded(args, self.run(args))
    }

    /// Must fail as Pinfold's failure, in words that say this.
    pub(crate) fn fails(&self, args: &[&str], words: &str) {
        support::refused(args, self.run(args), words);
    }

    /// Starts a sandbox: its id.
    pub(crate) fn start(&self, name: &str, more: &[&str]) -> String {
        let out = self.ok(&[&["start", "--name", name], more].concat());
        out.strip_suffix('\n').unwrap().to_owned()
    }

    /// Runs a shell script in a sandbox.
    pub(crate) fn shell(&self, name: &str, script: &str) -> (i32, String, String) {
        self.run(&["exec", name, "--", "sh", "-c", script])
    }

    /// The same; it must exit with 0 without a word on stderr.
    pub(crate) fn says(&self, name: &str, script: &str) -> String {
        self.ok(&["exec", name, "--", "sh", "-c", script])
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The keeper and the runner of a sandbox.
    pub(crate) fn processes(&self, name: &str) -> (i32, i32) {
        let held = self.sandboxes().get(name).unwrap();
        (held.record().keeper.pid, held.record().runner.pid)
    }

    /// What of sandboxes is still there: processes, cgroups, slots, and all of the runtime directory but logs.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = leftovers(&self.scratch, self.uids());
        let stays = ["/workspaces", "/builds", "/threads", "/server.previews", "/server.ended"];
        left.retain(|left| stays.iter().all(|name| !left.ends_with(name)));
        let files = fs::read_dir(self.runtime()).into_iter().flatten().flatten();
        left.extend(files.filter(|file| file.file_name() != "logs").map(|file| file.path().display().to_string()));
        left
    }

    /// Nothing is left, at once.
    pub(crate) fn is_clean(&self) {
        let left = self.left();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// The next command leaves nothing, once the kernel has ended what was killed.
    pub(crate) fn next_command_cleans(&self) {
        let start = Instant::now();
        loop {
            self.ok(&["ps"]);
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the next command has not cleared away: {left:?}");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = self.run(&["stop", "--all"]);
        if !std::thread::panicking() {
            assert_eq!(stopped.0, 0, "{stopped:?}");
            self.is_clean();
        }
    }
}

/// Runs `work` on a tokio runtime of its own.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
