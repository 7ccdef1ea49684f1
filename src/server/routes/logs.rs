//! The log of a sandbox: its lines so far, and an event for each line as it comes. An event's id names the sandbox and the
//! line, so that whoever lost the connection goes on where it was, and not in the log of another sandbox of that name.

use crate::server::answer::{Data, Kind, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{NoQuery, Nothing};
use crate::server::bounded::STALL;
use crate::server::call::{Call, Share};
use crate::server::problem::Problem;
use crate::server::schema;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pinfold::held::{Error, Follower, Held, LogLine, LogReader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How many lines one call tells.
const LINES: usize = 1000;
/// How often whoever follows is told that the connection lives.
const HEARTBEAT: u32 = 15;
/// How often it is seen whether anybody follows still.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is seen whether a sandbox has ended that is about to.
const SOON: Duration = Duration::from_millis(10);
/// How many pieces wait for a client.
const PIECES: usize = 16;
/// As much is told in one piece.
const PIECE: usize = 32 << 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct After {
    /// Only lines after the one of this number.
    #[serde(default)]
    after: u64,
    /// At most so many lines (1000, if it is left out).
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Log {
    /// The sandbox's id.
    id: String,
    /// The lines, each with its number.
    #[schemars(schema_with = "schema::objects")]
    lines: Vec<LogLine>,
    /// Whether there are more.
    more: bool,
}

/// Events.
#[derive(Debug)]
pub(super) struct Events;

impl Kind for Events {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)] = &[
        (200, "An event `log` for each line, and a last one, `end`.", Some("text/event-stream")),
        (204, "There are no more: `Last-Event-ID` was that of the last event.", None),
    ];
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, "/v1/sandboxes/{sandbox}/logs", About("logs", "The lines of a sandbox's log"), lines);
    let about = About("followLogs", "Follow a sandbox's log by server-sent events");
    api.add(&Method::GET, "/v1/sandboxes/{sandbox}/logs/events", about, follow);
}

async fn lines(call: Call, query: After, _: Nothing) -> Result<Data<Log>, Problem> {
    let name = call.owner.sandbox(call.parameter("sandbox"))?;
    let most = Problem::unless_within("limit", query.limit, 1..=LINES)?.unwrap_or(LINES);
    let log = call.blocking(move |shared, _| {
        let mut reader = shared.sandboxes.logs(name.as_str())?;
        let id = reader.record().id.clone();
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            if line.number <= query.after {
                continue;
            }
            if lines.len() == most {
                return Ok(Log { id, lines, more: true });
            }
            lines.push(line);
        }
        Ok(Log { id, lines, more: false })
    });
    Ok(Data(log.await?))
}

async fn follow(call: Call, _: NoQuery, _: Nothing) -> Result<Whole<Events>, Problem> {
    let name = call.owner.sandbox(call.parameter("sandbox"))?;
    let share = call.stream()?;
    let reader = call.blocking(move |shared, _| Ok(shared.sandboxes.logs(name.as_str())?)).await?;
    let id = reader.record().id.clone();
    let last = call.headers.get("last-event-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Of another sandbox, one that had the name before, nothing was told.
    let told = last.strip_prefix(&id).and_then(|rest| rest.strip_prefix('-')).unwrap_or("0");
    if told == END {
        return Ok(StatusCode::NO_CONTENT.into_response().into());
    }
    let after = told.parse().unwrap_or(0);
    let (pieces, stream) = mpsc::channel(PIECES);
    let follows = Follows { reader, id, after, pieces, runtime: Handle::current(), call };
    // A thread of its own: for as long as it follows, which may be days, it would keep others from theirs.
    let thread = std::thread::Builder::new().name("follow".to_owned());
    let started = thread.spawn(move || follows.run(&share));
    started.map_err(|error| Problem::ours("io", error.to_string()))?;
    Ok(events(Body::from_stream(ReceiverStream::new(stream))).into())
}

/// A stream of events, which nobody may keep.
pub(in crate::server) fn events(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy that collects pieces would keep them from whoever waits.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// What stands in the id of the last event, in the place of a number.
const END: &str = "end";

struct Follows {
    reader: LogReader,
    id: String,
    after: u64,
    pieces: mpsc::Sender<Result<Bytes, Infallible>>,
    runtime: Handle,
    call: Call,
}

impl Follows {
    fn run(mut self, _share: &Share) {
        // Nobody to tell, when the client is gone: it will ask again, and go on where it was.
        let _gone = self.tell();
    }

    /// Tells line by line until the sandbox's end. `None` when nobody listens any more, or may.
    fn tell(&mut self) -> Option<()> {
        self.send("retry: 1000\n\n".to_owned())?;
        loop {
            // Before the log is read to its end, so that nothing is missed.
            let follower = match self.reader.follow() {
                Ok(follower) => follower,
                Err(Error::Timeout { .. } | Error::Busy { .. }) => None,
                Err(_unreachable) => return None,
            };
            self.rest()?;
            let Some(follower) = follower else {
                self.await_last()?;
                let words = format!("id: {}-{END}\nevent: end\ndata: {{}}\n\n", self.id);
                return self.send(words);
            };
            while self.wait(&follower)? {
                self.rest()?;
            }
        }
    }

    /// Tells what a sandbox that is about to end still writes: nobody can follow it by then, and its record goes when all is
    /// written.
    fn await_last(&mut self) -> Option<()> {
        let name = self.reader.record().name.clone();
        let deadline = Instant::now() + STALL;
        let lives = |held: Result<Held, Error>| held.is_ok_and(|held| held.id() == self.id);
        while Instant::now() < deadline && lives(self.call.shared.sandboxes.get(name.as_str())) {
            std::thread::sleep(SOON);
        }
        self.rest()
    }

    /// Waits for more; false when there never will be.
    fn wait(&mut self, follower: &Follower) -> Option<bool> {
        for look in 1.. {
            if let Some(is_more) = follower.wait_at_most(LOOK) {
                return Some(is_more);
            }
            if self.pieces.is_closed() || !self.call.goes_on() {
                return None;
            }
            if look % HEARTBEAT == 0 {
                self.send(": heartbeat\n\n".to_owned())?;
            }
        }
        None
    }

    /// Tells all lines that are there.
    fn rest(&mut self) -> Option<()> {
        let mut piece = String::new();
        while let Some(line) = self.reader.next_line().ok()? {
            if line.number <= self.after {
                continue;
            }
            self.after = line.number;
            let json = serde_json::to_string(&line).ok()?;
            piece += &format!("id: {}-{}\nevent: log\ndata: {json}\n\n", self.id, line.number);
            if piece.len() >= PIECE {
                self.send(std::mem::take(&mut piece))?;
            }
        }
        if piece.is_empty() { Some(()) } else { self.send(piece) }
    }

    fn send(&mut self, piece: String) -> Option<()> {
        let sent = async { tokio::time::timeout(STALL, self.pieces.send(Ok(piece.into()))).await };
        self.runtime.block_on(sent).ok()?.ok()
    }
}
