//! Small writes that follow each other, gathered into few.

use super::Sink;
use crate::Error;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes that are held back.
const HELD: usize = 1 << 18;

/// A sink that holds back what is written piece by piece in the order of a file, up to 256 KiB of it, until it is synced or
/// something goes elsewhere. Flattened streams may have records of single bytes, each of which would cost a system call.
///
/// What is held back when this is dropped is not written: [`Sink::sync`] or [`Gathered::flush`] come last.
pub struct Gathered<'s> {
    sink: &'s dyn Sink,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    offset: u64,
    bytes: Vec<u8>,
}

impl<'s> Gathered<'s> {
    /// Gathers for `sink`.
    pub fn new(sink: &'s dyn Sink) -> Self {
        Self { sink, held: Mutex::default() }
    }

    /// Writes what is held back.
    ///
    /// # Errors
    ///
    /// As [`Sink::write_at`].
    pub fn flush(&self) -> Result<(), Error> {
        self.write(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, held: &mut Held) -> Result<(), Error> {
        if held.bytes.is_empty() {
            return Ok(());
        }
        let written = self.sink.write_at(held.offset, &held.bytes);
        held.bytes.clear();
        written
    }
}

impl Sink for Gathered<'_> {
    fn path(&self) -> &Path {
        self.sink.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let follows = held.offset + held.bytes.len() as u64 == offset;
        if !follows || held.bytes.len() + bytes.len() > HELD {
            self.write(&mut held)?;
        }
        if bytes.len() >= HELD {
            return self.sink.write_at(offset, bytes);
        }
        if held.bytes.is_empty() {
            held.offset = offset;
        }
        held.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn append_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.flush()?;
        self.sink.append_at(offset, parts)
    }

    fn sync(&self) -> Result<(), Error> {
        self.flush()?;
        self.sink.sync()
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.flush()?;
        self.sink.blank(offset, len)
    }

    fn is_stream(&self) -> bool {
        self.sink.is_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What was written, and how often.
    #[derive(Default)]
    struct Counting(Mutex<(Vec<u8>, usize)>);

    impl Sink for Counting {
        fn path(&self) -> &Path {
            Path::new("counting")
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
            let mut all = self.0.lock().unwrap();
            let end = offset as usize + bytes.len();
            if all.0.len() < end {
                all.0.resize(end, 0);
            }
            all.0[offset as usize..end].copy_from_slice(bytes);
            all.1 += 1;
            Ok(())
        }

        fn sync(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn a_million_single_bytes_are_a_few_writes() {
        let counting = Counting::default();
        let gathered = Gathered::new(&counting);
        for n in 0..1_000_000u64 {
            gathered.write_at(n, &[n as u8]).unwrap();
        }
        gathered.sync().unwrap();
        let all = counting.0.lock().unwrap();
        assert!(all.0.iter().enumerate().all(|(n, &byte)| byte == n as u8) && all.0.len() == 1_000_000);
        assert!(all.1 < 8, "{} writes", all.1);
    }

    proptest! {
        #[test]
        fn what_is_gathered_is_what_would_have_been_written(
            writes in prop::collection::vec((0u64..2000, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
            syncs in prop::collection::vec(any::<bool>(), 40),
        ) {
            let (gathered_out, plain) = (Counting::default(), Counting::default());
            let gathered = Gathered::new(&gathered_out);
            for ((offset, bytes), sync) in writes.iter().filter(|write| !write.1.is_empty()).zip(syncs) {
                gathered.write_at(*offset, bytes).unwrap();
                plain.write_at(*offset, bytes).unwrap();
                if sync {
                    gathered.sync().unwrap();
                    prop_assert_eq!(&gathered_out.0.lock().unwrap().0, &plain.0.lock().unwrap().0);
                }
            }
            gathered.flush().unwrap();
            prop_assert_eq!(&gathered_out.0.lock().unwrap().0, &plain.0.lock().unwrap().0);
        }
    }
}
