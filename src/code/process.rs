//! The backend that isolates nothing: processes of this host, with its files and its network, for code that is trusted. It
//! holds the wall clock and the output, and no other limit.

use super::backend::{Backend, BackendFuture, Bounded, Task};
use super::error::CodeError;
use super::executions::Executions;
use super::result::{CodeResult, Ended, Phased};
use super::scratch::{Place, Scratch};
use pinfold_runner::Content;
use rustix::process::{Pid, Signal, WaitIdOptions, kill_process_group};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Where a compiler leaves what it makes, beside the code.
const OUTPUT: &str = ".pinfold";
/// How long output is waited for when the program has ended and its group was killed: what left the group may hold it open.
const DRAIN: Duration = Duration::from_millis(500);

/// The backend `process`.
#[derive(Debug)]
pub struct ProcessBackend {
    executions: Executions,
}

impl ProcessBackend {
    pub(super) fn new() -> Self {
        Self { executions: Executions::new() }
    }

    async fn run(&self, task: Task) -> Result<CodeResult, CodeError> {
        let start = Instant::now();
        let mut ended = self.executions.end();
        let place = Scratch::open().and_then(|scratch| scratch.place()).map_err(CodeError::system("make a folder"))?;
        write(&place, &task).map_err(CodeError::system("write the code"))?;
        let output = place.path().join(OUTPUT).to_string_lossy().into_owned();
        let most = task.config.output_bytes();
        let mut compiled = None;
        if let Some(compiler) = task.compile(&output) {
            let phased = process(compiler, &Content::default(), place.path(), most, &mut ended).await?;
            let is_done = phased.success;
            compiled = Some(phased);
            if !is_done {
                return task.result(self, start, compiled, None);
            }
        }
        let run = process(task.run(&output), &task.stdin, place.path(), most, &mut ended).await?;
        task.result(self, start, compiled, Some(run))
    }
}

impl Backend for ProcessBackend {
    fn name(&self) -> &'static str {
        "process"
    }

    fn isolates(&self) -> bool {
        false
    }

    fn execute(&self, task: Task) -> BackendFuture<'_, Result<CodeResult, CodeError>> {
        Box::pin(async move {
            let _running = self.executions.begin();
            self.run(task).await
        })
    }

    fn cleanup(&self) -> BackendFuture<'_, ()> {
        Box::pin(self.executions.end_all())
    }
}

/// A process group that dies with this.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = kill_process_group(self.0, Signal::KILL);
    }
}

async fn process(
    bounded: Bounded,
    stdin: &Content,
    directory: &Path,
    most: u64,
    ended: &mut watch::Receiver<u64>,
) -> Result<Phased, CodeError> {
    let start = Instant::now();
    let failed = CodeError::system("start a process");
    let mut child = command(&bounded, directory).spawn().map_err(&failed)?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let group = Group(pid);
    feed(&mut child, stdin.clone());
    let streams = [keep(child.stdout.take(), most), keep(child.stderr.take(), most)];
    // Waited for and not reaped: until its group was killed nobody else may have its number.
    let waited = tokio::task::spawn_blocking(move || {
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    });
    let cut_short = tokio::select! {
        _ = waited => None,
        () = tokio::time::sleep(bounded.timeout) => Some(Ended::TimedOut),
        _ = ended.changed() => { ended.mark_changed(); Some(Ended::Cancelled) }
    };
    drop(group);
    let status = child.wait().await.map_err(CodeError::system("wait for a process"))?;
    let by_itself = || match status.code() {
        Some(code) => Ended::Exited(code),
        None => Ended::Signaled(status.signal().unwrap_or_default()),
    };
    let [stdout, stderr] = streams;
    let deadline = tokio::time::Instant::now() + DRAIN;
    let kept = [stdout.end(deadline).await, stderr.end(deadline).await];
    Ok(Phased::unconfined(cut_short.unwrap_or_else(by_itself), kept, start.elapsed()))
}

fn command(bounded: &Bounded, directory: &Path) -> Command {
    let mut command = Command::new(&bounded.command[0]);
    command.args(&bounded.command[1..]).current_dir(directory).env_clear();
    command.env("HOME", directory).env("LANG", "C.UTF-8").envs(&bounded.env);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

fn feed(child: &mut Child, content: Content) {
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            // A program need not read what it is given.
            let _unread = stdin.write_all(content.as_bytes()).await;
        });
    }
}

/// A stream that is read to its end, of which the beginning is kept.
struct Kept {
    so_far: std::sync::Arc<std::sync::Mutex<(Vec<u8>, bool)>>,
    reader: tokio::task::JoinHandle<()>,
}

fn keep(stream: Option<impl AsyncRead + Unpin + Send + 'static>, most: u64) -> Kept {
    let so_far = std::sync::Arc::new(std::sync::Mutex::new((Vec::new(), false)));
    let shared = so_far.clone();
    let reader = tokio::spawn(async move {
        let (Some(mut stream), most) = (stream, usize::try_from(most).unwrap_or(usize::MAX)) else { return };
        let mut chunk = vec![0; 64 << 10];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            let mut kept = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = length.min(most - kept.0.len());
            kept.0.extend_from_slice(&chunk[..room]);
            kept.1 |= room < length;
        }
    });
    Kept { so_far, reader }
}

impl Kept {
    async fn end(mut self, deadline: tokio::time::Instant) -> (Content, bool) {
        // Late or not, what there is is told.
        let _in_time = tokio::time::timeout_at(deadline, &mut self.reader).await;
        self.reader.abort();
        let mut kept = self.so_far.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (Content::from(std::mem::take(&mut kept.0)), kept.1)
    }
}

fn write(place: &Place, task: &Task) -> io::Result<()> {
    std::fs::create_dir(place.path().join(OUTPUT))?;
    for (name, content) in &task.files {
        let path = place.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content.as_bytes())?;
    }
    Ok(())
}
