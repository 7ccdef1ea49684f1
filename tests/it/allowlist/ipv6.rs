//! Names have addresses of IPv6 too, for programs that speak nothing else or try both; the same is held there.

use super::{Names, Server, good, greet, loopback, python, run, said, told};
use crate::support;
use pinfold::RefusalReason;
use std::net::TcpListener;

pub(super) fn is_there() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn has_ipv6() -> bool {
    if !is_there() {
        support::host_cannot("there is no IPv6");
    }
    is_there()
}

/// Connects by IPv6 to each `HOST PORT`, and says what came.
const CONNECT_V6: &str = r#"
import errno, socket, sys
for word in sys.argv[1:]:
    host, port = word.split()
    try:
        [address, *others] = {found[4] for found in socket.getaddrinfo(host, int(port), socket.AF_INET6, socket.SOCK_STREAM)}
        assert not others and (":" in host or address[0].startswith("fd70:696e:666f:6c64:")), address
        with socket.socket(socket.AF_INET6) as s:
            s.settimeout(20)
            s.connect(address)
            print(s.makefile().readline().strip())
    except socket.gaierror as e:
        print({socket.EAI_NONAME: "NONAME", socket.EAI_NODATA: "NODATA"}.get(e.errno, e))
    except OSError as e:
        print(errno.errorcode.get(e.errno, e))
"#;

#[test]
fn a_program_that_speaks_nothing_else_reaches_a_listed_name() {
    if !has_ipv6() {
        return;
    }
    // One server has an address of IPv4, and one of IPv6: where a name leads outside is no matter inside.
    let (one, other) = (Server::start(greet), Server::at("[::1]:0", greet));
    let names = Names::of(&[("four.example", &["127.0.0.1"]), ("six.example", &["::1"])]);
    let rules = [
        format!("four.example:{}", one.port),
        format!("six.example:{}", other.port),
        loopback(one.port),
        format!("[::/64]:{}", other.port),
    ];
    let asked = [format!("four.example {}", one.port), format!("six.example {}", other.port)];
    let outcome = run(&names, &rules, python(CONNECT_V6, &[&asked[0], &asked[1], &asked[0]]));
    assert_eq!(said(&outcome), "hello\nhello\nhello\n");
    let (four, six) = (("four.example", Some(one.port), None), ("six.example", Some(other.port), None));
    assert_eq!(told(&outcome), [four, six, four]);
    assert!(outcome.connections.iter().all(|connection| connection.bytes_in == 6));
}

#[test]
fn who_has_the_choice_takes_ipv4_and_who_tries_both_gets_through() {
    const BOTH: &str = r#"
import asyncio, socket, sys
port = int(sys.argv[1])
found = [it[4][0] for it in socket.getaddrinfo("good.example", port, type=socket.SOCK_STREAM)]
print(*found)
async def race():
    reader, writer = await asyncio.open_connection("good.example", port, happy_eyeballs_delay=0.001, interleave=1)
    print((await reader.readline()).decode().strip())
    writer.close()
asyncio.run(race())
found = [it[4][0] for it in socket.getaddrinfo("good.example", port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]
print(*found)
"#;
    if !has_ipv6() {
        return;
    }
    let server = Server::start(greet);
    let port = server.port.to_string();
    let outcome = run(&good(), &[format!("good.example:{port}"), loopback(server.port)], python(BOTH, &[&port]));
    let both = "198.18.0.2 fd70:696e:666f:6c64::2";
    assert_eq!(said(&outcome), format!("{both}\nhello\n{both}\n"));
}

#[test]
fn nothing_else_leads_anywhere_by_ipv6_either() {
    if !has_ipv6() {
        return;
    }
    let (server, own) = (Server::start(greet), Server::at("[::1]:0", greet));
    let names = Names::of(&[("good.example", &["127.0.0.1"]), ("rebound.example", &["::1"])]);
    let port = server.port;
    let to = |host: &str| format!("{host} {port}");
    let asked = [
        (to("evil.example"), "NONAME"),
        (to("fd70:696e:666f:6c64::"), "ECONNREFUSED"),
        (to("fd70:696e:666f:6c64::1"), "ECONNREFUSED"),
        (to("fd70:696e:666f:6c64::2"), "ECONNREFUSED"),
        (to("good.example"), "hello"),
        (to("fd70:696e:666f:6c64::2"), "hello"),
        (to("fd70:696e:666f:6c64::3"), "ECONNREFUSED"),
        (to("fd70:696e:666f:6c64:1::3"), "ECONNREFUSED"),
        (to("fd70:696e:666f:6c65::3"), "ENETUNREACH"),
        (to("2001:db8::1"), "ENETUNREACH"),
        (to("fe80::1"), "EINVAL"),
        (format!("::1 {}", own.port), "ECONNREFUSED"),
        (format!("rebound.example {}", own.port), "ECONNRESET"),
        (to("::ffff:198.18.0.3"), "ECONNREFUSED"),
    ];
    let words: Vec<&str> = asked.iter().map(|(word, _)| word.as_str()).collect();
    let rules = [format!("good.example:{port}"), format!("rebound.example:{}", own.port), loopback(port)];
    let outcome = run(&names, &rules, python(CONNECT_V6, &words));
    let said = said(&outcome);
    for (came, (word, wanted)) in said.lines().zip(&asked) {
        assert_eq!(came, *wanted, "{word}: {said}");
    }
    assert_eq!((said.lines().count(), server.accepted(), own.accepted()), (asked.len(), 2, 0));
    assert!(told(&outcome).contains(&("rebound.example", Some(own.port), Some(RefusalReason::Address))));
}

#[test]
fn so_many_names_can_be_had_by_ipv6_and_no_more() {
    const MANY: &str = r#"
import socket, sys
had = {}
for i in range(600):
    try: had[i] = socket.getaddrinfo(f"n{i}.many.example", 80, socket.AF_INET6, socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror as e: assert e.errno == (socket.EAI_NODATA if i < 512 else socket.EAI_AGAIN), e
print(len(had), len(set(had.values())), max(had) == len(had) - 1)
# Those after them have IPv4, of which there is as much.
had = 0
for i in range(600):
    try: had += bool(socket.gethostbyname(f"n{i}.many.example"))
    except socket.gaierror as e: assert e.errno == socket.EAI_AGAIN, e
print(had)
"#;
    if !has_ipv6() {
        return;
    }
    let outcome = run(&good(), &["*.many.example:80".to_owned()], python(MANY, &[]));
    assert_eq!(said(&outcome), "256 256 True\n256\n");
}

#[test]
fn the_kernel_takes_the_range_for_its_own_and_gives_it_nothing_more() {
    const LOOK: &str = r#"
print(*(line.split()[0] for line in open("/proc/net/if_inet6") if not line.startswith("0" * 31 + "1")))
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(20)
for host in ("fd70:696e:666f:6c64::1", "fd70:696e:666f:6c64::7"):
    s.connect((host, 53))
    try:
        s.send(b"x")
        s.recv(1)
    except ConnectionRefusedError: print("refused")
"#;
    if !has_ipv6() {
        return;
    }
    let outcome = run(&good(), &["good.example".to_owned()], python(LOOK, &[]));
    assert_eq!(said(&outcome), "fd70696e666f6c640000000000000001\nrefused\nrefused\n");
}
