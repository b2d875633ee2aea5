//! Every fault of the hypervisor model's catalogue, and what becomes of the dump.
//!
//! A case that the table does not name has the outcome of a sound dump: every page that the truth has, with its bytes;
//! what is lost, and only that, said to be lost; one set of registers for each CPU that ran. The table names the
//! others, each with its reason.

mod common;

use common::model::{assembled, nothing_is_wrong, pages_are_right};
use phyp_model::Mode;
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
}

/// What becomes of the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cpus {
    /// Those of every CPU that ran, the crashed one's as the kernel wrote them.
    True,
    /// Of some CPUs they are missing; the others' are right, each at its CPU's place.
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
    /// Group of the specification.
    group: u8,
    /// What the case's name contains.
    name: &'static str,
    pages: Pages,
    cpus: Cpus,
    /// What is said about it; empty where the case is like a sound dump.
    says: &'static str,
    why: &'static str,
}

const fn row(
    group: u8,
    name: &'static str,
    pages: Pages,
    cpus: Cpus,
    says: &'static str,
    why: &'static str,
) -> Row {
    Row { group, name, pages, cpus, says, why }
}

/// The first row that fits a case counts.
const TABLE: &[Row] = &[];

fn expectation(case: &Case) -> &'static Row {
    const SOUND: Row = row(0, "", Pages::True, Cpus::True, "", "a sound dump");
    TABLE.iter().find(|row| row.group == case.group && case.name.contains(row.name)).unwrap_or(&SOUND)
}

fn run_of(case: &Case) -> Run {
    let mut machine = phyp_model::Machine::new(case.options.clone()).expect("a machine");
    machine.scatter(64).expect("room for pages");
    // Machines with gigabytes of memory would take minutes to overwrite byte by byte.
    let dirt = if case.options.ram_end() > 256 << 20 { Dirt::Stamps } else { Dirt::Whole };
    scenario::run(machine, case.event, &case.faults, dirt).expect("a run")
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
    Notes::parse(&bytes, order).expect("sound notes").prstatus().cloned().collect()
}

fn is_empty(note: &Note) -> bool {
    note.desc[0x70..].iter().all(|byte| *byte == 0)
}

fn registers_are(run: &Run, dump: &Dump, expected: Cpus) -> Result<(), String> {
    let found: Vec<Note> = dump.notes.prstatus().cloned().collect();
    let wanted = expected_registers(run, expected != Cpus::Firmware);
    let right = match expected {
        Cpus::True | Cpus::Firmware => found == wanted,
        Cpus::SomeEmpty => {
            found.len() == wanted.len()
                && found != wanted
                && found.iter().zip(&wanted).all(|(found, wanted)| found == wanted || is_empty(found))
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
    let run = run_of(case);
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
        Pages::CannotBeKnown | Pages::NoDump => {}
    }
    registers_are(&run, &dump, row.cpus).map_err(told)?;
    if row.says.is_empty() {
        let lost = extent::total(&run.truth.lost) > 0;
        if findings.has_damage() != lost {
            return Err(told("damage".into()));
        }
    } else if !findings.mentions(row.says) {
        return Err(told(format!("nothing says: {}", row.says)));
    }
    Ok(())
}

fn every_case_of(groups: &[u8]) {
    let mut wrong = Vec::new();
    let cases: Vec<Case> = catalogue().into_iter().filter(|case| groups.contains(&case.group)).collect();
    assert!(!cases.is_empty());
    for case in &cases {
        let row = expectation(case);
        if let Err(finding) = holds(case, row) {
            wrong.push(format!("group {}, {} (expected: {}): {finding}", case.group, case.name, row.why));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn sections_short_missing_or_with_errors() {
    every_case_of(&[1, 2]);
}

#[test]
fn a_damaged_structure() {
    every_case_of(&[3]);
}

#[test]
fn damaged_save_areas() {
    every_case_of(&[4, 5]);
}

#[test]
fn wrong_destinations_and_a_damaged_crash_info_header() {
    every_case_of(&[6, 7, 8]);
}

#[test]
fn boot_memory_of_every_size_and_blocks_that_come_and_go() {
    every_case_of(&[9, 10]);
}

#[test]
fn every_page_size_byte_order_and_firmware() {
    every_case_of(&[11, 12]);
}

#[test]
fn what_the_second_kernel_does_wrong() {
    every_case_of(&[13, 14, 16]);
}

#[test]
fn opal_and_what_else_can_happen_to_a_machine() {
    every_case_of(&[17, 18]);
}

#[test]
fn every_row_of_the_table_fits_a_case_and_every_group_is_walked() {
    let cases = catalogue();
    for (index, row) in TABLE.iter().enumerate() {
        let fits = cases.iter().any(|case| std::ptr::eq(expectation(case), row));
        assert!(fits, "row {index}, group {}, {}", row.group, row.name);
    }
    assert!(cases.iter().all(|case| matches!(case.group, 1..=14 | 16..=18)));
}
