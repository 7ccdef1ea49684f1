//! Where the programs under test are, who runs the suite, and what this host can't do. Tiny on purpose: what only one
//! module needs stays there.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The program `pinfold`, with its runner beside it.
pub(crate) fn pinfold() -> &'static Path {
    runner();
    Path::new(env!("CARGO_BIN_EXE_pinfold"))
}

/// The program `pinfold-runner`, built once: a `cargo test` that is filtered to this package does not build it.
pub(crate) fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| {
        // <target>/<triple>/<profile>/pinfold
        let directory = Path::new(env!("CARGO_BIN_EXE_pinfold")).parent().unwrap();
        let target = directory.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "pinfold-runner", "--target-dir"]).arg(target);
        match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(profile) => {
                cargo.args(["--profile", profile]);
            }
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        let runner = directory.join("pinfold-runner");
        // A test binary that was copied to another host finds the runner there, and no cargo.
        assert!(built.is_ok_and(|status| status.success()) || runner.exists(), "`pinfold-runner` can't be built");
        runner
    })
}

/// A probe: one of the tiny static programs of `tests/probes/`.
pub(crate) fn probe(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_pinfold")).parent().unwrap().join(format!("examples/probe-{name}"));
    assert!(path.exists(), "{} is built by `cargo test`, or by `cargo build --examples`", path.display());
    path
}

/// Whether root runs the suite.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether processes start dozens of times slower here than on any real machine: an emulated one (`tests/vm/run`) says so.
pub(crate) fn is_slow() -> bool {
    std::env::var_os("PINFOLD_TESTS_SLOW").is_some()
}

/// How often a test does what must hold each time, and how much it does of what takes long.
pub(crate) fn runs(usual: usize) -> usize {
    if is_slow() { usual.div_ceil(10) } else { usual }
}

/// Whether there is a Rust for this user, and a loud skip where not. Cargo has one with it, but it may be its user's alone,
/// where this is started as another.
pub(crate) fn has_rust() -> bool {
    let found = std::env::var_os("CARGO").is_some();
    if !found {
        host_cannot("no Rust is there for this user");
    }
    found
}

/// Says loudly that a test could not be made, and counts it. A skip fails the test on CI (`CI=true`), where everything is
/// to be installed, and wherever `PINFOLD_NO_SKIP` is set.
pub(crate) fn skip(reason: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let may_skip = !is_ci && std::env::var_os("PINFOLD_NO_SKIP").is_none();
    assert!(may_skip, "no test may be skipped here, and this one would be: {reason}");
    host_cannot(reason);
}

/// A skip that is no fault of anybody's: this kernel, or this user, can't do at all what the test is about.
pub(crate) fn host_cannot(reason: &str) {
    static SKIPS: AtomicUsize = AtomicUsize::new(0);
    let number = SKIPS.fetch_add(1, Ordering::Relaxed) + 1;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Not by `eprintln!`, which libtest keeps to itself when a test passes.
    let _nobody_reads = writeln!(std::io::stderr(), "SKIPPED ({number}): {test}: {reason}");
}

/// Whether limits are held by cgroups here, found out by a job that requires it.
pub(crate) fn has_cgroups() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let job = crate::sandbox::Job::new(&["true"]).with("require", serde_json::json!(["cgroup"]));
        job.run().outcome.status == pinfold_runner::Status::Exited
    })
}

/// Whether a program is installed where a sandbox sees it; a loud skip if it isn't.
pub(crate) fn has_program(name: &str) -> bool {
    let found = ["/usr/bin", "/usr/local/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(name).exists());
    if !found {
        skip(&format!("needs `{name}` below /usr"));
    }
    found
}

/// Waits for a program's end: its exit code, stdout and stderr.
pub(crate) fn finish(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// It must have succeeded without a word: its stdout.
pub(crate) fn succeeded(args: &[&str], (code, stdout, stderr): (i32, String, String)) -> String {
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}: {stdout}");
    stdout
}

/// It must have failed as Pinfold's failure, in words that say this.
pub(crate) fn refused(args: &[&str], (code, stdout, stderr): (i32, String, String), words: &str) {
    assert_eq!((code, stdout.as_str()), (125, ""), "{args:?}: {stderr}");
    assert!(stderr.starts_with("pinfold: error: ") && stderr.contains(words), "{args:?}: {stderr}");
}

/// Whether so many processes are told. Where numbers soon begin anew, as they do in 32 ms at the fastest on a host with no more
/// than 32768 of them before Linux 6.14, nobody knows once Pinfold was kept from a CPU for so long.
pub(crate) fn is_total(usage: &pinfold_runner::Usage, count: u64) -> bool {
    let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    usage.total_pids.map_or(most.trim().parse::<u32>().unwrap() < 100_000, |told| told == count)
}
