//! Checkpoints of a workspace while sandboxes work in it: they stand still for the moment.

use super::client::{Held, Sandboxes};
use super::connect::Line;
use super::error::Error;
use super::wire::{Reply, Request};
use crate::checkpoint::{self, New, Retention};
use crate::workspace::{Freezer, Saved, Store};
use std::io;
use std::time::{Duration, Instant};

/// How long to stop everybody takes at most, with a queue before it.
const LONGEST: Duration = Duration::from_secs(30);

/// For so long somebody is asked again, who is just starting a command.
const AGAIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

impl Sandboxes {
    /// Saves the files of a workspace, as [`Checkpoints::save`](crate::workspace::Checkpoints::save) does, or while
    /// sandboxes of these work in it: their processes stand still while what was written is copied, for a minute at most,
    /// and go on with their open files and directories. Such a sandbox must have been started when the workspace had
    /// checkpoints already, or with [`Spec::with_checkpoints`](super::Spec::with_checkpoints).
    ///
    /// # Errors
    /// [`Error::Busy`](crate::workspace::Error::Busy) when somebody else works in it, or a sandbox that was started
    /// otherwise; [`Freeze`](checkpoint::Error::Freeze).
    pub fn save(
        &self,
        store: &Store,
        id: &str,
        new: &New,
        retention: Option<Retention>,
    ) -> Result<Saved, checkpoint::Error> {
        let there = || self.in_workspace(store.state(), id).unwrap_or_default();
        let held = there();
        if held.is_empty() {
            return store.checkpoints(id).save(new, retention);
        }
        match store.checkpoints(id).save_live(new, retention, &mut Stillness::of(held)) {
            // They have ended meanwhile.
            Err(checkpoint::Error::Freeze { .. }) if there().is_empty() => store.checkpoints(id).save(new, retention),
            saved => saved,
        }
    }
}

/// Held sandboxes that stand still from `freeze` to `thaw`, or until this is dropped, by whatever.
#[derive(Debug)]
struct Stillness {
    held: Vec<Held>,
    lines: Vec<Line>,
}

impl Stillness {
    fn of(held: Vec<Held>) -> Self {
        Self { held, lines: Vec::new() }
    }
}

impl Freezer for Stillness {
    fn freeze(&mut self) -> io::Result<()> {
        for held in &self.held {
            match freeze(held) {
                Ok(line) => self.lines.push(line),
                Err(error) => {
                    self.lines.clear();
                    return Err(in_words(error));
                }
            }
        }
        Ok(())
    }

    fn thaw(&mut self) -> io::Result<()> {
        let thaw = |(line, held): (Line, &Held)| match line.ask(&Request::Thaw, held.name(), LONGEST) {
            Ok(Reply::Thawed) => Ok(()),
            Ok(_) => Err(held.answers_otherwise()),
            Err(error) => Err(error),
        };
        // Each of them, whatever comes of the others.
        let thawed: Vec<_> = self.lines.drain(..).zip(&self.held).map(thaw).collect();
        thawed.into_iter().collect::<Result<(), Error>>().map_err(in_words)
    }
}

/// Those of one sandbox stand still for as long as the connection is open.
fn freeze(held: &Held) -> Result<Line, Error> {
    let start = Instant::now();
    loop {
        let line = held.line()?;
        match line.ask(&Request::Freeze, held.name(), LONGEST) {
            Ok(Reply::Frozen) => return Ok(line),
            Ok(_) => return Err(held.answers_otherwise()),
            Err(Error::Failed(failure)) if failure.code == "freeze" && start.elapsed() < AGAIN => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn in_words(error: Error) -> io::Error {
    io::Error::other(error.into_failure().message)
}
