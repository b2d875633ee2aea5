//! What holds for every method.

use super::*;
use proptest::prelude::*;

const SIZES: [u64; 3] = [4096, 16384, 65536];

#[cfg(feature = "lzo")]
const BUILT: [Method; 4] = Method::ALL;
#[cfg(not(feature = "lzo"))]
const BUILT: [Method; 3] = [Method::Zlib, Method::Snappy, Method::Zstd];

fn size(bytes: u64) -> PageSize {
    PageSize::new(bytes).unwrap()
}

/// Encodes, decodes, compares, and returns the stream; `None` when the page is to be stored raw.
fn round_trip(encoder: &mut Encoder, decoder: &mut Decoder, method: Method, page: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xee; encoder.out_len()];
    let len = encoder.encode(page, &mut out)?;
    assert!(len < page.len(), "{method}: {len}");
    let mut back = vec![0xdd; page.len()];
    decoder.decode(method, &out[..len], &mut back).unwrap();
    assert!(back == page, "{method}: the page came back changed");
    out.truncate(len);
    Some(out)
}

/// What memory looks like: runs, random bytes, repeats from near and far, little-endian pointers.
fn page(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u8>(), 1usize..6000).prop_map(|(byte, n)| Piece::Run(byte, n)),
        prop::collection::vec(any::<u8>(), 1..300).prop_map(Piece::Bytes),
        (1usize..65536, 3usize..1000).prop_map(|(distance, n)| Piece::Repeat(distance, n)),
        (any::<u32>(), 1usize..64).prop_map(|(low, n)| Piece::Pointers(low, n)),
    ];
    prop::collection::vec(piece, 1..200).prop_map(move |pieces| {
        let mut page = Vec::with_capacity(len);
        for piece in pieces.iter().cycle() {
            let before = page.len();
            match piece {
                Piece::Run(byte, n) => page.resize(before + n, *byte),
                Piece::Bytes(bytes) => page.extend(bytes),
                Piece::Repeat(distance, n) => {
                    for at in before..before + n {
                        page.push(at.checked_sub(*distance).map_or(0x55, |from| page[from]));
                    }
                }
                Piece::Pointers(low, n) => {
                    for i in 0..*n as u64 {
                        page.extend((0xffff_8880_0000_0000 + u64::from(*low) + i * 0xc0).to_le_bytes());
                    }
                }
            }
            if page.len() >= len {
                break;
            }
        }
        page.truncate(len);
        page
    })
}

#[derive(Clone, Debug)]
enum Piece {
    Run(u8, usize),
    Bytes(Vec<u8>),
    Repeat(usize, usize),
    Pointers(u32, usize),
}

fn sized_page() -> impl Strategy<Value = (PageSize, Vec<u8>)> {
    prop::sample::select(&SIZES).prop_flat_map(|n| (Just(size(n)), page(n as usize)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_page_comes_back_from_every_method((page_size, page) in sized_page(), other in page(65536)) {
        let mut decoder = Decoder::new();
        for method in BUILT {
            let mut encoder = Encoder::new(method, None, page_size).unwrap();
            let first = round_trip(&mut encoder, &mut decoder, method, &page);
            round_trip(&mut encoder, &mut decoder, method, &other[..page.len()]);
            // The pages before must not show in the stream: the same input makes the same file.
            prop_assert_eq!(first, round_trip(&mut encoder, &mut decoder, method, &page));
        }
    }

    #[test]
    fn every_level_makes_readable_pages((page_size, page) in sized_page()) {
        let mut decoder = Decoder::new();
        for method in BUILT {
            for level in method.levels().into_iter().flatten() {
                let mut encoder = Encoder::new(method, Some(level), page_size).unwrap();
                round_trip(&mut encoder, &mut decoder, method, &page);
            }
        }
    }

    #[test]
    fn a_damaged_stream_is_refused_or_makes_a_page(
        (page_size, page) in sized_page(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut decoder = Decoder::new();
        for method in BUILT {
            let mut encoder = Encoder::new(method, None, page_size).unwrap();
            let Some(mut stored) = round_trip(&mut encoder, &mut decoder, method, &page) else { continue };
            let whole = stored.clone();
            for (at, byte) in &hits {
                let at = at.index(stored.len());
                stored[at] = *byte;
            }
            if let Some(cut) = cut {
                stored.truncate(cut.index(stored.len()));
            }
            let mut back = vec![0; page.len()];
            // Either answer is right; a panic is not, nor a decoder that the damage leaves in a bad state.
            let _ = decoder.decode(method, &stored, &mut back);
            decoder.decode(method, &whole, &mut back).unwrap();
            prop_assert!(back == page);
        }
    }

    #[test]
    fn noise_is_refused_or_makes_a_page(noise in prop::collection::vec(any::<u8>(), 0..5000)) {
        let mut decoder = Decoder::new();
        let mut back = vec![0; 4096];
        for method in BUILT {
            let _ = decoder.decode(method, &noise, &mut back);
        }
    }
}

#[test]
fn a_page_that_does_not_shrink_is_stored_raw() {
    let mut seed = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    })
    .take(65536)
    .collect();
    for method in BUILT {
        for bytes in SIZES {
            let mut encoder = Encoder::new(method, None, size(bytes)).unwrap();
            let mut out = vec![0; encoder.out_len()];
            assert_eq!(encoder.encode(&noise[..bytes as usize], &mut out), None, "{method}");
            let zeros = vec![0; bytes as usize];
            assert!(encoder.encode(&zeros, &mut out).unwrap() < zeros.len() / 16, "{method}");
        }
    }
}

#[test]
fn a_stream_of_another_length_than_the_page_is_refused() {
    let mut decoder = Decoder::new();
    let page: Vec<u8> = (0..4096u32).map(|i| (i / 7) as u8).collect();
    for method in BUILT {
        let mut encoder = Encoder::new(method, None, PageSize::K4).unwrap();
        let stored = round_trip(&mut encoder, &mut decoder, method, &page).unwrap();
        for wrong in [0, 1, 4095, 4097, 8192, 65536] {
            let mut back = vec![0; wrong];
            let error = decoder.decode(method, &stored, &mut back).unwrap_err();
            assert!(error.to_string().contains(method.name()), "{error}");
        }
        let mut back = vec![0; 4096];
        for cut in 0..stored.len() {
            assert!(decoder.decode(method, &stored[..cut], &mut back).is_err(), "{method} cut at {cut}");
        }
    }
}

#[test]
fn bytes_after_a_zlib_stream_are_ignored() {
    let mut decoder = Decoder::new();
    let page: Vec<u8> = (0..4096u32).map(|i| (i / 9) as u8).collect();
    let mut encoder = Encoder::new(Method::Zlib, None, PageSize::K4).unwrap();
    let stored = round_trip(&mut encoder, &mut decoder, Method::Zlib, &page).unwrap();
    for tail in [&[0u8; 1][..], &[0xff; 9], &[0; 3000]] {
        let mut back = vec![0; 4096];
        decoder.decode(Method::Zlib, &[&stored, tail].concat(), &mut back).unwrap();
        assert!(back == page);
    }
}

#[test]
fn zstd_may_come_in_frames_of_any_kind() {
    use ::zstd::zstd_safe::CParameter;
    let frame = |bytes: &[u8], sized: bool, checksum: bool| {
        let mut compressor = ::zstd::bulk::Compressor::new(3).unwrap();
        compressor.set_parameter(CParameter::ContentSizeFlag(sized)).unwrap();
        compressor.set_parameter(CParameter::ChecksumFlag(checksum)).unwrap();
        compressor.compress(bytes).unwrap()
    };
    let skippable = [&0x184d_2a50u32.to_le_bytes()[..], &5u32.to_le_bytes(), b"hello"].concat();
    let page: Vec<u8> = (0..4096u32).map(|i| (i / 9) as u8).collect();
    let mut decoder = Decoder::new();
    for sized in [false, true] {
        for checksum in [false, true] {
            let one = frame(&page, sized, checksum);
            let two = [frame(&page[..1000], sized, checksum), frame(&page[1000..], sized, checksum)].concat();
            for stored in [one.clone(), two, [&one[..], &skippable].concat(), [&skippable[..], &one].concat()]
            {
                let mut back = vec![0; 4096];
                decoder.decode(Method::Zstd, &stored, &mut back).unwrap();
                assert!(back == page);
            }
        }
    }
}

#[cfg(not(feature = "lzo"))]
#[test]
fn without_its_feature_lzo_is_refused_by_name() {
    let error = Decoder::new().decode(Method::Lzo, &[0x11, 0, 0], &mut [0; 4096]).unwrap_err();
    assert_eq!(error.to_string(), "this build of hadump lacks lzo: it was made without the feature lzo");
}

#[test]
fn a_refused_level_names_the_range() {
    let text = |method: Method, level| checked_level(method, Some(level)).unwrap_err().to_string();
    assert_eq!(text(Method::Zlib, 0), "zlib has no level 0, only 1 to 9");
    assert_eq!(text(Method::Zstd, 20), "zstd has no level 20, only -5 to 19");
    assert_eq!(text(Method::Lzo, 3), "lzo has no levels, so it cannot have level 3");
    assert_eq!(text(Method::Snappy, 1), "snappy has no levels, so it cannot have level 1");
}
