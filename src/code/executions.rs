//! The executions of a backend: how many go on, and the word that ends them all.

use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Executions {
    /// How often everything was ended.
    ended: watch::Sender<u64>,
    /// How many go on.
    running: watch::Sender<usize>,
}

impl Executions {
    pub(super) fn new() -> Self {
        Self { ended: watch::Sender::new(0), running: watch::Sender::new(0) }
    }

    /// Counts one for as long as what comes back lives.
    pub(super) fn begin(&self) -> Running {
        self.running.send_modify(|count| *count += 1);
        Running(self.running.clone())
    }

    /// Changes when everything is to end.
    pub(super) fn end(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Ends all, and waits until none goes on.
    pub(super) async fn end_all(&self) {
        let mut running = self.running.subscribe();
        self.ended.send_modify(|count| *count += 1);
        // What begins meanwhile is none of those that were to be ended, and is waited for all the same.
        let _sender_lives = running.wait_for(|count| *count == 0).await;
    }
}

/// An execution that goes on.
pub(super) struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
