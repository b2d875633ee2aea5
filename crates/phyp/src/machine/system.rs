//! What a machine, or a directory laid out like its root, shows of dumps.
//!
//! `/proc/device-tree` and `/sys/kernel` in all their generations: phyp-dump's `release_region` and `phyp_dump_active`,
//! fadump's files under their names before and since 5.6, and debugfs. Beside them two things that no kernel has: OPAL's
//! answers, which only a kernel can ask for, in `opal-mpipl/`, and the machine's identity at the time of registration, in
//! [`REGISTERED_ON`], without which a migration cannot be noticed.

use crate::devtree::{DeviceTree, DumpSize, TreeMemory, read_file};
use crate::giveback::BootFacts;
use crate::kdms::KernelDump;
use crate::meminfo;
use crate::opal::{self, KernelMetadata};
use crate::{Error, Findings, Leavings, OpalAnswers};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use vmcore::PhysAddr;

/// Where the identity of the machine that a dump was registered on is kept, relative to the root: the text of the
/// device tree's `system-id`.
pub const REGISTERED_ON: &str = "var/lib/hadump/registered-on";

/// fadump's release file, relative to the root: as it is called since 5.6, and the link under its older name.
pub const RELEASE_MEM: [&str; 2] = ["sys/kernel/fadump/release_mem", "sys/kernel/fadump_release_mem"];

const MAX_TEXT: u64 = 1 << 20;
const MAX_ANSWER: u64 = 16 << 20;

/// fadump's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FadumpFiles {
    /// The kernel was booted with `fadump=on`.
    pub enabled: bool,
    /// The kernel believes that it is registered.
    pub registered: bool,
    /// There is a `release_mem`: a dump is pending and the kernel took it.
    pub release_mem: bool,
    /// Bytes that the kernel keeps free for a dump.
    pub mem_reserved: Option<u64>,
    /// Memory may come and go without a new registration.
    pub hotplug_ready: bool,
    /// What is appended to the second kernel's command line.
    pub bootargs_append: Option<String>,
    /// The text of debugfs' `fadump_region`.
    pub region: Option<String>,
}

/// The files of kdump, which any architecture may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KexecFiles {
    /// A capture kernel is loaded, for the next crash.
    pub loaded: bool,
    /// Bytes of memory that are set aside for it.
    pub size: Option<u64>,
}

/// A kernel log that outlived a crash in non-volatile memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashRecord {
    /// The file.
    pub path: PathBuf,
    /// Its first line, such as `Panic#1 Part1`.
    pub title: String,
    /// When it was written, in seconds since 1970.
    pub time: Option<u64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// What a dump is put together from.
    pub leavings: Leavings,
    /// What the firmware keeps of memory for itself.
    pub reserved_ranges: vmcore::RangeSet<PhysAddr>,
    /// `/dev/mem`: a raw image of memory or a dump of it.
    pub memory: Option<PathBuf>,
    /// `/proc/vmcore`.
    pub vmcore: Option<PathBuf>,
    /// The firmware has `ibm,configure-kernel-dump`.
    pub rtas: bool,
    /// The sizes that the firmware wants for its sections.
    pub sizes: Vec<DumpSize>,
    /// The property `ibm,dump-kernel`, by which phyp-dump's early scan knew a dump.
    pub early_property: bool,
    /// The firmware has `ibm,opal/dump`.
    pub opal: bool,
    /// The firmware says that a dump is pending (`mpipl-boot`).
    pub mpipl_boot: bool,
    /// fadump's files, when the kernel has them.
    pub fadump: Option<FadumpFiles>,
    /// phyp-dump's `phyp_dump_active`: the kernel found no dump, or none that it took, and registered.
    pub phyp_active: Option<String>,
    /// Logs of crashes in pstore.
    pub crash_records: Vec<CrashRecord>,
    /// The machine's identity.
    pub system_id: Option<String>,
    /// The identity of the machine that the registration was made on.
    pub registered_on: Option<String>,
    /// When this system was booted, in seconds since 1970.
    pub boot_time: Option<u64>,
    /// Memory of the dump that hadump released in this boot: something else is there by now. No file of the kernel has it;
    /// whoever looks says it.
    pub released: vmcore::RangeSet<PhysAddr>,
    /// Bytes of memory that the running kernel uses (`MemTotal`).
    pub memory_total: Option<u64>,
    /// `/proc/kpageflags`: what each page of the running kernel is.
    pub page_flags: Option<PathBuf>,
    /// What the running kernel logged about fadump, a line each, without what stands before the text.
    pub kernel_log: Vec<String>,
    /// kexec's files, when the kernel has them.
    pub kexec: Option<KexecFiles>,
    /// What would keep the log of a crash: the backend of pstore, and whether netconsole sends it to another machine.
    pub log_keepers: Vec<String>,
    /// What this boot's kernel and firmware say of themselves.
    pub boot: BootFacts,
    /// What could not be read or made no sense.
    pub findings: Findings,
}

impl System {
    /// Looks at everything below `root`, which is `/` for the machine itself. Memory is not opened.
    ///
    /// # Errors
    ///
    /// When `root` is no directory. A file that exists and cannot be read is a finding.
    pub fn look(root: &Path) -> Result<Self, Error> {
        fs::read_dir(root).map_err(|source| Error::Io {
            path: root.to_owned(),
            action: "list the root directory",
            source,
        })?;
        let mut look = Look { root, system: Self::default() };
        look.device_tree();
        look.sysfs();
        look.kdump();
        look.log_keepers();
        look.others();
        Ok(look.system)
    }

    /// Memory of the crashed system that the firmware copied aside, by its addresses at the crash.
    pub fn boot_memory(&self) -> vmcore::RangeSet<PhysAddr> {
        if let Some(Ok(dump)) = self.leavings.kernel_dump.as_deref().map(KernelDump::parse) {
            return dump.boot_memory();
        }
        let kernel = self.leavings.opal.as_ref().map(|answers| KernelMetadata::parse(&answers.kernel));
        let Some(Ok(kernel)) = kernel else { return vmcore::RangeSet::default() };
        kernel.copied().iter().map(opal::Region::source_range).collect()
    }

    /// Reports whether the save areas or the copy of low memory were released, without which nothing can be read.
    pub fn areas_are_gone(&self) -> bool {
        let structure = self.leavings.kernel_dump.as_deref().map(KernelDump::parse);
        let sections = structure.and_then(Result::ok).map(|s| s.sections).unwrap_or_default();
        sections.iter().filter(|s| s.is_requested() && !s.is_in_place()).any(|section| {
            let end = PhysAddr(section.destination.0.saturating_add(section.copied));
            self.released.within(vmcore::Range::new(section.destination, end)).next().is_some()
        })
    }
}

struct Look<'a> {
    root: &'a Path,
    system: System,
}

impl Look<'_> {
    /// Takes a value, or its error as a finding.
    fn take<T: Default>(&mut self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |c| format!(": {c}"));
            self.system.findings.warning(format!("{error}{cause}"));
            T::default()
        })
    }

    fn bytes(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let read = read_file(&self.root.join(path), limit);
        self.take(read)
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let bytes = self.bytes(path, MAX_TEXT)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The text of the first of `paths` that exists, without white space around it.
    fn line(&mut self, paths: &[&str]) -> Option<String> {
        let there = paths.iter().find(|p| self.root.join(p).exists())?;
        self.text(there).map(|t| t.trim_matches(['\0', '\n', ' ']).to_owned())
    }

    fn exists(&self, path: &str) -> Option<PathBuf> {
        Some(self.root.join(path)).filter(|p| p.exists())
    }

    fn device_tree(&mut self) {
        let place = ["proc/device-tree", "sys/firmware/devicetree/base"];
        let place = place.iter().find(|p| self.root.join(p).is_dir()).unwrap_or(&place[0]);
        let tree = DeviceTree::new(self.root.join(place));
        self.system.rtas = tree.has("rtas/ibm,configure-kernel-dump");
        self.system.early_property = tree.has("rtas/ibm,dump-kernel");
        self.system.opal = tree.has_node("ibm,opal/dump");
        self.system.mpipl_boot = tree.has("ibm,opal/dump/mpipl-boot");
        self.system.leavings.kernel_dump = self.take(tree.kernel_dump());
        if self.system.leavings.kernel_dump.is_none() && self.system.early_property {
            self.system.leavings.kernel_dump = self.take(tree.property("rtas/ibm,dump-kernel"));
        }
        self.system.sizes = self.take(tree.dump_sizes());
        let mut findings = Findings::default();
        let memory = tree.memory(&mut findings);
        findings.iter().for_each(|f| self.system.findings.add(f.severity, &f.text));
        if let Some(TreeMemory { memory, reserved }) = self.take(memory) {
            self.system.leavings.memory_map = Some(memory);
            self.system.reserved_ranges = reserved;
        }
        self.system.boot = BootFacts::look(self.root, &tree, &mut self.system.findings);
        let id = self.take(tree.property("system-id"));
        self.system.system_id = id.map(|id| String::from_utf8_lossy(&id).trim_matches('\0').to_owned());
    }

    fn sysfs(&mut self) {
        self.system.leavings.release_region = self.text("sys/kernel/release_region");
        self.system.phyp_active = self.line(&["sys/kernel/phyp_dump_active"]);
        let leavings = &mut self.system.leavings;
        leavings.phyp_dump = self.system.phyp_active.is_some() || leavings.release_region.is_some();
        // The names before 5.6 are links to the new ones, until they go.
        let enabled = self.line(&["sys/kernel/fadump/enabled", "sys/kernel/fadump_enabled"]);
        if let Some(enabled) = enabled {
            let registered = self.line(&["sys/kernel/fadump/registered", "sys/kernel/fadump_registered"]);
            let files = FadumpFiles {
                enabled: enabled == "1",
                registered: registered.as_deref() == Some("1"),
                release_mem: RELEASE_MEM.iter().any(|p| self.exists(p).is_some()),
                mem_reserved: self.line(&["sys/kernel/fadump/mem_reserved"]).and_then(|n| n.parse().ok()),
                hotplug_ready: self.line(&["sys/kernel/fadump/hotplug_ready"]).as_deref() == Some("1"),
                bootargs_append: self.line(&["sys/kernel/fadump/bootargs_append"]),
                region: self.text("sys/kernel/debug/powerpc/fadump_region"),
            };
            self.system.leavings.reserved_above = files.region.as_deref().and_then(reserved_above);
            self.system.fadump = Some(files);
        }
        self.crash_records();
    }

    /// `ksysfs.c` (`kexec_crash_loaded`, `kexec_crash_size`); the files exist where the kernel was built with kdump.
    fn kdump(&mut self) {
        let Some(loaded) = self.line(&["sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded"])
        else {
            return;
        };
        let size = self.line(&["sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size"]);
        self.system.kexec =
            Some(KexecFiles { loaded: loaded == "1", size: size.and_then(|size| size.parse().ok()) });
    }

    /// What keeps a log where no dump is made: pstore writes it to non-volatile memory, netconsole to another machine.
    fn log_keepers(&mut self) {
        let backend = self.line(&["sys/module/pstore/parameters/backend"]);
        if let Some(backend) = backend.filter(|name| !name.is_empty() && name != "(null)") {
            self.system.log_keepers.push(format!("pstore, by {backend}"));
        }
        let targets = fs::read_dir(self.root.join("sys/kernel/config/netconsole")).into_iter().flatten();
        let enabled = |target: fs::DirEntry| {
            let path = target.path().join("enabled");
            read_file(&path, MAX_TEXT).ok().flatten().is_some_and(|text| text.starts_with(b"1"))
        };
        if targets.filter_map(Result::ok).any(enabled) {
            self.system.log_keepers.push("netconsole".into());
        }
    }

    /// Logs that pstore kept (`fs/pstore/inode.c`, `pstore_mkfile`): `dmesg-BACKEND-NUMBER`.
    fn crash_records(&mut self) {
        let Ok(entries) = fs::read_dir(self.root.join("sys/fs/pstore")) else { return };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.retain(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"dmesg-")));
        paths.sort();
        for path in paths {
            let read = read_file(&path, MAX_ANSWER);
            let Some(bytes) = self.take(read) else { continue };
            let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
            let title = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            let changed = fs::metadata(&path).and_then(|m| m.modified()).ok();
            let time = changed.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map(|d| d.as_secs());
            self.system.crash_records.push(CrashRecord { path, title, time });
        }
    }

    fn others(&mut self) {
        self.system.memory = self.exists("dev/mem");
        self.system.vmcore = self.exists("proc/vmcore");
        self.system.registered_on = self.line(&[REGISTERED_ON]);
        if let Some(kernel) = self.bytes("opal-mpipl/kernel-metadata", MAX_ANSWER) {
            let top = self.bytes("opal-mpipl/boot-memory-top", 8);
            self.system.leavings.opal = Some(OpalAnswers {
                kernel,
                cpu: self.bytes("opal-mpipl/cpu-metadata", MAX_ANSWER),
                boot_memory_top: top.and_then(|t| t.try_into().ok()).map(|t| PhysAddr(u64::from_be_bytes(t))),
            });
        }
        let meminfo = self.text("proc/meminfo").unwrap_or_default();
        self.system.memory_total = meminfo::field(&meminfo, "MemTotal");
        self.system.page_flags = self.exists("proc/kpageflags");
        self.system.kernel_log = kernel_log(&self.root.join("dev/kmsg"));
        let stat = self.text("proc/stat").unwrap_or_default();
        self.system.boot_time =
            stat.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|t| t.trim().parse().ok());
    }
}

/// What `/dev/kmsg` has of fadump. The device gives a record for each read and an error when there is none left; it must
/// not be waited for. A file that cannot be read says nothing.
fn kernel_log(path: &Path) -> Vec<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let Ok(mut file) = fs::OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return Vec::new();
    };
    let (mut text, mut record) = (Vec::new(), vec![0; 8192]);
    while text.len() < MAX_TEXT as usize {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(&record[..n]),
            // The record was overwritten before it was read; the next read gives the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => (),
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&text);
    let message = |line: &str| line.split_once(';').map_or(line, |(_, message)| message).to_owned();
    text.lines().map(message).filter(|line| line.contains("fadump: ")).collect()
}

/// The address in `Memory above 0x... is reserved for saving crash dump` (`fadump_region_show`, since 5.4).
fn reserved_above(text: &str) -> Option<PhysAddr> {
    let line = text.lines().find_map(|l| l.strip_prefix("Memory above 0x"))?;
    u64::from_str_radix(line.split(' ').next()?, 16).ok().map(PhysAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_log_is_searched_for_fadump() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kmsg");
        let log = "6,1,0,-;Linux version 6.12\n3,300,8000,-;rtas fadump: Dump taken by platform is not valid\n SUBSYSTEM=x\n";
        fs::write(&path, log).unwrap();
        assert_eq!(kernel_log(&path), ["rtas fadump: Dump taken by platform is not valid"]);
        assert!(kernel_log(&dir.path().join("none")).is_empty());
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert!(
            kernel_log(&dir.path().join("fifo")).is_empty(),
            "a FIFO that nobody writes to is not waited for"
        );
    }

    #[test]
    fn the_start_of_reserved_memory_is_read_from_debugfs() {
        let text = "CPU :[0x00000014000000-0x000000140009ff] 0xa00 bytes, Dumped: 0xa00\n\n\
            Memory above 0x00000014000000 is reserved for saving crash dump\n";
        assert_eq!(reserved_above(text), Some(PhysAddr(0x1400_0000)));
        assert_eq!(reserved_above("Memory above 0xzz is"), None);
        assert_eq!(reserved_above(""), None);
    }
}
