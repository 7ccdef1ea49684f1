//! How a test runs a job: through the real runner, in a state directory and a range of uids of its own, so that tests
//! disturb nobody, and so that whatever a job leaves behind can be told and fails its test.

use crate::support::{is_root, is_slow, probe, runner};
use pinfold_runner::{Failure, Outcome, Status};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Long enough for any machine, and short enough not to wait for one that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// A directory of one test's own, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pinfold-it-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path as text, for a job.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn dir(&self, name: &str) -> String {
        fs::create_dir_all(self.path(name)).unwrap();
        self.text(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _nothing_to_be_done = fs::remove_dir_all(&self.0);
    }
}

/// A job in the making.
pub(crate) struct Job {
    json: Value,
    state: Scratch,
    uids: (u32, u32),
    runner: Vec<String>,
}

impl Job {
    pub(crate) fn new(command: &[&str]) -> Self {
        Self::from(json!({ "command": command }))
    }

    pub(crate) fn from(json: Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // A test binary that runs beside this one has another number; far from the range that people's jobs run in.
        let first = 0x7100_0000 + ((std::process::id() % 3800) << 16) + NEXT.fetch_add(1, Ordering::Relaxed) * 16;
        let runner = vec![runner().to_str().unwrap().to_owned()];
        let mut json = json;
        if is_slow() && json.get("command").is_some() && json.get("limits").is_none() {
            json["limits"] = json!({ "wall_ms": 90_000 });
        }
        Self { json, state: Scratch::new(), uids: (first, first + 15), runner }
    }

    /// A shell script.
    pub(crate) fn sh(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    /// A probe, mounted as the one file `/probe/NAME`.
    pub(crate) fn probe(name: &str, arguments: &[&str]) -> Self {
        let inside = format!("/probe/{name}");
        let mut command = vec![inside.as_str()];
        command.extend_from_slice(arguments);
        Self::new(&command).with_probe(name)
    }

    pub(crate) fn with_probe(self, name: &str) -> Self {
        let path = probe(name);
        self.with("mounts", json!([{ "source": path.to_str().unwrap(), "target": format!("/probe/{name}") }]))
    }

    /// Sets a field. What is an object or an array already is added to.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        match (self.json.get_mut(field), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
            (_, value) => self.json[field] = value,
        }
        self
    }

    /// Sets a field to exactly this.
    pub(crate) fn with_raw(mut self, field: &str, value: Value) -> Self {
        self.json[field] = value;
        self
    }

    pub(crate) fn limit(self, name: &str, value: impl Into<Value>) -> Self {
        let value: Value = value.into();
        self.with("limits", json!({ name: value }))
    }

    pub(crate) fn files(self, files: &[(&str, &str)]) -> Self {
        let files: Vec<_> = files.iter().map(|(path, content)| json!({"path": path, "content": content})).collect();
        self.with("files", Value::Array(files))
    }

    pub(crate) fn mount(self, source: &str, target: &str, writable: bool) -> Self {
        self.with("mounts", json!([{ "source": source, "target": target, "writable": writable }]))
    }

    /// Options of the runner, or what stands before it (`strace …`): the words that start it.
    pub(crate) fn started_by(mut self, before: &[&str], after: &[&str]) -> Self {
        let mut words: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        words.append(&mut self.runner);
        words.extend(after.iter().map(|word| (*word).to_owned()));
        self.runner = words;
        self
    }

    pub(crate) fn run(self) -> Answer {
        match WAY.get() {
            Some(way) => way(self),
            None => self.spawn().answer(),
        }
    }

    /// What is asked for, where the runner is to be started as it is.
    pub(crate) fn into_json(self) -> Value {
        assert_eq!(self.runner.len(), 1, "started in a way of its own");
        self.json
    }

    /// The job that must fail: its error.
    pub(crate) fn failure(self) -> Failure {
        let answer = self.run();
        assert_eq!(answer.outcome.status, Status::Failed, "{}", answer.json);
        answer.outcome.error.unwrap()
    }

    pub(crate) fn spawn(self) -> Running {
        self.spawn_as(|_command| {})
    }

    pub(crate) fn spawn_as(self, adjust: impl FnOnce(&mut Command)) -> Running {
        let mut command = Command::new(&self.runner[0]);
        command.args(&self.runner[1..]);
        command.env("PINFOLD_STATE_DIR", self.state.path("state"));
        command.env("PINFOLD_UIDS", format!("{}-{}", self.uids.0, self.uids.1));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        adjust(&mut command);
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            let json = serde_json::to_vec(&self.json).unwrap();
            std::thread::spawn(move || {
                let _runner_may_refuse = stdin.write_all(&json);
            });
        }
        Running { child, state: self.state, uids: self.uids, started }
    }
}

/// A runner at work.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) state: Scratch,
    uids: (u32, u32),
    started: Instant,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for the runner's answer, and looks that nothing is left.
    pub(crate) fn answer(self) -> Answer {
        let Self { child, state, uids, started } = self;
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(PATIENCE) else {
            kill(i32::try_from(pid).unwrap(), libc::SIGKILL);
            panic!("the runner did not end within {PATIENCE:?}");
        };
        let output = output.unwrap();
        let took = started.elapsed();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        let line = stdout.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: `{stdout}` `{stderr}`"));
        assert!(!line.contains('\n'), "more than one line: {line}");
        let json: Value = serde_json::from_str(line).unwrap();
        let outcome: Outcome = serde_json::from_str(line).unwrap();
        let failed = outcome.status == Status::Failed;
        assert_eq!(output.status.code(), Some(if failed { 125 } else { 0 }), "{line}");
        assert_eq!(outcome.error.is_some(), failed, "{line}");
        assert_eq!(outcome.exit_code.is_some(), outcome.status == Status::Exited, "{line}");
        assert_eq!(outcome.signal.is_some(), outcome.status == Status::Signaled, "{line}");
        let left = leftovers(&state, uids);
        assert!(left.is_empty(), "left behind: {left:?} by {line}");
        Answer { outcome, json, stderr: stderr.into_owned(), took, state }
    }

    /// Waits until the condition holds; fails the test if it never does.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        eventually(what, &mut condition);
    }

    /// The host's pid of init, the runner's only child, once it is there.
    pub(crate) fn init(&self) -> i32 {
        let mut found = None;
        eventually("init is started", || {
            found = children(self.pid()).into_iter().find(|child| !children(*child).is_empty());
            found.is_some()
        });
        found.unwrap()
    }

    /// Ends what is left after a crash by the runner's own sweep, and looks that this was enough.
    pub(crate) fn sweep(self) {
        self.try_sweep().unwrap();
    }

    /// The same, with what is left as an error.
    pub(crate) fn try_sweep(mut self) -> Result<(), String> {
        let _reaped = self.child.wait();
        let mut left = Vec::new();
        // The kernel takes its time to end what was killed; only what is left then may be counted.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let swept = Command::new(runner())
                .arg("--sweep")
                .env("PINFOLD_STATE_DIR", self.state.path("state"))
                .env("PINFOLD_UIDS", format!("{}-{}", self.uids.0, self.uids.1))
                .output()
                .unwrap();
            assert!(swept.status.success() && swept.stdout.is_empty(), "{swept:?}");
            left = leftovers(&self.state, self.uids);
            if left.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("left behind after a sweep: {left:?}"))
    }
}

/// A way to run a job other than in a sandbox of its own.
pub(crate) type Way = fn(Job) -> Answer;

thread_local! {
    /// How jobs are run in this test.
    static WAY: Cell<Option<Way>> = const { Cell::new(None) };
}

/// Does what a test does, with each of its jobs run in another way.
pub(crate) fn by(way: Way, test: fn()) {
    // Found out by a job of its own.
    let _known_from_now_on = crate::support::has_cgroups();
    WAY.set(Some(way));
    test();
}

/// Whether jobs are run in another way in this test.
pub(crate) fn is_by_another_way() -> bool {
    WAY.get().is_some()
}

/// What a job came to.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) json: Value,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    #[expect(dead_code, reason = "holds the directory until the test has looked at everything")]
    state: Scratch,
}

impl Answer {
    /// What was told of it by somebody else than its runner.
    pub(crate) fn told(json: Value, stderr: String, took: Duration) -> Self {
        let outcome = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json} {stderr}"));
        Self { outcome, json, stderr, took, state: Scratch::new() }
    }

    pub(crate) fn stdout(&self) -> String {
        self.outcome.stdout.to_text().into_owned()
    }

    /// Must have exited with 0: its stdout.
    pub(crate) fn exited(&self) -> String {
        assert_eq!((self.outcome.status, self.outcome.exit_code), (Status::Exited, Some(0)), "{}", self.json);
        self.stdout()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.exited().lines().map(str::to_owned).collect()
    }

    pub(crate) fn is(&self, status: Status) -> &Self {
        assert_eq!(self.outcome.status, status, "{}", self.json);
        self
    }
}

/// Everything of a job's that is still there: slots, cgroups, processes.
pub(crate) fn leftovers(state: &Scratch, uids: (u32, u32)) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    let slots = fs::read_dir(state.path("state")).into_iter().flatten().flatten();
    left.extend(slots.map(|slot| slot.path().display().to_string()));
    groups(Path::new("/sys/fs/cgroup"), uids, &mut left);
    let marker = state.path("state").to_str().unwrap().as_bytes().to_vec();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let ours = is_root() && entry.metadata().is_ok_and(|data| (uids.0..=uids.1).contains(&data.uid()));
        // A dead orphan is the host's init's to reap, some of which take their time.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z 1 ") || rest.starts_with(" X ")) {
            continue;
        }
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if ours || environment.windows(marker.len()).any(|window| window == marker) {
            left.push(format!("process {pid}: {:?}", fs::read_to_string(format!("/proc/{pid}/cmdline"))));
        }
    }
    left
}

fn groups(dir: &Path, uids: (u32, u32), left: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("pinfold-").and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| (uids.0..=uids.1).contains(&number)) {
            left.push(entry.path().display().to_string());
        }
        groups(&entry.path(), uids, left);
    }
}

/// Waits until the condition holds; fails the test if it never does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn kill(pid: i32, signal: i32) {
    let status = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).stderr(Stdio::null()).status();
    let _may_have_ended = status.unwrap();
}

/// The same probe without a sandbox: what it prints.
pub(crate) fn unconfined(name: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(probe(name)).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
