//! Commands whose output comes as events while they run, and whose result is the last one. The stream is the command's: it is
//! not kept anywhere, so whoever loses the connection has ended the command. What nobody may miss is for `detached`.

use super::logs::events;
use super::run::{Where, claimed};
use super::sandboxes::{Exec, job as command};
use crate::server::answer::{Kind, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{JobJson, Json, NoQuery};
use crate::server::bounded::STALL;
use crate::server::call::Call;
use crate::server::policy::For;
use crate::server::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::Method;
use pinfold::{Content, Outcome, SandboxStderr, SandboxStdout, Stdin, Stdio};
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// How often whoever listens is told that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many pieces wait for a client.
const PIECES: usize = 4;
/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;
/// Its stdin is the job's, and its output is ours to pass on.
const STDIO: Stdio = Stdio::Live { stdin: Stdin::Job };

/// Events of a command.
#[derive(Debug)]
struct Live;

impl Kind for Live {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)] = &[(
        200,
        "Events `stdout` and `stderr`, each with its `content`, as they come; the last one is `result`, or `error`.",
        Some("text/event-stream"),
    )];
}

pub(in crate::server) fn add(api: &mut Api) {
    let about = About("runEvents", "Run a command in a fresh sandbox, and follow it by server-sent events");
    api.add(&Method::POST, "/v1/run/events", about, run);
    let about = About("execEvents", "Run a command in a sandbox, and follow it by server-sent events");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/exec/events", about, exec);
}

async fn run(call: Call, query: Where, JobJson(json): JobJson) -> Result<Whole<Live>, Problem> {
    let job = call.shared.policy.job(&json, For::Run)?;
    drop(json);
    let share = call.command()?;
    let (job, in_use) = claimed(&call, query, job).await?;
    let mut sandbox = call.shared.pinfold.spawn(job, STDIO).await?;
    let streams = (sandbox.take_stdout(), sandbox.take_stderr());
    let end = async move { Ok(sandbox.wait().await?) };
    Ok(follow(call, streams, end, |_| {}, (share, in_use)))
}

async fn exec(call: Call, _: NoQuery, Json(exec): Json<Exec>) -> Result<Whole<Live>, Problem> {
    let job = command(&call, exec)?;
    let share = call.command()?;
    let (held, cap) = (call.held().await?, job.limits.output_bytes);
    let mut running = held.spawn(job, STDIO).await?;
    let streams = (running.take_stdout(), running.take_stderr());
    let meter = running.meter();
    let end = async move { Ok(running.wait().await?) };
    Ok(follow(call, streams, end, move |outcome| meter.tell(outcome, cap), share))
}

type Streams = (Option<SandboxStdout>, Option<SandboxStderr>);

/// Answers with what comes, and with the end, to which `complete` adds what is known when all was read. When nobody listens
/// any more, or may, `end` is dropped, and with it the command.
fn follow(
    call: Call,
    streams: Streams,
    end: impl Future<Output = Result<Outcome, Problem>> + Send + 'static,
    complete: impl FnOnce(&mut Outcome) + Send + 'static,
    claims: impl Send + 'static,
) -> Whole<Live> {
    let (pieces, stream) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let _claims = claims;
        let mut teller = Teller { call: &call, pieces: &pieces, told: 0 };
        tokio::select! {
            _gone = teller.tell(streams, end, complete) => {}
            () = call.withdrawn() => {}
            () = pieces.closed() => {}
        }
    });
    events(Body::from_stream(ReceiverStream::new(stream))).into()
}

struct Teller<'a> {
    call: &'a Call,
    pieces: &'a mpsc::Sender<Result<Bytes, Infallible>>,
    /// The number of the last event.
    told: u64,
}

impl Teller<'_> {
    /// Tells all until the end. `None` when nobody takes it.
    async fn tell(
        &mut self,
        (stdout, stderr): Streams,
        end: impl Future<Output = Result<Outcome, Problem>>,
        complete: impl FnOnce(&mut Outcome),
    ) -> Option<()> {
        let (mut stdout, mut stderr) = (Source::new(stdout), Source::new(stderr));
        let (mut end, mut ended) = (pin!(end), None);
        // Whoever waits sees at once that it was begun.
        self.send(": begun\n\n".to_owned()).await?;
        while ended.is_none() || stdout.is_open() || stderr.is_open() {
            let (name, bytes) = tokio::select! {
                bytes = stdout.next() => ("stdout", bytes),
                bytes = stderr.next() => ("stderr", bytes),
                outcome = &mut end, if ended.is_none() => {
                    ended = Some(outcome);
                    continue;
                }
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.send(": heartbeat\n\n".to_owned()).await?;
                    continue;
                }
            };
            if !bytes.is_empty() {
                self.event(name, &json!({"content": Content(bytes)})).await?;
            }
        }
        match ended? {
            Ok(mut outcome) => {
                complete(&mut outcome);
                self.event("result", &outcome).await
            }
            Err(problem) => self.refuse(problem).await,
        }
    }

    /// Tells why there is no result.
    async fn refuse(&mut self, problem: Problem) -> Option<()> {
        let owner = &self.call.owner;
        let mut problem = problem.renamed(|text| owner.as_named(text));
        if let Some(cause) = problem.cause.take() {
            self.call.shared.journal.tell("error", "stream", json!({"owner": owner.name, "cause": cause}));
        }
        self.event("error", &problem.json(None)).await
    }

    async fn event(&mut self, name: &str, data: &impl Serialize) -> Option<()> {
        self.told += 1;
        let json = serde_json::to_string(data).ok()?;
        self.send(format!("id: {}\nevent: {name}\ndata: {json}\n\n", self.told)).await
    }

    async fn send(&self, piece: String) -> Option<()> {
        timeout(STALL, self.pieces.send(Ok(piece.into()))).await.ok()?.ok()
    }
}

/// One stream of a command.
struct Source<S> {
    /// `None` at its end.
    stream: Option<S>,
    chunk: Vec<u8>,
    /// The beginning of a character whose rest has not come yet.
    kept: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Source<S> {
    fn new(stream: Option<S>) -> Self {
        Self { stream, chunk: vec![0; CHUNK], kept: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// What has come, in whole characters where it is text. Loses nothing when dropped halfway.
    async fn next(&mut self) -> Vec<u8> {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        let length = stream.read(&mut self.chunk).await.unwrap_or(0);
        if length == 0 {
            self.stream = None;
            return std::mem::take(&mut self.kept);
        }
        self.kept.extend_from_slice(&self.chunk[..length]);
        let rest = self.kept.split_off(whole(&self.kept));
        std::mem::replace(&mut self.kept, rest)
    }
}

/// How many of these bytes are not the beginning of a character that goes on.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_character_is_cut_and_no_byte_is_lost() {
        let text = "gr\u{fc}n \u{1f331} ".repeat(20_000);
        let mut source = Source::new(Some(text.as_bytes()));
        let mut all = String::new();
        while source.is_open() {
            all += &String::from_utf8(source.next().await).expect("whole characters");
        }
        assert_eq!(all, text);
        for (bytes, expected) in [(&b"a\xff\xc3"[..], 3), (b"a\xc3", 1), (b"\xf0\x9f\x8c", 0), (b"", 0)] {
            assert_eq!(whole(bytes), expected, "{bytes:?}");
        }
        let mut cut = Source::new(Some(&b"a\xc3"[..]));
        assert_eq!((cut.next().await, cut.next().await, cut.is_open()), (b"a".to_vec(), b"\xc3".to_vec(), false));
    }
}
