//! `cargo xtask boot`: hadump where dumps are taken, in what runs after a real machine has crashed.
//!
//! The kernels are real ones, QEMU is the machine, and each scenario goes on over several boots: what hadump says in one is
//! tested by what the next one finds. Everything that this takes is made below `target/boot`, once.

mod kdump;
mod power;

use crate::guest::scenario::Scenario;
use anyhow::{Context, Result, bail};

/// Crashes real machines and saves their dumps.
#[derive(clap::Args)]
pub(crate) struct Boot {
    #[command(subcommand)]
    machine: Machine,
}

#[derive(clap::Subcommand)]
enum Machine {
    /// POWER with firmware-assisted dump
    Power(power::Power),
    /// x86_64 with kdump: Debian's kernel, crashed into a capture kernel
    Kdump(kdump::Kdump),
}

/// Which scenarios of a machine are run.
#[derive(clap::Args)]
struct Choice {
    /// The scenarios to run, by their names; by default the first
    scenarios: Vec<String>,
    /// Run all scenarios
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Print the scenarios' names, and run none
    #[arg(long)]
    list: bool,
}

impl Boot {
    pub(crate) fn run(self) -> Result<()> {
        match self.machine {
            Machine::Power(power) => power.run(),
            Machine::Kdump(kdump) => kdump.run(),
        }
    }
}

impl Choice {
    /// The chosen of these scenarios; none when they were only to be printed.
    fn of(&self, scenarios: &'static [Scenario]) -> Result<Vec<&'static Scenario>> {
        if self.list {
            for scenario in scenarios {
                println!("{:<16}  {}", scenario.name, scenario.about);
            }
            return Ok(Vec::new());
        }
        if self.all {
            return Ok(scenarios.iter().collect());
        }
        if self.scenarios.is_empty() {
            return Ok(scenarios.iter().take(1).collect());
        }
        let find = |name: &String| {
            let found = scenarios.iter().find(|scenario| scenario.name == *name);
            found.with_context(|| format!("{name}: no such scenario; --list prints their names"))
        };
        self.scenarios.iter().map(find).collect()
    }
}

/// Runs each scenario, whatever became of those before it.
fn run_all(chosen: &[&Scenario], run: impl Fn(&Scenario) -> Result<()>) -> Result<()> {
    let mut failed = Vec::new();
    for scenario in chosen {
        if let Err(error) = run(scenario) {
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
