//! Cores that are cut short: a full disk, a stopped writer.

use super::*;
use std::collections::BTreeSet;

const BLOCK: u64 = 4096;

/// A disk with room for this many blocks, which holes do not take.
struct Disk {
    room: usize,
    file: Mutex<(Vec<u8>, BTreeSet<u64>)>,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self { room, file: Mutex::default() }
    }
}

/// The parts of `bytes` that lie in one block each.
fn pieces(offset: u64, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = bytes.len().min((BLOCK - offset % BLOCK) as usize);
    let (first, rest) = bytes.split_at(first);
    std::iter::once(first).chain(rest.chunks(BLOCK as usize))
}

impl Sink for Disk {
    fn path(&self) -> &Path {
        Path::new("disk")
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let (file, blocks) = &mut *self.file.lock().unwrap();
        let mut at = offset as usize;
        for piece in pieces(offset, bytes) {
            let block = at as u64 / BLOCK;
            if blocks.len() == self.room && !blocks.contains(&block) {
                let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
                return Err(Error::Write { path: "disk".into(), action: "write".into(), source });
            }
            blocks.insert(block);
            if file.len() < at + piece.len() {
                file.resize(at + piece.len(), 0);
            }
            file[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn cut_off(&self, len: u64) -> bool {
        let (file, blocks) = &mut *self.file.lock().unwrap();
        file.resize(len as usize, 0);
        blocks.split_off(&len.div_ceil(BLOCK));
        true
    }
}

/// Pages with content, short and long runs of zeros, lost pages and holes of memory.
fn model() -> Model {
    let state = |pfn: u64| match pfn % 97 {
        0..20 => PageState::Zero,
        20 => PageState::Lost,
        21 => PageState::Absent,
        40 => PageState::Zero,
        _ if pfn % 970 > 900 => PageState::Zero,
        _ => PageState::Present,
    };
    Model::new(PageSize::K4, (0..4000).map(state).collect())
}

/// Every page of `bytes` up to some frame is what it was made of, and none above; returns how many those are.
fn check(bytes: &[u8], written: &Written) -> u64 {
    check_rules(bytes);
    let output = reopen(bytes);
    let model = model();
    let (mut known, mut lost, mut last) = (0, 0, 0);
    let mut page = vec![0; 4096];
    let states: Vec<_> = (0..4000u64)
        .map(|pfn| {
            let state = output.memory.read_page(Pfn(pfn), &mut page).unwrap();
            if state.is_known() {
                assert!(page == model.content(pfn), "page {pfn}");
                (known, last) = (known + 1, pfn);
            }
            state
        })
        .collect();
    for (pfn, state) in states.into_iter().enumerate() {
        let was = model.states[pfn];
        if pfn as u64 <= last {
            assert_eq!(state.is_known(), was.is_known(), "page {pfn}");
            lost += u64::from(was == PageState::Lost);
        } else if was == PageState::Absent {
            assert_eq!(state, was, "page {pfn}");
        } else {
            assert_eq!(state, PageState::Lost, "page {pfn}");
        }
    }
    let kept = model.map.frames().total();
    assert_eq!(output.source.incomplete, known + lost < kept || lost > 0);
    assert!(written.lost_pages.abs_diff(lost) <= 1, "{written:?}, {lost} pages are lost");
    assert_eq!(known + written.lost_pages + written.unwritten_pages, kept);
    assert_eq!(written.data_pages + written.zero_pages, known);
    known
}

#[test]
fn a_full_disk_leaves_a_core_of_the_pages_that_have_room_beside_the_headers() {
    let dump = dump_of(Machine::from_name("ppc64le").unwrap(), model());
    let selection = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let facts = Facts::default();
    let mut best = 0;
    let whole = {
        let disk = Disk::new(usize::MAX);
        let written = write(&dump, &selection, &facts, &disk, &Progress::default()).unwrap();
        let (bytes, blocks) = disk.file.into_inner().unwrap();
        check(&bytes, &written);
        blocks.len()
    };
    for room in (1..whole + 3).step_by(29).chain([whole - 1, whole]) {
        let disk = Disk::new(room);
        let mut writer = Writer::begin(&dump, &selection, &facts, &disk).unwrap();
        let result = writer.write(&Progress::default());
        // Headers are written at the end, so all pages may have had room.
        assert!(result.is_err() || room + 40 > whole);
        match writer.finish() {
            // Room for the headers, but not for a batch of pages.
            Ok(written) if written.data_pages == 0 => assert!(room < 40 + 256 + 29, "room for {room} blocks"),
            Ok(written) => {
                let (bytes, _) = disk.file.into_inner().unwrap();
                let known = check(&bytes, &written);
                // A batch of 256 pages at most, and the headers, stay unused.
                let used = written.data_pages as usize;
                assert!(used + 2 * 256 + 40 > room.min(whole), "{used} pages in room for {room}");
                assert!(known >= best);
                best = known;
            }
            Err(_) => assert!(room < 40, "room for {room} blocks"),
        }
    }
    assert!(best > 3000);
}

/// A disk whose user loses patience.
struct Impatient<'a>(Disk, &'a Progress);

impl Sink for Impatient<'_> {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        if offset > 2 << 20 {
            self.1.cancel();
        }
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_writer_that_is_stopped_can_still_make_a_core_of_what_it_wrote() {
    let dump = dump_of(Machine::from_name("ppc64").unwrap(), model());
    let selection = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let (facts, progress) = (Facts::default(), Progress::default());
    let disk = Impatient(Disk::new(usize::MAX), &progress);
    let mut writer = Writer::begin(&dump, &selection, &facts, &disk).unwrap();
    // One thread has ten batches on their way: all sixteen are not taken before the fourth is written.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(matches!(pool.install(|| writer.write(&progress)), Err(Error::Cancelled)));
    let written = writer.finish().unwrap();
    assert!((500..3500).contains(&written.unwritten_pages), "{written:?}");
    check(&disk.0.file.into_inner().unwrap().0, &written);
}

/// A disk full of something else.
struct Old(Disk);

impl Sink for Old {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn blank(&self, offset: u64, len: u64) -> Result<(), Error> {
        self.0.write_at(offset, &vec![0; len as usize])
    }
}

#[test]
fn older_content_does_not_show_through_pages_of_zeros() {
    let dump = dump_of(Machine::from_name("ppc64le").unwrap(), model());
    let selection = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
    let disk = Old(Disk::new(usize::MAX));
    disk.0.write_at(0, &vec![0xee; 20 << 20]).unwrap();
    let written = write(&dump, &selection, &Facts::default(), &disk, &Progress::default()).unwrap();
    check(&disk.0.file.into_inner().unwrap().0, &written);
}

#[test]
fn a_whole_core_that_the_system_lost_a_part_of_is_marked() {
    for name in ["x86_64", "ppc64le", "ppc64", "s390x"] {
        let model = Model::new(PageSize::K4, vec![PageState::Present; 60]);
        let dump = dump_of(Machine::from_name(name).unwrap(), model);
        let selection = Selection::everything(&*dump.memory, DumpLevel::default(), None).unwrap();
        let disk = Disk::new(usize::MAX);
        write(&dump, &selection, &Facts::default(), &disk, &Progress::default()).unwrap();
        let bytes = disk.file.into_inner().unwrap().0;
        assert!(!reopen(&bytes).source.incomplete);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        crate::incomplete::mark(file.as_file(), file.path());
        let marked = std::fs::read(file.path()).unwrap();
        check_rules(&marked);
        let dump = reopen(&marked);
        assert!(dump.source.incomplete, "{name}");
        assert!(dump.source.remarks.is_empty(), "{name}: {:?}", dump.source.remarks);
    }
}
