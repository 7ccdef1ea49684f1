//! From the settings to the last connection: what is set up before anybody is let in, and in which order all of it ends.

use super::connection::accept;
use super::guard::{no_method, no_route};
use super::listen::Listener;
use super::routes;
use super::state::{Phase, Shared};
use super::tokens::Tokens;
use pinfold::service::{Settings, notify, state_directory};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::json;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// The name of the file with the first token, in the state directory.
const TOKENS: &str = "server.tokens";
/// Threads that block: those of calls, of files that are read, and some of the library's own.
const THREADS: usize = 256;
/// How long the end may take when all is said, and how often it is looked at.
const LAST: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// Serves until a signal comes, and what is at work then to its end, or to the end of its time.
///
/// # Errors
/// In words.
pub(crate) fn run(settings: Settings, handed: Vec<OwnedFd>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 8)))
        .max_blocking_threads(THREADS)
        .build()
        .map_err(|error| format!("failed to start: {error}"))?;
    let served = runtime.block_on(serve(settings, handed));
    // Not a drop, which would wait for threads that wait for clients.
    runtime.shutdown_background();
    served
}

async fn serve(settings: Settings, handed: Vec<OwnedFd>) -> Result<(), String> {
    let caught = |error: std::io::Error| format!("failed to catch signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(caught)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(caught)?;
    let listeners = Listener::all(&settings.listen, handed, settings.token_file.is_some())?;
    let tokens = match &settings.token_file {
        Some(path) => Tokens::read(path)?,
        None => Tokens::first(&state_directory().map_err(|error| error.to_string())?.join(TOKENS))?,
    };
    let (router, document) = routes::table().finish();
    let (drain, places) = (settings.drain, Arc::new(Semaphore::new(settings.max_connections)));
    let shared = Arc::new(Shared::new(settings, tokens, document)?);
    let router = router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(shared.clone());
    let (listening, connections) = (TaskTracker::new(), TaskTracker::new());
    for listener in listeners {
        shared.journal.tell("info", "listening", json!({"place": listener.place()}));
        listening.spawn(accept(listener, shared.clone(), router.clone(), places.clone(), connections.clone()));
    }
    notify("READY=1");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notify("STOPPING=1");
    shared.journal.tell("info", "draining", json!({"deadline_seconds": drain.as_secs()}));
    shared.phase.send_replace(Phase::Draining);
    // First of all, so that the socket is gone and nobody new is counted on.
    listening.close();
    listening.wait().await;
    connections.close();
    let why = tokio::select! {
        () = connections.wait() => "done",
        () = tokio::time::sleep(drain) => "deadline",
        _ = terminate.recv() => "signal",
        _ = interrupt.recv() => "signal",
    };
    shared.journal.tell("info", "ended", json!({"why": why, "given_up": connections.len()}));
    shared.phase.send_replace(Phase::Ending);
    // Whatever is given up takes its sandboxes with it.
    let deadline = Instant::now() + LAST;
    while has_children() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    shared.journal.flush();
    Ok(())
}

/// Whether a runner is there still. Keepers of sandboxes that live on are no children.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}
