//! Two connections made one: what comes from either goes to the other, in the kernel, by splice(2).

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds by default: pipe(7). More at once would take room from the user's other pipes (pipe-user-pages-soft).
const AT_ONCE: usize = 64 << 10;

/// What has gone through a connection, in bytes.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    /// Into the sandbox.
    pub(super) inward: AtomicU64,
    /// Out of it.
    pub(super) outward: AtomicU64,
}

/// Relays until both sides have ended. One side's end is passed on, and the other may still speak. Where a connection breaks, the
/// other one does too, so that nobody takes what he got for all. `over` is ready when the sandbox is no more: then what it
/// has sent is still delivered, and nothing comes in.
pub(super) async fn relay(inside: &TcpStream, outside: &TcpStream, bytes: &Bytes, over: impl Future<Output = ()>) {
    // A relay must not add to what either side waits for. A connection that is gone already says so when it is read.
    let (_inside, _outside) = (inside.set_nodelay(true), outside.set_nodelay(true));
    let inward = async {
        tokio::select! {
            moved = pass_on(outside, inside, &bytes.inward) => moved,
            () = over => Ok(()),
        }
    };
    if tokio::try_join!(pass_on(inside, outside, &bytes.outward), inward).is_err() {
        break_off(inside);
        break_off(outside);
    }
}

/// Makes a connection end as a broken one, when it is dropped.
pub(super) fn break_off(stream: &TcpStream) {
    let _gone_already = stream.set_zero_linger();
}

/// One direction, to its end. There is a pipe only while there is something to pass on: most connections are idle most of the time,
/// and the host's descriptors are few.
async fn pass_on(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        while let Some(mut held) = take(from, &into)? {
            if held == 0 {
                return Ok(rustix::net::shutdown(to, rustix::net::Shutdown::Write)?);
            }
            while held > 0 {
                let given = give(to, &out, held).await?;
                count.fetch_add(given as u64, Ordering::Relaxed);
                held -= given;
            }
        }
    }
}

/// Takes what is there now; `None` if nothing is, and 0 at the end.
fn take(from: &TcpStream, pipe: &OwnedFd) -> io::Result<Option<usize>> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    match from.try_io(Interest::READABLE, || Ok(splice(from, None, pipe, None, AT_ONCE, flags)?)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

async fn give(to: &TcpStream, pipe: &OwnedFd, length: usize) -> io::Result<usize> {
    loop {
        to.writable().await?;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match to.try_io(Interest::WRITABLE, || without_sigpipe(|| splice(pipe, None, to, None, length, flags))) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            other => return other,
        }
    }
}

/// splice(2) knows no MSG_NOSIGNAL, and a host may not ignore SIGPIPE. The signal is for the thread that writes: signal(7).
fn without_sigpipe(write: impl FnOnce() -> rustix::io::Result<usize>) -> io::Result<usize> {
    let mut pipe = SigSet::empty();
    pipe.add(Signal::SIGPIPE);
    let before = pipe.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let written = write();
    if written == Err(Errno::PIPE) && !before.contains(Signal::SIGPIPE) {
        take_pending(&pipe)?;
    }
    before.thread_set_mask()?;
    Ok(written?)
}

/// Takes the signal that writing has raised for this thread. To be sure that there is one, so that this does not wait, it is
/// raised once more: of one signal only one is pending.
fn take_pending(pipe: &SigSet) -> io::Result<()> {
    nix::sys::signal::raise(Signal::SIGPIPE)?;
    pipe.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_an_error_and_leaves_no_signal() {
        let (mask, error) = (SigSet::thread_get_mask().unwrap(), without_sigpipe(|| Err(Errno::PIPE)).unwrap_err());
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
        assert_eq!(pending.trim(), "0000000000000000");
        assert_eq!(without_sigpipe(|| Ok(5)).unwrap(), 5);
    }

    #[test]
    fn what_one_side_says_after_the_other_has_ended_still_arrives() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let pair = async || {
                let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
                (one.unwrap(), other.unwrap().0)
            };
            let ((mut guest, inside), (outside, mut host)) = (pair().await, pair().await);
            let bytes = Bytes::default();
            let talk = async {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut got = Vec::new();
                guest.write_all(b"question").await.unwrap();
                guest.shutdown().await.unwrap();
                host.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"question");
                host.write_all(&[7; 300_000]).await.unwrap();
                drop(host);
                got.clear();
                guest.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, vec![7; 300_000]);
            };
            tokio::join!(talk, relay(&inside, &outside, &bytes, std::future::pending()));
            assert_eq!((bytes.inward.into_inner(), bytes.outward.into_inner()), (300_000, 8));
        });
    }
}
