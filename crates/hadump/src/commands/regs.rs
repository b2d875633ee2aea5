//! `hadump regs`: every saved register of every CPU.

use crate::cli;
use crate::input::{self, Prefer};
use crate::outcome::Outcome;
use crate::show::report;
use anyhow::{Result, bail};
use phyp::{CpuListing, NamedRegister, registers};
use serde::{Serialize, Serializer};
use std::io::Write;
use vmcore::Arch;

/// One CPU. `docs/json.md` describes the fields.
#[derive(Debug, Serialize)]
struct Cpu<'a> {
    cpu: u32,
    crashed: bool,
    firmware: Vec<Register<'a>>,
    kernel: Vec<Register<'a>>,
}

#[derive(Debug, Serialize)]
struct Register<'a> {
    name: &'a str,
    /// A string, since many readers of JSON do not keep 64-bit integers exact.
    #[serde(serialize_with = "hex")]
    value: u64,
    bits: u32,
    checkpoint: bool,
}

fn hex<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{value:#x}"))
}

/// Prints the registers.
pub(crate) fn run(args: &cli::Regs) -> Result<Outcome> {
    let dump = input::open(&args.input, Prefer::Firmware)?;
    if dump.machine.arch != Arch::Ppc64 {
        bail!(
            "{}: this is a dump of {}; only registers saved by POWER firmware are listed (for others, use bt -a in crash)",
            args.input.name(),
            dump.machine
        );
    }
    let mut cpus = registers(&dump.notes, dump.machine.order)?;
    if cpus.is_empty() {
        // As for page-table entries: a dump without them is none the worse.
        tracing::warn!("{}: no registers were saved", args.input.name());
    }
    if let Some(wanted) = args.cpu {
        cpus.retain(|c| c.cpu == wanted);
        if cpus.is_empty() {
            bail!("{}: no registers of CPU {wanted} were saved", args.input.name());
        }
    }
    if args.json {
        report::print_json(&cpus.iter().map(Cpu::from).collect::<Vec<_>>())?;
    } else {
        print(&cpus)?;
    }
    Ok(Outcome::Complete)
}

fn print(cpus: &[CpuListing]) -> Result<()> {
    let mut out = crate::show::terminal::stdout();
    for cpu in cpus {
        writeln!(out, "CPU {}{}", cpu.cpu, if cpu.crashed { ", which crashed" } else { "" })?;
        for (title, registers) in [("saved by the kernel", &cpu.kernel), ("saved by firmware", &cpu.firmware)]
        {
            if registers.is_empty() {
                continue;
            }
            writeln!(out, "  {title}")?;
            for row in registers.chunks(4) {
                let cells: Vec<String> = row.iter().map(cell).collect();
                writeln!(out, "    {}", cells.join("  ").trim_end())?;
            }
        }
    }
    Ok(())
}

fn cell(register: &NamedRegister) -> String {
    let digits = usize::from(register.width) * 2;
    format!("{:<8} {:<16}", register.name, format!("{:0digits$x}", register.value))
}

impl<'a> From<&'a CpuListing> for Cpu<'a> {
    fn from(cpu: &'a CpuListing) -> Self {
        let list = |registers: &'a [NamedRegister]| {
            let one = |r: &'a NamedRegister| Register {
                name: &r.name,
                value: r.value,
                bits: u32::from(r.width) * 8,
                checkpoint: r.checkpoint,
            };
            registers.iter().map(one).collect()
        };
        Self { cpu: cpu.cpu, crashed: cpu.crashed, firmware: list(&cpu.firmware), kernel: list(&cpu.kernel) }
    }
}
