//! A terminal from its master's side.

use crate::sys;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{
    Action, LocalModes, OptionalActions, OutputModes, Termios, Winsize, tcflow, tcgetattr, tcgetpgrp, tcsetattr,
    tcsetwinsize,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// A pty: the master, and the other side held open, so that it never looks hung up while the shell lives.
#[derive(Debug)]
pub(crate) struct Pty {
    master: AsyncFd<Arc<OwnedFd>>,
    other: OwnedFd,
}

impl Pty {
    pub(crate) fn new(master: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        // Opened now: a program may forbid it later (TIOCEXCL).
        let other = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        let master = sys::watch(Arc::new(master), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { master, other })
    }

    /// Waits for output.
    pub(crate) async fn output(&self) -> io::Result<Vec<u8>> {
        self.master
            .async_io(Interest::READABLE, |master| {
                let mut chunk = vec![0; CHUNK];
                let length = rustix::io::read(master, &mut chunk)?;
                chunk.truncate(length);
                Ok(chunk)
            })
            .await
    }

    /// Output that is there now, `None` when there is none left. Before it says so, the kernel waits for what was written
    /// already and is under way still: `n_tty_read`, since Linux 4.7. So whatever was written before this call is read.
    pub(crate) fn output_now(&self) -> Option<Vec<u8>> {
        let mut chunk = vec![0; CHUNK];
        loop {
            match rustix::io::read(self.master.get_ref(), &mut chunk) {
                Ok(length @ 1..) => {
                    chunk.truncate(length);
                    return Some(chunk);
                }
                Err(Errno::INTR) => {}
                _ => return None,
            }
        }
    }

    /// Waits until some of this input was taken.
    pub(crate) async fn input(&self, bytes: &[u8]) -> io::Result<usize> {
        self.master.async_io(Interest::WRITABLE, |master| Ok(rustix::io::write(master, bytes)?)).await
    }

    /// Writes a short input now, if there is room.
    pub(super) fn input_now(&self, bytes: &[u8]) -> bool {
        rustix::io::write(self.master.get_ref(), bytes) == Ok(bytes.len())
    }

    pub(crate) fn resize(&self, (rows, columns): (u16, u16)) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal has no reason to refuse.
        let _taken = tcsetwinsize(self.master.get_ref(), size);
    }

    /// Sends SIGINT to what is in the foreground, whatever the terminal's modes are.
    pub(super) fn interrupt(&self) {
        // There may be nothing in the foreground.
        let _nobody = sys::signal_foreground(self.master.get_ref().as_fd(), Signal::INT);
    }

    /// The foreground process group, as our pid namespace numbers it.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(self.master.get_ref()).ok()
    }

    /// The device, as a descriptor of it looks to fstat(2).
    pub(super) fn device(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&self.other).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    pub(super) fn modes(&self) -> Option<Termios> {
        tcgetattr(self.master.get_ref()).ok()
    }

    /// Lets output pass as it is written, and echoes no input. It goes on if somebody had stopped it (Ctrl-S, TCOOFF).
    /// What was changed is to be put back.
    pub(super) fn make_exact(&self) -> Changed {
        let changed = self.modes().map_or_else(Changed::default, |mut modes| {
            let changed = Changed {
                output: modes.output_modes & OutputModes::OPOST,
                local: modes.local_modes & (LocalModes::ECHO | LocalModes::ECHONL),
            };
            modes.output_modes.remove(changed.output);
            modes.local_modes.remove(changed.local);
            self.set(&modes);
            changed
        });
        // First off: on alone does not undo a Ctrl-S (`n_tty_ioctl_helper`).
        let _restarted = tcflow(&self.other, Action::OOff).and_then(|()| tcflow(&self.other, Action::OOn));
        changed
    }

    /// Puts back what [`Pty::make_exact`] changed, and nothing that somebody else has changed since.
    pub(super) fn put_back(&self, changed: Changed) {
        if let Some(mut modes) = self.modes() {
            modes.output_modes.insert(changed.output);
            modes.local_modes.insert(changed.local);
            self.set(&modes);
        }
    }

    /// Drops input that nobody has read.
    pub(super) fn drop_input(&self) {
        let _dropped = rustix::termios::tcflush(&self.other, rustix::termios::QueueSelector::IFlush);
    }

    fn set(&self, modes: &Termios) {
        // At once: waiting for output to be read would be waiting for ourselves.
        let _set = tcsetattr(self.master.get_ref(), OptionalActions::Now, modes);
    }
}

/// Modes of a terminal that were switched off for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    output: OutputModes,
    local: LocalModes,
}

impl Default for Changed {
    fn default() -> Self {
        Self { output: OutputModes::empty(), local: LocalModes::empty() }
    }
}

/// Whether a terminal takes lines and leaves line feeds as they are: no program does that to draw, but we do.
pub(super) fn lacks_carriage_returns(modes: &Termios) -> bool {
    modes.local_modes.contains(LocalModes::ICANON) && !modes.output_modes.contains(OutputModes::OPOST)
}
