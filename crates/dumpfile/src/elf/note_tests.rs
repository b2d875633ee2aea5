//! Notes of both versions, and notes that no writer should have written.

use super::*;
use proptest::prelude::*;

fn orders() -> [ByteOrder; 2] {
    [ByteOrder::Little, ByteOrder::Big]
}

fn find(note: Note, order: ByteOrder) -> (Option<OwnNote>, Vec<String>) {
    let mut notes = Notes::default();
    notes.push(note, order);
    let mut remarks = Vec::new();
    (OwnNote::find(&notes, order, &mut remarks), remarks)
}

fn sample(memory: &[(u64, u64)], lost: &[(u64, u64)]) -> OwnNote {
    let list =
        |of: &[(u64, u64)]| of.iter().map(|&(s, e)| Range { start: PhysAddr(s), end: PhysAddr(e) }).collect();
    OwnNote { dump_level: 31, memory: list(memory), lost: list(lost), ..OwnNote::default() }
}

#[test]
fn the_last_note_of_a_known_version_counts() {
    for order in orders() {
        let first = OwnNote { dump_level: 1, tails: 4096, ..OwnNote::default() };
        let last = OwnNote { incomplete: true, lost_pages: 3, ..sample(&[(4096, 8192)], &[]) };
        let mut notes = Notes::default();
        let mut remarks = Vec::new();
        notes.push(first.encode(0, order), order);
        assert_eq!(OwnNote::find(&notes, order, &mut remarks), Some(first));
        let mut longer = last.encode(2, order);
        longer.desc.extend([9; 16]);
        notes.push(longer, order);
        assert_eq!(OwnNote::find(&notes, order, &mut remarks), Some(last.clone()));
        assert_eq!(remarks, [""; 0]);
        let mut foreign = last.encode(0, order);
        foreign.desc[..4].copy_from_slice(&order.put_u32(3));
        notes.push(foreign, order);
        assert_eq!(OwnNote::find(&notes, order, &mut remarks), None);
        assert!(remarks[0].contains("version 3"), "{remarks:?}");
    }
}

#[test]
fn the_first_version_says_nothing_of_memory() {
    for order in orders() {
        let mut desc = [1, 31, 1, 0].map(|word| order.put_u32(word)).concat();
        desc.extend([1 << 40, 5].map(|number| order.put_u64(number)).concat());
        let note = |desc: &[u8]| Note { name: NAME.into(), kind: KIND, desc: desc.into() };
        let known =
            OwnNote { dump_level: 31, incomplete: true, tails: 1 << 40, lost_pages: 5, ..OwnNote::default() };
        assert_eq!(find(note(&desc), order), (Some(known), vec![]));
        let (found, remarks) = find(note(&desc[..31]), order);
        assert!(found.is_none() && remarks[0].contains("31 of at least 32 bytes"), "{remarks:?}");
    }
}

#[test]
fn ranges_that_cannot_be_are_not_used_and_the_rest_of_the_note_is() {
    type Pairs<'a> = &'a [(u64, u64)];
    let cases: [(Pairs<'_>, Pairs<'_>, &str); 9] = [
        (&[(0x5000, 0x6000), (0x1000, 0x2000)], &[], "memory range 0x1000..0x2000"),
        (&[(0x1000, 0x3000), (0x2000, 0x4000)], &[], "memory range 0x2000..0x4000"),
        (&[(0x1000, 0x1000)], &[], "memory range 0x1000..0x1000"),
        (&[(0x3000, 0x1000)], &[], "memory range 0x3000..0x1000"),
        (&[(u64::MAX - 1, u64::MAX)], &[], "ends by 0x100000000000000"),
        (&[(0, 1 << 49)], &[], "more than 256 TiB"),
        (&[(0, 1 << 47), (1 << 50, (1 << 50) + (1 << 47) + 1)], &[], "more than 256 TiB"),
        (&[(0, 0x1000)], &[(0x1000, 0x800)], "lost range 0x1000..0x800"),
        (&[(0, 0x1000)], &[(0, 1 << 55)], "lost ranges of 0x80000000000000 bytes"),
    ];
    for order in orders() {
        for (memory, lost, message) in cases {
            let (found, remarks) = find(sample(memory, lost).encode(lost.len(), order), order);
            assert_eq!(found, Some(sample(&[], &[])));
            assert!(remarks.len() == 1 && remarks[0].contains(message), "{remarks:?}, not {message}");
        }
        for at in [40, 44] {
            for count in [3, u32::MAX / 16 + 1, u32::MAX] {
                let mut note = sample(&[(0, 0x1000)], &[]).encode(1, order);
                note.desc[at..at + 4].copy_from_slice(&order.put_u32(count));
                let (found, remarks) = find(note, order);
                assert_eq!(found, Some(sample(&[], &[])));
                assert!(remarks[0].contains(&format!("has {count} ")), "{remarks:?}");
            }
        }
    }
}

fn any_ranges() -> impl Strategy<Value = Vec<Range<PhysAddr>>> {
    prop::collection::vec((0u64..1 << 40, 1u64..1 << 40), 0..20).prop_map(|steps| {
        let mut at = 0;
        let range = |(gap, len)| {
            let start = at + gap;
            at = start + len;
            Range::new(PhysAddr(start), PhysAddr(at))
        };
        steps.into_iter().map(range).collect()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_found_and_takes_the_room_that_was_given(
        numbers in any::<(u32, u64, u64, u64)>(),
        flags in any::<[bool; 4]>(),
        strings in prop::array::uniform6("[a-z #0-9.]{0,64}"),
        memory in any_ranges(),
        lost in any_ranges(),
        more_room in 0usize..5,
        big: bool,
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let [sysname, nodename, release, version, machine, domainname] = strings;
        let own = OwnNote {
            dump_level: numbers.0,
            incomplete: flags[0],
            tails: numbers.1,
            lost_pages: numbers.2,
            phys_base: numbers.3,
            utsname: Utsname { sysname, nodename, release, version, machine, domainname },
            memory,
            more_memory: flags[1],
            lost,
            more_lost: flags[2],
            lost_in_place: flags[3],
        };
        let room = own.lost.len() + more_room;
        let note = own.encode(room, order);
        let none = OwnNote { memory: own.memory.clone(), ..OwnNote::default() };
        prop_assert_eq!(none.encode(room, order).desc.len(), note.desc.len());
        prop_assert_eq!(find(note, order), (Some(own), vec![]));
    }

    #[test]
    fn random_bytes_never_panic_and_claim_no_more_than_they_hold(
        version in 0u32..4,
        counts in prop::array::uniform2(0u32..8),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        for order in orders() {
            let mut desc = bytes.clone();
            for (at, word) in [(0, version), (40, counts[0]), (44, counts[1])] {
                if let Some(field) = desc.get_mut(at..at + 4) {
                    field.copy_from_slice(&order.put_u32(word));
                }
            }
            if let Some(own) = find(Note { name: NAME.into(), kind: KIND, desc }, order).0 {
                prop_assert!((own.memory.len() + own.lost.len()) * RANGE_LEN <= bytes.len());
            }
        }
    }
}
