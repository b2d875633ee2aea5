//! What the firmware and the crashed kernel leave in memory and properties: each structure on its own.

use super::{Seed, Target};
use crate::pack::{pack, unpack};
use phyp::crashinfo::{self, CrashInfo};
use phyp::hpte::HpteArea;
use phyp::kdms::KernelDump;
use phyp::opal::{CpuData, KernelMetadata, Metadata};
use phyp::region::{Reading, ReleaseRegion};
use phyp::regsave::SaveArea;
use phyp_model::Linux;
use phyp_model::root::{ReleaseText, release_region};
use phyp_model::scenario::{self, Dirt, Event, Run};
use phyp_model::{ByteOrder, Extent};
use phyp_model::{Firmware, Machine, Mode, Options};
use std::hint::black_box;
use vmcore::{PhysAddr, Range};

pub(super) const KDMS: Target = Target { name: "kdms", seeds: || of_runs(structure), run: kdms };
pub(super) const REGSAVE: Target = Target { name: "regsave", seeds: || of_runs(cpu_area), run: regsave };
pub(super) const HPTE: Target = Target { name: "hpte", seeds: || of_runs(hpte_area), run: hpte };
pub(super) const CRASHINFO: Target = Target { name: "crashinfo", seeds: || of_runs(header), run: crash_info };
pub(super) const REGION: Target = Target { name: "region", seeds: regions, run: region };
pub(super) const OPAL: Target = Target { name: "opal", seeds: opal_seeds, run: opal };

/// Small machines of every generation, crashed and booted again.
pub(super) fn runs() -> Vec<Run> {
    let (phyp, fadump) = (Options::small_phyp(), Options::small_fadump());
    let old = Options {
        mode: Mode::Fadump(Linux::V6_1),
        firmware: Firmware::Papr,
        order: ByteOrder::Big,
        hpte_section: 0x1000,
        ..fadump.clone()
    };
    [phyp, fadump, old, Options::small_opal()].into_iter().map(crashed).collect()
}

fn crashed(options: Options) -> Run {
    let mut machine = Machine::new(options).expect("the model's own machine");
    machine.scatter(4).expect("memory takes some pages");
    scenario::run(machine, Event::CRASH, &[], Dirt::Stamps).expect("a crash without faults")
}

/// One seed for each run that has the part.
fn of_runs(part: fn(&Run) -> Option<Vec<u8>>) -> Vec<Seed> {
    let seed = |bytes: Vec<u8>| {
        let head = bytes.len().min(0x28);
        Seed { hot: vec![0..head, 0..bytes.len(), 0..bytes.len(), head / 2..bytes.len()], bytes }
    };
    runs().iter().filter_map(part).map(seed).collect()
}

/// The property `ibm,kernel-dump`.
pub(super) fn structure(run: &Run) -> Option<Vec<u8>> {
    run.structure.as_ref().map(|structure| structure.bytes())
}

/// The bytes at a place of memory.
pub(super) fn bytes_at(run: &Run, place: Extent) -> Option<Vec<u8>> {
    run.memory.bytes(place.start, place.length).ok().filter(|bytes| !bytes.is_empty())
}

fn cpu_area(run: &Run) -> Option<Vec<u8>> {
    run.section_bytes(1).ok()?.filter(|bytes| !bytes.is_empty())
}

fn hpte_area(run: &Run) -> Option<Vec<u8>> {
    run.section_bytes(2).ok()?.filter(|bytes| !bytes.is_empty())
}

/// The crash-info header, as much as is read of one.
pub(super) fn header(run: &Run) -> Option<Vec<u8>> {
    let place = run.layout.crash_info?;
    bytes_at(run, Extent::new(place.start, place.length.min(crashinfo::MAX_LEN as u64)))
}

fn kdms(bytes: Vec<u8>) -> bool {
    let memory = [Range::new(PhysAddr(0), PhysAddr(48 << 20))].into_iter().collect();
    KernelDump::parse(&bytes).is_ok_and(|dump| {
        for fault in dump.faults(Some(&memory)).iter().chain(&dump.faults(None)) {
            black_box(dump.explain(fault));
        }
        for section in &dump.sections {
            black_box((section.filled(), section.target(), section.source_range(), section.kind.to_string()));
        }
        black_box((dump.raw().len(), dump.status.reserved()));
        true
    })
}

fn regsave(bytes: Vec<u8>) -> bool {
    SaveArea::parse(&bytes).is_ok_and(|area| {
        black_box(area.cpu(0).is_some());
        for cpu in area.into_ascending() {
            black_box((cpu.get("NIA"), cpu.get("GPR01")));
            for register in &cpu.registers {
                black_box((register.value(), register.id.name(), register.id.kind()));
            }
        }
        true
    })
}

fn hpte(bytes: Vec<u8>) -> bool {
    HpteArea::parse(&bytes).is_ok_and(|area| {
        for entry in &area.entries {
            black_box((
                entry.is_valid(),
                entry.avpn(),
                entry.rpn(),
                entry.key(),
                entry.protection(),
                entry.wimg(),
            ));
        }
        black_box(area.findings().iter().count());
        true
    })
}

fn crash_info(bytes: Vec<u8>) -> bool {
    for addr in [PhysAddr(0), PhysAddr(u64::MAX)] {
        black_box(CrashInfo::parse(&bytes, addr, &[1, 0]).is_ok());
    }
    CrashInfo::parse(&bytes, PhysAddr(0x2801_0000), &[]).is_ok_and(|info| {
        assert!(info.regs.len() * 8 <= bytes.len() && info.cpus.len() <= bytes.len() * 8);
        true
    })
}

fn regions() -> Vec<Seed> {
    let run = crashed(Options::small_phyp());
    use ReleaseText::{Absolute, Document, Shipped, ShippedEarlyScanMissed};
    let text = |spelling| release_region(&run, spelling).into_bytes();
    let seed = |bytes: Vec<u8>| Seed { hot: vec![0..bytes.len()], bytes };
    [Shipped, ShippedEarlyScanMissed, Document, Absolute].map(text).map(seed).into()
}

fn region(bytes: Vec<u8>) -> bool {
    let text = String::from_utf8_lossy(&bytes);
    ReleaseRegion::parse(&text).is_ok_and(|region| {
        for reading in [Reading::AddressLength, Reading::StartEnd] {
            for scratch in [None, region.scratch(), Some(PhysAddr(u64::MAX))] {
                black_box(region.listed(reading, scratch, 0x1_0000));
                black_box(region.findings(reading, scratch, 4096).iter().count());
            }
        }
        black_box((region.is_blank(), region.cpu(), region.hpte(), region.in_place().count()));
        true
    })
}

/// The firmware's metadata, the kernel's, and the data of the threads.
fn opal_seeds() -> Vec<Seed> {
    let run = crashed(Options::small_opal());
    let answers = run.opal.as_ref().expect("OPAL made a dump");
    let cpus = bytes_at(&run, run.layout.cpu).expect("the threads' data is in memory");
    let whole = |bytes: Vec<u8>| Seed { hot: vec![0..bytes.len(), 0..bytes.len().min(64)], bytes };
    let parts = [answers.cpu_metadata.clone(), answers.kernel_metadata.clone(), cpus];
    vec![pack(&parts.map(whole))]
}

fn opal(bytes: Vec<u8>) -> bool {
    let Some(files) = unpack(&bytes) else { return false };
    let [firmware, kernel, cpus] = &files[..] else { return false };
    let metadata = Metadata::parse(firmware);
    let size = metadata.as_ref().map_or(0, |metadata| metadata.thread_size);
    if let Ok(metadata) = &metadata {
        black_box(metadata.regions.iter().map(|region| region.copy().len()).fold(0, u64::wrapping_add));
    }
    let kernel = KernelMetadata::parse(kernel);
    if let Ok(kernel) = &kernel {
        black_box((kernel.copied().len(), kernel.missing().len()));
    }
    let cpus = CpuData::parse(cpus, size);
    if let Ok(data) = &cpus {
        for cpu in &data.cpus {
            black_box((cpu.get("NIA"), cpu.registers.len()));
        }
    }
    metadata.is_ok() && kernel.is_ok() && cpus.is_ok()
}
