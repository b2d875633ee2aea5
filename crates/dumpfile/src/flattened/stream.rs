//! Putting a flattened stream in order while it arrives.

use super::Covered;
use super::record::{HEADER_LEN, RECORD_LEN, Record, SIGNATURE, check_header};
use crate::Error;
use crate::output::Sink;
use std::io::{self, ErrorKind, Read};

/// How many bytes of a piece are held before they are written.
const BUFFER: usize = 1 << 20;

/// How a stream ended.
#[derive(Debug)]
pub enum StreamEnd {
    /// With its end record: everything arrived.
    Whole,
    /// Without: the sender stopped, or the connection broke, with what the system said of that.
    Cut(Option<io::Error>),
    /// A record cannot be: what is wrong with which, by its place in the stream.
    Damaged(String),
}

/// What arrived of a flattened stream.
#[derive(Debug)]
pub struct Unflattened {
    /// The first bytes of a stream that is not flattened, as many as were taken from it; nothing was written then. The
    /// caller may continue with them.
    pub foreign: Option<Vec<u8>>,
    /// How it ended.
    pub end: StreamEnd,
    /// Bytes of the stream that arrived, its records included.
    pub received: u64,
    /// Pieces that arrived, the last one perhaps in part.
    pub pieces: u64,
    /// The length of the file that was written.
    pub len: u64,
    /// Which bytes of it came.
    pub covered: Covered,
}

/// Writes each piece of a flattened stream to its place in `out` as it arrives, so that a stream that is cut off leaves
/// all that came.
///
/// # Errors
///
/// Only when `out` cannot be written to; [`Unflattened::end`] returns what is wrong with the stream.
pub fn unflatten(stream: &mut dyn Read, out: &dyn Sink) -> Result<Unflattened, Error> {
    let mut state = Unflattened {
        foreign: None,
        end: StreamEnd::Whole,
        received: 0,
        pieces: 0,
        len: 0,
        covered: Covered::default(),
    };
    let mut header = [0; HEADER_LEN];
    let (have, failed) = fill(stream, &mut header);
    state.received = have as u64;
    if !header[..have].starts_with(SIGNATURE) {
        state.foreign = Some(header[..have].to_vec());
        state.end = StreamEnd::Cut(failed);
        return Ok(state);
    }
    state.end = if have < HEADER_LEN {
        StreamEnd::Cut(failed)
    } else if let Err(bad) = check_header(&header) {
        StreamEnd::Damaged(format!(
            "{} of the flattened header is {}, expected {}",
            bad.field, bad.found, bad.expected
        ))
    } else {
        pieces(stream, out, &mut state)?
    };
    Ok(state)
}

/// Writes pieces until the stream ends.
fn pieces(stream: &mut dyn Read, out: &dyn Sink, state: &mut Unflattened) -> Result<StreamEnd, Error> {
    let mut buffer = Vec::new();
    loop {
        let mut record = [0; RECORD_LEN];
        let at = state.received;
        let (have, failed) = fill(stream, &mut record);
        state.received += have as u64;
        if have < RECORD_LEN {
            return Ok(StreamEnd::Cut(failed));
        }
        let (mut offset, mut left) = match Record::decode(&record) {
            Ok(Record::End) => return Ok(StreamEnd::Whole),
            Ok(Record::Piece { offset, size }) => (offset, size),
            Err(bad) => {
                return Ok(StreamEnd::Damaged(format!(
                    "{} at offset {:#x} of the stream is {}, expected {}",
                    bad.field,
                    at + bad.offset,
                    bad.found,
                    bad.expected
                )));
            }
        };
        state.pieces += 1;
        while left > 0 {
            // Only as large as pieces are: a record that lies about its size costs nothing.
            buffer.resize(left.min(BUFFER as u64) as usize, 0);
            let (have, failed) = fill(stream, &mut buffer);
            if have > 0 {
                out.write_at(offset, &buffer[..have])?;
                state.len = state.len.max(offset + have as u64);
                state.covered.add(offset, offset + have as u64);
            }
            state.received += have as u64;
            (offset, left) = (offset + have as u64, left - have as u64);
            if have < buffer.len() {
                return Ok(StreamEnd::Cut(failed));
            }
        }
    }
}

/// Reads until `bytes` is full or the stream ends, and returns how much came, and why no more did.
fn fill(stream: &mut dyn Read, bytes: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut have = 0;
    while have < bytes.len() {
        match stream.read(&mut bytes[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (have, Some(error)),
        }
    }
    (have, None)
}
