//! Terminals of sandboxes: shells that keep their directory and variables, and programs that somebody types into.

use super::answer::{Ran, told};
use super::refusal::Refusal;
use super::run::SHORT;
use super::server::Server;
use pinfold::held::{RunOptions, Shell, Terminal, TerminalInfo, TerminalOptions, TerminalState};
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a command that is given up may take to obey the interrupt, and how often it is looked at.
const OBEYS: (u32, Duration) = (20, Duration::from_millis(100));
/// How long a program may take to show what became of what was typed.
const SHOWS: Duration = Duration::from_millis(300);

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Which {
    /// The sandbox's name
    sandbox: String,
    /// The terminal's name; it is made if it is not there
    #[serde(default = "main")]
    terminal: String,
}

fn main() -> String {
    "main".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Run {
    #[serde(flatten)]
    which: Which,
    /// What is run in the shell, as if it were typed
    command: String,
    /// Interrupt it after so many seconds; the operator's limit holds where that is less
    timeout_seconds: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Input {
    #[serde(flatten)]
    which: Which,
    /// What is typed, as it is: no Enter is added
    #[serde(default)]
    text: String,
    /// A key that is pressed after it
    key: Option<Key>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    Enter,
    Tab,
    Escape,
    Backspace,
    Up,
    Down,
    Right,
    Left,
    CtrlC,
    CtrlD,
    CtrlZ,
}

impl Key {
    /// As a terminal of the kind xterm sends it.
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Enter => b"\r",
            Self::Tab => b"\t",
            Self::Escape => b"\x1b",
            Self::Backspace => b"\x7f",
            Self::Up => b"\x1b[A",
            Self::Down => b"\x1b[B",
            Self::Right => b"\x1b[C",
            Self::Left => b"\x1b[D",
            Self::CtrlC => b"\x03",
            Self::CtrlD => b"\x04",
            Self::CtrlZ => b"\x1a",
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Look {
    /// The sandbox's name
    sandbox: String,
    /// The terminal's name
    #[serde(default = "main")]
    terminal: String,
    /// Also what has scrolled off the screen
    #[serde(default)]
    scrollback: bool,
}

/// What a terminal shows.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Screen {
    /// The text on it; where it is longer than allowed, its end
    screen: String,
    /// starting, idle, running, waiting_for_input, ended
    state: String,
    /// Bytes before it that were left out
    left_out: u64,
}

#[tool_router(router = terminal_tools, vis = "pub(super)")]
impl Server {
    /// Run a command in a terminal of a sandbox, in a shell that keeps its directory, variables and background jobs from
    /// one call to the next. stdout and stderr come together.
    #[tool(
        output_schema = schema_for_output::<Ran>(),
        annotations(title = "Run in a terminal", destructive_hint = true, open_world_hint = false)
    )]
    async fn terminal_run(
        &self,
        Parameters(run): Parameters<Run>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let time = self.bounds.time(run.timeout_seconds)?;
        let terminal = self.terminal(&run.which, &context).await?;
        let options = RunOptions { timeout: time.limit, output_bytes: self.bounds.output };
        match self.supervise(&context, time.limit, terminal.run_command(&run.command, options)).await {
            Ok(ran) => {
                let ran = ran.map_err(|error| self.as_named(error))?;
                Ran::of_terminal(ran, time.limit, time.note).into_result()
            }
            Err(cancelled) => {
                give_up(&terminal).await;
                Err(cancelled)
            }
        }
    }

    /// Type into a terminal of a sandbox: for a program that waits for input, or to start one that takes its time. Answers
    /// with the screen a moment later.
    #[tool(
        output_schema = schema_for_output::<Screen>(),
        annotations(title = "Type into a terminal", destructive_hint = true, open_world_hint = false)
    )]
    async fn terminal_input(
        &self,
        Parameters(input): Parameters<Input>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let terminal = self.terminal(&input.which, &context).await?;
        let bytes = [input.text.as_bytes(), input.key.map_or(&b""[..], Key::bytes)].concat();
        let typed = self.supervise(&context, SHORT, async {
            terminal.write(bytes).await?;
            tokio::time::sleep(SHOWS).await;
            Ok::<_, pinfold::held::Error>(())
        });
        typed.await?.map_err(|error| self.as_named(error))?;
        self.screen(&terminal, false).await
    }

    /// See what is on a terminal's screen, and whether something runs in it or waits for input.
    #[tool(
        output_schema = schema_for_output::<Screen>(),
        annotations(title = "Look at a terminal", read_only_hint = true, open_world_hint = false)
    )]
    async fn terminal_screen(
        &self,
        Parameters(look): Parameters<Look>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let held = self.held(&look.sandbox).await?;
        // Looking makes none: a shell is started for those who use it.
        let found = self.supervise(&context, SHORT, held.find_terminal(&look.terminal)).await?;
        let terminal = found.map_err(|error| self.as_named(error))?.ok_or_else(|| {
            let words = format!("there is no terminal `{}` in sandbox `{}`", look.terminal, look.sandbox);
            Refusal::new(words).hint("terminal_run and terminal_input start one")
        })?;
        self.screen(&terminal, look.scrollback).await
    }

    async fn terminal(&self, which: &Which, context: &RequestContext<RoleServer>) -> Result<Terminal, Refusal> {
        let held = self.held(&which.sandbox).await?;
        let named = TerminalOptions::named(&which.terminal);
        let opened = self.supervise(context, SHORT, async {
            match held.terminal(named.clone()).await {
                // A root file system that has no bash has some shell.
                Err(pinfold::held::Error::Failed(_)) => held.terminal(named.shell(Shell::Sh)).await,
                opened => opened,
            }
        });
        opened.await?.map_err(|error| self.as_named(error))
    }

    async fn screen(&self, terminal: &Terminal, scrollback: bool) -> Result<CallToolResult, Refusal> {
        let screen = terminal.screen(scrollback).await.map_err(|error| self.as_named(error))?;
        let info = terminal.info().await.map_err(|error| self.as_named(error))?;
        let screen = screen.trim_end();
        let mut start = screen.len().saturating_sub(usize::try_from(self.bounds.output).unwrap_or(usize::MAX));
        while !screen.is_char_boundary(start) {
            start += 1;
        }
        let (left_out, state) = (start as u64, state(&info));
        let before =
            if left_out > 0 { format!("[{left_out} bytes before this were left out]\n") } else { String::new() };
        let screen = format!("{before}{}", &screen[start..]);
        told(format!("{screen}\n--- {state} ---\n"), &Screen { screen, state, left_out })
    }
}

fn state(info: &TerminalInfo) -> String {
    let json = serde_json::to_value(info.state).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

/// Ends what runs in a terminal: by an interrupt, or else with its shell.
async fn give_up(terminal: &Terminal) {
    let _gone = terminal.interrupt().await;
    for _ in 0..OBEYS.0 {
        match terminal.info().await {
            Ok(info) if matches!(info.state, TerminalState::Running | TerminalState::WaitingForInput) => {
                tokio::time::sleep(OBEYS.1).await;
            }
            _ => return,
        }
    }
    let _gone = terminal.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_xterm() {
        assert_eq!((Key::Enter.bytes(), Key::Up.bytes()), (&b"\r"[..], &b"\x1b[A"[..]));
    }
}
