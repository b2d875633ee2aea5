//! The machine that crashes: its memory, processors and firmware.

use crate::Firmware;
use crate::bytes::ByteOrder;
use crate::error::{ModelError, Result};
use crate::extent::{Extent, covers, merged};
use crate::hpte::Hpte;
use crate::linux::{Facts, Linux};
use crate::memory::Memory;
use crate::registers::Registers;
use crate::rng::Rng;

/// Which generation of kernel registers, and through which firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Linux 2.6.26 to 3.3: scratch area at the top of memory, no crash-info header, no `/proc/vmcore`.
    Phyp2008,
    /// Linux 3.4 and later on RTAS firmware.
    Fadump(Linux),
    /// The same on OPAL (MPIPL), as 6.12 does it: CPU data by PIR, kernel metadata, no kernel dump memory structure.
    Opal,
}

impl Mode {
    /// How the kernel's fadump differs from others'; nothing for phyp-dump, which is none.
    pub fn facts(self) -> Option<&'static Facts> {
        match self {
            Self::Phyp2008 => None,
            Self::Fadump(linux) => Some(linux.facts()),
            Self::Opal => Some(Linux::V6_12.facts()),
        }
    }
}

/// A processor as the first kernel and the firmware know it.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// The firmware's logical processor id, which Linux takes for its CPU number. On OPAL the PIR.
    pub id: u32,
    /// Whether it runs when the dump starts; only such processors are saved.
    pub online: bool,
    /// What the firmware finds in its registers.
    pub registers: Registers,
}

/// Everything that can be chosen about a machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kernel generation and firmware interface.
    pub mode: Mode,
    /// Whose firmware.
    pub firmware: Firmware,
    /// Memory that exists, as (start, length) in bytes; anything between is a hole.
    pub ram: Vec<Extent>,
    /// Logical memory block in bytes, typically 256 MiB.
    pub lmb_size: u64,
    /// The first kernel's page size in bytes.
    pub page_size: u64,
    /// The first kernel's byte order.
    pub order: ByteOrder,
    /// Logical id and whether online, for every processor.
    pub cpus: Vec<(u32, bool)>,
    /// The CPU that crashed, as the kernel knew it; `None` if the hypervisor ended the partition.
    pub crashing_cpu: Option<u32>,
    /// What the firmware is asked to copy: boot memory regions in ascending order.
    pub boot_memory: Vec<Extent>,
    /// Bytes that the second kernel runs in and overwrites; at least the end of `boot_memory`.
    pub boot_top: u64,
    /// Size of the CPU section in bytes as the device tree announces it; `None` for what the firmware needs.
    pub cpu_section: Option<u64>,
    /// Size of the HPTE section in bytes as the device tree announces it.
    pub hpte_section: u64,
    /// Whether the copy of boot memory starts at a page (kernels since about 5.19).
    pub aligned_destination: bool,
    /// Whether Linux, where it can, asks for its parameter area (section type 100h).
    pub parameter_area: bool,
    /// With the hash MMU, where the real-mode area ends; `None` for the radix MMU. It decides where the parameter area goes.
    pub hash_rma: Option<u64>,
    /// Where RTAS is instantiated in each boot (`prom_instantiate_rtas`: as high as it goes below the end of the RMA and
    /// below 768 MiB). `None` for the end of boot memory, where machines have it whose boot memory reaches 768 MiB, and where
    /// it is one more thing that each boot writes.
    pub rtas: Option<Extent>,
    /// Where the boot loader puts the initial RAM disk; `None` for the first half of boot memory.
    pub initrd: Option<Extent>,
    /// Where the flattened device tree is built (`flatten_device_tree`: right above kernel and initial RAM disk); `None`
    /// for the middle of boot memory.
    pub device_tree: Option<Extent>,
    /// Ranges of the device tree's property `reserved-ranges`, which the dump area avoids and a release spares.
    pub reserved_ranges: Vec<Extent>,
    /// `crashkernel=` in bytes on the command line, for whoever reads it there: the model is told what follows from it.
    pub crashkernel: Option<u64>,
    /// `fadump=nocma`: in a boot without a dump, the dump area is not lent to programs.
    pub nocma: bool,
    /// Size of `pt_regs` in the crash-info header: 352, 384 or 400.
    pub pt_regs_size: u32,
    /// Size of the kernel's `cpumask` in bytes.
    pub cpu_mask_size: u32,
    /// The seed of every random choice.
    pub seed: u64,
}

const MIB: u64 = 1 << 20;

impl Options {
    /// The machine of the seed document: 6.125 GiB, 4 KiB pages, 256 MiB saved, big-endian, phyp-dump.
    ///
    /// Its CPU section is 20h + 10000h bytes, its HPTE section 1000h, which puts the scratch area at
    /// 0x177fee000 as the document prints it.
    pub fn seed_document() -> Self {
        Self {
            mode: Mode::Phyp2008,
            firmware: Firmware::Papr,
            ram: vec![Extent::new(0, 0x1_8800_0000)],
            lmb_size: 256 * MIB,
            page_size: 4096,
            order: ByteOrder::Big,
            cpus: (0..4).map(|id| (id, true)).collect(),
            crashing_cpu: Some(0),
            boot_memory: vec![Extent::new(0, 256 * MIB)],
            boot_top: 256 * MIB,
            cpu_section: Some(0x1_0020),
            hpte_section: 0x1000,
            aligned_destination: false,
            parameter_area: false,
            hash_rma: None,
            rtas: None,
            initrd: None,
            device_tree: None,
            reserved_ranges: Vec::new(),
            crashkernel: None,
            nocma: false,
            pt_regs_size: 352,
            cpu_mask_size: 128,
            seed: 1,
        }
    }

    /// A small phyp-dump machine: 48 MiB, of which 16 MiB are saved; cheap enough for thousands of runs.
    pub fn small_phyp() -> Self {
        Self {
            ram: vec![Extent::new(0, 48 * MIB)],
            lmb_size: 16 * MIB,
            boot_memory: vec![Extent::new(0, 16 * MIB)],
            boot_top: 16 * MIB,
            ..Self::seed_document()
        }
    }

    /// A small fadump machine of today: 48 MiB, 64 KiB pages, little-endian, Linux 6.12, QEMU's firmware.
    pub fn small_fadump() -> Self {
        Self {
            mode: Mode::Fadump(Linux::V6_12),
            firmware: Firmware::Qemu,
            page_size: 0x1_0000,
            order: ByteOrder::Little,
            crashing_cpu: Some(1),
            cpu_section: None,
            hpte_section: 0,
            aligned_destination: true,
            parameter_area: true,
            pt_regs_size: 384,
            cpu_mask_size: 8,
            ..Self::small_phyp()
        }
    }

    /// A small OPAL machine.
    pub fn small_opal() -> Self {
        Self {
            mode: Mode::Opal,
            firmware: Firmware::Papr,
            parameter_area: false,
            cpus: vec![(0x8, true), (0x9, true), (0x10, true), (0x11, false)],
            crashing_cpu: Some(0x9),
            ..Self::small_fadump()
        }
    }

    /// The byte after the last of RAM.
    pub fn ram_end(&self) -> u64 {
        self.ram.iter().map(|extent| extent.end()).max().unwrap_or(0)
    }

    /// Where RTAS is in each boot.
    pub fn rtas_extent(&self) -> Extent {
        let last = self.boot_memory.last().copied().unwrap_or(Extent::new(0, self.page_size));
        let start = last.end().saturating_sub(self.page_size) / self.page_size * self.page_size;
        self.rtas.unwrap_or(Extent::new(start, self.page_size))
    }

    /// Where the initial RAM disk is when a kernel starts; the kernel frees it once it has unpacked it.
    pub fn initrd_extent(&self) -> Extent {
        self.initrd.unwrap_or_else(|| self.in_boot_memory(4))
    }

    /// Where the flattened device tree is, from which `/proc/device-tree` takes its properties.
    pub fn device_tree_extent(&self) -> Extent {
        self.device_tree.unwrap_or_else(|| self.in_boot_memory(2))
    }

    /// A page at this fraction of the first region of boot memory.
    fn in_boot_memory(&self, fraction: u64) -> Extent {
        let first = self.boot_memory.first().copied().unwrap_or(Extent::new(0, 0));
        let at = (first.start + first.length / fraction) / self.page_size * self.page_size;
        Extent::new(at, self.page_size)
    }

    fn check(&self) -> Result<()> {
        let refuse = |what, found, expected| Err(ModelError::Options { what, found, expected });
        if ![0x1000, 0x4000, 0x1_0000].contains(&self.page_size) {
            return refuse("page_size", self.page_size, "4096, 16384 or 65536");
        }
        if self.ram.is_empty() || merged(self.ram.clone()) != self.ram {
            return refuse("ram", self.ram.len() as u64, "sorted ranges that do not touch");
        }
        if self.ram_end() > 1 << 51 {
            return refuse("ram", self.ram_end(), "at most 2 PiB, what a ppc64 kernel can address");
        }
        if self.boot_memory.is_empty() || self.boot_memory.iter().any(|region| !covers(&self.ram, *region)) {
            return refuse("boot_memory", self.boot_memory.len() as u64, "regions that lie in RAM");
        }
        let regions_end = self.boot_memory.iter().map(|region| region.end()).max().unwrap_or(0);
        if self.boot_top < regions_end || self.boot_top > self.ram_end() {
            return refuse("boot_top", self.boot_top, "the end of boot memory or more, inside RAM");
        }
        if !self.lmb_size.is_power_of_two() {
            return refuse("lmb_size", self.lmb_size, "a power of two");
        }
        Ok(())
    }
}

/// A machine that runs, until something is done to it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it was made from.
    pub options: Options,
    /// Its physical memory.
    pub memory: Memory,
    /// Its processors, in ascending order of id unless a fault says otherwise.
    pub cpus: Vec<Cpu>,
    /// The page-table entries that mapped its real-mode area.
    pub hptes: Vec<Hpte>,
    /// The VMCOREINFO note in memory: where the note header is, and the note's length in bytes.
    pub vmcoreinfo: Option<Extent>,
}

impl Machine {
    /// A machine with empty memory and random, plausible registers.
    ///
    /// # Errors
    ///
    /// The options contradict each other.
    pub fn new(options: Options) -> Result<Self> {
        options.check()?;
        let memory = Memory::new(options.ram_end());
        Self::with_memory(options, memory, None)
    }

    /// A machine with the memory of an image, whose VMCOREINFO note is at `vmcoreinfo`.
    ///
    /// # Errors
    ///
    /// The options contradict each other or the image is smaller than RAM.
    pub fn with_memory(options: Options, memory: Memory, vmcoreinfo: Option<Extent>) -> Result<Self> {
        options.check()?;
        if memory.size() < options.ram_end() {
            let (what, expected) = ("memory", "an image as large as RAM");
            return Err(ModelError::Options { what, found: memory.size(), expected });
        }
        let seed = options.seed;
        let mut machine = Self { options, memory, cpus: Vec::new(), hptes: Vec::new(), vmcoreinfo };
        machine.reseed(seed);
        Ok(machine)
    }

    /// Gives the processors other registers, and the page table other entries.
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.options.seed = seed;
        let (options, rng) = (&self.options, Rng::new(seed));
        let cpus = options.cpus.iter().map(|&(id, online)| {
            let mut registers =
                Registers::random(&mut rng.fork(0x1000 + u64::from(id)), id, options.ram_end());
            // MSR[LE]: a kernel runs in its own byte order.
            registers.msr = registers.msr & !1 | u64::from(options.order == ByteOrder::Little);
            Cpu { id, online, registers }
        });
        self.cpus = cpus.collect();
        self.hptes = Hpte::random_table(&mut rng.fork(2), 24, self.options.boot_top);
    }

    /// Scatters `pages` pages of compressible text and numbers over RAM, and a VMCOREINFO note in low memory.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn scatter(&mut self, pages: usize) -> Result<()> {
        let page_size = self.options.page_size;
        let mut rng = Rng::new(self.options.seed).fork(1);
        let mut page = vec![0; page_size as usize];
        for _ in 0..pages {
            let extent = self.options.ram[rng.below(self.options.ram.len() as u64) as usize];
            let frames = extent.length / page_size;
            if frames == 0 {
                continue;
            }
            crate::content::fill_page(&mut rng, &mut page);
            self.memory.write(extent.start + rng.below(frames) * page_size, &page)?;
        }
        self.write_vmcoreinfo(page_size, &self.plain_vmcoreinfo(true))
    }

    /// The text of a VMCOREINFO note that names the release and page size, and the crash time if asked.
    pub fn plain_vmcoreinfo(&self, crash_time: bool) -> String {
        let page_size = self.options.page_size;
        let time = if crash_time { "CRASHTIME=1795388515\n" } else { "" };
        format!("OSRELEASE=6.12.94-model\nPAGESIZE={page_size}\nSYMBOL(_stext)=c000000000000000\n{time}")
    }

    /// Puts a VMCOREINFO note at `address`.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_vmcoreinfo(&mut self, address: u64, text: &str) -> Result<()> {
        let note = crate::notes::note(self.options.order, "VMCOREINFO", 0, text.as_bytes());
        self.memory.write(address, &note)?;
        self.vmcoreinfo = Some(Extent::new(address, note.len() as u64));
        Ok(())
    }

    /// The processors that run when the dump starts.
    pub fn online(&self) -> impl Iterator<Item = &Cpu> {
        self.cpus.iter().filter(|cpu| cpu.online)
    }
}
