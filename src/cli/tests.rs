//! The lint of the command line: what every subcommand and option must have, so that help, man pages and completions
//! stay whole.

use super::Cli;
use clap::{Arg, Command, CommandFactory, Parser};
use std::collections::HashSet;

/// All commands, each with its full name.
fn commands() -> Vec<Command> {
    let mut root = Cli::command();
    root.build();
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        let inner: Vec<_> = all[next].get_subcommands().cloned().collect();
        all.extend(inner);
        next += 1;
    }
    all
}

fn for_each_option(check: impl Fn(&Command, &Arg)) {
    for command in commands() {
        for arg in command.get_arguments() {
            check(&command, arg);
        }
    }
}

fn shown(command: &Command, arg: &Arg) -> String {
    format!("{} {}", command.get_name(), arg.get_id())
}

#[test]
fn clap_finds_no_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn every_option_says_what_it_does_in_a_line_without_a_full_stop() {
    for_each_option(|command, arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty() && !help.ends_with('.') && !help.contains('\n'), "{}: `{help}`", shown(command, arg));
        assert!(help.starts_with(char::is_uppercase), "{}: `{help}`", shown(command, arg));
    });
}

#[test]
fn every_option_of_run_says_more_in_the_long_help() {
    let run = commands().into_iter().find(|command| command.get_name() == "run").unwrap();
    for arg in run.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
        assert!(arg.get_long_help().is_some(), "{}", shown(&run, arg));
    }
}

#[test]
fn every_value_has_a_name_in_capitals() {
    for_each_option(|command, arg| {
        if arg.get_action().takes_values() {
            let names = arg.get_value_names().unwrap_or_default();
            assert!(!names.is_empty(), "{}", shown(command, arg));
            assert!(names.iter().all(|name| **name == name.to_uppercase()), "{}: {names:?}", shown(command, arg));
        }
    });
}

#[test]
fn no_two_options_share_a_name() {
    for command in commands() {
        let (mut longs, mut shorts) = (HashSet::new(), HashSet::new());
        for arg in command.get_arguments() {
            assert!(arg.get_long().is_none_or(|long| longs.insert(long.to_owned())), "{}", shown(&command, arg));
            assert!(arg.get_short().is_none_or(|short| shorts.insert(short)), "{}", shown(&command, arg));
        }
    }
}

#[test]
fn the_short_help_is_one_screen_with_a_line_per_option() {
    for mut command in commands() {
        let help = command.render_help().to_string();
        assert!(help.lines().count() <= 52, "{}: {} lines", command.get_name(), help.lines().count());
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{}: `{line}`", command.get_name());
        }
    }
}

#[test]
fn the_options_of_the_design_are_there() {
    let run = commands().into_iter().find(|command| command.get_name() == "run").unwrap();
    let names: HashSet<_> = run.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    for name in [
        "json",
        "time",
        "cpu-time",
        "memory",
        "pids",
        "cpus",
        "cpu-weight",
        "cpuset",
        "swap",
        "stack",
        "io-read-bps",
        "io-write-bps",
        "io-read-iops",
        "io-write-iops",
        "output",
        "disk",
        "open-files",
        "workspace",
        "ro",
        "rw",
        "root",
        "env",
        "cwd",
        "net",
        "toolchain",
        "user",
        "seccomp",
        "require",
        "artifact",
        "artifact-dir",
        "report",
        "tty",
    ] {
        assert!(names.contains(name), "--{name}");
    }
}

#[test]
fn exec_is_the_same_alone_as_below_pinfold() {
    let mut below = commands().into_iter().find(|command| command.get_name() == "exec").unwrap();
    let mut alone = super::exec::subcommand();
    alone.build();
    assert_eq!(below.render_long_help().to_string(), alone.render_long_help().to_string());
    assert_eq!(below.render_help().to_string(), alone.render_help().to_string());
    for arguments in
        [&["exec"][..], &["exec", "--nonsense", "a"], &["exec", "-t", "--json", "a", "b"], &["exec", "--version"]]
    {
        let below = Cli::try_parse_from([&["pinfold"], arguments].concat()).unwrap_err();
        let alone = super::exec::parse(arguments.iter().map(Into::into).collect()).unwrap_err();
        assert_eq!((below.kind(), below.to_string()), (alone.kind(), alone.to_string()));
    }
}

#[test]
fn exec_without_options_is_read_as_clap_reads_it() {
    for arguments in [
        &["exec", "box", "--", "true"][..],
        &["exec", "box", "--", "sh", "-c", "exit 3"],
        &["exec", "box", "--", "--", "--json", "--"],
        &["exec", "box", "--", "-t", "a", "--", "b"],
        &["exec", "", "--", ""],
        &["exec", "a=b", "--", "a=b", "\u{e4} \n"],
        &["exec", "box", "-", "--", "a"],
        &["exec", "box", "true"],
        &["exec", "box", "true", "--", "a"],
        &["exec", "-t", "--", "box", "true"],
        &["exec", "--", "box", "true"],
        &["exec", "--", "--", "true"],
        &["exec", "box", "--"],
        &["exec", "box"],
        &["exec", "--help", "--", "true"],
    ] {
        let arguments: Vec<std::ffi::OsString> = arguments.iter().map(Into::into).collect();
        let told = |parsed: Result<super::exec::ExecOptions, clap::Error>| format!("{parsed:?}");
        let clap = told(super::exec::parse_options(arguments.clone()));
        assert_eq!(told(super::exec::parse(arguments.clone())), clap, "{arguments:?}");
    }
}
