//! The user's own service manager, `systemd --user`, asked for a scope that is delegated, as rootless Podman does: a
//! group of the hierarchy where the limits of a sandbox can be held. This process alone moves into it. systemd removes
//! the scope, with all groups in it, once the last process in it has ended, however it ended.
//!
//! It is one call of a method, StartTransientUnit of org.freedesktop.systemd1(5), and the news that its job is done.
//! Everything up to the call goes out in one write. The manager's own socket is spoken to where there is one, as
//! systemctl(1) does, since a bus between us would only cost time; then the user's bus, the documented way. Another bus
//! (`DBUS_SESSION_BUS_ADDRESS`) is of no use: the manager is on the one in its runtime directory.

use super::dbus::{self, Call, Malformed, Message, Reader, Writer};
use crate::sys::{self, Errno, poll, process, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long the manager may be silent. It needs some milliseconds; one that hangs must not hold up a job for long.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long all of it may take. A manager that is asked for many scopes at once serves one after the other, and tells
/// everybody of each, so that we hear that it is alive.
const AT_MOST: Duration = Duration::from_secs(10);

/// Sockets in the runtime directory, and whether a bus daemon is behind it.
const SOCKETS: [(&str, bool); 2] = [("systemd/private", false), ("bus", true)];

const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";

/// The serial of the call that counts.
const START: u32 = 3;

/// Has this process moved into a scope of its own, which is delegated: the scope's name. `slice` is that of the manager's
/// slices to put it into. `None` where there is no manager, where it refuses, and where it does not answer in time; it
/// may still move us then, which does no harm.
pub(super) fn move_into_scope(uid: u32, slice: Option<&str>) -> Option<String> {
    let name = format!("pinfold-{}-{:016x}.scope", std::process::id(), process::random().ok()?);
    let mut conversation = Conversation::open(uid)?;
    conversation.start(&name, slice).ok()?;
    Some(name)
}

/// Whether there is anybody to ask.
pub(super) fn is_there(uid: u32) -> bool {
    Conversation::open(uid).is_some()
}

/// A connection, and what has been received and not yet looked at.
struct Conversation {
    socket: OwnedFd,
    has_bus: bool,
    received: Vec<u8>,
    began: Instant,
    heard: Instant,
}

/// Why there is no scope. Nobody is told: the result says that there is no cgroup.
struct Over;

impl From<Malformed> for Over {
    fn from(_: Malformed) -> Self {
        Self
    }
}

impl From<Errno> for Over {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl Conversation {
    fn open(uid: u32) -> Option<Self> {
        let directory = runtime_directory(uid);
        SOCKETS.into_iter().find_map(|(name, has_bus)| {
            let socket = socket::connect(&format!("{directory}/{name}")).ok()?;
            // Whoever listens there would be told to move a process of ours: that is our own user's to do.
            let is_ours = socket::peer_uid(socket.as_fd()) == Ok(uid);
            let now = Instant::now();
            is_ours.then(|| Self { socket, has_bus, received: Vec::new(), began: now, heard: now })
        })
    }

    /// Has the scope started and waits until that is done.
    fn start(&mut self, name: &str, slice: Option<&str>) -> Result<(), Over> {
        let mut request = dbus::GREETING.to_vec();
        if self.has_bus {
            request.extend(join_bus());
        }
        request.extend(start_scope(name, slice));
        self.send(&request)?;
        self.receive(|bytes| Ok(dbus::greeted(bytes)?.map(|length| ((), length))))?;
        loop {
            let answer = self.receive(|bytes| {
                let message = Message::decode(bytes)?;
                message.map(|(message, length)| Ok((answer(&message, name)?, length))).transpose()
            })?;
            match answer {
                Answer::Done => return Ok(()),
                Answer::Refused => return Err(Over),
                Answer::Other => {}
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            match sys::file::write(self.socket.as_fd(), bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno(libc::EAGAIN)) => self.wait(libc::POLLOUT, self.left()?)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// What `parse` finds at the start of what was received, as soon as there is enough of it.
    fn receive<T>(&mut self, parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Malformed>) -> Result<T, Over> {
        loop {
            if let Some((found, length)) = parse(&self.received)? {
                self.received.drain(..length);
                return Ok(found);
            }
            let left = self.left()?;
            let mut buffer = [0u8; 4096];
            match sys::file::read(self.socket.as_fd(), &mut buffer) {
                Ok(0) => return Err(Over),
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    self.heard = Instant::now();
                }
                Err(Errno(libc::EAGAIN)) => self.wait(libc::POLLIN, left)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// How long it may still be waited for.
    fn left(&self) -> Result<Duration, Over> {
        let left = (self.heard + PATIENCE).min(self.began + AT_MOST).saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Over) } else { Ok(left) }
    }

    /// Waits until the socket is ready, or something else happens that makes looking worth it.
    fn wait(&self, events: i16, left: Duration) -> Result<(), Over> {
        poll::poll(&mut [poll::entry(self.socket.as_fd(), events)], Some(left))?;
        Ok(())
    }
}

/// `$XDG_RUNTIME_DIR`, when it is there and ours, as the XDG specification wants it: after `su` or `sudo` it may be
/// another user's. Else the place where pam_systemd(8) makes it, which is there without a session of ours too where
/// `loginctl enable-linger` keeps the manager running.
fn runtime_directory(uid: u32) -> String {
    let is_ours = |path: &String| std::fs::metadata(path).is_ok_and(|directory| directory.uid() == uid);
    std::env::var("XDG_RUNTIME_DIR").ok().filter(is_ours).unwrap_or_else(|| format!("/run/user/{uid}"))
}

/// What a client of a bus says first: that it is there, and what it wants to hear.
fn join_bus() -> Vec<u8> {
    let call =
        |serial, member| Call { serial, destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member };
    let mut rule = Writer::default();
    rule.string(&format!("type='signal',sender='{MANAGER}',interface='{MANAGER_INTERFACE}',member='JobRemoved'"));
    let mut messages = call(1, "Hello").encode("", &Writer::default());
    messages.extend(call(2, "AddMatch").encode("s", &rule));
    messages
}

/// StartTransientUnit: name, mode, properties, and no other units.
fn start_scope(name: &str, slice: Option<&str>) -> Vec<u8> {
    let mut body = Writer::default();
    body.string(name);
    body.string("fail");
    body.array(8, |list| {
        list.property("Description", "s", |value| value.string("A sandbox of Pinfold and its runner"));
        // 0 is whoever sends this, by the kernel's word: what we take for our pid may be another's where the manager is,
        // if we are in a pid namespace.
        list.property("PIDs", "au", |value| value.array(4, |pids| pids.u32(0)));
        list.property("Delegate", "b", |value| value.u32(1));
        // A scope that failed is forgotten too.
        list.property("CollectMode", "s", |value| value.string("inactive-or-failed"));
        if let Some(slice) = slice {
            list.property("Slice", "s", |value| value.string(slice));
        }
    });
    body.array(8, |_no_units| {});
    let path = "/org/freedesktop/systemd1";
    let call =
        Call { serial: START, destination: MANAGER, path, interface: MANAGER_INTERFACE, member: "StartTransientUnit" };
    call.encode("ssa(sv)a(sa(sv))", &body)
}

/// What a message means for us.
enum Answer {
    Done,
    Refused,
    Other,
}

/// The call's own answer only says that there is a job; its end is what we wait for. With what result it ended is not
/// asked: what counts is where the kernel says that we are.
fn answer(message: &Message<'_>, name: &str) -> Result<Answer, Malformed> {
    if message.kind == dbus::ERROR && message.reply_to == Some(START) {
        return Ok(Answer::Refused);
    }
    if (message.kind, message.member, message.signature) != (dbus::SIGNAL, Some("JobRemoved"), "uoss") {
        return Ok(Answer::Other);
    }
    // The job's number and path, the unit, the result.
    let mut body = Reader::new(message.body);
    let _job = (body.u32()?, body.string()?);
    Ok(if body.string()? == name { Answer::Done } else { Answer::Other })
}
