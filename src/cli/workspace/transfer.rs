//! `export` and `import`: the archive's file, or stdout and stdin, and what is said of what was left out.

use super::{Export, Import, Refusal};
use crate::cli::exit::Exit;
use crate::cli::message;
use crate::cli::sandbox::reach;
use crate::cli::value::{self, reason};
use pinfold::workspace::{Exported, Quota, Store};
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

pub(super) fn export(store: &Store, options: &Export) -> Result<Exit, Refusal> {
    let most = options.max_size.value();
    let exported = if options.file == Path::new("-") {
        let stdout = std::io::stdout();
        if stdout.is_terminal() {
            return Err(Refusal::new(
                "an archive is nothing for a terminal; name a file, or pass it on through a pipe",
            ));
        }
        store.export(&options.id, stdout.lock(), most)?
    } else {
        let mut target = Target::open(store, &options.file)?;
        let exported = store.export(&options.id, &mut target.file, most)?;
        target.keep()?;
        exported
    };
    tell(&exported);
    Ok(Exit::Success)
}

pub(super) fn import(store: &Store, options: &Import) -> Result<Exit, Refusal> {
    let source: Box<dyn Read> = if options.file == Path::new("-") {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Refusal::new(
                "an archive does not come from a terminal; name a file, or pass it in through a pipe",
            ));
        }
        Box::new(stdin.lock())
    } else {
        outside(store, &options.file)?;
        let failed = |error| Refusal::new(format!("failed to open `{}`: {}", options.file.display(), reason(&error)));
        Box::new(File::open(&options.file).map_err(failed)?)
    };
    let most = Quota { bytes: options.max_size.value(), inodes: options.max_entries.value() };
    let imported = store.import(&options.id, source, most, options.replace)?;
    if imported.without_attributes > 0 {
        message::warning(&format!("extended attributes of {} entries were not taken", imported.without_attributes));
    }
    Ok(Exit::Success)
}

/// Says what is not in the archive.
fn tell(exported: &Exported) {
    for (path, reason) in &exported.reasons {
        message::warning(&format!("`{}`: {reason}", String::from_utf8_lossy(path)));
    }
    let more = exported.left_out - exported.reasons.len() as u64;
    if more > 0 {
        message::warning(&format!("{more} more were left out"));
    }
}

/// A file of the caller's that gets its content as a whole, or none.
struct Target {
    path: PathBuf,
    /// What is written to until it is whole; none for a device or a pipe, which is written to as it is.
    fresh: Option<PathBuf>,
    file: File,
}

impl Target {
    fn open(store: &Store, path: &Path) -> Result<Self, Refusal> {
        outside(store, path)?;
        let failed = |error| Refusal::new(format!("failed to open `{}`: {}", path.display(), reason(&error)));
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Self { path: path.to_owned(), fresh: None, file });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let fresh = path.with_file_name(name);
        let file = File::create_new(&fresh).map_err(failed)?;
        Ok(Self { path: path.to_owned(), fresh: Some(fresh), file })
    }

    fn keep(mut self) -> Result<(), Refusal> {
        let Some(fresh) = self.fresh.take() else { return Ok(()) };
        let kept = self.file.flush().and_then(|()| std::fs::rename(&fresh, &self.path));
        kept.map_err(|error| {
            // The caller is told of the first failure.
            let _ = std::fs::remove_file(&fresh);
            Refusal::new(format!("failed to write `{}`: {}", self.path.display(), reason(&error)))
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(fresh) = &self.fresh {
            // What is left of a failed export is of no use; the failure has been told.
            let _ = std::fs::remove_file(fresh);
        }
    }
}

/// Refuses a path on which something lies that a command may have left in a workspace.
fn outside(store: &Store, path: &Path) -> Result<(), Refusal> {
    let Ok(state) = value::existing(store.state()) else { return Ok(()) };
    match reach::holding(&[&state], path) {
        Some(_) => {
            Err(Refusal::new(format!("`{}` lies where workspaces are: nothing there is trusted", path.display())))
        }
        None => Ok(()),
    }
}
