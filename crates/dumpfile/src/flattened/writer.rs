//! Writing a flattened stream.

use super::record::{HEADER_LEN, RECORD_LEN, SIGNATURE, TYPE, VERSION};
use crate::Error;
use crate::output::{Sink, write_error};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pieces are held back until they have this many bytes, the more the longer the stream is. crash keeps a sorted list of all
/// pieces and moves most of it for each one that is out of order, so there should be few; what is held back is lost when
/// the stream is cut, which should be a small share of it.
const HELD_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
/// The share of the stream that is held back at most, within these bounds.
const HELD_SHARE: u64 = 32;
/// How many pieces are held back at once: a writer continues in two places in turn, with bytes and with what says where
/// they are.
const HELD: usize = 2;

/// A dump file on its way through a pipe.
///
/// Neighbouring writes become one piece, so pieces are few and large. A piece goes out after those at higher offsets: a
/// dump's descriptors and headers lie below the bytes that they speak of, so what arrived of a stream that is cut off never
/// points at bytes that did not. What is written at offset 0 is a piece of its own and goes out at once: the first piece
/// is the dump's header, which is what tools recognise the stream by, and a header that is sent once more takes the place
/// of exactly that one.
#[derive(Debug)]
pub struct FlattenedSink<W> {
    path: PathBuf,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    out: W,
    /// Bytes that went out.
    bytes: u64,
    held: Vec<Piece>,
    /// Buffers of pieces that went out.
    spare: Vec<Vec<u8>>,
    /// Part of a piece may be out: nothing can follow it.
    broken: bool,
}

/// A piece that is held back.
#[derive(Debug)]
struct Piece {
    offset: u64,
    /// Its record, to be filled in, and its bytes.
    record: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + (self.record.len() - RECORD_LEN) as u64
    }
}

impl<W: Write + Send> FlattenedSink<W> {
    /// Begins a stream on `out`, which messages call `name`.
    ///
    /// # Errors
    ///
    /// When `out` does not take the stream's header.
    pub fn new(out: W, name: impl Into<PathBuf>) -> Result<Self, Error> {
        let sink = Self::continued(out, name);
        let mut header = [0; HEADER_LEN];
        header[..16].copy_from_slice(SIGNATURE);
        header[16..24].copy_from_slice(&TYPE.to_be_bytes());
        header[24..32].copy_from_slice(&VERSION.to_be_bytes());
        sink.with("write the stream's header", |state| state.put(&header))?;
        Ok(sink)
    }

    /// Continues a stream of which `out` has the header and whole pieces after it.
    pub fn continued(out: W, name: impl Into<PathBuf>) -> Self {
        let state = State { out, bytes: 0, held: Vec::new(), spare: Vec::new(), broken: false };
        Self { path: name.into(), state: Mutex::new(state) }
    }

    /// How many bytes went out.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Ends the stream, and returns the output and how many bytes went out. A stream that is not ended is, to whoever reads
    /// it, one that was cut off.
    ///
    /// # Errors
    ///
    /// When the output does not take the rest.
    pub fn finish(self) -> Result<(W, u64), Error> {
        self.with("end the stream", |state| {
            state.flush_held()?;
            state.put(&[0xff; RECORD_LEN])?;
            state.out.flush()
        })?;
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((state.out, state.bytes))
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` unless an earlier one failed.
    fn with(&self, action: &str, work: impl FnOnce(&mut State<W>) -> io::Result<()>) -> Result<(), Error> {
        let mut state = self.lock();
        let done = match state.broken {
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => work(&mut state),
        };
        state.broken |= done.is_err();
        done.map_err(|e| write_error(&self.path, action, e))
    }
}

impl<W: Write> State<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Takes bytes for `offset`.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self.held.iter().position(|piece| piece.end() == offset && piece.offset > 0) {
            Some(n) => self.held[n].record.extend_from_slice(bytes),
            None => {
                if self.held.len() == HELD || offset == 0 {
                    self.flush_held()?;
                }
                let mut record = self.spare.pop().unwrap_or_default();
                record.clear();
                record.resize(RECORD_LEN, 0);
                record.extend_from_slice(bytes);
                self.held.push(Piece { offset, record });
            }
        }
        let held: usize = self.held.iter().map(|piece| piece.record.len()).sum();
        let most = (self.bytes / HELD_SHARE).clamp(*HELD_BYTES.start(), *HELD_BYTES.end());
        if held as u64 >= most || offset == 0 { self.flush_held() } else { Ok(()) }
    }

    /// Sends what is held back, the highest offset first.
    fn flush_held(&mut self) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|piece| std::cmp::Reverse(piece.offset));
        for mut piece in held {
            let size = (piece.record.len() - RECORD_LEN) as u64;
            piece.record[..8].copy_from_slice(&piece.offset.to_be_bytes());
            piece.record[8..RECORD_LEN].copy_from_slice(&size.to_be_bytes());
            self.put(&piece.record)?;
            self.spare.push(piece.record);
        }
        Ok(())
    }
}

impl<W: Write + Send> Sink for FlattenedSink<W> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.write_parts_at(offset, &[IoSlice::new(bytes)])
    }

    fn write_parts_at(&self, mut offset: u64, parts: &[IoSlice<'_>]) -> Result<(), Error> {
        self.with(&format!("write what belongs at offset {offset:#x}"), |state| {
            for part in parts {
                state.take(offset, part)?;
                offset += part.len() as u64;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), Error> {
        self.with("hand on what was written", |state| {
            state.flush_held()?;
            state.out.flush()
        })
    }

    fn is_stream(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pieces of a stream, and whether it has an end.
    fn pieces(mut stream: &[u8]) -> (Vec<(u64, Vec<u8>)>, bool) {
        assert_eq!(&stream[..16], b"makedumpfile\0\0\0\0");
        let number = |bytes: &[u8]| i64::from_be_bytes(bytes[..8].try_into().unwrap());
        assert_eq!((number(&stream[16..]), number(&stream[24..])), (1, 1));
        stream = &stream[4096..];
        let mut pieces = Vec::new();
        while !stream.is_empty() {
            let (offset, size) = (number(stream), number(&stream[8..]));
            stream = &stream[16..];
            if (offset, size) == (-1, -1) {
                assert!(stream.is_empty());
                return (pieces, true);
            }
            let (bytes, rest) = stream.split_at(size as usize);
            pieces.push((offset as u64, bytes.to_vec()));
            stream = rest;
        }
        (pieces, false)
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_file(
            writes in prop::collection::vec((0u64..2000, 0usize..300, any::<u8>(), any::<bool>()), 0..40),
            sync in 0usize..40,
        ) {
            let sink = FlattenedSink::new(Vec::new(), "stream").unwrap();
            let mut file = Vec::new();
            let mut at = 0;
            for (n, (offset, len, byte, follow)) in writes.into_iter().enumerate() {
                at = if follow { at } else { offset as usize };
                let bytes = vec![byte; len];
                sink.write_at(at as u64, &bytes).unwrap();
                if n == sync {
                    sink.sync().unwrap();
                }
                // The order of overlapping writes is kept only where the sink promises it.
                if file.len() < at + len {
                    file.resize(at + len, None);
                }
                for b in &mut file[at..at + len] {
                    *b = if b.is_some() { Some(None) } else { Some(Some(byte)) };
                }
                at += len;
            }
            let (stream, bytes) = sink.finish().unwrap();
            prop_assert_eq!(stream.len() as u64, bytes);
            let (pieces, ended) = pieces(&stream);
            prop_assert!(ended);
            let mut seen = vec![None; file.len()];
            for (offset, bytes) in pieces {
                for (i, b) in bytes.into_iter().enumerate() {
                    seen[offset as usize + i] = Some(b);
                }
            }
            for (expected, seen) in file.into_iter().zip(seen) {
                match expected {
                    Some(Some(byte)) => prop_assert_eq!(seen, Some(byte)),
                    Some(None) => prop_assert!(seen.is_some()),
                    None => prop_assert_eq!(seen, None),
                }
            }
        }
    }

    #[test]
    fn neighbouring_writes_are_one_piece_and_what_points_goes_out_after_what_it_points_at() {
        let sink = FlattenedSink::new(Vec::new(), "stream").unwrap();
        sink.write_at(0, b"header").unwrap();
        for i in 0..100u64 {
            sink.write_at(1000 + 4 * i, b"desc").unwrap();
            sink.write_at(5000 + 7 * i, b"content").unwrap();
        }
        sink.write_at(0, b"HEADER").unwrap();
        let (pieces, _) = pieces(&sink.finish().unwrap().0);
        let places: Vec<_> = pieces.iter().map(|(offset, bytes)| (*offset, bytes.len())).collect();
        assert_eq!(places, [(0, 6), (5000, 700), (1000, 400), (0, 6)]);
        assert_eq!(pieces[3].1, b"HEADER");
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let sink = FlattenedSink::new(io::sink(), "stream").unwrap();
        for i in 0..100 {
            sink.write_at(4096 + (i << 20), &[7; 1 << 20]).unwrap();
            let out = sink.bytes();
            assert!(out + HELD_BYTES.end() >= i << 20, "{out} of {i} MiB");
        }
    }

    #[test]
    fn nothing_follows_a_piece_that_did_not_go_out_whole() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let len = bytes.len().min(self.0);
                self.0 -= len;
                Ok(len)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = FlattenedSink::new(Full(5000), "stream").unwrap();
        sink.write_at(100, &[1; 3000]).unwrap();
        let error = sink.sync().unwrap_err().to_string();
        assert!(error.contains("stream"), "{error}");
        assert!(sink.write_at(4000, b"x").is_err());
        assert!(sink.finish().is_err());
    }
}
