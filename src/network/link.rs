//! The sandbox's init as the gate speaks to it: it hands over sockets of the sandbox's network namespace, which are named here.
//!
//! Naming one in a namespace of somebody else's takes rights there for ports below 1024. Whoever made the sandbox has them,
//! as the owner of its user namespace: user_namespaces(7).

use crate::held::wire::Connection;
use pinfold_runner::RelayMessage;
use rustix::net::sockopt::set_ip_freebind;
use rustix::net::{bind, listen};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Mutex;

/// How many connections may wait to be accepted at one listener.
const BACKLOG: i32 = 512;

/// The socket to init.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    /// Held while somebody waits for an answer.
    asking: Mutex<()>,
}

/// Why there is no listener.
#[derive(Debug)]
pub(super) enum Lacking {
    /// Init has none left.
    Exhausted,
    /// The sandbox is no more, or has taken the port itself.
    Failed,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { connection: Connection::new(socket)?, asking: Mutex::new(()) })
    }

    /// What init hands over first: the socket for questions, and listeners at these addresses.
    pub(super) async fn begin(&self, fixed: &[SocketAddr]) -> io::Result<(UdpSocket, Vec<TcpListener>)> {
        let mut names = self.receive(RelayMessage::NameServer).await?;
        let names = names.pop().ok_or(io::ErrorKind::InvalidData)?;
        let mut listeners = Vec::new();
        while listeners.len() < fixed.len() {
            let more = self.receive(RelayMessage::Fixed).await?;
            if more.is_empty() || listeners.len() + more.len() > fixed.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            for socket in more {
                listeners.push(TcpListener::from_std(socket.into())?);
            }
        }
        Ok((UdpSocket::from_std(names.into())?, listeners))
    }

    /// A new listener in the sandbox.
    pub(super) async fn listener(&self, address: SocketAddr) -> Result<TcpListener, Lacking> {
        let wanted = if address.is_ipv4() { RelayMessage::Socket } else { RelayMessage::SocketV6 };
        let socket = {
            let _asking = self.asking.lock().await;
            self.socket(wanted).await?
        };
        // IPv6 takes an address for the host's own where an interface has it, and not where only a route says so: inet6_bind. The
        // option of IPv4 counts for both families: ipv6_can_nonlocal_bind.
        let free = if address.is_ipv6() { set_ip_freebind(&socket, true) } else { Ok(()) };
        let named = free.and_then(|()| bind(&socket, &address)).and_then(|()| listen(&socket, BACKLOG));
        named.map_err(|_errno| Lacking::Failed)?;
        TcpListener::from_std(socket.into()).map_err(|_error| Lacking::Failed)
    }

    async fn socket(&self, wanted: RelayMessage) -> Result<OwnedFd, Lacking> {
        let failed = |_error| Lacking::Failed;
        self.connection.send_bytes(&[wanted.encode()], &[]).await.map_err(failed)?;
        let received = self.connection.receive().await.map_err(failed)?.ok_or(Lacking::Failed)?;
        match (received.bytes.first().and_then(|byte| RelayMessage::decode(*byte)), received.descriptors) {
            (Some(message), mut sockets) if message == wanted => sockets.pop().ok_or(Lacking::Failed),
            (Some(RelayMessage::NoSocket), _) => Err(Lacking::Exhausted),
            _ => Err(Lacking::Failed),
        }
    }

    /// The next message, which is to be of this kind.
    async fn receive(&self, wanted: RelayMessage) -> io::Result<Vec<OwnedFd>> {
        let received = self.connection.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if received.bytes != [wanted.encode()] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(received.descriptors)
    }
}
