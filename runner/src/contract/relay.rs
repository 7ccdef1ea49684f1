//! What the init of a sandbox with a list of allowed hosts and its supervisor say to each other: messages of one byte, with
//! descriptors, over the socket of [`RunnerOptions::network`](super::options::RunnerOptions).
//!
//! A socket belongs to the network namespace in which it was made, whoever holds it. So init makes sockets before it gives up its
//! rights and hands them over, and the supervisor names them, listens on them and takes the sandbox's connections, without
//! ever being in that namespace, and without anything that stays there for it.

/// How many ports of names a sandbox can have at the same time: init makes as many sockets in advance, and as many of IPv6 where
/// there is IPv6.
pub const MOST_LISTENERS: usize = 256;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayMessage {
    /// From init, first: with it comes the UDP socket to which the sandbox sends its questions for names.
    NameServer,
    /// From init, next, until all have come: with it come some of the sockets that listen at
    /// [`AllowList::fixed`](super::network::AllowList::fixed), in that order.
    Fixed,
    /// From the supervisor: it needs a TCP socket of IPv4. From init: with it comes one, which has no name yet.
    Socket,
    /// The same with IPv6.
    SocketV6,
    /// From init: there is none left.
    NoSocket,
}

impl RelayMessage {
    /// The message as a byte.
    pub fn encode(self) -> u8 {
        match self {
            Self::NameServer => b'd',
            Self::Fixed => b'f',
            Self::Socket => b's',
            Self::SocketV6 => b'6',
            Self::NoSocket => b'n',
        }
    }

    /// The message that a byte says.
    pub fn decode(byte: u8) -> Option<Self> {
        [Self::NameServer, Self::Fixed, Self::Socket, Self::SocketV6, Self::NoSocket]
            .into_iter()
            .find(|message| message.encode() == byte)
    }
}
