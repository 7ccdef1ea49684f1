//! What a service manager hands to a service and is told by it: sd_listen_fds(3), sd_notify(3).

use crate::sys;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::os::fd::OwnedFd;

/// No service manager of ours hands over more sockets.
const MOST: usize = 16;

/// The sockets that were handed to this very process; none where nobody hands over any. To be called once, first of all.
///
/// # Errors
/// When there are said to be some and they are not there.
pub fn inherited_sockets() -> Result<Vec<OwnedFd>, String> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let own = usize::try_from(std::process::id()).ok();
    if own.is_none() || number("LISTEN_PID") != own {
        return Ok(Vec::new());
    }
    match number("LISTEN_FDS") {
        None | Some(0) => Ok(Vec::new()),
        Some(count) if count <= MOST => {
            sys::handed_sockets(count).ok_or_else(|| format!("LISTEN_FDS is {count}, and they are not all sockets"))
        }
        Some(count) => Err(format!("LISTEN_FDS is {count}, and at most {MOST} are taken")),
    }
}

/// Tells the service manager something, such as `READY=1`, if there is one that wants to know. It is a courtesy: that nobody
/// listens is no error.
pub fn notify(words: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let path = path.as_encoded_bytes();
    let address = match path.split_first() {
        Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name),
        Some((b'/', _)) => SocketAddrUnix::new(path),
        _ => return,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(address) = address else { return };
    let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None) else { return };
    let _nobody_listens = sendto(&socket, words.as_bytes(), SendFlags::NOSIGNAL, &address);
}
