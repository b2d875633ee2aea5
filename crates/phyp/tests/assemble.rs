//! Whole reassemblies over a small sparse memory, one for each generation and for what can be missing.

use phyp::{Error, Leavings, OpalAnswers, Options, assemble};
use std::collections::BTreeMap;
use vmcore::{
    ByteOrder, Dump, MemoryMap, PageSize, PageState, Pfn, PhysAddr, PhysicalMemory, Range, RangeSet,
    ReadError,
};

const MIB: u64 = 1 << 20;

/// Memory in which every byte depends on its address, except what was written into it.
struct Sparse {
    map: MemoryMap,
    written: BTreeMap<u64, Vec<u8>>,
}

fn natural(at: u64) -> u8 {
    (at >> 12) as u8 ^ (at >> 20) as u8 ^ (at as u8) | 1
}

impl Sparse {
    fn new(end: u64) -> Self {
        let all: RangeSet<PhysAddr> = [Range::new(PhysAddr(0), PhysAddr(end))].into_iter().collect();
        Self { map: MemoryMap::new(PageSize::K4, all), written: BTreeMap::new() }
    }

    fn write(&mut self, at: u64, bytes: impl Into<Vec<u8>>) {
        self.written.insert(at, bytes.into());
    }

    fn byte(&self, at: u64) -> u8 {
        let before = self.written.range(..=at).next_back();
        let written = before.and_then(|(start, bytes)| bytes.get((at - start) as usize));
        written.copied().unwrap_or_else(|| natural(at))
    }
}

impl PhysicalMemory for Sparse {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        let at = pfn.0 << 12;
        page.iter_mut().zip(at..).for_each(|(to, at)| *to = natural(at));
        for (start, bytes) in self.written.range(at.saturating_sub(0x4000)..at + 4096) {
            for (i, byte) in bytes.iter().enumerate() {
                if let Some(to) = (start + i as u64).checked_sub(at).and_then(|o| page.get_mut(o as usize)) {
                    *to = *byte;
                }
            }
        }
        Ok(PageState::Present)
    }
}

fn property(sections: &[(u16, u64, u64, u64, u64)]) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 1, 0, sections.len() as u8, 0xc0, 0, 0, 0, 0, 0x28];
    out.resize(0x28, 0);
    for &(kind, source, requested, copied, destination) in sections {
        out.extend([0, 0, 0, 1]);
        out.extend(kind.to_be_bytes());
        out.extend([0; 2]);
        out.extend([source, requested, copied, destination].iter().flat_map(|w| w.to_be_bytes()));
    }
    out
}

fn save_area(cpus: &[u64], msr: u64) -> Vec<u8> {
    let mut out = b"REGSAVE\0\0\0\0\0\0\0\0\x1c".to_vec();
    out.resize(0x1c, 0);
    out.extend((cpus.len() as u32).to_be_bytes());
    for &cpu in cpus {
        for (name, value) in
            [("CPUSTRT\0", cpu), ("GPR01\0\0\0", cpu + 0x100), ("MSR\0\0\0\0\0", msr), ("CPUEND\0\0", cpu)]
        {
            out.extend(name.bytes());
            out.extend(value.to_be_bytes());
        }
    }
    out
}

fn vmcoreinfo(order: ByteOrder, page: u64) -> Vec<u8> {
    let text = format!("OSRELEASE=test\nPAGESIZE={page}\nCRASHTIME=1\n");
    let mut out: Vec<u8> = [11, text.len() as u32, 0].iter().flat_map(|&w| order.put_u32(w)).collect();
    out.extend(b"VMCOREINFO\0\0");
    out.extend(text.bytes());
    out
}

fn with_property(property: Vec<u8>) -> Leavings {
    Leavings { kernel_dump: Some(property), ..Leavings::default() }
}

fn state(dump: &Dump, at: u64) -> PageState {
    let mut page = vec![0; dump.page_size().len()];
    dump.memory.read_page(dump.page_size().pfn(PhysAddr(at)), &mut page).unwrap()
}

fn byte(dump: &Dump, at: u64) -> u8 {
    let mut byte = [0];
    assert_eq!(dump.memory.read(PhysAddr(at), &mut byte).unwrap(), PageState::Present);
    byte[0]
}

#[test]
fn the_documents_example_is_reassembled_from_its_text_alone() {
    let mut memory = Sparse::new(0x1_8800_0000);
    memory.write(0x1_77fe_e000, save_area(&[0, 1], 1 << 63));
    memory.write(0x1_77ff_f020 + 0x80_0000, vmcoreinfo(ByteOrder::Big, 4096));
    let text = "CPU:0x177fee000-0x10000: HPTE:0x177ffe020-0x1000: /\nDUMP:0x177fff020-0x10000000, 0x10000000-0x16F1D370A\n";
    let leavings = Leavings { release_region: Some(text.into()), ..Leavings::default() };
    let expected = Sparse::new(0x1_8800_0000);
    let (dump, findings) = assemble(&leavings, Box::new(memory), &Options::default()).unwrap();
    assert!(!findings.has_damage(), "{findings:#?}");
    assert_eq!((dump.machine.order, dump.page_size(), dump.cpus()), (ByteOrder::Big, PageSize::K4, 2));
    for at in [0, 1, 0xfdf, 0xfe0, 0xfff_ffff] {
        assert_eq!(byte(&dump, at), expected.byte(0x1_77ff_f020 + at), "{at:#x}");
    }
    for at in [0x1000_0000, 0x1_77fe_dfff] {
        assert_eq!(byte(&dump, at), expected.byte(at), "{at:#x}");
    }
    for at in [0x1_77fe_e000, 0x1_77ff_f000, 0x1_87ff_e000] {
        assert_eq!(state(&dump, at), PageState::Absent, "{at:#x}");
    }
    for words in
        ["line continuation", "upper-case", "142 MiB", "CPU is 0x10000 bytes long", "no crash-info header"]
    {
        assert!(findings.mentions(words), "{words}: {findings:#?}");
    }
}

#[test]
fn what_phyp_dump_ran_in_and_did_not_copy_is_lost() {
    // 16 GiB: five percent are 768 MiB, of which 256 MiB were copied.
    let end = 16 << 30;
    let area = end - (0x1000 + 768 * MIB);
    let mut memory = Sparse::new(end);
    memory.write(area, save_area(&[0], 1 << 63));
    memory.write(area + 0x1000 + MIB, vmcoreinfo(ByteOrder::Big, 65536));
    let leavings = with_property(property(&[
        (1, 0, 0x1000, 0x1000, area),
        (0x11, 0, 256 * MIB, 256 * MIB, area + 0x1000),
    ]));
    let (dump, findings) = assemble(&leavings, Box::new(memory), &Options::default()).unwrap();
    assert_eq!(dump.page_size(), PageSize::K64);
    assert_eq!(state(&dump, 255 * MIB), PageState::Present);
    assert_eq!((state(&dump, 256 * MIB), state(&dump, 767 * MIB)), (PageState::Lost, PageState::Lost));
    assert_eq!(state(&dump, 768 * MIB), PageState::Present);
    assert_eq!(state(&dump, end - 0x10000), PageState::Absent);
    assert!(findings.mentions("memory 0x10000000..0x30000000"), "{findings:#?}");
    assert!(findings.has_damage() && dump.source.incomplete);
}

#[test]
fn an_old_header_gives_registers_and_vmcoreinfo_and_fills_up_its_page() {
    let order = ByteOrder::Little;
    let (boot, area) = (64 * MIB, 64 * MIB);
    let copy = area + 0x1_0000;
    let header = copy + boot;
    let note = copy + 0x3000;
    let elf_at = header + 0x18 + 0x170 + 8;
    let mut memory = Sparse::new(256 * MIB);
    memory.write(area, save_area(&[0, 1], 1 << 63 | 1));
    memory.write(note, vmcoreinfo(order, 4096));
    let mut info = order.put_u64(0x4641_444d_5049_4e46).to_vec();
    info.extend(order.put_u64(elf_at));
    info.extend(order.put_u64(1));
    (0..46u64).for_each(|n| info.extend(order.put_u64(0xc000_0000_0000_0000 + n)));
    info.extend(order.put_u64(3));
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(32, 0);
    elf.extend(order.put_u64(64));
    elf.resize(56, 0);
    elf.extend(order.put_u16(4));
    elf.resize(64 + 56, 0);
    elf.extend(order.put_u32(4));
    elf.extend([0; 4]);
    [note, 0, note, 4096].iter().for_each(|&w| elf.extend(order.put_u64(w)));
    info.extend(elf);
    memory.write(header, info);
    let leavings = with_property(property(&[(1, 0, 0x1000, 0x1000, area), (0x11, 0, boot, boot, copy)]));
    let (dump, findings) = assemble(&leavings, Box::new(memory), &Options::default()).unwrap();
    assert!(!findings.has_damage(), "{findings:#?}");
    assert_eq!((dump.machine.order, dump.elf_flags, dump.cpus()), (order, 2, 2));
    let crashed = dump.notes.prstatus().nth(1).unwrap();
    assert_eq!(order.u64(&crashed.desc[0x70 + 32 * 8..]), 0xc000_0000_0000_0020);
    let other = dump.notes.prstatus().next().unwrap();
    assert_eq!(order.u64(&other.desc[0x78..]), 0x100);
    let ranges: Vec<(u64, u64)> = dump.memory.map().bytes().iter().map(|r| (r.start.0, r.end.0)).collect();
    assert_eq!(ranges, [(0, 64 * MIB), (header + 0x1000, 256 * MIB)]);
    let listed = phyp::registers(&dump.notes, order).unwrap();
    assert!(listed[1].crashed && !listed[0].crashed);
    assert_eq!(listed[1].kernel.len(), 46);
}

#[test]
fn a_save_area_without_its_magic_leaves_a_dump_without_registers() {
    let area = 64 * MIB;
    let mut memory = Sparse::new(256 * MIB);
    memory.write(area + 0x1000, vmcoreinfo(ByteOrder::Big, 4096));
    let leavings =
        with_property(property(&[(1, 0, 0x1000, 0x1000, area), (0x11, 0, area, area - 1, area + 0x1000)]));
    let (dump, findings) = assemble(&leavings, Box::new(memory), &Options::default()).unwrap();
    assert_eq!((dump.cpus(), dump.page_size()), (0, PageSize::K4));
    for words in
        ["register save area: magic", "crash-info header: magic_number", "0x3ffffff of 0x4000000 bytes"]
    {
        assert!(findings.mentions(words), "{words}: {findings:#?}");
    }
    assert_eq!(state(&dump, area - 1), PageState::Lost);
    assert_eq!(state(&dump, area - 0x1001), PageState::Present);
}

#[test]
fn opals_metadata_says_what_was_copied_and_what_was_never_accepted() {
    let (half, area) = (32 * MIB, 64 * MIB);
    let mut kernel = vec![1, 0, 0, 0, 0, 2, 0, 1];
    kernel.extend((area + 2 * half).to_be_bytes());
    for region in [[0, area, half], [half, area + half, half]] {
        kernel.extend(region.iter().flat_map(|w| w.to_be_bytes()));
    }
    kernel.resize(3088, 0);
    let mut cpu = vec![1, 0, 0, 0, 0, 0, 0, 0];
    cpu.extend([0x28u32, 1, 64, 1].iter().flat_map(|w| w.to_be_bytes()));
    cpu.extend([0, 200 * MIB, 64].iter().flat_map(|w| w.to_be_bytes()));
    let mut thread = 0x28u32.to_be_bytes().to_vec();
    thread.extend([0; 4]);
    thread.extend([0x10u32, 1, 16, 16].iter().flat_map(|w| w.to_be_bytes()));
    thread.extend([0, 0, 0, 1, 0, 0, 0, 1]);
    thread.extend(0x4444u64.to_be_bytes());
    thread.resize(64, 0);
    let mut memory = Sparse::new(256 * MIB);
    memory.write(area + 0x8000, vmcoreinfo(ByteOrder::Little, 65536));
    memory.write(200 * MIB, thread);
    let answers = OpalAnswers { kernel, cpu: Some(cpu), boot_memory_top: Some(PhysAddr(area)) };
    let leavings = Leavings { opal: Some(answers), ..Leavings::default() };
    let (dump, findings) = assemble(&leavings, Box::new(memory), &Options::default()).unwrap();
    assert_eq!((dump.cpus(), dump.machine.order), (1, ByteOrder::Little));
    assert_eq!((state(&dump, half - 1), state(&dump, half)), (PageState::Present, PageState::Lost));
    assert!(findings.mentions("OPAL had not accepted the boot memory at 0x2000000..0x4000000"));
    let listed = phyp::registers(&dump.notes, ByteOrder::Little).unwrap();
    assert_eq!((listed[0].cpu, listed[0].firmware[0].value), (0x28, 0x4444));
}

#[test]
fn without_any_word_of_where_the_copies_lie_there_is_no_dump() {
    let run = |leavings: &Leavings| {
        assemble(leavings, Box::new(Sparse::new(MIB)), &Options::default()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(run(&Leavings::default()), Error::Missing { .. }));
    let blank = "CPU:0x0-0x0: HPTE:0x10020-0x0: DUMP:0x11020-0x0, 0x10000000-0x167feefe0:\n";
    assert!(matches!(
        run(&Leavings { release_region: Some(blank.into()), ..Leavings::default() }),
        Error::Missing { .. }
    ));
    assert!(matches!(
        run(&Leavings { release_region: Some("x".into()), ..Leavings::default() }),
        Error::Region { .. }
    ));
    assert!(matches!(run(&with_property(vec![0; 8])), Error::Short { .. }));
}
