//! Who is at work in the sandbox, and since when nobody is.

use crate::workspace::record::milliseconds;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Commands that run and clients that are attached. What a command left running in the background is neither.
#[derive(Debug)]
pub(crate) struct Activity {
    running: Cell<u64>,
    attached: Cell<u64>,
    started: Cell<u64>,
    last: Cell<(Instant, SystemTime)>,
    changed: Notify,
}

/// What somebody does for as long as a [`Busy`] lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A command runs.
    Command,
    /// A client is attached to a terminal.
    Attached,
}

/// Somebody is at work until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    activity: Rc<Activity>,
    work: Work,
}

impl Activity {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            running: Cell::new(0),
            attached: Cell::new(0),
            started: Cell::new(0),
            last: Cell::new((Instant::now(), SystemTime::now())),
            changed: Notify::new(),
        })
    }

    /// Somebody begins.
    pub(crate) fn begin(self: &Rc<Self>, work: Work) -> Busy {
        self.count(work).update(|count| count + 1);
        if work == Work::Command {
            self.started.update(|count| count + 1);
        }
        self.stamp();
        Busy { activity: self.clone(), work }
    }

    fn count(&self, work: Work) -> &Cell<u64> {
        match work {
            Work::Command => &self.running,
            Work::Attached => &self.attached,
        }
    }

    fn stamp(&self) {
        self.last.set((Instant::now(), SystemTime::now()));
        self.changed.notify_waiters();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.get() + self.attached.get() == 0
    }

    /// Commands that run, commands that were ever started, clients that are attached.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.running.get(), self.started.get(), self.attached.get())
    }

    /// For how long nobody has been at work.
    pub(crate) fn idle(&self) -> Duration {
        if self.is_idle() { self.last.get().0.elapsed() } else { Duration::ZERO }
    }

    /// When somebody last began or ended, in milliseconds since 1970.
    pub(crate) fn last_used_ms(&self) -> u64 {
        milliseconds(self.last.get().1)
    }

    /// Waits until nobody has been at work for `limit`; for ever without one.
    pub(crate) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let changed = self.changed.notified();
            let deadline = self.last.get().0.checked_add(limit).filter(|_| self.is_idle());
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.count(self.work).update(|count| count - 1);
        self.activity.stamp();
    }
}
