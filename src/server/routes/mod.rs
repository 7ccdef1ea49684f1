//! The routes, one file for each group.

mod archive;
mod artifacts;
mod attach;
mod build_logs;
mod builds;
mod checkpoints;
mod code;
mod file;
mod files;
mod holders;
mod live;
mod logs;
mod place;
mod previews;
mod run;
mod sandboxes;
mod saving;
mod terminals;
mod threads;
mod transfer;
mod workspaces;

use super::api::Api;

/// All of them.
pub(super) fn table() -> Api {
    let mut api = Api::default();
    run::add(&mut api);
    code::add(&mut api);
    sandboxes::add(&mut api);
    live::add(&mut api);
    logs::add(&mut api);
    terminals::add(&mut api);
    attach::add(&mut api);
    files::add(&mut api);
    file::add(&mut api);
    archive::add(&mut api);
    workspaces::add(&mut api);
    holders::add(&mut api);
    transfer::add(&mut api);
    checkpoints::add(&mut api);
    threads::add(&mut api);
    builds::add(&mut api);
    build_logs::add(&mut api);
    artifacts::add(&mut api);
    previews::add(&mut api);
    api
}
