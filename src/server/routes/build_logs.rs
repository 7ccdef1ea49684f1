//! The log of a build: its rows so far, and an event for each row as it comes. Rows are kept, so that whoever lost the
//! connection gets those that came meanwhile.

use super::logs::{Events, events};
use crate::server::answer::{Data, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{NoQuery, Nothing};
use crate::server::bounded::STALL;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use pinfold::build::{Batch, Build, LogRow, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How many rows one call tells.
const ROWS: u32 = 1000;
/// How often whoever follows is told that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many pieces wait for a client.
const PIECES: usize = 4;
/// What stands in the id of the last event, in the place of a number.
const END: &str = "end";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct After {
    /// Only rows after the one of this number.
    #[serde(default)]
    after: u64,
    /// At most so many rows (1000, if it is left out).
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Log {
    /// The build's state.
    state: State,
    /// The rows, each with its `sequence`, `time_us`, `phase`, `stream`, `text`, and whether that is `truncated`.
    #[schemars(schema_with = "schema::objects")]
    rows: Vec<LogRow>,
    /// Whether there are more, or will be.
    more: bool,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, "/v1/builds/{build}/logs", About("buildLogs", "The rows of a build's log"), rows);
    let about = About("followBuildLogs", "Follow a build's log by server-sent events");
    api.add(&Method::GET, "/v1/builds/{build}/logs/events", about, follow);
}

async fn rows(call: Call, query: After, _: Nothing) -> Result<Data<Log>, Problem> {
    let id = call.parameter("build").to_owned();
    let limit = Problem::unless_within("limit", query.limit, 1..=ROWS)?.unwrap_or(ROWS);
    call.blocking(move |shared, owner| {
        // The build first: rows that were written before its end are read after it.
        let build = shared.builds.get(&owner.builds, &id)?;
        let rows = shared.builds.rows(&owner.builds, &id, query.after, limit)?;
        let last = rows.last().map_or(query.after, |row| row.sequence);
        Ok(Data(Log { state: build.state, more: !build.state.is_terminal() || last < build.log_rows, rows }))
    })
    .await
}

async fn follow(call: Call, _: NoQuery, _: Nothing) -> Result<Whole<Events>, Problem> {
    let id = call.parameter("build").to_owned();
    let share = call.stream()?;
    let build = call.blocking(move |shared, owner| Ok(shared.builds.get(&owner.builds, &id)?)).await?;
    let last = call.headers.get("last-event-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let told = last.strip_prefix(&build.id).and_then(|rest| rest.strip_prefix('-')).unwrap_or("0");
    if told == END {
        return Ok(StatusCode::NO_CONTENT.into_response().into());
    }
    let after = told.parse().unwrap_or(0);
    let (pieces, stream) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let _share = share;
        tokio::select! {
            // Nobody to tell, when the client is gone: it will ask again, and go on where it was.
            _gone = tell(&call, build, after, &pieces) => {}
            () = call.ended() => {}
            () = pieces.closed() => {}
        }
    });
    Ok(events(Body::from_stream(ReceiverStream::new(stream))).into())
}

type Pieces = mpsc::Sender<Result<Bytes, Infallible>>;

/// Tells row by row until the build's end. `None` when nobody listens any more, or the store can't be read.
async fn tell(call: &Call, mut build: Build, mut after: u64, pieces: &Pieces) -> Option<()> {
    send(pieces, format!("retry: 1000\n\n{}", state(&build))).await?;
    loop {
        let next = call.shared.builds.next_rows(&call.owner.builds, &build.id, after, Some(&build), HEARTBEAT);
        let batch = next.await.ok()?;
        after = batch.rows.last().map_or(after, |row| row.sequence);
        send(pieces, words(&build, &batch)?).await?;
        if batch.is_end {
            return Some(());
        }
        build = batch.build;
    }
}

/// A batch as events; a remark that nothing has happened, if there is none.
fn words(before: &Build, batch: &Batch) -> Option<String> {
    let (mut words, build) = (String::new(), &batch.build);
    for row in &batch.rows {
        let json = serde_json::to_string(row).ok()?;
        words += &format!("id: {}-{}\nevent: log\ndata: {json}\n\n", build.id, row.sequence);
    }
    if (before.state, &before.phase) != (build.state, &build.phase) {
        words += &state(build);
    }
    if batch.is_end {
        let data = json!({"state": build.state});
        words += &format!("id: {}-{END}\nevent: end\ndata: {data}\n\n", build.id);
    }
    Some(if words.is_empty() { ": heartbeat\n\n".to_owned() } else { words })
}

/// Where the build is. It has no id: whoever comes again is told anew.
fn state(build: &Build) -> String {
    format!("event: state\ndata: {}\n\n", json!({"state": build.state, "phase": build.phase}))
}

async fn send(pieces: &Pieces, piece: String) -> Option<()> {
    tokio::time::timeout(STALL, pieces.send(Ok(piece.into()))).await.ok()?.ok()
}
