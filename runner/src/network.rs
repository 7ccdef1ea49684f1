//! The sandbox's own network namespace. Where the job has a list of allowed hosts, it also has addresses that stand for them, and
//! the supervisor gets what it takes to answer there (`contract::relay`).

use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::{network, poll, resource, socket};
use pinfold_runner::{AddressRange, AllowList, MOST_LISTENERS, NAME_SERVER, RelayMessage, STAND_INS, STAND_INS_V6};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

/// How many descriptors go into one message: as many as a supervisor takes at once.
const AT_ONCE: usize = 8;

/// Sockets without a name that are the supervisor's for the asking. They are made while init may still make some.
pub(crate) struct Pool {
    supervisor: OwnedFd,
    sockets: Vec<OwnedFd>,
    /// Of IPv6; none where there is none.
    sockets_v6: Vec<OwnedFd>,
}

/// Prepares the namespace that this process is in, which needs rights in it.
pub(crate) fn prepare(plan: &Plan<'_>, supervisor: Option<OwnedFd>) -> Result<Option<Pool>, StepError> {
    let (Some(list), Some(supervisor)) = (plan.job.network.list(), supervisor) else { return Ok(None) };
    // On a loopback interface a whole block is local with its first address: RTN_LOCAL in fib_add_ifaddr of the kernel.
    add(NAME_SERVER.into(), STAND_INS.prefix())?;
    for range in list.fixed_ranges() {
        add_range(range)?;
    }
    let name_server = UdpSocket::bind((NAME_SERVER, 53)).at(Step::PrepareNetwork, "the name server")?;
    name_server.set_nonblocking(true).at(Step::PrepareNetwork, "the name server")?;
    hand_over(&supervisor, RelayMessage::NameServer, &[name_server.into()])?;
    for listeners in listen(list)?.chunks(AT_ONCE) {
        hand_over(&supervisor, RelayMessage::Fixed, listeners)?;
    }
    resource::lift(libc::RLIMIT_NOFILE).at(Step::PrepareNetwork, "open files")?;
    let sockets = make(libc::AF_INET)?;
    let sockets_v6 = if add_stand_ins_v6() { make(libc::AF_INET6)? } else { Vec::new() };
    Ok(Some(Pool { supervisor, sockets, sockets_v6 }))
}

fn make(family: i32) -> Result<Vec<OwnedFd>, StepError> {
    (0..MOST_LISTENERS).map(|_| network::tcp_socket(family).at(Step::PrepareNetwork, "a socket")).collect()
}

/// Whether names have addresses of IPv6 too. A kernel may be without it, or a host have it off; every name has one of IPv4. The first
/// address is the sandbox's own: without one libc would not ask for others (AI_ADDRCONFIG, getaddrinfo(3)). That it is not
/// preferred makes glibc sort IPv4 before IPv6 (rule 3 of RFC 6724), as other resolvers do because of the range.
fn add_stand_ins_v6() -> bool {
    let IpAddr::V6(first) = STAND_INS_V6.first() else { return false };
    let has_block = network::add_local_block(first, STAND_INS_V6.prefix()).is_ok();
    has_block && network::add_loopback_address(STAND_INS_V6.address(1), 128, false).is_ok()
}

fn add(address: IpAddr, prefix: u8) -> Result<(), StepError> {
    network::add_loopback_address(address, prefix, true).at(Step::PrepareNetwork, address.to_string())
}

/// Each address as one of its own: in a block the last one would be for broadcasts.
fn add_range(range: AddressRange) -> Result<(), StepError> {
    if range.first().is_loopback() {
        return Ok(());
    }
    range.addresses().try_for_each(|address| add(address, if address.is_ipv4() { 32 } else { 128 }))
}

fn listen(list: &AllowList) -> Result<Vec<OwnedFd>, StepError> {
    let listen = |address: &SocketAddr| {
        let listener = TcpListener::bind(address).at(Step::PrepareNetwork, address.to_string())?;
        listener.set_nonblocking(true).at(Step::PrepareNetwork, address.to_string())?;
        Ok(listener.into())
    };
    list.fixed().iter().map(listen).collect()
}

fn hand_over(supervisor: &OwnedFd, message: RelayMessage, sockets: &[OwnedFd]) -> Result<(), StepError> {
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    socket::send(supervisor.as_fd(), &[message.encode()], &sockets).at(Step::PrepareNetwork, "the supervisor")
}

impl Pool {
    /// What to wait for.
    pub(crate) fn entry(&self) -> libc::pollfd {
        poll::entry(self.supervisor.as_fd(), libc::POLLIN)
    }

    /// Answers one request. False when the supervisor has closed, or says what can't be understood.
    pub(crate) fn turn(&mut self) -> bool {
        let mut byte = [0];
        let asked = match socket::receive(self.supervisor.as_fd(), &mut byte) {
            Ok((1, _)) => RelayMessage::decode(byte[0]),
            _ => return false,
        };
        let sockets = match asked {
            Some(RelayMessage::Socket) => &mut self.sockets,
            Some(RelayMessage::SocketV6) => &mut self.sockets_v6,
            _ => return false,
        };
        // It asks again only when it has the answer, so there is room: who does not read must not hold init up.
        match sockets.pop() {
            Some(socket) => socket::try_send(self.supervisor.as_fd(), &byte, &[socket.as_fd()]).is_ok(),
            None => socket::try_send(self.supervisor.as_fd(), &[RelayMessage::NoSocket.encode()], &[]).is_ok(),
        }
    }
}
