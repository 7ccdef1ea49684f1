//! Who looks after a build while it runs: renews its lease, and says when it is to stop.

use super::builds::Builds;
use super::clock::Moment;
use super::error::Error;
use super::state::Orders;
use super::store::Claim;
use super::worker::WorkerSettings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often it looks for orders of other processes. A build is cancelled within a second.
const LOOK: Duration = Duration::from_millis(200);

/// Why a build is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is to go on.
    No,
    /// Somebody cancelled it, or a newer snapshot came.
    Ordered,
    /// Somebody else may have it by now.
    Lost,
    /// The worker is ending, and another one is to have it.
    Drained,
}

/// Told when the build is to stop.
pub(crate) type Stops = watch::Receiver<Stop>;

/// Looks after a build until it is to stop, and then until this is dropped.
pub(crate) async fn look_after(
    builds: Builds,
    claim: Arc<Claim>,
    settings: WorkerSettings,
    stop: Arc<watch::Sender<Stop>>,
) {
    // By the monotonic clock of this process: before this, the store can't give the build to anybody else.
    let mut leased = Instant::now();
    let mut beaten = leased;
    loop {
        builds.changed_within(LOOK.min(settings.heartbeat)).await;
        let (looked, claim) = (Instant::now(), claim.clone());
        let is_beat = looked.duration_since(beaten) >= settings.heartbeat;
        let orders = builds.blocking(move |builds| ask(builds, &claim, is_beat.then_some(settings.lease))).await;
        match orders {
            Ok(orders) => {
                if is_beat {
                    (leased, beaten) = (looked, looked);
                }
                if orders.is_to_stop() {
                    tell(&stop, Stop::Ordered);
                }
            }
            Err(Error::LeaseLost { .. }) => return tell(&stop, Stop::Lost),
            // The disk may be full or slow. What can't be renewed in time is lost.
            Err(_) if leased.elapsed() >= settings.lease => return tell(&stop, Stop::Lost),
            Err(_) => {}
        }
    }
}

fn ask(builds: &Builds, claim: &Claim, renewed: Option<Duration>) -> Result<Orders, Error> {
    match renewed {
        Some(lease) => builds.store().renew(claim, lease, &Moment::now()),
        None => builds.store().orders(claim),
    }
}

/// Tells it, unless something graver was told before.
pub(crate) fn tell(stop: &watch::Sender<Stop>, why: Stop) {
    stop.send_if_modified(|told| {
        let is_graver = matches!((*told, why), (Stop::No, _) | (Stop::Ordered | Stop::Drained, Stop::Lost));
        if is_graver {
            *told = why;
        }
        is_graver
    });
}

/// Waits until the build is to stop.
pub(crate) async fn stopped(stops: &mut Stops) {
    if stops.wait_for(|stop| *stop != Stop::No).await.is_err() {
        // Nobody is left who could tell.
        std::future::pending().await
    }
}
