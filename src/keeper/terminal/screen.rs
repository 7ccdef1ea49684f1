//! What is on a terminal's screen, and what has scrolled off it.

use super::tame::Tame;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vt100::Parser;

/// Lines that are kept when they have left the screen.
const SCROLLBACK: usize = 1000;

/// The most rows and columns of a terminal: what is kept of it is memory.
const MOST_ROWS: u16 = 500;
const MOST_COLUMNS: u16 = 1000;

/// The largest part of an escape sequence that is looked through at once.
const LONGEST_MODE: usize = 32;

/// A size that we can work with.
pub(super) fn bounded((rows, columns): (u16, u16)) -> (u16, u16) {
    (rows.clamp(1, MOST_ROWS), columns.clamp(1, MOST_COLUMNS))
}

/// The screen as a terminal emulator has it.
pub(super) struct Screen {
    parser: Parser,
    tame: Tame,
    size: (u16, u16),
}

impl Screen {
    pub(super) fn new(size: (u16, u16)) -> Self {
        Self { parser: parser(size), tame: Tame::default(), size }
    }

    pub(super) fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Takes what was written to the terminal. Whatever that is, only this screen can suffer from it.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let bytes = self.tame.pass(bytes, self.size.1);
        self.guarded(|parser| parser.process(&bytes));
    }

    pub(super) fn resize(&mut self, size: (u16, u16)) {
        let (rows, columns) = non_zero(size);
        self.size = size;
        self.guarded(|parser| parser.screen_mut().set_size(rows, columns));
    }

    /// Does something with the model of the screen, and begins with an empty one when that has panicked: what it is fed is
    /// a sandbox's, and nobody has proved it to be free of faults.
    fn guarded<T: Default>(&mut self, work: impl FnOnce(&mut Parser) -> T) -> T {
        let parser = &mut self.parser;
        catch_unwind(AssertUnwindSafe(|| work(parser))).unwrap_or_else(|_panic| {
            self.parser = self::parser(self.size);
            self.tame = Tame::default();
            T::default()
        })
    }

    /// What makes a terminal show the same: what has scrolled off, then the screen with its cursor and modes.
    pub(super) fn repaint(&mut self) -> Vec<u8> {
        let size = self.size;
        self.guarded(|parser| repaint(parser, size))
    }

    /// The screen as text, behind what has scrolled off it if that is asked for.
    pub(super) fn text(&mut self, with_scrollback: bool) -> String {
        let size = self.size;
        self.guarded(|parser| text(parser, size, with_scrollback))
    }
}

fn repaint(parser: &mut Parser, size: (u16, u16)) -> Vec<u8> {
    // CAN ends an escape sequence that was cut off, whatever it is: ECMA-48.
    let mut bytes = b"\x18\x1b[m".to_vec();
    let screen = parser.screen_mut();
    bytes.extend_from_slice(if screen.alternate_screen() { b"\x1b[?1049h" } else { b"\x1b[?1049l" });
    for line in scrolled_off(screen, size, |screen| screen.rows_formatted(0, size.1).collect()) {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\x1b[m\r\n");
    }
    // What follows begins by clearing the screen: until here it has to have scrolled off there, too.
    bytes.extend(std::iter::repeat_n(b'\n', usize::from(size.0)));
    bytes.extend_from_slice(screen.state_formatted().as_bytes());
    bytes
}

fn text(parser: &mut Parser, size: (u16, u16), with_scrollback: bool) -> String {
    let screen = parser.screen_mut();
    let mut text = String::new();
    if with_scrollback {
        for line in scrolled_off(screen, size, |screen| screen.rows(0, size.1).collect()) {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text.push_str(&screen.contents());
    text
}

/// The lines that have scrolled off, oldest first, as `rows` takes them from a screen that was scrolled back.
fn scrolled_off(
    screen: &mut vt100::Screen,
    size: (u16, u16),
    rows: impl Fn(&vt100::Screen) -> Vec<String>,
) -> Vec<String> {
    screen.set_scrollback(usize::MAX);
    let mut left = screen.scrollback();
    let mut lines = Vec::with_capacity(left);
    while left > 0 {
        screen.set_scrollback(left);
        let here = left.min(usize::from(size.0));
        lines.extend(rows(screen).into_iter().take(here));
        left -= here;
    }
    screen.set_scrollback(0);
    lines
}

fn non_zero((rows, columns): (u16, u16)) -> (NonZeroU16, NonZeroU16) {
    (NonZeroU16::new(rows).unwrap_or(NonZeroU16::MIN), NonZeroU16::new(columns).unwrap_or(NonZeroU16::MIN))
}

fn parser(size: (u16, u16)) -> Parser {
    let (rows, columns) = non_zero(size);
    Parser::new(rows, columns, SCROLLBACK)
}

/// The private modes that are set and reset in this output (`ESC [ ? … h`, `… l`), and nothing else of it.
pub(super) fn modes(bytes: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(start) = memchr::memmem::find(rest, b"\x1b[?") {
        rest = &rest[start..];
        let body = &rest[3..rest.len().min(LONGEST_MODE)];
        let length = body.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        if matches!(body.get(length), Some(b'h' | b'l')) {
            found.extend_from_slice(&rest[..3 + length + 1]);
        }
        rest = &rest[3..];
    }
    found
}

/// Puts a carriage return before each line feed that has none, as the terminal itself does where nobody has switched
/// that off. `last` is the byte before.
pub(super) fn with_carriage_returns(bytes: &[u8], last: &mut u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for byte in bytes {
        if *byte == b'\n' && *last != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        *last = *byte;
    }
    out
}

/// A command as a person would see it typed: control characters as `^X`, which act on no terminal.
pub(super) fn typed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '\n' => out.extend_from_slice(b"\r\n"),
            '\t' => out.push(b' '),
            '\0'..='\x1f' => out.extend_from_slice(&[b'^', character as u8 + 0x40]),
            '\x7f'..='\u{9f}' => out.push(b'?'),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen that was shown only what another one is repainted with.
    fn copy(screen: &mut Screen) -> Screen {
        let mut copy = Screen::new(screen.size());
        copy.take(&screen.repaint());
        copy
    }

    #[test]
    fn a_repaint_shows_the_same() {
        let mut screen = Screen::new((5, 20));
        for number in 0..40 {
            screen.take(format!("line {number}\r\n").as_bytes());
        }
        screen.take(b"\x1b[2;3H\x1b[31mred\x1b[m\x1b[?2004h");
        let mut copy = copy(&mut screen);
        assert_eq!(screen.text(false), copy.text(false));
        assert!(screen.text(false).contains("red"));
        assert_eq!(screen.parser.screen().cursor_position(), copy.parser.screen().cursor_position());
        assert!(copy.parser.screen().bracketed_paste());
        let text = copy.text(true);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("line")).collect();
        assert_eq!(&lines[..3], ["line 0", "line 1", "line 2"], "{text}");
        assert!(lines.contains(&"line 35"), "{text}");
    }

    #[test]
    fn no_output_harms_more_than_its_screen() {
        let mut screen = Screen::new((24, 80));
        let mut seed = 88_172_645_463_325_252_u64;
        let pieces: [&[u8]; 12] = [
            b"\x1b[",
            b"\x1b]52;c;",
            b"9999999999",
            b";",
            b"H",
            b"r",
            b"\x1b[?1049h",
            b"\x1b7",
            b"\x1b8",
            b"M",
            b"\xff\xfe\xf0",
            b"\xe2\x80\x8b\xcc\x81",
        ];
        for round in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            screen.take(pieces[(seed % 12) as usize]);
            screen.take(&seed.to_le_bytes()[..(seed % 9) as usize]);
            if round % 100 == 0 {
                screen.resize(bounded(((seed >> 8) as u16, (seed >> 24) as u16 % 200)));
                screen.repaint();
                screen.text(true);
            }
        }
        screen.resize((3, 10));
        screen.take(b"\x18\x1bc\x1b[?1049l\x1b[r\x1b[2J\x1b[Hhere");
        assert!(screen.text(false).contains("here"));
    }

    #[test]
    fn a_sequence_without_end_takes_no_memory() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
            line.trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        for begin in ["\x1b]0;", "\x1bP", "\x1b_", "\x1b[", "\x1b[1;", "\x1b]52;c;"] {
            let mut screen = Screen::new((24, 80));
            screen.take(begin.as_bytes());
            let before = resident();
            (0..32).for_each(|_| screen.take(&[b'0'; 1 << 20]));
            assert!(resident() < before + (16 << 10), "{begin:?}");
        }
    }

    #[test]
    fn a_flood_of_repeats_is_as_little_work_as_any_other_output() {
        let mut screen = Screen::new((24, 80));
        let begin = std::time::Instant::now();
        screen.take(&b"a\x1b[65535b".repeat(7000));
        // It would be half a billion characters.
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[test]
    fn of_output_that_is_not_shown_the_modes_count() {
        assert_eq!(modes(b"ab\x1b[?2004hcd\x1b[?1;25l$ \x1b[31m\x1b[?99x\x1b[?"), b"\x1b[?2004h\x1b[?1;25l");
        assert_eq!(typed(b"a\x1b]52;c;x\x07\nb\xff"), b"a^[]52;c;x^G\r\nb\xef\xbf\xbd\r\n");
        let mut last = 0;
        assert_eq!(with_carriage_returns(b"a\nb\r\nc\r", &mut last), b"a\r\nb\r\nc\r");
        assert_eq!(with_carriage_returns(b"\n\n", &mut last), b"\n\r\n");
    }
}
