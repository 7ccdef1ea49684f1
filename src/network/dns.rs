//! Questions for names and their answers as bytes: RFC 1035, as much of it as a sandbox's only name server needs. An answer is one
//! address or none, so it is never too long for a datagram.

use pinfold_runner::normal_name;
use std::net::IpAddr;

/// The longest question that is looked at: one without EDNS is no longer, and with it hardly.
pub(super) const LONGEST: usize = 1232;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// How long an answer may be kept, in seconds: a name keeps its address for as long as the sandbox lives.
const TTL: u32 = 60;

/// A question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// `None` where it is no host's name.
    pub(super) name: Option<String>,
    /// Which kind of address is asked for; `None` for anything else, of which there is nothing.
    pub(super) wants: Option<Family>,
    /// From the beginning of the message to the end of the question; it is in the answer as it was asked.
    asked: Vec<u8>,
}

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name has this address, of the kind that is asked for.
    Address(IpAddr),
    /// There is such a name, and nothing of what is asked for.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// The question can't be answered now.
    Failure,
}

impl Question {
    /// The one question of a message; `None` if it is no such message, which is not answered at all.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        let is_query = header[2] & 0b1111_1000 == 0;
        if !is_query || header[4..6] != [0, 1] || message.len() > LONGEST {
            return None;
        }
        let (name, end) = read_name(message)?;
        let rest = message.get(end..end + 4)?;
        let (kind, class) = (u16::from_be_bytes([rest[0], rest[1]]), u16::from_be_bytes([rest[2], rest[3]]));
        if class != CLASS_IN {
            return None;
        }
        let wants = match kind {
            TYPE_A => Some(Family::V4),
            TYPE_AAAA => Some(Family::V6),
            _ => None,
        };
        Some(Self { name, wants, asked: message[..end + 4].to_vec() })
    }

    /// The answer to it, as a message.
    pub(super) fn answer(&self, answer: Answer) -> Vec<u8> {
        let mut message = self.asked.clone();
        let address = match answer {
            Answer::Address(address) => Some(address),
            _ => None,
        };
        let code = match answer {
            Answer::Address(_) | Answer::Nothing => 0,
            Answer::Failure => 2,
            Answer::NoSuchName => 3,
        };
        // A response; whether recursion was wished for stays as it was, and it is to be had.
        message[2] = 0b1000_0000 | self.asked[2] & 1;
        message[3] = 0b1000_0000 | code;
        // One question, as many answers, nothing of anything else.
        message[4..HEADER].copy_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
        if let Some(address) = address {
            // The name is that of the question, which begins after the header.
            message.extend_from_slice(&[0xC0, HEADER as u8]);
            let (kind, octets) = match address {
                IpAddr::V4(address) => (TYPE_A, address.octets().to_vec()),
                IpAddr::V6(address) => (TYPE_AAAA, address.octets().to_vec()),
            };
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&CLASS_IN.to_be_bytes());
            message.extend_from_slice(&TTL.to_be_bytes());
            message.extend_from_slice(&[0, octets.len() as u8]);
            message.extend_from_slice(&octets);
        }
        message
    }
}

/// The name right after the header, and where it ends. In a question it is never compressed.
fn read_name(message: &[u8]) -> Option<(Option<String>, usize)> {
    let (mut at, mut text) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        if !text.is_empty() {
            text.push(b'.');
        }
        let label = message.get(at..at + length)?;
        // A dot within a label would make another name of it.
        text.extend(label.iter().map(|byte| if *byte == b'.' { b'?' } else { *byte }));
        at += length;
        if text.len() > 253 {
            return None;
        }
    }
    Some((String::from_utf8(text).ok().and_then(|text| normal_name(&text)), at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message
    }

    #[test]
    fn an_address_is_answered_as_the_rfc_says() {
        let asked = question("WWW.Example.org", 1);
        let read = Question::read(&asked).unwrap();
        assert_eq!(read.name.as_deref(), Some("www.example.org"));
        let answer = read.answer(Answer::Address(Ipv4Addr::new(198, 18, 0, 2).into()));
        assert_eq!(answer[..12], [0xAB, 0xCD, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answer[12..asked.len()], asked[12..], "the question is repeated to the letter");
        assert_eq!(answer[asked.len()..], [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 0, 2]);
    }

    #[test]
    fn an_address_of_ipv6_too() {
        let asked = question("example.org", 28);
        let read = Question::read(&asked).unwrap();
        assert_eq!(read.wants, Some(Family::V6));
        let answer = read.answer(Answer::Address("fd70::2".parse().unwrap()));
        let octets = [0xfd, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(answer[asked.len()..], [&[0xC0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16][..], &octets].concat());
    }

    #[test]
    fn another_kind_of_question_has_no_answer_and_is_no_error() {
        for kind in [15, 16, 65, 255, 28 + 256] {
            let asked = question("example.org", kind);
            let read = Question::read(&asked).unwrap();
            assert_eq!(read.wants, None);
            let answer = read.answer(Answer::Nothing);
            assert_eq!(answer[2..12], [0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(answer.len(), asked.len());
        }
    }

    #[test]
    fn a_refusal_says_so() {
        let read = Question::read(&question("example.org", 1)).unwrap();
        assert_eq!(read.answer(Answer::NoSuchName)[3], 0x83);
        assert_eq!(read.answer(Answer::Failure)[3], 0x82);
    }

    #[test]
    fn what_follows_the_question_is_not_repeated() {
        let mut asked = question("example.org", 1);
        let length = asked.len();
        asked[11] = 1;
        // EDNS: the root, OPT, 1232 bytes, no flags, no data.
        asked.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let answer = Question::read(&asked).unwrap().answer(Answer::NoSuchName);
        assert_eq!((answer.len(), answer[11]), (length, 0));
    }

    #[test]
    fn what_is_no_host_s_name_is_none() {
        for name in ["", "exa mple.org", "a\u{e9}.org", "\0.org", "a*.org", "*.org", "1.2.3.4"] {
            assert_eq!(Question::read(&question(name, 1)).unwrap().name, None, "{name:?}");
        }
        // One label with a dot in it is not two.
        let mut dotted = question("a-b.org", 1);
        dotted[14] = b'.';
        assert_eq!(Question::read(&dotted).unwrap().name, None);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let right = question("example.org", 1);
        for length in 0..right.len() {
            assert_eq!(Question::read(&right[..length]), None, "{length}");
        }
        let with = |index: usize, byte: u8| {
            let mut wrong = right.clone();
            wrong[index] = byte;
            Question::read(&wrong)
        };
        // A response; another operation; no question; two; a pointer; another class.
        for (index, byte) in [(2, 0x80), (2, 0x28), (5, 0), (5, 2), (12, 0xC0), (right.len() - 1, 3)] {
            assert_eq!(with(index, byte), None, "{index}");
        }
        let long = [&right[..], &[0; LONGEST]].concat();
        assert_eq!(Question::read(&long), None);
        assert_eq!(Question::read(&question(&"a.".repeat(128), 1)), None);
    }

    /// Bytes that look random and are the same in each run.
    fn noise(seed: u64) -> impl FnMut() -> u8 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_answer_more_than_was_asked() {
        let mut random = noise(7);
        for round in 0..20_000usize {
            let mut message = question("some.name.example.org", 1);
            for _ in 0..=round % 8 {
                let at = usize::from(random()) % message.len();
                message[at] = random();
            }
            message.truncate(message.len() - usize::from(random()) % 4 * usize::from(random() % 8));
            if let Some(question) = Question::read(&message) {
                let answer = question.answer(Answer::Address(Ipv6Addr::LOCALHOST.into()));
                assert!(answer.len() <= message.len() + 28 && answer.len() <= LONGEST + 28);
                assert_eq!(answer[..2], message[..2]);
            }
            let bytes: Vec<u8> = (0..random()).map(|_| random()).collect();
            let _whatever = Question::read(&bytes);
        }
    }
}
