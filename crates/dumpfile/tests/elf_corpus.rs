//! The real dumps, read and copied as ELF cores.

use dumpfile::output::OutputFile;
use dumpfile::{Facts, Progress};
use std::fs::File;
use std::io::Read;
use vmcore::{CHUNK_FRAMES, Chunk, DumpLevel, PageState, Pfn, PhysAddr, RangeSet, Selection};

fn number(json: &str, key: &str) -> u64 {
    let at = json.find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
    json[at..].trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn real_dumps_have_the_memory_and_notes_that_their_peers_say() {
    for real in corpus::dumps() {
        let dump = dumpfile::open(&real.elf).unwrap();
        assert_eq!(dump.source.remarks, [""; 0]);
        assert!(!dump.source.incomplete);
        let json = real.text("expected/levels.json");
        assert_eq!(dump.page_size().bytes(), number(&json, "page_size"));
        let map = dump.memory.map();
        assert_eq!(map.frames().total(), number(&json, "ram_pages"));
        assert_eq!(map.max_pfn().0, number(&json, "max_mapnr"));

        let bitmap = real.bitmap(0);
        assert_eq!(bitmap.len() as u64, number(&json, "bytes_per_bitmap"));
        let ours: Vec<u8> = Chunk::of_map(map, 0).words().iter().flat_map(|w| w.to_le_bytes()).collect();
        assert!(map.max_pfn().0 <= CHUNK_FRAMES && ours.starts_with(&bitmap), "{}", real.name);

        // Another reader's view of the same file.
        let mut head = vec![0; 1 << 20];
        File::open(&real.elf).unwrap().read_exact(&mut head).unwrap();
        let elf = goblin::elf::Elf::parse_header(&head).unwrap();
        let ctx = goblin::container::Ctx::new(elf.container().unwrap(), elf.endianness().unwrap());
        let phdrs =
            goblin::elf::ProgramHeader::parse(&head, elf.e_phoff as usize, elf.e_phnum.into(), ctx).unwrap();
        assert_eq!(dump.notes.raw(), &head[phdrs[0].file_range()]);
        assert_eq!(dump.cpus(), 2);
        assert!(dump.vmcoreinfo.as_ref().unwrap().release().is_some());
        assert_eq!(dump.virt.len(), phdrs.len() - 1);
    }
}

#[test]
fn every_way_to_read_a_page_gives_the_same_bytes() {
    for real in corpus::dumps() {
        let (name, dump) = (real.name, dumpfile::open(&real.elf).unwrap());
        let (memory, page) = (&dump.memory, dump.page_size());
        let mut whole = vec![0; 64 * page.len()];
        let mut one = vec![1; page.len()];
        for range in memory.map().frames().iter() {
            let mut first = range.start.0;
            while first < range.end.0 {
                let count = 64.min(range.end.0 - first);
                let run = &mut whole[..count as usize * page.len()];
                let mut states = vec![PageState::Lost; count as usize];
                memory.read_run(Pfn(first), run, &mut states).unwrap();
                for (i, state) in states.iter().enumerate().step_by(7) {
                    let pfn = Pfn(first + i as u64);
                    let alone = memory.read_page(pfn, &mut one).unwrap();
                    // A page in a hole of the file is zero; within a longer read it may be read like any other.
                    assert!(alone == *state || (alone == PageState::Zero && *state == PageState::Present));
                    assert!(one == run[i * page.len()..][..page.len()], "{name} {pfn}");
                    let state = memory.read(page.addr(pfn), &mut one).unwrap();
                    assert_eq!(state, PageState::Present);
                    assert!(one == run[i * page.len()..][..page.len()], "{name} {pfn}");
                }
                first += count;
            }
        }
    }
}

#[test]
fn a_copy_has_the_pages_and_notes_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    for real in corpus::dumps() {
        let (name, dump) = (real.name, dumpfile::open(&real.elf).unwrap());
        let copy = dir.path().join("copy");
        let memory = &*dump.memory;
        let all = Selection::everything(memory, DumpLevel::default(), None).unwrap();
        let out = OutputFile::create(&copy, false).unwrap();
        let written =
            dumpfile::elf::write(&dump, &all, &Facts::default(), &out, &Progress::default()).unwrap();
        out.commit().unwrap();
        assert_eq!(written.bytes, copy.metadata().unwrap().len());
        assert_eq!(written.data_pages + written.zero_pages, memory.map().frames().total());

        let again = dumpfile::open(&copy).unwrap();
        assert_eq!(again.memory.map().frames(), memory.map().frames());
        assert!(again.notes.raw().starts_with(dump.notes.raw()));
        assert_eq!((again.machine, again.elf_flags), (dump.machine, dump.elf_flags));
        let (mut old, mut new) = (vec![0; dump.page_size().len()], vec![1; dump.page_size().len()]);
        for pfn in memory.map().frames().iter().flat_map(|r| r.start.0..r.end.0).map(Pfn) {
            assert!(memory.read_page(pfn, &mut old).unwrap().is_known());
            assert!(again.memory.read_page(pfn, &mut new).unwrap().is_known());
            assert!(old == new, "{name} {pfn}");
        }
        // Wherever the original has an address for memory, the copy has the same bytes there.
        for segment in &dump.virt {
            let covered: RangeSet<PhysAddr> = again
                .virt
                .iter()
                .filter(|v| {
                    v.virt.0.wrapping_sub(v.phys.start.0) == segment.virt.0.wrapping_sub(segment.phys.start.0)
                })
                .map(|v| v.phys)
                .collect();
            assert!(
                covered.within(segment.phys).map(|r| r.len()).sum::<u64>() == segment.phys.len(),
                "{segment:?}"
            );
        }
        std::fs::remove_file(&copy).unwrap();
    }
}
