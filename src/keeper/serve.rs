//! Clients: who they are, what they ask, and that none of them holds up another.

use super::activity::Activity;
use super::exec;
use super::freeze;
use super::link::{Link, gone};
use super::log::Log;
use super::pace::Pace;
use super::terminal::{self, Terminals};
use crate::held::terminal::ask::TerminalAsk;
use crate::held::wire::{Connection, Reply, Request};
use crate::held::{Record, Stats};
use pinfold_runner::{Ask, Failure, Notice};
use rustix::net::sockopt::socket_peercred;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

/// So many clients are served at once; each may hold some descriptors.
const MOST_CLIENTS: usize = 200;

/// How long a client may take to ask, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nobody is listened to when no descriptor is to be had.
const PAUSE: Duration = Duration::from_millis(50);

/// A held sandbox, as everything that the keeper does for it shares it.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) record: Record,
    pub(crate) link: Link,
    pub(crate) log: Log,
    pub(crate) activity: Rc<Activity>,
    pub(crate) terminals: Rc<Terminals>,
    pub(crate) pace: Rc<Pace>,
    pub(crate) began: Instant,
    /// Why the sandbox is to end, once it is.
    pub(crate) stopping: watch::Sender<Option<&'static str>>,
}

impl Keeper {
    /// Ends the sandbox. The first reason counts.
    pub(crate) fn stop(&self, reason: &'static str) {
        self.stopping.send_if_modified(|stopping| stopping.is_none().then(|| *stopping = Some(reason)).is_some());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.borrow().is_some()
    }

    fn is_idle_for(&self, limit: Duration) -> bool {
        self.activity.is_idle() && self.activity.idle() >= limit
    }

    async fn stats(&self) -> Stats {
        let asked = self.link.ask(&Ask::Figures, &Notice::Figures(Box::default())).await;
        let figures = match asked {
            Ok((Notice::Figures(figures), _)) => Some(*figures),
            _ => None,
        };
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (running, started, attached) = self.activity.counts();
        Stats {
            id: self.record.id.clone(),
            name: self.record.name.to_string(),
            created_ms: self.record.created_ms,
            last_used_ms: self.activity.last_used_ms(),
            uptime_ms: milliseconds(self.began.elapsed()),
            idle_ms: milliseconds(self.activity.idle()),
            is_active: !self.activity.is_idle(),
            running,
            started,
            attached,
            idle_limit_ms: self.record.spec.idle.map(milliseconds),
            ttl_ms: self.record.spec.ttl.map(milliseconds),
            figures,
        }
    }
}

/// Serves whoever comes, for ever.
pub(super) async fn accept(keeper: Rc<Keeper>, listener: Rc<UnixListener>) {
    let places = Rc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptor or no memory: some are given back when clients go.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(client) = Some(Connection::accepted(stream)).filter(is_ours) else { continue };
        let (keeper, places) = (keeper.clone(), places.clone());
        tokio::task::spawn_local(async move {
            let Ok(_place) = places.try_acquire() else {
                let busy = Failure::new("busy", format!("more than {MOST_CLIENTS} clients at once"));
                // A new connection has room for a message.
                let _nobody_reads = client.try_send(&Reply::Refused(busy));
                return;
            };
            serve(&keeper, &client).await;
        });
    }
}

/// Whether the same user is at the other end. The directory is closed to others; this does not rest on that alone.
fn is_ours(client: &Connection) -> bool {
    socket_peercred(client.as_fd()).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

/// Answers what one client asks, until he is gone, or says what can't be understood.
async fn serve(keeper: &Rc<Keeper>, client: &Connection) {
    while let Ok(Ok(Some(mut received))) = timeout(PATIENCE, client.receive()).await {
        let descriptors = std::mem::take(&mut received.descriptors);
        let reply = match received.read() {
            // Whoever looks for it now waits until it is gone, and may have a new one.
            Ok(Request::Hello) if keeper.is_stopping() => Reply::Refused(gone()),
            Ok(Request::Hello) => Reply::Here(Box::new(keeper.record.clone())),
            Ok(Request::Exec { job, detach: false }) => exec::attached(keeper, client, job, descriptors).await,
            Ok(Request::Exec { job, detach: true }) => exec::detached(keeper, job).await,
            Ok(Request::Stats) => Reply::Stats(Box::new(keeper.stats().await)),
            Ok(Request::Terminal(TerminalAsk::Exec { job, rows, columns })) => {
                exec::on_terminal(keeper, client, job, (rows, columns)).await
            }
            Ok(Request::Terminal(ask)) => match terminal::serve(keeper, ask, descriptors).await {
                Ok((answer, along)) => {
                    if !answer_with(client, &Reply::Terminal(answer), along).await {
                        return;
                    }
                    continue;
                }
                Err(failure) => Reply::Refused(failure),
            },
            Ok(Request::Workspace) => match keeper.link.workspace().await {
                Ok(directory) => {
                    if !answer_with(client, &Reply::Workspace, Some(directory)).await {
                        return;
                    }
                    continue;
                }
                Err(failure) => Reply::Refused(failure),
            },
            Ok(Request::Freeze) => match freeze::stand_still(&keeper.link, client).await {
                Some(reply) => reply,
                None => return,
            },
            Ok(Request::Follow) => return follow(keeper, client).await,
            Ok(Request::Stop) => return stop(keeper, client, "stopped").await,
            Ok(Request::StopIdle { idle_ms }) => match keeper.is_idle_for(Duration::from_millis(idle_ms)) {
                true => return stop(keeper, client, "idle").await,
                false => Reply::Refused(Failure::new("busy", "it is in use, or was not long ago")),
            },
            // They came too late: the command that they meant has ended, or everybody goes on by himself.
            Ok(Request::Signal { .. } | Request::Cancel | Request::Thaw) => continue,
            Err(error) => Reply::Refused(Failure::new("invalid", format!("the request can't be read: {error}"))),
        };
        if !answer(client, &reply).await {
            return;
        }
    }
}

/// Answers, if the client takes it in time.
async fn answer(client: &Connection, reply: &Reply) -> bool {
    answer_with(client, reply, None).await
}

/// The same with a descriptor.
async fn answer_with(client: &Connection, reply: &Reply, along: Option<OwnedFd>) -> bool {
    let along: Vec<_> = along.iter().map(AsFd::as_fd).collect();
    matches!(timeout(PATIENCE, client.send(reply, &along)).await, Ok(Ok(())))
}

/// Says whenever the log has grown. Several times count as one for a client who is slow.
async fn follow(keeper: &Rc<Keeper>, client: &Connection) {
    let mut log = keeper.log.follow();
    loop {
        tokio::select! {
            grown = log.changed() => if grown.is_err() || !answer(client, &Reply::Grown).await {
                return;
            },
            // He has nothing more to say: he is gone.
            _gone = client.receive() => return,
        }
    }
}

/// Ends the sandbox, and keeps the connection open until everything is gone, keeper included.
async fn stop(keeper: &Rc<Keeper>, client: &Connection, reason: &'static str) {
    keeper.stop(reason);
    answer(client, &Reply::Stopping).await;
    std::future::pending::<()>().await;
}
