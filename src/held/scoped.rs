//! A held sandbox that ends with a scope.

use super::client::Held;
use super::connect::Line;
use super::error::Error;
use super::stop::Stopped;
use super::wire::Request;
use std::ops::Deref;
use std::time::Duration;

/// How long a drop may wait for a keeper that has a queue.
const SHORT: Duration = Duration::from_millis(100);

/// A held sandbox that ends when this is dropped, also by a panic or a cancelled future. The drop does not wait for the
/// end; [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Scoped(Option<Held>);

impl Scoped {
    pub(super) fn new(held: Held) -> Self {
        Self(Some(held))
    }

    /// Ends it, and waits until nothing of it is left.
    ///
    /// # Errors
    /// As [`Held::stop`].
    pub fn stop(mut self) -> Result<Stopped, Error> {
        self.0.take().map_or(Ok(Stopped::AlreadyGone), |held| held.stop())
    }

    /// Lets it live on.
    pub fn keep(mut self) -> Option<Held> {
        self.0.take()
    }
}

impl Deref for Scoped {
    type Target = Held;
    fn deref(&self) -> &Held {
        match &self.0 {
            Some(held) => held,
            None => unreachable!("it is taken only by those who consume this"),
        }
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        let Some(held) = self.0.take() else { return };
        if let Ok(Some(line)) = Line::open(&held.shared.runtime, &held.shared.key, SHORT) {
            // One that is gone needs no word.
            let _gone = line.send(&Request::Stop);
        }
    }
}
