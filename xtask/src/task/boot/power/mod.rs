//! `cargo xtask boot power`: the second boot of a POWER machine, whose firmware keeps the dump as a POWER server's does.

mod kernels;
mod opens;
mod programs;
mod scenarios;

use super::{Choice, run_all};
use crate::guest::tree::Tree;
use crate::guest::{Platform, work_directory};
use anyhow::Result;
use kernels::Kernel;

#[derive(clap::Args)]
pub(crate) struct Power {
    #[command(flatten)]
    choice: Choice,
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::Corpus)]
    kernel: Kernel,
    /// Open the saved dumps in drgn and crash, too; crash runs in an emulator and takes minutes. --all does
    #[arg(long)]
    open: bool,
}

impl Power {
    pub(super) fn run(self) -> Result<()> {
        let chosen = self.choice.of(&scenarios::ALL)?;
        if chosen.is_empty() {
            return Ok(());
        }
        if !self.kernel.is_there() {
            let names: Vec<&str> = chosen.iter().map(|scenario| scenario.name).collect();
            println!(
                "boot: skipped {}: no corpus here has the vmlinux of {}",
                names.join(", "),
                corpus::POWER
            );
            return Ok(());
        }
        let work = work_directory("boot")?;
        let tree = Tree::make(&work, "sid")?;
        let programs = programs::make(&tree, &work)?;
        let vmlinux = self.kernel.vmlinux(&tree, &work)?;
        let machine = ["-machine", "pseries", "-accel", "tcg,thread=multi", "-cpu", "POWER9", "-smp", "2"];
        let platform = Platform {
            tree: &tree,
            qemu: "qemu-system-ppc64",
            arguments: machine.map(str::to_owned).into(),
            console: "hvc0",
            kernel: self.kernel.image(&tree, &vmlinux)?,
            command_line: self.kernel.command_line().to_owned(),
            root: programs.clone(),
            initramfs: programs,
            modules: Vec::new(),
        };
        let open = |dump: &std::path::Path| {
            Ok(vec![opens::in_drgn(&vmlinux, dump)?, opens::in_crash(&tree, &vmlinux, dump)?])
        };
        let runs = work.join("runs").join(self.kernel.name());
        let opened = self.open || self.choice.all;
        run_all(&chosen, |scenario| scenario.run(&platform, &runs, opened.then_some(&open)))
    }
}
