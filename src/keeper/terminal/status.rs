//! What a shell says: lines of a token, a letter and a number. The token is what it was last told, and no program is told it.

use super::shell::FIRST_TOKEN;
use rustix::rand::{GetRandomFlags, getrandom};

/// More than any line of a shell's.
const LONGEST: usize = 256;

/// What a shell said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has the command and waits for its turn.
    Accepted,
    /// It listens; the last command ended so.
    Ready(String),
    /// It shows a prompt, and does not listen.
    Prompt(String),
}

/// Turns what comes through the pipe into what was said, and leaves out what the shell did not say.
#[derive(Debug)]
pub(super) struct Ear {
    token: String,
    line: Vec<u8>,
}

impl Ear {
    pub(super) fn new() -> Self {
        Self { token: FIRST_TOKEN.to_owned(), line: Vec::new() }
    }

    /// A new token, which holds from now on.
    pub(super) fn renew(&mut self) -> &str {
        let mut bytes = [0u8; 16];
        // Without a token nothing that is said counts any more.
        self.token.clear();
        if getrandom(&mut bytes, GetRandomFlags::empty()) == Ok(bytes.len()) {
            self.token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        &self.token
    }

    /// Takes bytes as they come; the lines that are complete with them, as far as the shell said them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    said.extend(self.understand(&line));
                }
                byte if self.line.len() < LONGEST => self.line.push(*byte),
                _ => {}
            }
        }
        said
    }

    fn understand(&self, line: &[u8]) -> Option<Said> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let (token, what, status) = (words.next()?, words.next()?, words.next()?);
        let is_number = !status.is_empty() && status.len() <= 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        if token.is_empty() || token != self.token || !is_number || words.next().is_some() {
            return None;
        }
        match what {
            "A" => Some(Said::Accepted),
            "R" => Some(Said::Ready(status.to_owned())),
            "P" => Some(Said::Prompt(status.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_token_is_heard() {
        let mut ear = Ear::new();
        assert_eq!(ear.hear(b"start R 0\nother R 0\n"), [Said::Ready("0".to_owned())]);
        let token = ear.renew().to_owned();
        assert_eq!(ear.hear(b"start R 0\nR 0\n\n R 0\n"), []);
        assert_eq!(ear.hear(format!("{token} A 0\n{token} P 13").as_bytes()), [Said::Accepted]);
        assert_eq!(ear.hear(b"0\n"), [Said::Prompt("130".to_owned())]);
        assert_eq!(ear.hear(format!("{token} R -1\n{token} R 0 0\n{token} X 0\n{token} R 9999\n").as_bytes()), []);
        let flood = vec![b'x'; 4 << 20];
        assert_eq!(ear.hear(&flood), []);
        assert!(ear.line.len() <= LONGEST);
    }
}
