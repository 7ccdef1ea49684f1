//! Get or create: of any number who ask for one name at once, one starts the sandbox, and all get it.

use super::connect::{Line, is_readable};
use super::error::Error;
use super::name::{Name, fresh_id};
use super::order::{Answer, Order, START};
use super::record::Record;
use super::runtime::Runtime;
use super::spec::Spec;
use super::wire::{Reply, Request};
use crate::locate;
use crate::runner_process::Launcher;
use crate::workspace::key::Key;
use pinfold_runner::MAX_JOB_BYTES;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a start may take, as one of many that wait for one another too.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long until the next look at a sandbox that somebody else is just starting or ending, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(20));

/// How long the first of the keeper's two processes may take to end, which has nothing to do.
const FORK: Duration = Duration::from_secs(10);

/// The sandbox of the spec's name: the one that lives, or a new one. True if it is new. A new one to which the spec gives no
/// end ends when it was `idle` for so long; of one that lives that is not asked.
pub(crate) fn get_or_create(runtime: &Runtime, spec: &Spec, idle: Option<Duration>) -> Result<(Record, bool), Error> {
    runtime.sweep()?;
    let id = fresh_id()?;
    let name = spec.name.clone().map_or_else(|| Name::try_from(id.as_str()), Ok)?;
    let key = name.key()?;
    let (start, mut pause) = (Instant::now(), PAUSES.0);
    while start.elapsed() < PATIENCE {
        if let Some(lock) = runtime.claim(&key, true)? {
            runtime.clear(&key)?;
            let idle = spec.idle.or(idle.filter(|_| spec.ttl.is_none()));
            let spec = Spec { idle, ..spec.clone() };
            return create(runtime, lock, id, name, spec).map(|record| (record, true));
        }
        if let Some(record) = existing(runtime, &key, name.as_str(), PATIENCE - start.elapsed().min(PATIENCE))? {
            let fields = spec.differs_from(&record.spec);
            return match fields.is_empty() {
                true => Ok((record, false)),
                false => Err(Error::AlreadyExists { name: name.to_string(), id: record.id, fields }),
            };
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
    Err(Error::Timeout { what: format!("start or reach sandbox `{name}`") })
}

/// The record of the sandbox that lives. `None` while it is only about to, or about to end.
fn existing(runtime: &Runtime, key: &Key, name: &str, patience: Duration) -> Result<Option<Record>, Error> {
    let Some(line) = Line::open(runtime, key, patience)? else { return Ok(None) };
    match line.ask(&Request::Hello, name, patience) {
        Ok(Reply::Here(record)) => Ok(Some(*record)),
        Ok(_) => Err(Error::invalid(format!("the keeper of sandbox `{name}`"), "it does not say who it is")),
        Err(Error::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts a keeper, which takes over the lock, and waits until its sandbox is there.
fn create(runtime: &Runtime, lock: OwnedFd, id: String, name: Name, spec: Spec) -> Result<Record, Error> {
    let failed = |what: &'static str| move |error: std::io::Error| Error::io(what, error);
    let order = Order { id, name, spec, runner: locate::find()? };
    let json = serde_json::to_vec(&order).map_err(|error| Error::io("write the sandbox's job as JSON", error))?;
    if json.len() > MAX_JOB_BYTES {
        return Err(crate::Error::JobTooBig { bytes: json.len(), limit: MAX_JOB_BYTES }.into());
    }
    let launcher = Launcher::new(program()?)?;
    let (mut ours, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let mut descriptors =
        (0..3).map(|_| null()).collect::<std::io::Result<Vec<_>>>().map_err(failed("open /dev/null"))?;
    let dir = runtime.dir().try_clone_to_owned().map_err(failed("share the runtime directory"))?;
    descriptors.extend([theirs.into(), dir, lock]);
    let process = launcher.start_with(&[START.to_owned()], descriptors)?;
    let answer = hand_over(&mut ours, &json);
    // Not before it has answered: until it has a session of its own, the keeper is in the group that goes with this one.
    process.wait_or_kill(FORK);
    match answer.map_err(failed("start the sandbox's keeper"))? {
        Some(Answer::Started(record)) => Ok(*record),
        Some(Answer::Failed(failure, keeper)) => {
            // It has given everything back, and is about to end.
            if let Some(keeper) = Pid::from_raw(keeper).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
                is_readable(keeper.as_fd(), FORK);
            }
            Err(Error::Failed(failure))
        }
        None => Err(Error::gone(order.name.as_str())),
    }
}

/// Says what is wanted, and waits for what comes of it. Whoever gives up closes the socket, and the keeper ends.
fn hand_over(keeper: &mut UnixStream, json: &[u8]) -> std::io::Result<Option<Answer>> {
    keeper.set_write_timeout(Some(PATIENCE))?;
    keeper.write_all(json)?;
    keeper.shutdown(Shutdown::Write)?;
    if !is_readable(keeper.as_fd(), PATIENCE) {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    keeper.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    keeper.take(MAX_JOB_BYTES as u64).read_to_end(&mut answer)?;
    if answer.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&answer)?)) }
}

/// The keeper's program: beside this one, or on `PATH`.
fn program() -> Result<PathBuf, Error> {
    locate::program("pinfold-keeper").ok_or(Error::KeeperNotFound)
}
