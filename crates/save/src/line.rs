//! Lines of text that say whether they are whole: words, and the CRC-32 of what is before it as the last one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The line of `content`, with its checksum and its end.
pub(crate) fn seal(content: String) -> String {
    let crc = crc32fast::hash(content.as_bytes());
    content + &format!(" {crc:08x}\n")
}

/// The content of a line; `None` when it is cut off or was altered.
pub(crate) fn unseal(line: &[u8]) -> Option<&str> {
    let line = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (content, crc) = line.rsplit_once(' ')?;
    let sound = crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(content.as_bytes());
    sound.then_some(content)
}

/// The words of a line, some of which are `name=value`.
pub(crate) struct Words<'l>(pub(crate) Vec<&'l str>);

impl<'l> Words<'l> {
    pub(crate) fn of(content: &'l str) -> Self {
        Self(content.split(' ').collect())
    }

    /// All values of this name.
    pub(crate) fn fields(&self, name: &str) -> impl Iterator<Item = &'l str> {
        self.0.iter().filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'l str> {
        self.fields(name).next()
    }

    pub(crate) fn decimal(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

/// Percent-encodes everything but visible ASCII.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &b in bytes {
        if b.is_ascii_graphic() && b != b'%' {
            out.push(b.into());
        } else {
            out.push_str(&format!("%{b:02x}"));
        }
    }
    out
}

pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        if b == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            out.push(b);
            rest = after;
        }
    }
    Some(out)
}

/// The path that was escaped so.
pub(crate) fn path_of(text: &str) -> Option<PathBuf> {
    Some(OsString::from_vec(unescape(text)?).into())
}
