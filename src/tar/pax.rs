//! The records of a pax header, `LENGTH KEY=VALUE\n`: what they say of an entry, and how they are written.

/// What a pax header says of the entry after it.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    /// The names of extended attributes, whoever's way of writing them it is.
    pub(super) attributes: Vec<Vec<u8>>,
    /// Whether the entry's content is not the file's, but a sparse file's parts, in GNU tar's way.
    pub(super) is_sparse: bool,
}

impl Records {
    /// Reads the records into what earlier ones said. `None` when they are malformed.
    pub(super) fn parse(mut self, mut bytes: &[u8]) -> Option<Self> {
        while !bytes.is_empty() {
            let digits = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = text(&bytes[..digits])?.parse().ok()?;
            let record = bytes.get(digits + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            self.take(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Some(self)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(text(value)?.parse().ok()?),
            b"mtime" => self.modified = Some(seconds(text(value)?)?),
            _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
            _ => {
                for prefix in [&b"SCHILY.xattr."[..], b"LIBARCHIVE.xattr.", b"RHT.security."] {
                    if let Some(name) = key.strip_prefix(prefix) {
                        self.attributes.push(name.to_vec());
                    }
                }
            }
        }
        Some(())
    }
}

/// Whole seconds; parts of one are left out.
fn seconds(text: &str) -> Option<i64> {
    let whole: i64 = text.split('.').next()?.parse().ok()?;
    Some(if text.starts_with('-') && text.contains('.') { whole.checked_sub(1)? } else { whole })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// One record, whose length counts the length's own digits.
pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_s_length_counts_itself() {
        for size in (0..120).chain(980..1010) {
            let written = record("path", &vec![b'x'; size]);
            let length: usize = text(written.split(|byte| *byte == b' ').next().unwrap()).unwrap().parse().unwrap();
            assert_eq!(length, written.len());
            let read = Records::default().parse(&written).unwrap();
            assert_eq!(read.path.map(|path| path.len()), Some(size));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in
            [&b"x"[..], b"5 a=b", b"99 path=x\n", b"6 ab\n\n", b" =\n", b"0 \n", b"2 \n", b"12 size=0x7f\n", b"-1 a=\n"]
        {
            assert!(Records::default().parse(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!([seconds("1.9"), seconds("-1.5"), seconds("-2"), seconds("x")], [Some(1), Some(-2), Some(-2), None]);
    }
}
