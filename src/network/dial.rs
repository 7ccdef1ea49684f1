//! Connecting on the host's side. A name is resolved once, and what was judged is what is dialled.

use super::address;
use super::hooks::Resolver;
use pinfold_runner::{AllowList, RefusalReason};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long resolving may take, and connecting to each address.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most addresses of a name that are tried.
const MOST_TRIED: usize = 8;

/// Where a listener in the sandbox leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To a name that is allowed.
    Name(String, u16),
    /// To an address of the list.
    Address(SocketAddr),
}

impl Target {
    /// What the result calls it.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Name(name, _) => name.clone(),
            Self::Address(address) => address.ip().to_string(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Name(_, port) => *port,
            Self::Address(address) => address.port(),
        }
    }

    /// Connects.
    pub(super) async fn dial(&self, list: &AllowList, resolver: &dyn Resolver) -> Result<TcpStream, RefusalReason> {
        let addresses = match self {
            Self::Address(address) => vec![*address],
            Self::Name(name, port) => resolve(name, *port, list, resolver).await?,
        };
        for address in addresses {
            if let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(RefusalReason::Unreachable)
    }
}

/// The addresses of a name to which it may lead.
async fn resolve(
    name: &str,
    port: u16,
    list: &AllowList,
    resolver: &dyn Resolver,
) -> Result<Vec<SocketAddr>, RefusalReason> {
    let found = match timeout(PATIENCE, resolver.resolve(name)).await {
        Ok(Ok(found)) if !found.is_empty() => found,
        _ => return Err(RefusalReason::Unresolved),
    };
    let may_lead_to = |address: &IpAddr| address::is_public(*address) || list.covers(*address, port);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.into_iter().map(address::plain).filter(may_lead_to) {
        let address = SocketAddr::new(address, port);
        if !addresses.contains(&address) && addresses.len() < MOST_TRIED {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(RefusalReason::Address) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::super::hooks::Answer;
    use super::*;
    use std::io;

    #[derive(Debug)]
    struct Fixed(&'static [&'static str]);

    impl Resolver for Fixed {
        fn resolve<'a>(&'a self, _name: &'a str) -> Answer<'a, io::Result<Vec<IpAddr>>> {
            Box::pin(async { Ok(self.0.iter().map(|address| address.parse().unwrap()).collect()) })
        }
    }

    fn led(addresses: &'static [&'static str], rules: &[&str]) -> Result<Vec<String>, RefusalReason> {
        let list = AllowList::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let resolver = Fixed(addresses);
        let addresses = runtime.block_on(resolve("a.example", 443, &list, &resolver))?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_leads_to_the_internet_alone() {
        assert_eq!(led(&["8.8.8.8", "2606:4700::1111"], &[]).unwrap(), ["8.8.8.8:443", "[2606:4700::1111]:443"]);
        // What is not the internet is left out, wherever it stands.
        assert_eq!(led(&["127.0.0.1", "8.8.8.8", "10.0.0.1"], &[]).unwrap(), ["8.8.8.8:443"]);
        for address in [
            &["127.0.0.1"],
            &["169.254.169.254"],
            &["10.0.0.1"],
            &["::1"],
            &["::ffff:127.0.0.1"],
            &["::ffff:10.0.0.1"],
            &["fd00::1"],
            &["64:ff9b::a00:1"],
            &["2002:a00:1::"],
            &["0.0.0.0"],
            &["100.64.0.1"],
            &["::"],
        ] {
            assert_eq!(led(address, &[]), Err(RefusalReason::Address), "{address:?}");
        }
        assert_eq!(led(&[], &[]), Err(RefusalReason::Unresolved));
    }

    #[test]
    fn a_listed_range_says_where_else_it_may_lead() {
        let rules = ["10.0.0.0/8:443", "[fd00::/8]", "192.168.0.1:80"];
        assert_eq!(led(&["10.9.8.7"], &rules).unwrap(), ["10.9.8.7:443"]);
        assert_eq!(led(&["::ffff:10.9.8.7"], &rules).unwrap(), ["10.9.8.7:443"]);
        assert_eq!(led(&["fd12::1"], &rules).unwrap(), ["[fd12::1]:443"]);
        assert_eq!(led(&["192.168.0.1"], &rules), Err(RefusalReason::Address), "at another port");
        assert_eq!(led(&["192.168.0.2", "127.0.0.1"], &rules), Err(RefusalReason::Address));
    }

    #[test]
    fn only_so_many_addresses_are_tried() {
        let all: &'static [&'static str] = &[
            "8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.1", "8.8.8.4", "8.8.8.5", "8.8.8.6", "8.8.8.7", "8.8.8.8",
            "8.8.8.9",
        ];
        assert_eq!(led(all, &[]).unwrap().len(), MOST_TRIED);
    }
}
