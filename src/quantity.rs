//! Decimal numbers with a unit behind them, read exactly: what sizes and times have in common. Which units there are is
//! for `byte_size.rs` and `duration.rs` to say.

use std::fmt;

/// Why a text is not a size or a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {expected}", shown(text))]
pub struct InvalidText {
    text: String,
    expected: &'static str,
}

impl InvalidText {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }

    /// What would have been understood, with examples: `a size such as 512M…`.
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

/// The text as a message shows it: no control characters, and never pages of it.
fn shown(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}

/// Splits `1.5G` into `1.5` and `G`.
pub(crate) fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// `number` times `unit`, rounded up to a whole one, or `None` if `number` is not plain decimal or the product does not
/// fit. Rounding up keeps the smallest amounts from becoming 0.
pub(crate) fn multiply(number: &str, unit: u128) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |digits: &str| digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || number.ends_with('.') {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(digits.checked_mul(unit)?.div_ceil(scale)).ok()
}

/// Writes `amount` in the largest of `units` that divides it, the smallest being 1.
pub(crate) fn write_largest(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(u64, &str)]) -> fmt::Result {
    match units.iter().find(|(unit, _)| amount != 0 && amount.is_multiple_of(*unit)) {
        Some((unit, name)) => write!(f, "{} {name}", amount / unit),
        None => write!(f, "{amount} {}", units.last().map_or("", |(_, name)| name)),
    }
}
