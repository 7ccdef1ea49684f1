//! The 512 bytes before each entry: ustar's fields, with what GNU tar and star do where a number does not fit.

use super::BLOCK;
use std::ops::Range;

pub(super) type Block = [u8; BLOCK];

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const OWNER: Range<usize> = 108..116;
const GROUP: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MODIFIED: Range<usize> = 136..148;
const SUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;
const PREFIX: Range<usize> = 345..500;

/// The longest name that the name's field takes.
pub(super) const LONGEST_NAME: usize = 100;

/// The fields as they stand in a header.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) modified: i64,
}

/// Reads a header. `None` when the sum is wrong or a field is no number.
pub(super) fn parse(block: &Block) -> Option<Header> {
    if number(&block[SUM])? != i64::from(sum(block)) {
        return None;
    }
    let mut path = text(&block[NAME]).to_vec();
    // GNU tar's own format has other things where ustar has the prefix, and a blank in its magic.
    let prefix = text(&block[PREFIX]);
    if &block[MAGIC] == b"ustar\0" && !prefix.is_empty() {
        path = [prefix, b"/", &path].concat();
    }
    Some(Header {
        path,
        link: text(&block[LINK]).to_vec(),
        kind: block[TYPE],
        // The bits above those of chmod(2) say nothing that the type does not.
        mode: u32::try_from(number(&block[MODE])? & 0o7777).ok()?,
        size: u64::try_from(number(&block[SIZE])?).ok()?,
        modified: number(&block[MODIFIED])?,
    })
}

/// Writes a header. What does not fit is cut off or 0: a pax header before it says it in full.
pub(super) fn build(header: &Header) -> Block {
    let mut block = [0; BLOCK];
    put(&mut block[NAME], &header.path);
    put(&mut block[LINK], &header.link);
    octal(&mut block[MODE], u64::from(header.mode));
    // Files belong to whoever unpacks them.
    octal(&mut block[OWNER], 0);
    octal(&mut block[GROUP], 0);
    octal(&mut block[SIZE], header.size);
    octal(&mut block[MODIFIED], u64::try_from(header.modified).unwrap_or(0));
    block[TYPE] = header.kind;
    put(&mut block[MAGIC], b"ustar\0");
    put(&mut block[VERSION], b"00");
    let sum = format!("{:06o}\0 ", sum(&block));
    put(&mut block[SUM], sum.as_bytes());
    block
}

/// Whether a number fits into an octal field of 11 digits.
pub(super) fn fits(number: u64) -> bool {
    number < 1 << 33
}

/// The sum of all bytes, with blanks where the sum stands.
fn sum(block: &Block) -> u32 {
    let blanks = u32::from(b' ') * SUM.len() as u32;
    let counted = |index: &usize| !SUM.contains(index);
    (0..BLOCK).filter(counted).map(|index| u32::from(block[index])).sum::<u32>() + blanks
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number in octal digits, or in binary where the first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement, the marker's bit taken for the sign's.
        let start = if first & 0x40 != 0 { -1 } else { i64::from(first & 0x3f) };
        return field[1..].iter().try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i64::from(*byte)));
    }
    let digits: Vec<u8> = text(field).iter().copied().filter(|byte| *byte != b' ').collect();
    digits.iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

fn octal(field: &mut [u8], number: u64) {
    let width = field.len() - 1;
    let digits = format!("{number:0width$o}");
    if digits.len() == width {
        put(field, digits.as_bytes());
    } else {
        put(field, "0".repeat(width).as_bytes());
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}
