//! A kernel made by hand, for tests.

use crate::{Error, KernelMemory};
use vmcore::{Arch, ByteOrder, Machine, VirtAddr, VmcoreInfo, WordSize};

pub(crate) const LE64: Machine =
    Machine { arch: Arch::X86_64, order: ByteOrder::Little, word: WordSize::Bits64 };
pub(crate) const BE64: Machine = Machine { arch: Arch::Ppc64, order: ByteOrder::Big, word: WordSize::Bits64 };
pub(crate) const LE32: Machine =
    Machine { arch: Arch::I386, order: ByteOrder::Little, word: WordSize::Bits32 };
pub(crate) const BE32: Machine = Machine { arch: Arch::Ppc, order: ByteOrder::Big, word: WordSize::Bits32 };
pub(crate) const MACHINES: [Machine; 4] = [LE64, BE64, LE32, BE32];

/// Virtual memory that consists of what a test put there.
pub(crate) struct FakeKernel {
    machine: Machine,
    info: VmcoreInfo,
    parts: Vec<(u64, Vec<u8>)>,
}

impl FakeKernel {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, info: VmcoreInfo::default(), parts: Vec::new() }
    }

    /// Sets the whole text of VMCOREINFO.
    pub(crate) fn set_info(&mut self, text: &str) {
        self.info = VmcoreInfo::parse(text.as_bytes());
    }

    /// Puts bytes at an address; later ones hide earlier ones.
    pub(crate) fn put(&mut self, addr: u64, bytes: &[u8]) {
        self.parts.insert(0, (addr, bytes.to_vec()));
    }

    pub(crate) fn put_u16(&mut self, addr: u64, value: u16) {
        self.put(addr, &self.machine.order.put_u16(value));
    }

    pub(crate) fn put_u32(&mut self, addr: u64, value: u32) {
        self.put(addr, &self.machine.order.put_u32(value));
    }

    pub(crate) fn put_u64(&mut self, addr: u64, value: u64) {
        self.put(addr, &self.machine.order.put_u64(value));
    }

    /// Puts an `unsigned long`, cut to the machine's word.
    pub(crate) fn put_word(&mut self, addr: u64, value: u64) {
        match self.machine.word {
            WordSize::Bits32 => self.put_u32(addr, value as u32),
            WordSize::Bits64 => self.put_u64(addr, value),
        }
    }

    /// Takes away what was put at exactly this address.
    pub(crate) fn remove(&mut self, addr: u64) {
        self.parts.retain(|(at, _)| *at != addr);
    }
}

impl KernelMemory for FakeKernel {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn info(&self) -> &VmcoreInfo {
        &self.info
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = addr.0.wrapping_add(i as u64);
            let found = self.parts.iter().find_map(|(start, part)| {
                at.checked_sub(*start).and_then(|offset| part.get(usize::try_from(offset).ok()?))
            });
            *byte =
                *found.ok_or_else(|| Error::NotMapped { addr: VirtAddr(at), why: "nothing there".into() })?;
        }
        Ok(())
    }
}
