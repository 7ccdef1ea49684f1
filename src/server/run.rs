//! From the settings to the last connection: what is set up before anybody is let in, and in which order all of it ends.

use super::connection::accept;
use super::guard::{Hosts, no_method, no_route};
use super::listen::Listener;
use super::preview::Previews;
use super::routes;
use super::state::{Phase, Shared};
use super::tokens::Tokens;
use super::work::work;
use pinfold::service::{Settings, notify, remember_previews, state_directory};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::json;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
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
    let mut hangup = signal(SignalKind::hangup()).map_err(caught)?;
    let has_terminal = std::io::stderr().is_terminal();
    let listeners = match settings.role.answers() {
        true => Listener::all(&settings.listen, handed, settings.token_file.is_some())?,
        false => Vec::new(),
    };
    let tokens = match &settings.token_file {
        Some(path) => Tokens::read(path)?,
        None => Tokens::first(&first_tokens()?)?,
    };
    let (router, document) = routes::table().finish();
    let previews = previews(&settings, &listeners)?;
    let (drain, places) = (settings.drain, Arc::new(Semaphore::new(settings.max_connections)));
    let shared = Arc::new(Shared::new(settings, tokens, previews, document)?);
    let router = router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(shared.clone());
    let (listening, connections) = (TaskTracker::new(), TaskTracker::new());
    for listener in listeners {
        shared.journal.tell("info", "listening", json!({"place": listener.place()}));
        listening.spawn(accept(listener, shared.clone(), router.clone(), places.clone(), connections.clone()));
    }
    let mut worker = JoinSet::new();
    if shared.settings.role.works() {
        shared.journal.tell("info", "working", json!({"builds_at_once": shared.settings.workers}));
        worker.spawn(work(shared.clone()));
    }
    notify("READY=1");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // A terminal that was closed is one no longer. Every other time it is a wish.
            _ = hangup.recv() => match has_terminal && !std::io::stderr().is_terminal() {
                true => break,
                false => reload(&shared),
            },
        }
    }
    notify("STOPPING=1");
    shared.journal.tell("info", "draining", json!({"deadline_seconds": drain.as_secs()}));
    shared.phase.send_replace(Phase::Draining);
    // First of all, so that the socket is gone and nobody new is counted on.
    listening.close();
    listening.wait().await;
    connections.close();
    let all = async {
        connections.wait().await;
        while worker.join_next().await.is_some() {}
    };
    let why = tokio::select! {
        () = all => "done",
        () = tokio::time::sleep(drain) => "deadline",
        _ = terminate.recv() => "signal",
        _ = interrupt.recv() => "signal",
    };
    shared.journal.tell("info", "ended", json!({"why": why, "given_up": connections.len()}));
    shared.phase.send_replace(Phase::Ending);
    // Whatever is given up takes its sandboxes with it. Builds go back to the queue.
    let deadline = Instant::now() + LAST;
    if why != "signal" {
        let back = async { while worker.join_next().await.is_some() {} };
        let _given_up = tokio::time::timeout(LAST, back).await;
    }
    worker.shutdown().await;
    while has_children() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    shared.journal.flush();
    Ok(())
}

/// Reads the token file anew. One that can't be read changes nothing.
fn reload(shared: &Shared) {
    let path = shared.settings.token_file.clone().map_or_else(first_tokens, Ok);
    match path.and_then(|path| Tokens::read(&path)) {
        Ok(read) => {
            shared.renew(&read);
            shared.journal.tell("info", "reloaded", json!({"owners": shared.tokens().askers()}));
        }
        Err(cause) => shared.journal.tell("error", "reload", json!({"cause": cause})),
    }
}

fn first_tokens() -> Result<PathBuf, String> {
    Ok(state_directory().map_err(|error| error.to_string())?.join(TOKENS))
}

/// Where previews are: below the origin that the operator named, or `localhost` with the first port. It is written down for
/// `pinfold preview`, which makes them without asking the server.
fn previews(settings: &Settings, listeners: &[Listener]) -> Result<Previews, String> {
    let addresses = || listeners.iter().filter_map(Listener::address);
    let usual = || match addresses().next().map(|address| address.port()) {
        None | Some(80) => "http://localhost".to_owned(),
        Some(port) => format!("http://localhost:{port}"),
    };
    let origin = settings.previews.clone().unwrap_or_else(usual);
    let hosts = listeners.iter().map(|listener| Hosts::of(listener.address(), &settings.hosts));
    let names: Vec<String> = hosts.flat_map(|hosts| hosts.names().to_vec()).collect();
    let previews = Previews::new(&origin, &names)?;
    if settings.previews.is_some() || addresses().next().is_some() {
        remember_previews(&previews.origins()).map_err(|error| error.to_string())?;
    }
    Ok(previews)
}

/// Whether a runner is there still. Keepers of sandboxes that live on are no children.
fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}
