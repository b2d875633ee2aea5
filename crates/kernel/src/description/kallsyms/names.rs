//! The names: a stream of dictionary references.

use super::stream::Stream;
use super::symbol;
use crate::{Error, KernelMemory};
use vmcore::VirtAddr;

/// The longest name believed; the kernel's `KSYM_NAME_LEN` is 512.
const MAX_NAME: usize = 4096;

/// The dictionary: 256 strings that the bytes of a name stand for.
pub(super) struct Tokens {
    /// The strings, one after another.
    text: Vec<u8>,
    ranges: Vec<std::ops::Range<usize>>,
}

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
        let ranges = starts
            .into_iter()
            .map(|start| {
                let len = text[start..].iter().position(|&b| b == 0).unwrap_or(0);
                start..start + len
            })
            .collect();
        Ok(Self { text, ranges })
    }

    fn get(&self, token: u8) -> &[u8] {
        &self.text[self.ranges[usize::from(token)].clone()]
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

    /// Replaces `expanded` by the next symbol's kind, one byte, and its name.
    ///
    /// A name is its length, then as many references to the dictionary. The length takes a second byte when the first
    /// has its top bit set, which it never had before 6.1.
    pub(super) fn next(&mut self, tokens: &Tokens, expanded: &mut Vec<u8>) -> Result<(), Error> {
        let at = self.stream.at();
        let mut len = usize::from(self.stream.byte()?);
        if len & 0x80 != 0 {
            len = len & 0x7f | usize::from(self.stream.byte()?) << 7;
        }
        expanded.clear();
        for _ in 0..len {
            expanded.extend_from_slice(tokens.get(self.stream.byte()?));
            if expanded.len() > MAX_NAME {
                return Err(nonsense(at, format!("longer than {MAX_NAME} bytes")));
            }
        }
        // A kind without a name would match the empty string; a kernel has neither.
        if expanded.len() < 2 { Err(nonsense(at, "empty".into())) } else { Ok(()) }
    }
}

fn nonsense(addr: VirtAddr, found: String) -> Error {
    Error::Implausible { what: "a name of kallsyms_names".into(), addr, found, expected: "a symbol".into() }
}
