//! A build's log while it runs: rows come from the command's streams and from us, and are written to the store in batches.
//! Whoever writes faster than the store takes is held up; what is above the caps is read and dropped.

use super::attempt::patiently;
use super::builds::Builds;
use super::clock::Moment;
use super::error::Error;
use super::lines::{Budget, Lines};
use super::plan::PlanBounds;
use super::record::{NewRow, Stream};
use super::store::Claim;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many rows wait at most.
const WAITING: usize = 256;

/// How long rows are gathered before they are written.
const GATHERED: Duration = Duration::from_millis(30);

/// Where rows go.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    rows: mpsc::Sender<NewRow>,
    line_bytes: usize,
}

/// What writes them.
pub(crate) type Writer = JoinHandle<Result<(), Error>>;

impl Log {
    /// Begins the log of a claim. The writer ends when the last clone of the log is dropped, or when a row could not be
    /// written.
    pub(crate) fn begin(builds: Builds, claim: Arc<Claim>, bounds: PlanBounds) -> (Self, Writer) {
        let (rows, receiver) = mpsc::channel(WAITING);
        let writer = tokio::spawn(write(builds, claim, receiver, Budget::new(bounds.log_bytes)));
        (Self { rows, line_bytes: bounds.line_bytes }, writer)
    }

    /// Says something of the build.
    pub(crate) async fn say(&self, phase: Option<&str>, text: impl Into<String>) {
        self.add(phase, Stream::System, text.into(), false).await;
    }

    async fn add(&self, phase: Option<&str>, stream: Stream, text: String, truncated: bool) {
        let phase = phase.map(str::to_owned);
        let row = NewRow { time_us: Moment::now().wall_us, phase, stream, text, truncated };
        // A writer that has ended has its reasons, which it tells at the end.
        let _told_later = self.rows.send(row).await;
    }

    /// Reads a stream to its end.
    pub(crate) async fn read(self, phase: String, stream: Stream, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let (mut lines, mut buffer) = (Lines::new(self.line_bytes), vec![0; 32 << 10]);
        let mut ended = Vec::new();
        // An error is an end too.
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            lines.push(&buffer[..count], |text, truncated| ended.push((text, truncated)));
            for (text, truncated) in ended.drain(..) {
                self.add(Some(&phase), stream, text, truncated).await;
            }
        }
        if let Some((text, truncated)) = lines.rest() {
            self.add(Some(&phase), stream, text, truncated).await;
        }
    }
}

async fn write(
    builds: Builds,
    claim: Arc<Claim>,
    mut rows: mpsc::Receiver<NewRow>,
    mut budget: Budget,
) -> Result<(), Error> {
    let mut batch = Vec::new();
    while let Some(row) = rows.recv().await {
        batch.extend(budget.admit(row));
        gather(&mut rows, &mut budget, &mut batch).await;
        if batch.is_empty() {
            continue;
        }
        let (written, claim, is_cut) = (std::mem::take(&mut batch), claim.clone(), budget.is_used_up());
        let append = move |builds: &Builds| patiently(&|| (), || builds.store().append(&claim, &written, is_cut));
        builds.blocking(append).await?;
        builds.wake();
    }
    Ok(())
}

/// Takes what else comes within a moment.
async fn gather(rows: &mut mpsc::Receiver<NewRow>, budget: &mut Budget, batch: &mut Vec<NewRow>) {
    let moment = tokio::time::sleep(GATHERED);
    tokio::pin!(moment);
    while batch.len() < WAITING {
        tokio::select! {
            row = rows.recv() => match row {
                Some(row) => batch.extend(budget.admit(row)),
                None => return,
            },
            () = &mut moment => return,
        }
    }
}
