//! One call that makes a root directory to look at: what `cargo xtask model` and the benchmarks use.

use std::fs;
use std::path::{Path, PathBuf};

use crate::catalogue::catalogue;
use crate::corpus;
use crate::error::{ModelError, Result};
use crate::extent::Extent;
use crate::faults::Fault;
use crate::layout::Layout;
use crate::machine::{Machine, Options};
use crate::memory::Memory;
use crate::root::{self, RootOptions};
use crate::scenario::{self, Dirt, Event, Run};
use crate::synth::{self, Fill, Kernel, Mix, Mmu, SynthOptions};

/// What the machine's memory holds when it crashes.
#[derive(Clone, Debug)]
pub enum Contents {
    /// This many pages scattered over RAM, and a VMCOREINFO note: no kernel.
    Scattered(usize),
    /// A synthetic kernel image, with its answer.
    Synthetic {
        /// How it translates addresses.
        mmu: Mmu,
        /// How common each class of page is.
        mix: Mix,
        /// How many pages get contents.
        fill: Fill,
        /// Whether equal pieces of vmemmap share memory; for machines of terabytes.
        share_vmemmap: bool,
    },
    /// A real machine's memory, put back as it was before the firmware copied it. The machine's RAM, boot memory and
    /// page size must be that machine's.
    Real {
        /// Physical memory in the second boot.
        memory_raw: PathBuf,
        /// Directory of the firmware's properties.
        firmware: PathBuf,
    },
}

/// What to make.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// The machine.
    pub machine: Options,
    /// Its memory.
    pub contents: Contents,
    /// What happens to it.
    pub event: Event,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How thoroughly the second boot overwrites its memory.
    pub dirt: Dirt,
    /// What is written.
    pub root: RootOptions,
}

impl ModelOptions {
    /// A machine, scattered pages, an ordinary crash.
    pub fn new(machine: Options) -> Self {
        Self {
            machine,
            contents: Contents::Scattered(256),
            event: Event::CRASH,
            faults: Vec::new(),
            dirt: Dirt::Whole,
            root: RootOptions::default(),
        }
    }

    /// The fault case with this name (see [`catalogue`]).
    pub fn case(name: &str) -> Option<Self> {
        let case = catalogue().into_iter().find(|case| case.name == name)?;
        Some(Self { event: case.event, faults: case.faults, ..Self::new(case.options) })
    }
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The run, with the truth about it.
    pub run: Run,
    /// The answers, for a synthetic kernel.
    pub kernel: Option<Kernel>,
    /// A few lines for a person.
    pub description: String,
}

/// Makes a root directory at `out`; for a synthetic kernel the answers stand beside it in `out/expected/`:
/// `bitmaps.bin`, the 32 bitmaps of frames kept at each dump level one after another, and `dmesg.txt`.
///
/// An image too large for this process is built in `out/memory.crash`, which stays.
///
/// # Errors
///
/// The options contradict each other, or a file cannot be read or written.
pub fn make(options: &ModelOptions, out: &Path) -> Result<Made> {
    fs::create_dir_all(out).map_err(ModelError::io(out, "create the directory"))?;
    let mut kernel = None;
    let machine = match &options.contents {
        Contents::Scattered(pages) => {
            let mut machine = Machine::new(options.machine.clone())?;
            machine.scatter(*pages)?;
            machine
        }
        Contents::Synthetic { mmu, mix, fill, share_vmemmap } => {
            let (mmu, mix, fill, share_vmemmap) = (*mmu, *mix, *fill, *share_vmemmap);
            let layout = Layout::plan(&options.machine)?;
            let base = SynthOptions::for_machine(&options.machine, layout.reserved);
            let synth = SynthOptions { mmu, mix, fill, share_vmemmap, ..base };
            let mut memory = room_for(&options.machine, fill, &out.join("memory.crash"))?;
            let built = synth::build(&synth, &mut memory)?;
            memory.freeze();
            let note: Extent = built.vmcoreinfo;
            kernel = Some(built);
            Machine::with_memory(options.machine.clone(), memory, Some(note))?
        }
        Contents::Real { memory_raw, firmware } => {
            let memory = corpus::memory_at_crash(memory_raw, firmware)?;
            let machine = options.machine.clone();
            let note = corpus::find_vmcoreinfo(&memory, machine.order, machine.boot_top)?;
            Machine::with_memory(machine, memory, note)?
        }
    };
    let run = scenario::run(machine, options.event, &options.faults, options.dirt)?;
    root::write(&run, out, &options.root)?;
    if let Some(kernel) = &kernel {
        let directory = out.join("expected");
        fs::create_dir_all(&directory).map_err(ModelError::io(&directory, "create the directory"))?;
        let bitmaps: Vec<u8> = (0..32).flat_map(|level| kernel.bitmap_of_dump(level, &run.truth)).collect();
        let path = directory.join("bitmaps.bin");
        fs::write(&path, bitmaps).map_err(ModelError::io(&path, "write"))?;
        let path = directory.join("dmesg.txt");
        fs::write(&path, dmesg(kernel)).map_err(ModelError::io(&path, "write"))?;
    }
    let description = root::describe(&run);
    Ok(Made { run, kernel, description })
}

/// Memory in this process while it is small; in a sparse file beyond 2 GiB of contents.
fn room_for(machine: &Options, fill: Fill, path: &Path) -> Result<Memory> {
    let rate = match fill {
        Fill::OneIn(rate) => rate.max(1),
        Fill::Nothing => return Ok(Memory::new(machine.ram_end())),
    };
    if machine.ram_end() / rate > 2 << 30 {
        Memory::in_file(path, machine.ram_end())
    } else {
        Ok(Memory::new(machine.ram_end()))
    }
}

/// The log as `makedumpfile --dump-dmesg` prints it since it knows callers: time and caller for every record, later
/// lines of a record indented below it.
fn dmesg(kernel: &Kernel) -> String {
    let mut out = String::new();
    for line in &kernel.log {
        let (seconds, micros) = (line.time / 1_000_000_000, line.time % 1_000_000_000 / 1000);
        let stamp = format!("[{seconds:5}.{micros:06}] [      T1] ");
        for (n, text) in line.text.lines().enumerate() {
            if n == 0 {
                out.push_str(&stamp);
            } else {
                out.push_str(&" ".repeat(stamp.len()));
            }
            out.push_str(text);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_root_has_the_answers_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let contents = Contents::Synthetic {
            mmu: Mmu::Radix { huge_vmemmap: false },
            mix: Mix::default(),
            fill: Fill::OneIn(16),
            share_vmemmap: false,
        };
        let options = ModelOptions { contents, ..ModelOptions::new(Options::small_fadump()) };
        let made = make(&options, directory.path()).unwrap();
        let bitmaps = fs::read(directory.path().join("expected/bitmaps.bin")).unwrap();
        assert_eq!(bitmaps.len(), 32 * (48 * 16 / 8));
        assert!(made.description.contains("a dump waits"));
        for name in [
            "dev/mem",
            "proc/vmcore",
            "proc/device-tree/rtas/ibm,kernel-dump",
            "sys/kernel/fadump/release_mem",
        ] {
            assert!(directory.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_case_is_found_by_its_name() {
        assert!(ModelOptions::case("boot memory half, phyp").is_some());
        assert!(ModelOptions::case("no such thing").is_none());
    }
}
