//! `pinfold cp`: files between the user and a place, by the rules of `docker cp`. Nothing in the place is followed or
//! trusted; the other side is the user's own path.

use super::exit::Exit;
use super::message;
use super::place::{InPlace, Refusal};
use super::progress::Bar;
use super::value;
use clap::Args;
use pinfold::Limit;
use pinfold::files::{Error, Kind, Reason, Report, Tree};
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copy files into or out of where a sandbox works
///
/// One of SRC and DST is PLACE:PATH: PLACE is a sandbox that lives, by its name or id, a workspace, `ws:ID`, or a directory
/// whose content nobody trusts, written so that it begins with `/` or `.`, and PATH is below it. The other is a path of yours, or `-` for a tar archive on stdin or stdout.
///
/// As with `docker cp`: a file is copied to the name DST, or into it if it is a directory. A directory becomes DST if there
/// is none, or is copied into it; with `/.` at the end of SRC its content is. Files that are there are replaced.
/// Symbolic links inside are copied as links, set-id bits are dropped, and FIFOs, sockets and devices are left out with an
/// error.
#[derive(Debug, Args)]
pub(crate) struct CpOptions {
    /// Don't show how far a long copy is
    #[arg(short, long)]
    quiet: bool,
    /// Copy at most so much, or `max` (default: 16G)
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    max_bytes: Option<Limit<u64>>,
    /// What is copied: PLACE:PATH, a path, or `-` for tar on stdin
    #[arg(value_name = "SRC")]
    source: OsString,
    /// Where to: PLACE:PATH, a path, or `-` for tar on stdout
    #[arg(value_name = "DST")]
    target: OsString,
}

/// What is copied.
struct Source {
    tree: Tree,
    path: PathBuf,
    is_directory: bool,
    /// Its name in a directory that it is copied into; none when only its content is.
    name: Option<OsString>,
}

/// Where it is copied to.
struct Target {
    tree: Tree,
    path: PathBuf,
    /// What is there already.
    kind: Option<Kind>,
    /// As it was written.
    shown: OsString,
}

pub(super) fn run(options: &CpOptions) -> Exit {
    match copy(options) {
        Ok(report) => tell(&report),
        Err(refusal) => refusal.tell(),
    }
}

fn copy(options: &CpOptions) -> Result<Report, Refusal> {
    let stream = OsStr::new("-");
    match (InPlace::read(&options.source), InPlace::read(&options.target)) {
        (Some(_), Some(_)) => {
            Err(Refusal::new("one of SRC and DST must be a path of yours, and both are `PLACE:PATH`", COLON))
        }
        (None, None) => Err(Refusal::new("one of SRC and DST must be `PLACE:PATH`, and neither has a colon", COLON)),
        (Some(place), None) if options.target == stream => pack(options, &place),
        (None, Some(place)) if options.source == stream => unpack(options, &place),
        (Some(place), None) => between(options, source_in_place(&place)?, own_target(&options.target)?),
        (None, Some(place)) => {
            between(options, own_source(&options.source)?, target_in_place(&place, &options.target)?)
        }
    }
}

const COLON: Option<&str> = Some("for example `pinfold cp ./project:dist ./out`, or `pinfold cp data.csv /srv/work:`");

fn between(options: &CpOptions, source: Source, target: Target) -> Result<Report, Refusal> {
    let path = destination(&source, &target)?;
    let to = bounded(target.tree, options);
    let mut bar = Bar::new(options.quiet, || source.tree.measure(&source.path));
    Ok(source.tree.copy_to(&source.path, &to, path, &mut |report| bar.tell(report))?)
}

/// Where exactly, by the rules of `docker cp`.
fn destination(source: &Source, target: &Target) -> Result<PathBuf, Refusal> {
    let wants_directory = target.shown.as_bytes().ends_with(b"/") || target.shown.as_bytes().ends_with(b"/.");
    let refuse = |why: &str| Err(Refusal::new(format!("failed to copy to `{}`: {why}", target.shown.display()), None));
    match (source.is_directory, target.kind) {
        (_, Some(Kind::Symlink)) => Err(unwritable(&target.shown, &Reason::Symlink)),
        (false, None) if wants_directory => refuse("no such directory"),
        (false, Some(kind)) if wants_directory && kind != Kind::Directory => refuse("it is not a directory"),
        (true, Some(kind)) if kind != Kind::Directory => refuse("a directory can't replace a file"),
        (_, Some(Kind::Directory)) => match &source.name {
            Some(name) => Ok(target.path.join(name)),
            None => Ok(target.path.clone()),
        },
        _ => Ok(target.path.clone()),
    }
}

fn source_in_place(place: &InPlace) -> Result<Source, Refusal> {
    let tree = place.open()?;
    let kind = tree.stat(&place.path)?.kind;
    let name = (!is_content(&place.path)).then(|| place.path.file_name().map(OsStr::to_owned)).flatten();
    // `/workspace` is the root itself, and its name none of a directory in it.
    let name = name.filter(|_| place.path != Path::new(pinfold::WORKSPACE));
    Ok(Source { tree, path: place.path.clone(), is_directory: kind == Kind::Directory, name })
}

fn target_in_place(place: &InPlace, shown: &OsStr) -> Result<Target, Refusal> {
    let tree = place.open_to_write()?;
    let kind = existing(tree.stat(&place.path).map(|entry| entry.kind))?;
    let target = Target { tree, path: place.path.clone(), kind, shown: shown.to_owned() };
    if target.kind.is_none() {
        // As with cp(1), only the last name is made.
        let folder = place.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        target.tree.stat(folder.unwrap_or(Path::new(".")))?;
    }
    Ok(target)
}

fn existing(kind: Result<Kind, Error>) -> Result<Option<Kind>, Refusal> {
    match kind {
        Ok(kind) => Ok(Some(kind)),
        Err(error) if matches!(error.reason(), Reason::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The user's own path, through any links.
fn own_source(text: &OsStr) -> Result<Source, Refusal> {
    let refuse = |reason: Reason| Refusal::new(format!("failed to read `{}`: {reason}", text.display()), None);
    let written = Path::new(text);
    let real = written.canonicalize().map_err(|error| refuse(error.into()))?;
    let is_directory = real.is_dir();
    let name = written.file_name().or(real.file_name()).map(OsStr::to_owned);
    if is_directory {
        let name = name.filter(|_| !is_content(written));
        return Ok(Source { tree: Tree::open_own(&real)?, path: PathBuf::from("."), is_directory, name });
    }
    let (folder, own_name) = folder_and_name(&real)?;
    Ok(Source { tree: Tree::open_own(folder)?, path: own_name, is_directory, name })
}

fn own_target(text: &OsStr) -> Result<Target, Refusal> {
    let written = Path::new(text);
    let shown = text.to_owned();
    match written.canonicalize() {
        Ok(real) if real.is_dir() => {
            let path = PathBuf::from(".");
            Ok(Target { tree: Tree::open_own(&real)?, path, kind: Some(Kind::Directory), shown })
        }
        Ok(real) => {
            let (folder, path) = folder_and_name(&real)?;
            let tree = Tree::open_own(folder)?;
            let kind = tree.stat(&path)?.kind;
            if kind != Kind::File {
                return Err(unwritable(&shown, &Reason::NotRegular));
            }
            Ok(Target { tree, path, kind: Some(kind), shown })
        }
        // As cp(1): who writes through a link that leads nowhere rarely means it.
        Err(_) if written.symlink_metadata().is_ok() => Err(unwritable(&shown, &Reason::Symlink)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (folder, path) = folder_and_name(written)?;
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            Ok(Target { tree: Tree::open_own(folder)?, path, kind: None, shown })
        }
        Err(error) => Err(unwritable(&shown, &error.into())),
    }
}

fn unwritable(shown: &OsStr, reason: &Reason) -> Refusal {
    Refusal::new(format!("failed to write to `{}`: {reason}", shown.display()), None)
}

fn folder_and_name(path: &Path) -> Result<(&Path, PathBuf), Refusal> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, PathBuf::from(name))),
        _ => Err(Refusal::new(format!("failed to find a name in `{}`", path.display()), None)),
    }
}

/// Whether a path says that a directory's content is meant. `Path` itself does not keep a `.` at the end.
fn is_content(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes == b"." || bytes.ends_with(b"/.")
}

fn pack(options: &CpOptions, place: &InPlace) -> Result<Report, Refusal> {
    if std::io::stdout().is_terminal() {
        let hint = Some("pipe it into a program, such as `tar -t`, or write it into a file");
        return Err(Refusal::new("failed to write an archive to a terminal", hint));
    }
    let source = source_in_place(place)?;
    let tree = bounded(source.tree, options);
    let mut bar = Bar::new(options.quiet, || tree.measure(&source.path));
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let prefix = source.name.unwrap_or_default();
    let report = tree.pack(&source.path, Path::new(&prefix), &mut stdout, &mut |report| bar.tell(report))?;
    stdout.flush().map_err(|error| Refusal::new(format!("failed to write to stdout: {error}"), None))?;
    Ok(report)
}

fn unpack(options: &CpOptions, place: &InPlace) -> Result<Report, Refusal> {
    let tree = bounded(place.open_to_write()?, options);
    if tree.stat(&place.path)?.kind != Kind::Directory {
        return Err(unwritable(&options.target, &Reason::NotDirectory));
    }
    let mut bar = Bar::new(options.quiet, || 0);
    Ok(tree.unpack(&place.path, std::io::stdin().lock(), &mut |report| bar.tell(report))?)
}

fn bounded(tree: Tree, options: &CpOptions) -> Tree {
    let mut bounds = pinfold::files::Bounds::default();
    match options.max_bytes {
        Some(Limit::At(most)) => bounds.copy_bytes = most,
        Some(Limit::Max) => bounds.copy_bytes = u64::MAX,
        None => {}
    }
    tree.with_bounds(bounds)
}

/// What was left out is a failure, whatever else was copied.
fn tell(report: &Report) -> Exit {
    const MOST_TOLD: usize = 20;
    for error in report.refused.iter().take(MOST_TOLD) {
        message::error(&error.to_string(), None);
    }
    let untold = report.refused.len().saturating_sub(MOST_TOLD);
    if untold > 0 {
        message::error(&format!("{untold} more were left out"), None);
    }
    if report.refused.is_empty() { Exit::Success } else { Exit::Failed }
}
