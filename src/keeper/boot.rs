//! From an order to a sandbox that takes commands, and from its end to nothing.

use super::activity::Activity;
use super::connections;
use super::link::Link;
use super::log::{Log, word};
use super::pace::Pace;
use super::serve::{self, Keeper};
use super::terminal::Terminals;
use crate::checkpoint;
use crate::held::order::{Answer, Order};
use crate::held::runtime::{self, Runtime};
use crate::held::wire;
use crate::held::{Error, LogEvent, Process, Record, log_files};
use crate::workspace::key::Key;
use crate::workspace::record::milliseconds;
use crate::workspace::{InUse, Store};
use crate::{Pinfold, Sandbox};
use pinfold_runner::{Connection, Failure, Job, Limit, MAX_JOB_BYTES, Notice, Outcome, SandboxId, Status};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, socketpair};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// How long a starter may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a sandbox may take to be there. The sweep of what others left is in it.
const SETUP: Duration = Duration::from_secs(60);

/// How long a runner may take to end before it is made to, in each step.
const GRACE: Duration = Duration::from_secs(5);

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;

/// What is to be kept, and where.
struct Post {
    order: Order,
    key: Key,
    runtime: Runtime,
    /// Whoever finds this unlocked knows that we are dead.
    _lock: OwnedFd,
}

/// Keeps the sandbox that the starter orders through the first descriptor, to its end.
pub(super) fn run(descriptors: Vec<OwnedFd>) -> ExitCode {
    let Ok([starter, dir, lock]) = <[OwnedFd; 3]>::try_from(descriptors) else { return ExitCode::from(125) };
    let mut starter = UnixStream::from(starter);
    // A session of its own: no Ctrl-C and no hang-up of the starter's terminal is for us.
    let _own_already = rustix::process::setsid();
    let _of_no_use = rustix::process::chdir("/");
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match accept(&mut starter, dir, lock) {
        Ok(post) => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(tokio) => {
                let code = LocalSet::new().block_on(&tokio, keep(post, starter));
                tokio.shutdown_background();
                code
            }
            Err(error) => refuse(&mut starter, Error::io("start", error).into_failure()),
        },
        Err(error) => refuse(&mut starter, error.into_failure()),
    }
}

/// Tells the starter why there is no sandbox.
fn refuse(starter: &mut UnixStream, failure: Failure) -> ExitCode {
    let _nobody_asks = tell(starter, &Answer::Failed(failure, std::process::id().cast_signed()));
    ExitCode::from(125)
}

fn tell(starter: &mut UnixStream, answer: &Answer) -> std::io::Result<()> {
    starter.set_nonblocking(false)?;
    starter.set_write_timeout(Some(PATIENCE))?;
    starter.write_all(&serde_json::to_vec(answer)?)
}

/// Reads the order to its end.
fn accept(starter: &mut UnixStream, dir: OwnedFd, lock: OwnedFd) -> Result<Post, Error> {
    let failed = |error: std::io::Error| Error::io("read what is to be kept", error);
    starter.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut json = Vec::new();
    starter.take(2 * MAX_JOB_BYTES as u64).read_to_end(&mut json).map_err(failed)?;
    let order: Order = serde_json::from_slice(&json).map_err(|error| failed(error.into()))?;
    Ok(Post { key: order.name.key()?, runtime: Runtime::inherited(dir)?, order, _lock: lock })
}

async fn keep(post: Post, mut starter: UnixStream) -> ExitCode {
    let begun = begin(&post).await;
    let Begun { keeper, mut sandbox, listener, workspace, mut heard } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            clean(&post);
            return refuse(&mut starter, error.into_failure());
        }
    };
    tokio::task::spawn_local(serve::accept(keeper.clone(), listener));
    let noted = tokio::task::spawn_local({
        let keeper = keeper.clone();
        async move {
            while let Some(connection) = heard.recv().await {
                connections::note(&keeper.log, &connection);
            }
        }
    });
    if tell(&mut starter, &Answer::Started(Box::new(keeper.record.clone()))).is_err() {
        // Nobody knows that it is there.
        keeper.stop("its starter was gone before it was there");
    }
    drop(starter);
    let outcome = see_through(&keeper, &mut sandbox).await;
    drop(sandbox);
    // The last of them have ended with the sandbox, and nobody is left who could tell of more.
    let _none_more = tokio::time::timeout(GRACE, noted).await;
    note_end(&keeper, &outcome);
    drop(workspace);
    clean(&post);
    ExitCode::SUCCESS
}

/// A sandbox that takes commands.
struct Begun {
    keeper: Rc<Keeper>,
    sandbox: Pin<Box<dyn Future<Output = Outcome>>>,
    listener: Rc<UnixListener>,
    /// In use, so that nobody removes it.
    workspace: Option<InUse>,
    /// Its connections, as they end.
    heard: UnboundedReceiver<Connection>,
}

/// Starts the sandbox, and waits until it is there.
async fn begin(post: &Post) -> Result<Begun, Error> {
    let (order, spec) = (&post.order, &post.order.spec);
    let workspace = workspace(order)?;
    let job = job(order, workspace.as_ref())?;
    let what = |what: &'static str| move |error: std::io::Error| Error::io(what, error);
    let listener = Rc::new(listen_at(post)?);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::io("make a socket", errno))?;
    let link = Link::new(wire::Connection::new(ours).map_err(what("make a socket"))?);
    let (observer, heard) = connections::listen();
    let pinfold = Pinfold::builder().runner(&order.runner).max_sandboxes(1).grace(GRACE).observer(observer).build()?;
    let sandbox = pinfold.hold(job, theirs).await?;
    let runner = sandbox.runner();
    let (stopping, stop) = watch::channel(None);
    let (mut sandbox, isolation, init) = ready(&link, sandbox, &order.id, stop).await?;
    let process = |pid| Process::of(pid).ok_or_else(|| Error::gone(order.name.as_str()));
    let processes = (process(std::process::id().cast_signed())?, process(runner)?, process(init)?);
    let created_ms = milliseconds(SystemTime::now());
    let record = Record::new(order.id.clone(), order.name.clone(), spec.clone(), processes, created_ms, isolation);
    if let Err(error) = write_down(post, &record) {
        // The sandbox ends with the lifeline; nothing is said before it has.
        stopping.send_replace(Some("failed"));
        sandbox.as_mut().await;
        return Err(error);
    }
    let log = Log::new(post.runtime.logs()?, &order.id);
    log.note(None, LogEvent::Started, order.name.as_str());
    let pace = Rc::<Pace>::default();
    let keeper = Keeper {
        record,
        link,
        log,
        activity: Activity::new(),
        terminals: Rc::new(Terminals::new(pace.clone())),
        pace,
        began: Instant::now(),
        stopping,
    };
    Ok(Begun { keeper: Rc::new(keeper), sandbox, listener, workspace, heard })
}

/// The workspace in which the sandbox is to work, if it is one of a store.
fn workspace(order: &Order) -> Result<Option<InUse>, Error> {
    let spec = &order.spec;
    let Some(stored) = &spec.workspace else {
        return match spec.checkpoints {
            true => Err(Error::invalid("`checkpoints`", "only a workspace of the store has any")),
            false => Ok(None),
        };
    };
    let store = Store::at(&stored.state)?.with_runner(&order.runner);
    if spec.checkpoints {
        store.checkpoints(&stored.id).prepare().map_err(|error| match error {
            checkpoint::Error::Workspace(error) => Error::Workspace(error),
            other => Error::invalid("`checkpoints`", other.to_string()),
        })?;
    }
    Ok(Some(store.open(&stored.id)?))
}

/// The sandbox's job: what was asked for, in the workspace.
fn job(order: &Order, workspace: Option<&InUse>) -> Result<Job, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::invalid("the sandbox", error.to_string());
    let mut job = order.spec.job.clone();
    job.id = Some(SandboxId::try_from(order.id.as_str()).map_err(|error| invalid(&error))?);
    if let Some(workspace) = workspace {
        workspace.put_into(&mut job)?;
    }
    let ttl = order.spec.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
    job.limits.wall_ms = ttl.map_or(Limit::Max, Limit::At);
    job.limits.check().map_err(|error| invalid(&error))?;
    Ok(job)
}

/// Listens where clients look. What a dead keeper left there is gone already: we have the lock.
fn listen_at(post: &Post) -> Result<UnixListener, Error> {
    let failed = |errno: rustix::io::Errno| Error::io("listen for clients", errno);
    let address = post.runtime.address(&post.key)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
    let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
    let address = rustix::net::SocketAddrUnix::new(path).map_err(failed)?;
    post.runtime.remove(&runtime::socket(&post.key))?;
    bind(&socket, &address).and_then(|()| listen(&socket, BACKLOG)).map_err(failed)?;
    UnixListener::from_std(socket.into()).map_err(|error| Error::io("listen for clients", error))
}

/// Waits until the sandbox takes commands. What comes back with it sees it through to its end, which `stop` brings about.
async fn ready(
    link: &Link,
    sandbox: Sandbox,
    id: &str,
    mut stop: watch::Receiver<Option<&'static str>>,
) -> Result<(Pin<Box<dyn Future<Output = Outcome>>>, pinfold_runner::Isolation, i32), Error> {
    let controller = sandbox.controller();
    let id = id.to_owned();
    let mut end: Pin<Box<dyn Future<Output = Outcome>>> = Box::pin(async move {
        let mut wait = pin!(sandbox.wait());
        // What `wait_for` brings is a lock on the value, which is not to be held while we wait.
        let mut wished = pin!(async move { stop.wait_for(Option::is_some).await.is_ok() });
        let ended = tokio::select! {
            ended = &mut wait => ended,
            true = &mut wished => {
                controller.cancel();
                wait.await
            }
        };
        ended.unwrap_or_else(|error| Outcome::failed(id, Failure::new("host_error", error.to_string())))
    });
    let first = tokio::select! {
        biased;
        first = tokio::time::timeout(SETUP, link.receive()) => first,
        outcome = &mut end => return Err(Error::Failed(why(outcome))),
    };
    match first {
        Ok(Some((Notice::Ready { isolation, init }, _))) => Ok((end, *isolation, init)),
        // It has closed: its answer says why.
        Ok(None) => Err(Error::Failed(why(end.await))),
        Ok(Some(_)) => Err(Error::Failed(Failure::new("bad_answer", "the runner speaks before it is ready"))),
        Err(_late) => Err(Error::Timeout { what: "make the sandbox".to_owned() }),
    }
}

/// Why a sandbox never was there.
fn why(outcome: Outcome) -> Failure {
    let status = word(outcome.status);
    outcome.error.unwrap_or_else(|| Failure::new("ended", format!("the sandbox ended before it was there: {status}")))
}

/// Writes the record where it is looked for, and beside the log, which outlives it.
fn write_down(post: &Post, record: &Record) -> Result<(), Error> {
    let logs = post.runtime.logs()?;
    let [_, _, beside] = log_files(&record.id);
    record.write(logs.as_fd(), &beside)?;
    record.write(post.runtime.dir(), &runtime::record(&post.key))
}

/// Waits for the end, which somebody wishes for or not.
async fn see_through(keeper: &Rc<Keeper>, sandbox: &mut Pin<Box<dyn Future<Output = Outcome>>>) -> Outcome {
    let mut ended = signal(SignalKind::terminate()).ok();
    let mut terminated = pin!(async {
        match &mut ended {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    });
    let mut idle = pin!(keeper.activity.idle_for(keeper.record.spec.idle));
    let mut notices = pin!(keeper.link.dispatch());
    let (mut is_terminated, mut is_idle, mut is_silent) = (false, false, false);
    loop {
        tokio::select! {
            outcome = &mut *sandbox => return outcome,
            () = &mut notices, if !is_silent => {
                is_silent = true;
                keeper.stop("the runner has ended");
            }
            _signal = &mut terminated, if !is_terminated => {
                is_terminated = true;
                keeper.stop("the keeper was told to end");
            }
            () = &mut idle, if !is_idle => {
                is_idle = true;
                keeper.stop("idle");
            }
        }
    }
}

/// Writes down why the sandbox ended.
fn note_end(keeper: &Keeper, outcome: &Outcome) {
    let wished = *keeper.stopping.borrow();
    let told = match (outcome.status, &outcome.error) {
        (Status::TimedOut, _) => "it has lived as long as it may".to_owned(),
        (_, Some(failure)) => format!("{}: {}", failure.code, failure.message),
        (Status::Cancelled, None) => wished.unwrap_or("cancelled").to_owned(),
        (status, None) => word(status),
    };
    keeper.log.note(None, LogEvent::Stopped, &told);
}

/// Takes away what says that the sandbox is there. The lock's file goes last, while it is locked still.
fn clean(post: &Post) {
    for name in [runtime::socket(&post.key), runtime::record(&post.key), runtime::lock_file(&post.key)] {
        // What is left is swept by the next command.
        let _swept = post.runtime.remove(&name);
    }
}
