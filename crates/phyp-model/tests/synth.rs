//! A synthetic kernel image, walked by code that shares nothing with what built it: both go by the kernel's sources.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use phyp_model::machine::{Machine, Options};
use phyp_model::scenario::{self, Dirt, Event};
use phyp_model::synth::{self, Class, Fill, Kernel, Mix, Mmu, SynthOptions};
use phyp_model::{ByteOrder, Extent, Memory, layout::Layout};

const MIB: u64 = 1 << 20;
const LINEAR: u64 = 0xc000_0000_0000_0000;

fn options(page_size: u64, order: ByteOrder, mmu: Mmu) -> SynthOptions {
    SynthOptions {
        ram: vec![Extent::new(0, 40 * MIB), Extent::new(56 * MIB, 24 * MIB + 0x3000)],
        avoid: vec![Extent::new(16 * MIB, 8 * MIB)],
        page_size,
        order,
        mmu,
        mix: Mix::default(),
        fill: Fill::OneIn(8),
        share_vmemmap: false,
        seed: 7,
    }
}

/// Every combination of byte order, page size and translation, built once.
static IMAGES: LazyLock<Vec<(SynthOptions, Image)>> = LazyLock::new(|| {
    let mut out = Vec::new();
    for order in [ByteOrder::Big, ByteOrder::Little] {
        for page_size in [0x1000, 0x1_0000] {
            for mmu in [
                Mmu::Radix { huge_vmemmap: false },
                Mmu::Radix { huge_vmemmap: true },
                Mmu::Hash { vmemmap_shift: 16 },
            ] {
                let options = options(page_size, order, mmu);
                let image = Image::build(&options);
                out.push((options, image));
            }
        }
    }
    out
});

struct Image {
    memory: Memory,
    kernel: Kernel,
    order: ByteOrder,
    page_size: u64,
    info: HashMap<String, String>,
}

impl Image {
    fn build(options: &SynthOptions) -> Self {
        let mut memory = Memory::new(options.ram.last().unwrap().end());
        let kernel = synth::build(options, &mut memory).unwrap();
        let note = memory.bytes(kernel.vmcoreinfo.start, kernel.vmcoreinfo.length).unwrap();
        let text = String::from_utf8(note[24..].to_vec()).unwrap();
        let pairs = text.trim_end_matches('\0').lines().map(|line| line.split_once('=').unwrap());
        let info = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { memory, kernel, order: options.order, page_size: options.page_size, info }
    }

    fn symbol(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.info[&format!("SYMBOL({name})")], 16).unwrap()
    }

    fn number(&self, key: &str) -> i64 {
        self.info[key].parse().unwrap()
    }

    fn word(&self, physical: u64) -> u64 {
        let bytes: [u8; 8] = self.memory.bytes(physical, 8).unwrap().try_into().unwrap();
        if self.order == ByteOrder::Big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
    }

    fn half(&self, physical: u64) -> u32 {
        let bytes: [u8; 4] = self.memory.bytes(physical, 4).unwrap().try_into().unwrap();
        if self.order == ByteOrder::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Radix: offset bits of a page, then 5 or 9, 9, 9 and 13 bits of index.
    fn walk(&self, address: u64) -> Option<u64> {
        let page_shift = self.page_size.trailing_zeros();
        let pte_bits = if self.page_size == 0x1_0000 { 5 } else { 9 };
        let pmd = page_shift + pte_bits;
        let levels = [(pmd + 18, 13), (pmd + 9, 9), (pmd, 9), (page_shift, pte_bits)];
        let mut table = self.symbol("swapper_pg_dir") - LINEAR;
        for (shift, bits) in levels {
            let index = (address >> shift) % (1 << bits);
            let entry: [u8; 8] = self.memory.bytes(table + index * 8, 8).unwrap().try_into().unwrap();
            let entry = u64::from_be_bytes(entry);
            if entry >> 63 == 0 {
                return None;
            }
            if entry >> 62 & 1 == 1 {
                let base = entry & 0x001f_ffff_ffff_f000 & !((1 << shift) - 1);
                return Some(base | (address & ((1 << shift) - 1)));
            }
            table = entry & 0x3fff_ffff_ffff_ff00;
        }
        None
    }

    fn backing(&self, address: u64) -> Option<u64> {
        let psize = u64::from(self.half(self.symbol("mmu_vmemmap_psize") - LINEAR));
        let shift = self.half(self.symbol("mmu_psize_defs") - LINEAR + psize * 96);
        let mut node = self.word(self.symbol("vmemmap_list") - LINEAR);
        while node != 0 {
            let at = node - LINEAR;
            let (next, physical, start) = (self.word(at), self.word(at + 8), self.word(at + 16));
            if start <= address && address - start < 1 << shift {
                return Some(physical + (address - start));
            }
            node = next;
        }
        None
    }

    fn translate(&self, address: u64) -> Option<u64> {
        if self.number("NUMBER(RADIX_MMU)") == 1 { self.walk(address) } else { self.backing(address) }
    }

    /// Physical address of a frame's `struct page`, through `mem_section`.
    fn struct_page(&self, frame: u64, cache: &mut BTreeMap<u64, u64>) -> Option<u64> {
        let section = (frame * self.page_size) >> 24;
        let per_root = self.page_size / 32;
        let roots = self.symbol("mem_section") - LINEAR;
        let root = self.word(roots + section / per_root * 8);
        if root == 0 {
            return None;
        }
        let entry = self.word(root - LINEAR + section % per_root * 32);
        if entry & 1 == 0 {
            return None;
        }
        let address = (entry & !0x1f) + frame * 64;
        let page = address & !0xfff;
        let physical = match cache.get(&page) {
            Some(physical) => *physical,
            None => {
                let physical = self.translate(page)?;
                cache.insert(page, physical);
                physical
            }
        };
        Some(physical + (address & 0xfff))
    }

    /// The decision order of the reference book, section 2.2.
    fn classify(&self) -> BTreeMap<u64, Class> {
        let (buddy, slab) = (0xf000_0000, 0xf500_0000);
        let mut out = BTreeMap::new();
        let mut cache = BTreeMap::new();
        let frames = self.memory.size() / self.page_size;
        let mut frame = 0;
        while frame < frames {
            let Some(at) = self.struct_page(frame, &mut cache) else {
                frame += 1;
                continue;
            };
            let flags = self.word(at);
            let (mapping, private, kind) = (self.word(at + 24), self.word(at + 40), self.half(at + 48));
            if self.word(at + 8) & 1 == 1 {
                out.entry(frame).or_insert(Class::Kernel);
                frame += 1;
                continue;
            }
            let mut order = 0;
            if flags & 64 != 0 {
                let next = self.struct_page(frame + 1, &mut cache).unwrap();
                order = self.word(next) & 0xff;
            }
            let cached = flags >> 5 & 1 == 1 || (flags >> 10 & 1 == 1 && flags >> 17 & 1 == 1);
            let anonymous = mapping & 1 == 1 && kind != slab;
            let class = if kind == buddy {
                order = private;
                Class::Free
            } else if cached && flags >> 14 & 1 == 0 && !anonymous {
                Class::Cache
            } else if cached && !anonymous {
                Class::CachePrivate
            } else if anonymous {
                Class::Anonymous
            } else if kind == 0xf400_0000 {
                Class::Hugetlb
            } else if kind == 0xf100_0000 {
                Class::Offline
            } else {
                Class::Kernel
            };
            for n in 0..1 << order {
                out.insert(frame + n, class);
            }
            frame += if class == Class::Free { 1 << order } else { 1 };
        }
        out
    }
}

#[test]
fn every_page_is_of_the_class_that_the_answer_gives() {
    for (options, image) in IMAGES.iter() {
        let classes = image.classify();
        let mut seen = 0;
        for frame in 0..image.memory.size() / options.page_size {
            if let Some(class) = image.kernel.class_of(frame) {
                assert_eq!(classes.get(&frame), Some(&class), "frame {frame:#x} of {options:?}");
                seen += 1;
            }
        }
        let whole = 40 * MIB / options.page_size + (24 * MIB + 0x3000) / options.page_size;
        assert_eq!(seen, whole);
        let counts = image.kernel.counts();
        for class in
            [Class::Free, Class::Anonymous, Class::Hugetlb, Class::Cache, Class::CachePrivate, Class::Kernel]
        {
            assert!(counts.get(&class).is_some_and(|count| *count > 0), "{class:?}: {counts:?}");
        }
    }
}

#[test]
fn every_known_address_leads_where_the_answer_says() {
    for (options, image) in IMAGES.iter() {
        assert!(image.kernel.translations.len() > 2);
        for (address, physical) in &image.kernel.translations {
            assert_eq!(image.translate(*address), *physical, "{address:#x} of {options:?}");
        }
    }
}

#[test]
fn the_zone_counts_the_free_pages_that_its_lists_hold() {
    for (_, image) in IMAGES.iter() {
        let node = image.word(image.symbol("node_data") - LINEAR) - LINEAR;
        let counter = node + image.number("OFFSET(zone.vm_stat)") as u64;
        assert_eq!(image.word(counter), image.kernel.free_pages);
        let mut held = 0;
        for order in 0..image.number("LENGTH(zone.free_area)") as u64 {
            for kind in 0..6 {
                let head = LINEAR + node + 256 + order * 104 + kind * 16;
                let (mut at, mut before) = (image.word(head - LINEAR), head);
                while at != head {
                    let physical = image.translate(at).unwrap();
                    assert_eq!(image.word(physical + 8), before, "backward link");
                    assert_eq!(image.word(physical - 8 + 40), order, "private is the order");
                    held += 1 << order;
                    before = at;
                    at = image.word(physical);
                }
            }
        }
        assert_eq!(held, image.kernel.free_pages);
        assert_eq!(image.kernel.counts()[&Class::Free], held);
    }
}

#[test]
fn nothing_of_the_kernel_lies_where_it_must_not() {
    for (options, image) in IMAGES.iter() {
        let page = options.page_size;
        for frame in 16 * MIB / page..24 * MIB / page {
            let physical = frame * page;
            let structures = image.kernel.translations.iter().filter_map(|(_, to)| *to);
            let linear = |to: u64| to % page == 0x123;
            assert!(structures.into_iter().all(|to| linear(to) || to / page != frame), "{physical:#x}");
        }
    }
}

#[test]
fn the_log_reads_back_oldest_first_with_its_wrapped_record() {
    for (_, image) in IMAGES.iter() {
        let ring = image.word(image.symbol("prb") - LINEAR) - LINEAR;
        let (count, descriptors) = (1u64 << image.half(ring), image.word(ring + 8) - LINEAR);
        let (infos, size, data) =
            (image.word(ring + 16) - LINEAR, 1u64 << image.half(ring + 48), image.word(ring + 56) - LINEAR);
        let (head, mut id) = (image.word(ring + 24), image.word(ring + 32));
        let (mut lines, mut wrapped) = (Vec::new(), 0);
        loop {
            let slot = id % count;
            let state = image.word(descriptors + slot * 24);
            assert_eq!((state >> 62, state << 2 >> 2), (2, id));
            let (begin, next) =
                (image.word(descriptors + slot * 24 + 8), image.word(descriptors + slot * 24 + 16));
            let length = image.half(infos + slot * 88 + 16);
            let length = if image.order == ByteOrder::Big { length >> 16 } else { length & 0xffff };
            let at = if begin / size == next / size {
                begin % size
            } else {
                wrapped += 1;
                0
            };
            assert_eq!(image.word(data + at), id);
            let text = image.memory.bytes(data + at + 8, u64::from(length)).unwrap();
            lines.push((image.word(infos + slot * 88 + 8), String::from_utf8(text).unwrap()));
            if id == head {
                break;
            }
            id = (id + 1) & (u64::MAX >> 2);
        }
        let expected: Vec<_> = image.kernel.log.iter().map(|line| (line.time, line.text.clone())).collect();
        assert_eq!(lines, expected);
        assert!(lines.len() > 100 && lines.len() < 256);
        assert_eq!(wrapped, 1);
    }
}

#[test]
fn the_names_of_the_system_are_there() {
    for (_, image) in IMAGES.iter() {
        let uts = image.symbol("init_uts_ns") - LINEAR;
        assert_eq!(image.memory.bytes(uts, 6).unwrap(), b"Linux\0");
        let release = image.memory.bytes(uts + 2 * 65, image.kernel.release.release.len() as u64).unwrap();
        assert_eq!(release, image.info["OSRELEASE"].as_bytes());
    }
}

#[test]
fn levels_leave_out_what_they_say() {
    let image = Image::build(&options(0x1000, ByteOrder::Little, Mmu::Radix { huge_vmemmap: false }));
    let counts = image.kernel.counts();
    let frames = image.memory.size() / 0x1000;
    let kept = |level: u8| {
        image.kernel.bitmap(level, frames).iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
    };
    let all: u64 = counts.values().sum();
    let of = |class: Class| counts[&class];
    assert_eq!(kept(0), all);
    assert_eq!(kept(1), all);
    let after = |left_out: u64| all - left_out;
    assert_eq!(kept(2), after(of(Class::Cache)));
    assert_eq!(kept(4), after(of(Class::Cache) + of(Class::CachePrivate)));
    assert_eq!(kept(8), after(of(Class::Anonymous) + of(Class::Hugetlb)));
    assert_eq!(kept(16), after(of(Class::Free)));
    assert_eq!(kept(31), of(Class::Kernel));
}

#[test]
fn the_same_seed_builds_the_same_image() {
    let options = options(0x1_0000, ByteOrder::Big, Mmu::Hash { vmemmap_shift: 16 });
    let (first, second) = (Image::build(&options), Image::build(&options));
    assert!(first.memory.equals(&second.memory, Extent::new(0, first.memory.size())).unwrap());
}

#[test]
fn a_machine_of_four_tebibytes_can_be_built_with_shared_vmemmap() {
    let options = SynthOptions {
        ram: vec![Extent::new(0, 4 << 40)],
        avoid: vec![Extent::new(20 << 30, 21 << 30)],
        page_size: 0x1_0000,
        order: ByteOrder::Little,
        mmu: Mmu::Radix { huge_vmemmap: false },
        mix: Mix::idle(),
        fill: Fill::Nothing,
        share_vmemmap: true,
        seed: 1,
    };
    let image = Image::build(&options);
    let frames: u64 = image.kernel.counts().values().sum();
    assert_eq!(frames, 1 << 26);
    for (address, physical) in &image.kernel.translations {
        assert_eq!(image.translate(*address), *physical, "{address:#x}");
    }
    let data = image.memory.data_within(Extent::new(0, 4 << 40)).unwrap();
    assert!(phyp_model::extent::total(&data) < 64 * MIB);
}

#[test]
fn an_image_goes_through_a_crash_with_its_note_where_the_header_points() {
    let machine = Options {
        ram: vec![Extent::new(0, 192 * MIB)],
        boot_memory: vec![Extent::new(0, 32 * MIB)],
        boot_top: 32 * MIB,
        ..Options::small_fadump()
    };
    let layout = Layout::plan(&machine).unwrap();
    let synth = SynthOptions::for_machine(&machine, layout.reserved);
    let mut memory = Memory::new(machine.ram_end());
    let kernel = synth::build(&synth, &mut memory).unwrap();
    let machine = Machine::with_memory(machine, memory, Some(kernel.vmcoreinfo)).unwrap();
    let run = scenario::run(machine, Event::CRASH, &[], Dirt::Whole).unwrap();
    assert_eq!(run.rejected, None);
    assert!(run.truth.lost.is_empty());
    let header = run.memory.bytes(layout.crash_info.unwrap().start, 0x20).unwrap();
    let relocated = u64::from_le_bytes(header[0x10..0x18].try_into().unwrap());
    let text = run.memory.bytes(relocated + 24, kernel.text.len() as u64).unwrap();
    assert_eq!(text, kernel.text.as_bytes());
}
