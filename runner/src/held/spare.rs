//! What is made for the next command while nobody waits for it: its groups and a process that stands ready behind every fence but
//! those of the command itself. On v1 that one enters the groups and becomes the command. On v2 nobody can enter a group late
//! without a lock of the whole system: it does what is to be done, and goes on as a process that is born there (`sys::successor`).

use super::message::{Exec, Order};
use super::serve::Held;
use crate::cgroup::{Entry, Nested};
use crate::failure::{At, Step, StepError};
use crate::sys::{file, pipe, socket};
use pinfold_runner::Failure;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// For the next command.
pub(super) struct Spare {
    pub(super) groups: Nested,
    process: Option<Ready>,
}

/// A process that waits to become a command.
struct Ready {
    /// Our end of its status pipe.
    status: OwnedFd,
    /// Its end, where only the process gets it that it goes on as.
    their_status: Option<OwnedFd>,
    orders: OwnedFd,
}

/// A command as it is asked for.
pub(super) struct Wanted {
    pub(super) order: Exec,
    pub(super) ask: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A command that is on its way.
pub(super) struct Launched {
    /// Our end of its status pipe.
    pub(super) status: OwnedFd,
    /// The number by which init knows its process.
    pub(super) process: u64,
    /// What it takes to start it once more, should who stood ready be dead already.
    pub(super) again: Option<Wanted>,
}

/// Who has run for so long is no short command, and is not held up by what else is to be done.
pub(super) const SHORT: Duration = Duration::from_millis(5);

impl Held<'_> {
    /// When it is time to make what the next command needs: not while somebody waits for the end of a short one.
    pub(super) fn next_leisure(&self) -> Option<Instant> {
        if !self.wants_spare || !self.is_ready || self.is_frozen {
            return None;
        }
        let running = self.execs.values().filter(|exec| !exec.is_told);
        running
            .map(|exec| exec.started().and_then(|at| at.checked_add(SHORT)))
            .try_fold(self.begun, |last, at| Some(last.max(at?)))
    }

    /// Makes what the next command needs. What can't be had now is asked for again when the command is there, and told then.
    pub(super) fn prepare(&mut self) {
        self.wants_spare = false;
        let Ok(groups) = self.next_groups() else { return };
        // Without a group that counts, whoever stands ready would be one of the sandbox's processes.
        let can_wait = self.ground.cgroups.pids();
        let process = if can_wait { self.ask_for_process(&groups).ok() } else { None };
        self.spare = Some(Spare { groups, process });
    }

    fn ask_for_process(&self, groups: &Nested) -> Result<Ready, StepError> {
        let (status, their_status) = status_pipe()?;
        let (orders, theirs) = socket::socketpair().at(Step::MakePipe, "orders")?;
        let tasks = groups.tasks(&self.ground.cgroups, Entry::Early);
        let group = groups.born_in();
        let (number, tasks_number) = (groups.number(), u8::try_from(tasks.len()).unwrap_or(0));
        let order = Order::Prepare { number, tasks: tasks_number, goes_on_in_group: group.is_some() };
        let first = if group.is_none() { Some(&their_status) } else { None };
        let passed = first.into_iter().chain([&theirs]).chain(&tasks).map(AsFd::as_fd).chain(group);
        socket::send(self.init.socket.as_fd(), &order.encode(), &passed.collect::<Vec<_>>())
            .at(Step::StartCommand, "")?;
        let their_status = group.map(|_| their_status);
        Ok(Ready { status, their_status, orders })
    }

    /// What was made for the next command, or groups that are made now. Who stands ready has no terminal.
    pub(super) fn take_spare(&mut self, has_terminal: bool) -> Result<Spare, Failure> {
        let taken = self.spare.take_if(|spare| !has_terminal || spare.process.is_none());
        self.wants_spare = self.spare.is_none();
        match taken {
            Some(spare) => Ok(spare),
            None => Ok(Spare { groups: self.next_groups()?, process: None }),
        }
    }

    /// Has a command started, by who stands ready or else by init. Nothing of it has run where this fails.
    pub(super) fn launch(&mut self, spare: &mut Spare, wanted: Wanted) -> Result<Launched, StepError> {
        if let Some(ready) = spare.process.take()
            && let Ok(status) = self.send_to(ready, &spare.groups, &wanted)
        {
            return Ok(Launched { status, process: spare.groups.number(), again: Some(wanted) });
        }
        self.launch_by_init(&spare.groups, &wanted)
    }

    /// Who stood ready is dead, and has told nothing: it was killed before it heard what it was to become.
    pub(super) fn launch_again(&mut self, number: u64) {
        let Some(mut exec) = self.execs.remove(&number) else { return };
        if let Some(wanted) = exec.again.take() {
            match self.launch_by_init(&exec.groups, &wanted) {
                Ok(Launched { status, process, .. }) => {
                    exec.status = Some(status);
                    exec.process = process;
                }
                Err(error) => exec.refuse(error.into()),
            }
        }
        self.execs.insert(number, exec);
    }

    fn launch_by_init(&mut self, groups: &Nested, wanted: &Wanted) -> Result<Launched, StepError> {
        let (status, theirs) = status_pipe()?;
        let above = &self.ground.cgroups;
        let mut tasks = groups.tasks(above, Entry::Early);
        tasks.extend(groups.tasks(above, Entry::Late));
        let mut passed: Vec<_> = groups.born_in().into_iter().collect();
        passed.push(theirs.as_fd());
        // News of another's end who had these groups may be on their way.
        self.last_number += 1;
        let process = self.last_number;
        self.send_order(self.init.socket.as_fd(), process, wanted, (passed, &tasks))?;
        Ok(Launched { status, process, again: None })
    }

    fn send_to(&self, ready: Ready, groups: &Nested, wanted: &Wanted) -> Result<OwnedFd, StepError> {
        let (orders, number) = (ready.orders.as_fd(), groups.number());
        // Both fail when it is dead.
        if let Some(theirs) = &ready.their_status {
            let order = Order::Exec(Exec { number, ..wanted.order });
            let bytes = [order.encode(), wanted.ask.clone()].concat();
            let descriptors: Vec<_> = [theirs].into_iter().chain(&wanted.descriptors).map(AsFd::as_fd).collect();
            let sent = socket::send(orders, &bytes, &[]).and_then(|()| socket::send(orders, &[0], &descriptors));
            sent.at(Step::StartCommand, "")?;
        } else {
            let tasks = groups.tasks(&self.ground.cgroups, Entry::Late);
            self.send_order(orders, number, wanted, (Vec::new(), &tasks))?;
        }
        Ok(ready.status)
    }

    fn send_order<'b>(
        &'b self,
        to: BorrowedFd<'_>,
        number: u64,
        wanted: &'b Wanted,
        (mut passed, tasks): (Vec<BorrowedFd<'b>>, &'b [OwnedFd]),
    ) -> Result<(), StepError> {
        let order = Exec {
            number,
            tasks: u8::try_from(tasks.len()).unwrap_or(0),
            is_counted: self.counter.is_some(),
            ..wanted.order
        };
        let mut bytes = Order::Exec(order).encode();
        bytes.extend_from_slice(&wanted.ask);
        passed.extend(tasks.iter().chain(&self.counter).chain(&wanted.descriptors).map(AsFd::as_fd));
        socket::send(to, &bytes, &passed).at(Step::StartCommand, "")
    }

    /// Has init signal those who take long to be executed.
    pub(super) fn nudge_all(&mut self, now: Instant) {
        for (number, signal) in self.execs.values_mut().filter_map(|exec| exec.nudge(now)).collect::<Vec<_>>() {
            self.tell_init(&Order::Signal { number, signal });
        }
    }

    /// It is not there, or not any more. No other is made before there was a command: somebody in the sandbox may kill them
    /// as fast as we make them.
    pub(super) fn forget_ready(&mut self, number: u64) {
        if let Some(spare) = self.spare.as_mut().filter(|spare| spare.groups.number() == number) {
            spare.process = None;
        }
    }
}

fn status_pipe() -> Result<(OwnedFd, OwnedFd), StepError> {
    let (status, theirs) = pipe::pipe().at(Step::MakePipe, "status")?;
    file::set_nonblocking(status.as_fd()).at(Step::MakePipe, "status")?;
    Ok((status, theirs))
}
