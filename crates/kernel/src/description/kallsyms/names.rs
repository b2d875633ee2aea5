//! The names: a stream of dictionary references.

use super::stream::Stream;
use super::symbol;
use crate::{Error, KernelMemory};
use vmcore::VirtAddr;

/// The longest name believed; the kernel's `KSYM_NAME_LEN` is 512.
const MAX_NAME: usize = 4096;

/// Bytes that are copied of a string at once, the last of which is its length; few strings are longer.
const SHORT: usize = 16;

/// The dictionary: 256 strings that the bytes of a name stand for.
pub(super) struct Tokens {
    /// The strings, one after another.
    text: Vec<u8>,
    ranges: Vec<std::ops::Range<usize>>,
    /// Those that are short, each with its length as its last byte; [`LONG`] for the others.
    short: Box<[[u8; SHORT]; 256]>,
}

/// The length of a string that is not short.
const LONG: u8 = u8::MAX;

impl Tokens {
    /// Reads `kallsyms_token_index`, 256 16-bit offsets, and the strings ended by NUL that they point to in
    /// `kallsyms_token_table`.
    pub(super) fn read(memory: &dyn KernelMemory) -> Result<Self, Error> {
        let table = symbol(memory, "kallsyms_token_table")?;
        let mut index = [0; 512];
        memory.read(symbol(memory, "kallsyms_token_index")?, &mut index)?;
        let starts: Vec<usize> =
            index.chunks_exact(2).map(|bytes| memory.machine().u16(bytes).into()).collect();
        let last = starts.iter().copied().max().unwrap_or(0);
        let mut stream = Stream::new(memory, table);
        let mut text = Vec::new();
        while text.len() <= last || text.last() != Some(&0) {
            if text.len() > last + MAX_NAME {
                return Err(Error::Implausible {
                    what: "kallsyms_token_table".into(),
                    addr: table,
                    found: format!("a token of more than {MAX_NAME} bytes"),
                    expected: "256 short strings".into(),
                });
            }
            text.push(stream.byte()?);
        }
        let ranges: Vec<_> = starts
            .into_iter()
            .map(|start| {
                let len = text[start..].iter().position(|&b| b == 0).unwrap_or(0);
                start..start + len
            })
            .collect();
        let mut short = Box::new([[0; SHORT]; 256]);
        for (short, range) in short.iter_mut().zip(&ranges) {
            let (bytes, len) = short.split_at_mut(SHORT - 1);
            len[0] = match bytes.get_mut(..range.len()) {
                Some(bytes) => {
                    bytes.copy_from_slice(&text[range.clone()]);
                    range.len() as u8
                }
                None => LONG,
            };
        }
        Ok(Self { text, ranges, short })
    }

    /// Writes the string that `token` stands for to `to`, of which more bytes than its own may be overwritten, and returns its
    /// length; `None` where it does not fit.
    fn expand(&self, token: u8, to: &mut [u8]) -> Option<usize> {
        // A length that is known beforehand is copied by an instruction, not by a call: names are some ten strings of two or
        // three bytes each, and there are hundreds of thousands of them.
        let short = &self.short[usize::from(token)];
        if short[SHORT - 1] != LONG
            && let Some(to) = to.first_chunk_mut::<SHORT>()
        {
            *to = *short;
            return Some(short[SHORT - 1].into());
        }
        let text = &self.text[self.ranges[usize::from(token)].clone()];
        to.get_mut(..text.len())?.copy_from_slice(text);
        Some(text.len())
    }
}

/// A symbol's kind, one byte, and its name, without their encoding.
pub(super) struct Expanded {
    bytes: Box<[u8; MAX_NAME]>,
    len: usize,
}

impl Expanded {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; MAX_NAME]), len: 0 }
    }

    /// The kind as `nm` prints it.
    pub(super) fn kind(&self) -> u8 {
        self.bytes[0]
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[1..self.len.max(1)]
    }
}

/// A walk over the names.
pub(super) struct Cursor<'a> {
    stream: Stream<'a>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(memory: &'a dyn KernelMemory, names: VirtAddr) -> Self {
        Self { stream: Stream::new(memory, names) }
    }

    /// Replaces `expanded` by the next symbol's kind and name.
    ///
    /// A name is its length, then as many references to the dictionary. The length takes a second byte when the first
    /// has its top bit set, which it never had before 6.1.
    pub(super) fn next(&mut self, tokens: &Tokens, expanded: &mut Expanded) -> Result<(), Error> {
        let at = self.stream.at();
        let mut left = usize::from(self.stream.byte()?);
        if left & 0x80 != 0 {
            left = left & 0x7f | usize::from(self.stream.byte()?) << 7;
        }
        let mut len = 0;
        while left > 0 {
            let here = self.stream.some(left)?;
            left -= here.len();
            for &token in here {
                let Some(more) = tokens.expand(token, &mut expanded.bytes[len..]) else {
                    return Err(nonsense(at, format!("longer than {MAX_NAME} bytes")));
                };
                len += more;
            }
        }
        expanded.len = len;
        // A kind without a name would match the empty string; a kernel has neither.
        if len < 2 { Err(nonsense(at, "empty".into())) } else { Ok(()) }
    }
}

fn nonsense(addr: VirtAddr, found: String) -> Error {
    Error::Implausible { what: "a name of kallsyms_names".into(), addr, found, expected: "a symbol".into() }
}
