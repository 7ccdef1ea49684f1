//! The values of options as people type them: sizes, times, variables and mounts. What a value may be in a job is the
//! contract's to say; here is only the spelling.

use pinfold::{AbsolutePath, AllowList, ByteSize, InvalidValue, Limit, Limits, Mount, Network};
use std::path::{Path, PathBuf};

/// `512M`, `1G`, `4096`: a size in bytes, or `max`.
pub(crate) fn size(text: &str) -> Result<Limit<u64>, String> {
    match ByteSize::parse_limit(text) {
        Ok(Limit::Max) => Ok(Limit::Max),
        Ok(Limit::At(size)) => Ok(Limit::At(size.bytes())),
        Err(error) => Err(format!("it must be {}, or `max`", error.expected())),
    }
}

/// `500ms`, `10s`, `2m`: a time in milliseconds, or `max`. Parts of a millisecond round up.
pub(crate) fn time(text: &str) -> Result<Limit<u64>, String> {
    match pinfold::parse_duration_limit(text) {
        Ok(Limit::Max) => Ok(Limit::Max),
        Ok(Limit::At(time)) => u64::try_from(time.as_nanos().div_ceil(1_000_000))
            .map(Limit::At)
            .map_err(|_too_large| "that is longer than anything lasts".to_owned()),
        Err(error) => Err(format!("it must be {}, or `max`", error.expected())),
    }
}

/// `64`, `10000`: a plain number, or `max`.
pub(crate) fn count(text: &str) -> Result<Limit<u64>, String> {
    match text {
        "max" => Ok(Limit::Max),
        _ => text.parse().map(Limit::At).map_err(|error| format!("{error}; it must be a number, or `max`")),
    }
}

/// `1.5`: CPUs, or `max`.
pub(crate) fn cpus(text: &str) -> Result<Limit<f64>, String> {
    if text == "max" {
        return Ok(Limit::Max);
    }
    match text.parse::<f64>() {
        Ok(cpus) if cpus.is_finite() => Ok(Limit::At(cpus)),
        _ => Err("a number of CPUs is needed, such as `2` or `0.5`, or `max`".to_owned()),
    }
}

/// `none`, `host`, or `allow=example.org,*.example.com:443`.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    match (text, text.strip_prefix("allow=")) {
        ("none", _) => Ok(Network::None),
        ("host", _) => Ok(Network::Host),
        (_, Some(list)) => {
            let rules = list.split(',').map(str::trim).filter(|rule| !rule.is_empty()).map(str::parse);
            let rules = rules.collect::<Result<_, InvalidValue>>().map_err(|error| error.to_string())?;
            AllowList::new(rules).map(Network::Allow).map_err(|error| error.to_string())
        }
        _ => Err(
            "it must be `none`, `host`, or `allow=` with hosts after it, such as `allow=example.org,*.example.com:443`"
                .to_owned(),
        ),
    }
}

/// Checks a limit against the contract's range, in words for an option: `field` names the limit, `set` puts it there.
pub(crate) fn in_range<T: Copy>(
    limit: Limit<T>,
    field: &str,
    set: fn(&mut Limits, Limit<T>),
) -> Result<Limit<T>, String> {
    let mut limits = Limits::default();
    set(&mut limits, limit);
    limits.check().map(|()| limit).map_err(|_says_the_same_of_the_json_field| {
        let unit = if field.ends_with("_bytes") {
            " bytes"
        } else if field.ends_with("_bps") {
            " bytes a second"
        } else if field.ends_with("_ms") {
            " ms"
        } else {
            ""
        };
        format!("it must be {}{unit}, or `max`", Limits::range(field).unwrap_or_default())
    })
}

/// `NAME=VALUE`, or `NAME` alone, which takes the value from our own environment, and is nothing where there is none.
pub(crate) fn variable(text: &str) -> Result<Option<(String, String)>, String> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok(Some((name.to_owned(), value.to_owned())));
    }
    match std::env::var(text) {
        Ok(value) => Ok(Some((text.to_owned(), value))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the value of `{text}` here is not UTF-8")),
    }
}

/// `SRC` or `SRC:DST`: a path of the host, and where it appears in the sandbox, which is the same path by default.
pub(crate) fn mount(text: &str, writable: bool) -> Result<Mount, String> {
    let (source, target) = match text.rsplit_once(':') {
        Some((_, target)) if !target.starts_with('/') => {
            return Err(format!("`{target}` is not an absolute path in the sandbox; `SRC:DST` is needed"));
        }
        Some((source, target)) => (source, Some(target.to_owned())),
        None => (text, None),
    };
    let target = match target {
        Some(target) => target,
        None => utf8(&as_written(Path::new(source))?)?,
    };
    Ok(Mount { source: existing(Path::new(source))?, target: absolute(target)?, writable, as_owner: false })
}

/// An existing path of the host, absolute and without links.
pub(crate) fn existing(path: &Path) -> Result<AbsolutePath, String> {
    let resolved = path.canonicalize().map_err(|error| format!("`{}`: {}", path.display(), reason(&error)))?;
    absolute(utf8(&resolved)?)
}

/// An existing directory of the host, absolute and without links.
pub(crate) fn existing_directory(path: &Path) -> Result<AbsolutePath, String> {
    let resolved = existing(path)?;
    match Path::new(resolved.as_str()).is_dir() {
        true => Ok(resolved),
        false => Err(format!("`{}` is not a directory", path.display())),
    }
}

/// A path of the host that need not exist, absolute.
pub(crate) fn to_be_made(path: &Path) -> Result<AbsolutePath, String> {
    absolute(utf8(&as_written(path)?)?)
}

/// The path made absolute against our own directory, links in it left as they are where `..` allows it.
fn as_written(path: &Path) -> Result<PathBuf, String> {
    let shown = |error: std::io::Error| format!("`{}`: {}", path.display(), reason(&error));
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return match path.canonicalize() {
            // What is still to be made has no links in it, only its parents may.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)).map_err(shown),
                _ => Err(shown(error)),
            },
            resolved => resolved.map_err(shown),
        };
    }
    let absolute = std::path::absolute(path).map_err(shown)?;
    // Rebuilt from its parts, so that neither `.` nor a slash at the end is left.
    Ok(absolute.components().collect())
}

fn absolute(path: String) -> Result<AbsolutePath, String> {
    AbsolutePath::try_from(path).map_err(|error| error.to_string())
}

fn utf8(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("`{}` is not UTF-8", path.display()))
}

/// Why a value can't be one, with the option's name.
pub(crate) fn named(option: &'static str) -> impl Fn(InvalidValue) -> String {
    move |error| format!("`--{option}`: {error}")
}

/// An I/O error in words, without the number that Rust adds.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = words.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(size("512M"), Ok(Limit::At(512 << 20)));
        assert_eq!(size("max"), Ok(Limit::Max));
        assert_eq!(time("1.5s"), Ok(Limit::At(1500)));
        assert_eq!(time("100us"), Ok(Limit::At(1)));
        for text in ["", "M", "-1", "1X", "1 M"] {
            assert!(size(text).is_err() && time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_told_the_range() {
        let refusal = in_range(Limit::At(0), "pids", |limits, limit| limits.pids = limit);
        assert_eq!(refusal, Err("it must be 1 to 4194304, or `max`".to_owned()));
    }

    #[test]
    fn a_mount_lies_at_its_own_path_unless_told() {
        let plain = mount("/usr/bin", false).unwrap();
        assert_eq!((plain.source.as_str(), plain.target.as_str()), ("/usr/bin", "/usr/bin"));
        let told = mount("/usr/bin/:/tools", true).unwrap();
        assert_eq!((told.source.as_str(), told.target.as_str(), told.writable), ("/usr/bin", "/tools", true));
        assert!(mount("/usr/bin:tools", false).unwrap_err().contains("absolute"));
        assert!(mount("/no/such/path", false).unwrap_err().contains("no such file"));
    }
}
