//! The model against real machines: what it makes of a real crash must be what QEMU and Linux made of it.

use std::fs;

use corpus::{Dump, POWER, POWER_BE};
use phyp_model::corpus::{find_vmcoreinfo, memory_at_crash, root_from_corpus};
use phyp_model::faults::Fault;
use phyp_model::root::{self, RegionText};
use phyp_model::scenario::{self, Dirt, Event};
use phyp_model::structure::KIND_CPU;
use phyp_model::{ByteOrder, Extent, Firmware, Machine, Memory, Options, vmcore};

const MIB: u64 = 1 << 20;

/// The real machines, each with the model's options for it.
fn machines() -> impl Iterator<Item = (Dump, Options)> {
    let common = Options {
        firmware: Firmware::Qemu,
        ram: vec![Extent::new(0, 768 * MIB)],
        lmb_size: 256 * MIB,
        cpus: vec![(0, true), (1, true)],
        crashing_cpu: Some(1),
        boot_memory: vec![Extent::new(0, 320 * MIB)],
        boot_top: 320 * MIB,
        ..Options::small_fadump()
    };
    let hash = Options { page_size: 4096, order: ByteOrder::Big, parameter_area: false, ..common.clone() };
    [(POWER, common), (POWER_BE, hash)]
        .into_iter()
        .filter_map(|(name, options)| Some((corpus::dump(name)?, options)))
}

/// Where the crashed kernel's VMCOREINFO note is in low memory, from its crash-info header.
fn vmcoreinfo(memory: &Memory, order: ByteOrder, header: u64, copy: u64) -> Extent {
    let number = |bytes: Vec<u8>| {
        let bytes: [u8; 8] = bytes.try_into().unwrap();
        if order == ByteOrder::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    };
    let note = number(memory.bytes(header + 0x10, 8).unwrap()) - copy;
    // namesz and descsz read together.
    let sizes = number(memory.bytes(note, 8).unwrap());
    let length = if order == ByteOrder::Big { sizes & 0xffff_ffff } else { sizes >> 32 };
    Extent::new(note, 24 + length.next_multiple_of(4))
}

#[test]
fn a_modelled_crash_of_a_real_machine_leaves_what_the_real_one_left() {
    for (real, options) in machines() {
        let (name, raw, firmware) = (real.name, real.memory(), real.firmware());
        let scratch = tempfile::tempdir().unwrap();
        let after = Memory::over(&raw).unwrap();
        let at_crash = memory_at_crash(&raw, &firmware).unwrap();

        let layout = phyp_model::layout::Layout::plan(&options).unwrap();
        let header = layout.crash_info.unwrap().start;
        let note = vmcoreinfo(&at_crash, options.order, header, layout.boot[0].1);
        assert_eq!(
            find_vmcoreinfo(&at_crash, options.order, options.boot_top).unwrap(),
            Some(note),
            "{name}"
        );
        let machine = Machine::with_memory(options, at_crash, Some(note)).unwrap();
        let run = scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap();

        let property = fs::read(firmware.join("ibm,kernel-dump")).unwrap();
        assert_eq!(run.hypervisor.property(), Some(&property[..]), "{name}: ibm,kernel-dump");
        let region = fs::read_to_string(firmware.join("fadump_region.txt")).unwrap();
        assert_eq!(root::fadump_region(&run, RegionText::C).unwrap(), region, "{name}: fadump_region");
        let copy = Extent::new(layout.boot[0].1, 320 * MIB);
        assert!(run.memory.equals(&after, copy).unwrap(), "{name}: the copy of boot memory");
        assert_eq!(names(&run.memory, layout.cpu), names(&after, layout.cpu), "{name}: register names");
        assert_eq!(run.section_bytes(KIND_CPU).unwrap().unwrap().len(), 0xa00);

        let ours = scratch.path().join("vmcore");
        vmcore::write(&run, &ours).unwrap();
        let (ours, theirs) = (Memory::over(&ours).unwrap(), Memory::over(&real.elf).unwrap());
        assert_eq!(ours.size(), theirs.size(), "{name}: size of /proc/vmcore");
        let page = run.options.page_size;
        assert!(ours.equals(&theirs, Extent::new(0, page)).unwrap(), "{name}: ELF and program headers");
        for load in vmcore::loads(&run) {
            // Between headers and loads are the notes, whose registers are not the real ones here.
            let at = find_load(&theirs, run.options.order, load.paddr.start);
            assert!(ours.equals(&theirs, Extent::new(at, load.paddr.length)).unwrap(), "{name}: {load:x?}");
        }
    }
}

/// Offset of the PT_LOAD with this physical address.
fn find_load(elf: &Memory, order: ByteOrder, paddr: u64) -> u64 {
    let number = |at: u64| {
        let bytes: [u8; 8] = elf.bytes(at, 8).unwrap().try_into().unwrap();
        if order == ByteOrder::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    };
    // The first entry is PT_NOTE.
    (1..16).map(|n| 64 + n * 56).find(|at| number(at + 24) == paddr).map(|at| number(at + 8)).unwrap()
}

/// The names of all entries of a register save area whose entries begin at 14h.
fn names(memory: &Memory, place: Extent) -> Vec<Vec<u8>> {
    let bytes = memory.bytes(place.start, place.length - 12).unwrap();
    bytes[0x14..].chunks(16).map(|entry| entry[..8].to_vec()).collect()
}

#[test]
fn a_root_made_from_the_corpus_holds_the_image_and_the_properties() {
    for (real, options) in machines() {
        let (name, raw) = (real.name, real.memory());
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        let made = root_from_corpus(&raw, &real.firmware(), &root).unwrap();
        assert_eq!(made.ram, options.ram);
        assert_eq!(made.boot[0].0, options.boot_memory[0]);
        let image = Memory::over(&root.join("dev/mem")).unwrap();
        assert!(image.equals(&Memory::over(&raw).unwrap(), options.ram[0]).unwrap(), "{name}");
        let property = fs::read(root.join("proc/device-tree/rtas/ibm,kernel-dump")).unwrap();
        assert_eq!(property, fs::read(real.kernel_dump()).unwrap());
        let reg = fs::read(root.join("proc/device-tree/memory@0/reg")).unwrap();
        assert_eq!(reg, [0u64.to_be_bytes(), (768 * MIB).to_be_bytes()].concat());
    }
}

#[test]
fn a_real_memory_image_goes_through_a_short_copy() {
    let (real, options) = machines().next().unwrap();
    let memory = memory_at_crash(&real.memory(), &real.firmware()).unwrap();
    let machine = Machine::with_memory(options, memory, None).unwrap();
    let fault = Fault::Copied(2, phyp_model::faults::Amount::ShortBy(0x1_0000));
    let run = scenario::run(machine, Event::CRASH, &[fault], Dirt::Whole).unwrap();
    assert_eq!(run.truth.lost, [Extent::new(320 * MIB - 0x1_0000, 0x1_0000)]);
    assert_eq!(run.rejected, Some("a section is not whole"));
}
