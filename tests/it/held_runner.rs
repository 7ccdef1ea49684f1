//! What the runner of a held sandbox promises to its keeper, spoken to as a keeper does.

mod asks;
mod ends;
mod fences;
mod limits;
mod spare;

use crate::sandbox::{Job, PATIENCE, Running};
use pinfold_runner::{Ask, Notice, Outcome, no_limits_of_its_own};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

/// A held sandbox, and this test as its keeper.
pub(crate) struct Held {
    running: Running,
    keeper: OwnedFd,
    last: Cell<u64>,
    /// Notices about others than whom we waited for.
    kept: RefCell<HashMap<u64, Vec<Told>>>,
}

/// A notice, and what came with it.
type Told = (Notice, Vec<OwnedFd>);

/// A command that was asked for.
pub(crate) struct Asked {
    number: u64,
    stdin: Option<File>,
    stdout: File,
    stderr: File,
}

/// What it came to.
pub(crate) struct Done {
    outcome: Outcome,
    stdout: String,
    stderr: String,
}

/// A sandbox without an end of its own, or with these fields.
fn sandbox(fields: Value) -> Job {
    let mut json = json!({ "limits": { "wall_ms": "max" } });
    for (name, value) in fields.as_object().unwrap() {
        match (json.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => json[name] = value.clone(),
        }
    }
    Job::from(json)
}

/// The job of a command, with no limit but those in it.
fn command(words: &[&str], fields: Value) -> pinfold_runner::Job {
    let mut json = json!({ "command": words });
    json["limits"] = serde_json::to_value(no_limits_of_its_own()).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        match (json.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => json[name] = value.clone(),
        }
    }
    serde_json::from_value(json).unwrap()
}

impl Held {
    pub(crate) fn start(fields: Value) -> Self {
        let held = Self::spawn(sandbox(fields));
        assert!(matches!(held.notice().0, Notice::Ready { .. }));
        held
    }

    /// Starts the runner, with the socket as descriptor 4, and waits for nothing.
    pub(crate) fn spawn(job: Job) -> Self {
        Self::spawn_with(job, &["sh", "-c", r#"exec "$0" "$@" 4<&2 2>/dev/null"#], &["--held=4"])
    }

    fn spawn_with(job: Job, before: &[&str], after: &[&str]) -> Self {
        let (keeper, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_timeout(&keeper, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        let job = job.started_by(before, after);
        let running = job.spawn_as(|command| _ = command.stderr(Stdio::from(theirs)));
        Self { running, keeper, last: Cell::new(0), kept: RefCell::default() }
    }

    /// Fails the test when the runner has nothing to tell for so long.
    fn has_patience(&self, patience: std::time::Duration) {
        sockopt::set_socket_timeout(&self.keeper, sockopt::Timeout::Recv, Some(patience)).unwrap();
    }

    fn send(&self, bytes: &[u8], descriptors: &[OwnedFd]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        sendmsg(&self.keeper, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    fn ask(&self, ask: &Ask) {
        self.send(&serde_json::to_vec(ask).unwrap(), &[]);
    }

    /// The next notice, whoever it is about.
    fn notice(&self) -> Told {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 64 << 10];
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        // A handler of another test's, or who stops and continues us, interrupts what has a timeout: signal(7).
        let receive = || recvmsg(&self.keeper, parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = rustix::io::retry_on_intr(receive).unwrap();
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(found) = message {
                descriptors.extend(found);
            }
        }
        (serde_json::from_slice(&bytes[..received.bytes]).unwrap(), descriptors)
    }

    /// The next notice about a command.
    fn notice_of(&self, number: u64) -> Told {
        loop {
            if let Some(kept) = self.kept.borrow_mut().get_mut(&number).filter(|kept| !kept.is_empty()) {
                return kept.remove(0);
            }
            let (notice, descriptors) = self.notice();
            let (Notice::Executed { number: other, .. } | Notice::Ended { number: other, .. }) = &notice else {
                panic!("{notice:?}")
            };
            let other = *other;
            self.kept.borrow_mut().entry(other).or_default().push((notice, descriptors));
        }
    }

    fn next_number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    /// Asks for a command, with further descriptors.
    fn exec_with(&self, job: pinfold_runner::Job, extra: Vec<OwnedFd>) -> Asked {
        let number = self.next_number();
        let [stdin, stdout, stderr] =
            [(); 3].map(|()| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap());
        let count = u8::try_from(extra.len()).unwrap();
        let ask = Ask::Exec { number, job: Box::new(job), terminal: None, extra: count };
        let mut descriptors = vec![stdin.0, stdout.1, stderr.1];
        descriptors.extend(extra);
        self.send(&serde_json::to_vec(&ask).unwrap(), &descriptors);
        Asked { number, stdin: Some(stdin.1.into()), stdout: stdout.0.into(), stderr: stderr.0.into() }
    }

    fn exec(&self, words: &[&str], fields: Value) -> Asked {
        self.exec_with(command(words, fields), Vec::new())
    }

    /// Asks for it, and waits until it was executed.
    fn begin(&self, words: &[&str], fields: Value) -> Asked {
        let asked = self.exec(words, fields);
        let notice = self.notice_of(asked.number).0;
        assert!(matches!(notice, Notice::Executed { .. }), "{notice:?}");
        asked
    }

    /// Waits for its end. What it left in the background may hold the pipes, so they are read only where it is told to be over.
    fn end(&self, asked: Asked) -> Done {
        let (outcome, mut asked) = self.outcome(asked);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        asked.stdout.read_to_string(&mut stdout).unwrap();
        asked.stderr.read_to_string(&mut stderr).unwrap();
        Done { outcome, stdout, stderr }
    }

    fn outcome(&self, mut asked: Asked) -> (Outcome, Asked) {
        asked.stdin = None;
        loop {
            if let (Notice::Ended { outcome, .. }, _) = self.notice_of(asked.number) {
                return (*outcome, asked);
            }
        }
    }

    fn run(&self, words: &[&str], fields: Value) -> Done {
        self.end(self.exec(words, fields))
    }

    /// A shell script that must exit with 0: its stdout.
    fn sh(&self, script: &str) -> String {
        let done = self.run(&["sh", "-c", script], json!({}));
        assert_eq!(done.outcome.exit_code, Some(0), "{:?} {}", done.outcome, done.stderr);
        done.stdout
    }

    /// Ends it as a keeper who goes away does, and looks that nothing is left.
    fn close(self) -> crate::sandbox::Answer {
        drop(self.keeper);
        let answer = self.running.answer();
        assert_eq!(answer.outcome.status, pinfold_runner::Status::Cancelled, "{}", answer.json);
        answer
    }
}
