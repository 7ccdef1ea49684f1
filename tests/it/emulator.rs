//! A terminal as whoever sits before one has it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Nothing on a terminal takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal emulator, and what it has shown.
pub(crate) struct Emulator {
    master: File,
    terminal: File,
    seen: String,
}

impl Emulator {
    pub(crate) fn new(rows: u16, columns: u16) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        let emulator = Self { master: File::from(master), terminal, seen: String::new() };
        emulator.resize(rows, columns);
        emulator
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    /// The side that programs have.
    pub(crate) fn terminal(&self) -> File {
        self.terminal.try_clone().unwrap()
    }

    /// Starts a program that has it for all of its stdio.
    pub(crate) fn start(&self, mut command: Command) -> Child {
        command.env("TERM", "xterm").stdin(self.terminal()).stdout(self.terminal()).stderr(self.terminal());
        command.spawn().unwrap()
    }

    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Waits until this was shown, and forgets what was.
    pub(crate) fn sees(&mut self, wanted: &str) -> String {
        let begin = Instant::now();
        let mut chunk = [0; 65_536];
        while !self.seen.contains(wanted) {
            assert!(begin.elapsed() < PATIENCE, "no {wanted:?} in {:?}", self.seen);
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&wait)).unwrap() > 0 {
                let length = self.master.read(&mut chunk).unwrap();
                self.seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        }
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
}
