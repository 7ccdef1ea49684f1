//! Makes and connects sockets, one for each argument, and prints one line for each: `ok` or the errno's number.
//! `make FAMILY TYPE PROTOCOL`, `tcp HOST:PORT`, `unix PATH`, `abstract NAME`, `name HOST`, `loopback`.

#![expect(unsafe_code, reason = "socket(2) with every family has no safe wrapper")]

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

fn main() {
    for argument in std::env::args().skip(1) {
        match perform(&argument.split(' ').collect::<Vec<_>>()) {
            Ok(()) => println!("ok"),
            Err(error) => println!("{}", error.raw_os_error().unwrap_or(-1)),
        }
    }
}

fn perform(words: &[&str]) -> Result<()> {
    match words {
        ["make", numbers @ ..] => {
            let mut numbers = numbers.iter().filter_map(|number| number.parse::<i32>().ok());
            let mut next = || numbers.next().unwrap_or(0);
            let (family, kind, protocol) = (next(), next(), next());
            // SAFETY: three numbers; the descriptor closes with this process.
            let fd = unsafe { libc::socket(family, kind, protocol) };
            if fd < 0 { Err(Error::last_os_error()) } else { Ok(()) }
        }
        ["tcp", address] => {
            let address = address.parse().map_err(|_not_an_address| Error::from_raw_os_error(libc::EINVAL))?;
            TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(drop)
        }
        ["unix", path] => UnixStream::connect(path).map(drop),
        ["abstract", name] => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop),
        ["name", host] => (*host, 80).to_socket_addrs().map(drop),
        ["loopback"] => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            let (mut server, _) = listener.accept()?;
            client.write_all(b"hello")?;
            server.read_exact(&mut [0; 5])
        }
        _ => Err(Error::from_raw_os_error(libc::EINVAL)),
    }
}
