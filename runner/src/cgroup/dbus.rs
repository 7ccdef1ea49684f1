//! The little of D-Bus that asking systemd for a scope takes: how messages are laid out, after the D-Bus specification,
//! version 0.43. Bytes in, bytes out: who is spoken to is `manager`'s matter.
//!
//! Own code, since a crate for it brings a connection, introspection and threads or an executor with it, all of which
//! would have to be audited. What is read here was written by a process of our own user: a message that is not as it
//! should be ends the conversation, and the job goes on without a cgroup.

/// The longest message that is read. Those that systemd sends here have a few kilobytes at most.
const LONGEST: usize = 1 << 20;

/// A server has two lines to say, of some forty bytes.
const LONGEST_GREETING: usize = 1024;

/// Kinds of messages: an error in answer to a call, and what is told to everybody.
pub(crate) const ERROR: u8 = 3;
pub(crate) const SIGNAL: u8 = 4;

const CALL: u8 = 1;
const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;

/// Nothing is to be started for the sake of our message.
const NO_AUTO_START: u8 = 2;

/// The length of a header before its fields.
const FIXED: usize = 12;

/// The numbers of a header's fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Says who we are and begins, all at once, as sd-bus does. The server takes our uid from the kernel; a uid in the text
/// would only have to agree with that, and in a user namespace it doesn't.
pub(crate) const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

/// The server's half of the greeting: its length, once it is complete.
pub(crate) fn greeted(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        match line {
            // It asks for more about who we are, which has been sent.
            b"DATA\r\n" => {}
            line if line.starts_with(b"OK ") && line.ends_with(b"\r\n") => return Ok(Some(length)),
            // REJECTED and ERROR.
            line if line.ends_with(b"\n") => return Err(Malformed),
            _not_yet_whole => {}
        }
    }
    if bytes.len() > LONGEST_GREETING { Err(Malformed) } else { Ok(None) }
}

/// What was received is no D-Bus, or none that we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A call of a method.
pub(crate) struct Call<'a> {
    /// Not zero; answers carry it.
    pub(crate) serial: u32,
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
}

impl Call<'_> {
    /// The whole message. `signature` tells the types of what is in `body`.
    pub(crate) fn encode(&self, signature: &str, body: &Writer) -> Vec<u8> {
        let mut message = Writer(vec![LITTLE_ENDIAN, CALL, NO_AUTO_START, VERSION]);
        message.u32(u32::try_from(body.0.len()).unwrap_or(u32::MAX));
        message.u32(self.serial);
        message.array(8, |fields| {
            fields.field(PATH, "o", |value| value.string(self.path));
            fields.field(INTERFACE, "s", |value| value.string(self.interface));
            fields.field(MEMBER, "s", |value| value.string(self.member));
            fields.field(DESTINATION, "s", |value| value.string(self.destination));
            if !signature.is_empty() {
                fields.field(SIGNATURE, "g", |value| value.signature(signature));
            }
        });
        message.align(8);
        message.0.extend_from_slice(&body.0);
        message.0
    }
}

/// Values, one after the other, each where its type wants to be. Where it starts is a multiple of eight in the message.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// UINT32, and BOOLEAN as 0 or 1.
    pub(crate) fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// STRING or OBJECT_PATH. No text that we send has a NUL or comes near to 4 GiB.
    pub(crate) fn string(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// ARRAY of what `write` writes; `alignment` is its elements' own. The padding before the first doesn't count.
    pub(crate) fn array(&mut self, alignment: usize, write: impl FnOnce(&mut Self)) {
        self.u32(0);
        let place = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        write(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// STRUCT of a STRING and a VARIANT, of which systemd's lists of properties are made.
    pub(crate) fn property(&mut self, name: &str, signature: &str, write: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(signature);
        write(self);
    }

    /// STRUCT of a BYTE and a VARIANT: a field of the header.
    fn field(&mut self, number: u8, signature: &str, write: impl FnOnce(&mut Self)) {
        self.align(8);
        self.0.push(number);
        self.signature(signature);
        write(self);
    }
}

/// What is of interest in a message that was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    /// The serial of the call that this answers.
    pub(crate) reply_to: Option<u32>,
    pub(crate) member: Option<&'a str>,
    /// The types of what is in the body.
    pub(crate) signature: &'a str,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message that `bytes` start with, and its length. `None` as long as it isn't all there.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(fixed) = bytes.get(..FIXED + 4) else { return Ok(None) };
        // The sender's byte order is kept by the bus. Whoever runs on this machine has ours.
        if (fixed[0], fixed[3]) != (LITTLE_ENDIAN, VERSION) {
            return Err(Malformed);
        }
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
        let (body, fields) = (number(4), number(12));
        if body > LONGEST || fields > LONGEST {
            return Err(Malformed);
        }
        let start = (FIXED + 4 + fields).next_multiple_of(8);
        let Some(whole) = bytes.get(..start + body) else { return Ok(None) };
        let mut message = Self { kind: fixed[1], reply_to: None, member: None, signature: "", body: &whole[start..] };
        let mut reader = Reader { bytes: &whole[..FIXED + 4 + fields], at: FIXED + 4 };
        while reader.at < reader.bytes.len() {
            message.take_field(&mut reader)?;
        }
        Ok(Some((message, whole.len())))
    }

    fn take_field(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.align(8)?;
        let number = reader.byte()?;
        match (number, reader.signature()?) {
            (REPLY_SERIAL, "u") => self.reply_to = Some(reader.u32()?),
            (MEMBER, "s") => self.member = Some(reader.string()?),
            (SIGNATURE, "g") => self.signature = reader.signature()?,
            // Of no interest, but passed over.
            (_, "s" | "o") => _ = reader.string()?,
            (_, "u") => _ = reader.u32()?,
            (_, "g") => _ = reader.signature()?,
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// Reads values from the start of a message, or of a body, which starts at a multiple of eight.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { bytes: body, at: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        self.take(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// STRING or OBJECT_PATH.
    pub(crate) fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let bytes = self.take(length)?;
        if self.byte()? != 0 {
            return Err(Malformed);
        }
        std::str::from_utf8(bytes).map_err(|_not_text| Malformed)
    }
}
