//! Directories, variables and toolchains that the options bring into the sandbox, and the artifacts that come out.

use super::{Scratch, finish, path_text, pinfold, shell};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn the_workspace_is_the_directory_that_was_named_and_keeps_what_is_left_there() {
    let scratch = Scratch::new();
    scratch.write("in", "hello");
    let (code, stdout, stderr) = finish(shell(&["-w", "."], "pwd; cat in; echo out > out").current_dir(&scratch.0));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "/workspace\nhello", ""));
    assert_eq!(scratch.read("out"), "out\n");
}

#[test]
fn a_caller_of_idle_priority_has_a_sandbox_of_the_same() {
    if !crate::support::has_program("chrt") {
        return;
    }
    let mut command = std::process::Command::new("chrt");
    command.args(["-i", "0"]).arg(crate::support::pinfold()).args(["run", "--", "sh", "-c", "echo runs; chrt -p $$"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, stdout, stderr) = finish(&mut command);
    assert!(code == 0 && stdout.starts_with("runs\n"), "{stdout}{stderr}");
}

#[test]
fn the_word_tmpfs_is_never_a_directory_by_accident() {
    let scratch = Scratch::new();
    let (code, stdout, _) = finish(shell(&["-w", "tmpfs"], "ls -A; stat -f -c %T .").current_dir(&scratch.0));
    assert_eq!((code, stdout.as_str()), (0, "tmpfs\n"));
    scratch.write("tmpfs/file", "");
    let (code, _, words) = finish(shell(&["-w", "tmpfs"], "ls").current_dir(&scratch.0));
    assert!(code == 125 && words.contains("./tmpfs"), "{words}");
    let (code, stdout, _) = finish(shell(&["-w", "./tmpfs"], "ls").current_dir(&scratch.0));
    assert_eq!((code, stdout.as_str()), (0, "file\n"));
}

#[test]
fn mounts_lie_where_they_were_told_and_obey() {
    let scratch = Scratch::new();
    let (readable, writable) = (scratch.write("r/file", "r"), scratch.write("w/file", "w"));
    let own = path_text(readable.parent().unwrap());
    let told = format!("{}:/data", path_text(writable.parent().unwrap()));
    let script = format!("cat {own}/file /data/file; echo new > /data/new; ! echo x 2>/dev/null > {own}/new");
    let (code, stdout, stderr) = finish(&mut shell(&["--ro", own, "--rw", &told], &script));
    assert_eq!((code, stdout.as_str()), (0, "rw"), "{stderr}");
    assert_eq!(scratch.read("w/new"), "new\n");
    assert!(!scratch.path("r/new").exists());
    // Relative to where we are, `..` included.
    let (code, stdout, stderr) = finish(shell(&["--ro", "../r:/r"], "cat /r/file").current_dir(scratch.path("w")));
    assert_eq!((code, stdout.as_str()), (0, "r"), "{stderr}");
}

#[test]
fn variables_come_only_from_the_options() {
    let mut command = shell(&["--env", "A=1=2", "--env", "PASSED", "--env", "ABSENT", "--env", "EMPTY="], "env");
    let (_, stdout, _) = finish(command.env("PASSED", "yes").env("SECRET", "no").env_remove("ABSENT"));
    let variables: Vec<_> = stdout.lines().collect();
    for variable in ["A=1=2", "PASSED=yes", "EMPTY=", "HOME=/workspace"] {
        assert!(variables.contains(&variable), "{variable}: {stdout}");
    }
    assert!(!stdout.contains("SECRET") && !stdout.contains("ABSENT"), "{stdout}");
}

#[test]
fn the_command_is_who_and_where_it_was_told() {
    let options = ["--user", "1234:5678", "--cwd", "/tmp"];
    let (code, stdout, stderr) = finish(&mut shell(&options, "id -u; id -g; pwd"));
    assert_eq!((code, stdout.as_str()), (0, "1234\n5678\n/tmp\n"), "{stderr}");
}

#[test]
fn limits_of_the_options_are_those_of_the_sandbox() {
    let options = ["--open-files", "77", "--tmp", "1M", "--shm", "2M"];
    let script = "ulimit -n; stat -f -c '%b*%S' /tmp /dev/shm | sed 's/^/echo $((/; s/$/))/' | sh";
    let (code, stdout, stderr) = finish(&mut shell(&options, script));
    assert_eq!((code, stdout.as_str()), (0, "77\n1048576\n2097152\n"), "{stderr}");
}

#[test]
fn artifacts_come_out_and_what_can_not_is_named() {
    let scratch = Scratch::new();
    let options = ["--artifact", "dist/", "--artifact", "absent", "--artifact-dir", "out"];
    let script = "mkdir dist; echo x > dist/file; ln -s /etc/passwd dist/link; exit 5";
    let (code, _, words) = finish(shell(&options, script).current_dir(&scratch.0));
    assert_eq!(code, 5, "{words}");
    assert_eq!(scratch.read("out/dist/file"), "x\n");
    assert!(!scratch.path("out/dist/link").exists());
    assert!(
        words.contains("pinfold: warning: artifact `dist/link` was not copied: it is a symbolic link\n"),
        "{words}"
    );
    assert!(words.contains("pinfold: warning: artifact `absent` was not copied: it is not there\n"), "{words}");
}

/// A toolchain as a version manager has it: a shim on the path that knows where the real one lives.
fn install(scratch: &Scratch, shim: &str, answer: &str) {
    let home = scratch.path("versions/1.0");
    for (path, text) in [
        (scratch.path(&format!("shims/{shim}")), format!("#!/bin/sh\necho {answer}\n")),
        (home.join("bin/tool-of-it"), "#!/bin/sh\necho \"the tool of $0\"\n".to_owned()),
    ] {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_toolchain_is_found_past_its_shim_and_mounted_where_it_lives() {
    let scratch = Scratch::new();
    let home = scratch.path("versions/1.0");
    install(&scratch, "rustc", path_text(&home));
    let path = format!("{}:{}", path_text(&scratch.path("shims")), std::env::var("PATH").unwrap());
    let script = format!("tool-of-it; ls {}; ! touch {}/x 2>/dev/null", path_text(&scratch.0), path_text(&home));
    let (code, stdout, stderr) = finish(shell(&["--toolchain", "rust"], &script).env("PATH", path));
    let tool = home.join("bin/tool-of-it");
    assert_eq!((code, stdout), (0, format!("the tool of {}\nversions\n", tool.display())), "{stderr}");
}

#[test]
fn a_project_cannot_choose_the_program_that_answers_for_a_toolchain() {
    let scratch = Scratch::new();
    // What rustup does in a directory with a `rust-toolchain.toml`: it runs what that names.
    install(&scratch, "rustc", "$(cat ./rust-toolchain.toml || echo /usr)");
    scratch.write("project/rust-toolchain.toml", "/etc");
    let path = format!("{}:{}", path_text(&scratch.path("shims")), std::env::var("PATH").unwrap());
    let mut command = shell(&["--toolchain", "rust"], "echo $PATH");
    let (code, stdout, _) = finish(command.env("PATH", path).current_dir(scratch.path("project")));
    assert!(code == 0 && !stdout.contains("/etc"), "{stdout}");
}

#[test]
fn what_the_command_could_have_written_is_never_run_nor_obeyed_on_the_host() {
    let scratch = Scratch::new();
    install(&scratch, "rustc", "/usr; touch ran-on-the-host");
    let path = format!("{}:{}", path_text(&scratch.path("shims")), std::env::var("PATH").unwrap());
    let mut command = shell(&["-w", ".", "--toolchain", "rust"], "true");
    let (code, _, words) = finish(command.env("PATH", path).current_dir(&scratch.0));
    assert!(code == 125 && words.contains("can write"), "{words}");
    scratch.write("policy.json", "{}");
    let (code, _, words) = finish(shell(&["-w", ".", "--seccomp", "./policy.json"], "true").current_dir(&scratch.0));
    assert!(code == 125 && words.contains("can write"), "{words}");
}

#[test]
fn a_toolchain_that_would_show_the_home_directory_is_refused() {
    let scratch = Scratch::new();
    install(&scratch, "rustc", path_text(&scratch.0));
    let path = format!("{}:{}", path_text(&scratch.path("shims")), std::env::var("PATH").unwrap());
    let mut command = shell(&["--toolchain", "rust"], "true");
    let (code, _, words) = finish(command.env("PATH", path).env("HOME", scratch.path("versions")));
    assert!(code == 125 && words.contains("more than the toolchain"), "{words}");
}

#[test]
fn the_toolchains_of_this_host_run_inside() {
    for (name, program, version) in [
        ("rust", "rustc", "--version"),
        ("node", "node", "--version"),
        ("python", "python3", "--version"),
        ("go", "go", "version"),
        ("java", "java", "-version"),
        ("ruby", "ruby", "--version"),
    ] {
        let there = std::process::Command::new(program).arg(version).current_dir("/").output();
        if !there.is_ok_and(|output| output.status.success()) {
            crate::support::host_cannot(&format!("`{program}` is not installed here"));
            continue;
        }
        let args = ["run", "--memory", "2G", "--pids", "512", "--toolchain", name, "--", program, version];
        let (code, _, words) = finish(&mut pinfold(args));
        assert_eq!(code, 0, "{name}: {words}");
    }
}
