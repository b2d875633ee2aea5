use super::*;
use crate::custody::{Known, custody};
use crate::testimage::TestImage;
use std::fs;
use tempfile::TempDir;
use vmcore::PageSize;

struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn fadump(self, registered: &str) -> Self {
        self.with("proc/device-tree/rtas/ibm,configure-kernel-dump", [0, 0, 0x20, 0x23])
            .with("proc/device-tree/memory@0/reg", [[0; 8], 0x4000u64.to_be_bytes()].concat())
            .with("sys/kernel/fadump/enabled", "1\n")
            .with("sys/kernel/fadump/registered", registered)
            .with("sys/kernel/fadump/mem_reserved", "335544320\n")
    }

    fn status(&self) -> Status {
        seen(&System::look(self.0.path()).unwrap(), None)
    }
}

fn seen(system: &System, image: Option<Box<dyn PhysicalMemory>>) -> Status {
    status(system, &custody(system, Known::default()), image)
}

fn property(status: u16, copied: u64) -> Vec<u8> {
    let mut out = [0, 0, 0, 1, 0, 2].to_vec();
    out.extend(status.to_be_bytes());
    out.extend([0, 0, 0, 0x28]);
    out.resize(0x28, 0);
    for (kind, length, copied, destination) in
        [(1u16, 0x100u64, 0x100u64, 0x1000u64), (0x11, 0x1000, copied, 0x2000)]
    {
        out.extend([0, 0, 0, 1]);
        out.extend(kind.to_be_bytes());
        out.extend([0; 10]);
        out.extend([length, copied, destination].iter().flat_map(|w| w.to_be_bytes()));
    }
    out
}

const KERNEL_DUMP: &str = "proc/device-tree/rtas/ibm,kernel-dump";

#[test]
fn a_waiting_dump_is_told_with_its_sections() {
    let root = Root::new()
        .fadump("0\n")
        .with(KERNEL_DUMP, property(0xc000, 0x1000))
        .with("sys/kernel/fadump/release_mem", "")
        .with("proc/vmcore", "x");
    let status = root.status();
    assert_eq!((status.mechanism, status.readiness), (Mechanism::Fadump, Readiness::DumpActive));
    assert_eq!(status.last_boot, LastBoot::DumpWaiting);
    assert_eq!(status.reserved, Some(335_544_320));
    assert_eq!(status.sections.len(), 2);
    assert!(status.sections.iter().all(|s| s.problems.is_empty()));
    assert!(status.evidence.iter().any(|e| e == "/proc/vmcore exists"), "{:?}", status.evidence);
    assert!(status.findings.is_empty());
}

#[test]
fn a_damaged_section_is_named() {
    let root = Root::new().fadump("0\n").with(KERNEL_DUMP, property(0xc000, 0xfff)).with("proc/vmcore", "x");
    let status = root.status();
    assert_eq!(status.last_boot, LastBoot::DumpWaiting);
    assert_eq!(status.sections[1].problems, ["section 2 (boot memory): 0xfff of 0x1000 bytes were copied"]);
    assert!(status.findings.has_damage());
}

#[test]
fn a_dump_that_the_kernel_gave_up_is_given_back() {
    let root = Root::new().fadump("0\n").with(KERNEL_DUMP, property(0xc000, 0x1000));
    let status = root.status();
    // Nothing here tells what the release freed, so a registration is not trusted.
    assert_eq!((status.last_boot, status.readiness), (LastBoot::GivenBack, Readiness::RebootFirst));
    assert!(status.evidence.iter().any(|e| e.contains("did not take the dump")));

    let again = Root::new().fadump("1\n").with(KERNEL_DUMP, property(0xc000, 0x1000)).status();
    assert_eq!((again.last_boot, again.readiness), (LastBoot::GivenBack, Readiness::RegisteredUnsafe));

    let phyp = Root::new()
        .with("proc/device-tree/rtas/ibm,configure-kernel-dump", [0; 4])
        .with(KERNEL_DUMP, property(0xe000, 0x1000))
        .with("sys/kernel/phyp_dump_active", "0x1000\n")
        .status();
    assert_eq!((phyp.mechanism, phyp.last_boot), (Mechanism::PhypDump, LastBoot::GivenBack));
}

#[test]
fn a_dump_that_was_not_made_in_the_previous_boot_is_stale() {
    let older = Root::new()
        .fadump("0\n")
        .with(KERNEL_DUMP, property(0x8000, 0x1000))
        .with("proc/vmcore", "x")
        .status();
    assert_eq!(older.last_boot, LastBoot::Stale);
}

#[test]
fn kdump_is_loaded_or_not_on_any_machine() {
    let root = Root::new()
        .with("sys/kernel/kexec_crash_loaded", "1\n")
        .with("sys/kernel/kexec_crash_size", "268435456\n");
    let loaded = root.status();
    assert_eq!((loaded.mechanism, loaded.readiness), (Mechanism::Kdump, Readiness::Loaded));
    assert_eq!(loaded.last_boot, LastBoot::Ordinary);
    let not =
        root.with("sys/kernel/kexec_crash_loaded", "0\n").with("sys/kernel/kexec_crash_size", "0\n").status();
    assert_eq!((not.mechanism, not.readiness), (Mechanism::Kdump, Readiness::NotLoaded));
    assert!(not.evidence.iter().any(|e| e.contains("crashkernel=")), "{:?}", not.evidence);
    // A capture kernel has a dump and no file of kexec's.
    let capture = Root::new().with("proc/vmcore", "x").status();
    assert_eq!((capture.mechanism, capture.last_boot), (Mechanism::Kdump, LastBoot::DumpWaiting));
    // POWER with fadump=off.
    let power = Root::new().fadump("0\n").with("sys/kernel/fadump/enabled", "0\n");
    let power = power.with("sys/kernel/kexec_crash_loaded", "1\n").status();
    assert_eq!((power.mechanism, power.readiness), (Mechanism::Kdump, Readiness::Loaded));
}

#[test]
fn a_dump_whose_save_areas_are_overwritten_is_stale() {
    let root = Root::new().fadump("0\n").with(KERNEL_DUMP, property(0xc000, 0x1000)).with("proc/vmcore", "x");
    let system = System::look(root.0.path()).unwrap();
    let mut memory = vec![0x46; 0x4000];
    let image = |memory: &[u8]| -> Option<Box<dyn PhysicalMemory>> {
        Some(Box::new(TestImage::new(PageSize::K4, memory.to_vec())))
    };
    assert_eq!(seen(&system, image(&memory)).last_boot, LastBoot::Stale);
    memory[0x1000..0x1008].copy_from_slice(b"REGSAVE\0");
    assert_eq!(seen(&system, image(&memory)).last_boot, LastBoot::DumpWaiting);
}

#[test]
fn a_crash_without_a_dump_is_missed_and_an_old_record_is_not() {
    let record = "Panic#1 Part1\n<0>Kernel panic - not syncing\n";
    let root = Root::new().fadump("0\n").with("sys/fs/pstore/dmesg-nvram-0", record);
    let status = root.status();
    assert_eq!((status.last_boot, status.readiness), (LastBoot::Missed, Readiness::NotRegistered));
    let old = root.with("proc/stat", "cpu 0\nbtime 99999999999\n").status();
    assert_eq!(old.last_boot, LastBoot::Ordinary);
    assert!(old.evidence.iter().any(|e| e.contains("older")));
}

#[test]
fn an_ordinary_reboot_is_one_whether_the_kernel_is_registered_or_not() {
    let registered = Root::new().fadump("1\n").status();
    assert_eq!((registered.last_boot, registered.readiness), (LastBoot::Ordinary, Readiness::Registered));
    let phyp = Root::new()
        .with("proc/device-tree/rtas/ibm,configure-kernel-dump", [0; 4])
        .with("sys/kernel/phyp_dump_active", "0x1000\n")
        .status();
    assert_eq!((phyp.last_boot, phyp.readiness), (LastBoot::Ordinary, Readiness::Registered));
    let off = Root::new().fadump("0\n").with("sys/kernel/fadump/enabled", "0\n").status();
    assert_eq!(off.readiness, Readiness::Supported);
}

#[test]
fn a_registration_that_stayed_on_another_machine_is_lost() {
    let root = Root::new()
        .fadump("1\n")
        .with("proc/device-tree/system-id", "IBM,02MODEL02\0")
        .with(crate::system::REGISTERED_ON, "IBM,02MODEL01\n");
    assert_eq!(root.status().readiness, Readiness::LostByMigration);
    let same = root.with(crate::system::REGISTERED_ON, "IBM,02MODEL02\n").status();
    assert_eq!(same.readiness, Readiness::Registered);
    let crashed = Root::new()
        .fadump("0\n")
        .with("proc/device-tree/system-id", "B\0")
        .with(crate::system::REGISTERED_ON, "A")
        .with("sys/fs/pstore/dmesg-nvram-0", "Panic#1 Part1\n")
        .status();
    assert_eq!(crashed.last_boot, LastBoot::Missed);
    assert!(crashed.evidence.iter().any(|e| e.contains("lost by a migration")));
}

#[test]
fn a_machine_without_the_firmware_has_no_support() {
    let status = Root::new().with("proc/cpuinfo", "x").status();
    assert_eq!((status.mechanism, status.readiness), (Mechanism::None, Readiness::Unsupported));
    assert_eq!(status.last_boot, LastBoot::Ordinary);
    assert!(System::look(std::path::Path::new("/nonexistent")).is_err());
}

#[test]
fn opals_waiting_dump_is_told_by_its_property_and_old_names_are_read() {
    let root = Root::new()
        .with("proc/device-tree/ibm,opal/dump/mpipl-boot", "")
        .with("sys/kernel/fadump_enabled", "1")
        .with("sys/kernel/fadump_registered", "0")
        .with("sys/kernel/fadump_release_mem", "")
        .with("opal-mpipl/kernel-metadata", [1, 0])
        .with("opal-mpipl/boot-memory-top", 0x3000_0000u64.to_be_bytes());
    let status = root.status();
    assert_eq!((status.mechanism, status.last_boot), (Mechanism::Opal, LastBoot::DumpWaiting));
    let system = System::look(root.0.path()).unwrap();
    assert_eq!(system.leavings.opal.unwrap().boot_memory_top, Some(PhysAddr(0x3000_0000)));
}
