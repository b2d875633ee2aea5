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
        self.at = self.at.wrapping_add(1);
        Ok(self.piece[offset])
    }

    /// Fills `bytes` with the next ones.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        for byte in bytes {
            *byte = self.byte()?;
        }
        Ok(())
    }
}
