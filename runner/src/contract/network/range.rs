//! Addresses that belong together.

use super::super::text::{InvalidValue, refuse};
use super::SMALL_RANGE;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses that begin with the same bits: one, or a CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    pub(super) first: IpAddr,
    pub(super) prefix: u8,
}

impl AddressRange {
    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// How many bits all of them have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is one of them. An IPv4 address that is written as an IPv6 one is none of either.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = u32::from(self.longest() - self.prefix);
        let same = |one: u128, other: u128| one.checked_shr(shift) == other.checked_shr(shift);
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => same(first.to_bits().into(), address.to_bits().into()),
            (IpAddr::V6(first), IpAddr::V6(address)) => same(first.to_bits(), address.to_bits()),
            _ => false,
        }
    }

    pub(super) fn longest(&self) -> u8 {
        if self.first.is_ipv4() { 32 } else { 128 }
    }

    pub(super) fn is_small(&self) -> bool {
        self.longest() - self.prefix <= SMALL_RANGE.ilog2() as u8
    }

    /// All of them; of a large range the first few.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let count = 1u32 << u32::from(self.longest() - self.prefix).min(SMALL_RANGE.ilog2());
        (0..count).map(move |index| self.address(index))
    }

    /// The address that comes so many after the first, which is to be one of them.
    pub fn address(&self, index: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() + index)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() + u128::from(index))),
        }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || refuse(format!("`{}` is neither an address nor a range of them", text.escape_debug()));
        let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let Ok(first) = first.parse::<IpAddr>() else { return wrong() };
        let mut range = Self { first, prefix: 0 };
        range.prefix = match prefix {
            None => range.longest(),
            Some(prefix) => match prefix.parse::<u8>() {
                Ok(bits) if bits <= range.longest() && prefix == bits.to_string() => bits,
                _ => return wrong(),
            },
        };
        let bits = match first {
            IpAddr::V4(first) => u128::from(first.to_bits()),
            IpAddr::V6(first) => first.to_bits(),
        };
        let shift = u32::from(range.longest() - range.prefix);
        if bits.checked_shr(shift).and_then(|high| high.checked_shl(shift)).unwrap_or(0) != bits {
            return refuse(format!("`{}`: the address has bits beyond the prefix", text.escape_debug()));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == self.longest() { self.first.fmt(f) } else { write!(f, "{}/{}", self.first, self.prefix) }
    }
}
