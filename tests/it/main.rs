//! What Pinfold as a whole promises, run against the real kernel. One binary, one module for each part of the promise.

#![allow(clippy::unwrap_used, reason = "what a test can't go on without has failed it")]

mod allowlist; // sandboxes that reach the hosts of a list: servers, clients, attacks
mod answer; // the result, field by field
mod artifacts; // what comes out of a workspace, what doesn't, and why
mod build; // builds: a queue that loses nothing, what a build may do, and what it leaves
mod checkpoints; // workspaces that go back to what they were, and threads of states
mod cli; // what the command line promises: exit codes, words, stdio, signals, terminals
mod code; // pieces of code in many languages: what comes of them, and their bounds
mod concurrency; // many at once, and neighbours
mod contained; // in a container such as Docker makes
mod contract; // the job, field by field
mod delegation; // whose groups a sandbox's are made in, where the runner has to ask or has none
mod disk; // the workspace's size and its files, attacked
mod doctor; // what `pinfold doctor` says, against what jobs then do
mod emulator; // a terminal as whoever sits before one has it
mod examples; // that each example is one command, and that what it builds works
mod faults; // what happens when processes are killed and system calls fail
mod figures; // each figure of `usage` against something independent
mod files; // files of a workspace, read, written and copied without trusting it
mod held; // sandboxes that stay: names, commands, logs, times, crashes, managers
mod held_runner; // what the runner of a held sandbox promises to its keeper
mod honest; // programs that must go on working
mod input; // what the runner reads and what a job writes: neither is trusted
mod kernel_surface; // which system calls are refused, and how
mod landlocked; // what stands where there are no namespaces, and what can't be had there
mod library; // what the library promises to its hosts, with real and with lying runners
mod lifetime; // everything dies with the job, and nothing delays it
mod limits; // each limit attacked
mod mcp; // the server for models: each tool, what none can do, and its end
mod network; // what can be reached: nothing, or the host's
mod page; // the page of the server, in a real browser
mod places; // the job's root, mounts, network and policy
mod planted; // what an earlier job left and what a job hides: nothing is followed, nothing is gained
mod privilege; // who the command is and what it inherits
mod sandbox; // how a test runs a job, and looks that nothing of it is left
mod serve; // the server of HTTP: each route, who may ask, what none can do, and its end
mod shares; // CPUs, swap, stacks and disks shared out, each limit attacked
mod support; // where the programs under test are, and what this host can't do
mod terminals; // terminals of sandboxes that stay: state, exact output, people and programs
mod tidy; // what every source file has, and what none has
mod view; // what of the host can be seen and touched from inside
mod watched; // limits on a host without cgroups, attacked
mod wire; // how the runner speaks D-Bus
mod workspaces; // workspaces that stay: their store, and tar archives in and out
