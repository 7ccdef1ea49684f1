//! The search for sandboxes that nobody uses.

use super::place::State;
use super::{Manager, blocking, lock};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::task::JoinHandle;

impl Manager {
    /// Ends the sandboxes that nobody has used for the idle timeout: their names. One that is in use, through this manager
    /// or by anybody else, is never ended.
    pub async fn reap_idle(&self) -> Vec<String> {
        let limit = self.state.settings.borrow().idle_timeout;
        let mut reaped = Vec::new();
        for managed in self.all() {
            // Whoever is at work has the turn; whoever comes now waits, and is then refused or finds it as it was.
            let Ok(_turn) = managed.turn.clone().try_lock_owned() else { continue };
            if lock(&managed.used).0.elapsed() < limit || managed.is_deleted.load(Ordering::Acquire) {
                continue;
            }
            let held = managed.held.clone();
            // The keeper has the last word: a command may have begun meanwhile.
            if let Ok(true) = blocking(move || held.stop_if_idle(limit)).await {
                managed.is_deleted.store(true, Ordering::Release);
                self.forget(managed.held.name(), &managed);
                reaped.push(managed.held.name().to_owned());
            }
        }
        reaped
    }

    /// Looks for idle sandboxes again and again, until what comes back is dropped.
    pub fn start_cleanup(&self) -> Cleanup {
        let state = Arc::downgrade(&self.state);
        Cleanup(tokio::spawn(clean_up(state)))
    }
}

/// Ends the search for idle sandboxes when it is dropped.
#[derive(Debug)]
#[must_use = "the search ends when this is dropped"]
pub struct Cleanup(JoinHandle<()>);

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn clean_up(state: Weak<State>) {
    let Some(mut settings) = state.upgrade().map(|state| state.settings.subscribe()) else { return };
    loop {
        let interval = settings.borrow_and_update().cleanup_interval;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            changed = settings.changed() => match changed {
                Ok(()) => continue,
                Err(_gone) => return,
            },
        }
        let Some(state) = state.upgrade() else { return };
        Manager { state }.reap_idle().await;
    }
}
