//! Virtual memory of the crashed kernel.

use crate::Error;
use vmcore::{Machine, VirtAddr, VmcoreInfo};

/// Random access to the crashed kernel's virtual memory, and to what it says of its structures.
pub trait KernelMemory: Sync {
    /// The machine, for the byte order and size of words.
    fn machine(&self) -> Machine;

    /// The kernel's VMCOREINFO.
    fn info(&self) -> &VmcoreInfo;

    /// Fills `bytes` from virtual address `addr` on, across pages if need be.
    ///
    /// # Errors
    ///
    /// When an address is not mapped, or its page is not in the dump.
    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error>;

    /// Reads an `unsigned long` or pointer.
    ///
    /// # Errors
    ///
    /// As [`KernelMemory::read`], here and below.
    fn read_word(&self, addr: VirtAddr) -> Result<u64, Error> {
        let machine = self.machine();
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..machine.word.bytes()];
        self.read(addr, bytes)?;
        Ok(machine.word(bytes))
    }

    /// Reads a 32-bit number.
    fn read_u32(&self, addr: VirtAddr) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read(addr, &mut bytes)?;
        Ok(self.machine().u32(&bytes))
    }
}
