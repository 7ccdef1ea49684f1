//! Layers as one directory, for work on the files of a workspace at rest. The runner makes the mount, since an ordinary
//! user may mount only in namespaces of his own; it is attached nowhere and gone with its descriptor.

use super::error::{Doing, Error};
use crate::locate;
use pinfold_runner::{AbsolutePath, Failure, Outcome, RunnerOptions};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a runner may take that has nothing to do but one mount.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which layers to show.
#[derive(serde::Serialize)]
pub(super) struct Wanted {
    /// The directory of the layer that takes what is written; read-only without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<AbsolutePath>,
    /// The files of the others, the uppermost first.
    pub(super) lower: Vec<AbsolutePath>,
    /// Whether it is only to find out if that can be had.
    pub(super) trial: bool,
}

/// Mounts them.
///
/// # Errors
/// [`Error::Overlay`] when the kernel, or whoever administers it, does not let us.
pub(super) fn mount(wanted: &Wanted, runner: Option<&Path>) -> Result<OwnedFd, Error> {
    let what = || "show the layers of a workspace".to_owned();
    let (ours, theirs) = UnixStream::pair().doing(what)?;
    let mut command = Command::new(find(runner)?);
    command.args(RunnerOptions { view: true, ..RunnerOptions::default() }.to_args());
    command.env_clear().current_dir("/").stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().doing(what)?;
    // Our copy of its end of the socket.
    drop(command);
    ours.set_read_timeout(Some(PATIENCE)).doing(what)?;
    let json = serde_json::to_vec(wanted).map_err(std::io::Error::from).doing(what)?;
    // A runner that has failed already reads nothing; it says why.
    let _told_below = (&ours).write_all(&json).and_then(|()| ours.shutdown(Shutdown::Write));
    let received = receive(&ours);
    drop(ours);
    let output = child.wait_with_output().doing(what)?;
    match received {
        Ok(Some(mount)) => Ok(mount),
        Err(errno) if output.stdout.is_empty() => Err(errno).doing(what),
        _ => Err(refused(&output.stdout)),
    }
}

fn find(runner: Option<&Path>) -> Result<PathBuf, Error> {
    let found = runner.map_or_else(locate::find, locate::named);
    found.map_err(|error| Error::Overlay { reason: error.to_string(), is_denied: false })
}

fn refused(answer: &[u8]) -> Error {
    let failure = serde_json::from_slice::<Outcome>(answer).ok().and_then(|outcome| outcome.error);
    let Failure { code, message, .. } =
        failure.unwrap_or_else(|| Failure::new("runner_died", "the runner gave no answer"));
    let is_denied = ["mount", "namespaces", "idmap"].contains(&code.as_str());
    Error::Overlay { reason: message, is_denied }
}

fn receive(socket: &UnixStream) -> Result<Option<OwnedFd>, rustix::io::Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (mut control, mut byte) = (RecvAncillaryBuffer::new(&mut space), [0]);
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.next().and_then(|mut descriptors| descriptors.next()))
}
