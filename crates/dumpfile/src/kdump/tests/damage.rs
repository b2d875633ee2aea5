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

/// The sample's only page, its descriptor changed.
fn with_descriptor(change: impl Fn(&mut [u8])) -> Result<PageState, Error> {
    let input = dump(machine("x86_64"), PageSize::K4, &[(0, Content::Text(1))]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmcore");
    write_to(&path, &input, &without(&input, &[]), Some(Method::Zlib), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes[4 * 4096..]);
    std::fs::write(&path, bytes).unwrap();
    Ok(open(&path)?.memory.read_page(Pfn(0), &mut [0; 4096])?)
}

#[test]
fn an_impossible_descriptor_is_named() {
    let message = |change: &dyn Fn(&mut [u8])| with_descriptor(change).unwrap_err().to_string();
    let text = message(&|desc| desc[8..12].copy_from_slice(&5000u32.to_le_bytes()));
    assert!(
        text.ends_with("page_desc.size of page 0x0 at offset 0x4000 is 5000, expected 1 to 4096"),
        "{text}"
    );
    let text = message(&|desc| desc[12] = 0);
    assert!(text.contains("expected 4096 as the page is not compressed"), "{text}");
    let text = message(&|desc| desc[..8].copy_from_slice(&100u64.to_le_bytes()));
    assert!(text.contains("page_desc.offset of page 0x0 at offset 0x4000 is 0x64"), "{text}");
    let text = message(&|desc| desc[24 + 4096 + 10] ^= 0xff);
    assert!(text.contains("content of page 0x0 at offset 0x5018"), "{text}");
    assert_eq!(with_descriptor(|desc| desc[..8].fill(0)).unwrap(), PageState::Lost);
    assert_eq!(with_descriptor(|desc| desc[6] = 1).unwrap(), PageState::Lost, "past the end of the file");
}
