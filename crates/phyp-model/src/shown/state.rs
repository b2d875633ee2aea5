//! Each state that a machine can be in when somebody asks for its status, and the files that show it.

use std::path::Path;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::Result;
use crate::extent::Extent;
use crate::faults::{CrashInfoFault, Fault};
use crate::hypervisor::End;
use crate::machine::Machine;
use crate::root::{self, RootOptions};
use crate::scenario::{self, Dirt, Event, Run};
use crate::tree::{MemoryNodes, Tree};

/// A state of a machine with fadump, between two of its boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A dump waits.
    Waits,
    /// The dump was given back, by whomever: the kernel does not tell.
    GivenBack,
    /// The kernel refused the dump when it booted, and gave its memory away.
    Refused,
    /// Given back, and registered once more in the same boot. Whether the next dump is safe depends on the kernel.
    RegisteredAgain,
    /// No dump; the kernel registered by itself when it booted.
    Registered,
    /// No dump, and somebody wrote 0 to `registered`.
    NotRegistered,
    /// The kernel was booted without `fadump=on`, or found no memory for it: the files are there and do nothing.
    NotEnabled,
}

impl State {
    /// All of them, by the names that [`cargo xtask model`] takes.
    ///
    /// [`cargo xtask model`]: crate::task
    pub const ALL: [(&'static str, Self); 7] = [
        ("waits", Self::Waits),
        ("given-back", Self::GivenBack),
        ("refused", Self::Refused),
        ("registered-again", Self::RegisteredAgain),
        ("registered", Self::Registered),
        ("not-registered", Self::NotRegistered),
        ("not-enabled", Self::NotEnabled),
    ];

    /// Brings `machine` into this state.
    ///
    /// # Errors
    ///
    /// As [`scenario::run`].
    pub fn reach(self, machine: Machine, dirt: Dirt) -> Result<Run> {
        let refused = [Fault::CrashInfo(CrashInfoFault::Zero)];
        let (event, faults): (_, &[Fault]) = match self {
            Self::Waits | Self::GivenBack | Self::RegisteredAgain => (Event::CRASH, &[]),
            Self::Refused => (Event::CRASH, &refused),
            Self::Registered | Self::NotRegistered | Self::NotEnabled => (Event::End(End::Reboot), &[]),
        };
        let mut run = scenario::run(machine, event, faults, dirt)?;
        match self {
            Self::Waits | Self::Registered => {}
            Self::GivenBack => drop(run.write_release_mem("1")?),
            Self::RegisteredAgain => {
                run.write_release_mem("1")?;
                run.write_registered("1")?;
            }
            Self::Refused => run.refuse()?,
            Self::NotRegistered => drop(run.write_registered("0")?),
            Self::NotEnabled => run.disable(),
        }
        Ok(run)
    }
}

/// A machine that fadump has nothing to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A POWER machine whose firmware makes no dumps.
    Unsupported,
    /// An x86_64 machine with a crash kernel loaded.
    KdumpLoaded,
    /// An x86_64 machine with memory set aside for a crash kernel, and none loaded.
    KdumpNotLoaded,
    /// An x86_64 machine in its crash kernel, where the dump of the first one is `/proc/vmcore`.
    KdumpCaptures,
}

impl Other {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("unsupported", Self::Unsupported),
        ("kdump-loaded", Self::KdumpLoaded),
        ("kdump-not-loaded", Self::KdumpNotLoaded),
        ("kdump-captures", Self::KdumpCaptures),
    ];

    /// Writes its root directory: 4 GiB of memory, of which 256 MiB are set aside for a crash kernel. The vmcore is a header
    /// without contents.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write(self, root: &Path) -> Result<()> {
        let tree = Tree::new(root)?;
        if self == Self::Unsupported {
            tree.memory(&[Extent::new(0, 4 << 30)], 256 << 20, MemoryNodes::Plain)?;
            tree.property("system-id", b"IBM,02MODEL01\0")?;
            tree.property("compatible", b"IBM,pSeries\0")?;
            tree.property("rtas/linux,rtas-base", &0x2fff_0000u32.to_be_bytes())?;
            tree.property("rtas/rtas-size", &0x83cu32.to_be_bytes())?;
            tree.file("proc/iomem", 0o444, b"00000000-ffffffff : System RAM\n")?;
            tree.file("proc/cmdline", 0o444, b"root=/dev/sda2 fadump=on\n")?;
            return tree.file(
                "proc/meminfo",
                0o444,
                b"MemTotal:        4154560 kB\nMemFree:         4000000 kB\n",
            );
        }
        // `kernel/ksysfs.c`; the crash kernel has the files, too, and nothing loaded.
        let loaded: &[u8] = if self == Self::KdumpLoaded { b"1\n" } else { b"0\n" };
        let size: &[u8] = if self == Self::KdumpCaptures { b"0\n" } else { b"268435456\n" };
        tree.file("sys/kernel/kexec_loaded", 0o444, b"0\n")?;
        tree.file("sys/kernel/kexec_crash_loaded", 0o444, loaded)?;
        tree.file("sys/kernel/kexec_crash_size", 0o644, size)?;
        if self == Self::KdumpCaptures {
            tree.file("proc/cmdline", 0o444, b"root=/dev/sda2 nr_cpus=1 elfcorehdr=0xbefff000\n")?;
            tree.file("proc/iomem", 0o400, b"af000000-beffefff : System RAM\n")?;
            tree.file("proc/vmcore", 0o400, &core_header())?;
            return tree.file(
                "proc/meminfo",
                0o444,
                b"MemTotal:         231416 kB\nMemFree:          190000 kB\n",
            );
        }
        tree.file("proc/cmdline", 0o444, b"root=/dev/sda2 crashkernel=256M\n")?;
        let iomem = b"00100000-bfffffff : System RAM\n  af000000-beffffff : Crash kernel\n";
        tree.file("proc/iomem", 0o400, iomem)?;
        tree.file("proc/meminfo", 0o444, b"MemTotal:        3900000 kB\nMemFree:         3000000 kB\n")
    }
}

/// The header of an x86_64 core without contents.
fn core_header() -> Vec<u8> {
    let mut out = Bytes::new(ByteOrder::Little);
    out.raw(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // ET_CORE, EM_X86_64, version 1, no entry, no program headers, no sections.
    out.u16(4).u16(62).u32(1).u64(0).u64(0).u64(0).u32(0).u16(64).u16(56).u16(0).u16(0).u16(0).u16(0);
    out.bytes
}

/// Writes the root directory of the state or machine with this name; `false` if there is none.
///
/// `machine` is asked for only where a state is meant.
///
/// # Errors
///
/// As [`State::reach`] and [`root::write`].
pub fn write(
    name: &str,
    machine: impl FnOnce() -> Result<Machine>,
    root: &Path,
    options: &RootOptions,
) -> Result<bool> {
    if let Some((_, state)) = State::ALL.iter().find(|(known, _)| *known == name) {
        let run = state.reach(machine()?, Dirt::Stamps)?;
        root::write(&run, root, options)?;
        return Ok(true);
    }
    let Some((_, other)) = Other::ALL.iter().find(|(known, _)| *known == name) else { return Ok(false) };
    other.write(root)?;
    Ok(true)
}
