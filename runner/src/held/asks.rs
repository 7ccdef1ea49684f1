//! What the keeper asks for: read, judged and carried out. What can't be had is told, and harms nobody.

use super::exec::{Exec, Place};
use super::message;
use super::serve::Held;
use super::spare::Wanted;
use crate::cgroup::Nested;
use crate::failure::{At, Step};
use crate::processes;
use crate::sys::{Errno, file, socket};
use pinfold_runner::{
    Ask, Failure, HeldFigures, Job, Limit, Limits, MAX_HELD_MESSAGE, Notice, Outcome, Status, WorkspaceMechanism,
    check_exec,
};
use std::os::fd::{AsFd, OwnedFd};

/// The most descriptors beside a command's stdio.
const MOST_EXTRA: u8 = 4;

impl Held<'_> {
    /// Takes one message of the keeper's. False when there is no keeper any more.
    pub(super) fn read_ask(&mut self) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(MAX_HELD_MESSAGE + 1, 0);
        let received = socket::receive(self.outbox.keeper(), &mut buffer);
        let goes_on = match received {
            Ok((0, _)) => false,
            Ok((length, descriptors)) => {
                self.judge_ask(&buffer[..length], descriptors);
                true
            }
            Err(errno) => errno == Errno(libc::EAGAIN),
        };
        self.buffer = buffer;
        goes_on
    }

    fn judge_ask(&mut self, message: &[u8], descriptors: Vec<OwnedFd>) {
        let ask = if message.len() > MAX_HELD_MESSAGE {
            Err(format!("it is longer than {MAX_HELD_MESSAGE} bytes"))
        } else {
            serde_json::from_slice::<Ask>(message).map_err(|error| error.to_string())
        };
        match ask {
            Ok(Ask::Exec { number, job, terminal, extra }) => {
                let stdio = if terminal.is_some() { 0 } else { 3 };
                let id = job.id.as_ref().map_or_else(|| self.id_of(number), |id| id.as_str().to_owned());
                let begun = match descriptors.len() == stdio + usize::from(extra) && extra <= MOST_EXTRA {
                    true => self.exec(number, &id, *job, terminal, extra, message, descriptors),
                    false => Err(bad_ask("the number of descriptors is not what it says")),
                };
                if let Err(failure) = begun {
                    self.tell_failure(number, id, failure);
                }
            }
            Ok(Ask::Signal { number, signal }) => self.signal(number, signal),
            Ok(Ask::Cancel { number }) => {
                let freezer = self.ground.cgroups.freezer().filter(|_| self.is_frozen);
                if let Some(exec) = self.execs.get_mut(&number) {
                    exec.kill_for(Status::Cancelled, Place { init: self.init.pid, frozen: freezer.as_ref() });
                }
            }
            Ok(Ask::Freeze) => {
                let frozen = self.freeze().err();
                self.outbox.tell(&Notice::Frozen(frozen), None);
            }
            Ok(Ask::Thaw) => {
                self.thaw();
                self.outbox.tell(&Notice::Thawed, None);
            }
            Ok(Ask::Figures) => {
                let figures = Box::new(self.figures());
                self.outbox.tell(&Notice::Figures(figures), None);
            }
            Ok(Ask::Workspace) => {
                let workspace = self.workspace.as_ref().and_then(|directory| directory.try_clone().ok());
                self.outbox.tell(&Notice::Workspace, workspace);
            }
            // Whose number can be made out is told of its end; for another there is nobody to tell.
            Err(reason) => {
                if let Some(number) = number_in(message) {
                    self.tell_failure(number, self.id_of(number), bad_ask(&reason));
                }
            }
        }
    }

    fn id_of(&self, number: u64) -> String {
        format!("{}-{number}", self.id)
    }

    fn tell_failure(&mut self, number: u64, id: String, failure: Failure) {
        let outcome = Box::new(Outcome::failed(id, failure));
        self.outbox.tell(&Notice::Ended { number, outcome }, None);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn exec(
        &mut self,
        number: u64,
        id: &str,
        job: Job,
        terminal: Option<(u16, u16)>,
        extra: u8,
        ask: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        if job.command.is_none() {
            return Err(bad_ask("missing field `command`"));
        }
        check_exec(&job).map_err(|error| Failure::new("bad_job", error.to_string()))?;
        if self.execs.contains_key(&number) || !self.is_ready {
            return Err(bad_ask("there was a command of that number, or the sandbox is not ready"));
        }
        if self.is_frozen {
            return Err(
                Failure::new("frozen", "the sandbox is stopped for a moment").with_hint("ask again when it goes on")
            );
        }
        self.take_over(&descriptors)?;
        let mut spare = self.take_spare(terminal.is_some())?;
        let above = &self.ground.cgroups;
        let limits = Limits { swap_bytes: self.plan.job.limits.swap_bytes, ..job.limits.clone() };
        let limited = check_held(&limits, above).and_then(|()| Ok(spare.groups.limit(above, &limits)?));
        let order = message::Exec {
            number,
            terminal,
            extra,
            tasks: 0,
            is_born_in_group: spare.groups.born_in().is_some(),
            held: rlimits_held(&spare.groups),
            is_counted: false,
        };
        let wanted = Wanted { order, ask: ask.to_vec(), descriptors };
        let launched = limited.and_then(|()| Ok(self.launch(&mut spare, wanted)?));
        let groups = spare.groups;
        match launched {
            Ok(launched) => {
                self.execs.insert(number, Exec::new(id.to_owned(), job, groups, launched, terminal.is_some()));
                Ok(())
            }
            Err(failure) => {
                groups.try_remove();
                Err(failure)
            }
        }
    }

    /// The command's ends of its pipes: fresh ones, whose other ends are the keeper's or his client's. Nothing else, for the
    /// command must share no open file with anybody.
    fn take_over(&self, descriptors: &[OwnedFd]) -> Result<(), Failure> {
        let host = self.plan.host_ids(self.ground.slot.number);
        for descriptor in descriptors {
            let found = file::fstat(descriptor.as_fd()).at(Step::ConnectStdio, "a descriptor")?;
            // A FIFO in a directory has that file system's device.
            if found.st_dev != self.pipes || found.st_mode & libc::S_IFMT != libc::S_IFIFO {
                return Err(bad_ask("a descriptor is no pipe"));
            }
            if self.plan.privileged {
                file::fchown(descriptor.as_fd(), host.uid, host.gid).at(Step::MakePipe, "owner")?;
            }
        }
        Ok(())
    }

    /// Groups for the next command.
    pub(super) fn next_groups(&mut self) -> Result<Nested, Failure> {
        self.last_number += 1;
        Ok(Nested::create(&self.ground.cgroups, self.last_number, self.init_uid())?)
    }

    fn init_uid(&self) -> Option<u32> {
        self.plan.privileged.then(|| self.plan.host_ids(self.ground.slot.number).uid)
    }

    fn signal(&mut self, number: u64, signal: i32) {
        if !(1..=64).contains(&signal) {
            return;
        }
        let Some(exec) = self.execs.get_mut(&number).filter(|exec| !exec.is_told) else { return };
        if exec.is_started() {
            let number = exec.process;
            self.tell_init(&message::Order::Signal { number, signal });
        } else {
            exec.held_back.push(signal);
        }
    }

    /// What the workspace holds. To look at all files would hold up the commands.
    fn workspace_bytes(&self) -> Option<u64> {
        let own = self.ground.isolation.workspace == WorkspaceMechanism::Tmpfs;
        let workspace = self.workspace.as_ref().filter(|_| own)?;
        file::space(workspace.as_fd()).ok().map(|space| space.used_bytes)
    }

    /// What is used now.
    fn figures(&self) -> HeldFigures {
        let groups = &self.ground.cgroups;
        let reading = crate::cgroup::gauge::read(&groups.gauge());
        let figures = groups.figures(false);
        HeldFigures {
            cpu_ms: figures.cpu_ms,
            memory_bytes: groups.memory_bytes(),
            peak_memory_bytes: figures.peak_memory_bytes,
            memory: reading.map(|reading| reading.memory),
            pids: groups.pids_now().or_else(|| processes::count_below(self.init.pid)),
            workspace_bytes: self.workspace_bytes(),
            frozen: self.is_frozen,
        }
    }
}

/// What needs no resource limit in its stead. A sandbox that has no groups has none for a command either.
fn rlimits_held(groups: &Nested) -> crate::rlimit::Held {
    groups.groups().held()
}

/// A limit of its own for which nothing can stand in.
fn check_held(limits: &Limits, above: &crate::cgroup::Cgroups) -> Result<(), Failure> {
    let cpus = above.divides_cpus();
    let asked = [
        ("pids", limits.pids != Limit::Max, above.pids()),
        ("cpus", limits.cpus != Limit::Max, cpus),
        ("cpu_weight", limits.cpu_weight != Limit::Max, cpus),
    ];
    match asked.into_iter().find(|(_, is_asked, is_held)| *is_asked && !is_held) {
        Some((name, ..)) => {
            let message = format!("`{name}` can't be held here for one command: that takes a cgroup");
            Err(Failure::new("cgroup", message).with_hint(crate::cgroup::hint(above)))
        }
        None => Ok(()),
    }
}

fn bad_ask(reason: &str) -> Failure {
    Failure::new("bad_job", format!("invalid job: {reason}"))
}

/// The number of a command in a message that can't be read as a whole. Numbers come first in it.
fn number_in(message: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(&message[..message.len().min(128)]).into_owned();
    let digits: String =
        head.split_once("\"number\":")?.1.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
