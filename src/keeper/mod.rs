//! The keeper of one held sandbox: parent of its runner, owner of its socket, its deadlines and its log. It is a program
//! of its own, `pinfold-keeper`, which lives as long as the sandbox does, and has one thread.
//!
//! It reads what clients ask, and what the runner tells; both are bounded, and neither is waited for without a deadline.
//! Output of commands passes it by, but for the log's.

mod activity;
mod boot;
mod connections;
mod exec;
mod freeze;
mod link;
mod log;
mod pace;
mod serve;
pub(crate) mod terminal;

use crate::held::order::{DESCRIPTORS, START};
use crate::sys;
use std::process::ExitCode;

/// What the program does.
pub fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some(START) {
        eprintln!("pinfold-keeper: it keeps a sandbox that `pinfold start` started, and is not started by hand");
        return ExitCode::from(125);
    }
    let Some(descriptors) = sys::inherited(DESCRIPTORS) else { return ExitCode::from(125) };
    match sys::go_on_in_child() {
        Ok(true) => boot::run(descriptors),
        Ok(false) => ExitCode::SUCCESS,
        Err(_no_process) => ExitCode::from(125),
    }
}
