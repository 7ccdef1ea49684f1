//! Asking a program of the host a question: in `/`, with nothing on stdin, and not for ever.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A JVM on a busy machine takes some seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any program says of itself.
const MOST: u64 = 1 << 20;

/// What the command says, stdout and then stderr: a JVM prints its settings there.
///
/// # Errors
/// When it can't be started, fails, or doesn't end in time.
pub(super) fn ask(command: &[String]) -> Result<String, String> {
    let failed = |reason: &str| format!("failed to ask `{}`: {reason}", command.join(" "));
    let (program, args) = command.split_first().ok_or_else(|| failed("there is no command"))?;
    let mut asked = Command::new(program);
    asked.args(args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = asked.spawn().map_err(|error| failed(&error.to_string()))?;
    let (sender, answers) = mpsc::channel();
    read(0, child.stdout.take(), sender.clone());
    read(1, child.stderr.take(), sender);
    let mut streams = [String::new(), String::new()];
    for _ in 0..streams.len() {
        match answers.recv_timeout(PATIENCE) {
            Ok((index, text)) => streams[index] = text,
            Err(_silent) => {
                // It may have ended by now; then there is nothing to kill.
                let _ended = child.kill();
                let _reaped = child.wait();
                return Err(failed(&format!("it says nothing in {PATIENCE:?}")));
            }
        }
    }
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    let [stdout, stderr] = streams;
    match status.success() {
        true => Ok(format!("{stdout}{}{stderr}", if stdout.ends_with('\n') { "" } else { "\n" })),
        false => Err(failed(stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing"))),
    }
}

fn read(index: usize, stream: Option<impl Read + Send + 'static>, sender: mpsc::Sender<(usize, String)>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read before an error is still an answer.
            let _length = stream.take(MOST).read_to_end(&mut bytes);
        }
        // Whoever asked may have given up.
        let _asker = sender.send((index, String::from_utf8_lossy(&bytes).into_owned()));
    });
}
