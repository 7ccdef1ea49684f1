//! What passes between our stdio and the command's: live, in both directions, each stream for itself.

use super::{PATIENCE, drain, end, finish, pinfold, read_until, shell};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Instant;

#[test]
fn stdin_passes_through_as_it_comes() {
    let mut child =
        shell(&[], "while read line; do echo got $line; done; echo end").stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for word in ["one", "two"] {
        writeln!(stdin, "{word}").unwrap();
        // The answer comes while stdin is still open.
        read_until(&mut stdout, &format!("got {word}\n"));
    }
    drop(stdin);
    read_until(&mut stdout, "end\n");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn a_prompt_without_a_line_end_comes_at_once() {
    let mut child = shell(&[], "printf 'name? '; read name; echo $name").stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    read_until(&mut stdout, "name? ");
    writeln!(stdin, "me").unwrap();
    read_until(&mut stdout, "me\n");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let (code, stdout, stderr) = finish(&mut shell(&[], "echo out; echo err >&2"));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "out\n", "err\n"));
}

#[test]
fn bytes_pass_unchanged_and_in_full() {
    let mut child = pinfold(["run", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), drain(child.stdout.take()));
    stdin.write_all(&sent).unwrap();
    drop(stdin);
    assert_eq!(end(&mut child).code(), Some(0));
    assert!(stdout.join().unwrap() == sent, "what comes out is not what went in");
}

#[test]
fn the_command_does_not_wait_for_a_stdin_that_stays_open() {
    let start = Instant::now();
    let mut child = shell(&[], "echo done").stdin(Stdio::piped()).spawn().unwrap();
    let _open = child.stdin.take();
    assert_eq!(end(&mut child).code(), Some(0));
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn a_command_that_reads_little_is_no_error() {
    let mut child = pinfold(["run", "--", "head", "-c", "3"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than all the pipes hold; the write fails when the reader has gone.
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 4_000_000]).is_err());
    assert_eq!(end(&mut child).code(), Some(0));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(stdout, "xxx");
    assert!(writer.join().unwrap());
}

#[test]
fn a_closed_stdin_is_an_empty_one() {
    // A shell closes it: the program starts without a descriptor 0.
    let program = crate::support::pinfold().to_str().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("exec '{program}' run -- cat <&-")]).stdout(Stdio::piped()).stderr(Stdio::piped());
    assert_eq!(finish(&mut command), (0, String::new(), String::new()));
}

#[test]
fn a_closed_stdout_ends_the_command_quietly() {
    let mut child = pinfold(["run", "--", "yes"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 2]).unwrap();
    drop(stdout);
    let stderr = drain(child.stderr.take());
    assert_eq!(end(&mut child).code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&stderr.join().unwrap()), "");
}

#[test]
fn a_closed_stdout_ends_even_a_command_that_ignores_it() {
    let script = "trap '' PIPE; while :; do echo line 2> /dev/null || sleep 1; done";
    let mut child = shell(&[], script).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(end(&mut child).code(), Some(141));
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, _, words) = finish(shell(&[], "echo x").stdout(full));
    assert_eq!(code, 125);
    assert_eq!(words, "pinfold: error: failed to write to stdout: no space left on device\n");
}

#[test]
fn output_beyond_the_limit_is_dropped_and_that_is_said() {
    let (code, stdout, words) = finish(&mut shell(&["--output", "10"], "printf 0123456789abcdef; exit 3"));
    assert_eq!((code, stdout.as_str()), (3, "0123456789"));
    assert_eq!(words, "pinfold: warning: stdout was cut off at 10 bytes of 16 bytes (--output)\n");
}

#[test]
fn the_command_sees_no_terminal_and_no_descriptor_of_ours() {
    let (_, stdout, _) = finish(&mut shell(&[], "ls /proc/self/fd | tr '\\n' ' '; test -t 1 || echo none"));
    // 3 is the directory that `ls` itself reads.
    assert_eq!(stdout, "0 1 2 3 none\n");
}
