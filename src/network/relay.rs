//! Two connections made one: what comes from either goes to the other, in the kernel, by splice(2).

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
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

/// Relays until both sides have ended. One side's end is passed on, and the other may still speak, but not be silent for longer
/// than `patience`: whoever is gone altogether looks the same from here. Where a connection breaks, the
/// other one does too, so that nobody takes what he got for all. `over` is ready when the sandbox is no more: then what it
/// has sent is still delivered, and nothing comes in.
pub(super) async fn relay(
    inside: &TcpStream,
    outside: &TcpStream,
    bytes: &Bytes,
    patience: Duration,
    over: impl Future<Output = ()>,
) {
    // A relay must not add to what either side waits for. A connection that is gone already says so when it is read.
    let (_inside, _outside) = (inside.set_nodelay(true), outside.set_nodelay(true));
    let one_has_ended = AtomicBool::new(false);
    let inward = async {
        tokio::select! {
            moved = pass_on(outside, inside, &bytes.inward) => moved,
            () = over => Ok(()),
        }?;
        one_has_ended.store(true, Ordering::Relaxed);
        io::Result::Ok(())
    };
    let outward = async {
        pass_on(inside, outside, &bytes.outward).await?;
        one_has_ended.store(true, Ordering::Relaxed);
        Ok(())
    };
    let both = async { tokio::try_join!(outward, inward).map(drop) };
    let ended = tokio::select! {
        ended = both => ended,
        () = silence(bytes, &one_has_ended, patience) => Err(io::ErrorKind::TimedOut.into()),
    };
    if ended.is_err() {
        break_off(inside);
        break_off(outside);
    }
}

/// Ready when one direction has ended and nothing has gone through the other for `patience`.
async fn silence(bytes: &Bytes, one_has_ended: &AtomicBool, patience: Duration) {
    let so_far = || (bytes.inward.load(Ordering::Relaxed), bytes.outward.load(Ordering::Relaxed));
    let mut before = None;
    loop {
        let now = one_has_ended.load(Ordering::Relaxed).then(so_far);
        if now.is_some() && now == before {
            return;
        }
        before = now;
        tokio::time::sleep(patience).await;
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

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(600);

    /// A relay between two connections: the guest's end, ours, ours, and the host's end.
    async fn four_ends() -> [TcpStream; 4] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pair = async || {
            let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
            (one.unwrap(), other.unwrap().0)
        };
        let ((guest, inside), (outside, host)) = (pair().await, pair().await);
        [guest, inside, outside, host]
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn a_half_closed_connection_may_not_be_silent_for_ever() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        run(async {
            let [mut guest, inside, outside, mut host] = four_ends().await;
            let bytes = Bytes::default();
            guest.write_all(b"question").await.unwrap();
            guest.shutdown().await.unwrap();
            // The host never answers: that it ends at all is what is to be seen.
            relay(&inside, &outside, &bytes, Duration::from_millis(20), std::future::pending()).await;
            drop((inside, outside));
            let (mut got, mut byte) = (Vec::new(), [0]);
            let (answer, asked) = tokio::join!(guest.read(&mut byte), host.read_to_end(&mut got));
            assert!(answer.is_err() && (asked.is_err() || got == b"question"), "{answer:?} {asked:?}");
        });
    }

    #[test]
    fn a_connection_whose_sides_both_live_may_be_silent() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        run(async {
            let [mut guest, inside, outside, mut host] = four_ends().await;
            let (bytes, patience) = (Bytes::default(), Duration::from_millis(1));
            let talk = async {
                tokio::time::sleep(20 * patience).await;
                guest.write_all(b"late").await.unwrap();
                let mut got = [0; 4];
                host.read_exact(&mut got).await.unwrap();
                drop((guest, host));
            };
            tokio::join!(talk, relay(&inside, &outside, &bytes, patience, std::future::pending()));
            assert_eq!(bytes.outward.into_inner(), 4);
        });
    }

    #[test]
    fn what_one_side_says_after_the_other_has_ended_still_arrives() {
        run(async {
            let [mut guest, inside, outside, mut host] = four_ends().await;
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
            tokio::join!(talk, relay(&inside, &outside, &bytes, LONG, std::future::pending()));
            assert_eq!((bytes.inward.into_inner(), bytes.outward.into_inner()), (300_000, 8));
        });
    }
}
