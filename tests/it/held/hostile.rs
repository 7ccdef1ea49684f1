//! The attacks of the whole suite once more, by commands in sandboxes that stay: what holds for a job holds for them. And those
//! that only such a sandbox makes possible.

mod again; // what is tried against jobs, by `exec` and in terminals
mod clients; // what can be done to those who ask for commands
mod crowd; // floods and very many commands: nothing grows
mod resident; // who is there already while a command is set up

use crate::held::Home;
use crate::sandbox::{Answer, Job};
use pinfold::held::{RunOptions, Shell, TerminalOptions};
use pinfold_runner::{Content, Outcome, Status};
use serde_json::Value;
use std::time::Instant;

/// Words for `pinfold start`, words for `pinfold exec`, and the command.
type Words = [Vec<String>; 3];

/// What a job asks for, in the words of the command line.
fn words(job: Value) -> Words {
    let mut of = [Vec::new(), Vec::new(), Vec::new()];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut option = |at: usize, name: &str, value: String| of[at].extend([format!("--{name}"), value]);
    let mut command = Vec::new();
    for (field, value) in job.as_object().unwrap() {
        match field.as_str() {
            "command" => command = value.as_array().unwrap().iter().map(text).collect(),
            "user" | "seccomp" => option(0, field, text(value)),
            "network" => option(0, "net", text(value)),
            "require" => value.as_array().unwrap().iter().for_each(|name| option(0, "require", text(name))),
            "workspace" => option(0, "workspace", value.get("path").map_or_else(|| text(value), text)),
            "cwd" => option(1, "cwd", text(value)),
            "env" => value.as_object().unwrap().iter().for_each(|(name, value)| {
                option(1, "env", format!("{name}={}", text(value)));
            }),
            "mounts" => value.as_array().unwrap().iter().for_each(|mount| {
                let kind = if mount["writable"] == true { "rw" } else { "ro" };
                option(0, kind, format!("{}:{}", text(&mount["source"]), text(&mount["target"])));
            }),
            "limits" => value.as_object().unwrap().iter().for_each(|(name, value)| {
                let (at, name) = limit(name);
                let unit = if name.ends_with("time") && value.is_number() { "ms" } else { "" };
                option(at, name, text(value) + unit);
            }),
            other => panic!("`{other}` can't be asked for here"),
        }
    }
    let [start, exec, _] = of;
    [start, exec, command]
}

/// Whose limit it is, and its option. Without cgroups the kernel counts processes over all of the sandbox.
fn limit(name: &str) -> (usize, &str) {
    match name {
        "pids" if !crate::support::has_cgroups() => (0, "pids"),
        "wall_ms" => (1, "time"),
        "cpu_ms" => (1, "cpu-time"),
        "memory_bytes" => (1, "memory"),
        "pids" => (1, "pids"),
        "cpus" => (1, "cpus"),
        "open_files" => (1, "open-files"),
        "output_bytes" => (1, "output"),
        "tmp_bytes" => (0, "tmp"),
        "shm_bytes" => (0, "shm"),
        "workspace_bytes" => (0, "disk"),
        other => panic!("`{other}` can't be asked for here"),
    }
}

fn started(start: &[String]) -> Home {
    let home = Home::new();
    home.start("box", &start.iter().map(String::as_str).collect::<Vec<_>>());
    home
}

/// Runs a job's command by `pinfold exec`, in a sandbox as it asks for. Nothing is left of that when this returns.
fn by_exec(job: Job) -> Answer {
    let [start, exec, command] = words(job.into_json());
    let home = started(&start);
    let mut args = vec!["exec", "--json"];
    args.extend(exec.iter().map(String::as_str).chain(["box", "--"]).chain(command.iter().map(String::as_str)));
    let begun = Instant::now();
    let (code, stdout, stderr) = home.run(&args);
    let took = begun.elapsed();
    let answer = Answer::told(serde_json::from_str(&stdout).unwrap_or_default(), stderr, took);
    let failed = answer.outcome.status == Status::Failed;
    assert_eq!(code, if failed { 125 } else { 0 }, "{}", answer.json);
    answer
}

/// Runs it in a terminal.
fn in_terminal(job: Job) -> Answer {
    let [start, exec, command] = words(job.into_json());
    assert!(exec.iter().step_by(2).all(|option| option == "--time"), "{exec:?} can't be asked for in a terminal");
    let home = started(&start);
    let quoted: Vec<_> = command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    let begun = Instant::now();
    let ran = super::wait(async {
        let held = home.sandboxes().get("box").unwrap();
        let terminal = held.terminal(TerminalOptions::named("main").shell(Shell::Sh)).await.unwrap();
        let options = RunOptions { timeout: Some(crate::sandbox::PATIENCE), ..RunOptions::default() };
        terminal.run_command(quoted.join(" "), options).await.unwrap()
    });
    assert!(!ran.timed_out && !ran.replaced && !ran.truncated, "{ran:?}");
    let failure = pinfold_runner::Failure::new("", "");
    let (status, exit_code, stdout) = (Status::Exited, ran.exit_code, Content(ran.output.0));
    let outcome = Outcome { status, exit_code, stdout, error: None, ..Outcome::failed("box".to_owned(), failure) };
    Answer::told(serde_json::to_value(outcome).unwrap(), String::new(), begun.elapsed())
}
