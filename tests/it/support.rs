//! Where the programs under test are. Tiny on purpose: what only one module needs stays there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
