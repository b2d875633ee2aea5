use super::*;
use crate::testimage::TestImage;
use proptest::prelude::*;
use vmcore::PageSize;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7 + n / 4096 * 13 + 1) as u8).collect()
}

fn segment(start: u64, end: u64, image: Option<u64>) -> Segment {
    Segment { range: Range::new(PhysAddr(start), PhysAddr(end)), image: image.map(PhysAddr) }
}

fn memory(page: PageSize, image: TestImage, segments: &[Segment]) -> Reassembled {
    let map = MemoryMap::new(page, segments.iter().map(|s| s.range).collect());
    Reassembled::new(Image::new(Box::new(image)), map, segments.to_vec())
}

fn page(memory: &Reassembled, pfn: u64) -> (PageState, Vec<u8>) {
    let mut page = vec![0xee; memory.map().page_size().len()];
    (memory.read_page(Pfn(pfn), &mut page).unwrap(), page)
}

#[test]
fn a_copy_that_is_not_aligned_is_read_across_two_frames_of_the_image() {
    let image = bytes(0x6000);
    let segments = [segment(0, 0x2000, Some(0x3020)), segment(0x2000, 0x3000, Some(0x2000))];
    let test = TestImage::new(PageSize::K4, image.clone());
    let memory = memory(PageSize::K4, test, &segments);
    assert_eq!(page(&memory, 0), (PageState::Present, image[0x3020..0x4020].to_vec()));
    let mut run = vec![0; 0x3000];
    let mut states = [PageState::Absent; 3];
    memory.read_run(Pfn(0), &mut run, &mut states).unwrap();
    assert_eq!(states, [PageState::Present; 3]);
    assert_eq!(run[..0x2000], image[0x3020..0x5020]);
    assert_eq!(run[0x2000..], image[0x2000..0x3000]);
}

#[test]
fn a_frame_cut_by_absent_memory_reads_as_zero_there_and_a_lost_byte_loses_the_frame() {
    let image = bytes(0x4000);
    let segments = [
        segment(0, 0x11b0, Some(0)),
        segment(0x2000, 0x2fff, Some(0x2000)),
        segment(0x2fff, 0x3000, None),
        segment(0x31b0, 0x4000, Some(0x31b0)),
    ];
    let memory = memory(PageSize::K4, TestImage::new(PageSize::K4, image.clone()), &segments);
    let (state, bytes) = page(&memory, 1);
    assert_eq!((state, &bytes[..0x1b0]), (PageState::Present, &image[0x1000..0x11b0]));
    assert!(bytes[0x1b0..].iter().all(|&b| b == 0));
    assert_eq!(page(&memory, 2), (PageState::Lost, vec![0; 4096]));
    let (state, bytes) = page(&memory, 3);
    assert!(state == PageState::Present && bytes[..0x1b0].iter().all(|&b| b == 0));
    assert_eq!(bytes[0x1b0..], image[0x31b0..0x4000]);
    assert_eq!(page(&memory, 4).0, PageState::Absent);
}

#[test]
fn what_the_image_lacks_is_lost_and_what_was_filtered_stays_excluded() {
    let segments = [segment(0, 0x4000, Some(0)), segment(0x4000, 0x5000, Some(0x9000))];
    let image = TestImage::new(PageSize::K4, bytes(0x4000)).without(2);
    let memory = memory(PageSize::K4, image, &segments);
    let states: Vec<PageState> = (0..5).map(|n| page(&memory, n).0).collect();
    use PageState::{Excluded, Lost, Present};
    assert_eq!(states, [Present, Present, Excluded, Present, Lost]);
}

#[test]
fn pages_of_another_size_than_the_images_are_put_together_and_taken_apart() {
    let image = bytes(0x4_0000);
    let segments = [segment(0, 0x1_0000, Some(0x2_0000)), segment(0x1_0000, 0x2_0000, Some(0x1_0000))];
    for (own, its) in [(PageSize::K64, PageSize::K4), (PageSize::K4, PageSize::K64)] {
        let memory = memory(own, TestImage::new(its, image.clone()), &segments);
        let frames = 0x2_0000 / own.len();
        let mut run = vec![0; 0x2_0000];
        let mut states = vec![PageState::Absent; frames];
        memory.read_run(Pfn(0), &mut run, &mut states).unwrap();
        assert!(states.iter().all(|s| *s == PageState::Present));
        assert_eq!(
            (&run[..0x1_0000], &run[0x1_0000..]),
            (&image[0x2_0000..0x3_0000], &image[0x1_0000..0x2_0000])
        );
    }
}

#[test]
fn zero_pages_are_known_to_be_zero() {
    let mut image = bytes(0x4000);
    image[0x1000..0x3000].fill(0);
    let memory = memory(
        PageSize::K4,
        TestImage::new(PageSize::K4, image),
        &[segment(0, 0x1000, Some(0x1800)), segment(0x1000, 0x2000, Some(0x1000))],
    );
    assert_eq!(page(&memory, 0).0, PageState::Zero);
    assert_eq!(page(&memory, 1).0, PageState::Zero);
}

proptest! {
    #[test]
    fn runs_and_pages_agree_with_a_byte_by_byte_model(
        cuts in prop::collection::btree_set(0u64..0x8000, 2..12),
        sources in prop::collection::vec(prop::option::weighted(0.8, prop::option::weighted(0.8, 0u64..0x6000)), 12),
        small: bool,
    ) {
        let image = bytes(0xe000);
        let cuts: Vec<u64> = cuts.into_iter().collect();
        let segments: Vec<Segment> = cuts.windows(2).zip(&sources)
            .filter_map(|(w, source)| source.map(|image| segment(w[0], w[1], image))).collect();
        let its = if small { PageSize::K4 } else { PageSize::new(8192).unwrap() };
        let test = TestImage::new(its, image.clone());
        let memory = memory(PageSize::K4, test, &segments);
        let mut run = vec![0xee; 0x9000];
        let mut states = [PageState::Excluded; 9];
        memory.read_run(Pfn(0), &mut run, &mut states).unwrap();
        for n in 0..9u64 {
            let mut expected = vec![0u8; 4096];
            let (mut any, mut lost) = (false, false);
            for s in &segments {
                for at in s.range.start.0.max(n << 12)..s.range.end.0.min((n + 1) << 12) {
                    any = true;
                    match s.image {
                        Some(base) => expected[(at & 0xfff) as usize] = image[(base.0 + at - s.range.start.0) as usize],
                        None => lost = true,
                    }
                }
            }
            let state = states[n as usize];
            let got = &run[(n << 12) as usize..((n + 1) << 12) as usize];
            if lost {
                prop_assert_eq!(state, PageState::Lost);
            } else if any {
                prop_assert!(state.is_known());
                prop_assert_eq!(got, &expected[..]);
            } else {
                prop_assert_eq!(state, PageState::Absent);
            }
            prop_assert_eq!(page(&memory, n).0, state);
        }
    }
}
