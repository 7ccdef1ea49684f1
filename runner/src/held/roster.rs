//! Init's children, by whom the runner knows them. One that stood ready for a group that it could not enter has a successor: the
//! same number means that one from its birth on.

use crate::spent::Spent;
use crate::sys::Errno;
use crate::sys::process::End;
use crate::sys::successor::{PLACES, Places};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};

/// The first processes of commands, and those who stand ready, until they are reaped.
pub(super) struct Roster {
    numbers: BTreeMap<i32, u64>,
    /// Those who will have a successor, or have one, and live themselves or are still to be reaped.
    predecessors: BTreeMap<i32, Predecessor>,
    places: Places,
}

struct Predecessor {
    number: u64,
    /// Where the successor's pid is once there is one.
    place: usize,
    /// Whether the successor was reaped.
    is_over: bool,
}

/// How a process ended, when, and what it had used.
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) ended_us: u64,
    pub(super) spent: Spent,
}

impl Roster {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self { numbers: BTreeMap::new(), predecessors: BTreeMap::new(), places: Places::new()? })
    }

    /// A place for a successor's pid that is nobody's now.
    pub(super) fn free_place(&self) -> Result<usize, Errno> {
        let is_free = |place: &usize| self.predecessors.values().all(|other| other.place != *place);
        let place = (0..PLACES).find(is_free).ok_or(Errno(libc::EAGAIN))?;
        self.successor(place).ok_or(Errno(libc::EAGAIN))?.store(0, Ordering::Release);
        Ok(place)
    }

    /// What is in a place: a pid, or 0.
    pub(super) fn successor(&self, place: usize) -> Option<&AtomicI32> {
        self.places.at(place)
    }

    /// Those who have a successor, of whom nobody wants anything any more.
    pub(super) fn succeeded(&self) -> impl Iterator<Item = i32> {
        self.predecessors.iter().filter(|(_, own)| self.successor_of(own).is_some()).map(|(pid, _)| *pid)
    }

    /// A child was made; with a place one that is to have a successor.
    pub(super) fn add(&mut self, pid: i32, number: u64, place: Option<usize>) {
        match place {
            Some(place) => _ = self.predecessors.insert(pid, Predecessor { number, place, is_over: false }),
            None => _ = self.numbers.insert(pid, number),
        }
    }

    fn successor_of(&self, predecessor: &Predecessor) -> Option<i32> {
        let pid = self.successor(predecessor.place)?.load(Ordering::Acquire);
        (pid != 0).then_some(pid)
    }

    /// All processes that have this number and are not reaped: the successor first.
    pub(super) fn processes_of(&self, number: u64) -> Vec<i32> {
        let commands = self.numbers.iter().filter(|(_, other)| **other == number).map(|(pid, _)| *pid);
        let predecessors = self.predecessors.iter().filter(|(_, other)| other.number == number);
        let both = predecessors.flat_map(|(pid, other)| {
            let successor = self.successor_of(other).filter(|_| !other.is_over);
            successor.into_iter().chain([*pid])
        });
        commands.chain(both).collect()
    }

    /// A child was reaped: the number of the command that has ended with that, or that will not be, and how.
    pub(super) fn reap(&mut self, pid: i32, ended: Ended) -> Option<(u64, Ended)> {
        if let Some(number) = self.numbers.remove(&pid) {
            return Some((number, ended));
        }
        if let Some(own) = self.predecessors.remove(&pid) {
            let Some(successor) = self.successor_of(&own) else { return Some((own.number, ended)) };
            if !own.is_over {
                self.numbers.insert(successor, own.number);
            }
            return None;
        }
        let has = |other: &&Predecessor| !other.is_over && self.successor_of(other) == Some(pid);
        let number = self.predecessors.values().find(has)?.number;
        self.predecessors.values_mut().filter(|other| other.number == number).for_each(|other| other.is_over = true);
        Some((number, ended))
    }
}
