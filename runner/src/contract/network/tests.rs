//! What a list of hosts is, and what it says of a name or an address.

use super::{AddressRange, AllowList, MOST_FIXED, MOST_RULES, Network, Rule, normal_name};
use std::net::IpAddr;

fn list(rules: &[&str]) -> AllowList {
    AllowList::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn entries_are_written_as_they_are_read() {
    for text in [
        "example.org",
        "*.example.com:443",
        "xn--bcher-kva.example",
        "_dmarc.example.org",
        "10.1.2.3:5432",
        "10.0.0.0/8",
        "10.1.2.0/24:443",
        "[::1]:80",
        "[fd00::/8]:443",
        "[2001:db8::1]",
        "127.0.0.1:1",
        "0.0.0.0/0",
        "*.com",
        "a:65535",
    ] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    for (text, written) in [("Example.ORG.", "example.org"), ("*.EXAMPLE.com.:0443", "*.example.com:443")] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), written);
    }
}

#[test]
fn what_is_neither_name_nor_address_is_refused() {
    let long = format!("{}.example", "a".repeat(64));
    let longest = format!("{}a", "a.".repeat(127));
    for text in [
        "",
        ".",
        "*",
        "*.",
        "*.*.example",
        "a.*.b",
        "example..org",
        ".example.org",
        "exa mple.org",
        "http://example.org",
        "example.org/",
        "user@example.org",
        "bücher.example",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:+80",
        "example.org:http",
        "example.org:80:80",
        "::1",
        "::1:80",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1]:",
        "[10.1.2.3]:80",
        "[example.org]:80",
        "10.1.2",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "1.2.3.4.5",
        "10.1.2.3/8",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "fd00::/8",
        "[::ffff:10.1.2.3]:80",
        "[::]:80",
        "0.0.0.0:80",
        "198.18.0.1",
        "198.19.0.0/16",
        "[fd70:696e:666f:6c64::2]",
        "[fd70:696e:666f:6c64::/80]:443",
        "224.0.0.1:80",
        "[ff02::1]:80",
        "localhost",
        "*.localhost",
        "LOCALHOST.:80",
        "fe80::1%eth0",
        "[fe80::1%eth0]:80",
        "a\0b",
        &long,
        &longest,
    ] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
}

#[test]
fn a_name_allows_itself_and_a_star_what_is_below() {
    let list = list(&["example.org", "*.example.com:443", "*.example.com:8443", "example.org:22"]);
    assert_eq!(list.ports_of("example.org"), [22, 80, 443]);
    for name in ["a.example.com", "a.b.example.com"] {
        assert_eq!(list.ports_of(name), [443, 8443], "{name}");
    }
    for name in [
        "example.com",
        ".example.com",
        "badexample.com",
        "www.example.org",
        "example.org.evil",
        "com",
        "",
        "org",
        "10.1.2.3",
    ] {
        assert!(list.ports_of(name).is_empty(), "{name}");
    }
    assert!(self::list(&[]).ports_of("example.org").is_empty());
}

#[test]
fn names_have_one_form() {
    assert_eq!(normal_name("WWW.Example.Org.").as_deref(), Some("www.example.org"));
    for text in ["", ".", "a..b", "a.b..", "a b", "é", "1", "a.1", "127.0.0.1", "a.0x1f", "a.0x"] {
        assert_eq!(normal_name(text), None, "{text}");
    }
    assert!(normal_name(&format!("{}b", "a.".repeat(126))).is_some());
    assert!(normal_name("3com.example").is_some() && normal_name("1.a").is_some());
}

#[test]
fn a_range_covers_its_addresses_at_its_ports() {
    let list = list(&["10.0.0.0/8:443", "169.254.169.254:80", "[fd00::/8]", "0.0.0.0/0:9"]);
    for (text, port, is_covered) in [
        ("10.0.0.0", 443, true),
        ("10.255.255.255", 443, true),
        ("11.0.0.0", 443, false),
        ("9.255.255.255", 443, false),
        ("10.0.0.1", 80, false),
        ("169.254.169.254", 80, true),
        ("169.254.169.253", 80, false),
        ("fdff::1", 80, true),
        ("fe00::1", 80, false),
        ("::ffff:10.0.0.1", 443, false),
        ("255.255.255.255", 9, true),
        ("::1", 9, false),
    ] {
        assert_eq!(list.covers(address(text), port), is_covered, "{text}:{port}");
    }
}

#[test]
fn small_ranges_are_listened_on_and_large_ones_are_not() {
    let list = list(&[
        "10.1.2.3:5432",
        "10.1.2.3:5432",
        "[::1]:80",
        "10.9.0.0/28:1",
        "10.8.0.0/27:1",
        "example.org",
        "127.0.0.1",
    ]);
    let fixed: Vec<String> = list.fixed().iter().map(ToString::to_string).collect();
    assert_eq!(fixed.len(), 1 + 1 + 16 + 2, "{fixed:?}");
    for wanted in ["10.1.2.3:5432", "[::1]:80", "10.9.0.0:1", "10.9.0.15:1", "127.0.0.1:80", "127.0.0.1:443"] {
        assert!(fixed.iter().any(|address| address == wanted), "{wanted}");
    }
    let ranges: Vec<String> = list.fixed_ranges().map(|range| range.to_string()).collect();
    assert!(ranges.contains(&"10.9.0.0/28".to_owned()) && !ranges.contains(&"10.8.0.0/27".to_owned()), "{ranges:?}");
}

#[test]
fn lists_are_bounded() {
    let rule: Rule = "example.org".parse().unwrap();
    assert!(AllowList::new(vec![rule.clone(); MOST_RULES]).is_ok());
    assert!(AllowList::new(vec![rule; MOST_RULES + 1]).is_err());
    let address = |index: usize| format!("10.0.{}.{}:1", index / 256, index % 256).parse().unwrap();
    assert!(AllowList::new((0..MOST_FIXED).map(address).collect()).is_ok());
    assert!(AllowList::new((0..=MOST_FIXED).map(address).collect()).is_err());
}

#[test]
fn a_network_in_json() {
    for (json, network) in [
        (r#""none""#, Network::None),
        (r#""host""#, Network::Host),
        (r#"{"allow":[]}"#, Network::Allow(list(&[]))),
        (r#"{"allow":["example.org:443","[::1]:80"]}"#, Network::Allow(list(&["example.org:443", "[::1]:80"]))),
    ] {
        assert_eq!(serde_json::from_str::<Network>(json).unwrap(), network);
        assert_eq!(serde_json::to_string(&network).unwrap(), json);
    }
    for json in [
        "null",
        "{}",
        "[]",
        "true",
        r#""allow""#,
        r#"{"allow":null}"#,
        r#"{"allow":"example.org"}"#,
        r#"{"allow":[],"deny":[]}"#,
    ] {
        assert!(serde_json::from_str::<Network>(json).is_err(), "{json}");
    }
    let refusal = serde_json::from_str::<Network>(r#"{"allow":["*"]}"#).unwrap_err().to_string();
    assert!(refusal.contains("`*`"), "{refusal}");
}

#[test]
fn the_whole_of_ipv6_is_a_range() {
    let all: AddressRange = "::/0".parse().unwrap();
    assert!(all.contains(address("ffff::1")) && !all.contains(address("10.0.0.1")));
}
