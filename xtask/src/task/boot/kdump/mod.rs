//! `cargo xtask boot kdump`: the capture kernel of an x86_64 machine, with Debian's kernels as they are.

mod judge;
mod scenarios;

use super::{Choice, run_all};
use crate::cargo::build_hadump;
use crate::guest::debian::{Kernel, Suite};
use crate::guest::tree::Tree;
use crate::guest::work_directory;
use crate::guest::x86_64::{Clock, Parts, install};
use anyhow::Result;
use std::path::PathBuf;

/// Processors of the machine, before the crash and after it.
const PROCESSORS: u32 = 4;

#[derive(clap::Args)]
pub(crate) struct Kdump {
    #[command(flatten)]
    choice: Choice,
    /// The kernel to boot, as Debian's archive has it today
    #[arg(long, value_enum, default_value_t = Suite::Trixie)]
    kernel: Suite,
    /// Boot the newest kernel that Debian's archive has, be it experimental
    #[arg(long, conflicts_with = "kernel")]
    newest: bool,
    /// hadump's executable; without it, the release build of this checkout
    #[arg(long)]
    hadump: Option<PathBuf>,
}

impl Kdump {
    pub(super) fn run(self) -> Result<()> {
        let chosen = self.choice.of(&scenarios::ALL)?;
        if chosen.is_empty() {
            return Ok(());
        }
        let suite = if self.newest { Suite::Newest } else { self.kernel };
        let work = work_directory("boot")?;
        let tree = Tree::make(&work, "sid")?;
        println!("boot: {}", install(&tree)?);
        let kernel = Kernel::of(suite, &tree, &work)?;
        println!("boot: Linux {}", kernel.version);
        let runs = work.join("runs").join(&kernel.version);
        let hadump = self.hadump.map_or_else(build_hadump, Ok)?;
        let parts = Parts::make(&tree, &work, kernel, &hadump)?;
        println!("boot: {}", parts.peer.lines().next().unwrap_or_default());
        let platform = parts.platform(Clock::Wall(PROCESSORS));
        run_all(&chosen, |scenario| scenario.run(&platform, &runs, None))
    }
}
