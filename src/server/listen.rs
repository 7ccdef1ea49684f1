//! Where the server is reached: a Unix socket of its own, an address, or sockets that were handed to it.

use pinfold::service::{Listen, runtime_directory};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::net::{AddressFamily, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// The name of the socket in the runtime directory.
const SOCKET: &str = "server.sock";

/// One place where clients come in.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// With the path that is to be removed at the end, and the lock that says whose it is.
    Unix(UnixListener, Option<(PathBuf, OwnedFd)>),
}

impl Listener {
    /// Those that were handed over, or else the one that the settings name. Nobody but this host reaches it, unless the
    /// operator says who may use it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn all(listen: &Listen, handed: Vec<OwnedFd>, has_token_file: bool) -> Result<Vec<Self>, String> {
        let listeners = match handed.is_empty() {
            false => handed.into_iter().map(Self::handed).collect::<Result<Vec<_>, _>>()?,
            true => vec![Self::made(listen)?],
        };
        for listener in &listeners {
            if let Self::Tcp(_, address) = listener
                && !address.ip().is_loopback()
                && !has_token_file
            {
                return Err(format!(
                    "`{address}` can be reached from other hosts: name who may use it with `--token-file FILE`"
                ));
            }
        }
        Ok(listeners)
    }

    /// Its address, if it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    /// Where it is, in words.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::Unix(_, Some((path, _))) => format!("unix:{}", path.display()),
            Self::Unix(_, None) => "unix socket that was handed over".to_owned(),
        }
    }

    fn made(listen: &Listen) -> Result<Self, String> {
        match listen {
            Listen::Default => {
                let directory = runtime_directory().map_err(|error| error.into_failure().message)?;
                unix(directory.join(SOCKET))
            }
            Listen::Unix(path) => unix(path.clone()),
            Listen::Tcp(address) => {
                let told = |error: io::Error| format!("failed to listen at `{address}`: {error}");
                let listener = std::net::TcpListener::bind(address).map_err(told)?;
                let address = listener.local_addr().map_err(told)?;
                listener.set_nonblocking(true).map_err(told)?;
                Ok(Self::Tcp(TcpListener::from_std(listener).map_err(told)?, address))
            }
        }
    }

    fn handed(socket: OwnedFd) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("a socket that was handed over can't be used: {error}");
        if !sockopt::socket_acceptconn(&socket).map_err(|errno| told(&errno))? {
            return Err(told(&"nobody listens on it"));
        }
        match sockopt::socket_domain(&socket).map_err(|errno| told(&errno))? {
            AddressFamily::UNIX => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true).map_err(|error| told(&error))?;
                Ok(Self::Unix(UnixListener::from_std(listener).map_err(|error| told(&error))?, None))
            }
            AddressFamily::INET | AddressFamily::INET6 => {
                let listener = std::net::TcpListener::from(socket);
                let address = listener.local_addr().map_err(|error| told(&error))?;
                listener.set_nonblocking(true).map_err(|error| told(&error))?;
                Ok(Self::Tcp(TcpListener::from_std(listener).map_err(|error| told(&error))?, address))
            }
            _ => Err(told(&"it is neither of TCP nor a Unix socket")),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some((path, _lock))) = self {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

/// A Unix socket that this user alone can connect to. What another server left there is replaced; the lock beside it says
/// whether one lives.
fn unix(path: PathBuf) -> Result<Listener, String> {
    let told = |error: &dyn std::fmt::Display| format!("failed to listen at `{}`: {error}", path.display());
    let mut beside = path.clone().into_os_string();
    beside.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(Path::new(&beside), flags, Mode::RUSR | Mode::WUSR).map_err(|errno| told(&errno))?;
    flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive).map_err(|_held| told(&"another server is there"))?;
    match std::fs::symlink_metadata(&path) {
        Ok(there) if std::os::unix::fs::FileTypeExt::is_socket(&there.file_type()) => {
            std::fs::remove_file(&path).map_err(|error| told(&error))?;
        }
        Ok(_) => return Err(told(&"something else is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(&error)),
    }
    // Bound aside: until its mode is set, nobody finds it.
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let listener = UnixListener::bind(&aside).map_err(|error| told(&error))?;
    let placed = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&aside, &path));
    if let Err(error) = placed {
        let _gone = std::fs::remove_file(&aside);
        return Err(told(&error));
    }
    Ok(Listener::Unix(listener, Some((path, lock))))
}
