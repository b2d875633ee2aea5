//! Notes that stay in the input until they are written.

use super::*;
use crate::kdump::Skeleton;
use std::sync::Arc;
use vmcore::{NotePlace, NoteRoom, NoteSource};

/// A dump with a note of each kind before its registers: small, large, and large with a length that needs padding.
fn with_large_notes() -> Dump {
    let machine = machine("ppc64");
    let mut made = dump(machine, PageSize::K4, &[(0, Content::Text(1)), (2, Content::Zeros)]);
    let mut all = Notes::default();
    for (kind, len) in [(0x700, 70_001), (0x701, 500), (0x702, 3 << 20)] {
        all.push(
            Note { name: b"LINUX".into(), kind, desc: b"SECRET!!"[..].repeat(len / 8 + 1)[..len].into() },
            machine.order,
        );
    }
    made.notes.iter().for_each(|note| all.push(note.clone(), machine.order));
    let bytes = all.raw().to_vec();
    let place = NotePlace { offset: 0, len: bytes.len() as u64, align: 4 };
    let source: Arc<dyn NoteSource> = Arc::new(Input::of_bytes(Path::new("input"), bytes));
    let found = Notes::scan(&source, place, machine.order, &mut NoteRoom::new(u64::MAX)).unwrap();
    made.notes = found.notes;
    assert_eq!(made.notes.far().len(), 2);
    made
}

#[test]
fn notes_that_are_not_held_are_written_behind_the_others_with_every_byte() {
    let dump = with_large_notes();
    let file = tempfile::NamedTempFile::new().unwrap();
    write_to(file.path(), &dump, &without(&dump, &[]), Some(Method::Zlib), 1);
    let again = open(file.path()).unwrap();
    assert_eq!(again.cpus(), 2);
    assert_eq!(again.vmcoreinfo.as_ref().unwrap().text(), INFO);
    assert_eq!(page_of(&again, 0), page_of(&dump, 0));
    let contents = |dump: &Dump| {
        let mut all: Vec<u8> = Vec::new();
        for far in dump.notes.far() {
            far.copy(|bytes| -> Result<(), vmcore::ReadError> {
                all.extend(bytes);
                Ok(())
            })
            .unwrap();
        }
        all
    };
    assert!(contents(&again) == contents(&dump));
    assert!(again.source.remarks.is_empty(), "{:?}", again.source.remarks);
}

#[test]
fn no_note_that_is_not_held_gets_into_a_skeleton() {
    let dump = with_large_notes();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("skeleton");
    let skeleton = Skeleton::new(OutputFile::create(&path, true).unwrap());
    let (facts, options) = (facts(dump.machine), Options::default());
    write(&dump, &without(&dump, &[]), &facts, &options, &skeleton, &Progress::default()).unwrap();
    let path = skeleton.commit().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(bytes.len() > 3 << 20 && has(INFO) && !has(b"SECRET!!"));
    let read = open(&path).unwrap();
    assert_eq!(read.vmcoreinfo.unwrap().text(), INFO);
}
