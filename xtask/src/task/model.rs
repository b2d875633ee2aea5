//! `cargo xtask model`: a machine after its crash and second boot, as a directory to look at.

use anyhow::{Context, Result, bail, ensure};
use phyp_model::catalogue::catalogue;
use phyp_model::extent::merged;
use phyp_model::root::RootOptions;
use phyp_model::scenario::Dirt;
use phyp_model::state::{self, Other, State};
use phyp_model::synth::{Fill, Mix, Mmu};
use phyp_model::task::{self, Contents, ModelOptions};
use phyp_model::{ByteOrder, Extent, Linux, Machine, Mode as Generation, Options};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Model {
    /// The directory to make
    #[arg(required_unless_present_any = ["list_faults", "list_states"])]
    out: Option<PathBuf>,
    /// Which generation of kernel and firmware
    #[arg(long, value_enum, default_value_t = Mode::Fadump)]
    mode: Mode,
    /// The crashed kernel's pages
    #[arg(long, value_enum)]
    page: Option<Page>,
    /// The crashed kernel is big-endian
    #[arg(long)]
    big_endian: bool,
    /// MiB of memory; a quarter of it is boot memory
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(16..=1 << 24))]
    ram: u64,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: u32,
    /// What goes wrong; the case's own machine takes the place of the options above
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// Which state of the machine to show, instead of a dump that waits
    #[arg(long, value_name = "NAME", conflicts_with_all = ["fault", "from_corpus"])]
    state: Option<String>,
    /// The kernel, where --mode is fadump
    #[arg(long, value_enum, default_value_t = Kernel::V6_12)]
    kernel: Kernel,
    /// Take the memory of this dump of a corpus (memory.raw, unpacked, and firmware/) instead of a synthetic kernel's;
    /// the options above must describe its machine
    #[arg(long, value_name = "DIR")]
    from_corpus: Option<PathBuf>,
    /// Print what can go wrong, and make nothing
    #[arg(long)]
    list_faults: bool,
    /// Print the states that --state knows, and make nothing
    #[arg(long)]
    list_states: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    /// Linux 2.6.26 to 3.3
    Phyp,
    /// Linux since 3.4
    Fadump,
    /// Linux on OPAL
    Opal,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kernel {
    /// Up to 6.9
    #[value(name = "6.1")]
    V6_1,
    /// From 6.10 on
    #[value(name = "6.12")]
    V6_12,
    /// 7.2
    #[value(name = "7.2")]
    V7_2,
    /// As 7.2, without the old names in sysfs
    Next,
    /// As 7.2, with the patches of docs/kernel
    Mended,
}

impl From<Kernel> for Linux {
    fn from(kernel: Kernel) -> Self {
        match kernel {
            Kernel::V6_1 => Self::V6_1,
            Kernel::V6_12 => Self::V6_12,
            Kernel::V7_2 => Self::V7_2,
            Kernel::Next => Self::Next,
            Kernel::Mended => Self::Mended,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Page {
    /// 4 KiB
    #[value(name = "4k")]
    K4,
    /// 64 KiB
    #[value(name = "64k")]
    K64,
}

impl Model {
    pub(crate) fn run(self) -> Result<()> {
        if self.list_faults {
            for case in catalogue() {
                let group = format!("{:?}", case.group);
                println!("{group:<12}  {}", case.name);
            }
            return Ok(());
        }
        if self.list_states {
            State::ALL.iter().for_each(|(name, _)| println!("{name}"));
            Other::ALL.iter().for_each(|(name, _)| println!("{name}"));
            return Ok(());
        }
        let out = self.out.clone().context("OUT is missing")?;
        let root = RootOptions { vmcore: false, ..RootOptions::default() };
        if let Some(name) = &self.state {
            let machine = || {
                let mut machine = Machine::new(self.machine())?;
                machine.scatter(256)?;
                Ok(machine)
            };
            let known =
                state::write(name, machine, &out, &root).with_context(|| out.display().to_string())?;
            ensure!(known, "{name}: no such state; cargo xtask model --list-states prints their names");
            println!("look at it:\n    hadump status --root {}", out.display());
            return Ok(());
        }
        let options = match &self.fault {
            Some(name) => match ModelOptions::case(name) {
                Some(case) => ModelOptions { root, ..case },
                None => bail!("{name}: no such fault; cargo xtask model --list-faults prints their names"),
            },
            None => ModelOptions {
                contents: self.contents(),
                root,
                dirt: if self.ram > 1024 { Dirt::Stamps } else { Dirt::Whole },
                ..ModelOptions::new(self.machine())
            },
        };
        let made = task::make(&options, &out).with_context(|| out.display().to_string())?;
        let out = out.display();
        print!("{}", made.description);
        println!("look at it:\n    hadump status --root {out}\n    hadump regs {out}\n    hadump hpte {out}");
        println!("    hadump convert {out} -o vmcore");
        Ok(())
    }

    fn machine(&self) -> Options {
        let base = match self.mode {
            Mode::Phyp => Options::small_phyp(),
            Mode::Fadump => {
                Options { mode: Generation::Fadump(self.kernel.into()), ..Options::small_fadump() }
            }
            Mode::Opal => Options::small_opal(),
        };
        let page_size = match self.page {
            Some(Page::K4) => 0x1000,
            Some(Page::K64) => 0x1_0000,
            None => base.page_size,
        };
        let (ram, boot) = (self.ram << 20, (self.ram << 20) / 4 / page_size * page_size);
        Options {
            page_size,
            order: if self.big_endian { ByteOrder::Big } else { base.order },
            ram: merged(vec![Extent::new(0, ram)]),
            boot_memory: vec![Extent::new(0, boot)],
            boot_top: boot,
            cpus: (0..self.cpus).map(|id| (id, true)).collect(),
            crashing_cpu: Some(0),
            cpu_mask_size: 128,
            ..base
        }
    }

    fn contents(&self) -> Contents {
        match &self.from_corpus {
            Some(directory) => Contents::Real {
                memory_raw: directory.join("memory.raw"),
                firmware: directory.join("firmware"),
            },
            None => Contents::Synthetic {
                mmu: Mmu::Radix { huge_vmemmap: false },
                mix: Mix::default(),
                fill: Fill::OneIn(4),
                share_vmemmap: self.ram > 1 << 16,
            },
        }
    }
}
