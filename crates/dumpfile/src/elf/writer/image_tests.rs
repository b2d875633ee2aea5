//! A core that is read where it is, beside the one that is written.

use super::*;
use crate::elf::Image;

/// The whole file, put together of reads of `piece` bytes.
fn bytes_of(image: &Image, memory: &dyn PhysicalMemory, piece: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; image.len() as usize];
    let (head, pages) = bytes.split_at_mut(image.pages_at() as usize);
    for (at, bytes) in head.chunks_mut(piece).enumerate() {
        image.read_head((at * piece) as u64, bytes).unwrap();
    }
    let size = memory.map().page_size();
    for (at, page) in pages.chunks_mut(size.len()).enumerate() {
        let range = image.memory_at(image.pages_at() + (at * size.len()) as u64).unwrap();
        let _ = memory.read_page(size.pfn(range.start), page).unwrap();
    }
    assert_eq!(image.memory_at(image.len()), None);
    bytes
}

fn facts() -> Facts {
    Facts { notes: vec![Note { name: b"FACT".into(), kind: 3, desc: vec![9; 5] }], ..Facts::default() }
}

/// Pages that are lost are zeros in an image, which does not look at them.
fn without_lost(states: &[PageState]) -> Vec<PageState> {
    let zero = |state: &PageState| if *state == PageState::Lost { PageState::Zero } else { *state };
    states.iter().map(zero).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn an_image_has_the_pages_notes_and_addresses_of_the_core_that_is_written(
        machine in any_machine(),
        shift in prop::sample::select(vec![12u64, 14, 16]),
        runs in prop::collection::vec((any_state(), 1u64..90, any::<bool>()), 1..12),
        aliased in any::<bool>(),
        piece in 1usize..300,
    ) {
        let expand = |(state, count, kept): &(PageState, u64, bool)| {
            std::iter::repeat_n((*state, *kept), (*count >> (shift - 12)).max(1) as usize)
        };
        let (states, kept): (Vec<_>, Vec<bool>) = runs.iter().flat_map(expand).unzip();
        let states = without_lost(&states);
        let keep = |i: u64| kept[i as usize] && states[i as usize] != PageState::Excluded;
        let model = Model::new(PageSize::new(1 << shift).unwrap(), states.clone());
        let selection = select(&model, keep);
        prop_assume!(selection.kept() > 0);
        let mut dump = dump_of(machine, model);
        if aliased && machine.word == WordSize::Bits64 {
            let phys = Range::new(PhysAddr(3 << shift), PhysAddr(40 << shift));
            dump.virt.push(VirtSegment { virt: VirtAddr(DIRECT + (1 << 36)), phys });
        }
        let (_, bytes) = written(&dump, &selection, 1);
        let image = Image::new(&dump, &selection, &facts(), Path::new("image")).unwrap();
        let mine = bytes_of(&image, &*dump.memory, piece);
        check_rules(&mine);
        let (written, image) = (reopen(&bytes), reopen(&mine));
        prop_assert_eq!(image.notes.raw(), written.notes.raw());
        prop_assert_eq!(image.elf_flags, written.elf_flags);
        prop_assert_eq!(image.source.dump_level, written.source.dump_level);
        prop_assert_eq!(&image.source.remarks, &[""; 0]);
        prop_assert_eq!(image.memory.map(), written.memory.map());
        let (mut a, mut b) = (vec![1; 1 << shift], vec![2; 1 << shift]);
        for i in 0..states.len() as u64 {
            let found = image.memory.read_page(Pfn(i), &mut a).unwrap();
            prop_assert_eq!(found.is_known(), written.memory.read_page(Pfn(i), &mut b).unwrap().is_known());
            prop_assert_eq!(&a, &b);
        }
        // Cut at other places, they say the same of each frame.
        let addresses = |dump: &Dump, i: u64| {
            let addr = i << shift;
            let of = |v: &VirtSegment| {
                (v.phys.start.0 <= addr && addr < v.phys.end.0)
                    .then(|| v.virt.0.wrapping_add(addr - v.phys.start.0))
            };
            let mut all: Vec<u64> = dump.virt.iter().filter_map(of).collect();
            all.sort_unstable();
            all
        };
        for i in 0..states.len() as u64 {
            prop_assert_eq!(addresses(&image, i), addresses(&written, i), "frame {}", i);
        }
    }
}

/// As [`Model`], of frames of which it is known which are lost.
struct Cut(Model);

impl PhysicalMemory for Cut {
    fn map(&self) -> &MemoryMap {
        self.0.map()
    }

    fn read_page(&self, pfn: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
        self.0.read_page(pfn, page)
    }

    fn lost_run(&self, first: Pfn, limit: u64) -> u64 {
        let states = &self.0.states[first.0 as usize..];
        states.iter().take(limit as usize).take_while(|s| **s == PageState::Lost).count() as u64
    }
}

#[test]
fn pages_that_are_known_to_be_lost_have_a_place_and_are_named() {
    use PageState::*;
    let states =
        [vec![Present; 70], vec![Lost; 300], vec![Zero; 3], vec![Present; 5], vec![Lost; 65]].concat();
    let model = Model::new(PageSize::K4, states.clone());
    let selection = select(&model, |_| true);
    let mut dump = dump_of(ppc64(), model);
    let model = Model::new(PageSize::K4, states.clone());
    dump.memory = Box::new(Cut(model));
    let image = Image::new(&dump, &selection, &facts(), Path::new("image")).unwrap();
    let all: Vec<_> = image.memory().collect();
    assert_eq!(all, [Range::new(PhysAddr(0), PhysAddr((states.len() as u64) << 12))]);
    let again = reopen(&bytes_of(&image, &*dump.memory, 4096));
    assert!(again.source.incomplete);
    let mut page = vec![0; 4096];
    for (i, state) in states.iter().enumerate() {
        let found = again.memory.read_page(Pfn(i as u64), &mut page).unwrap();
        assert_eq!(found == Lost, *state == Lost, "frame {i}");
    }
}

#[test]
fn an_image_of_more_segments_than_16_bits_can_count_is_read() {
    let states =
        (0..140_000).map(|i| if i % 2 == 0 { PageState::Present } else { PageState::Absent }).collect();
    let model = Model::new(PageSize::K4, states);
    let selection = select(&model, |_| true);
    let dump = dump_of(ppc64(), model);
    let image = Image::new(&dump, &selection, &Facts::default(), Path::new("image")).unwrap();
    let again = reopen(&bytes_of(&image, &*dump.memory, 1 << 20));
    assert_eq!(again.memory.map().frames(), dump.memory.map().frames());
    let mut page = vec![0; 4096];
    let _ = again.memory.read_page(Pfn(139_998), &mut page).unwrap();
    assert_eq!(page[..8], 139_998u64.to_le_bytes());
}
