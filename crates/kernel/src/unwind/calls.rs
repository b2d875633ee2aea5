//! Whether the register that holds a return address holds that of the interrupted function.
//!
//! Where a function was interrupted before it stored its return address, or needs no frame, its caller is known to that
//! register alone. Later in a function it holds where the last call returned to, or anything. Two things are proof: the
//! instruction before the address is a call of exactly this function, or, when it calls what a register names, nothing is
//! proved and the frame is only possible.

use super::path::{Kind, Path};
use vmcore::{Arch, VirtAddr};

/// What the instruction before a return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A call of this address.
    Direct(u64),
    /// A call of what a register holds.
    Indirect,
}

/// Adds the caller that `link` names, when the code at `pc` was interrupted there. `stored` is the return address that the
/// chain has for the next frame: when it is the same, the chain has the caller already.
pub(super) fn add_link(
    path: &mut Path<'_>,
    pc: u64,
    sp: u64,
    link: u64,
    stored: Option<u64>,
) -> Result<(), String> {
    let (here, Some(there)) = (path.function(pc, true), path.function(link, false)) else { return Ok(()) };
    if here == Some(there) || stored == Some(link) {
        return Ok(());
    }
    let call = call_before(path, link);
    let Some(here) = here else {
        // A wild pointer was called, and nothing ran since.
        return if call == Some(Call::Indirect) { path.push(link, sp, Kind::Caller) } else { Ok(()) };
    };
    match call {
        // POWER calls functions of the same module eight bytes (two instructions) behind their begin.
        Some(Call::Direct(target)) if target == here || local_entry(path, here) == Some(target) => {
            path.push(link, sp, Kind::Caller)
        }
        Some(Call::Indirect) => path.push(link, sp, Kind::Possible),
        // A call of another function that ended in a jump to this one, or a call that is long over.
        _ => Ok(()),
    }
}

/// Whether the instruction before `address` is a call of exactly this function.
pub(super) fn calls(path: &Path<'_>, address: u64, function: u64) -> bool {
    call_before(path, address) == Some(Call::Direct(function))
}

/// The most bytes of a function that are looked through.
const MAX_PROLOGUE: u64 = 4096;

/// Whether the function that was interrupted at `pc` had made its frame and had not stored its return address: one that
/// calls nothing need not. What its caller's frame has in the place for that is then left of an earlier call.
///
/// The instructions from the function's begin are looked through one after another, whatever jumps there are.
pub(super) fn link_is_live(path: &Path<'_>, pc: u64) -> bool {
    let Some(start) = path.function(pc, true).filter(|start| pc.wrapping_sub(*start) <= MAX_PROLOGUE) else {
        return false;
    };
    let memory = path.ground().memory;
    let mut code = vec![0; pc.wrapping_sub(start) as usize];
    if memory.read(VirtAddr(start), &mut code).is_err() {
        return false;
    }
    let machine = memory.machine();
    let (mut made, mut at) = (false, 0);
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let (instruction, len) = match machine.arch {
            Arch::Ppc64 => {
                (rest.get(..4).map_or(Prologue::Other, |word| ppc64_prologue(machine.u32(word))), 4)
            }
            Arch::S390x => s390x_prologue(rest),
            _ => return false,
        };
        match instruction {
            Prologue::Stores => return false,
            Prologue::Makes => made = true,
            Prologue::Other => {}
        }
        at += len;
    }
    made
}

/// What an instruction is for a frame.
enum Prologue {
    /// It stores the return address, or takes it to do so.
    Stores,
    /// It makes the frame.
    Makes,
    /// Nothing.
    Other,
}

fn ppc64_prologue(word: u32) -> Prologue {
    match word {
        // mflr to any register.
        _ if word & 0xfc1f_ffff == 0x7c08_02a6 => Prologue::Stores,
        // stdu r1,…(r1) and stdux r1,r1,…
        _ if word & 0xffff_0003 == 0xf821_0001 || word & 0xffff_07ff == 0x7c21_016a => Prologue::Makes,
        _ => Prologue::Other,
    }
}

/// The instruction that `bytes` begin with, and its length.
fn s390x_prologue(bytes: &[u8]) -> (Prologue, usize) {
    let len = match bytes[0] >> 6 {
        0 => 2,
        3 => 6,
        _ => 4,
    };
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let on_stack = at(2) >> 4 == 15;
    let what = match (at(0), at(1), at(5)) {
        // stmg …,%r14 or %r15,…(%r15) and stg %r14,…(%r15); `at(1)` has both registers, the first one above.
        (0xeb, registers, 0x24) if on_stack && registers & 15 >= 14 && registers >> 4 <= 14 => {
            Prologue::Stores
        }
        (0xe3, registers, 0x24) if on_stack && registers >> 4 == 14 => Prologue::Stores,
        // aghi %r15,… and lay %r15,…(%r15) and agfi %r15,….
        (0xa7, 0xfb, _) | (0xc2, 0xf8, _) => Prologue::Makes,
        (0xe3, registers, 0x71) if registers >> 4 == 15 && on_stack => Prologue::Makes,
        _ => Prologue::Other,
    };
    (what, len)
}

fn local_entry(path: &Path<'_>, function: u64) -> Option<u64> {
    (path.ground().memory.machine().arch == Arch::Ppc64).then(|| function.wrapping_add(8))
}

/// The call that returns to `address`.
fn call_before(path: &Path<'_>, address: u64) -> Option<Call> {
    let memory = path.ground().memory;
    let machine = memory.machine();
    let mut bytes = [0; 8];
    memory.read(VirtAddr(address.wrapping_sub(8)), &mut bytes).ok()?;
    let last = &bytes[4..];
    match machine.arch {
        // Instructions are little-endian whatever the data is.
        Arch::Aarch64 => arm64(u32::from_le_bytes(*last.first_chunk()?), address),
        Arch::Ppc64 => ppc64(machine.u32(last), address),
        Arch::S390x => s390x(bytes, address),
        Arch::Riscv64 => riscv64(bytes, address),
        Arch::LoongArch64 => loongarch64(machine.u32(last), address),
        Arch::X86_64 => x86_64(bytes, address),
        _ => None,
    }
}

/// The number of the lowest `bits` bits of `value`, which has a sign.
fn signed(value: u64, bits: u32) -> u64 {
    ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
}

/// `bl`, `blr` and its forms with pointer authentication.
fn arm64(word: u32, address: u64) -> Option<Call> {
    if word >> 26 == 0b10_0101 {
        let offset = signed(u64::from(word & 0x03ff_ffff) << 2, 28);
        return Some(Call::Direct(address.wrapping_sub(4).wrapping_add(offset)));
    }
    let indirect = word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800;
    indirect.then_some(Call::Indirect)
}

/// `bl`, `bctrl` and `blrl`.
fn ppc64(word: u32, address: u64) -> Option<Call> {
    if word >> 26 == 18 && word & 3 == 1 {
        let offset = signed(u64::from(word & 0x03ff_fffc), 26);
        return Some(Call::Direct(address.wrapping_sub(4).wrapping_add(offset)));
    }
    matches!(word, 0x4e80_0421 | 0x4e80_0021).then_some(Call::Indirect)
}

/// `brasl %r14`, `bras %r14` and `basr %r14`.
fn s390x(bytes: [u8; 8], address: u64) -> Option<Call> {
    if bytes[2] == 0xc0 && bytes[3] == 0xe5 {
        let halfwords = u32::from_be_bytes(*bytes[4..].first_chunk()?);
        let offset = signed(u64::from(halfwords) << 1, 33);
        return Some(Call::Direct(address.wrapping_sub(6).wrapping_add(offset)));
    }
    if bytes[4] == 0xa7 && bytes[5] == 0xe5 {
        let halfwords = u64::from(u16::from_be_bytes(*bytes[6..].first_chunk()?));
        return Some(Call::Direct(address.wrapping_sub(4).wrapping_add(signed(halfwords << 1, 17))));
    }
    (bytes[6] == 0x0d && bytes[7] >> 4 == 0xe).then_some(Call::Indirect)
}

/// `jal ra`, `auipc ra` with `jalr ra` (which any far call is), `jalr ra` and its short form.
fn riscv64(bytes: [u8; 8], address: u64) -> Option<Call> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (first, last) = (word(0)?, word(4)?);
    if last & 0xfff == 0x0ef {
        let bits = |from: u32, count: u32| u64::from(last >> from & ((1 << count) - 1));
        let offset = bits(31, 1) << 20 | bits(12, 8) << 12 | bits(20, 1) << 11 | bits(21, 10) << 1;
        return Some(Call::Direct(address.wrapping_sub(4).wrapping_add(signed(offset, 21))));
    }
    if last & 0xf_ffff == 0x080e7 && first & 0xfff == 0x097 {
        let high = signed(u64::from(first & 0xffff_f000), 32);
        let low = signed(u64::from(last >> 20), 12);
        return Some(Call::Direct(address.wrapping_sub(8).wrapping_add(high).wrapping_add(low)));
    }
    let short = last >> 16 & 0xf07f == 0x9002 && last >> 23 & 31 != 0;
    (last & 0x7fff == 0x00e7 || short).then_some(Call::Indirect)
}

/// `call` of an address; what calls a register's is not asked for.
fn x86_64(bytes: [u8; 8], address: u64) -> Option<Call> {
    let offset = i32::from_le_bytes(*bytes[4..].first_chunk()?);
    (bytes[3] == 0xe8).then(|| Call::Direct(address.wrapping_add_signed(offset.into())))
}

/// `bl` and `jirl ra`.
fn loongarch64(word: u32, address: u64) -> Option<Call> {
    match word >> 26 {
        0b01_0101 => {
            let offset = u64::from(word & 0x3ff) << 16 | u64::from(word >> 10 & 0xffff);
            Some(Call::Direct(address.wrapping_sub(4).wrapping_add(signed(offset << 2, 28))))
        }
        0b01_0011 if word & 31 == 1 => Some(Call::Indirect),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_recognised_with_their_targets() {
        assert_eq!(x86_64([0, 0, 0, 0xe8, 0xf0, 0xff, 0xff, 0xff], 0x1005), Some(Call::Direct(0xff5)));
        assert_eq!(x86_64([0, 0, 0, 0xe9, 0xf0, 0xff, 0xff, 0xff], 0x1005), None);
        assert_eq!(arm64(0x97ff_ffff, 0x1004), Some(Call::Direct(0xffc)));
        assert_eq!(arm64(0x9400_0010, 0x1004), Some(Call::Direct(0x1040)));
        assert_eq!(arm64(0xd63f_0100, 0x1004), Some(Call::Indirect));
        assert_eq!(arm64(0xd63f_091f, 0x1004), Some(Call::Indirect));
        assert_eq!(arm64(0xd65f_03c0, 0x1004), None);
        assert_eq!(ppc64(0x4800_0011, 0x1004), Some(Call::Direct(0x1010)));
        assert_eq!(ppc64(0x4bff_fff1, 0x1004), Some(Call::Direct(0xff0)));
        assert_eq!(ppc64(0x4e80_0421, 0x1004), Some(Call::Indirect));
        assert_eq!(ppc64(0x4e80_0020, 0x1004), None);
        assert_eq!(s390x([0, 0, 0xc0, 0xe5, 0, 0, 0, 8], 0x1006), Some(Call::Direct(0x1010)));
        assert_eq!(s390x([0, 0, 0xc0, 0xe5, 0xff, 0xff, 0xff, 0xf8], 0x1006), Some(Call::Direct(0xff0)));
        assert_eq!(s390x([0, 0, 0, 0, 0xa7, 0xe5, 0, 8], 0x1004), Some(Call::Direct(0x1010)));
        assert_eq!(s390x([0, 0, 0, 0, 0, 0, 0x0d, 0xe1], 0x1004), Some(Call::Indirect));
        assert_eq!(s390x([0; 8], 0x1004), None);
        let riscv = |first: u32, last: u32| {
            let bytes = (u64::from(last) << 32 | u64::from(first)).to_le_bytes();
            riscv64(bytes, 0x1008)
        };
        assert_eq!(riscv(0, 0x0100_00ef), Some(Call::Direct(0x1014)));
        assert_eq!(riscv(0, 0xffdf_f0ef), Some(Call::Direct(0x1000)));
        assert_eq!(riscv(0x0000_1097, 0x0100_80e7), Some(Call::Direct(0x2010)));
        assert_eq!(riscv(0, 0x0007_80e7), Some(Call::Indirect));
        assert_eq!(riscv(0, 0x9782_0000), Some(Call::Indirect));
        assert_eq!(riscv(0, 0x8082_0000), None);
        assert_eq!(loongarch64(0x5400_4000, 0x1004), Some(Call::Direct(0x1040)));
        assert_eq!(loongarch64(0x57ff_ffff, 0x1004), Some(Call::Direct(0xffc)));
        assert_eq!(loongarch64(0x4c00_0181, 0x1004), Some(Call::Indirect));
        assert_eq!(loongarch64(0x4c00_0020, 0x1004), None);
    }
}
