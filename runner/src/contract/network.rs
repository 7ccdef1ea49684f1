//! Which network a sandbox has: none, the host's, or the hosts of a list.

mod range;
#[cfg(test)]
mod tests;

pub use range::AddressRange;

use super::text::{InvalidValue, refuse};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Which network the command has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own with only loopback, up.
    #[default]
    None,
    /// The host's.
    Host,
    /// One of its own, out of which only what a list names can be reached, through the supervisor.
    Allow(AllowList),
}

impl Network {
    /// The list, if there is one.
    pub fn list(&self) -> Option<&AllowList> {
        match self {
            Self::Allow(list) => Some(list),
            Self::None | Self::Host => None,
        }
    }
}

/// The most entries of a list.
const MOST_RULES: usize = 1024;

/// The most ports of addresses, which are listened on from the beginning.
const MOST_FIXED: usize = 256;

/// A range of at most so many addresses can be connected to by address; a larger one only says where names may lead.
const SMALL_RANGE: u32 = 16;

/// What an entry without a port means.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// The addresses that stand for names inside of a sandbox: 198.18.0.0/15, which RFC 2544 keeps off the internet.
pub const STAND_INS: AddressRange = AddressRange { first: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), prefix: 15 };

/// The same with IPv6: a range of those that everybody may use for himself (RFC 4193). Programs that have the
/// choice take IPv4 before it (RFC 6724).
pub const STAND_INS_V6: AddressRange =
    AddressRange { first: IpAddr::V6(Ipv6Addr::new(0xfd70, 0x696e, 0x666f, 0x6c64, 0, 0, 0, 0)), prefix: 64 };

/// Where a sandbox with a list asks for names: the first of [`STAND_INS`] that a host can have.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The hosts that a sandbox may connect to. Valid once it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AllowList(Vec<Rule>);

impl AllowList {
    /// A list of these entries.
    ///
    /// # Errors
    /// When there are too many, or too many addresses in them.
    pub fn new(rules: Vec<Rule>) -> Result<Self, InvalidValue> {
        let list = Self(rules);
        if list.0.len() > MOST_RULES {
            return refuse(format!("it has {} entries, of at most {MOST_RULES}", list.0.len()));
        }
        let fixed = list.fixed().len();
        if fixed > MOST_FIXED {
            return refuse(format!("it names {fixed} ports of addresses, of at most {MOST_FIXED}"));
        }
        Ok(list)
    }

    /// The entries.
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// The ports at which `name`, in the form of [`normal_name`], may be connected to; none when it is not on the list.
    pub fn ports_of(&self, name: &str) -> Vec<u16> {
        self.ports(|host| match host {
            Host::Name(listed) => listed == name,
            Host::Below(apex) => {
                name.strip_suffix(apex.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
            }
            Host::Addresses(_) => false,
        })
    }

    /// Whether the list itself names this address and port, whatever kind of address it is.
    pub fn covers(&self, address: IpAddr, port: u16) -> bool {
        self.ports(|host| matches!(host, Host::Addresses(range) if range.contains(address))).contains(&port)
    }

    /// Whether it names addresses, which are dialled as they stand, whatever kind they are.
    pub fn has_addresses(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule.host, Host::Addresses(_)))
    }

    /// What can be connected to by address, each once, in an order that only depends on the list.
    pub fn fixed(&self) -> Vec<SocketAddr> {
        let mut all = Vec::new();
        for (range, rule) in self.small_ranges() {
            for address in range.addresses() {
                all.extend(rule.ports().iter().map(|port| SocketAddr::new(address, *port)));
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The addresses of [`fixed`](Self::fixed) as ranges.
    pub fn fixed_ranges(&self) -> impl Iterator<Item = AddressRange> {
        self.small_ranges().map(|(range, _)| range)
    }

    fn small_ranges(&self) -> impl Iterator<Item = (AddressRange, &Rule)> {
        self.0.iter().filter_map(|rule| match rule.host {
            Host::Addresses(range) if range.is_small() => Some((range, rule)),
            _ => None,
        })
    }

    fn ports(&self, is_meant: impl Fn(&Host) -> bool) -> Vec<u16> {
        let mut ports: Vec<u16> =
            self.0.iter().filter(|rule| is_meant(&rule.host)).flat_map(Rule::ports).copied().collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl<'de> Deserialize<'de> for AllowList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// One entry of a list: `example.org`, `*.example.com:443`, `10.1.2.3:5432`, `[::1]:80`, `10.0.0.0/8:443`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    host: Host,
    /// `None`: the default ones.
    port: Option<[u16; 1]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    /// Everything below this name, but not the name itself.
    Below(String),
    Addresses(AddressRange),
}

impl Rule {
    /// The ports that it allows.
    pub fn ports(&self) -> &[u16] {
        self.port.as_ref().map_or(&DEFAULT_PORTS, |port| port)
    }
}

impl FromStr for Rule {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (host, port) = match (text.strip_prefix('[').and_then(|rest| rest.split_once(']')), text.split_once(':')) {
            (Some((host, "")), _) => (Host::Addresses(range(host, true)?), None),
            (Some((host, rest)), _) => match rest.strip_prefix(':') {
                Some(port) => (Host::Addresses(range(host, true)?), Some(port)),
                None => return refuse(format!("`{}`: after `]` comes `:PORT` or nothing", text.escape_debug())),
            },
            (None, Some((_, rest))) if rest.contains(':') => {
                return refuse(format!("`{}`: an IPv6 address is written in brackets: [::1]:80", text.escape_debug()));
            }
            (None, Some((host, port))) => (self::host(host)?, Some(port)),
            (None, None) => (self::host(text)?, None),
        };
        let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number > 0 && is_number(port) => Some([number]),
                _ => return refuse(format!("`{}`: a port is a number from 1 to 65535", text.escape_debug())),
            },
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(apex) => write!(f, "*.{apex}")?,
            Host::Addresses(range) if range.first.is_ipv6() => write!(f, "[{range}]")?,
            Host::Addresses(range) => write!(f, "{range}")?,
        }
        self.port.map_or(Ok(()), |[port]| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for Rule {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

/// Anything but an IPv6 address.
fn host(text: &str) -> Result<Host, InvalidValue> {
    if text.contains('/') || text.parse::<Ipv4Addr>().is_ok() {
        return range(text, false).map(Host::Addresses);
    }
    let name = |name: &str| match normal_name(name) {
        Some(name) if name == "localhost" => refuse(
            "`localhost` is the sandbox itself inside; the host's own loopback is listed by address: 127.0.0.1:PORT",
        ),
        Some(name) => Ok(name),
        None => refuse(format!(
            "`{}` is neither a name (letters, digits, `-` and `_` between dots; other scripts in their ASCII form, `xn--…`) nor an \
             address in decimal",
            text.escape_debug()
        )),
    };
    match text.strip_prefix("*.") {
        Some(apex) => Ok(Host::Below(name(apex)?)),
        None => Ok(Host::Name(name(text)?)),
    }
}

fn range(text: &str, is_ipv6: bool) -> Result<AddressRange, InvalidValue> {
    let range: AddressRange = text.parse()?;
    if range.first.is_ipv6() != is_ipv6 {
        return refuse(format!("`{}`: an IPv6 address is in brackets, and nothing else is", text.escape_debug()));
    }
    if let Some(taken) = [STAND_INS, STAND_INS_V6].iter().find(|taken| taken.contains(range.first)) {
        return refuse(format!("`{}`: {taken} stands for names inside of the sandbox", text.escape_debug()));
    }
    let is_mapped = matches!(range.first, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    if is_mapped || range.first.is_unspecified() && range.prefix == range.longest() {
        return refuse(format!("`{}` is no host's address; write an IPv4 address as one", text.escape_debug()));
    }
    if range.first.is_multicast() {
        return refuse(format!("`{}` is a multicast address, and only TCP is relayed", text.escape_debug()));
    }
    Ok(range)
}

/// A host's name in the one form in which names are compared: lower case, no dot at the end. `None` if it is none: longer than
/// 253 bytes, with something else than letters, digits, `-` and `_` in it, or with a number as its last label, which some
/// programs take for an address (`0x7f.1`).
pub fn normal_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or("");
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then_some(name)
}

#[derive(Serialize)]
#[serde(untagged)]
enum WordOrList<'a> {
    Word(&'static str),
    List { allow: &'a AllowList },
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Self::None => WordOrList::Word("none"),
            Self::Host => WordOrList::Word("host"),
            Self::Allow(list) => WordOrList::List { allow: list },
        };
        value.serialize(serializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListObject {
    allow: AllowList,
}

/// Written by hand: what serde derives for an untagged enum can't name an unknown field.
impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NetworkVisitor;
        impl<'de> serde::de::Visitor<'de> for NetworkVisitor {
            type Value = Network;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"host\", or an object with one list `allow`")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Network, E> {
                match word {
                    "none" => Ok(Network::None),
                    "host" => Ok(Network::Host),
                    _ => Err(E::unknown_variant(word, &["none", "host"])),
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Network, A::Error> {
                let object = ListObject::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Network::Allow(object.allow))
            }
        }
        deserializer.deserialize_any(NetworkVisitor)
    }
}
