//! Limits that no kernel object holds: the runner looks now and then, and kills on excess.

mod cpu;
mod disk;
mod memory;

pub(crate) use cpu::Cpu;
pub(crate) use disk::{Disk, Room};
pub(crate) use memory::{Memory, Places};

use crate::cgroup::Cgroups;
use crate::processes;
use pinfold_runner::Status;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// All that is watched of one sandbox.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
    pub(crate) disk: Option<Disk>,
}

impl Watch {
    /// When to look next, if at all.
    pub(crate) fn next(&self) -> Option<Instant> {
        let next = [
            self.cpu.as_ref().map(Cpu::next),
            self.memory.as_ref().map(Memory::next),
            self.disk.as_ref().map(Disk::next),
        ];
        next.into_iter().flatten().min()
    }

    /// Looks at whatever is due at `now`. The limit that is passed, as the status that it gives.
    pub(crate) fn look(&mut self, now: Instant, init: i32, cgroups: &Cgroups) -> Option<Status> {
        let memory = self.memory.as_mut().filter(|memory| now >= memory.next());
        if memory.is_some_and(|memory| memory.is_exceeded(init)) {
            return Some(Status::OutOfMemory);
        }
        let cpu = self.cpu.as_mut().filter(|cpu| now >= cpu.next());
        if cpu.is_some_and(|cpu| cpu.is_exceeded(cgroups.cpu_ms(), || processes::cpu_ms(init))) {
            return Some(Status::CpuExceeded);
        }
        let processes = || match cgroups.version() {
            Some(_) => cgroups.processes(),
            None => processes::below(init),
        };
        let disk = self.disk.as_mut().filter(|disk| now >= disk.next());
        disk.is_some_and(|disk| disk.is_exceeded(processes)).then_some(Status::WorkspaceExceeded)
    }

    /// Takes the kernel's counter of CPU time.
    pub(crate) fn set_meter(&mut self, counter: OwnedFd) {
        if let Some(cpu) = &mut self.cpu {
            cpu.set_meter(counter);
        }
    }

    /// CPU time by the kernel's counter, where that is what is watched.
    pub(crate) fn counted_cpu_ms(&self) -> Option<f64> {
        self.cpu.as_ref()?.counted_ms()
    }

    /// Takes what init has made in memory.
    pub(crate) fn set_places(&mut self, places: Places) {
        if let Some(memory) = &mut self.memory {
            memory.set_places(places);
        }
    }
}

/// How many CPUs can be at work at once.
fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}
