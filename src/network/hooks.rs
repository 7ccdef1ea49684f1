//! What a host may do itself for sandboxes with a list: resolve names, and allow what the list does not.

use pinfold_runner::Connection;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// An answer that may take its time. A job waits for it, and nobody else.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Resolves the names to which sandboxes connect. Unless there is another
/// ([`PinfoldBuilder::resolver`](crate::PinfoldBuilder::resolver)), it is the system's: getaddrinfo(3).
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The addresses of a name, in the order in which to try them. Those to which a name may not lead are left out afterwards. It is
    /// given up after 10 seconds.
    ///
    /// # Errors
    /// That there is no such name, or that it can't be told.
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A name that is not on a sandbox's list, and that it has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AskedHost {
    /// The sandbox's id.
    pub sandbox: String,
    /// The name, in lower case.
    pub host: String,
}

/// Decides about names that are not on the list while the job waits
/// ([`PinfoldBuilder::gatekeeper`](crate::PinfoldBuilder::gatekeeper)).
pub trait Gatekeeper: Send + Sync + fmt::Debug {
    /// The ports at which the sandbox may connect to this name; none refuses it. It is asked once for each name and sandbox, and
    /// its answer stands as long as the sandbox lives. Programs give up a name after half a minute.
    fn ports<'a>(&'a self, asked: &'a AskedHost) -> Answer<'a, Vec<u16>>;
}

/// Hears of the connections of sandboxes with a list, and of the names that they were refused, while the sandboxes live
/// ([`PinfoldBuilder::observer`](crate::PinfoldBuilder::observer)). A result tells the same at its sandbox's end.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A connection has ended, or was refused. To be quick: the sandbox's other connections wait meanwhile.
    fn ended(&self, sandbox: &str, connection: &Connection);
}
