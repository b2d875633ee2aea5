//! One run of the model: register, crash, copy, reset, second boot.

use crate::copy::{self, Copied, Outcome};
use crate::crashinfo;
use crate::error::{ModelError, Result};
use crate::extent::{Extent, intersect, merged, subtract};
use crate::fadump::Fadump;
use crate::faults::{DestinationFault, Fault, SysfsFault, VmcoreinfoFault, pick};
use crate::hypervisor::{Command, End, Hypervisor, OK};
use crate::kernel::vmcoreinfo;
use crate::layout::Layout;
use crate::linux::CrashHeader;
use crate::machine::{Cpu, Machine, Mode, Options};
use crate::memory::{Memory, Tag};
use crate::notes;
use crate::opal;
use crate::structure::{KIND_REAL_MODE, Structure};
use crate::verdict;

/// What the second boot leaves on the pages it took: nothing a crashed kernel could have written.
pub const SECOND_BOOT: Tag = *b"2NDBOOT!";
/// What stands in memory as RTAS: the same in every boot.
pub const RTAS: Tag = *b"RTAS....";
/// What stands in memory as this boot's initial RAM disk.
pub const INITRD: Tag = *b"INITRD..";
/// What stands in memory as this boot's flattened device tree.
pub const DEVICE_TREE: Tag = *b"\xd0\x0d\xfe\xedFDT.";
/// What fills memory as soon as it is released.
pub const FREED: Tag = *b"FREED!!!";

/// What happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It registers, and ends this way.
    End(End),
    /// It crashes without having registered: a missed dump.
    CrashUnregistered,
    /// It registers, moves to another machine, and crashes there.
    CrashAfterMigration,
    /// It registers and moves to another machine, and runs on believing that it is registered.
    Migrated,
    /// It crashes; the dump is not taken; the second system, which only ever used boot memory, crashes too.
    SecondCrash,
    /// It crashes; the dump is released but the firmware does not forget it; the second system, in all of memory,
    /// crashes too. The property is stale.
    StaleAfterSecondCrash,
}

impl Event {
    /// The ordinary crash.
    pub const CRASH: Self = Self::End(End::OsTerm);
}

/// How thoroughly the second boot overwrites its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dirt {
    /// Every byte.
    #[default]
    Whole,
    /// Zeros, with the first 64 bytes of every page stamped: cheap on disk for machines of real size.
    Stamps,
}

/// What was there when the machine crashed, and what of it can still be found.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Memory at the moment of the crash.
    pub image: Memory,
    /// The machine's RAM then.
    pub ram: Vec<Extent>,
    /// What the first kernel had reserved for the dump: absent from it.
    pub reserved: Vec<Extent>,
    /// Where boot memory can be found.
    pub copied: Vec<Copied>,
    /// Bytes of RAM, outside the reserved area, that can be found nowhere.
    pub lost: Vec<Extent>,
    /// The processors that ran, in the order of the machine.
    pub cpus: Vec<Cpu>,
    /// The one that crashed, if the kernel could say so.
    pub crashing_cpu: Option<u32>,
    /// The VMCOREINFO note in memory at the crash.
    pub vmcoreinfo: Option<Extent>,
}

/// What OPAL firmware answers when asked for its tags.
#[derive(Clone, Debug)]
pub struct OpalLeavings {
    /// Tag 0.
    pub cpu_metadata: Vec<u8>,
    /// Tag 2, as it is in memory.
    pub kernel_metadata: Vec<u8>,
    /// Tag 3.
    pub boot_memory_top: u64,
}

/// A machine after its second boot.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the machine was made from.
    pub options: Options,
    /// What went wrong.
    pub faults: Vec<Fault>,
    /// What happened.
    pub event: Event,
    /// The first kernel's reservation.
    pub layout: Layout,
    /// The firmware now.
    pub hypervisor: Hypervisor,
    /// Memory now.
    pub memory: Memory,
    /// RAM that the kernel knew when it registered.
    pub ram_at_registration: Vec<Extent>,
    /// RAM that the second kernel sees.
    pub ram_now: Vec<Extent>,
    /// The structure with results, if the firmware made a dump in its last act.
    pub structure: Option<Structure>,
    /// OPAL's answers, if it made a dump.
    pub opal: Option<OpalLeavings>,
    /// What was there, whether or not a dump was made of it.
    pub truth: Truth,
    /// Why the second kernel would not take the dump; `None` if it would, or if there is none.
    ///
    /// Such a kernel makes no `/proc/vmcore`, and it gives the dump's memory away before any program runs
    /// ([`Run::refuse`]). That has happened here only with [`SysfsFault::Rejected`], where memory had been used before anyway
    /// ([`Event::StaleAfterSecondCrash`]), and after [`Run::crash_again`]: otherwise memory is as the hypervisor left it, for
    /// tools that come before the kernel.
    pub rejected: Option<&'static str>,
    /// `ibm,kernel-dump` as the running kernel's device tree has it, which no kernel edits: it stays when the firmware has
    /// forgotten the dump, until the next boot.
    pub kernel_dump: Option<Vec<u8>>,
    /// What the running kernel knows of fadump.
    pub fadump: Fadump,
}

/// Runs a machine through `event` with `faults`.
///
/// # Errors
///
/// The machine has no room for a dump, the hypervisor refuses the registration, or memory cannot be accessed.
pub fn run(mut machine: Machine, event: Event, faults: &[Fault], dirt: Dirt) -> Result<Run> {
    let options = machine.options.clone();
    let Ram { at_registration, now: ram_now, removed } = Ram::of(&options, faults);

    machine.options.ram = at_registration.clone();
    let layout = Layout::plan(&machine.options)?;
    let mut hypervisor = Hypervisor::new(options.firmware);
    hypervisor.invalidate_fails = faults.contains(&Fault::Sysfs(SysfsFault::InvalidateFails));
    if options.mode != Mode::Opal && event != Event::CrashUnregistered {
        register(&machine, &layout, &mut hypervisor, faults)?;
    }

    machine.options.ram = ram_now.clone();
    let ended = faults.contains(&Fault::PartitionEnded);
    vmcoreinfo::spoil(&mut machine, faults, ended)?;
    crashinfo::write(&mut machine, &layout, faults)?;
    for extent in &removed {
        machine.memory.clear(*extent)?;
    }
    if let Some(rtas) = options.rtas {
        machine.memory.fill(rtas, RTAS)?;
    }
    let ram = Ram { at_registration, now: ram_now, removed };
    Crash { options, ram, layout, hypervisor, event, faults, dirt, ended }.happens(machine)
}

/// A crash, or another end, of a machine that is ready for it.
pub(crate) struct Crash<'a> {
    /// What the machine was made from.
    pub(crate) options: Options,
    /// Its memory, as it came and went.
    pub(crate) ram: Ram,
    /// Its reservation.
    pub(crate) layout: Layout,
    /// Its firmware, which has the registration if there is one.
    pub(crate) hypervisor: Hypervisor,
    /// What happens.
    pub(crate) event: Event,
    /// What goes wrong.
    pub(crate) faults: &'a [Fault],
    /// How thoroughly the next boot overwrites its memory.
    pub(crate) dirt: Dirt,
    /// The kernel had no say in it.
    pub(crate) ended: bool,
}

impl Crash<'_> {
    /// It happens; the machine boots, and the next kernel looks at what it finds.
    pub(crate) fn happens(self, mut machine: Machine) -> Result<Run> {
        let Self { options, ram, layout, mut hypervisor, event, faults, dirt, ended } = self;
        let image = machine.memory.clone();
        let outcome = copy_and_reset(&mut machine, &mut hypervisor, &layout, event, faults)?;
        let opal = (options.mode == Mode::Opal && outcome.is_some())
            .then(|| opal_leavings(&machine, &layout, faults));
        let structure = outcome.as_ref().map(|outcome| outcome.structure.clone());
        let (mut copied, mut written) = outcome.map(|o| (o.copied, o.written)).unwrap_or_default();
        let above = Extent::between(options.boot_top, options.ram_end());
        boot_again(&mut machine, &mut hypervisor, event, dirt, above, &mut copied, &mut written)?;

        let reserved = vec![layout.reserved];
        let truth = Truth {
            image,
            ram: options.ram.clone(),
            lost: if event == Event::Migrated {
                Vec::new()
            } else {
                lost(&subtract(&options.ram, &reserved), &copied, written, &ram.removed)
            },
            reserved,
            copied,
            cpus: machine.online().cloned().collect(),
            crashing_cpu: if ended { None } else { options.crashing_cpu },
            vmcoreinfo: machine.vmcoreinfo,
        };
        let mut run = Run {
            rejected: None,
            kernel_dump: hypervisor.property().map(<[u8]>::to_vec),
            fadump: Fadump::default(),
            options,
            faults: faults.to_vec(),
            event,
            layout,
            hypervisor,
            memory: machine.memory,
            ram_at_registration: ram.at_registration,
            ram_now: ram.now,
            structure,
            opal,
            truth,
        };
        run.rejected = verdict::refusal(&run);
        if event == Event::Migrated {
            // The boot goes on in which it registered.
            run.fadump = Fadump { enabled: true, registered: true, ..Fadump::default() };
            return Ok(run);
        }
        run.setup_fadump()?;
        let used_before = event == Event::StaleAfterSecondCrash && run.rejected.is_some();
        if used_before || run.has(&Fault::Sysfs(SysfsFault::Rejected)) {
            run.refuse()?;
        }
        Ok(run)
    }
}

/// RAM before and after memory blocks came and went.
pub(crate) struct Ram {
    /// What the kernel knew when it registered.
    pub(crate) at_registration: Vec<Extent>,
    /// What is there at the crash and afterwards.
    pub(crate) now: Vec<Extent>,
    /// What went away in between.
    pub(crate) removed: Vec<Extent>,
}

impl Ram {
    fn of(options: &Options, faults: &[Fault]) -> Self {
        let added = pick(faults, |fault| match fault {
            Fault::LmbAdded(extent) => Some(*extent),
            _ => None,
        });
        let removed = pick(faults, |fault| match fault {
            Fault::LmbRemoved(extent) => Some(*extent),
            _ => None,
        });
        let (added, removed) = (merged(added.collect()), merged(removed.collect()));
        Self {
            at_registration: subtract(&options.ram, &added),
            now: subtract(&options.ram, &removed),
            removed,
        }
    }
}

/// The machine ends; the firmware copies, if it makes a dump of this event, and resets it.
fn copy_and_reset(
    machine: &mut Machine,
    hypervisor: &mut Hypervisor,
    layout: &Layout,
    event: Event,
    faults: &[Fault],
) -> Result<Option<Outcome>> {
    match event {
        Event::CrashUnregistered => Ok(None),
        Event::CrashAfterMigration | Event::Migrated => {
            hypervisor.migrate();
            Ok(None)
        }
        Event::End(End::Reboot) if machine.options.mode == Mode::Opal => Ok(None),
        _ if machine.options.mode == Mode::Opal => opal_copy(machine, layout, faults).map(Some),
        Event::End(how) => hypervisor.end(machine, how, faults),
        Event::SecondCrash | Event::StaleAfterSecondCrash => hypervisor.end(machine, End::OsTerm, faults),
    }
}

/// The second boot, and what the second system does after it. Takes from `copied` what is overwritten, and adds to
/// `written` what was.
fn boot_again(
    machine: &mut Machine,
    hypervisor: &mut Hypervisor,
    event: Event,
    dirt: Dirt,
    above: Extent,
    copied: &mut Vec<Copied>,
    written: &mut Vec<Extent>,
) -> Result<()> {
    if event == Event::Migrated {
        return Ok(());
    }
    let boot = Extent::new(0, machine.options.boot_top);
    second_boot(machine, boot, dirt)?;
    copy::overwrite(copied, boot);
    written.push(boot);
    if let Some(rtas) = machine.options.rtas {
        // Before the kernel starts; in the dump area it overwrites the copy of boot memory.
        machine.memory.fill(rtas, RTAS)?;
        copy::overwrite(copied, rtas);
    }
    // What only this boot has there: in memory that was left in place, too, the crashed system's is gone.
    let options = &machine.options;
    for (place, tag) in [(options.initrd, INITRD), (options.device_tree, DEVICE_TREE)] {
        let Some(place) = place else { continue };
        machine.memory.fill(place, tag)?;
        copy::overwrite(copied, place);
        written.push(place);
    }
    if event == Event::SecondCrash {
        // The second system never registered: a dump was active. It ends in a plain reboot.
        hypervisor.end(machine, End::OsTerm, &[])?;
    }
    if event == Event::StaleAfterSecondCrash {
        for extent in intersect(&machine.options.ram, &[above]) {
            machine.memory.fill(extent, FREED)?;
        }
        copied.clear();
        written.push(above);
        hypervisor.end(machine, End::OsTerm, &[])?;
    }
    Ok(())
}

/// The parts of `outside`, RAM without the reserved area, that are neither in place any more nor in a copy.
fn lost(outside: &[Extent], copied: &[Copied], written: Vec<Extent>, removed: &[Extent]) -> Vec<Extent> {
    let found = merged(copied.iter().map(|copy| copy.source).collect());
    let overwritten = subtract(&intersect(outside, &merged(written)), &found);
    merged([overwritten, intersect(outside, removed)].concat())
}

fn register(machine: &Machine, layout: &Layout, hypervisor: &mut Hypervisor, faults: &[Fault]) -> Result<()> {
    let structure = layout.structure().bytes();
    let length = structure.len() as u64;
    // The kernel's copy of the structure is a static variable somewhere in its image.
    let status = hypervisor.configure(&machine.options, Command::Register, 0x1000, &structure, length);
    if status != OK {
        return Err(ModelError::Refused { status });
    }
    for fault in pick(faults, |fault| match fault {
        Fault::Destination(fault) => Some(*fault),
        _ => None,
    }) {
        let ram_end = machine.options.ram_end();
        hypervisor.alter(|structure| {
            let cpu = structure.sections[0].destination;
            if let Some(boot) = structure.sections.iter_mut().find(|section| section.kind == KIND_REAL_MODE) {
                boot.destination = match fault {
                    DestinationFault::OverCpuArea => cpu,
                    DestinationFault::InsideSource(bytes) => boot.source + bytes,
                    DestinationFault::BeyondRam => ram_end - machine.options.page_size,
                    DestinationFault::At(address) => address,
                };
            }
        });
    }
    Ok(())
}

/// OPAL's answers after it made a dump.
fn opal_leavings(machine: &Machine, layout: &Layout, faults: &[Fault]) -> OpalLeavings {
    let cpu_data = opal::cpu_data(machine, faults).len() as u64;
    OpalLeavings {
        cpu_metadata: opal::cpu_metadata(machine, layout, cpu_data, faults),
        kernel_metadata: opal::kernel_metadata(layout, faults),
        boot_memory_top: machine.options.boot_top,
    }
}

/// What OPAL's firmware copies: the registered boot memory regions, and the CPU data.
fn opal_copy(machine: &mut Machine, layout: &Layout, faults: &[Fault]) -> Result<Outcome> {
    let mut outcome =
        Outcome { structure: Structure::new(Vec::new()), copied: Vec::new(), written: Vec::new() };
    let metadata = opal::kernel_metadata(layout, faults);
    if let Some(place) = layout.opal_metadata {
        machine.memory.write(place.start, &metadata)?;
    }
    machine.memory.write(layout.cpu.start, &opal::cpu_data(machine, faults))?;
    for (region, to) in layout.boot.iter().take(opal::registered_regions(layout, faults)) {
        copy::copy_tracked(machine, *region, *to, &mut outcome)?;
    }
    Ok(outcome)
}

/// The second kernel boots in `boot` and leaves nothing there as it was.
fn second_boot(machine: &mut Machine, boot: Extent, dirt: Dirt) -> Result<()> {
    for extent in intersect(&machine.options.ram, &[boot]) {
        match dirt {
            Dirt::Whole => machine.memory.fill(extent, SECOND_BOOT)?,
            Dirt::Stamps => machine.memory.stamp(extent, SECOND_BOOT, machine.options.page_size)?,
        }
    }
    Ok(())
}

impl Run {
    /// The machine as it is now, its memory included.
    pub(crate) fn machine(&self) -> Result<Machine> {
        let options = Options { ram: self.ram_now.clone(), ..self.options.clone() };
        Machine::with_memory(options, self.memory.clone(), self.truth.vmcoreinfo)
    }

    /// Whether a dump is pending, as the firmware sees it.
    pub fn dump_waits(&self) -> bool {
        self.hypervisor.property().is_some() || self.opal.is_some()
    }

    /// Whether the second kernel lists memory as the first one knew it (before 6.10), not as it is.
    pub fn lists_ranges_at_registration(&self) -> bool {
        self.options.mode.facts().is_some_and(|facts| facts.header == CrashHeader::Inf)
    }

    /// Whether `fault` is part of this run.
    pub fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// Bytes of the section with type `kind` now, as many as the firmware says it copied.
    ///
    /// # Errors
    ///
    /// The section lies outside memory.
    pub fn section_bytes(&self, kind: u16) -> Result<Option<Vec<u8>>> {
        let Some(structure) = &self.structure else { return Ok(None) };
        let Some(section) = structure.sections.iter().find(|section| section.kind == kind) else {
            return Ok(None);
        };
        self.memory.bytes(section.destination, section.copied).map(Some)
    }

    /// The notes of `/proc/vmcore`: one `NT_PRSTATUS` per saved CPU, then VMCOREINFO as far as memory has it.
    ///
    /// # Errors
    ///
    /// Memory cannot be read.
    pub fn kernel_notes(&self) -> Result<Vec<u8>> {
        let order = self.options.order;
        let mut out = Vec::new();
        for cpu in &self.truth.cpus {
            let crashed = Some(cpu.id) == self.truth.crashing_cpu;
            if crashed {
                out.extend(notes::prstatus(order, &cpu.registers.pt_regs()));
            } else {
                out.extend(notes::prstatus(order, &notes::firmware_words(&cpu.registers)));
            }
        }
        let not_relocated = self.has(&Fault::Vmcoreinfo(VmcoreinfoFault::NotRelocated));
        if let Some(note) = self.truth.vmcoreinfo {
            let from = if not_relocated {
                note.start
            } else {
                self.layout.copy_of(note.start).unwrap_or(note.start)
            };
            let bytes = self.memory.bytes(from, note.length)?;
            // The kernel looks at the note header; what the second boot has overwritten is dropped.
            if bytes.get(12..22) == Some(b"VMCOREINFO") {
                out.extend(bytes);
            }
        }
        Ok(out)
    }
}
