//! Output on its way to the model of a screen, without what would be work out of all proportion to what was written.

use std::borrow::Cow;

const ESC: u8 = 0x1b;

/// More parameters than any control sequence has that is of use. The rest of a longer one is left out.
const LONGEST: usize = 128;

/// Where in the output we are, as the model's parser sees it.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Anywhere,
    Escape,
    /// In a control sequence, with its parameters so far.
    Sequence(Vec<u8>),
}

/// Bounds what repeats a character (`CSI … b`, REP): nine bytes of it draw 65535. Programs repeat within a line.
#[derive(Debug, Default)]
pub(super) struct Tame {
    place: Place,
}

impl Tame {
    /// The same output, with nothing repeated more often than `most` times.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8], most: u16) -> Cow<'a, [u8]> {
        if matches!(self.place, Place::Anywhere) && memchr::memchr(ESC, bytes).is_none() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.step(*byte, most, &mut out);
        }
        Cow::Owned(out)
    }

    fn step(&mut self, byte: u8, most: u16, out: &mut Vec<u8>) {
        match (&mut self.place, byte) {
            (_, ESC) => {
                self.place = Place::Escape;
                out.push(byte);
            }
            // CAN and SUB end whatever it is: ECMA-48.
            (Place::Sequence(_) | Place::Escape, 0x18 | 0x1a) => {
                self.place = Place::Anywhere;
                out.push(byte);
            }
            (Place::Escape, b'[') => {
                self.place = Place::Sequence(Vec::new());
                out.push(byte);
            }
            (Place::Escape, b' '..=b'~') => {
                self.place = Place::Anywhere;
                out.push(byte);
            }
            (Place::Sequence(parameters), b' '..=b'?') => {
                if parameters.len() < LONGEST {
                    parameters.push(byte);
                }
            }
            (Place::Sequence(parameters), b'@'..=b'~') => {
                match parameters.iter().all(|byte| matches!(byte, b'0'..=b';')) && byte == b'b' {
                    true => out.extend_from_slice(times(parameters).min(most).to_string().as_bytes()),
                    false => out.extend_from_slice(parameters),
                }
                out.push(byte);
                self.place = Place::Anywhere;
            }
            // Control characters act within a sequence, too, and the rest is passed over there.
            _ => out.push(byte),
        }
    }
}

/// The first parameter, as much of it as a number of 16 bits says.
fn times(parameters: &[u8]) -> u16 {
    let digits = parameters.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u16, digit| number.saturating_mul(10).saturating_add(u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(pieces: &[&[u8]]) -> String {
        let mut tame = Tame::default();
        let bytes = pieces.iter().flat_map(|piece| tame.pass(piece, 80).into_owned());
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    }

    #[test]
    fn only_what_is_repeated_too_often_is_changed() {
        for same in [
            "a\x1b[5bc",
            "\x1b[31;1mred\x1b[m",
            "\x1b]0;title\x07",
            "\x1b[?2004h",
            "99999b",
            "\x1b[>99999b",
            "\x1b(99999b",
        ] {
            assert_eq!(pass(&[same.as_bytes()]), same);
            let bytes: Vec<_> = same.as_bytes().chunks(1).collect();
            assert_eq!(pass(&bytes), same);
        }
        for (output, passed) in [
            ("a\x1b[65535b", "a\x1b[80b"),
            ("\x1b[00000000000099999;7b", "\x1b[80b"),
            ("\x1b[99\x1b[999b", "\x1b[\x1b[80b"),
            ("\x1b[99\r999b", "\x1b[\r80b"),
            ("\x1b\x00[99999b", "\x1b\x00[80b"),
            ("\x1b]0;x\x1b[99999b", "\x1b]0;x\x1b[80b"),
            ("\x1b[9\x189999b", "\x1b[\x189999b"),
        ] {
            assert_eq!(pass(&[output.as_bytes()]), passed, "{output:?}");
        }
        assert_eq!(pass(&[b"\x1b", b"[6", b"5535", b"b"]), "\x1b[80b");
        let long = format!("\x1b[{}65535b", "0".repeat(1000));
        assert!(pass(&[long.as_bytes()]).len() < 10);
    }
}
