//! The input, as every command takes it.

use super::parse;
use clap::{Args, ValueEnum};
use kernel::knowledge::Given;
use std::path::{Path, PathBuf};
use vmcore::{Machine, PageSize, PhysAddr};

/// The input.
#[derive(Clone, Debug, Args)]
pub(crate) struct InputArgs {
    /// Dump to read: a file, all files of a split set, the first file of an encrypted dump, or a directory laid out like
    /// the root of a POWER machine after its crash
    #[arg(required_unless_present = "memory")]
    pub(crate) input: Vec<PathBuf>,
    /// Private key for an encrypted dump: an age identity file, or an SSH key without a passphrase
    #[arg(short, long, value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Memory of the machine after its second boot: a raw image, or any dump of it
    #[arg(long, value_name = "FILE", conflicts_with = "input", help_heading = LEAVINGS)]
    pub(crate) memory: Option<PathBuf>,
    /// Device-tree property ibm,kernel-dump
    #[arg(long, value_name = "FILE", requires = "memory", help_heading = LEAVINGS)]
    pub(crate) kernel_dump: Option<PathBuf>,
    /// Text of /sys/kernel/release_region
    #[arg(long, value_name = "FILE", requires = "memory", help_heading = LEAVINGS)]
    pub(crate) release_region: Option<PathBuf>,
    /// Physical memory ranges, overriding the device tree
    #[arg(long, value_name = "START-END,...", value_delimiter = ',', value_parser = parse::range,
          help_heading = LEAVINGS)]
    pub(crate) memory_map: Vec<vmcore::Range<PhysAddr>>,
    /// Interpret release_region pairs as start and end instead of start and length
    #[arg(long, help_heading = LEAVINGS)]
    pub(crate) start_end: bool,
    /// First address not overwritten by the second boot, if nothing else says so
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address, help_heading = LEAVINGS)]
    pub(crate) boot_memory_end: Option<PhysAddr>,
    /// Machine that plain memory is of, as `uname -m` prints it (x86_64, aarch64, ...): byte n of the file is physical
    /// address n, and --memory-map says where there is memory, by default everywhere
    #[arg(long, value_name = "NAME", value_parser = parse::machine, help_heading = KERNEL)]
    pub(crate) machine: Option<Machine>,
    /// Page size of the crashed kernel, where VMCOREINFO is missing or wrong; refused where the kernel proves another
    #[arg(long, value_name = "BYTES", value_parser = parse::page_size, help_heading = KERNEL)]
    pub(crate) page_size: Option<PageSize>,
    /// Read what the firmware copied (boot memory with the kernel's log, and the registers) of a dump whose memory was given
    /// back to the running system; everything else is lost
    #[arg(long, help_heading = LEAVINGS)]
    pub(crate) what_is_left: bool,
    /// VMCOREINFO of the crashed kernel, for a dump that lacks it: as text, such as makedumpfile -g writes, or as a note
    #[arg(long, value_name = "FILE", help_heading = KERNEL)]
    pub(crate) vmcoreinfo: Option<PathBuf>,
    /// vmlinux of the crashed kernel with debug information, or a directory that has it (/usr/lib/debug), for a dump that
    /// lacks VMCOREINFO or part of it, and for symbols that kernels before 6.0 do not export
    #[arg(long, value_name = "FILE", help_heading = KERNEL)]
    pub(crate) vmlinux: Option<PathBuf>,
    /// How dump files are read; the bytes are the same
    #[arg(long, value_name = "HOW", default_value = "usual")]
    pub(crate) access: Access,
}

/// How dump files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Access {
    /// /proc/vmcore is mapped where the kernel can do that, everything else is read
    Usual,
    /// Everything is read, for kernels that map wrongly
    Read,
    /// All files are mapped: one that is cut short meanwhile ends the program
    Map,
}

impl Access {
    /// The same for the library.
    pub(crate) fn of_files(self) -> dumpfile::Access {
        match self {
            Self::Usual => dumpfile::Access::Usual,
            Self::Read => dumpfile::Access::Read,
            Self::Map => dumpfile::Access::Map,
        }
    }
}

const LEAVINGS: &str = "Firmware-preserved memory";
const KERNEL: &str = "Kernel information";

impl InputArgs {
    /// One dump, or the root of a machine.
    pub(crate) fn path(path: &Path) -> Self {
        Self::paths(vec![path.to_owned()])
    }

    /// One dump, or all files of a split set.
    pub(crate) fn paths(input: Vec<PathBuf>) -> Self {
        Self {
            input,
            identity: Vec::new(),
            memory: None,
            kernel_dump: None,
            release_region: None,
            memory_map: Vec::new(),
            start_end: false,
            boot_memory_end: None,
            machine: None,
            page_size: None,
            what_is_left: false,
            vmcoreinfo: None,
            vmlinux: None,
            access: Access::Usual,
        }
    }

    /// What describes the kernel.
    pub(crate) fn knowledge(&self) -> Given<'_> {
        Given { vmcoreinfo: self.vmcoreinfo.as_deref(), vmlinux: self.vmlinux.as_deref(), ..Given::default() }
    }

    /// The input for messages and reports.
    pub(crate) fn name(&self) -> String {
        let path = self.memory.as_ref().or(self.input.first());
        let name = path.map(|p| p.display().to_string()).unwrap_or_default();
        match self.input.len() {
            0 | 1 => name,
            parts => format!("{name} and {} more", parts - 1),
        }
    }

    /// Every file that is named.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let leavings = [&self.memory, &self.kernel_dump, &self.release_region];
        let knowledge = [&self.vmcoreinfo, &self.vmlinux];
        self.input.iter().chain(leavings.into_iter().chain(knowledge).flatten()).map(PathBuf::as_path)
    }
}
