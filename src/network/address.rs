//! Which addresses a name may lead to by itself: those of the internet, and nothing that is the host's own, its network's or a
//! cloud's. Whoever owns a name decides where it leads, so a name that is allowed must not open what is not.

use pinfold_runner::{AddressRange, STAND_INS};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What of IPv4 is not the internet, by IANA's registry of special-purpose addresses. 169.254.0.0/16 has the metadata services of
/// clouds; 100.100.100.200 and 168.63.129.16 are such outside of it, the first in the shared space of RFC 6598.
const SPECIAL_V4: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// What of IPv6 is the internet at all, and what of that is not. 2001::/23 are protocols (Teredo among them), 2002::/16 is 6to4,
/// which has an IPv4 address in it.
const GLOBAL_V6: &str = "2000::/3";
const SPECIAL_V6: [&str; 5] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"];

/// Where NAT64 has an IPv4 address in the last 32 bits: RFC 6052. A host with such a network has no other way to IPv4.
const NAT64: &str = "64:ff9b::/96";

/// Whether `address` is one of the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|range| is_in(range, address.into())) && !STAND_INS.contains(address.into())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if is_in(NAT64, address.into()) {
        let [.., high, low] = address.segments();
        return is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    is_in(GLOBAL_V6, address.into()) && !SPECIAL_V6.iter().any(|range| is_in(range, address.into()))
}

/// What can't be read as a range has nothing outside of it.
fn is_in(range: &str, address: IpAddr) -> bool {
    range.parse::<AddressRange>().map_or(true, |range| range.contains(address))
}

/// The address that is really meant by one that resolving brought: an IPv4 address that is written as an IPv6 one is that of IPv4,
/// to be judged and dialled as such.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:a00:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_one_of_ipv4() {
        assert_eq!(plain("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(plain("::1".parse().unwrap()), "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn every_range_can_be_read() {
        for range in SPECIAL_V4.iter().chain(&SPECIAL_V6).chain([&GLOBAL_V6, &NAT64]) {
            assert!(range.parse::<AddressRange>().is_ok(), "{range}");
        }
    }
}
