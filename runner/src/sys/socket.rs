//! Unix sockets: the one between the runner and its init, with whole messages and one descriptor where a message carries
//! one, and one to a service of the host.

use super::{Errno, check, check_int, owned, retry};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors that one message carries.
const MOST: usize = 16;

/// cmsg(3): a header of 16 bytes on every 64-bit Linux (length, level, type), then the descriptors' numbers.
const HEADER: usize = 16;

/// Space for one control message, aligned as cmsg(3) wants.
#[repr(align(8))]
struct ControlSpace([u8; HEADER + 4 * MOST]);

/// `socketpair(2)`: Unix, sequenced packets, close-on-exec.
pub(crate) fn socketpair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors into the array during the call.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let first = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: the same.
    let second = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((first, second))
}

/// `socket(2)` and `connect(2)`: a stream to whoever listens at `path`. Non-blocking from the start: where nobody takes
/// connections any more and the queue is full, the answer is EAGAIN and not a wait.
pub(crate) fn connect(path: &str) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no memory.
    let socket = owned(i64::from(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }))?;
    let mut name = [0; 108];
    // One byte stays zero: the path's end.
    if path.len() >= name.len() || path.contains('\0') {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    name.iter_mut().zip(path.bytes()).for_each(|(place, byte)| *place = byte as libc::c_char);
    let address = libc::sockaddr_un { sun_family: libc::AF_UNIX as u16, sun_path: name };
    let length = size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: the kernel reads the address of that length during the call and keeps nothing.
    check_int(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// SO_PEERCRED of unix(7): the uid of the process that listens at the other end, as it was when it began to.
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as u32;
    let (fd, level, name) = (socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: the kernel writes at most `length` bytes, which is the space that we own, and the length, during the call.
    check_int(unsafe { libc::getsockopt(fd, level, name, (&raw mut peer).cast(), &raw mut length) })?;
    Ok(peer.uid)
}

/// Sends one message, with descriptors if any are given: `sendmsg(2)`. Never raises SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(socket, bytes, descriptors, 0)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>], flags: i32) -> Result<(), Errno> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = ControlSpace([0; HEADER + 4 * MOST]);
    // SAFETY: msghdr is plain integers and pointers, for which all zeroes is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if descriptors.len() > MOST {
        return Err(Errno(libc::EINVAL));
    }
    if !descriptors.is_empty() {
        let length = HEADER + 4 * descriptors.len();
        control.0[..8].copy_from_slice(&length.to_ne_bytes());
        control.0[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        control.0[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
        for (place, descriptor) in control.0[HEADER..].chunks_exact_mut(4).zip(descriptors) {
            place.copy_from_slice(&descriptor.as_raw_fd().to_ne_bytes());
        }
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = length.next_multiple_of(8);
    }
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads the message, its one part and its control data during the call and writes none of them.
    retry(|| check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) } as i64)).map(drop)
}

/// Sends one message if there is room for it now, else EAGAIN.
pub(crate) fn try_send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(socket, bytes, descriptors, libc::MSG_DONTWAIT)
}

/// Receives one message: its length (0 when the other end is closed) and the descriptors that came with it.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = ControlSpace([0; HEADER + 4 * MOST]);
    // SAFETY: msghdr is plain integers and pointers, for which all zeroes is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: the kernel writes at most the given lengths into the buffer and the control space, during the call.
    let length =
        retry(|| check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) } as i64))?;
    let number =
        |at: usize| i32::from_ne_bytes([control.0[at], control.0[at + 1], control.0[at + 2], control.0[at + 3]]);
    let carries = message.msg_controllen >= HEADER && number(8) == libc::SOL_SOCKET && number(12) == libc::SCM_RIGHTS;
    // cmsg_len, whose upper half is zero at these sizes.
    let end = if carries { number(0) as usize } else { HEADER };
    // SAFETY: SCM_RIGHTS means that the kernel installed new descriptors for us, which nobody else owns.
    let owned = |at: usize| unsafe { OwnedFd::from_raw_fd(number(at) as RawFd) };
    Ok((length as usize, (HEADER..end).step_by(4).map(owned).collect()))
}
