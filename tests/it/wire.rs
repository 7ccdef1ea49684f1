//! How the runner writes and reads D-Bus, against bytes that went between it and systemd 252, and against bytes that
//! nobody honest would send. The runner's own file, built in here: it is all bytes in and bytes out.

#[path = "../../runner/src/cgroup/dbus.rs"]
mod dbus;

use dbus::{Call, ERROR, GREETING, Malformed, Message, Reader, SIGNAL, Writer, greeted};

/// The call that systemd 252 took, as it went over the wire.
const CALL: &[u8] =
    b"l\x01\x02\x01\xd8\0\0\0\x03\0\0\0\xb6\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\
      \0\0\x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x03\x01s\0\x12\0\0\0StartTran\
      sientUnit\0\0\0\0\0\0\x06\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\x08\x01g\0\x10ssa\
      (sv)a(sa(sv))\0\0\0\x22\0\0\0pinfold-493-0ea2274f823b630c.scope\0\0\x04\0\0\0fail\0\0\0\0\x9b\0\0\0\
      \x0b\0\0\0Description\0\x01s\0\0#\0\0\0A sandbox of Pinfold and its runner\0\0\0\0\0\x04\0\0\0PIDs\0\
      \x02au\0\0\0\0\x04\0\0\0\0\0\0\0\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0\0\0\0\0\x0b\0\0\0CollectMode\0\
      \x01s\0\0\x12\0\0\0inactive-or-failed\0\0\0\0\0\0";

/// What systemd's own socket answered to the greeting.
const GREETED: &[u8] = b"DATA\x0d\x0aOK b0f9ed22e221402c8390a9a18e5e1e28\x0d\x0a";

/// The answer to the call.
const REPLY: &[u8] =
    b"l\x02\x01\x01%\0\0\0\x03\0\0\0\x37\0\0\0\x05\x01u\0\x03\0\0\0\x07\x01s\0\x18\0\0\0org.freedesktop.syste\
      md1\0\0\0\0\0\0\0\0\x08\x01g\0\x01o\0\0 \0\0\0/org/freedesktop/systemd1/job/86\0";

/// The news that the job has ended, from systemd's own socket and from the bus.
const JOB_REMOVED: &[u8] =
    b"l\x04\x01\x01_\0\0\0\x0b\0\0\0\xa2\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\
      \x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x03\x01s\0\x0a\0\0\0JobRemoved\0\
      \0\0\0\0\0\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\
      \0\0V\0\0\0 \0\0\0/org/freedesktop/systemd1/job/86\0\0\0\0\x22\0\0\0pinfold-493-0ea2274f823b630c.sco\
      pe\0\0\x06\0\0\0failed\0";
const JOB_REMOVED_BY_BUS: &[u8] =
    b"l\x04\x01\x01_\0\0\0\x34\0\0\0\x8d\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\
      \x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x03\x01s\0\x0a\0\0\0JobRemoved\0\
      \0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x07\x01s\0\x04\0\0\0:1.1\0\0\0\0Z\0\0\0 \0\0\0/org/freed\
      esktop/systemd1/job/90\0\0\0\0\x22\0\0\0pinfold-502-6b6b86867d7b71cc.scope\0\0\x06\0\0\0failed\0";

/// Something else that systemd tells everybody.
const UNIT_NEW: &[u8] =
    b"l\x04\x01\x01t\0\0\0\x01\0\0\0\x98\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\
      \x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x03\x01s\0\x07\0\0\0UnitNew\0\x07\
      \x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\x08\x01g\0\x02so\0\x22\0\0\0pinfold-493-0e\
      a2274f823b630c.scope\0\0G\0\0\0/org/freedesktop/systemd1/unit/pinfold_2d493_2d0ea2274f823b630c_2esco\
      pe\0";

/// An error: the number of the call that failed, and a text that nobody reads.
const REFUSED: &[u8] = b"l\x03\x01\x01\x09\0\0\0\x04\0\0\0\x2f\0\0\0\x04\x01s\0\x16\0\0\0org.freedesktop.No.Thx\0\0\
      \x05\x01u\0\x03\0\0\0\x08\x01g\0\x01s\0\0\x04\0\0\0nope\0";

fn decoded(bytes: &[u8]) -> Message<'_> {
    let (message, length) = Message::decode(bytes).unwrap().expect("it is whole");
    assert_eq!(length, bytes.len());
    message
}

#[test]
fn a_call_is_written_as_systemd_takes_it() {
    let mut body = Writer::default();
    body.string("pinfold-493-0ea2274f823b630c.scope");
    body.string("fail");
    body.array(8, |list| {
        list.property("Description", "s", |value| value.string("A sandbox of Pinfold and its runner"));
        list.property("PIDs", "au", |value| value.array(4, |pids| pids.u32(0)));
        list.property("Delegate", "b", |value| value.u32(1));
        list.property("CollectMode", "s", |value| value.string("inactive-or-failed"));
    });
    body.array(8, |_none| {});
    let call = Call {
        serial: 3,
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StartTransientUnit",
    };
    assert_eq!(call.encode("ssa(sv)a(sa(sv))", &body), CALL);
}

#[test]
fn what_systemd_says_is_understood() {
    assert_eq!(greeted(GREETED), Ok(Some(GREETED.len())));
    let reply = decoded(REPLY);
    assert_eq!((reply.kind, reply.reply_to, reply.member, reply.signature), (2, Some(3), None, "o"));
    for (bytes, unit) in [
        (JOB_REMOVED, "pinfold-493-0ea2274f823b630c.scope"),
        (JOB_REMOVED_BY_BUS, "pinfold-502-6b6b86867d7b71cc.scope"),
    ] {
        let news = decoded(bytes);
        assert_eq!((news.kind, news.reply_to, news.member), (SIGNAL, None, Some("JobRemoved")));
        assert_eq!(news.signature, "uoss");
        let mut body = Reader::new(news.body);
        assert!(body.u32().unwrap() > 0);
        assert!(body.string().unwrap().starts_with("/org/freedesktop/systemd1/job/"));
        assert_eq!((body.string(), body.string()), (Ok(unit), Ok("failed")));
        assert_eq!(body.string(), Err(Malformed), "there is no more of it");
    }
    assert_eq!(decoded(UNIT_NEW).member, Some("UnitNew"));
    let refused = decoded(REFUSED);
    assert_eq!((refused.kind, refused.reply_to, refused.signature), (ERROR, Some(3), "s"));
}

#[test]
fn what_comes_in_pieces_is_waited_for() {
    for length in 0..GREETED.len() {
        assert_eq!(greeted(&GREETED[..length]), Ok(None), "{length}");
    }
    for bytes in [REPLY, JOB_REMOVED, UNIT_NEW, REFUSED] {
        for length in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..length]), Ok(None), "{length}");
        }
    }
    // And what comes at once is taken one by one.
    let both = [REPLY, JOB_REMOVED].concat();
    let (_, length) = Message::decode(&both).unwrap().unwrap();
    assert_eq!(length, REPLY.len());
}

#[test]
fn a_refusal_and_a_flood_end_the_greeting() {
    for bytes in [&b"REJECTED EXTERNAL\r\n"[..], b"ERROR\r\n", b"DATA\r\nERROR\r\n", b"\n", b"OK guid\n", &[b'x'; 5000]]
    {
        assert_eq!(greeted(bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(greeted(&b"DATA\r\n".repeat(1000)), Err(Malformed));
    assert!(GREETING.ends_with(b"\r\nBEGIN\r\n"));
}

#[test]
fn lengths_that_are_lies_are_refused() {
    // Body, fields, and both: 4 GiB, and as much as an i32 holds.
    for length in [u32::MAX, i32::MAX as u32, (1 << 20) + 1] {
        for place in [4, 12] {
            let mut bytes = JOB_REMOVED.to_vec();
            bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Message::decode(&bytes), Err(Malformed), "{length} at {place}");
        }
    }
    // A string in the header that is longer than the header, and one in the body that is longer than the body.
    let mut bytes = JOB_REMOVED.to_vec();
    bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Message::decode(&bytes), Err(Malformed));
    let mut body = Reader::new(b"\xff\xff\xff\xffabc");
    assert_eq!(body.string(), Err(Malformed));
    // Another byte order, another version, a field of a type that fields don't have.
    for (place, byte) in [(0, b'B'), (3, 2), (18, b'v')] {
        let mut bytes = JOB_REMOVED.to_vec();
        bytes[place] = byte;
        assert_eq!(Message::decode(&bytes), Err(Malformed), "{byte} at {place}");
    }
}

#[test]
fn no_byte_that_is_wrong_brings_the_reader_down() {
    for original in [REPLY, JOB_REMOVED, JOB_REMOVED_BY_BUS, UNIT_NEW, REFUSED] {
        for place in 0..original.len() {
            for byte in [0, 1, 7, 0x7f, 0x80, 0xff, original[place] ^ 1, original[place] ^ 0x20] {
                let mut bytes = original.to_vec();
                bytes[place] = byte;
                if let Ok(Some((message, length))) = Message::decode(&bytes) {
                    assert!(length <= bytes.len());
                    let mut body = Reader::new(message.body);
                    let _whatever_it_is = (body.u32(), body.string(), body.string(), body.string());
                }
            }
        }
    }
}
