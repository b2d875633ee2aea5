use super::*;
use proptest::prelude::*;

const AT: PhysAddr = PhysAddr(0x2801_0000);

fn mask(cpus: &[u32], len: usize, order: ByteOrder) -> Vec<u8> {
    let mut words = vec![0u64; len / 8];
    cpus.iter().for_each(|&c| words[c as usize / 64] |= 1 << (c % 64));
    words.iter().flat_map(|&w| order.put_u64(w)).collect()
}

/// Register words as a kernel has them: none of the words that could be taken for a mask is small.
fn regs(count: usize) -> Vec<u64> {
    (0..count as u64).map(|n| 0xc000_0000_0000_0000 | n << 8).collect()
}

fn new_header(order: ByteOrder, cpu: u32, regs: &[u64], mask: &[u8]) -> Vec<u8> {
    let mut out = order.put_u64(0x4641_444d_5053_4947).to_vec();
    for word in [1, cpu] {
        out.extend(order.put_u32(word));
    }
    out.extend(order.put_u64(0x168f_0000));
    out.extend(order.put_u64(0x1_0000));
    for word in [regs.len() * 8, mask.len()] {
        out.extend(order.put_u32(word as u32));
    }
    regs.iter().for_each(|&r| out.extend(order.put_u64(r)));
    out.extend(mask);
    out
}

fn old_header(order: ByteOrder, cpu: u32, regs: &[u64], mask: &[u8], elf_at: Option<u64>) -> Vec<u8> {
    let len = (0x18 + regs.len() * 8 + mask.len()) as u64;
    let mut out = order.put_u64(0x4641_444d_5049_4e46).to_vec();
    out.extend(order.put_u64(elf_at.unwrap_or(AT.0 + len)));
    out.extend(order.put_u32(cpu));
    out.extend([0; 4]);
    regs.iter().for_each(|&r| out.extend(order.put_u64(r)));
    out.extend(mask);
    out.extend(b"\x7fELF");
    out.resize(MAX_LEN, 0x5a);
    out
}

#[test]
fn new_headers_of_every_size_and_byte_order_are_read() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for (words, mask_len) in [(44, 64), (48, 8), (50, 256), (48, 1024)] {
            let bytes = new_header(order, 9, &regs(words), &mask(&[0, 9, 63], mask_len, order));
            let info = CrashInfo::parse(&bytes, AT, &[]).unwrap();
            assert_eq!((info.order, info.generation), (order, Generation::New));
            assert_eq!(info.crashing_cpu, Some(9));
            assert_eq!(info.regs, regs(words));
            assert_eq!(info.cpus, [0, 9, 63]);
            assert_eq!(info.vmcoreinfo, Some(Range::new(PhysAddr(0x168f_0000), PhysAddr(0x1690_0000))));
            assert_eq!(info.len, (0x28 + words * 8 + mask_len) as u64);
            assert_eq!(info.faults, []);
        }
    }
}

#[test]
fn the_size_of_an_old_headers_registers_is_found_out() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for (words, mask_len) in [(44, 8), (44, 256), (46, 128), (48, 32), (48, 1024)] {
            let bytes = old_header(order, 1, &regs(words), &mask(&[0, 1, 5], mask_len, order), None);
            let info = CrashInfo::parse(&bytes, AT, &[5, 0, 1]).unwrap();
            assert_eq!((info.generation, info.order), (Generation::Old, order));
            assert_eq!(info.regs.len(), words, "{words} words, mask of {mask_len}");
            assert_eq!(info.cpus, [0, 1, 5]);
            assert_eq!(info.faults, []);
            assert_eq!(info.len, (0x18 + words * 8 + mask_len) as u64);
            assert_eq!(info.elf_header, Some(PhysAddr(AT.0 + info.len)));
        }
    }
}

#[test]
fn an_old_header_without_its_elf_header_is_still_read_and_said_to_be_a_guess() {
    let order = ByteOrder::Big;
    let bytes = old_header(order, 1, &regs(46), &mask(&[0, 1], 256, order), Some(7));
    let info = CrashInfo::parse(&bytes, AT, &[0, 1]).unwrap();
    assert_eq!((info.regs.len(), &info.cpus[..]), (46, &[0, 1][..]));
    assert_eq!(info.faults, [Fault::ElfHeader(PhysAddr(7))]);
    let info = CrashInfo::parse(&bytes, AT, &[]).unwrap();
    assert!(info.faults.iter().any(|f| matches!(f, Fault::GuessedRegsSize(_))), "{:?}", info.faults);
}

#[test]
fn every_fault_of_a_header_has_its_outcome() {
    let order = ByteOrder::Little;
    let good = new_header(order, 1, &regs(48), &mask(&[0, 1], 64, order));
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&order.put_u32(value));
        CrashInfo::parse(&bytes, AT, &[]).unwrap()
    };
    assert_eq!(with(8, 2).faults, [Fault::Version(2)]);
    let unknown = with(0xc, u32::MAX);
    assert_eq!((unknown.crashing_cpu, &unknown.faults[..]), (None, &[][..]));
    assert_eq!(with(0xc, 5).faults, [Fault::CrashingCpuOffline(5)]);
    for size in [0, 8, 351, 353, 4096, u32::MAX] {
        let info = with(0x20, size);
        assert_eq!((info.regs.len(), info.has_mask, info.len), (0, false, 0x28));
        assert_eq!(info.faults, [Fault::RegsSize(size)]);
    }
    for size in [0, 7, 72, 8200, u32::MAX] {
        let info = with(0x24, size);
        assert_eq!((info.regs.len(), info.has_mask), (48, false));
        assert_eq!(info.faults, [Fault::MaskSize(size)]);
    }
    for (magic, bytes) in [("zero", [0u8; 0x200]), ("foreign", [0x41; 0x200])] {
        let message = CrashInfo::parse(&bytes, AT, &[]).unwrap_err().to_string();
        assert!(message.contains("magic_number"), "{magic}: {message}");
    }
    assert!(CrashInfo::parse(&good[..0x20], AT, &[]).is_err());
    assert!(CrashInfo::parse(&[], AT, &[]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..900), magic in 0usize..5, saved in prop::collection::vec(0u32..99, 0..4)) {
        let magics = [MAGIC.to_le_bytes(), MAGIC.to_be_bytes(), MAGIC_OLD.to_le_bytes(), MAGIC_OLD.to_be_bytes()];
        if let Some(m) = magics.get(magic) && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(m);
        }
        let _ = CrashInfo::parse(&bytes, AT, &saved);
    }
}
