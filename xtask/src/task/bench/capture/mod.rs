//! `cargo xtask bench --capture`: both programs where dumps are taken, in a capture kernel that a real crash has started.
//!
//! One boot counts instructions on one processor, one takes the time on two, one has four processors and the little memory that
//! distributions set aside. In each both programs work in turn on the same crash. Instructions do not depend on what else
//! the host does; time does, so that programs run in pairs, each pair in the other order.

mod goals;
mod inside;
mod plan;
mod planned;
mod read;
mod seen;
mod table;

use super::peer::Peer;
use crate::guest::debian::{Kernel, Suite};
use crate::guest::tree::Tree;
use crate::guest::x86_64::{Clock, KDUMP, MAKEDUMPFILE, Parts, install};
use crate::guest::{Content, Guest, work_directory};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
pub(crate) use inside::Capture;
use plan::{Seen, Task};
use seen::Measured;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// MiB of the machine that crashes.
const MEMORY: u32 = 768;
/// MiB that its processes and files fill before.
const INHABITED: u32 = 192;

/// What the bench does in capture kernels.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The kernel, as Debian's archive has it today; of later ones makedumpfile 1.7.8 keeps other pages
    #[arg(long, value_enum, default_value_t = Suite::Trixie)]
    kernel: Suite,
    /// What is measured, each in a boot of its own
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Boot::Instructions, Boot::Wall, Boot::Four])]
    boots: Vec<Boot>,
    /// MiB that are set aside for the capture kernel
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    crashkernel: u32,
}

/// One boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Boot {
    /// One processor, instructions counted
    Instructions,
    /// Two processors, time taken
    Wall,
    /// Four processors: whether all work, and what memory is left
    Four,
}

impl Boot {
    fn processors(self) -> u32 {
        match self {
            Self::Instructions => 1,
            Self::Wall => 2,
            Self::Four => 4,
        }
    }

    fn clock(self) -> Clock {
        match self {
            Self::Instructions => Clock::Instructions,
            Self::Wall | Self::Four => Clock::Wall(self.processors()),
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value().expect("no boot is hidden");
        value.get_name().to_owned()
    }
}

/// Runs the boots and prints what came of them.
pub(super) fn run(
    hadump: &Path,
    options: &Options,
    levels: &[u32],
    methods: Option<&[String]>,
    runs: usize,
) -> Result<()> {
    let work = work_directory("boot")?;
    let tree = Tree::make(&work, "sid")?;
    let qemu = install(&tree)?;
    let parts = Parts::make(&tree, &work, Kernel::of(options.kernel, &tree, &work)?, hadump)?;
    let peer = Peer::of_guest(format!("/{MAKEDUMPFILE}"), parts.peer.clone());
    println!(
        "kernel  {}, crashkernel={}M, {} MiB of memory",
        parts.kernel.version, options.crashkernel, MEMORY
    );
    println!("hadump  {}", super::version(hadump)?);
    println!("peer    {}", peer.describe());
    println!("        {qemu}");
    let mut all = Measured::default();
    for boot in &options.boots {
        let tasks = planned::tasks(*boot, &peer, levels, methods, runs)?;
        let directory = work.join("runs").join(&parts.kernel.version).join(format!("bench-{}", boot.name()));
        println!("\n{}: {} runs, see {}", boot.name(), tasks.len(), directory.display());
        let seen = crash(&parts, *boot, options.crashkernel, &tasks, &directory)?;
        table::print(*boot, &seen);
        all.add(*boot, seen);
    }
    goals::print(&all);
    Ok(())
}

/// Crashes a machine, and has its capture kernel do these things.
fn crash(
    parts: &Parts<'_>,
    boot: Boot,
    crashkernel: u32,
    tasks: &[Task],
    directory: &Path,
) -> Result<Vec<Seen>> {
    let settings = format!("FILL_SECONDS=0\nINHABITED={INHABITED}\nCAPTURE=nr_cpus={}\n", boot.processors());
    let plan = serde_json::to_string(tasks)?;
    let platform = parts.platform(boot.clock());
    let content = Content {
        memory: MEMORY,
        command_line: &format!("crashkernel={crashkernel}M"),
        configuration: "",
        scripts: &[
            ("settings.sh", &settings),
            ("plan.json", &plan),
            ("1.sh", KDUMP),
            ("2.sh", include_str!("scripts/2.sh")),
        ],
        disks: &[],
        limit: Duration::from_secs(4 * 3600),
    };
    let guest = Guest::make(&platform, directory, &content)?;
    let wrong = guest.run(&["/results"]);
    guest.remove()?;
    let said = fs::read_to_string(directory.join("results/2/bench.out")).unwrap_or_default();
    ensure!(wrong.is_empty(), "{}\n{said}", wrong.join("\n"));
    let lines = fs::read_to_string(directory.join("results/2/seen.json")).context("the guest did nothing")?;
    let seen: Vec<Seen> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(seen.len() == tasks.len(), "{} of {} runs were made\n{said}", seen.len(), tasks.len());
    Ok(seen)
}
