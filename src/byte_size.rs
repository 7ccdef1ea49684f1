//! Sizes in bytes, as people write them on a command line: `512M`, `1.5G`. Powers of 1024 throughout, as in Docker; there
//! are no powers of 1000 here.

use crate::quantity::{InvalidText, multiply, split_unit, write_largest};
use pinfold_runner::Limit;
use std::fmt;
use std::str::FromStr;

/// A number of bytes.
///
/// Reads `512M`, `1.5G`, `64KiB`, `4096` and `10b`: the units `K M G T`, in either case and with or without `iB`, are powers
/// of 1024, and a plain number is bytes. Parts of a byte round up.
///
/// ```
/// use pinfold::ByteSize;
/// assert_eq!("512M".parse(), Ok(ByteSize::mebibytes(512)));
/// assert_eq!("1.5k".parse::<ByteSize>()?.bytes(), 1536);
/// assert_eq!(ByteSize::mebibytes(512).to_string(), "512 MiB");
/// # Ok::<(), pinfold::InvalidText>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl ByteSize {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes; what does not fit becomes the largest size.
    pub const fn kibibytes(count: u64) -> Self {
        Self(count.saturating_mul(KIB))
    }

    /// So many times 1024² bytes; what does not fit becomes the largest size.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }

    /// So many times 1024³ bytes; what does not fit becomes the largest size.
    pub const fn gibibytes(count: u64) -> Self {
        Self(count.saturating_mul(GIB))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size or `max`, which lifts the limit.
    ///
    /// # Errors
    /// When `text` is neither.
    pub fn parse_limit(text: &str) -> Result<Limit<Self>, InvalidText> {
        match text {
            "max" => Ok(Limit::Max),
            _ => text.parse().map(Limit::At),
        }
    }
}

impl FromStr for ByteSize {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let (number, unit) = split_unit(text);
        let bytes_in_unit = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => Some(1),
            "k" | "kib" => Some(KIB),
            "m" | "mib" => Some(MIB),
            "g" | "gib" => Some(GIB),
            "t" | "tib" => Some(TIB),
            _ => None,
        };
        bytes_in_unit
            .and_then(|unit| multiply(number, unit.into()))
            .map(Self)
            .ok_or_else(|| InvalidText::new(text, "a size in bytes, or with one of K M G T, such as 512M or 1.5G"))
    }
}

/// In the largest unit that shows it exactly: `512 MiB`, `1000 bytes`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "bytes")];
        write_largest(f, self.0, &units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_in_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("64K", 65536),
            ("64kib", 65536),
            ("512M", 536_870_912),
            ("0.5G", 536_870_912),
            ("1t", TIB),
            ("0.0001K", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_and_never_wraps() {
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1 M",
            "1KB",
            "1e3",
            "1.",
            ".5",
            "1..2",
            "0x10",
            "max",
            "16777216T",
            "18446744073709551616",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn max_lifts_a_limit() {
        assert_eq!(ByteSize::parse_limit("max"), Ok(Limit::Max));
        assert_eq!(ByteSize::parse_limit("1K"), Ok(Limit::At(ByteSize(1024))));
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_is_exact() {
        let shown = |bytes| ByteSize(bytes).to_string();
        assert_eq!([shown(0), shown(1000), shown(MIB * 512)], ["0 bytes", "1000 bytes", "512 MiB"]);
    }
}
