//! What a tool finds after the second boot, as a directory laid out like the machine's root.

use std::fmt::Write as _;
use std::path::Path;

use crate::Firmware;
use crate::error::Result;
use crate::extent::Extent;
use crate::faults::{Fault, SysfsFault};
use crate::layout::Layout;
use crate::machine::Mode;
use crate::scenario::{Event, Run};
use crate::shown::surroundings;
use crate::structure::{KIND_CPU, KIND_HPTE, KIND_PARAMETER, KIND_REAL_MODE};
use crate::tree::{FadumpFiles, MemoryNodes, Tree};
use crate::vmcore;

/// Spellings of `/sys/kernel/release_region`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReleaseText {
    /// As shipped: a freshly initialised header, that is offsets and zeros; only the last pair is real.
    #[default]
    Shipped,
    /// As shipped, where the early scan missed the dump and only the scratch area was reserved.
    ShippedEarlyScanMissed,
    /// As the seed document prints it: absolute, in two lines, the CPU length short by its header, a fourth pair
    /// that fits nothing, upper-case digits.
    Document,
    /// Absolute and right, with lengths as the firmware copied them.
    Absolute,
}

/// Generations of `/sys/kernel/debug/powerpc/fadump_region`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegionText {
    /// 3.4 to 5.3.
    A,
    /// About 5.4 to 6.9.
    B,
    /// 6.10 and later.
    #[default]
    C,
}

/// What to write into a root directory.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// Whether `/proc/vmcore` is written, where the second kernel would have one.
    pub vmcore: bool,
    /// Whether `/dev/mem` is written.
    pub memory: bool,
    /// Spelling of `release_region`.
    pub release_region: ReleaseText,
    /// Generation of `fadump_region`.
    pub fadump_region: RegionText,
    /// How the device tree describes memory.
    pub memory_nodes: MemoryNodes,
    /// Whether firmware shows `ibm,dump-kernel`, the property only the early scan of phyp-dump knows.
    pub early_property: bool,
}

impl Default for RootOptions {
    fn default() -> Self {
        Self {
            vmcore: true,
            memory: true,
            release_region: ReleaseText::default(),
            fadump_region: RegionText::default(),
            memory_nodes: MemoryNodes::default(),
            early_property: false,
        }
    }
}

/// Writes the root directory of a run.
///
/// Beside what a machine has, OPAL's answers, which only the kernel can ask for, stand in `opal-mpipl/`:
/// `cpu-metadata` (tag 0), `kernel-metadata` (tag 2) and `boot-memory-top` (tag 3, eight bytes).
///
/// # Errors
///
/// A file cannot be written.
pub fn write(run: &Run, root: &Path, options: &RootOptions) -> Result<()> {
    let tree = Tree::new(root)?;
    tree.memory(&run.ram_now, run.options.lmb_size, options.memory_nodes)?;
    // The machine's own identity: it changes when the partition moves to another one.
    let moved = matches!(run.event, Event::Migrated | Event::CrashAfterMigration);
    tree.property("system-id", if moved { b"IBM,02MODEL02\0" } else { b"IBM,02MODEL01\0" })?;
    if run.event != Event::CrashUnregistered {
        // Neither firmware nor kernel keeps this: the program that registered has to note where.
        tree.file("var/lib/hadump/registered-on", 0o644, b"IBM,02MODEL01\n")?;
    }
    tree.property(
        "compatible",
        if run.options.mode == Mode::Opal { b"ibm,powernv\0" } else { b"IBM,pSeries\0" },
    )?;
    if !run.options.reserved_ranges.is_empty() {
        let cells = run.options.reserved_ranges.iter();
        let cells: Vec<u8> =
            cells.flat_map(|r| [r.start.to_be_bytes(), r.length.to_be_bytes()].concat()).collect();
        tree.property("reserved-ranges", &cells)?;
    }
    match run.options.mode {
        Mode::Opal => opal(run, &tree)?,
        _ => {
            let sizes = [
                (u32::from(KIND_CPU), run.layout.cpu.length),
                (u32::from(KIND_HPTE), run.layout.hpte.length),
            ];
            tree.rtas(&sizes, run.kernel_dump.as_deref())?;
        }
    }
    if options.early_property
        && let Some(property) = &run.kernel_dump
    {
        tree.property("rtas/ibm,dump-kernel", property)?;
    }
    if matches!(run.event, Event::CrashUnregistered | Event::CrashAfterMigration) {
        // No dump was made, so panic() continued to the kmsg dumpers: nvram keeps the last of the log.
        let text = b"Panic#1 Part1\n<0>[  122.713906] Kernel panic - not syncing: sysrq triggered crash\n";
        tree.file("sys/fs/pstore/dmesg-nvram-0", 0o444, text)?;
    }
    if run.options.mode == Mode::Phyp2008 {
        phyp(run, &tree, options)?;
    } else {
        fadump(run, &tree, options)?;
    }
    surroundings::write(run, &tree)?;
    if options.memory {
        let path = tree.parent("dev/mem")?;
        run.memory.write_raw(&path)?;
    }
    Ok(())
}

fn opal(run: &Run, tree: &Tree) -> Result<()> {
    tree.property("ibm,opal/dump/compatible", b"ibm,opal-dump\0")?;
    let areas = [0x2000_0000u64, 0x0800_0000, 0x2800_0000, 0x0800_0000];
    let areas: Vec<u8> = areas.iter().flat_map(|word| word.to_be_bytes()).collect();
    tree.property("ibm,opal/dump/fw-load-area", &areas)?;
    let Some(leavings) = &run.opal else { return Ok(()) };
    tree.property("ibm,opal/dump/mpipl-boot", b"")?;
    tree.file("opal-mpipl/cpu-metadata", 0o400, &leavings.cpu_metadata)?;
    tree.file("opal-mpipl/kernel-metadata", 0o400, &leavings.kernel_metadata)?;
    tree.file("opal-mpipl/boot-memory-top", 0o400, &leavings.boot_memory_top.to_be_bytes())
}

/// The 2008 kernel: a file to release ranges if a dump is pending without error, else one that shows its registration.
fn phyp(run: &Run, tree: &Tree, options: &RootOptions) -> Result<()> {
    let error =
        run.hypervisor.property().and_then(crate::copy::status_of).is_some_and(|status| status & 0x2000 != 0);
    if run.dump_waits() && !error {
        let text = release_region(run, options.release_region);
        tree.file("sys/kernel/release_region", 0o600, text.as_bytes())
    } else {
        let text = format!("0x{:x}\n", run.layout.reserved.start);
        tree.file("sys/kernel/phyp_dump_active", 0o600, text.as_bytes())
    }
}

/// The text of `/sys/kernel/release_region`.
pub fn release_region(run: &Run, text: ReleaseText) -> String {
    let Layout { cpu, hpte, boot, .. } = &run.layout;
    let (source, copy) = boot.first().copied().unwrap_or((Extent::new(0, 0), 0));
    let reserve = Extent::between(run.options.boot_top, run.options.ram_end());
    let scratch = cpu.length + hpte.length + source.length.max(run.options.boot_top);
    let copied = |kind| {
        let sections = run.structure.iter().flat_map(|structure| &structure.sections);
        sections.into_iter().find(|section| section.kind == kind).map_or(0, |section| section.copied)
    };
    let shipped = |start: u64, length: u64| {
        let (to_hpte, to_boot) = (cpu.length, cpu.length + hpte.length);
        format!("CPU:0x0-0x0: HPTE:{to_hpte:#x}-0x0: DUMP:{to_boot:#x}-0x0, {start:#x}-{length:#x}:\n")
    };
    match text {
        ReleaseText::Shipped => shipped(reserve.start, reserve.length.saturating_sub(scratch)),
        ReleaseText::ShippedEarlyScanMissed => shipped(run.options.ram_end() - scratch, 0),
        ReleaseText::Document => format!(
            "CPU:{:#x}-{:#x}: HPTE:{:#x}-{:#x}: /\nDUMP:{copy:#x}-{:#x}, {:#x}-0x{:X}\n",
            cpu.start,
            cpu.length.saturating_sub(0x20),
            hpte.start,
            hpte.length,
            source.length,
            reserve.start,
            // The seed's own number, on its own machine; elsewhere one that overlaps the scratch area likewise.
            if run.options.ram_end() == 0x1_8800_0000 { 0x1_6F1D_370A } else { cpu.start + 0xA },
        ),
        ReleaseText::Absolute => format!(
            "CPU:{:#x}-{:#x}: HPTE:{:#x}-{:#x}: DUMP:{copy:#x}-{:#x}, {:#x}-{:#x}:\n",
            cpu.start,
            copied(KIND_CPU),
            hpte.start,
            copied(KIND_HPTE),
            copied(KIND_REAL_MODE),
            reserve.start,
            cpu.start.saturating_sub(reserve.start),
        ),
    }
}

fn fadump(run: &Run, tree: &Tree, options: &RootOptions) -> Result<()> {
    let Some(facts) = run.options.mode.facts() else { return Ok(()) };
    tree.fadump(&FadumpFiles {
        enabled: run.fadump.enabled,
        registered: run.fadump.registered,
        mem_reserved: if run.fadump.enabled { run.layout.reserved.length } else { 0 },
        hotplug_ready: facts.hotplug_ready,
        bootargs_append: run.bootargs_append()?,
        release_mem: run.fadump.had_dump && !run.has(&Fault::Sysfs(SysfsFault::NoReleaseMem)),
        old_names: facts.old_names,
    })?;
    let text = fadump_region(run, options.fadump_region)?;
    tree.file("sys/kernel/debug/powerpc/fadump_region", 0o444, text.as_bytes())?;
    if options.vmcore && (run.fadump.vmcore || run.has(&Fault::Sysfs(SysfsFault::BothPresent))) {
        vmcore::write(run, &tree.parent("proc/vmcore")?)?;
    }
    Ok(())
}

/// The text of `/sys/kernel/debug/powerpc/fadump_region` (`rtas_fadump_region_show`, `opal_fadump_region_show`).
///
/// While a dump is active the kernel shows the firmware's structure, with what was copied; else its own, in which nothing was:
/// "Dumped: 0x0" everywhere, and no line "Memory above", both after a release or a refusal and once it is registered.
///
/// # Errors
///
/// The parameter area cannot be read.
pub fn fadump_region(run: &Run, generation: RegionText) -> Result<String> {
    let active = run.fadump.dump_active;
    let mut out = String::new();
    if !run.fadump.enabled {
        return Ok(out);
    }
    // `%#016llx`: the prefix counts, so fourteen digits.
    let inclusive = |start: u64, length: u64| {
        format!("[{start:#016x}-{:#016x}]", start.wrapping_add(length).wrapping_sub(1))
    };
    let planned = run.layout.structure();
    let found = run.structure.as_ref().filter(|_| active && run.options.mode != Mode::Opal);
    let structure = found.unwrap_or(&planned);
    let appended = run.bootargs_append()?.unwrap_or_default();
    let registered = match run.options.mode {
        Mode::Opal => crate::opal::registered_regions(&run.layout, &run.faults),
        _ => usize::MAX,
    };
    let mut last_dumped = 0;
    let mut region = 0;
    for section in &structure.sections {
        let place = inclusive(section.destination, section.requested);
        let (requested, copied) = (section.requested, section.copied);
        let gap = if generation == RegionText::A { " " } else { "" };
        // Writing to a String cannot fail.
        _ = match section.kind {
            KIND_CPU | KIND_HPTE if run.options.mode == Mode::Opal => Ok(()),
            KIND_CPU => writeln!(out, "CPU :{gap}{place} {requested:#x} bytes, Dumped: {copied:#x}"),
            KIND_HPTE => writeln!(out, "HPTE:{gap}{place} {requested:#x} bytes, Dumped: {copied:#x}"),
            KIND_REAL_MODE if generation == RegionText::A => {
                writeln!(out, "DUMP: {place} {requested:#x} bytes, Dumped: {copied:#x}")
            }
            KIND_REAL_MODE => {
                // OPAL's loop does not reset the number for regions that were never registered.
                if run.options.mode == Mode::Opal {
                    last_dumped = if active && region < registered { requested } else { last_dumped };
                } else {
                    last_dumped = copied;
                }
                region += 1;
                writeln!(
                    out,
                    "DUMP: Src: {:#016x}, Dest: {:#016x}, Size: {requested:#x}, Dumped: {last_dumped:#x} bytes",
                    section.source, section.destination
                )
            }
            KIND_PARAMETER if generation == RegionText::C => {
                writeln!(out, "\n{place}: cmdline append: '{appended}'")
            }
            _ => Ok(()),
        };
    }
    if active {
        let (top, start) = (run.options.boot_top, run.layout.cpu.start);
        _ = match generation {
            RegionText::A => {
                writeln!(
                    out,
                    "    : {} {:#x} bytes, Dumped: {1:#x}",
                    inclusive(top, start - top),
                    start - top
                )
            }
            _ => writeln!(out, "\nMemory above {top:#016x} is reserved for saving crash dump"),
        };
    }
    Ok(out)
}

/// A few lines for a person: what was made, and where things lie.
pub fn describe(run: &Run) -> String {
    let mut out = String::new();
    let firmware = match run.options.firmware {
        Firmware::Papr => "PAPR",
        Firmware::Qemu => "QEMU",
        Firmware::QemuLe => "QEMU on a little-endian host",
    };
    _ = writeln!(out, "{:?} on {firmware}, {} MiB of RAM", run.options.mode, run.options.ram_end() >> 20);
    _ = writeln!(out, "reserved    {:#x} + {:#x}", run.layout.reserved.start, run.layout.reserved.length);
    for (region, copy) in &run.layout.boot {
        _ = writeln!(out, "boot memory {:#x} + {:#x}, copied to {copy:#x}", region.start, region.length);
    }
    for lost in &run.truth.lost {
        _ = writeln!(out, "lost        {:#x} + {:#x}", lost.start, lost.length);
    }
    for (name, extent) in crate::release::clashes(run) {
        _ = writeln!(out, "a release frees {name} at {:#x} + {:#x}", extent.start, extent.length);
    }
    let state = if run.dump_waits() { "a dump waits" } else { "no dump waits" };
    _ = writeln!(
        out,
        "{state}{}",
        run.rejected.map_or(String::new(), |why| format!("; the kernel rejected it: {why}"))
    );
    out
}
