//! Our stdio and the sandbox's, joined by copying. The command never holds a descriptor of ours.
//!
//! Reading and writing ours happens on threads of their own, with plain blocking calls: `O_NONBLOCK` would be set on
//! an open file that the caller's other programs share, and tokio's own reading of stdin would hold up the end. A thread for
//! an output is made when something is written that does not fit at once: a short answer costs none.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{ReadWriteFlags, pwritev2};
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

const CHUNK: usize = 64 << 10;
const FIRST_CHUNK: usize = 4 << 10;

/// Chunks that wait between the two sides: enough that neither waits for the other's every step.
const QUEUE: usize = 4;

/// How often a background process looks whether the terminal is its own again.
const FOREGROUND_POLL: Duration = Duration::from_millis(100);

/// Passes our stdin on until it ends or the command reads no more. Its thread ends with the process.
///
/// # Errors
/// When there is no thread to be had.
pub(in crate::cli) fn pass_stdin(mut sink: impl AsyncWrite + Unpin + Send + 'static) -> Result<()> {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(1);
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || read_stdin(stdin, &sender))?;
    tokio::spawn(async move {
        while let Some(chunk) = receiver.recv().await {
            if sink.write_all(&chunk).await.is_err() || sink.flush().await.is_err() {
                return;
            }
        }
        // End-of-file; when the command has closed its end there is nobody to tell.
        let _ = sink.shutdown().await;
    });
    Ok(())
}

fn read_stdin(stdin: OwnedFd, sender: &mpsc::Sender<Vec<u8>>) {
    let mut stdin = File::from(stdin);
    loop {
        if !wait_for_input(&stdin) {
            return;
        }
        let mut chunk = vec![0; CHUNK];
        match stdin.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                chunk.truncate(length);
                if sender.blocking_send(chunk).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_unreadable) => return,
        }
    }
}

/// Waits until there is something to read. Reading a terminal from the background would stop us (SIGTTIN), and we
/// read without being asked to: `pinfold run … &` must go on.
fn wait_for_input(stdin: &File) -> bool {
    loop {
        match poll(&mut [PollFd::new(stdin, PollFlags::IN)], None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
        }
        // Not our terminal, or no terminal at all: then nothing stops us.
        let Ok(foreground) = rustix::termios::tcgetpgrp(stdin) else { return true };
        if foreground == rustix::process::getpgrp() {
            return true;
        }
        std::thread::sleep(FOREGROUND_POLL);
    }
}

/// One of our outputs, and how it went.
pub(in crate::cli) struct Output {
    /// Comes when everything is written, or with the error that stopped it.
    done: oneshot::Receiver<Result<()>>,
    finished: bool,
}

impl Output {
    /// Passes on what `source` gives to `target` until it ends.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub(in crate::cli) fn pass(mut source: impl AsyncRead + Unpin + Send + 'static, target: impl AsFd) -> Result<Self> {
        let target = target.as_fd().try_clone_to_owned()?;
        let (report, done) = oneshot::channel();
        tokio::spawn(async move {
            let mut writer = Writer::Here(target, report);
            // Most commands write less than this, and memory that is never used takes its time.
            let mut chunk = vec![0; FIRST_CHUNK];
            while let Ok(length @ 1..) = source.read(&mut chunk).await {
                writer = match writer.write(&chunk[..length]).await {
                    Some(writer) => writer,
                    None => return,
                };
                if length == FIRST_CHUNK {
                    chunk.resize(CHUNK, 0);
                }
            }
            writer.end();
        });
        Ok(Self { done, finished: false })
    }

    /// Waits for the end; after it, for ever.
    pub(in crate::cli) async fn end(&mut self) -> Result<()> {
        if self.finished {
            return std::future::pending().await;
        }
        let result = (&mut self.done).await;
        self.finished = true;
        result.unwrap_or(Ok(()))
    }

    /// Waits for the end; after it, not at all.
    ///
    /// # Errors
    /// What stopped the writing, if that has not been told before.
    pub(in crate::cli) async fn drain(&mut self) -> Result<()> {
        if self.finished { Ok(()) } else { self.end().await }
    }
}

/// Who writes an output.
enum Writer {
    /// We, as long as nothing has to be waited for. Nobody asks how it went when the program is on its way out.
    Here(OwnedFd, oneshot::Sender<Result<()>>),
    Thread(mpsc::Sender<Vec<u8>>),
}

impl Writer {
    /// Writes it, or has it written. `None` when there is no more to be written.
    async fn write(self, chunk: &[u8]) -> Option<Self> {
        match self {
            Self::Here(target, report) => {
                let written = write_now(&target, chunk);
                if written == chunk.len() {
                    return Some(Self::Here(target, report));
                }
                // What can't be written says so there.
                Self::thread(target, report)?.send(&chunk[written..]).await
            }
            thread => thread.send(chunk).await,
        }
    }

    async fn send(self, chunk: &[u8]) -> Option<Self> {
        match &self {
            Self::Thread(sender) => sender.send(chunk.to_vec()).await.ok().map(|()| self),
            Self::Here(..) => None,
        }
    }

    fn thread(target: OwnedFd, report: oneshot::Sender<Result<()>>) -> Option<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        // Handed over when the thread is there, so that we still have them if it is not.
        let (hand_over, take) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            if let Ok((target, receiver, report)) = take.recv() {
                let report: oneshot::Sender<Result<()>> = report;
                let _nobody_asks = report.send(write_output(target, receiver));
            }
        });
        match thread {
            Ok(_thread) => hand_over.send((target, receiver, report)).ok().map(|()| Self::Thread(sender)),
            Err(error) => {
                let _nobody_asks = report.send(Err(error));
                None
            }
        }
    }

    /// There is no more. A thread says itself when all is written.
    fn end(self) {
        if let Self::Here(_, report) = self {
            let _nobody_asks = report.send(Ok(()));
        }
    }
}

/// Writes what can be written without waiting: RWF_NOWAIT, pwritev2(2), where the file knows it.
pub(in crate::cli) fn write_now(target: impl AsFd, chunk: &[u8]) -> usize {
    // An offset of -1 is the file's own.
    pwritev2(target, &[IoSlice::new(chunk)], u64::MAX, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

fn write_output(target: OwnedFd, mut receiver: mpsc::Receiver<Vec<u8>>) -> Result<()> {
    let mut target = File::from(target);
    while let Some(chunk) = receiver.blocking_recv() {
        write_all(&mut target, &chunk)?;
    }
    Ok(())
}

/// Writes all of it, however long that takes.
pub(in crate::cli) fn write_all(target: &mut File, mut rest: &[u8]) -> Result<()> {
    while !rest.is_empty() {
        match target.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => rest = &rest[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares it has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(target, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
