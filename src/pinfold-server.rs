//! The program `pinfold-server`, which serves the library over HTTP. `pinfold serve` becomes it, and hands it its settings.

mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let inherited = pinfold::service::inherited_sockets();
    let Ok(settings) = std::env::var(pinfold::service::SETTINGS) else {
        eprintln!("pinfold-server: it is started by `pinfold serve`");
        return ExitCode::from(125);
    };
    let settings = serde_json::from_str(&settings).map_err(|error| format!("failed to read the settings: {error}"));
    match inherited.and_then(|sockets| server::run(settings?, sockets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("pinfold: error: {reason}");
            ExitCode::from(125)
        }
    }
}
