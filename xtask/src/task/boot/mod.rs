//! `cargo xtask boot power`: hadump where dumps are taken, in the second boot of a real machine that crashed.
//!
//! QEMU's firmware keeps the dump as a POWER server's does, the kernels are real ones, and each scenario goes on over
//! several crashes: what hadump says in one boot is tested by what the next one finds. Everything that this takes is made
//! below `target/boot`, once.

mod console;
mod cpio;
mod disk;
mod kernels;
mod machine;
mod opens;
mod programs;
mod scenario;
mod scenarios;
mod tree;

use anyhow::{Context, Result, bail};
use kernels::Kernel;
use programs::Programs;
use scenario::{Lab, Scenario};
use std::fs;
use std::path::PathBuf;
use tree::Tree;

/// Crashes real machines and saves their dumps.
#[derive(clap::Args)]
pub(crate) struct Boot {
    #[command(subcommand)]
    machine: Machine,
}

#[derive(clap::Subcommand)]
enum Machine {
    /// POWER with firmware-assisted dump
    Power(Power),
}

#[derive(clap::Args)]
struct Power {
    /// The scenarios to run, by their names; by default the one that CI runs
    scenarios: Vec<String>,
    /// Run all scenarios, which takes about two hours
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Print the scenarios' names, and run none
    #[arg(long)]
    list: bool,
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::Corpus)]
    kernel: Kernel,
    /// Open the saved dumps in drgn and crash, too; crash runs in an emulator and takes minutes
    #[arg(long)]
    open: bool,
}

impl Boot {
    pub(crate) fn run(self) -> Result<()> {
        let Machine::Power(power) = self.machine;
        power.run()
    }
}

impl Power {
    fn run(self) -> Result<()> {
        if self.list {
            for scenario in &scenarios::ALL {
                println!("{:<16}  {}", scenario.name, scenario.about);
            }
            return Ok(());
        }
        let chosen = self.chosen()?;
        if !self.kernel.is_there() {
            let names: Vec<&str> = chosen.iter().map(|scenario| scenario.name).collect();
            println!(
                "boot: skipped {}: no corpus here has the vmlinux of {}",
                names.join(", "),
                corpus::POWER
            );
            return Ok(());
        }
        let work = work_directory()?;
        let tree = Tree::make(&work)?;
        let programs = Programs::make(&tree, &work)?;
        let vmlinux = self.kernel.vmlinux(&tree, &work)?;
        let kernel = self.kernel.image(&tree, &vmlinux)?;
        let lab = Lab {
            tree: &tree,
            programs: &programs,
            kernel: &kernel,
            command_line: self.kernel.command_line(),
            vmlinux: &vmlinux,
            open: self.open || self.all,
            runs: &work.join("runs").join(self.kernel.name()),
        };
        let mut failed = Vec::new();
        for scenario in &chosen {
            if let Err(error) = scenario.run(&lab) {
                println!("boot: {} FAILED\n{error:#}", scenario.name);
                failed.push(scenario.name);
            }
        }
        if !failed.is_empty() {
            bail!("{} of {} scenarios failed: {}", failed.len(), chosen.len(), failed.join(", "));
        }
        println!("\nboot: {} of {} scenarios as expected", chosen.len(), chosen.len());
        Ok(())
    }

    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        if self.all {
            return Ok(scenarios::ALL.iter().collect());
        }
        if self.scenarios.is_empty() {
            return Ok(vec![&scenarios::ALL[0]]);
        }
        let find = |name: &String| {
            let found = scenarios::ALL.iter().find(|scenario| scenario.name == *name);
            found.with_context(|| format!("{name}: no such scenario; --list prints their names"))
        };
        self.scenarios.iter().map(find).collect()
    }
}

/// `target/boot`, wherever cargo puts its target directory.
fn work_directory() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(2).context("xtask lies in a target directory")?;
    let work = target.join("boot");
    fs::create_dir_all(&work)?;
    Ok(work)
}
