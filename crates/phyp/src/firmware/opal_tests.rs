use super::*;
use proptest::prelude::*;

fn thread(
    pir: u32,
    state: u8,
    header: (u32, u32, u32),
    registers: &[(u32, u32, u64)],
    size: usize,
) -> Vec<u8> {
    let mut out = pir.to_be_bytes().to_vec();
    out.extend([state, 0, 0, 0]);
    for word in [header.0, header.1, header.2, header.2] {
        out.extend(word.to_be_bytes());
    }
    out.resize((8 + header.0 as usize).max(0x18), 0);
    for (kind, number, value) in registers {
        out.extend(kind.to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend(value.to_be_bytes());
    }
    out.resize(size, 0);
    out
}

const REGISTERS: [(u32, u32, u64); 4] =
    [(1, 1, 0x1111), (2, 0x7d0, 0xc000), (2, 0x7d2, 0x28), (1, 31, 0x3131)];

#[test]
fn threads_are_read_with_their_names_and_inactive_ones_are_left_out() {
    let header = (0x10, 4, 16);
    let data = [
        thread(8, 0, header, &REGISTERS, 128),
        thread(12, 0x0f, header, &REGISTERS, 128),
        thread(4, 1, header, &REGISTERS, 128),
    ]
    .concat();
    let data = CpuData::parse(&data, 128).unwrap();
    assert_eq!(data.cpus.iter().map(|c| c.cpu).collect::<Vec<_>>(), [8, 4]);
    assert_eq!((&data.inactive[..], &data.faults[..]), (&[12][..], &[][..]));
    let cpu = &data.cpus[1];
    assert_eq!((cpu.get("GPR01"), cpu.get("NIA"), cpu.get("CR")), (Some(0x1111), Some(0xc000), Some(0x28)));
    assert!(cpu.complete);
}

#[test]
fn the_first_threads_header_stands_in_for_others_and_damage_is_said() {
    let header = (0x10, 4, 16);
    let data = [
        thread(1, 0, header, &REGISTERS, 96),
        {
            let mut second = thread(2, 0, header, &REGISTERS, 96);
            second[8..0x18].fill(0);
            second
        },
        thread(1, 0, header, &REGISTERS, 96),
        vec![0; 5],
    ]
    .concat();
    let data = CpuData::parse(&data, 96).unwrap();
    assert_eq!(data.cpus.len(), 2);
    assert_eq!(data.cpus[1].get("GPR31"), Some(0x3131));
    assert_eq!(data.faults, [Fault::Ragged(5), Fault::HeaderFromFirst(2), Fault::DuplicatePir(1)]);

    let cut = CpuData::parse(&thread(1, 0, (0x10, 4, 16), &REGISTERS, 96)[..64], 64).unwrap();
    assert_eq!((cut.cpus[0].registers.len(), &cut.faults[..]), (2, &[Fault::Truncated(1)][..]));
    let unknown = CpuData::parse(&thread(1, 0, (0x10, 1, 16), &[(3, 9, 0)], 96), 96).unwrap();
    assert_eq!(unknown.faults, [Fault::UnknownRegister(1, 3, 9)]);
    let endless = CpuData::parse(&thread(1, 0, (0x10, u32::MAX, 0), &[], 96), 96).unwrap();
    assert_eq!(endless.faults, [Fault::Truncated(1)]);
    assert!(CpuData::parse(&[0; 64], 0).is_err());
}

#[test]
fn both_kinds_of_metadata_are_read() {
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([0x28u32, 1, 0x400, 2].iter().flat_map(|w| w.to_be_bytes()));
    bytes.extend([1u64 << 63 | 0x1000, 0x2000, 0x800].iter().flat_map(|w| w.to_be_bytes()));
    let metadata = Metadata::parse(&bytes).unwrap();
    assert_eq!((metadata.crashing_pir, metadata.thread_size, metadata.claimed_regions), (0x28, 0x400, 2));
    assert_eq!(
        metadata.regions,
        [Region { source: PhysAddr(0x1000), destination: PhysAddr(0x2000), size: 0x800 }]
    );
    assert!(Metadata::parse(&bytes[..0x17]).is_err());

    let mut bytes = vec![1, 0, 0, 0, 0, 2, 0, 1];
    bytes.extend(0x5000u64.to_be_bytes());
    for region in [[0u64, 0x1_0000, 0x1000], [0x1000, 0x1_1000, 0x1000]] {
        bytes.extend(region.iter().flat_map(|w| w.to_be_bytes()));
    }
    bytes.resize(KernelMetadata::LEN, 0);
    let kernel = KernelMetadata::parse(&bytes).unwrap();
    assert_eq!((kernel.copied().len(), kernel.missing().len()), (1, 1));
    assert_eq!(kernel.crash_info, PhysAddr(0x5000));
    bytes[0] = 2;
    assert!(KernelMetadata::parse(&bytes).unwrap_err().to_string().contains("version"));
    bytes[0] = 1;
    bytes[4] = 1;
    assert!(KernelMetadata::parse(&bytes).unwrap_err().to_string().contains("at most 128"));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 0u32..200) {
        let _ = (CpuData::parse(&bytes, size), Metadata::parse(&bytes));
        if let Ok(kernel) = KernelMetadata::parse(&bytes) {
            let _ = (kernel.copied(), kernel.missing());
        }
    }
}
