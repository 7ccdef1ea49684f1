//! Fake runners that do their work: what they are given, and that what they answer arrives.

use super::{PATIENCE, Scratch, anything, fake, is_gone};
use pinfold::{Error, Job, Status, Stdio, job};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_answer_of_a_runner_is_the_outcome() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; stdout=hello; bytes=5; answer exited");
    let outcome = pinfold.run(anything()).await.unwrap();
    assert_eq!(
        (outcome.status, outcome.exit_code, outcome.stdout.as_bytes()),
        (Status::Exited, Some(0), &b"hello"[..])
    );
    let pids = scratch.started();
    assert!(pids.len() == 1 && is_gone(&pids[0]), "nothing to sweep, and no zombie");
}

#[tokio::test]
async fn the_id_of_the_job_names_the_sandbox_and_one_is_made_up_where_there_is_none() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let named = pinfold.run(job(["true"]).id("mine").build().unwrap()).await.unwrap();
    let (first, second) = (pinfold.run(anything()).await.unwrap(), pinfold.run(anything()).await.unwrap());
    assert_eq!(named.id, "mine");
    assert!(first.id.len() == 32 && first.id != second.id);
}

#[tokio::test]
async fn a_runner_gets_nothing_of_the_hosts_environment_but_what_it_needs() {
    let scratch = Scratch::new();
    let pinfold =
        fake(&scratch, r#"read_job; tr '\0' '\n' < /proc/$$/environ > "$scratch/environment"; answer exited"#);
    pinfold.run(anything()).await.unwrap();
    let environment = scratch.read("environment");
    let allowed = ["TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let foreign = environment.lines().find(|line| {
        let name = line.split('=').next().unwrap();
        !allowed.contains(&name) && !name.starts_with("PINFOLD_")
    });
    assert_eq!(foreign, None);
    assert!(std::env::var_os("PATH").is_some(), "the host has one to leak");
}

#[tokio::test]
async fn a_runner_leads_a_process_group_of_its_own() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        r#"read_job; read -r pid name state parent group rest < /proc/$$/stat; echo $pid $group > "$scratch/group"; answer exited"#,
    );
    pinfold.run(anything()).await.unwrap();
    let line = scratch.read("group");
    let (pid, group) = line.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[tokio::test]
async fn a_job_of_tens_of_mebibytes_arrives_whole() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, r#"read_job; answer exited"#);
    let size = 20 << 20;
    let job = job(["true"]).stdin(vec![b'x'; size]).wall(PATIENCE).build().unwrap();
    assert_eq!(pinfold.run(job).await.unwrap().status, Status::Exited);
    let sent = Job::from_json(&std::fs::read(scratch.path("job")).unwrap()).unwrap();
    assert_eq!(sent.stdin.as_bytes().len(), size);
}

#[tokio::test]
async fn a_job_that_no_runner_would_read_starts_none() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let refused = pinfold.run(job(["true"]).stdin(vec![b'x'; 64 << 20]).build().unwrap()).await.unwrap_err();
    assert!(matches!(refused, Error::JobTooBig { bytes, limit } if bytes > limit), "{refused}");
    assert!(scratch.started().is_empty());
}

#[tokio::test]
async fn streams_run_both_ways() {
    let scratch = Scratch::new();
    // Descriptors: 3 lifeline, 4 stdin, 5 stdout, 6 stderr.
    let script = r#"read_job; while read -r line <&4; do echo "got $line" >&5; done; echo end >&6; exec 5>&- 6>&-; answer exited"#;
    let pinfold = fake(&scratch, script);
    let mut sandbox = pinfold.spawn(anything(), Stdio::live()).await.unwrap();
    let (mut stdin, mut stdout) = (sandbox.take_stdin().unwrap(), sandbox.take_stdout().unwrap());
    let mut stderr = sandbox.take_stderr().unwrap();
    for word in ["one", "two"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let mut echoed = vec![0; "got one\n".len()];
        stdout.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, format!("got {word}\n").as_bytes());
    }
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "end\n");
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
    assert!(scratch.read("started").contains("--lifeline=3 --stdin=4 --stdout=5 --stderr=6"));
}

#[tokio::test]
async fn streams_that_nobody_took_hold_nothing_up() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        "read_job; cat <&4; head -c 3000000 /dev/zero >&5; head -c 3000000 /dev/zero >&6; answer exited",
    );
    let sandbox = pinfold.spawn(anything(), Stdio::live()).await.unwrap();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
}

#[tokio::test]
async fn signals_and_sizes_go_over_the_lifeline() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        r#"read_job; stdout=$(head -c 10 <&3 | od -An -tu1 | tr -s ' \n' ' '); bytes=${#stdout}; exec 5>&-; echo "$stdout" > "$scratch/messages"; stdout=; bytes=0; answer exited"#,
    );
    let sandbox = pinfold.spawn(anything(), Stdio::terminal(24, 80)).await.unwrap();
    sandbox.signal(15).unwrap();
    sandbox.controller().resize(50, 300).unwrap();
    assert!(matches!(sandbox.signal(0), Err(Error::UnknownSignal { number: 0 })));
    assert!(matches!(sandbox.signal(65), Err(Error::UnknownSignal { .. })));
    let controller = sandbox.controller();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
    assert_eq!(scratch.read("messages").trim(), "115 15 0 0 0 114 50 0 44 1");
    assert!(scratch.read("started").contains("--terminal=24x80"));
    assert!(matches!(controller.signal(15), Err(Error::Ended { .. })));
}

#[tokio::test]
async fn a_job_with_a_stdin_has_no_live_one() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let refused = pinfold.spawn(job(["cat"]).stdin("x").build().unwrap(), Stdio::live()).await.unwrap_err();
    assert!(matches!(refused, Error::TwoStdins));
}
