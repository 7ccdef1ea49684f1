//! What `/workspace` is: a directory, or layers of directories that the kernel shows as one.

use super::text::{AbsolutePath, InvalidValue, refuse};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What `/workspace` is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Workspace {
    /// A private temporary directory on disk, gone with the sandbox.
    #[default]
    Temp,
    /// One in memory, gone with the sandbox.
    Tmpfs,
    /// An existing directory of the host, which stays.
    Path(AbsolutePath),
    /// Layers of directories of the host as one overlay, which stays; at least one is below the one that is written to.
    Layered(Layers),
}

impl Workspace {
    /// The directory of the host that the command can write to, where the caller named one.
    pub fn directory(&self) -> Option<&AbsolutePath> {
        match self {
            Self::Path(path) => Some(path),
            Self::Layered(layers) => Some(&layers.path),
            Self::Temp | Self::Tmpfs => None,
        }
    }

    /// All directories of the host in which there is what the command wrote, or an earlier one.
    pub fn written(&self) -> impl Iterator<Item = &AbsolutePath> {
        let lower = match self {
            Self::Layered(layers) => &layers.lower[..],
            Self::Temp | Self::Tmpfs | Self::Path(_) => &[],
        };
        self.directory().into_iter().chain(lower)
    }
}

/// The most layers below the uppermost. overlayfs takes 500, and their names together a page of memory.
pub const MAX_LAYERS: usize = 128;

/// Directories that overlayfs shows as one (Documentation/filesystems/overlayfs.rst).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// Holds two directories of one owner: `files`, which takes all that is written, and `work`, which is overlayfs's own.
    /// Nobody else may mount the same at the same time.
    pub path: AbsolutePath,
    /// What lies below, read-only, the uppermost first. Nothing may change in them while they are mounted.
    pub lower: Vec<AbsolutePath>,
}

impl Layers {
    /// Whether there are as many below as there can be, and at least one.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), InvalidValue> {
        if self.lower.is_empty() || self.lower.len() > MAX_LAYERS {
            return refuse(format!("`lower` has {} layers, and 1 to {MAX_LAYERS} can be", self.lower.len()));
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directory {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lower: Option<Vec<String>>,
}

impl Serialize for Workspace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Temp => serializer.serialize_str("temp"),
            Self::Tmpfs => serializer.serialize_str("tmpfs"),
            Self::Path(path) => Directory { path: path.as_str().to_owned(), lower: None }.serialize(serializer),
            Self::Layered(layers) => layers.serialize(serializer),
        }
    }
}

/// Written by hand: what serde derives for an untagged enum can't name an unknown field.
impl<'de> Deserialize<'de> for Workspace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WorkspaceVisitor;
        impl<'de> serde::de::Visitor<'de> for WorkspaceVisitor {
            type Value = Workspace;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or an object with one absolute `path`")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Workspace, E> {
                match word {
                    "temp" => Ok(Workspace::Temp),
                    "tmpfs" => Ok(Workspace::Tmpfs),
                    word => Err(E::custom(format!(
                        "`{word}` is neither \"temp\" nor \"tmpfs\" nor {{\"path\": \"/abs/dir\"}}"
                    ))),
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Workspace, A::Error> {
                let directory = Directory::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                of(directory).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(WorkspaceVisitor)
    }
}

fn of(directory: Directory) -> Result<Workspace, InvalidValue> {
    let path = directory.path.try_into()?;
    let Some(lower) = directory.lower else { return Ok(Workspace::Path(path)) };
    let layers = Layers { path, lower: lower.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()? };
    layers.check()?;
    Ok(Workspace::Layered(layers))
}
