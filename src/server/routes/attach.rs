//! A terminal over a WebSocket: what it shows comes as binary messages, behind the screen as it is; what is typed goes as
//! binary messages, and a new size as a text, `{"rows": 24, "columns": 80}`.

use super::terminals::there;
use crate::server::answer::{Kind, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{NoQuery, Socket};
use crate::server::bounded::STALL;
use crate::server::call::{Call, Share};
use crate::server::problem::Problem;
use crate::server::state::Phase;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::http::Method;
use pinfold::held::{Attached, Terminal};
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, interval_at, timeout};

/// The longest message that is taken, in bytes.
const LONGEST: usize = 64 << 10;
/// How often a client is asked whether it lives, and for how long it may be silent.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// Another protocol.
#[derive(Debug)]
struct Terminals;

impl Kind for Terminals {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)] =
        &[(101, "From here on it is a WebSocket.", None)];
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    rows: u16,
    columns: u16,
}

pub(in crate::server) fn add(api: &mut Api) {
    let about = About("attach", "Attach to a terminal over a WebSocket");
    api.add(&Method::GET, "/v1/sandboxes/{sandbox}/terminals/{terminal}/attach", about, attach);
}

async fn attach(call: Call, _: NoQuery, Socket(upgrade): Socket) -> Result<Whole<Terminals>, Problem> {
    let share = call.stream()?;
    let terminal = there(&call).await?;
    let attached = terminal.attach(None).await?;
    let upgrade = upgrade.max_message_size(LONGEST).max_frame_size(LONGEST).max_write_buffer_size(4 * LONGEST);
    let upgrade = upgrade.write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| serve(socket, terminal, attached, call, share)).into())
}

async fn serve(mut socket: WebSocket, terminal: Terminal, mut attached: Attached, call: Call, share: Share) {
    let why = relay(&mut socket, &terminal, &mut attached, &call).await;
    let (code, reason) = match why {
        Why::Ended => (close_code::NORMAL, "the shell has ended"),
        Why::Draining => (close_code::AWAY, "the server ends"),
        Why::Withdrawn => (close_code::POLICY, "the token was withdrawn"),
        Why::Wrong => (close_code::POLICY, "a text is a size"),
        Why::Gone => return drop(share),
    };
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    let _gone = timeout(STALL, socket.send(close)).await;
    drop(share);
}

/// Why it is over.
enum Why {
    Ended,
    Draining,
    Withdrawn,
    Wrong,
    Gone,
}

async fn relay(socket: &mut WebSocket, terminal: &Terminal, attached: &mut Attached, call: &Call) -> Why {
    let mut shown = vec![0; 16 << 10];
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            read = attached.read(&mut shown) => match read {
                Ok(0) | Err(_) => return Why::Ended,
                Ok(length) => {
                    let message = Message::Binary(shown[..length].to_vec().into());
                    if !matches!(timeout(STALL, socket.send(message)).await, Ok(Ok(()))) {
                        return Why::Gone;
                    }
                }
            },
            message = socket.recv() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Binary(typed))) => {
                        // Nobody reads what is typed, for so long: whoever types on is not waited for.
                        if !matches!(timeout(STALL, attached.write_all(&typed)).await, Ok(Ok(()))) {
                            return Why::Ended;
                        }
                    }
                    Some(Ok(Message::Text(text))) => match serde_json::from_str::<Size>(&text) {
                        Ok(size) => drop(terminal.resize(size.rows, size.columns).await),
                        Err(_no_size) => return Why::Wrong,
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Why::Gone,
                }
            }
            _ = pings.tick() => {
                let is_silent = heard.elapsed() > SILENCE;
                if is_silent || !matches!(timeout(STALL, socket.send(Message::Ping(Vec::new().into()))).await, Ok(Ok(()))) {
                    return Why::Gone;
                }
            }
            () = call.ended() => return match *call.shared.phase.borrow() {
                Phase::Serving => Why::Withdrawn,
                Phase::Draining | Phase::Ending => Why::Draining,
            },
        }
    }
}
