//! Memory from some address on.

use crate::{Error, KernelMemory};
use vmcore::{Machine, VirtAddr};

/// Memory is read in pieces that no page border cuts, so that nothing beyond what is used has to be in the dump.
const PIECE: u64 = 4096;

/// Bytes from some address on, read a piece at a time.
pub(super) struct Stream<'a> {
    memory: &'a dyn KernelMemory,
    at: u64,
    piece: Vec<u8>,
    /// Where `piece` starts; it is empty at first.
    start: u64,
}

impl<'a> Stream<'a> {
    pub(super) fn new(memory: &'a dyn KernelMemory, addr: VirtAddr) -> Self {
        Self { memory, at: addr.0, piece: Vec::new(), start: addr.0 }
    }

    /// The machine whose memory this is.
    pub(super) fn machine(&self) -> Machine {
        self.memory.machine()
    }

    /// Where the next byte comes from.
    pub(super) fn at(&self) -> VirtAddr {
        VirtAddr(self.at)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.some(1)?[0])
    }

    /// Some of the next bytes, at least one and no more than `most`, which is not 0.
    pub(super) fn some(&mut self, most: usize) -> Result<&[u8], Error> {
        let mut offset = self.at.wrapping_sub(self.start) as usize;
        if offset >= self.piece.len() {
            self.piece.clear();
            self.piece.resize((PIECE - self.at % PIECE) as usize, 0);
            if let Err(error) = self.memory.read(VirtAddr(self.at), &mut self.piece) {
                self.piece.clear();
                self.start = self.at;
                return Err(error);
            }
            self.start = self.at;
            offset = 0;
        }
        let rest = &self.piece[offset..];
        let some = &rest[..rest.len().min(most)];
        self.at = self.at.wrapping_add(some.len() as u64);
        Ok(some)
    }

    /// Fills `bytes` with the next ones.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let mut left = bytes;
        while !left.is_empty() {
            let here = self.some(left.len())?;
            let (now, later) = left.split_at_mut(here.len());
            now.copy_from_slice(here);
            left = later;
        }
        Ok(())
    }
}
