//! Connections, from accept to close: how many there may be, how long a client may take to say what it wants and to take what
//! it gets, and how they end when the server does.

use super::guard::{Guard, Hosts};
use super::listen::Listener;
use super::state::{Phase, Shared};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;

/// How long the head of a request may take, and how long a connection may do nothing.
const HEAD: Duration = Duration::from_secs(15);
/// How long a client may take none of what it asked for.
const WRITE: Duration = Duration::from_secs(60);
/// The most of a head, in bytes and in fields.
const HEAD_BYTES: usize = 32 << 10;
const HEAD_FIELDS: usize = 64;
/// How long nobody is let in after the system refused, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What whoever is one too many is told.
const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Lets clients in until the server begins to end.
pub(super) async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    router: Router,
    places: Arc<Semaphore>,
    connections: TaskTracker,
) {
    let hosts = Hosts::of(listener.address(), &shared.settings.hosts);
    let guard = Guard { shared: shared.clone(), hosts, router };
    let mut draining = pin!(shared.draining());
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            () = &mut draining => return,
        };
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                shared.journal.tell("warning", "accept", json!({"cause": error.to_string()}));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => drop(connections.spawn(serve(stream, guard.clone(), place))),
            Err(_full) => {
                shared.metrics.turned_away.fetch_add(1, Ordering::Relaxed);
                // What does not fit into the socket's buffer is not waited for.
                let _gone = tokio::time::timeout(Duration::from_millis(1), stream.write_all(TURNED_AWAY)).await;
            }
        }
    }
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn next(listener: &Listener) -> io::Result<Box<dyn Stream>> {
    Ok(match listener {
        Listener::Tcp(listener, _) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Listener::Unix(listener, _) => Box::new(listener.accept().await?.0),
    })
}

async fn serve(stream: Box<dyn Stream>, guard: Guard, place: OwnedSemaphorePermit) {
    let shared = guard.shared.clone();
    shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let guard = guard.clone();
        async move { Ok::<_, Infallible>(guard.answer(request.map(Body::new)).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).max_headers(HEAD_FIELDS);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service).with_upgrades();
    let mut connection = pin!(connection);
    // What goes wrong on a connection is between it and its client.
    let _ended = tokio::select! {
        ended = &mut connection => ended,
        () = shared.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = shared.reached(Phase::Ending) => Ok(()),
            }
        }
    };
    shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    drop(place);
}
