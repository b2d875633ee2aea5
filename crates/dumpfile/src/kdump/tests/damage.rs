use super::*;
use crate::Error;
use proptest::prelude::*;

/// A small file of one of the layouts, with the byte its data starts at.
fn sample(name: &str, method: Option<Method>) -> (Vec<u8>, Vec<u64>) {
    let contents: Vec<_> = (0..40)
        .map(|pfn| match pfn % 5 {
            0 => (pfn, Content::Zeros),
            1 => (pfn, Content::Noise(pfn as u8)),
            _ => (pfn + 100, Content::Text(pfn as u8)),
        })
        .collect();
    let input = dump(machine(name), PageSize::K4, &contents);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[1, 102]), method, 1);
    (std::fs::read(&path).unwrap(), contents.iter().map(|c| c.0).collect())
}

/// Reads all that can be read; what counts is that it ends.
fn read_everything(bytes: &[u8]) -> Result<(bool, Vec<Option<PageState>>), Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    std::fs::write(&path, bytes).unwrap();
    let dump = open(&path)?;
    let size = dump.page_size();
    let mut page = vec![0; size.len()];
    let states = (0..200u64).map(|pfn| dump.memory.read_page(Pfn(pfn), &mut page).ok()).collect();
    let mut run = vec![0; 64 * size.len()];
    let _ = dump.memory.read_run(Pfn(90), &mut run, &mut [PageState::Absent; 64]);
    let _ = dump.memory.read(size.addr(Pfn(3)), &mut run[..5000]);
    let _ = Selection::everything(&*dump.memory, DumpLevel::default(), None);
    Ok((dump.source.incomplete, states))
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_loses_pages_and_says_so() {
    for (name, method) in [("x86_64", Some(Method::Zlib)), ("ppc64", None), ("i686", Some(Method::Zstd))] {
        let (bytes, _) = sample(name, method);
        let (complete, whole) = read_everything(&bytes).unwrap();
        assert!(!complete);
        let mut cuts: Vec<usize> = (0..bytes.len()).step_by(211).collect();
        cuts.extend(bytes.len() - 30..bytes.len());
        for cut in cuts {
            match read_everything(&bytes[..cut]) {
                Err(error) => assert!(error.to_string().contains("vmcore"), "{error}"),
                Ok((incomplete, states)) => {
                    assert!(incomplete, "cut to {cut} of {}", bytes.len());
                    assert!(states.contains(&Some(PageState::Lost)), "cut to {cut}");
                    for (now, before) in states.iter().zip(&whole) {
                        assert!(now == before || *now == Some(PageState::Lost), "cut to {cut}: {now:?}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_bytes_in_headers_and_descriptors_never_panic_or_hang(
        which in 0..3usize,
        changes in prop::collection::vec((0usize..0x7000, any::<u8>()), 1..8),
        words in prop::collection::vec((400usize..470, prop::sample::select(vec![0u32, 1, 0xffff_ffff, 0x8000_0000, 4096, 1 << 20])), 0..3),
        sub in prop::collection::vec((0usize..104, any::<u64>()), 0..3),
    ) {
        let (name, method) = [("x86_64", Some(Method::Zlib)), ("ppc64", Some(Method::Snappy)), ("armv7l", None)][which];
        let (mut bytes, _) = sample(name, method);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        for (at, value) in words {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in sub {
            bytes[4096 + at..4096 + at + 8].copy_from_slice(&value.to_be_bytes());
        }
        let _ = read_everything(&bytes);
    }
}

/// The sample's only page, its descriptor changed: what the page is, and what is said of it.
fn with_descriptor(change: impl Fn(&mut [u8])) -> (PageState, String) {
    let input = dump(machine("x86_64"), PageSize::K4, &[(0, Content::Text(1))]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes[4 * 4096..]);
    std::fs::write(&path, bytes).unwrap();
    let dump = open(&path).unwrap();
    let mut page = [7; 4096];
    let state = dump.memory.read_page(Pfn(0), &mut page).unwrap();
    assert_eq!(page, [0; 4096], "what is lost is cleared");
    let damage = dump.memory.damage();
    assert_eq!(damage.pages, damage.first.len() as u64);
    (state, damage.first.join("\n"))
}

#[test]
fn a_page_with_an_impossible_descriptor_is_lost_and_the_descriptor_named() {
    let message = |change: &dyn Fn(&mut [u8])| {
        let (state, message) = with_descriptor(change);
        assert_eq!(state, PageState::Lost);
        message
    };
    let text = message(&|desc| desc[8..12].copy_from_slice(&5000u32.to_le_bytes()));
    assert!(
        text.ends_with("page_desc.size of page 0x0 at offset 0x4000 is 5000, expected 1 to 4096"),
        "{text}"
    );
    let text = message(&|desc| desc[8..12].fill(0));
    assert!(text.contains("page_desc.size of page 0x0 at offset 0x4000 is 0"), "{text}");
    let text = message(&|desc| desc[12] = 0);
    assert!(text.contains("expected 4096 as the page is not compressed"), "{text}");
    let text = message(&|desc| desc[..8].copy_from_slice(&100u64.to_le_bytes()));
    assert!(text.contains("page_desc.offset of page 0x0 at offset 0x4000 is 0x64"), "{text}");
    let text = message(&|desc| desc[24 + 4096 + 10] ^= 0xff);
    assert!(text.contains("content of page 0x0 at offset 0x5018"), "{text}");
    assert_eq!(with_descriptor(|desc| desc[..8].fill(0)), (PageState::Lost, String::new()));
    assert_eq!(with_descriptor(|desc| desc[6] = 1).0, PageState::Lost, "past the end of the file");
}

#[test]
fn a_damaged_page_costs_nothing_but_itself() {
    let contents: Vec<_> = (0..300).map(|pfn| (pfn, Content::Text(pfn as u8))).collect();
    let input = dump(machine("ppc64le"), PageSize::K4, &contents);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zstd), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    for page in [7, 8, 200] {
        let desc = 4 * 4096 + page * 24;
        let at = u64::from_le_bytes(bytes[desc..desc + 8].try_into().unwrap()) as usize;
        bytes[at] ^= 0x55;
    }
    std::fs::write(&path, bytes).unwrap();
    let output = open(&path).unwrap();
    let mut pages = vec![0; 300 * 4096];
    let mut states = [PageState::Absent; 300];
    for _ in 0..2 {
        output.memory.read_run(Pfn(0), &mut pages, &mut states).unwrap();
    }
    for (pfn, content) in contents {
        let expected =
            if [7, 8, 200].contains(&pfn) { (PageState::Lost, vec![0; 4096]) } else { content.page(4096) };
        let bytes = pages[pfn as usize * 4096..][..4096].to_vec();
        assert_eq!((states[pfn as usize], bytes), expected, "page {pfn}");
    }
    assert_eq!(output.memory.damage().pages, 3, "each counts once");
    // A dump that is written from it is whole but for these.
    let second = dir.path().join("second");
    let everything = Selection::everything(&*output.memory, DumpLevel::default(), None).unwrap();
    let written = write_to(&second, &output, &everything, None, 2);
    assert_eq!((written.lost_pages, written.data_pages), (3, 297));
    assert!(open(&second).unwrap().source.incomplete);
}
