//! The official client in Python, as people have it in their programs: `client.py` speaks to the server with it.

use crate::held::Home;
use crate::support::{self, finish};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_official_python_client_gets_along_with_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/mcp-client/bin/python");
    let has_client = Command::new(&python).args(["-c", "import mcp"]).stderr(Stdio::null()).status();
    if !has_client.is_ok_and(|status| status.success()) {
        return support::skip("needs the package `mcp` for Python in target/mcp-client, where tests/run installs it");
    }
    let home = Home::new();
    // With the environment of the command, and the server's by what it is told.
    let mut command = home.pinfold(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    command = Command::new(python);
    command.arg(root.join("tests/it/mcp/client.py")).arg(support::pinfold()).envs(environment);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (code, stdout, stderr) = finish(child);
    assert_eq!((code, stdout.as_str()), (0, "legacy ok\nauto ok\n"), "{stderr}");
    home.is_clean();
}
