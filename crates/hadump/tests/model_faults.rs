//! Every fault of the hypervisor model's catalogue, and what becomes of the dump.
//!
//! A case that the table does not name has the outcome of a sound dump: every page that the truth has, with its bytes;
//! what is lost, and only that, said to be lost; one set of registers for each CPU that ran. The table names the
//! others, each with its reason.

mod common;

use self::{Cpus as C, Pages as P};
use common::model::{assembled, nothing_is_wrong, pages_are_right};
use phyp_model::Mode;
use phyp_model::catalogue::Group::{self, *};
use phyp_model::catalogue::{Case, catalogue};
use phyp_model::extent;
use phyp_model::notes;
use phyp_model::root::RootOptions;
use phyp_model::scenario::{self, Dirt, Run};
use vmcore::{Dump, Note, Notes};

/// What becomes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    /// Exactly what the truth has.
    True,
    /// More is said to be lost or absent, or the reserved area is in the dump too; no page that the crashed system had
    /// has other bytes.
    NoneWrong,
    /// The leavings do not tell where the truth lies: pages can be wrong, and no tool could know.
    CannotBeKnown,
    /// There is no dump.
    NoDump,
    /// The firmware does not accept the registration, so there is nothing to crash.
    Refused,
}

/// What becomes of the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cpus {
    /// Those of every CPU that ran, the crashed one's as the kernel wrote them.
    True,
    /// Some are missing; the others are right, each CPU's at its place.
    SomeEmpty,
    /// A CPU has no place at all; the others' registers are right.
    SomeMissing,
    /// None.
    Gone,
    /// Those of every CPU that ran, all as the firmware saved them: which one crashed is not known.
    Firmware,
    /// What the leavings say contradicts the truth, and no tool could know.
    CannotBeKnown,
}

struct Row {
    /// `None` for what fits any group.
    group: Option<Group>,
    /// What the case's name contains.
    name: &'static str,
    pages: Pages,
    cpus: Cpus,
    /// What is said about it; empty where the case is like a sound dump.
    says: &'static str,
    why: &'static str,
}

const fn row(
    group: Group,
    pages: Pages,
    cpus: Cpus,
    name: &'static str,
    says: &'static str,
    why: &'static str,
) -> Row {
    Row { group: Some(group), name, pages, cpus, says, why }
}

const NO_AREA: &str = "the firmware's area is the only place that has them";
const HEADER: &str = "the crash-info header has those of the CPU that crashed, and a mask of the others";
const MORE: &str = "what follows a destination may be overwritten, so it is not believed";
const IN_FULL: &str = "a flag is a doubt; the bytes are all there";
const NO_BOOT: &str =
    "the section of boot memory is cut off, so all that the second boot may have used is lost";
const MOVED: &str = "a wrong destination leads to a wrong dump area, and nothing else says where that was";
const STATUS: &str = "memory was used again and looks like any other; `hadump status` says so";
const NOTHING: &str = "there is none";

/// The first row that fits a case counts.
#[rustfmt::skip] // One case a line, to be read in columns.
const TABLE: &[Row] = &[
    row(Copies,       P::True,          C::Gone,          "CPU state copied 0, phyp", "nothing of 0x10020 bytes was copied", NO_AREA),
    row(Copies,       P::True,          C::SomeEmpty,     "CPU state copied 0, fadump", "nothing of 0x13e0 bytes was copied", HEADER),
    row(Copies,       P::True,          C::SomeEmpty,     "CPU state short by a page, fadump", "bytes were copied", HEADER),
    row(Copies,       P::True,          C::SomeEmpty,     "CPU state half, fadump", "bytes were copied", HEADER),
    row(Copies,       P::True,          C::True,          "CPU state short", "bytes were copied", "the area has room to spare"),
    row(Copies,       P::True,          C::True,          "CPU state half", "bytes were copied", "the area has room to spare"),
    row(Copies,       P::True,          C::True,          "CPU state said to be more", "were requested", MORE),
    row(Copies,       P::True,          C::True,          "HPTEs said to be more by 1 byte, phyp", "were requested", MORE),
    row(Copies,       P::True,          C::True,          "HPTEs said to be more by a page, phyp", "were requested", MORE),
    row(Copies,       P::NoneWrong,     C::True,          "boot memory said to be more by a page, fadump", "was copied too long", MORE),
    row(Copies,       P::True,          C::True,          "boot memory said to be more", "were requested", MORE),
    row(Flags,        P::True,          C::Gone,          "CPU state with error 0x8000, not copied, phyp", "error flag 0x8000", NO_AREA),
    row(Flags,        P::True,          C::Gone,          "CPU state with error 0x4000, not copied, phyp", "error flag 0x4000", NO_AREA),
    row(Flags,        P::True,          C::Gone,          "CPU state with error 0x2000, not copied, phyp", "error flag 0x2000", NO_AREA),
    row(Flags,        P::True,          C::Gone,          "CPU state with error 0x1000, not copied, phyp", "error flag 0x1000", NO_AREA),
    row(Flags,        P::True,          C::Gone,          "CPU state with error 0x800, not copied, phyp", "error flag 0x0800", NO_AREA),
    row(Flags,        P::True,          C::SomeEmpty,     "CPU state with error 0x8000, not copied", "error flag 0x8000", HEADER),
    row(Flags,        P::True,          C::SomeEmpty,     "CPU state with error 0x4000, not copied", "error flag 0x4000", HEADER),
    row(Flags,        P::True,          C::SomeEmpty,     "CPU state with error 0x2000, not copied", "error flag 0x2000", HEADER),
    row(Flags,        P::True,          C::SomeEmpty,     "CPU state with error 0x1000, not copied", "error flag 0x1000", HEADER),
    row(Flags,        P::True,          C::SomeEmpty,     "CPU state with error 0x800, not copied", "error flag 0x0800", HEADER),
    row(Flags,        P::True,          C::True,          "CPU state with error", "error flag", IN_FULL),
    row(Flags,        P::True,          C::True,          "boot memory with error", "error flag", IN_FULL),
    row(Header,       P::True,          C::True,          "sections claimed", "", "those that follow are read"),
    row(Header,       P::NoneWrong,     C::CannotBeKnown, "property of 0x28 bytes", "contains 0", NO_BOOT),
    row(Header,       P::NoneWrong,     C::CannotBeKnown, "property of 0x4f bytes", "contains 0", NO_BOOT),
    row(Header,       P::NoneWrong,     C::CannotBeKnown, "property of 0x9f bytes", "contains 2", NO_BOOT),
    row(Header,       P::NoDump,        C::Gone,          "property of", "expected at least 40", "the structure's header is cut"),
    row(Registers,    P::True,          C::Gone,          "bad magic, phyp", "magic at offset 0x0 is", NO_AREA),
    row(Registers,    P::True,          C::Gone,          "swapped magic, phyp", "magic at offset 0x0 is", NO_AREA),
    row(Registers,    P::True,          C::SomeEmpty,     "bad magic", "magic at offset 0x0 is", HEADER),
    row(Registers,    P::True,          C::SomeEmpty,     "swapped magic", "magic at offset 0x0 is", HEADER),
    row(Registers,    P::True,          C::Gone,          "count offset past the end, phyp", "NumCpusOffset", NO_AREA),
    row(Registers,    P::True,          C::Gone,          "count offset inside the header, phyp", "NumCpusOffset", NO_AREA),
    row(Registers,    P::True,          C::SomeEmpty,     "count offset", "NumCpusOffset", HEADER),
    row(Registers,    P::True,          C::True,          "count at 1ch, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "count at an odd place, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::SomeMissing,   "no start marker, phyp", "a start mark is missing", NO_AREA),
    row(Registers,    P::True,          C::SomeEmpty,     "no start marker", "a start mark is missing", HEADER),
    row(Registers,    P::True,          C::True,          "no end marker, fadump", "no end mark", "the next CPU's start ends it"),
    row(Registers,    P::True,          C::SomeEmpty,     "a CPU twice, fadump", "appears twice", "the last CPU had no room left"),
    row(Registers,    P::True,          C::SomeMissing,   "a CPU id no kernel has, phyp", "which no Linux kernel can have", NO_AREA),
    row(Registers,    P::True,          C::SomeEmpty,     "a CPU id no kernel has", "which no Linux kernel can have", HEADER),
    row(Registers,    P::True,          C::True,          "an unknown register, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "GPR32, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "GPR1 with one digit, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "a name that is no text, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "a register twice, fadump", "were requested", MORE),
    row(Registers,    P::True,          C::True,          "last entry cut after its name, fadump", "ends inside the entry", "it is the end mark"),
    row(Registers,    P::True,          C::True,          "last entry cut inside its name, fadump", "ends inside the entry", "it is the end mark"),
    row(Destinations, P::CannotBeKnown, C::CannotBeKnown, "over the CPU area", "overlapping destinations", MOVED),
    row(Destinations, P::CannotBeKnown, C::CannotBeKnown, "beyond RAM", "reaches past memory", MOVED),
    row(Destinations, P::CannotBeKnown, C::CannotBeKnown, "into itself", "overlaps the source", MOVED),
    row(Destinations, P::CannotBeKnown, C::CannotBeKnown, "across a hole", "reaches past memory", MOVED),
    row(Destinations, P::CannotBeKnown, C::CannotBeKnown, "one destination", "overlapping destinations", MOVED),
    row(CrashInfo,    P::NoneWrong,     C::Firmware,      "old magic", "which no Linux kernel can have", "read by the older layout it makes no sense"),
    row(CrashInfo,    P::NoneWrong,     C::CannotBeKnown, "swapped", "the header counts", "header and VMCOREINFO contradict each other"),
    row(CrashInfo,    P::NoneWrong,     C::Firmware,      "zero", "crash-info header: magic_number", "its length is not known either"),
    row(CrashInfo,    P::True,          C::Firmware,      "unknown crashing CPU", "", "as when the hypervisor ends the partition"),
    row(CrashInfo,    P::True,          C::CannotBeKnown, "crashing CPU that is not online", "", "the kernel's word goes before the firmware's"),
    row(CrashInfo,    P::True,          C::CannotBeKnown, "crashing CPU given as PIR", "", "the kernel's word goes before the firmware's"),
    row(CrashingCpu,  P::True,          C::True,          "the crashing CPU was not saved", "no registers of CPU 1", "the header has them"),
    row(BootMemory,   P::Refused,       C::Gone,          "9 boot memory regions", "", "eleven sections, and ten are allowed"),
    row(Blocks,       P::NoneWrong,     C::True,          "block removed", "", "memory that left is not told from a hole: absent, not lost"),
    row(ByteOrders,   P::True,          C::True,          "kernel on Qemu", "", "QEMU copies what it has, whatever it was asked for"),
    row(Vmcoreinfo,   P::True,          C::True,          "VMCOREINFO missing", "no VMCOREINFO was found", "only the classes of pages are not known"),
    row(Vmcoreinfo,   P::True,          C::True,          "VMCOREINFO truncated", "", "its first half still tells the page size"),
    row(Sysfs,        P::CannotBeKnown, C::Firmware,      "property, but no /proc/vmcore", "", STATUS),
    row(Sysfs,        P::NoDump,        C::Gone,          "enabled without a dump", "is missing", NOTHING),
    row(Opal,         P::True,          C::SomeMissing,   "a core is inactive", "", "its state says that it did not run"),
    row(Opal,         P::True,          C::SomeMissing,   "thread size 0", "registers are lost", "only the header has some"),
    row(Events,       P::True,          C::True,          "reset of a kernel that did not", "", "firmware dumped"),
    row(Events,       P::True,          C::True,          "second crash, dump intact", "", "the second system used boot memory only"),
    row(Events,       P::CannotBeKnown, C::CannotBeKnown, "second crash, dump stale", "", STATUS),
    row(Events,       P::NoDump,        C::Gone,          "", "is missing", NOTHING),
];

fn expectation(case: &Case) -> &'static Row {
    const SOUND: Row =
        Row { group: None, name: "", pages: Pages::True, cpus: Cpus::True, says: "", why: "a sound dump" };
    let fits = |row: &&Row| row.group == Some(case.group) && case.name.contains(row.name);
    TABLE.iter().find(fits).unwrap_or(&SOUND)
}

fn run_of(case: &Case) -> phyp_model::Result<Run> {
    let mut machine = phyp_model::Machine::new(case.options.clone()).expect("a machine");
    machine.scatter(64).expect("room for pages");
    // Machines with gigabytes of memory would take minutes to overwrite byte by byte.
    let dirt = if case.options.ram_end() > 256 << 20 { Dirt::Stamps } else { Dirt::Whole };
    scenario::run(machine, case.event, &case.faults, dirt)
}

/// The `NT_PRSTATUS` notes that the second kernel would write.
fn expected_registers(run: &Run, header: bool) -> Vec<Note> {
    let order = run.options.order;
    let mut bytes = Vec::new();
    for cpu in &run.truth.cpus {
        // phyp-dump's kernels leave no word of their own.
        let own = header && run.options.mode != Mode::Phyp2008 && Some(cpu.id) == run.truth.crashing_cpu;
        if own {
            bytes.extend(notes::prstatus(order, &cpu.registers.pt_regs()));
        } else {
            bytes.extend(notes::prstatus(order, &notes::firmware_words(&cpu.registers)));
        }
    }
    let order = match order {
        phyp_model::ByteOrder::Big => vmcore::ByteOrder::Big,
        phyp_model::ByteOrder::Little => vmcore::ByteOrder::Little,
    };
    Notes::parse(&bytes, order).expect("sound notes").prstatus().map(without_pid).collect()
}

/// `pr_pid` numbers the CPUs where no CRASHTIME tells drgn that the machine crashed; Linux writes zero.
fn without_pid(note: &Note) -> Note {
    let mut note = note.clone();
    note.desc[0x20..0x24].fill(0);
    note
}

/// Each register is right, or zero because it was not saved.
fn is_part_of(found: &Note, wanted: &Note) -> bool {
    found.desc.chunks(8).zip(wanted.desc.chunks(8)).all(|(found, wanted)| found == wanted || found == [0; 8])
}

fn registers_are(run: &Run, dump: &Dump, expected: Cpus) -> Result<(), String> {
    let found: Vec<Note> = dump.notes.prstatus().map(without_pid).collect();
    let wanted = expected_registers(run, expected != Cpus::Firmware);
    let right = match expected {
        Cpus::True | Cpus::Firmware => found == wanted,
        Cpus::SomeEmpty => {
            found.len() == wanted.len()
                && found != wanted
                && found.iter().zip(&wanted).all(|(found, wanted)| is_part_of(found, wanted))
        }
        Cpus::SomeMissing => found.len() < wanted.len() && found.iter().all(|note| wanted.contains(note)),
        Cpus::Gone => found.is_empty(),
        Cpus::CannotBeKnown => return Ok(()),
    };
    let same: Vec<bool> = found.iter().zip(&wanted).map(|(a, b)| a == b).collect();
    if right {
        Ok(())
    } else {
        Err(format!("registers of {} CPUs, {} ran: {same:?}", found.len(), wanted.len()))
    }
}

fn holds(case: &Case, row: &Row) -> Result<(), String> {
    let run = match (run_of(case), row.pages) {
        (Err(phyp_model::ModelError::Refused { .. }), Pages::Refused) => return Ok(()),
        (run, _) => run.map_err(|error| error.to_string())?,
    };
    let (dump, findings) = match (assembled(&run, &RootOptions::default()), row.pages) {
        (Err(error), Pages::NoDump) if error.to_string().contains(row.says) => return Ok(()),
        (Err(error), _) => return Err(format!("no dump: {error}")),
        (Ok((_, findings)), Pages::NoDump) => return Err(format!("there is a dump: {findings:#?}")),
        (Ok(both), _) => both,
    };
    let told = |wrong: String| format!("{wrong}; {findings:#?}");
    match row.pages {
        Pages::True => {
            let counts = pages_are_right(&run, &dump).map_err(|wrong| told(wrong.to_string()))?;
            // What is lost is named.
            let lost = extent::total(&run.truth.lost) > 0;
            if (counts.lost > 0) != lost
                || (lost && !findings.has_damage())
                || dump.source.incomplete != findings.has_damage()
            {
                return Err(told(format!(
                    "{} pages lost, truth {:x?}, incomplete {}",
                    counts.lost, run.truth.lost, dump.source.incomplete
                )));
            }
        }
        Pages::NoneWrong => {
            nothing_is_wrong(&run.truth, &dump).map_err(told)?;
        }
        Pages::CannotBeKnown | Pages::NoDump | Pages::Refused => {}
    }
    registers_are(&run, &dump, row.cpus).map_err(told)?;
    if row.group.is_none() && findings.has_damage() != (extent::total(&run.truth.lost) > 0) {
        return Err(told("what is said to be damaged is not what is lost".into()));
    }
    if !row.says.is_empty() && !findings.mentions(row.says) {
        return Err(told(format!("nothing says: {}", row.says)));
    }
    Ok(())
}

fn every_case_of(groups: &[Group]) {
    let mut wrong = Vec::new();
    let cases: Vec<Case> = catalogue().into_iter().filter(|case| groups.contains(&case.group)).collect();
    assert!(!cases.is_empty());
    for case in &cases {
        let row = expectation(case);
        if let Err(finding) = holds(case, row) {
            wrong.push(format!("{:?}, {} (expected: {}): {finding}", case.group, case.name, row.why));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The groups, by the test that walks them.
const SECTIONS: &[Group] = &[Copies, Flags];
const STRUCTURE: &[Group] = &[Header];
const SAVE_AREAS: &[Group] = &[Registers, Hptes];
const CRASH_INFO: &[Group] = &[Destinations, CrashInfo, CrashingCpu];
const MEMORY: &[Group] = &[BootMemory, Blocks];
const MACHINES: &[Group] = &[PageSizes, ByteOrders];
const SECOND_KERNEL: &[Group] = &[Vmcore, Vmcoreinfo, Sysfs];
const OTHERS: &[Group] = &[Opal, Events];

#[test]
fn sections_short_missing_or_with_errors() {
    every_case_of(SECTIONS);
}

#[test]
fn a_damaged_structure() {
    every_case_of(STRUCTURE);
}

#[test]
fn damaged_save_areas() {
    every_case_of(SAVE_AREAS);
}

#[test]
fn wrong_destinations_and_a_damaged_crash_info_header() {
    every_case_of(CRASH_INFO);
}

#[test]
fn boot_memory_of_every_size_and_blocks_that_come_and_go() {
    every_case_of(MEMORY);
}

#[test]
fn every_page_size_byte_order_and_firmware() {
    every_case_of(MACHINES);
}

#[test]
fn what_the_second_kernel_does_wrong() {
    every_case_of(SECOND_KERNEL);
}

#[test]
fn opal_and_what_else_can_happen_to_a_machine() {
    every_case_of(OTHERS);
}

#[test]
fn every_row_of_the_table_fits_a_case_and_every_group_is_walked() {
    let cases = catalogue();
    for (index, row) in TABLE.iter().enumerate() {
        let fits = cases.iter().any(|case| std::ptr::eq(expectation(case), row));
        assert!(fits, "row {index}, {:?}, {}", row.group, row.name);
    }
    let walked =
        [SECTIONS, STRUCTURE, SAVE_AREAS, CRASH_INFO, MEMORY, MACHINES, SECOND_KERNEL, OTHERS].concat();
    assert!(Group::ALL.iter().all(|group| walked.contains(group)));
}
