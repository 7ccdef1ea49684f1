//! The loopback interface of a new network namespace, and sockets in it.

use super::{Errno, check, check_int, owned, retry};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Brings `lo` up: netdevice(7), SIOCSIFFLAGS.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    // SAFETY: takes no memory.
    let socket = owned(i64::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: ifreq is plain integers and bytes, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the kernel reads one ifreq during the call and keeps nothing.
    check_int(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}

/// A TCP socket without a name, AF_INET or AF_INET6.
pub(crate) fn tcp_socket(family: i32) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes no memory.
    owned(i64::from(unsafe { libc::socket(family, kind, 0) }))
}

/// The first interface of a network namespace is `lo`.
const LOOPBACK: u32 = 1;

/// Of <linux/if_addr.h>, where libc has only some.
const IFA_CACHEINFO: u16 = 6;

/// Gives `lo` one more address: rtnetlink(7), RTM_NEWADDR. One that is there already is fine. One that is not preferred is taken
/// where there is no other (deprecated in RFC 4862); of IPv4 there are none such.
pub(crate) fn add_loopback_address(address: IpAddr, prefix: u8, is_preferred: bool) -> Result<(), Errno> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    // struct ifaddrmsg of <linux/if_addr.h>: family, prefix, flags, scope (of this host), interface. Nobody else could have the
    // address (IFA_F_NODAD); IPv6 would look for one first, and let nobody bind to it meanwhile.
    let mut body = vec![family as u8, prefix, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_HOST];
    body.extend_from_slice(&LOOPBACK.to_ne_bytes());
    for attribute in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        add_attribute(&mut body, attribute, &octets);
    }
    if !is_preferred {
        // struct ifa_cacheinfo: for how long it is preferred, for how long it is there (for ever), and two times that are answers.
        let lifetimes = [0, u32::MAX, 0, 0].map(u32::to_ne_bytes);
        add_attribute(&mut body, IFA_CACHEINFO, lifetimes.as_flattened());
    }
    match netlink(libc::RTM_NEWADDR, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16, &body) {
        Err(Errno(libc::EEXIST)) => Ok(()),
        other => other,
    }
}

/// Makes all addresses of a block this host's, without giving it any of them: rtnetlink(7), RTM_NEWROUTE, a route of the kind
/// RTN_LOCAL.
pub(crate) fn add_local_block(first: Ipv6Addr, prefix: u8) -> Result<(), Errno> {
    // struct rtmsg: family, length of the destination's prefix, of the source's, type of service, table, protocol, scope, kind, flags.
    let (table, scope) = (libc::RT_TABLE_LOCAL, libc::RT_SCOPE_UNIVERSE);
    let mut body = vec![libc::AF_INET6 as u8, prefix, 0, 0, table, libc::RTPROT_BOOT, scope, libc::RTN_LOCAL];
    body.extend_from_slice(&[0; 4]);
    add_attribute(&mut body, libc::RTA_DST, &first.octets());
    add_attribute(&mut body, libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
    netlink(libc::RTM_NEWROUTE, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16, &body)
}

/// struct rtattr: length with these four bytes, kind, and what it is. All that there are here have a multiple of four bytes.
fn add_attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    body.extend_from_slice(&(4 + content.len() as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(content);
}

/// One request to the kernel's routing tables, netlink(7), and its answer.
fn netlink(kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
    /// struct nlmsghdr: length, kind, flags, sequence, port.
    const HEADER: usize = 16;
    let kind_of_socket = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes no memory.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, kind_of_socket, libc::NETLINK_ROUTE) };
    let socket = owned(i64::from(socket))?;
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    let (bytes, length) = (message.as_ptr().cast(), message.len());
    // SAFETY: the kernel reads that many bytes of ours during the call. A socket without a peer sends to the kernel.
    retry(|| check(unsafe { libc::send(socket.as_raw_fd(), bytes, length, 0) } as i64))?;
    let mut answer = [0u8; 1024];
    // SAFETY: the kernel writes at most the array's length into it, during the call.
    let received = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    let received = check(received as i64)? as usize;
    let is_answer = received >= HEADER + 4 && answer[4..6] == (libc::NLMSG_ERROR as u16).to_ne_bytes();
    // struct nlmsgerr begins with the negative errno, or 0.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 if is_answer => Ok(()),
        errno if is_answer => Err(Errno(-errno)),
        _ => Err(Errno(libc::EBADMSG)),
    }
}
