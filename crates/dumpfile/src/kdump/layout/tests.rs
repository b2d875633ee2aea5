use super::cursor::Width;
use super::*;
use proptest::prelude::*;

/// Numbers the fields of a structure by where they are placed.
struct Places(Cursor, Vec<usize>);

impl Visitor for Places {
    fn visit(&mut self, width: Width, _: &mut u64) {
        self.1.push(self.0.place(width).start);
    }
}

fn places(abi: Abi, at: usize, visit: impl Fn(&mut Places)) -> (Vec<usize>, usize) {
    let layout = Layout { order: ByteOrder::Little, abi };
    let mut places = Places(Cursor { layout, at }, Vec::new());
    visit(&mut places);
    (places.1, places.0.at)
}

#[test]
fn header_fields_lie_where_offsetof_says() {
    let header = |abi| places(abi, HEADER_NUMBERS, |p| Header::default().visit(p));
    let wide = vec![408, 416, 424, 428, 432, 436, 440, 444, 448, 452, 456, 460];
    assert_eq!(header(Abi::Bits64), (wide, 464));
    let narrow = vec![404, 408, 412, 416, 420, 424, 428, 432, 436, 440, 444, 448];
    assert_eq!(header(Abi::Bits32), (narrow.clone(), 452));
    assert_eq!(header(Abi::I386), (narrow, 452));
    for abi in [Abi::Bits64, Abi::Bits32, Abi::I386] {
        assert_eq!(Layout { order: ByteOrder::Big, abi }.status_offset(), header(abi).0[2]);
    }
}

#[test]
fn sub_header_fields_lie_where_offsetof_says() {
    let sub = |abi| places(abi, 0, |p| SubHeader::default().visit(p));
    assert_eq!(sub(Abi::Bits64), (vec![0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96], 104));
    assert_eq!(sub(Abi::I386), (vec![0, 4, 8, 12, 16, 20, 28, 32, 40, 44, 52, 56, 64, 72], 80));
    // The last number ends the structure, whose own alignment of 8 makes no difference.
    assert_eq!(sub(Abi::Bits32), (vec![0, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88], 96));
}

fn any_layout() -> impl Strategy<Value = Layout> {
    (any::<bool>(), 0..3usize).prop_map(|(big, abi)| Layout {
        order: if big { ByteOrder::Big } else { ByteOrder::Little },
        abi: [Abi::Bits64, Abi::Bits32, Abi::I386][abi],
    })
}

proptest! {
    #[test]
    fn headers_survive_a_round_trip(layout in any_layout(), n: [u32; 7], names: [u32; 6]) {
        let name = |i: usize| format!("name-{}", names[i]);
        let header = Header {
            version: n[0],
            utsname: Utsname {
                sysname: name(0), nodename: name(1), release: name(2),
                version: name(3), machine: name(4), domainname: name(5),
            },
            tv_sec: n[1].into(), tv_usec: n[2].into(), status: n[3], block_size: n[4],
            sub_hdr_size: n[5], bitmap_blocks: n[6], max_mapnr: n[0], unused: [n[1], n[2], n[3], n[4]], nr_cpus: n[5],
        };
        prop_assert_eq!(Header::decode(&header.encode(layout), layout), header);
    }

    #[test]
    fn sub_headers_survive_a_round_trip_as_far_as_their_version_goes(
        layout in any_layout(), n: [u32; 14], wide: [u64; 6], version in 1u32..8,
    ) {
        let sub = SubHeader {
            phys_base: n[0].into(), dump_level: n[1], split: n[2], start_pfn: n[3].into(), end_pfn: n[4].into(),
            offset_vmcoreinfo: wide[0], size_vmcoreinfo: n[5].into(), offset_note: wide[1], size_note: n[6].into(),
            offset_eraseinfo: wide[2], size_eraseinfo: n[7].into(),
            start_pfn_64: wide[3], end_pfn_64: wide[4], max_mapnr_64: wide[5],
        };
        let bytes = sub.encode(layout);
        prop_assert_eq!(SubHeader::decode(&bytes, layout, 6), sub);
        let old = SubHeader::decode(&bytes, layout, version);
        prop_assert_eq!(old.start_pfn_64, if version < 6 { 0 } else { wide[3] });
        prop_assert_eq!(old.size_eraseinfo, if version < 5 { 0 } else { n[7].into() });
        prop_assert_eq!(old.offset_note, if version < 4 { 0 } else { wide[1] });
        prop_assert_eq!(old.offset_vmcoreinfo, if version < 3 { 0 } else { wide[0] });
        prop_assert_eq!(old.end_pfn, if version < 2 { 0 } else { n[4].into() });
    }
}

#[test]
fn a_descriptor_is_what_makedumpfile_writes() {
    let desc = PageDesc { offset: 0x0102_0304_0506_0708, size: 0x1122, flags: 0x20 };
    let bytes = desc.encode(ByteOrder::Big);
    assert_eq!(bytes, *b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x11\x22\0\0\0\x20\0\0\0\0\0\0\0\0");
    assert_eq!(PageDesc::decode(&bytes, ByteOrder::Big), desc);
}

#[test]
fn a_long_name_is_cut_before_its_last_byte() {
    let layout = Layout { order: ByteOrder::Little, abi: Abi::Bits64 };
    let mut header = Header::default();
    header.utsname.release = "x".repeat(100);
    let bytes = header.encode(layout);
    assert_eq!(Header::decode(&bytes, layout).utsname.release, "x".repeat(64));
    assert_eq!(bytes[12 + 3 * 65], 0);
}
