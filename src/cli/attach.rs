//! `pinfold attach`: a person at a terminal of a sandbox that stays.

use super::exit::Exit;
use super::run::relay::{Output, pass_stdin};
use super::run::terminal::{self, RawMode};
use super::value::reason;
use super::{held, message};
use clap::Args;
use pinfold::held::{Error, Sandboxes, Shell, TerminalOptions};
use std::io::IsTerminal;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncWrite, split};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is typed to detach: Ctrl-P Ctrl-Q, as with Docker.
const DETACH: [u8; 2] = [0x10, 0x11];

/// Sit down at a terminal of a sandbox that stays
///
/// A shell that was started here before is shown as it was left, screen and scrollback; otherwise one is started. Ctrl-P Ctrl-Q
/// detaches, and the shell goes on. Others may be attached at the same time: all see the same and may type, and the size
/// is that of whoever changed it last. The exit code is 0 after detaching, and the shell's own when it ends.
#[derive(Debug, Args)]
#[command(args_override_self = true, override_usage = "pinfold attach [OPTIONS] NAME")]
pub(crate) struct AttachOptions {
    /// The sandbox: its name, its id, or how its id begins
    #[arg(value_name = "NAME")]
    name: String,

    /// Which terminal of the sandbox (default: main)
    #[arg(long, value_name = "TERMINAL", default_value = "main", hide_default_value = true)]
    terminal: String,

    /// A new one's shell: bash, zsh or sh (default: bash)
    #[arg(long, value_name = "SHELL", value_parser = |name: &str| name.parse::<Shell>())]
    shell: Option<Shell>,

    /// List the terminals as JSON, and attach to none
    ///
    /// One line each: `{"name", "shell", "state", "waiting_for_input", "rows", "columns", "clients", "replaced",
    /// "exit_code", "ended"}`. The state is one of starting, idle, running, waiting_for_input, ended.
    #[arg(long, conflicts_with = "shell")]
    json: bool,
}

pub(super) fn run(options: &AttachOptions) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refused(&format!("failed to start: {error}")),
    };
    let exit = runtime.block_on(async {
        let told = if options.json { list(options).await } else { sit_down(options).await };
        told.unwrap_or_else(held::refuse)
    });
    // Not a drop, which would wait for whatever still reads for us.
    runtime.shutdown_background();
    exit
}

fn refused(reason: &str) -> Exit {
    message::error(reason, None);
    Exit::Failed
}

async fn list(options: &AttachOptions) -> Result<Exit, Error> {
    let terminals = Sandboxes::new().get(&options.name)?.terminals().await?;
    for terminal in terminals {
        match held::json(&terminal) {
            Exit::Success => {}
            failed => return Ok(failed),
        }
    }
    Ok(Exit::Success)
}

async fn sit_down(options: &AttachOptions) -> Result<Exit, Error> {
    if !std::io::stdin().is_terminal() {
        return Ok(refused("`pinfold attach` needs a terminal on stdin"));
    }
    let (rows, columns) = terminal::size();
    let wanted = TerminalOptions { rows, columns, ..TerminalOptions::named(&options.terminal) };
    let wanted = wanted.shell(options.shell.unwrap_or_default());
    let there = Sandboxes::new().get(&options.name)?.terminal(wanted).await?;
    let attached = there.attach(Some((rows, columns))).await?;
    let io = |what: &str, source: std::io::Error| Error::Io { what: what.to_owned(), source };
    let mut ended = signal(SignalKind::terminate()).map_err(|error| io("catch signals", error))?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(|error| io("catch signals", error))?;
    let resized = there.clone();
    terminal::follow_size(move |rows, columns| {
        let there = resized.clone();
        // A terminal that has ended needs no size.
        tokio::spawn(async move { there.resize(rows, columns).await.ok() });
    })
    .map_err(|error| io("follow the terminal's size", error))?;
    let raw = RawMode::enter().map_err(|error| io("make the terminal raw", error))?;
    let (shown, keys) = split(attached);
    let (leave, mut leaving) = mpsc::channel(1);
    let joined = pass_stdin(Keys { sink: keys, pressed: false, leave })
        .and_then(|()| Output::pass(shown, std::io::stdout()))
        .map_err(|error| io("pass stdio on", error));
    let mut output = match joined {
        Ok(output) => output,
        Err(error) => {
            drop(raw);
            return Err(error);
        }
    };
    let (is_over, written) = tokio::select! {
        written = output.end() => (true, written),
        _ = leaving.recv() => (false, Ok(())),
        _ = ended.recv() => (false, Ok(())),
        _ = hung_up.recv() => (false, Ok(())),
    };
    drop(raw);
    if let Err(error) = written {
        return Ok(refused(&format!("failed to write to stdout: {}", reason(&error))));
    }
    if !is_over {
        // Modes that a program inside has set are not for what comes next: mouse, paste, alternate screen, hidden cursor.
        let reset = b"\x1b[?1000;1002;1003;1006;2004;1049l\x1b[?25h\x1b[m\r\n";
        let _nobody_looks = message::data(reset);
        eprintln!("detached; the shell goes on");
        return Ok(Exit::Success);
    }
    let code = there.info().await.ok().and_then(|info| info.exit_code);
    Ok(code.map_or(Exit::Success, |code| Exit::Command(u8::try_from(code).unwrap_or(255))))
}

/// What is typed, on its way to the shell, up to the keys that detach.
struct Keys<S> {
    sink: S,
    pressed: bool,
    leave: mpsc::Sender<()>,
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Keys<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        if this.pressed {
            if bytes.first() == Some(&DETACH[1]) {
                // There is room for one, and one is enough.
                let _told = this.leave.try_send(());
                return Poll::Pending;
            }
            // It was meant for the shell.
            return match Pin::new(&mut this.sink).poll_write(context, &DETACH[..1]) {
                Poll::Ready(Ok(_)) => {
                    this.pressed = false;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                other => other.map_ok(|_| 0),
            };
        }
        match bytes.iter().position(|byte| *byte == DETACH[0]) {
            Some(0) => {
                this.pressed = true;
                Poll::Ready(Ok(1))
            }
            position => Pin::new(&mut this.sink).poll_write(context, &bytes[..position.unwrap_or(bytes.len())]),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.sink).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.sink).poll_shutdown(context)
    }
}
