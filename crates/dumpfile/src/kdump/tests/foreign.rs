//! Files as other writers make them, or made them once.

use super::*;
use crate::kdump::layout::{Abi, Header, Layout, SubHeader};
use std::path::PathBuf;

/// A file of three pages and one left out, to be changed.
struct Sample {
    _dir: tempfile::TempDir,
    path: PathBuf,
    layout: Layout,
    bytes: Vec<u8>,
    header: Header,
    sub: SubHeader,
}

const CONTENTS: [(u64, Content); 4] =
    [(2, Content::Text(1)), (3, Content::Zeros), (64, Content::Text(9)), (65, Content::Noise(7))];

impl Sample {
    fn new(name: &str) -> Self {
        let input = dump(machine(name), PageSize::K4, &CONTENTS);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        write_to(&path, &input, &without(&input, &[64]), Some(Method::Zlib), 1);
        let bytes = std::fs::read(&path).unwrap();
        let layout = Layout::of(input.machine);
        let header = Header::decode(&bytes, layout);
        let sub = SubHeader::decode(&bytes[4096..], layout, 6);
        Self { _dir: dir, path, layout, bytes, header, sub }
    }

    fn open(&mut self) -> Result<Dump, crate::Error> {
        let header = self.header.encode(self.layout);
        self.bytes[..header.len()].copy_from_slice(&header);
        let sub = self.sub.encode(self.layout);
        self.bytes[4096..4096 + sub.len()].copy_from_slice(&sub);
        std::fs::write(&self.path, &self.bytes).unwrap();
        open(&self.path)
    }
}

fn assert_pages(dump: &Dump) {
    for (pfn, content) in CONTENTS {
        if pfn == 64 {
            assert_eq!(page_of(dump, pfn).0, PageState::Excluded);
        } else {
            assert_eq!(page_of(dump, pfn), (content.stored(), content.page(4096).1), "page {pfn}");
        }
    }
    assert_eq!(page_of(dump, 4).0, PageState::Absent);
}

fn remarks(dump: &Dump) -> String {
    dump.source.remarks.join("\n")
}

#[test]
fn every_version_is_read_with_the_fields_it_has() {
    for version in 1..=6 {
        let mut sample = Sample::new("x86_64");
        sample.header.version = version;
        // Fields that a version does not have may hold anything.
        if version < 6 {
            (sample.sub.start_pfn_64, sample.sub.max_mapnr_64) = (u64::MAX, u64::MAX);
        }
        if version < 4 {
            (sample.sub.offset_note, sample.sub.size_note) = (u64::MAX, 5);
        }
        if version < 3 {
            (sample.sub.offset_vmcoreinfo, sample.sub.size_vmcoreinfo) = (7, u64::MAX);
        }
        if version < 2 {
            (sample.sub.split, sample.sub.start_pfn) = (1, 50);
        }
        let dump = sample.open().unwrap();
        assert_pages(&dump);
        assert_eq!(dump.source.format, format!("kdump-compressed v{version} (zlib)"));
        assert_eq!(dump.vmcoreinfo.is_some(), version >= 3, "version {version}");
        assert_eq!(dump.cpus(), if version >= 4 { 2 } else { 0 });
        // Before version 4 there is no note, but what is written next has one.
        assert_eq!(dump.notes.find("VMCOREINFO").is_some(), version >= 3);
    }
}

#[test]
fn a_newer_version_is_read_as_the_last_known_one() {
    let mut sample = Sample::new("ppc64");
    sample.header.version = 9;
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    assert!(remarks(&dump).contains("newer than 6"));
}

#[test]
fn both_32_bit_layouts_are_told_apart_without_a_name() {
    for (name, desc_len, abi) in [("i686", 144, Abi::I386), ("armv7l", 148, Abi::Bits32)] {
        let mut sample = Sample::new(name);
        sample.header.utsname.machine.clear();
        assert_eq!(sample.layout.abi, abi);
        // The length of a CPU's registers depends on the architecture: cut the first note's to what that one has.
        let note = sample.sub.offset_note as usize;
        sample.bytes[note + 4..note + 8].copy_from_slice(&[desc_len, 0, 0, 0]);
        let next = note + 20 + usize::from(desc_len);
        sample.bytes[next..next + 12].fill(0);
        let dump = sample.open().unwrap();
        assert_eq!(dump.machine, machine(name));
        assert_pages(&dump);
        assert!(remarks(&dump).contains("was inferred from the CPU registers"));
    }
}

#[test]
fn qemus_files_of_32_bit_guests_open_though_their_machine_is_unknown() {
    // QEMU packs the sub header for every machine, and leaves out VMCOREINFO and the kernel's name.
    for (name, desc_len) in [("i686", 144), ("armv7l", 148), ("armv7b", 148)] {
        for with_info in [true, false] {
            let mut sample = Sample::new(name);
            sample.header.utsname = Utsname { machine: "Unknown".into(), ..Utsname::default() };
            sample.layout.abi = Abi::I386;
            let note = sample.sub.offset_note as usize;
            let order = machine(name).order;
            sample.bytes[note + 4..note + 8].copy_from_slice(&order.put_u32(desc_len));
            let next = note + 20 + desc_len as usize;
            let end = note + sample.sub.size_note as usize;
            sample.bytes[next..end].fill(0);
            if !with_info {
                (sample.sub.offset_vmcoreinfo, sample.sub.size_vmcoreinfo) = (0, 0);
            }
            let dump = sample.open().unwrap();
            assert_eq!(dump.machine, machine(name));
            assert_eq!(dump.cpus(), 1, "{name}");
            assert_pages(&dump);
        }
    }
}

#[test]
fn memory_is_read_in_the_kernels_pages_whatever_the_blocks_of_the_file_are() {
    let mut sample = Sample::new("aarch64");
    let at = sample.sub.offset_vmcoreinfo as usize;
    let text = String::from_utf8_lossy(INFO).replace("PAGESIZE=4096", "PAGESIZE=8192");
    sample.bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    let dump = sample.open().unwrap();
    assert_eq!(dump.page_size().bytes(), 8192);
    assert!(
        remarks(&dump).contains("the kernel's pages have 8 KiB and the file's blocks 4 KiB"),
        "{}",
        remarks(&dump)
    );
    let (state, page) = page_of(&dump, 1);
    assert_eq!(state, PageState::Present);
    assert!(page[..4096] == CONTENTS[0].1.page(4096).1 && page[4096..] == [0; 4096]);
    assert_eq!(page_of(&dump, 32).0, PageState::Excluded);
    assert_eq!(page_of(&dump, 2).0, PageState::Absent);
}

#[test]
fn a_header_without_machine_and_registers_is_refused_by_name() {
    let mut sample = Sample::new("x86_64");
    sample.header.utsname.machine = "vax".into();
    (sample.sub.size_note, sample.sub.offset_note) = (0, 0);
    let error = sample.open().err().unwrap().to_string();
    assert!(error.contains("a dump of machine \"vax\""), "{error}");
}

#[test]
fn qemus_spelling_of_machines_is_understood() {
    let mut sample = Sample::new("ppc64le");
    sample.header.utsname.machine = "PPC64".into();
    sample.header.utsname.release.clear();
    let dump = sample.open().unwrap();
    assert_eq!(dump.machine, machine("ppc64le"));
    assert_pages(&dump);
    assert!(remarks(&dump).contains("(release put right)"), "{}", remarks(&dump));
    assert_eq!(dump.source.utsname.as_ref().unwrap().release, "6.1.0-test");
}

#[test]
fn a_tv_usec_that_looks_like_a_block_size_does_no_harm() {
    let mut sample = Sample::new("x86_64");
    sample.header.tv_usec = 4096;
    sample.header.utsname.machine.clear();
    sample.header.utsname.sysname.clear();
    // The sample's registers are as long as those of POWER.
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    assert!(remarks(&dump).contains("tv_usec is 4096"));
}

#[test]
fn one_bitmap_where_two_are_counted_and_two_where_one_is() {
    let mut sample = Sample::new("x86_64");
    sample.header.bitmap_blocks = 1;
    // Memory of more frames than half a bitmap of one block holds.
    (sample.header.max_mapnr, sample.sub.max_mapnr_64) = (20_000, 20_000);
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    assert!(remarks(&dump).contains("counts one bitmap, but the file has two"));

    let mut sample = Sample::new("x86_64");
    sample.header.bitmap_blocks = 1;
    (sample.header.max_mapnr, sample.sub.max_mapnr_64) = (20_000, 20_000);
    let first = 2 * 4096;
    let second: Vec<u8> = sample.bytes[first + 4096..first + 8192].to_vec();
    // Remove the first bitmap; what follows moves by a block, and offsets in descriptors with it.
    sample.bytes.splice(first..first + 8192, second);
    for desc in sample.bytes[first + 4096..].chunks_mut(24).take(3) {
        let offset = u64::from_le_bytes(desc[..8].try_into().unwrap()) - 4096;
        desc[..8].copy_from_slice(&offset.to_le_bytes());
    }
    let dump = sample.open().unwrap();
    assert_eq!(page_of(&dump, 2), Content::Text(1).page(4096));
    assert_eq!(page_of(&dump, 65), Content::Noise(7).page(4096));
    assert_eq!(page_of(&dump, 64).0, PageState::Absent);
    assert!(remarks(&dump).contains("one bitmap"));
}

#[test]
fn notes_and_vmcoreinfo_are_found_where_either_is_missing() {
    let mut sample = Sample::new("ppc64le");
    (sample.sub.offset_vmcoreinfo, sample.sub.size_vmcoreinfo) = (0, 0);
    let dump = sample.open().unwrap();
    assert_eq!(dump.vmcoreinfo.as_ref().unwrap().release(), Some("6.1.0-test"));
    assert!(remarks(&dump).contains("does not point at VMCOREINFO"));

    let mut sample = Sample::new("ppc64le");
    (sample.sub.offset_note, sample.sub.size_note) = (0, 0);
    let dump = sample.open().unwrap();
    assert_eq!(dump.notes.find("VMCOREINFO").unwrap().desc, INFO);

    let mut sample = Sample::new("ppc64le");
    (sample.sub.size_note, sample.sub.size_vmcoreinfo) = (u64::MAX, 1 << 40);
    let dump = sample.open().unwrap();
    assert!(dump.vmcoreinfo.is_none());
    assert_pages(&dump);
}

#[test]
fn a_page_whose_frame_should_not_exist_is_read_and_told() {
    let mut sample = Sample::new("x86_64");
    sample.bytes[2 * 4096] &= !(1 << 2);
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    assert!(remarks(&dump).contains("1 pages are in the file whose frames"));
}

#[test]
fn a_part_of_a_split_set_has_its_own_pages_only() {
    let mut sample = Sample::new("ppc64");
    // The file with all pages becomes the second part: descriptors start with its first page.
    (sample.sub.split, sample.sub.start_pfn_64, sample.sub.end_pfn_64) = (1, 64, 66);
    let descriptors = 4 * 4096;
    sample.bytes.copy_within(descriptors + 48..descriptors + 72, descriptors);
    sample.bytes[descriptors + 24..descriptors + 72].fill(0);
    let dump = sample.open().unwrap();
    assert_eq!(page_of(&dump, 65), Content::Noise(7).page(4096));
    assert_eq!(page_of(&dump, 2).0, PageState::Lost);
    assert_eq!(page_of(&dump, 64).0, PageState::Excluded);
    let mut states = [PageState::Absent; 70];
    dump.memory.read_run(Pfn(0), &mut vec![0; 70 * 4096], &mut states).unwrap();
    assert_eq!(states[65], PageState::Present);
    assert!(remarks(&dump).contains("a part of a split set"));
}

#[test]
fn stored_pages_may_come_in_any_order_with_gaps_and_be_shared() {
    let input = dump(
        machine("ppc64"),
        PageSize::K4,
        &[(0, Content::Text(1)), (1, Content::Noise(2)), (2, Content::Text(3)), (3, Content::Text(4))],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let descriptors = 4 * 4096;
    let desc = |bytes: &[u8], i: usize| {
        let at = descriptors + i * 24;
        let offset = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let size = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        bytes[offset..offset + size].to_vec()
    };
    // Pages 3, 1, 0 with gaps, far away; page 2 shares page 0's.
    let stored: Vec<_> = (0..4).map(|i| desc(&bytes, i)).collect();
    for (i, gap) in [(3, 13), (1, 5000), (0, 2 << 20)] {
        bytes.resize(bytes.len() + gap, 0xee);
        let offset = bytes.len() as u64;
        bytes.extend(&stored[i]);
        bytes[descriptors + i * 24..][..8].copy_from_slice(&offset.to_be_bytes());
    }
    bytes.copy_within(descriptors..descriptors + 24, descriptors + 48);
    std::fs::write(&path, bytes).unwrap();
    let output = open(&path).unwrap();
    let mut pages = vec![0; 4 * 4096];
    output.memory.read_run(Pfn(0), &mut pages, &mut [PageState::Absent; 4]).unwrap();
    for (page, content) in
        pages.chunks(4096).zip([Content::Text(1), Content::Noise(2), Content::Text(1), Content::Text(4)])
    {
        assert!(page == content.page(4096).1);
    }
}

#[test]
fn a_wrong_number_of_bitmap_blocks_is_put_right() {
    for blocks in [0, 1, 3, 6, 8] {
        let mut sample = Sample::new("x86_64");
        sample.header.bitmap_blocks = blocks;
        let dump = sample.open().unwrap();
        assert_pages(&dump);
        let said = format!("bitmap_blocks is {blocks}");
        assert!(remarks(&dump).contains(&said), "{}", remarks(&dump));
        assert!(remarks(&dump).contains("2 was used"), "{}", remarks(&dump));
    }
    // Where nothing looks like descriptors there is no telling.
    let mut sample = Sample::new("x86_64");
    sample.header.bitmap_blocks = 0;
    sample.bytes[4 * 4096..][..3 * 24].fill(0xff);
    let error = sample.open().err().unwrap().to_string();
    assert!(error.contains("bitmap_blocks at offset 0x1b4 is 0, expected blocks for 0x42 frames"), "{error}");
}

#[test]
fn bitmaps_that_are_longer_than_needed_are_read_where_they_are() {
    let mut sample = Sample::new("ppc64le");
    // Both bitmaps get a second block; what follows moves by two.
    for (at, added) in [(4 * 4096, 4096), (3 * 4096, 4096)] {
        sample.bytes.splice(at..at, vec![0; added]);
    }
    let descriptors = 6 * 4096;
    for desc in sample.bytes[descriptors..].chunks_mut(24).take(3) {
        let offset = u64::from_le_bytes(desc[..8].try_into().unwrap()) + 2 * 4096;
        desc[..8].copy_from_slice(&offset.to_le_bytes());
    }
    sample.header.bitmap_blocks = 4;
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    assert!(remarks(&dump).contains("bitmap_blocks is 4, more than"), "{}", remarks(&dump));
}

#[test]
fn an_empty_utsname_is_filled_from_vmcoreinfo_and_the_machine() {
    let mut sample = Sample::new("ppc64le");
    sample.header.utsname = Utsname::default();
    let dump = sample.open().unwrap();
    assert_pages(&dump);
    let uts = dump.source.utsname.as_ref().unwrap();
    assert_eq!((&*uts.sysname, &*uts.release, &*uts.machine), ("Linux", "6.1.0-test", "ppc64le"));
    assert_eq!(uts.version, "");
    let said = "utsname is not filled in (sysname, release, machine put right, version still missing)";
    assert!(remarks(&dump).contains(said), "{}", remarks(&dump));
}

#[test]
fn phys_base_and_the_record_of_erased_data_are_kept() {
    let mut sample = Sample::new("x86_64");
    sample.sub.phys_base = 0xffff_ffff_f000_0000;
    let text = b"erase init_task.comm 16\n";
    (sample.sub.offset_eraseinfo, sample.sub.size_eraseinfo) = (sample.bytes.len() as u64, text.len() as u64);
    sample.bytes.extend(text);
    let dump = sample.open().unwrap();
    assert_eq!(dump.source.phys_base, Some(0xffff_ffff_f000_0000));
    assert_eq!(dump.source.erase_info, text);
    assert!(remarks(&dump).contains("erased"));
    // And they go along, to an ELF core and back.
    let core = sample._dir.path().join("core");
    let everything = Selection::everything(&*dump.memory, DumpLevel::ALL, None).unwrap();
    let out = OutputFile::create(&core, false).unwrap();
    let nothing = (Facts::default(), Progress::default());
    crate::elf::write(&dump, &everything, &nothing.0, &out, &nothing.1).unwrap();
    out.commit().unwrap();
    let core = crate::open(&core).unwrap();
    assert_eq!(core.source.erase_info, text);
    for dump in [dump, core] {
        let again = sample._dir.path().join("again");
        let everything = Selection::everything(&*dump.memory, DumpLevel::ALL, None).unwrap();
        write_to(&again, &dump, &everything, Some(Method::Zlib), 1);
        assert_eq!(open(&again).unwrap().source.erase_info, text);
    }
}

#[test]
fn a_diskdump_is_read_with_one_bitmap_or_two() {
    for (name, version) in [("i686", 0), ("x86_64", 1), ("ppc64", 0)] {
        let mut sample = Sample::new(name);
        sample.header.version = version;
        // What is in the sub header are registers.
        sample.sub = SubHeader::default();
        sample.open().unwrap();
        sample.bytes[..8].copy_from_slice(b"DISKDUMP");
        sample.bytes[4096..8192].fill(0x77);
        std::fs::write(&sample.path, &sample.bytes).unwrap();
        let dump = open(&sample.path).unwrap();
        assert_eq!(dump.machine, machine(name));
        assert_pages(&dump);
        assert_eq!(dump.source.format, format!("diskdump v{version} (zlib)"));
        assert_eq!((dump.source.phys_base, dump.cpus()), (None, 0));
        assert!(dump.vmcoreinfo.is_none());
        // The public way in takes it for what it is.
        assert_pages(&crate::open(&sample.path).unwrap());

        let first = 2 * 4096;
        let second: Vec<u8> = sample.bytes[first + 4096..first + 8192].to_vec();
        sample.bytes.splice(first..first + 8192, second);
        for desc in sample.bytes[first + 4096..].chunks_mut(24).take(3) {
            let order = sample.layout.order;
            let offset = order.put_u64(order.u64(desc) - 4096);
            desc[..8].copy_from_slice(&offset);
        }
        sample.header.bitmap_blocks = 1;
        let header = sample.header.encode(sample.layout);
        sample.bytes[8..header.len()].copy_from_slice(&header[8..]);
        std::fs::write(&sample.path, &sample.bytes).unwrap();
        let dump = open(&sample.path).unwrap();
        assert_eq!(page_of(&dump, 65), Content::Noise(7).page(4096), "{name}");
        assert_eq!(page_of(&dump, 64).0, PageState::Absent);
        assert!(remarks(&dump).contains("one bitmap"));
    }
}

#[test]
fn the_user_may_tell_the_machine_that_a_header_does_not() {
    let mut sample = Sample::new("s390x");
    sample.header.utsname.machine.clear();
    (sample.sub.size_note, sample.sub.offset_note) = (0, 0);
    assert!(sample.open().is_err());
    let assume = |name| crate::Assume { machine: Some(machine(name)), ..Default::default() };
    let open = |name| crate::open_set_assuming(&[sample.path.clone()], &assume(name));
    let dump = open("s390x").unwrap();
    assert_eq!(dump.machine, machine("s390x"));
    assert!(remarks(&dump).contains("s390x was given"));
    assert!(open("x86_64").is_err(), "the header is big endian");
}

#[test]
fn frames_that_an_unfinished_writer_may_not_have_come_to_are_told() {
    let contents: Vec<_> = (0..100_000)
        .map(|pfn| (pfn, if pfn < 10 { Content::Text(pfn as u8) } else { Content::Excluded }))
        .collect();
    let far = dump(machine("x86_64"), PageSize::K4, &contents);
    let out: Vec<u64> = (10..100_000).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &far, &without(&far, &out), None, 1);
    assert!(!remarks(&open(&path).unwrap()).contains("did not finish"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[424] |= 8;
    std::fs::write(&path, bytes).unwrap();
    let dump = open(&path).unwrap();
    assert!(
        remarks(&dump).contains("no page from frame 0x10 on is in the file, whose writer did not finish")
    );
}

#[test]
fn memory_in_half_a_million_pieces_is_read_and_in_more_is_refused() {
    for (pieces, opens) in [(1 << 19, true), ((1 << 19) + 1, false)] {
        let ends = [(0, Content::Zeros), (2 * (pieces - 1), Content::Zeros)];
        let input = dump(machine("x86_64"), PageSize::K4, &ends);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmcore");
        write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = Header::decode(&bytes, Layout::of(input.machine));
        // In the first bitmap, of the frames that exist, every other one does.
        let start = 4096 * (1 + header.sub_hdr_size as usize);
        for pfn in (0..pieces as usize).map(|n| 2 * n) {
            bytes[start + pfn / 8] |= 1 << (pfn % 8);
        }
        std::fs::write(&path, bytes).unwrap();
        match open(&path) {
            Ok(dump) => {
                assert!(opens, "{pieces} pieces");
                assert_eq!(dump.memory.map().frames().iter().count() as u64, pieces);
            }
            Err(error) => {
                assert!(!opens && error.to_string().contains("more than 524288 pieces of memory"), "{error}");
            }
        }
    }
}

#[test]
fn text_of_64_mib_that_a_header_points_at_is_read_and_more_is_ignored_with_a_word() {
    const MOST: usize = 64 << 20;
    let line = b"erase a.b 16 bytes of text is 32\n";
    let mut sample = Sample::new("x86_64");
    (sample.sub.offset_eraseinfo, sample.sub.size_eraseinfo) = (sample.bytes.len() as u64, MOST as u64);
    sample.bytes.extend(line.iter().cycle().take(MOST + 1));
    let dump = sample.open().unwrap();
    assert_eq!(dump.source.erase_info.len(), MOST);
    sample.sub.size_eraseinfo += 1;
    let dump = sample.open().unwrap();
    assert!(dump.source.erase_info.is_empty());
    assert!(remarks(&dump).contains("eraseinfo has 67108865 bytes"), "{}", remarks(&dump));
    assert_pages(&dump);
}
