//! Shells: how each is started and spoken to. What they are told lies in `init/`.

use crate::held::terminal::Shell;
use pinfold_runner::Argv;

/// The first word of each message of a shell, until it is told another one.
pub(super) const FIRST_TOKEN: &str = "start";

/// The line that makes sh listen. The space in front keeps it out of a history, and what is quoted is no alias.
pub(super) const LISTEN: &[u8] = b" \\eval \"$__pf_loop\"\n";

/// Where the shell finds what it is to read first: the fourth of the descriptors that it is started with.
const INIT: &str = "/proc/self/fd/6";

impl Shell {
    /// The command that starts it, interactive and without any file of its user's.
    pub(super) fn command(self) -> Argv {
        let words: &[&str] = match self {
            Self::Bash => &["bash", "--noprofile", "--rcfile", INIT, "-i"],
            // Its line editor comes later, so that it reads the first line as it is typed.
            Self::Zsh => &["zsh", "-f", "-i", "+o", "zle"],
            Self::Sh => &["sh", "-i"],
        };
        let words = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Argv::try_from(words).unwrap_or_else(|_empty| Argv::none())
    }

    /// What its environment has beside its user's.
    pub(super) fn variables(self) -> &'static [(&'static str, &'static str)] {
        // POSIX: an interactive shell reads the file that it names.
        if self == Self::Sh { &[("ENV", INIT)] } else { &[] }
    }

    /// What it reads first.
    pub(super) fn init(self) -> &'static str {
        match self {
            Self::Bash => include_str!("init/bash.sh"),
            Self::Zsh => include_str!("init/zsh.sh"),
            Self::Sh => include_str!("init/sh.sh"),
        }
    }

    /// What is typed first of all.
    pub(super) fn first_line(self) -> &'static [u8] {
        if self == Self::Zsh { b" . /proc/self/fd/6\n" } else { b"" }
    }

    /// Whether it listens by itself before each prompt. One that does not says that it shows one, and is typed to.
    pub(super) fn listens_at_prompt(self) -> bool {
        self != Self::Sh
    }

    /// What makes it run a text, with `$?` as it was.
    pub(super) fn run(self, text: &[u8], status: &str, token: &str) -> Vec<u8> {
        let mut message = format!("run {status} {token}\n").into_bytes();
        if self == Self::Sh {
            for line in text.split(|byte| *byte == b'\n') {
                message.push(b'.');
                message.extend_from_slice(line);
                message.push(b'\n');
            }
            message.push(b'\n');
        } else {
            message.extend_from_slice(text);
            message.push(0);
        }
        message
    }
}
