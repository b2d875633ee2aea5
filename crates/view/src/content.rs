//! What a file consists of.

use std::sync::OnceLock;
use vmcore::{Far, PageState, Pfn, Range, ReadError};

/// Why bytes of a file cannot be had. It is the error of that read and of no other.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A page is not in the dump, and such pages are not shown as zeros.
    #[error("page {:#x} is {}", pfn.0, name(*state))]
    Missing {
        /// The frame.
        pfn: Pfn,
        /// Why its bytes are not known.
        state: PageState,
    },
    /// The input is damaged or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What the file consists of cannot be made.
    #[error("{0}")]
    Made(String),
}

fn name(state: PageState) -> &'static str {
    match state {
        PageState::Excluded => "left out of the dump",
        PageState::Absent => "no memory",
        _ => "lost",
    }
}

/// The bytes of a file, read by any number of threads at once.
pub trait Content: Send + Sync {
    /// The length in bytes; 0 as long as it is not known.
    fn len(&self) -> u64;

    /// Reports whether the file is empty, as far as is known.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `bytes`, which lie within the file, from `offset` on.
    ///
    /// # Errors
    ///
    /// When one of the bytes cannot be had.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure>;

    /// Hands `len` bytes from `offset` on to `take`, which lie within the file: as they are held somewhere, or through `buffer`.
    ///
    /// # Errors
    ///
    /// As [`Content::read_at`]; `take` is not called then.
    fn lend(
        &self,
        offset: u64,
        len: usize,
        buffer: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Failure> {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        self.read_at(offset, &mut buffer[..len])?;
        take(&buffer[..len]);
        Ok(())
    }

    /// How many bytes are in no hole.
    fn stored(&self) -> u64 {
        self.len()
    }

    /// The next stretch that is no hole, from `offset` on.
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.len()).then(|| Range::new(offset, self.len()))
    }

    /// Makes what is made only when somebody wants it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    fn open(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Reports whether length and bytes are known from the beginning.
    fn is_ready(&self) -> bool {
        true
    }
}

/// Bytes in memory.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl Content for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.0.get(from..).and_then(|rest| rest.get(..bytes.len()));
        let part = part.ok_or_else(|| Failure::Made(format!("no byte at offset {offset:#x}")))?;
        bytes.copy_from_slice(part);
        Ok(())
    }
}

/// A note that is still in the input.
#[derive(Debug)]
pub struct LargeNote(pub Far);

impl Content for LargeNote {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        Ok(self.0.read_at(offset, bytes)?)
    }
}

/// What makes the bytes of a file, or says why it cannot.
type Maker = Box<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// Bytes that are made when the file is opened for the first time: a report takes seconds, and not everybody who mounts a dump
/// wants it. Until then nobody knows how many they are.
pub struct Made {
    make: Maker,
    made: OnceLock<Result<Bytes, String>>,
}

impl Made {
    /// A file of what `make` makes, once.
    pub fn new(make: impl Fn() -> Result<Vec<u8>, String> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), made: OnceLock::new() }
    }

    fn bytes(&self) -> Result<&Bytes, Failure> {
        let made = self.made.get_or_init(|| (self.make)().map(Bytes));
        made.as_ref().map_err(|why| Failure::Made(why.clone()))
    }
}

impl Content for Made {
    fn len(&self) -> u64 {
        self.made.get().map_or(0, |made| made.as_ref().map_or(0, Content::len))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        self.bytes()?.read_at(offset, bytes)
    }

    fn open(&self) -> Result<(), Failure> {
        self.bytes().map(|_| ())
    }

    fn is_ready(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_is_made_is_made_once_and_when_it_is_wanted() {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let file = Made::new(|| {
            MADE.fetch_add(1, Ordering::Relaxed);
            Ok(b"text".to_vec())
        });
        assert_eq!((file.len(), MADE.load(Ordering::Relaxed)), (0, 0));
        file.open().unwrap();
        let mut bytes = [0; 3];
        file.read_at(1, &mut bytes).unwrap();
        assert_eq!((&bytes, file.len(), MADE.load(Ordering::Relaxed)), (b"ext", 4, 1));
        assert!(file.read_at(2, &mut bytes).is_err());
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let file = Made::new(|| Err("no kernel".into()));
        assert_eq!(file.open().unwrap_err().to_string(), "no kernel");
        assert_eq!(file.len(), 0);
    }
}
