//! Every fault that the model can make, each ready to run, and every kind of machine.
//!
//! A test that walks the list meets each case once; its name says what is wrong, its [`Group`] where. What can go wrong
//! when memory is released is not here but in [`crate::release`].

use crate::Firmware;
use crate::bytes::ByteOrder;
use crate::copy::STEP;
use crate::error::Result;
use crate::extent::Extent;
use crate::faults::{
    Amount, CrashInfoFault, DestinationFault, Fault, HeaderFault, HpteFault, OpalFault, RegistersFault,
    SysfsFault, VmcoreFault, VmcoreinfoFault,
};
use crate::hypervisor::End;
use crate::linux::Linux;
use crate::machine::{Machine, Mode, Options};
use crate::scenario::{self, Dirt, Event, Run};

const MIB: u64 = 1 << 20;

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Sections that are copied in part, or are said to be.
    Copies,
    /// Error flags of sections, and the status of the structure.
    Flags,
    /// The header of `ibm,kernel-dump`.
    Header,
    /// The register save area.
    Registers,
    /// The HPTE save area.
    Hptes,
    /// Destinations of boot memory.
    Destinations,
    /// The crash-info header.
    CrashInfo,
    /// The CPU that crashed, not saved or not known.
    CrashingCpu,
    /// Boot memory of every size and shape; nothing goes wrong.
    BootMemory,
    /// Memory blocks, added or removed after registration, or not whole.
    Blocks,
    /// Page sizes and alignments; nothing goes wrong.
    PageSizes,
    /// Byte orders of the kernel on each firmware; nothing goes wrong.
    ByteOrders,
    /// `/proc/vmcore`.
    Vmcore,
    /// The VMCOREINFO note.
    Vmcoreinfo,
    /// sysfs of the second kernel.
    Sysfs,
    /// OPAL's metadata and CPU data.
    Opal,
    /// Other events than a crash: reboots, migrations, second crashes.
    Events,
}

impl Group {
    /// All groups, in the order of [`catalogue`].
    pub const ALL: [Self; 17] = [
        Self::Copies,
        Self::Flags,
        Self::Header,
        Self::Registers,
        Self::Hptes,
        Self::Destinations,
        Self::CrashInfo,
        Self::CrashingCpu,
        Self::BootMemory,
        Self::Blocks,
        Self::PageSizes,
        Self::ByteOrders,
        Self::Vmcore,
        Self::Vmcoreinfo,
        Self::Sysfs,
        Self::Opal,
        Self::Events,
    ];
}

/// One case: a machine, what happens to it, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub group: Group,
    /// What is wrong, in words.
    pub name: String,
    /// The machine.
    pub options: Options,
    /// What happens to it.
    pub event: Event,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Case {
    /// Runs the case on a machine with `pages` pages of content.
    ///
    /// # Errors
    ///
    /// The hypervisor refuses the registration, which is right for some; or memory cannot be accessed.
    pub fn run(&self, pages: usize) -> Result<Run> {
        let mut machine = Machine::new(self.options.clone())?;
        machine.scatter(pages)?;
        scenario::run(machine, self.event, &self.faults, Dirt::Whole)
    }
}

struct Cases(Vec<Case>);

impl Cases {
    fn push(
        &mut self,
        group: Group,
        name: impl Into<String>,
        options: &Options,
        event: Event,
        faults: Vec<Fault>,
    ) {
        self.0.push(Case { group, name: name.into(), options: options.clone(), event, faults });
    }

    /// A crash with one fault, on a phyp-dump machine and on one of fadump.
    fn both(&mut self, group: Group, name: &str, fault: Fault) {
        for (kind, options) in [("phyp", Options::small_phyp()), ("fadump", Options::small_fadump())] {
            self.push(group, format!("{name}, {kind}"), &options, Event::CRASH, vec![fault.clone()]);
        }
    }

    fn fadump(&mut self, group: Group, name: &str, fault: Fault) {
        self.push(group, name, &Options::small_fadump(), Event::CRASH, vec![fault]);
    }

    fn machine(&mut self, group: Group, name: impl Into<String>, options: Options) {
        self.push(group, name, &options, Event::CRASH, Vec::new());
    }
}

/// All cases, by group.
pub fn catalogue() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    sections(&mut cases);
    header(&mut cases);
    registers(&mut cases);
    hptes(&mut cases);
    destinations(&mut cases);
    crash_info(&mut cases);
    boot_memory(&mut cases);
    blocks(&mut cases);
    pages_and_orders(&mut cases);
    kernel_side(&mut cases);
    opal(&mut cases);
    events(&mut cases);
    cases.0
}

fn sections(cases: &mut Cases) {
    let names = ["CPU state", "HPTEs", "boot memory"];
    for (index, section) in names.into_iter().enumerate() {
        for (how, amount) in [
            ("copied 0", Amount::Nothing),
            ("short by 1 byte", Amount::ShortBy(1)),
            ("short by a page", Amount::ShortBy(0x1000)),
            ("half", Amount::Half),
            ("said to be more by 1 byte", Amount::SaysMore(1)),
            ("said to be more by a page", Amount::SaysMore(0x1000)),
        ] {
            cases.both(Group::Copies, &format!("{section} {how}"), Fault::Copied(index, amount));
        }
        for flags in [0x8000, 0x4000, 0x2000, 0x1000, 0x0800] {
            for (how, copied_in_full) in [("copied in full", true), ("not copied", false)] {
                let fault = Fault::SectionFlags { section: index, flags, copied_in_full };
                cases.both(Group::Flags, &format!("{section} with error {flags:#x}, {how}"), fault);
            }
        }
    }
    for status in [0x0000, 0x2000, 0x4000, 0x8000, 0xa000, 0xe000, 0xc001, 0xdfff] {
        cases.both(Group::Flags, &format!("status {status:#x}"), Fault::Status(status));
    }
}

fn header(cases: &mut Cases) {
    for version in [0, 2] {
        cases.both(
            Group::Header,
            &format!("version {version}"),
            Fault::Header(HeaderFault::Version(version)),
        );
    }
    for count in [0, 1, 10, 11, 65535] {
        cases.both(
            Group::Header,
            &format!("{count} sections claimed"),
            Fault::Header(HeaderFault::SectionCount(count)),
        );
    }
    for offset in [0, 0x27, 0x30, 0x100, 0x1000, u32::MAX] {
        cases.both(
            Group::Header,
            &format!("first section at {offset:#x}"),
            Fault::Header(HeaderFault::FirstSection(offset)),
        );
    }
    for length in [0, 1, 8, 0x27, 0x28, 0x28 + 39, 0x9f] {
        cases.both(
            Group::Header,
            &format!("property of {length:#x} bytes"),
            Fault::Header(HeaderFault::Length(length)),
        );
    }
}

fn registers(cases: &mut Cases) {
    use RegistersFault as F;
    let extra = |name: &[u8; 8]| F::ExtraEntry(*name, 0x1122_3344_5566_7788);
    for (name, fault) in [
        ("bad magic", F::Magic(0x5245_4753_4156_4501)),
        ("swapped magic", F::Magic(0x0056_4153_4745_5200)),
        ("version 1", F::Version(1)),
        ("count at 10h", F::CountAt(0x10)),
        ("count at 1ch", F::CountAt(0x1c)),
        ("count at an odd place", F::CountAt(0x13)),
        ("count offset past the end", F::SaysCountAt(0xffff_fff0)),
        ("count offset inside the header", F::SaysCountAt(0x4)),
        ("no CPUs", F::Count(0)),
        ("too many CPUs", F::Count(u32::MAX)),
        ("fewer CPUs than present", F::Count(1)),
        ("no start marker", F::NoStart),
        ("no end marker", F::NoEnd),
        ("end marker of another CPU", F::EndId(77)),
        ("a CPU twice", F::DuplicateCpu),
        ("a CPU id no kernel has", F::CpuId(0x7fff_ffff)),
        ("an unknown register", extra(b"QUUX\0\0\0\0")),
        ("GPR32", extra(b"GPR32\0\0\0")),
        ("GPR1 with one digit", extra(b"GPR1\0\0\0\0")),
        ("a name that is no text", extra(b"\xff\xfe\x01\x02\x03\x04\x05\x06")),
        ("a register twice", F::DuplicateRegister),
        ("dirty upper halves", F::DirtyUpperHalves),
        ("registers out of order", F::OutOfOrder),
        ("last entry cut after its name", F::TruncatedAt(8)),
        ("last entry cut inside its name", F::TruncatedAt(3)),
        ("offline CPUs included", F::OfflineIncluded),
        ("CPUs in descending order", F::DescendingCpus),
    ] {
        cases.both(Group::Registers, name, Fault::Registers(fault));
    }
    let offline =
        Options { cpus: vec![(0, true), (1, true), (2, false), (3, true)], ..Options::small_fadump() };
    let faults = vec![Fault::Registers(F::OfflineIncluded)];
    cases.push(Group::Registers, "an offline CPU is saved", &offline, Event::CRASH, faults);
}

fn hptes(cases: &mut Cases) {
    for (name, fault) in [
        ("bad magic", HpteFault::Magic(0x4850_5445_5341_5600)),
        ("count 0", HpteFault::Count(0)),
        ("count past the end", HpteFault::Count(170)),
        ("count that overflows", HpteFault::Count(u64::MAX)),
        ("18h and 1ch disagree", HpteFault::CountAt1c(3)),
        ("duplicate indices", HpteFault::DuplicateIndices),
    ] {
        let options = Options::small_phyp();
        cases.push(Group::Hptes, format!("HPTEs: {name}"), &options, Event::CRASH, vec![Fault::Hptes(fault)]);
    }
}

fn destinations(cases: &mut Cases) {
    cases.both(
        Group::Destinations,
        "boot memory copied over the CPU area",
        Fault::Destination(DestinationFault::OverCpuArea),
    );
    cases.both(
        Group::Destinations,
        "boot memory copied beyond RAM",
        Fault::Destination(DestinationFault::BeyondRam),
    );
    // Larger than a step of the copy, or nothing would smear.
    let large = Options {
        ram: vec![Extent::new(0, 512 * MIB)],
        boot_memory: vec![Extent::new(0, 3 * STEP)],
        boot_top: 3 * STEP,
        ..Options::small_fadump()
    };
    let inside = Fault::Destination(DestinationFault::InsideSource(STEP));
    cases.push(Group::Destinations, "boot memory copied into itself", &large, Event::CRASH, vec![inside]);
    let hole = Options {
        ram: vec![Extent::new(0, 48 * MIB), Extent::new(64 * MIB, 48 * MIB)],
        ..Options::small_fadump()
    };
    let straddling = Fault::Destination(DestinationFault::At(40 * MIB));
    cases.push(
        Group::Destinations,
        "boot memory copied across a hole",
        &hole,
        Event::CRASH,
        vec![straddling],
    );
    let mut swap = Options::small_phyp();
    swap.boot_memory = vec![Extent::new(0, 8 * MIB), Extent::new(8 * MIB, 8 * MIB)];
    let over = Fault::Destination(DestinationFault::At(32 * MIB));
    cases.push(Group::Destinations, "two regions with one destination", &swap, Event::CRASH, vec![over]);
}

fn crash_info(cases: &mut Cases) {
    use CrashInfoFault as F;
    for (name, fault) in [
        ("old magic", F::Magic(crate::crashinfo::MAGIC_INF)),
        ("swapped", F::Swapped),
        ("zero", F::Zero),
        ("version 2", F::Version(2)),
        ("unknown crashing CPU", F::CrashingCpu(u32::MAX)),
        ("crashing CPU that is not online", F::CrashingCpu(99)),
        ("crashing CPU given as PIR", F::CrashingCpu(0x810)),
    ] {
        cases.fadump(Group::CrashInfo, &format!("crash-info header: {name}"), Fault::CrashInfo(fault));
    }
    for linux in [Linux::V6_1, Linux::V6_12] {
        for pt_regs_size in [352, 384, 400] {
            for cpu_mask_size in [8, 64, 256, 1024] {
                let (mode, header) = (Mode::Fadump(linux), linux.facts().header);
                let options = Options { mode, pt_regs_size, cpu_mask_size, ..Options::small_fadump() };
                cases.machine(
                    Group::CrashInfo,
                    format!("{header:?}, pt_regs {pt_regs_size}, mask {cpu_mask_size}"),
                    options,
                );
            }
        }
    }
    cases.fadump(Group::CrashingCpu, "the crashing CPU was not saved", Fault::CrashingCpuNotSaved);
    cases.fadump(Group::CrashingCpu, "the hypervisor ended the partition", Fault::PartitionEnded);
}

fn boot_memory(cases: &mut Cases) {
    for (name, ram, saved, top) in [
        ("256 MiB", 1024, 256, 256),
        ("320 MiB", 1024, 320, 320),
        ("768 MiB", 2048, 768, 768),
        ("5 GiB", 16384, 5120, 5120),
        ("not a multiple of blocks", 1024, 300, 300),
    ] {
        let options = Options {
            ram: vec![Extent::new(0, ram * MIB)],
            lmb_size: 256 * MIB,
            boot_memory: vec![Extent::new(0, saved * MIB)],
            boot_top: top * MIB,
            ..Options::small_fadump()
        };
        cases.machine(Group::BootMemory, format!("boot memory of {name}"), options);
    }
    let gap = Options {
        ram: vec![Extent::new(0, 2048 * MIB)],
        boot_memory: vec![Extent::new(0, 256 * MIB)],
        boot_top: 512 * MIB,
        ..Options::small_phyp()
    };
    cases.machine(Group::BootMemory, "512 MiB used, 256 MiB saved", gap);
    let hole = Options {
        ram: vec![Extent::new(0, 8 * MIB), Extent::new(16 * MIB, 48 * MIB)],
        boot_memory: vec![Extent::new(0, 8 * MIB), Extent::new(16 * MIB, 8 * MIB)],
        boot_top: 24 * MIB,
        ..Options::small_fadump()
    };
    cases.machine(Group::BootMemory, "a hole in boot memory", hole);
    for regions in [7, 8, 9] {
        let boot_memory = (0..regions).map(|n| Extent::new(n * 2 * MIB, 2 * MIB)).collect();
        let options =
            Options { boot_memory, boot_top: 18 * MIB, parameter_area: false, ..Options::small_fadump() };
        cases.machine(Group::BootMemory, format!("{regions} boot memory regions"), options);
    }
}

fn blocks(cases: &mut Cases) {
    let wide = Options { ram: vec![Extent::new(0, 96 * MIB)], ..Options::small_fadump() };
    for (generation, linux) in [("listed", Linux::V6_1), ("looked up", Linux::V6_12)] {
        let options = Options { mode: Mode::Fadump(linux), parameter_area: false, ..wide.clone() };
        let block = Extent::new(80 * MIB, 16 * MIB);
        let added = vec![Fault::LmbAdded(block)];
        cases.push(Group::Blocks, format!("block added, ranges {generation}"), &options, Event::CRASH, added);
        let removed = vec![Fault::LmbRemoved(block)];
        cases.push(
            Group::Blocks,
            format!("block removed, ranges {generation}"),
            &options,
            Event::CRASH,
            removed,
        );
    }
    let partial = Options { ram: vec![Extent::new(0, 56 * MIB)], ..Options::small_fadump() };
    cases.machine(Group::Blocks, "the last block is not whole", partial);
    let ragged = Options { ram: vec![Extent::new(0, 56 * MIB + 0x3000)], ..Options::small_phyp() };
    cases.machine(Group::Blocks, "RAM ends inside a block", ragged);
}

fn pages_and_orders(cases: &mut Cases) {
    for page_size in [0x1000, 0x1_0000] {
        for aligned_destination in [false, true] {
            let name = format!("{page_size:#x} pages, destination aligned {aligned_destination}");
            for base in [Options::small_phyp(), Options::small_fadump()] {
                if base.mode == Mode::Phyp2008 && aligned_destination {
                    continue;
                }
                // A CPU section whose end is no page boundary, as 10020h or 20h + n * 4f0h.
                let options = Options { page_size, aligned_destination, cpu_section: Some(0x1_0020), ..base };
                let options = Options { firmware: Firmware::Papr, ..options };
                cases.machine(Group::PageSizes, format!("{name}, {:?}", options.mode), options);
            }
        }
    }
    for order in [ByteOrder::Big, ByteOrder::Little] {
        for firmware in [Firmware::Papr, Firmware::Qemu, Firmware::QemuLe] {
            for base in [Options::small_phyp(), Options::small_fadump()] {
                let name = format!("{order:?}-endian kernel on {firmware:?}, {:?}", base.mode);
                cases.machine(Group::ByteOrders, name, Options { order, firmware, ..base });
            }
        }
    }
}

fn kernel_side(cases: &mut Cases) {
    for (name, fault) in [
        ("cut in the ELF header", VmcoreFault::CutAt(20)),
        ("cut in the program headers", VmcoreFault::CutInProgramHeaders),
        ("cut in the notes", VmcoreFault::CutInNotes),
        ("cut in a PT_LOAD", VmcoreFault::CutInLoad),
        ("empty", VmcoreFault::Empty),
        ("no program headers", VmcoreFault::NoProgramHeaders),
        ("a PT_NULL entry", VmcoreFault::NullEntry),
    ] {
        cases.fadump(Group::Vmcore, &format!("/proc/vmcore: {name}"), Fault::Vmcore(fault));
    }
    for (name, fault) in [
        ("missing", VmcoreinfoFault::Missing),
        ("not relocated", VmcoreinfoFault::NotRelocated),
        ("truncated", VmcoreinfoFault::Truncated),
        ("two of them", VmcoreinfoFault::TwoNotes),
        ("no CRASHTIME", VmcoreinfoFault::NoCrashTime),
    ] {
        cases.both(Group::Vmcoreinfo, &format!("VMCOREINFO {name}"), Fault::Vmcoreinfo(fault));
    }
    for (name, fault) in [
        ("release_mem has vanished", SysfsFault::NoReleaseMem),
        ("the firmware does not forget", SysfsFault::InvalidateFails),
        ("property, but no /proc/vmcore", SysfsFault::Rejected),
        ("both present", SysfsFault::BothPresent),
    ] {
        cases.fadump(Group::Sysfs, name, Fault::Sysfs(fault));
    }
    cases.push(
        Group::Sysfs,
        "enabled without a dump",
        &Options::small_fadump(),
        Event::End(End::Reboot),
        Vec::new(),
    );
}

fn opal(cases: &mut Cases) {
    let regions = Options {
        boot_memory: vec![Extent::new(0, 8 * MIB), Extent::new(8 * MIB, 8 * MIB)],
        ..Options::small_opal()
    };
    cases.machine(Group::Opal, "OPAL", regions.clone());
    for (name, fault) in [
        ("a core is inactive", OpalFault::InactiveCore),
        ("thread size 0", OpalFault::ThreadSizeZero),
        ("size not a multiple", OpalFault::SizeNotMultiple),
        ("one of two regions registered", OpalFault::Registered(1)),
        ("version 2", OpalFault::Version(2)),
        ("offsets in the first thread only", OpalFault::OffsetInFirstThreadOnly),
        ("addresses with bit 63", OpalFault::FlaggedAddresses),
    ] {
        cases.push(Group::Opal, format!("OPAL: {name}"), &regions, Event::CRASH, vec![Fault::Opal(fault)]);
    }
}

fn events(cases: &mut Cases) {
    for base in [Options::small_phyp(), Options::small_fadump()] {
        for (name, event) in [
            ("ordinary reboot", Event::End(End::Reboot)),
            ("reset of a kernel that took the interlock", Event::End(End::Reset { nmi_interlock: true })),
            ("reset of a kernel that did not", Event::End(End::Reset { nmi_interlock: false })),
            ("crash without registration", Event::CrashUnregistered),
            ("crash after migration", Event::CrashAfterMigration),
            ("migrated and running", Event::Migrated),
            ("second crash, dump intact", Event::SecondCrash),
            ("second crash, dump stale", Event::StaleAfterSecondCrash),
        ] {
            cases.push(Group::Events, format!("{name}, {:?}", base.mode), &base, event, Vec::new());
        }
    }
}
