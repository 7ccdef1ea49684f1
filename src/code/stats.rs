//! How many executions there were and how they ended: five figures that always add up.

use super::time;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many executions there were. A request that was refused before anything ran is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// All that have ended: the sum of the next two.
    pub total_executions: u64,
    /// Those whose program ended with exit code 0.
    pub successful_executions: u64,
    /// All others.
    pub failed_executions: u64,
    /// Those among the failed whose time ran out.
    pub timeout_executions: u64,
    /// How long they took, added up, in nanoseconds.
    #[serde(serialize_with = "time::nanoseconds")]
    pub total_duration: Duration,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Success,
    Failure,
    Timeout,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<Mutex<Stats>>);

/// An execution that goes on. One that is dropped before its end was cancelled, and has failed.
#[derive(Debug)]
pub(super) struct Counted {
    counter: Counter,
    start: Instant,
    ended: Ended,
}

impl Counter {
    pub(super) fn begin(&self) -> Counted {
        Counted { counter: self.clone(), start: Instant::now(), ended: Ended::Failure }
    }

    pub(super) fn stats(&self) -> Stats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    pub(super) fn end(mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut stats = self.counter.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.total_executions += 1;
        match self.ended {
            Ended::Success => stats.successful_executions += 1,
            Ended::Failure => stats.failed_executions += 1,
            Ended::Timeout => {
                stats.failed_executions += 1;
                stats.timeout_executions += 1;
            }
        }
        stats.total_duration = stats.total_duration.saturating_add(self.start.elapsed());
    }
}
