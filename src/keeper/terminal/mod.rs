//! Terminals of a held sandbox: each is a task of its own, which clients speak to by way of [`Terminals`].

mod audience;
mod foreground;
mod living;
mod pty;
mod room;
mod run;
mod screen;
mod session;
mod shell;
mod status;
mod tame;
#[cfg(test)]
mod tests;

pub(crate) use self::pty::Pty;
pub(crate) use self::room::{Terminals, serve};
