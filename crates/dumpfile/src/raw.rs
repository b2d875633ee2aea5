//! Raw memory images: byte `n` of the file is the byte at physical address `n`.

use crate::Error;
use crate::input::Input;
use crate::segments::{Content, Piece, SegmentMemory, Table};
use std::path::Path;
use vmcore::{
    Dump, Machine, MemoryMap, Notes, PageSize, PageSizeBy, PhysAddr, PhysicalMemory, Range, RangeSet, Source,
};

/// Opens the memory of a machine: any dump that [`open`](crate::open) reads, else a raw image or `/dev/mem`.
///
/// `ram` says where a raw image has memory; without it all of the file is. Memory past the end of the file is
/// [`Lost`](vmcore::PageState::Lost).
///
/// # Errors
///
/// When the file cannot be opened, or is a dump that is damaged, or a device and `ram` does not say how long it is.
pub fn open_image(path: &Path, ram: Option<&RangeSet<PhysAddr>>) -> Result<Box<dyn PhysicalMemory>, Error> {
    let input = open_input(path, ram)?;
    if crate::open::is_dump(&input)? {
        return Ok(crate::open(path)?.memory);
    }
    Ok(Box::new(memory(input, PageSize::K4, ram)?))
}

/// Opens a raw image of the memory of `machine`, whose kernel has pages of `page_size` as far as that is known, as a dump
/// without notes.
///
/// `ram` is as in [`open_image`]. A caller that finds VMCOREINFO in memory may put it into the dump.
///
/// # Errors
///
/// When the file cannot be opened, or is a dump of a kind of its own, or a device and `ram` does not say how long it is.
pub fn open_raw(
    path: &Path,
    machine: Machine,
    page_size: Option<PageSize>,
    ram: Option<&RangeSet<PhysAddr>>,
) -> Result<Dump, Error> {
    let input = open_input(path, ram)?;
    if crate::open::is_dump(&input)? {
        let what =
            "no raw image of memory: it begins like a dump of a kind of its own, which needs no memory map";
        return Err(Error::Unsupported { path: path.to_owned(), what: what.into() });
    }
    let known = Dump::only_page_size(machine.arch).or(page_size);
    let memory = memory(input, known.unwrap_or(PageSize::K4), ram)?;
    let lost = memory.lost();
    let mut source = Source {
        format: "raw memory image".into(),
        incomplete: lost > 0,
        map_assumed: ram.is_none(),
        page_size_by: if known.is_none() { PageSizeBy::Nobody } else { PageSizeBy::Input },
        ..Source::default()
    };
    if lost > 0 {
        source.remarks.push(format!("the image ends before the memory map does: {lost:#x} bytes are lost"));
    }
    Ok(Dump {
        machine,
        memory: Box::new(memory),
        notes: Notes::default(),
        vmcoreinfo: None,
        virt: Vec::new(),
        elf_flags: 0,
        source,
    })
}

fn open_input(path: &Path, ram: Option<&RangeSet<PhysAddr>>) -> Result<Input, Error> {
    match ram.and_then(RangeSet::end) {
        Some(end) => Input::open_device(path, end.0),
        None => Input::open(path),
    }
}

/// Memory behind `input`. A memory map that claims far more than the file has is refused: nobody waits for terabytes of
/// nothing.
fn memory(
    input: Input,
    page_size: PageSize,
    ram: Option<&RangeSet<PhysAddr>>,
) -> Result<SegmentMemory, Error> {
    let whole = Range::new(PhysAddr(0), PhysAddr(input.len()));
    let ram = ram.cloned().unwrap_or_else(|| [whole].into_iter().collect());
    let file: RangeSet<PhysAddr> = [whole].into_iter().collect();
    let piece = |r: Range<PhysAddr>, content| Piece {
        start: r.start.0,
        end: r.end.0,
        offset: r.start.0,
        content,
        rank: 0,
    };
    let there = ram.intersect(&file).iter().map(|r| piece(r, Content::Data)).collect::<Vec<_>>();
    let lost = ram.subtract(&file);
    if input.cannot_lack(lost.total()) {
        let found = format!("{:#x} bytes past the end of the image", lost.total());
        return Err(input
            .damaged("the memory map", 0, found, "memory of a machine that an image of this size can be of")
            .into());
    }
    let table =
        Table::resolve(there.into_iter().chain(lost.iter().map(|r| piece(r, Content::Lost))).collect());
    Ok(SegmentMemory::new(input, table, MemoryMap::new(page_size, ram)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use vmcore::{PageState, Pfn};

    #[test]
    fn an_image_is_memory_from_address_zero_and_what_it_lacks_is_lost() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for n in 1..=4u8 {
            file.write_all(&[n; 4096]).unwrap();
        }
        let mut page = [0; 4096];
        let all = open_image(file.path(), None).unwrap();
        assert_eq!(all.map().frames().total(), 4);
        assert_eq!(all.read_page(Pfn(2), &mut page).unwrap(), PageState::Present);
        assert_eq!(page, [3; 4096]);
        let ram = [Range::new(PhysAddr(0x1000), PhysAddr(0x6000))].into_iter().collect();
        let some = open_image(file.path(), Some(&ram)).unwrap();
        let states: Vec<_> = (0..6).map(|pfn| some.read_page(Pfn(pfn), &mut page).unwrap()).collect();
        use PageState::*;
        assert_eq!(states, [Absent, Present, Present, Present, Lost, Lost]);
    }

    #[test]
    fn a_raw_image_is_a_dump_once_the_machine_is_given() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[5; 3 << 16]).unwrap();
        let machine = Machine::from_name("ppc64le").unwrap();
        let ram = [Range::new(PhysAddr(0x10000), PhysAddr(0x50000))].into_iter().collect();
        let dump = open_raw(file.path(), machine, Some(PageSize::K64), Some(&ram)).unwrap();
        assert_eq!((dump.machine, dump.page_size()), (machine, PageSize::K64));
        let mut page = vec![0; 65536];
        use PageState::*;
        let states: Vec<_> = (0..5).map(|pfn| dump.memory.read_page(Pfn(pfn), &mut page).unwrap()).collect();
        assert_eq!(states, [Absent, Present, Present, Lost, Lost]);
        assert!(dump.source.incomplete);
        assert!(dump.source.remarks[0].contains("0x20000 bytes are lost"), "{:?}", dump.source.remarks);
        assert!(!open_raw(file.path(), machine, Some(PageSize::K64), None).unwrap().source.incomplete);
        file.as_file_mut().rewind().unwrap();
        file.write_all(b"\x7fELF").unwrap();
        let error = open_raw(file.path(), machine, Some(PageSize::K64), None).err().unwrap().to_string();
        assert!(error.contains("no raw image"), "{error}");
    }

    /// Terabytes that are known to be lost are neither read nor cleared page by page: this takes a second, not minutes.
    #[test]
    fn a_dump_that_lacks_a_terabyte_is_written_at_once() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 16384]).unwrap();
        let ram = [Range::new(PhysAddr(0), PhysAddr(1 << 40))].into_iter().collect();
        let dump = vmcore::Dump {
            machine: vmcore::Machine::from_name("x86_64").unwrap(),
            memory: open_image(file.path(), Some(&ram)).unwrap(),
            notes: vmcore::Notes::default(),
            vmcoreinfo: None,
            virt: Vec::new(),
            elf_flags: 0,
            source: vmcore::Source::default(),
        };
        let all = vmcore::Selection::everything(&*dump.memory, vmcore::DumpLevel::default(), None).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("vmcore");
        let (facts, options) = (crate::Facts::default(), crate::kdump::Options::default());
        let out = crate::output::OutputFile::create(&target, false).unwrap();
        let written =
            crate::kdump::write(&dump, &all, &facts, &options, &out, &crate::Progress::default()).unwrap();
        assert_eq!((written.data_pages, written.lost_pages), (4, (1 << 28) - 4));
        out.commit().unwrap();
        let back = crate::open(&target).unwrap();
        let mut page = [0; 4096];
        assert_eq!(back.memory.read_page(Pfn(3), &mut page).unwrap(), PageState::Present);
        assert_eq!(back.memory.read_page(Pfn(1 << 27), &mut page).unwrap(), PageState::Lost);
        assert!(back.source.incomplete);
    }

    #[test]
    fn an_image_that_is_a_broken_dump_is_not_taken_for_raw_memory() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"KDUMP   ").unwrap();
        file.write_all(&[0; 8192]).unwrap();
        assert!(open_image(file.path(), None).is_err());
    }
}
