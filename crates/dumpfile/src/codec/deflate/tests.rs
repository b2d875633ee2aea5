//! Every stream must come back from another inflater, whatever the page.

use super::*;
use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::*;

/// Encodes, inflates with the library, compares; returns the length, `None` for a page that is to be stored raw.
fn check(encoder: &mut Encoder, page: &[u8]) -> Option<usize> {
    let mut out = vec![0xee; bound(page.len())];
    let len = encoder.encode(page, &mut out)?;
    assert!(len < page.len());
    let mut back = vec![0; page.len()];
    let mut inflater = Decompress::new(true);
    let status = inflater.decompress(&out[..len], &mut back, FlushDecompress::Finish).unwrap();
    assert_eq!(status, Status::StreamEnd);
    assert_eq!((inflater.total_in(), inflater.total_out()), (len as u64, page.len() as u64));
    assert!(back == page);
    Some(len)
}

fn noise(len: usize) -> Vec<u8> {
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_page_of_one_byte_is_a_few_bytes() {
    for len in [4096, 16384, 65536, 1 << 20] {
        let mut encoder = Encoder::new(len);
        for byte in [0, 1, 255] {
            assert!(check(&mut encoder, &vec![byte; len]).unwrap() < 60 + len / 200);
        }
    }
}

#[test]
fn noise_is_to_stand_raw() {
    for len in [4096, 65536] {
        assert_eq!(check(&mut Encoder::new(len), &noise(len)), None);
    }
}

#[test]
fn the_farthest_and_longest_match_of_the_format_is_found() {
    let mut page = noise(65536);
    page.copy_within(1000..1258, 1000 + 32768);
    page[1000 + 32768 + 258] ^= 1;
    page[40000..].fill(0);
    check(&mut Encoder::new(page.len()), &page).unwrap();

    let mut tokens = Tokens::new(page.len());
    tokens.clear();
    Matcher::new(page.len()).parse(&page, &mut tokens);
    let mut farthest = Tokens::new(1);
    farthest.repeat(258, 32768);
    assert!(tokens.as_slice().contains(&farthest.as_slice()[0]));
}

#[test]
fn a_repeat_beyond_the_window_is_not_taken() {
    for past in [0, 1, 1000] {
        let mut page = noise(65536);
        page.copy_within(1000..1400, 1000 + 32769 + past);
        page[50000..].fill(3);
        check(&mut Encoder::new(page.len()), &page).unwrap();
    }
}

#[test]
fn all_symbols_in_one_page_survive() {
    // Every literal, then every length at every distance symbol that fits.
    let mut page: Vec<u8> = (0..=255).collect();
    page.extend(noise(2048));
    let mut distance = 1;
    for len in 3..=258 {
        let from = page.len() - distance;
        for i in 0..len {
            page.push(page[from + i]);
        }
        page.extend(noise(len)[..2].iter());
        distance = (distance * 3 / 2 + 1).min(page.len().min(32768));
        if distance == 32768 {
            distance = 1;
        }
    }
    page.resize(65536, 0x5a);
    check(&mut Encoder::new(page.len()), &page).unwrap();
}

#[test]
fn frequencies_like_fibonacci_numbers_meet_the_limit_of_code_lengths() {
    let mut page = Vec::new();
    let (mut a, mut b) = (1usize, 1usize);
    for symbol in 0..22u8 {
        // Spread out, so that the symbols stay literals.
        for i in 0..a {
            page.push((symbol, i));
        }
        (a, b) = (b, a + b);
    }
    page.sort_by_key(|&(symbol, i)| (i * 7919 + usize::from(symbol) * 104_729) % 65521);
    let mut page: Vec<u8> = page.into_iter().map(|(symbol, _)| symbol).collect();
    page.resize(65536, 0);
    check(&mut Encoder::new(page.len()), &page).unwrap();
}

#[test]
fn numbers_of_old_pages_run_out_without_harm() {
    let mut encoder = Encoder::new(4096);
    let page: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 7) as u8).collect();
    let len = check(&mut encoder, &page);
    assert!(len.is_some());
    for _ in 0..4 {
        encoder.matcher.exhaust();
        for _ in 0..3 {
            assert_eq!(check(&mut encoder, &page), len);
        }
    }
}

#[test]
fn the_checksum_is_that_of_zlib() {
    assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    let page = vec![0xff; 1 << 20];
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &page {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    assert_eq!(adler32(&page), (b << 16) | a);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_of_few_symbols_come_back(
        symbols in prop::collection::vec(any::<u8>(), 1..40),
        picks in prop::collection::vec(any::<u16>(), 4096),
        skew in 1u32..6,
    ) {
        // The higher the skew, the rarer the later symbols.
        let pick = |&p: &u16| symbols[((f64::from(p) / 65536.0).powi(skew as i32) * symbols.len() as f64) as usize];
        check(&mut Encoder::new(4096), &picks.iter().map(pick).collect::<Vec<_>>());
    }

    #[test]
    fn pages_of_repeats_come_back(
        pieces in prop::collection::vec((any::<u64>(), 1usize..40, 1usize..40000, 0usize..600), 1..400),
        shift in 12u32..=16,
    ) {
        let len = 1 << shift;
        let mut page = Vec::with_capacity(len + 700);
        for (bytes, literals, distance, repeat) in pieces.iter().cycle() {
            page.extend(bytes.to_le_bytes().iter().cycle().take(*literals));
            let from = page.len() - distance.min(&page.len());
            for i in 0..*repeat {
                page.push(page[from + i]);
            }
            if page.len() >= len {
                break;
            }
        }
        page.truncate(len);
        let mut encoder = Encoder::new(len);
        let first = check(&mut encoder, &page);
        check(&mut encoder, &noise(len));
        prop_assert_eq!(check(&mut encoder, &page), first);
    }
}
