//! What is written, read back by this crate and by goblin.

use super::*;
use goblin::elf::program_header::{PT_LOAD, PT_NOTE};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Mutex;
use vmcore::{
    Arch, ByteOrder, Chunk, DumpLevel, Machine, MemoryMap, Note, Notes, PhysAddr, PhysicalMemory, Range,
    ReadError, ReasonCounts, Source, VirtAddr, VirtSegment, VmcoreInfo, WordSize,
};

/// A sink in memory.
#[derive(Default)]
struct Bytes(Mutex<Vec<u8>>);

impl Sink for Bytes {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut all = self.0.lock().unwrap();
        let end = offset as usize + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        // Each byte once, as a stream needs it.
        assert!(all[offset as usize..end].iter().all(|&b| b == 0));
        all[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }
}

/// Memory from frame 0 on with a state for each frame.
struct Model {
    map: MemoryMap,
    states: Vec<PageState>,
}

impl Model {
    fn new(page_size: PageSize, states: Vec<PageState>) -> Self {
        let exists = states.iter().enumerate().filter(|(_, s)| **s != PageState::Absent);
        let frame = |i: u64| Range::new(page_size.addr(Pfn(i)), page_size.addr(Pfn(i + 1)));
        let bytes = exists.map(|(i, _)| frame(i as u64)).collect();
        Self { map: MemoryMap::new(page_size, bytes), states }
    }

    fn content(&self, pfn: u64) -> Vec<u8> {
        let mut page = vec![0; self.map.page_size().len()];
        if self.states.get(pfn as usize) == Some(&PageState::Present) {
            page.fill((pfn as u8) | 1);
            page[..8].copy_from_slice(&pfn.to_le_bytes());
        }
        page
    }
}

impl PhysicalMemory for Model {
    fn map(&self) -> &MemoryMap {
        &self.map
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        page.copy_from_slice(&self.content(pfn.0));
        Ok(self.states.get(pfn.0 as usize).copied().unwrap_or(PageState::Absent))
    }
}

const DIRECT: u64 = 0xc000_0000_0000_0000;

fn dump_of(machine: Machine, model: Model) -> Dump {
    let mut notes = Notes::default();
    let desc = format!("PAGESIZE={}\n", model.map.page_size().bytes()).into_bytes();
    notes.push(Note { name: b"CORE".into(), kind: 1, desc: vec![5; 13] }, machine.order);
    notes.push(Note { name: b"VMCOREINFO".into(), kind: 0, desc: desc.clone() }, machine.order);
    let direct = if machine.word == WordSize::Bits64 { DIRECT } else { DIRECT >> 32 };
    let segment = |phys: Range<PhysAddr>| VirtSegment { virt: VirtAddr(direct + phys.start.0), phys };
    Dump {
        machine,
        virt: model.map.bytes().iter().map(segment).collect(),
        memory: Box::new(model),
        notes,
        vmcoreinfo: Some(VmcoreInfo::parse(&desc)),
        elf_flags: 2,
        source: Source::default(),
    }
}

fn written(dump: &Dump, selection: &Selection, threads: usize) -> (Written, Vec<u8>) {
    let out = Bytes::default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let note = Note { name: b"FACT".into(), kind: 3, desc: vec![9; 5] };
    let facts = Facts { notes: vec![note], ..Facts::default() };
    let result = pool.install(|| write(dump, selection, &facts, &out, &Progress::default())).unwrap();
    (result, out.0.into_inner().unwrap())
}

fn reopen(bytes: &[u8]) -> Dump {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    crate::open(file.path()).unwrap()
}

fn program_headers(bytes: &[u8]) -> Vec<goblin::elf::ProgramHeader> {
    let header = goblin::elf::Elf::parse_header(bytes).unwrap();
    let ctx = goblin::container::Ctx::new(header.container().unwrap(), header.endianness().unwrap());
    let mut count = usize::from(header.e_phnum);
    if count == 0xffff {
        let sections = goblin::elf::SectionHeader::parse(bytes, header.e_shoff as usize, 1, ctx).unwrap();
        count = sections[0].sh_info as usize;
    }
    goblin::elf::ProgramHeader::parse(bytes, header.e_phoff as usize, count, ctx).unwrap()
}

/// What readers of cores demand of every file.
fn check_rules(bytes: &[u8]) {
    let header = goblin::elf::Elf::parse_header(bytes).unwrap();
    assert_eq!(header.e_phoff, u64::from(header.e_ehsize));
    let phdrs = program_headers(bytes);
    assert_eq!(phdrs[0].p_type, PT_NOTE);
    let loads = &phdrs[1..];
    assert!(loads.iter().all(|p| p.p_type == PT_LOAD && p.p_align == 0));
    let notes_end = phdrs[0].p_offset + phdrs[0].p_filesz;
    assert!(loads.iter().all(|p| p.p_offset >= notes_end && p.p_offset + p.p_filesz <= bytes.len() as u64));
    if let [only] = loads {
        assert_eq!(only.p_filesz, only.p_memsz);
    }
}

fn select(model: &Model, keep: impl Fn(u64) -> bool) -> Selection {
    let mut selection = Selection::new(model.map.clone(), DumpLevel::new(17).unwrap(), None);
    for index in selection.chunk_indices() {
        let mut chunk = Chunk::of_map(&model.map, index);
        for i in 0..model.states.len() as u64 {
            if !keep(i) {
                chunk.set(i, i + 1, false);
            }
        }
        selection.push(index, chunk, &ReasonCounts::default()).unwrap();
    }
    selection
}

fn any_state() -> impl Strategy<Value = PageState> {
    use PageState::*;
    prop_oneof![5 => Just(Present), 5 => Just(Zero), 1 => Just(Excluded), 1 => Just(Lost), 2 => Just(Absent)]
}

fn any_machine() -> impl Strategy<Value = Machine> {
    (any::<bool>(), any::<bool>()).prop_map(|(big, wide)| Machine {
        arch: if wide { Arch::Ppc64 } else { Arch::Ppc },
        order: if big { ByteOrder::Big } else { ByteOrder::Little },
        word: if wide { WordSize::Bits64 } else { WordSize::Bits32 },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_memory_reads_back_as_it_was_kept(
        machine in any_machine(),
        shift in prop::sample::select(vec![12u64, 14, 16]),
        runs in prop::collection::vec((any_state(), 1u64..90, any::<bool>()), 1..12),
    ) {
        let expand = |(state, count, kept): &(PageState, u64, bool)| {
            std::iter::repeat_n((*state, *kept || count % 3 > 0), (*count >> (shift - 12)).max(1) as usize)
        };
        let (states, kept): (Vec<_>, Vec<bool>) = runs.iter().flat_map(expand).unzip();
        let model = Model::new(PageSize::new(1 << shift).unwrap(), states.clone());
        let selection = select(&model, |i| kept[i as usize]);
        let expected: Vec<_> = (0..states.len()).map(|i| (states[i], model.content(i as u64))).collect();
        let dump = dump_of(machine, model);
        let (result, bytes) = written(&dump, &selection, 3);
        prop_assert_eq!(&written(&dump, &selection, 1).1, &bytes);
        prop_assert_eq!(result.bytes, bytes.len() as u64);
        check_rules(&bytes);
        let of = |state| (0..states.len()).filter(|&i| kept[i] && states[i] == state).count() as u64;
        prop_assert_eq!(result.data_pages, of(PageState::Present));
        prop_assert_eq!(result.zero_pages, of(PageState::Zero));
        prop_assert_eq!(result.lost_pages, of(PageState::Lost));
        prop_assert_eq!(result.missing_pages, of(PageState::Excluded));
        prop_assume!(result.data_pages + result.zero_pages > 0);

        let again = reopen(&bytes);
        prop_assert_eq!(again.machine, machine);
        prop_assert_eq!(again.elf_flags, 2);
        prop_assert_eq!(again.source.dump_level, DumpLevel::new(17));
        prop_assert_eq!(again.source.incomplete, result.lost_pages > 0);
        prop_assert!(again.notes.raw().starts_with(dump.notes.raw()));
        let names: Vec<_> = again.notes.iter().map(|n| n.name.clone()).collect();
        prop_assert_eq!(names, [b"CORE".to_vec(), b"VMCOREINFO".to_vec(), b"FACT".to_vec()]);
        prop_assert_eq!(again.memory.map().frames(), dump.memory.map().frames());
        prop_assert_eq!(again.source.remarks, [""; 0]);
        let mut page = vec![1; 1 << shift];
        for (i, (state, content)) in expected.iter().enumerate() {
            let found = again.memory.read_page(Pfn(i as u64), &mut page).unwrap();
            match state {
                PageState::Present | PageState::Zero if kept[i] => {
                    prop_assert!(found.is_known() && page == *content, "frame {} is {:?}", i, found);
                }
                PageState::Lost if kept[i] => prop_assert_eq!(found, PageState::Lost),
                PageState::Absent => prop_assert_eq!(found, PageState::Absent),
                _ => prop_assert_eq!(found, PageState::Excluded, "frame {}", i),
            }
        }
        let direct = dump.virt[0].virt.0 - dump.virt[0].phys.start.0;
        prop_assert!(again.virt.iter().all(|v| v.virt.0 - v.phys.start.0 == direct));
    }
}

fn ppc64() -> Machine {
    Machine { arch: Arch::Ppc64, order: ByteOrder::Big, word: WordSize::Bits64 }
}

#[test]
fn long_runs_of_zeros_take_no_room_and_short_ones_do() {
    use PageState::*;
    let states = |zeros| [vec![Present; 2], vec![Zero; zeros], vec![Present; 2], vec![Zero; zeros]].concat();
    for (zeros, segments, pages) in [(63, 1 + 1, 67), (64, 2, 4)] {
        let model = Model::new(PageSize::K4, states(zeros));
        let selection = select(&model, |_| true);
        let (_, bytes) = written(&dump_of(ppc64(), model), &selection, 2);
        let phdrs = program_headers(&bytes);
        assert_eq!(phdrs.len(), 1 + segments, "{zeros}");
        assert_eq!(phdrs[1..].iter().map(|p| p.p_filesz).sum::<u64>(), pages * 4096);
    }
}

#[test]
fn a_single_page_of_zeros_is_a_segment_with_bytes() {
    let model = Model::new(PageSize::K4, vec![PageState::Zero]);
    let selection = select(&model, |_| true);
    let (result, bytes) = written(&dump_of(ppc64(), model), &selection, 1);
    check_rules(&bytes);
    assert_eq!(result.bytes, bytes.len() as u64);
    let mut page = vec![1; 4096];
    assert!(reopen(&bytes).memory.read_page(Pfn(0), &mut page).unwrap().is_known());
    assert_eq!(page, vec![0; 4096]);
}

#[test]
fn the_kernel_image_is_there_at_both_its_addresses() {
    use PageState::*;
    let mut states = [vec![Present; 100], vec![Zero; 100], vec![Present; 100]].concat();
    states[250] = Lost;
    let machine = Machine { arch: Arch::X86_64, order: ByteOrder::Little, word: WordSize::Bits64 };
    let model = Model::new(PageSize::K4, states);
    let selection = select(&model, |i| i != 60);
    let mut dump = dump_of(machine, model);
    dump.elf_flags = 0;
    let image = Range::new(PhysAddr(50 << 12), PhysAddr(270 << 12));
    const IMAGE: u64 = 0xffff_ffff_8100_0000;
    dump.virt.insert(0, VirtSegment { virt: VirtAddr(IMAGE), phys: image });
    let (_, bytes) = written(&dump, &selection, 2);
    check_rules(&bytes);
    let phdrs = program_headers(&bytes);
    let (direct, alias): (Vec<_>, Vec<_>) = phdrs[1..].iter().partition(|p| p.p_vaddr < IMAGE);
    assert!(direct.iter().all(|p| p.p_vaddr == DIRECT + p.p_paddr));
    let cut: Vec<_> = alias.iter().map(|p| (p.p_paddr >> 12, p.p_filesz >> 12, p.p_memsz >> 12)).collect();
    assert_eq!(cut, [(50, 10, 10), (61, 39, 139), (200, 50, 50), (251, 19, 19)]);
    for p in &alias {
        assert_eq!(p.p_vaddr, IMAGE + p.p_paddr - (50 << 12));
        let same =
            direct.iter().find(|d| d.p_paddr <= p.p_paddr && p.p_paddr < d.p_paddr + d.p_memsz).unwrap();
        assert_eq!(p.p_offset, same.p_offset + (p.p_paddr - same.p_paddr));
    }
    // x86_64 has room for the mark that the dump is incomplete.
    assert_eq!(bytes[48], 1);
    let again = reopen(&bytes);
    assert!(again.source.incomplete);
    let mut page = vec![0; 4096];
    assert_eq!(again.memory.read_page(Pfn(150), &mut page).unwrap(), Zero);
    assert_eq!(again.memory.read_page(Pfn(60), &mut page).unwrap(), Excluded);
    assert_eq!(again.memory.read_page(Pfn(250), &mut page).unwrap(), Lost);
}

#[test]
fn more_segments_than_16_bits_can_count_are_counted_in_section_0() {
    let states =
        (0..140_000).map(|i| if i % 2 == 0 { PageState::Present } else { PageState::Absent }).collect();
    let model = Model::new(PageSize::K4, states);
    let selection = select(&model, |_| true);
    let (_, bytes) = written(&dump_of(ppc64(), model), &selection, 2);
    check_rules(&bytes);
    assert_eq!(program_headers(&bytes).len(), 70_001);
    let again = reopen(&bytes);
    assert_eq!(again.memory.map().frames().total(), 70_000);
    let mut page = vec![0; 4096];
    let _ = again.memory.read_page(Pfn(139_998), &mut page).unwrap();
    assert_eq!(page[..8], 139_998u64.to_le_bytes());
}

#[test]
fn a_32_bit_machine_with_more_than_4_gib_has_a_64_bit_core() {
    let machine = Machine { arch: Arch::Arm, order: ByteOrder::Little, word: WordSize::Bits32 };
    let mut states = vec![PageState::Absent; (1 << 20) + 10];
    states[5] = PageState::Present;
    *states.last_mut().unwrap() = PageState::Present;
    let top = states.len() as u64 - 1;
    let model = Model::new(PageSize::K4, states);
    let selection = Selection::everything(&model, DumpLevel::default(), None).unwrap();
    let (_, bytes) = written(&dump_of(machine, model), &selection, 1);
    let again = reopen(&bytes);
    assert_eq!((again.machine, again.source.format.as_str()), (machine, "ELF64 core"));
    let mut page = vec![0; 4096];
    assert_eq!(again.memory.read_page(Pfn(top), &mut page).unwrap(), PageState::Present);
    assert_eq!(page[..8], top.to_le_bytes());
}

#[test]
fn a_foreign_filter_of_our_file_does_not_inherit_our_zeros() {
    let model = Model::new(PageSize::K4, [vec![PageState::Present; 2], vec![PageState::Zero; 100]].concat());
    let selection = select(&model, |_| true);
    let (_, mut bytes) = written(&dump_of(ppc64(), model), &selection, 1);
    let mut page = vec![0; 4096];
    assert_eq!(reopen(&bytes).memory.read_page(Pfn(50), &mut page).unwrap(), PageState::Zero);
    // Another tool cut the tail, which is the second PT_LOAD, and kept the notes.
    let memsz = 64 + 2 * 56 + 40;
    bytes[memsz..memsz + 8].copy_from_slice(&(60u64 << 12).to_be_bytes());
    assert_eq!(reopen(&bytes).memory.read_page(Pfn(50), &mut page).unwrap(), PageState::Excluded);
    let mut chunk = Chunk::of_map(reopen(&bytes).memory.map(), 0);
    assert_eq!(reopen(&bytes).memory.drop_excluded(Pfn(0), &mut chunk).unwrap(), 60);
    assert_eq!((chunk.count(), chunk.next_run(0)), (2, Some(0..2)));
}

#[test]
fn what_the_note_says_of_memory_counts_in_its_own_file_only() {
    use PageState::*;
    let states =
        [vec![Present; 4], vec![Lost; 3], vec![Present; 2], vec![Zero; 70], vec![Present; 3]].concat();
    let count = states.len() as u64;
    let model = Model::new(PageSize::K4, states);
    let selection = select(&model, |i| i % 4 != 3);
    let facts = Facts {
        utsname: vmcore::Utsname { release: "6.1.0".into(), ..Default::default() },
        phys_base: 0x1000,
        ..Facts::default()
    };
    let (dump, out) = (dump_of(ppc64(), model), Bytes::default());
    write(&dump, &selection, &facts, &out, &Progress::default()).unwrap();
    let mut bytes = out.0.into_inner().unwrap();
    let again = reopen(&bytes);
    assert_eq!((again.source.utsname, again.source.phys_base), (Some(facts.utsname.clone()), Some(0x1000)));
    assert_eq!(again.memory.map(), dump.memory.map());
    // Pages that are known to be lost or left out are not asked for one by one.
    assert_eq!((again.memory.lost_run(Pfn(4), 9), again.memory.lost_run(Pfn(3), 9)), (3, 0));
    let kept = Selection::everything(&*again.memory, DumpLevel::default(), None).unwrap();
    assert_eq!(kept.kept(), selection.kept());
    // The sum of the tails is not the note's any more.
    let tail = program_headers(&bytes).iter().position(|p| p.p_memsz > p.p_filesz).unwrap();
    let memsz = 64 + tail * 56 + 40;
    let less = program_headers(&bytes)[tail].p_memsz - 4096;
    bytes[memsz..memsz + 8].copy_from_slice(&less.to_be_bytes());
    let foreign = reopen(&bytes);
    assert_eq!((foreign.source.utsname, foreign.source.phys_base), (Some(facts.utsname), Some(0x1000)));
    let mut page = vec![0; 4096];
    for pfn in [3, 4, 5] {
        assert_eq!(foreign.memory.read_page(Pfn(pfn), &mut page).unwrap(), Absent);
    }
    assert!(foreign.memory.map().frames().total() < count);
}

#[test]
fn more_lost_places_than_the_note_has_room_for_are_said() {
    let states = (0..3000).map(|i| if i % 2 == 0 { PageState::Present } else { PageState::Lost }).collect();
    let model = Model::new(PageSize::K4, states);
    let selection = select(&model, |i| i == 0 || i % 2 == 1);
    let (result, bytes) = written(&dump_of(ppc64(), model), &selection, 2);
    assert_eq!(result.lost_pages, 1500);
    let again = reopen(&bytes);
    let states = |pfn| again.memory.read_page(Pfn(pfn), &mut [0; 4096]).unwrap();
    assert_eq!((states(2047), states(2049)), (PageState::Lost, PageState::Excluded));
    assert!(again.source.incomplete && again.source.remarks[0].starts_with("1500 pages are lost"));
    assert_eq!(again.memory.map().frames().total(), 3000);
}

/// Where the descriptor of hadump's note starts.
fn own_note(bytes: &[u8]) -> usize {
    bytes.windows(8).position(|w| w == b"HADUMP\0\0").unwrap() + 8
}

#[test]
fn a_note_with_more_memory_than_can_be_makes_no_memory() {
    let model = Model::new(PageSize::K4, vec![PageState::Present; 4]);
    let selection = select(&model, |i| i != 2);
    let (_, sound) = written(&dump_of(ppc64(), model), &selection, 1);
    let note = own_note(&sound);
    let set = |bytes: &mut [u8], at: usize, value: u64| {
        bytes[note + at..note + at + 8].copy_from_slice(&value.to_be_bytes());
    };
    assert_eq!(reopen(&sound).memory.map().frames().total(), 4);
    let mut bytes = sound.clone();
    set(&mut bytes, 448, u64::MAX);
    let dump = reopen(&bytes);
    assert_eq!(dump.memory.map().frames().total(), 3);
    assert!(
        dump.source.remarks[0].contains("memory range 0x0..0xffffffffffffffff"),
        "{:?}",
        dump.source.remarks
    );
    // As much as can be, all of it lost: more than a file of this length can have lost.
    let mut bytes = sound;
    bytes[note + 44..note + 48].copy_from_slice(&1u32.to_be_bytes());
    set(&mut bytes, 448, 1 << 47);
    set(&mut bytes, 456, 1 << 13);
    set(&mut bytes, 464, 1 << 47);
    let dump = reopen(&bytes);
    assert!(dump.source.remarks[0].contains("too many for this file"), "{:?}", dump.source.remarks);
    assert_eq!(dump.memory.read_page(Pfn(1 << 20), &mut [0; 4096]).unwrap(), PageState::Excluded);
    let kept = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    assert_eq!(kept.kept(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_damaged_note_never_panics(
        damage in prop::collection::vec((0usize..620, any::<u8>()), 1..12),
    ) {
        let mut states = vec![PageState::Present; 40];
        states[9] = PageState::Lost;
        states[20] = PageState::Absent;
        let model = Model::new(PageSize::K4, states);
        let selection = select(&model, |i| i % 5 != 3);
        let (_, mut bytes) = written(&dump_of(ppc64(), model), &selection, 1);
        let note = own_note(&bytes);
        for (at, byte) in damage {
            bytes[note + at] = byte;
        }
        // What the file has for lost pages would be no content.
        bytes[note + 11] &= !8;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Ok(dump) = crate::open(file.path()) {
            let mut page = vec![0; 4096];
            for pfn in (0..50).filter(|pfn| *pfn % 5 != 3 && *pfn != 9 && *pfn != 20 && *pfn < 40) {
                // Whatever the note says, what is in the file is in the dump.
                prop_assert!(dump.memory.read_page(Pfn(pfn), &mut page).unwrap().is_known());
            }
            for frame in dump.memory.map().frames().iter().take(50) {
                let _ = dump.memory.read_page(frame.start, &mut page).unwrap();
                let _ = dump.memory.lost_run(frame.start, 1 << 18);
            }
        }
    }
}

#[path = "cut_tests.rs"]
mod cut;

#[path = "image_tests.rs"]
mod image;
