//! Wrong usage, help, completions and man pages.

use super::{Scratch, finish, path_text, pinfold};
use std::process::{Command, Stdio};

#[test]
fn wrong_usage_exits_with_125_and_says_what_is_wrong() {
    for (args, words) in [
        (&["run"][..], "COMMAND"),
        (&["run", "--memroy", "1G", "--", "true"], "--memroy"),
        (&["run", "--memory", "much", "--", "true"], "512M"),
        (&["run", "--memory", "5", "--", "true"], "1048576"),
        (&["run", "--time", "1 hour", "--", "true"], "500ms"),
        (&["run", "--pids", "0", "--", "true"], "1 to 4194304"),
        (&["run", "--cpu-weight", "0", "--", "true"], "1 to 10000"),
        (&["run", "--cpuset", "1-0", "--", "true"], "0-3,8"),
        (&["run", "--stack", "1K", "--", "true"], "65536"),
        (&["run", "--swap", "2000T", "--", "true"], "0 to 1125899906842624 bytes"),
        (&["run", "--io-read-bps", "1K", "--", "true"], "bytes a second"),
        (&["run", "--io-write-iops", "1", "--", "true"], "2 to 2147483647"),
        (&["run", "--net", "some", "--", "true"], "none"),
        (&["run", "--require", "magic", "--", "true"], "landlock"),
        (&["run", "--json", "-", "--time", "1s"], "--json"),
        (&["run", "--json", "-", "--", "true"], "--json"),
        (&["run", "--artifact", "x", "--", "true"], "--artifact-dir"),
        (&["run", "--seccomp", "lenient", "--", "true"], "strict"),
        (&["run", "--workspace", "/no/such/directory", "--", "true"], "no such file or directory"),
        (&["run", "--ro", "/no/such/directory", "--", "true"], "no such file or directory"),
        (&["run", "--ro", "/usr:usr", "--", "true"], "absolute"),
        (&["run", "--user", "me", "--", "true"], "uid:gid"),
        (&["run", "--id", "a/b", "--", "true"], "A-Z"),
        (&["run", "--tty", "--", "true"], "terminal"),
        (&["run", "--toolchain", "cobol", "--", "true"], "rust"),
        (&["run", "--env", "=x", "--", "true"], "--env"),
        (&["frobnicate"], "frobnicate"),
        (&[], "Usage"),
    ] {
        let (code, stdout, stderr) = finish(&mut pinfold(args));
        assert_eq!((code, stdout.as_str()), (125, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
}

#[test]
fn help_and_version_are_data_and_no_failure() {
    for args in [&["--help"][..], &["-h"], &["run", "-h"], &["run", "--help"], &["doctor", "--help"], &["--version"]] {
        let (code, stdout, stderr) = finish(&mut pinfold(args));
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        assert!(stdout.contains("pinfold") || stdout.contains("Usage"), "{args:?}: {stdout}");
    }
}

#[test]
fn the_program_s_help_says_what_each_subcommand_is_for() {
    let (_, help, _) = finish(&mut pinfold(["-h"]));
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    assert!(commands.lines().count() > 20, "{help}");
    assert!(commands.lines().all(|line| line.split_whitespace().count() > 2), "{help}");
}

#[test]
fn every_limit_can_be_lifted_and_the_last_word_counts() {
    let limits = ["cpu-weight", "swap", "io-read-bps", "io-write-bps", "io-read-iops", "io-write-iops"];
    let mut args = vec!["run".to_owned(), "--stack".to_owned(), "max".to_owned(), "--stack=1M".to_owned()];
    args.extend(limits.iter().map(|limit| format!("--{limit}=max")));
    args.extend(["--", "sh", "-c", "ulimit -s"].map(str::to_owned));
    let (code, stdout, stderr) = finish(&mut pinfold(&args));
    assert_eq!((code, stdout.as_str()), (0, "1024\n"), "{stderr}");
}

#[test]
fn a_set_of_cpus_that_is_not_there_fails_in_words() {
    let (code, stdout, stderr) = finish(&mut pinfold(["run", "--cpuset", "8191", "--", "true"]));
    assert!((code, stdout.as_str()) == (125, "") && stderr.contains("cpuset") && stderr.contains("hint"), "{stderr}");
}

#[test]
fn options_after_the_command_are_the_commands() {
    let (code, stdout, _) = finish(&mut pinfold(["run", "--", "echo", "--time", "-t", "--help"]));
    assert_eq!((code, stdout.as_str()), (0, "--time -t --help\n"));
    let (code, stdout, _) = finish(&mut pinfold(["run", "echo", "--time", "-t"]));
    assert_eq!((code, stdout.as_str()), (0, "--time -t\n"), "as to docker run and timeout");
}

#[test]
fn an_argument_that_is_not_utf8_is_refused_in_words() {
    use std::os::unix::ffi::OsStrExt;
    let (code, _, stderr) = finish(pinfold(["run", "--", "echo"]).arg(std::ffi::OsStr::from_bytes(b"\xff")));
    assert_eq!(code, 125);
    assert!(stderr.to_lowercase().contains("utf-8"), "{stderr}");
}

#[test]
fn completions_name_every_subcommand_and_parse() {
    let scratch = Scratch::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let (code, script, _) = finish(&mut pinfold(["completions", shell]));
        assert_eq!(code, 0);
        for word in ["run", "doctor", "open-files", "artifact-dir"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let file = scratch.write(shell, &script);
        match Command::new(shell).arg(check).arg(&file).stdout(Stdio::null()).status() {
            Ok(status) => assert!(status.success(), "{shell} does not parse its completions"),
            Err(_not_installed) => crate::support::host_cannot(&format!("`{shell}` is not installed here")),
        }
    }
}

#[test]
fn man_pages_are_written_one_a_subcommand() {
    let scratch = Scratch::new();
    let directory = scratch.path("man1");
    let (code, stdout, _) = finish(&mut pinfold(["man", path_text(&directory)]));
    assert_eq!((code, stdout.as_str()), (0, ""));
    for page in ["pinfold.1", "pinfold-run.1", "pinfold-doctor.1"] {
        assert!(scratch.read(&format!("man1/{page}")).contains(".TH"), "{page}");
    }
    let page = scratch.read("man1/pinfold-run.1");
    assert!(page.contains("cpu") && page.contains("128+n"), "{page}");
    let (code, stdout, _) = finish(&mut pinfold(["man"]));
    assert!(code == 0 && stdout.contains(".TH") && stdout.contains("doctor"));
}
