//! The connections of a sandbox with a list of allowed hosts, as lines of its log.

use super::log::{Log, word};
use crate::held::LogEvent;
use crate::network::Observer;
use pinfold_runner::Connection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Takes connections to where the log is written, which is another task.
#[derive(Debug)]
pub(super) struct Heard(UnboundedSender<Connection>);

/// What was heard.
pub(super) fn listen() -> (Heard, UnboundedReceiver<Connection>) {
    let (heard, connections) = unbounded_channel();
    (Heard(heard), connections)
}

impl Observer for Heard {
    fn ended(&self, _sandbox: &str, connection: &Connection) {
        let _no_log_any_more = self.0.send(connection.clone());
    }
}

/// Writes a connection into the log.
pub(super) fn note(log: &Log, connection: &Connection) {
    let Connection { host, port, bytes_in, bytes_out, reason, .. } = connection;
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let what = match reason {
        None => format!("{bytes_in} bytes in, {bytes_out} out"),
        Some(reason) => format!("refused: {}", word(reason)),
    };
    log.note(None, LogEvent::Connection, &format!("{host}{port} {what}"));
}
