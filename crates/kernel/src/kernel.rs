//! The crashed kernel, as far as it has been understood.

use crate::address::memmodel::MemModel;
use crate::address::physical::Physical;
use crate::address::translate::{Mapping, Stop, TableVisitor, Translator};
use crate::{Error, KernelMemory, uts};
use vmcore::{
    Arch, Dump, Machine, MemoryMap, PhysAddr, PhysicalMemory, Utsname, VirtAddr, VirtSegment, VmcoreInfo,
};

/// The crashed kernel of a dump: what can be learned once, and access to the rest.
///
/// Opening succeeds for every kernel whose name can be read, so that the log can be shown even where pages cannot be
/// classified.
pub struct Kernel<'d> {
    dump: &'d Dump,
    info: &'d VmcoreInfo,
    physical: Physical<'d>,
    translator: Translator,
    utsname: Utsname,
}

impl<'d> Kernel<'d> {
    /// Chooses how addresses are translated and proves it by reading the kernel's name.
    ///
    /// # Errors
    ///
    /// When the dump has no VMCOREINFO, when a key that translation needs is missing, and when what is at
    /// `init_uts_ns` is not a Linux kernel's name.
    pub fn open(dump: &'d Dump) -> Result<Self, Error> {
        Self::open_through(dump, &*dump.memory)
    }

    /// As [`Kernel::open`], with all of the dump's memory read through `memory`: for who has to know what is read.
    ///
    /// # Errors
    ///
    /// As [`Kernel::open`].
    pub fn open_through(dump: &'d Dump, memory: &'d dyn PhysicalMemory) -> Result<Self, Error> {
        let info = dump.vmcoreinfo.as_ref().ok_or_else(|| {
            Error::Unsupported(
                "the dump has no VMCOREINFO note, so nothing is known of its kernel".to_owned(),
            )
        })?;
        if let Arch::Other(_) = dump.machine.arch {
            return Err(Error::Unsupported(format!(
                "kernels of {} are not understood, only converted; dump levels 0 and 1 need no more",
                dump.machine.name()
            )));
        }
        let physical = Physical::new(memory);
        let translator = Translator::choose(dump, info, &physical)?;
        let mut kernel = Self { dump, info, physical, translator, utsname: Utsname::default() };
        kernel.utsname = match uts::read(&kernel) {
            // What the kernel's tables lack says more than that the input's segments do not have an address.
            Err(error @ Error::NotMapped { .. }) => {
                kernel.translator.check(dump, info, &kernel.physical)?;
                return Err(error);
            }
            name => name?,
        };
        Ok(kernel)
    }

    /// The six strings of `uname`, which opening has read.
    pub fn utsname(&self) -> &Utsname {
        &self.utsname
    }

    /// Where the kernel's link address 0 lies in physical memory, as in the sub header of a kdump file. The
    /// bits of a signed number.
    pub fn phys_base(&self) -> u64 {
        self.translator.phys_base(self.dump, self.info)
    }

    /// The virtual addresses of all memory in the kernel's direct map, then those of its image where it is mapped a
    /// second time: what `/proc/vmcore` would have said. For dumps whose input says nothing of virtual addresses.
    ///
    /// What cannot be found is left out; without the kernel's tables nothing may be left.
    pub fn virt_segments(&self) -> Vec<VirtSegment> {
        self.translator.virt_segments(self.info, &self.physical)
    }

    /// The physical address of a virtual one.
    ///
    /// # Errors
    ///
    /// When no table maps it, or a table is not in the dump.
    pub fn translate(&self, addr: VirtAddr) -> Result<PhysAddr, Error> {
        self.map(addr).map(|mapping| mapping.phys)
    }

    /// The physical address of `addr` and how many bytes from there on lie side by side.
    pub(crate) fn map(&self, addr: VirtAddr) -> Result<Mapping, Error> {
        self.translator.translate(&self.physical, addr)
    }

    /// As [`Kernel::map`]; an error says how far it holds.
    pub(crate) fn map_or_stop(&self, addr: VirtAddr) -> Result<Mapping, Stop> {
        self.translator.translate_or_stop(&self.physical, addr)
    }

    /// Shows `visitor` the kernel's page table, as far as its layout is known.
    pub(crate) fn visit_tables(&self, visitor: &mut dyn TableVisitor) -> Result<(), Error> {
        self.translator.visit(&self.physical, visitor)
    }

    /// What the virtual addresses of the direct map are further than the physical ones, if that can be found.
    pub(crate) fn direct_distance(&self) -> Option<u64> {
        self.translator.direct_distance(&self.physical)
    }

    pub(crate) fn physical(&self) -> &Physical<'d> {
        &self.physical
    }

    /// The CPUs that the dump has registers of.
    pub(crate) fn cpus(&self) -> usize {
        self.dump.cpus()
    }

    pub(crate) fn memory_map(&self) -> &'d MemoryMap {
        self.dump.memory.map()
    }

    /// Whether the dump takes for memory what may be a hole between memory.
    pub(crate) fn map_is_assumed(&self) -> bool {
        self.dump.source.map_assumed
    }

    pub(crate) fn mem_model(&self) -> Result<MemModel, Error> {
        self.translator.check(self.dump, self.info, &self.physical)?;
        MemModel::open(self)
    }
}

impl KernelMemory for Kernel<'_> {
    fn machine(&self) -> Machine {
        self.dump.machine
    }

    fn info(&self) -> &VmcoreInfo {
        self.info
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        let mut at = addr;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Mapping { phys, len } = self.map(at)?;
            let count = rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            let (now, later) = rest.split_at_mut(count);
            self.physical.read(phys, now, "kernel memory")?;
            at = VirtAddr(at.0.wrapping_add(count as u64));
            rest = later;
        }
        Ok(())
    }
}
