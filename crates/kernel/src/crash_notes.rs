//! Where the crashed kernel keeps room for its CPUs' registers.
//!
//! A kernel that crashes into kdump saves each CPU's registers as ELF notes in a buffer per CPU, `crash_notes`. A
//! firmware-assisted dump leaves these buffers empty, for there the firmware saves the registers; yet drgn looks for
//! the registers of running tasks in them and nowhere else. Putting the registers there in a copy of the dump is a
//! help to such a reader, and a change of what the machine's memory held: who does it must say so.

use crate::{Error, KernelMemory};
use vmcore::{Arch, Machine, VirtAddr, WordSize};

/// The room for the notes of one CPU (kernel: `note_buf_t`).
///
/// The Nth NT_PRSTATUS note of a firmware-assisted dump is that of the Nth online CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashNotes {
    /// The CPU, as Linux counts.
    pub cpu: u32,
    /// Whether the CPU was online when the kernel crashed.
    pub online: bool,
    /// Where its buffer is.
    pub addr: VirtAddr,
    /// The buffer's bytes: room for one NT_PRSTATUS note and an empty one after it.
    pub capacity: usize,
    /// Whether there is a note in it already.
    pub filled: bool,
}

/// `n_namesz`, `n_descsz` and `n_type`, 32 bits each.
const HEADER: usize = 12;
/// The name `CORE` with its NUL, and as it is padded.
const NAME: &[u8; 8] = b"CORE\0\0\0\0";
const NAME_LEN: u32 = 5;
const NT_PRSTATUS: u32 = 1;

/// The most CPUs believed: `CONFIG_NR_CPUS` ends there.
const MAX_CPUS: u32 = 8192;

impl CrashNotes {
    /// The bytes that `crash_save_cpu` would have put at [`CrashNotes::addr`]: a note named `CORE` of type
    /// NT_PRSTATUS with `prstatus` as its content, and the header of zeros that ends the notes.
    ///
    /// `None` when they do not fit, because `prstatus` is not the structure of this machine.
    pub fn content(&self, machine: Machine, prstatus: &[u8]) -> Option<Vec<u8>> {
        let len = u32::try_from(prstatus.len()).ok()?;
        let mut bytes = Vec::with_capacity(self.capacity);
        [NAME_LEN, len, NT_PRSTATUS].iter().for_each(|&word| bytes.extend(machine.order.put_u32(word)));
        bytes.extend(NAME);
        bytes.extend(prstatus);
        bytes.resize(bytes.len().next_multiple_of(4) + HEADER, 0);
        (bytes.len() <= self.capacity).then_some(bytes)
    }
}

/// The bytes of `struct elf_prstatus`, which a core's NT_PRSTATUS note holds.
fn prstatus_size(machine: Machine) -> Result<usize, Error> {
    match machine.arch {
        Arch::Ppc64 => Ok(504),
        Arch::X86_64 | Arch::S390x => Ok(336),
        Arch::Aarch64 => Ok(392),
        Arch::Riscv64 => Ok(376),
        Arch::LoongArch64 => Ok(480),
        Arch::I386 => Ok(144),
        Arch::Arm => Ok(148),
        _ => Err(Error::Unsupported(format!("the size of struct elf_prstatus on {machine} is not known"))),
    }
}

/// Finds the buffers of all CPUs that the kernel could have, in ascending order.
///
/// `symbol` returns where a variable of the kernel is, from the dump's own table
/// ([`Kallsyms::find`](crate::kallsyms::Kallsyms::find)) or from a vmlinux.
///
/// # Errors
///
/// When a symbol is missing, when the variables are not in the dump or hold nonsense. A kernel that made no buffers,
/// as one without `CONFIG_CRASH_DUMP`, is [`Error::Unsupported`].
pub fn crash_notes(
    memory: &dyn KernelMemory,
    mut symbol: impl FnMut(&str) -> Result<Option<VirtAddr>, Error>,
) -> Result<Vec<CrashNotes>, Error> {
    let machine = memory.machine();
    let capacity = 2 * HEADER + NAME.len() + prstatus_size(machine)?.next_multiple_of(4);
    let mut needed = |name: &str| {
        symbol(name)?.ok_or_else(|| Error::Unsupported(format!("the kernel's symbols do not have {name}")))
    };
    let notes_at = needed("crash_notes")?;
    let notes = memory.read_word(notes_at)?;
    if notes == 0 {
        return Err(Error::Unsupported("the kernel's crash_notes are not allocated".into()));
    }
    let offsets = match needed("__per_cpu_offset") {
        Ok(offsets) => offsets,
        // A kernel for one CPU has no areas per CPU, and the variable is the buffer.
        Err(Error::Unsupported(_)) => {
            let addr = VirtAddr(notes);
            let filled = memory.read_u32(addr)? != 0;
            return Ok(vec![CrashNotes { cpu: 0, online: true, addr, capacity, filled }]);
        }
        Err(error) => return Err(error),
    };
    let count_at = needed("nr_cpu_ids")?;
    let count = memory.read_u32(count_at)?;
    if count == 0 || count > MAX_CPUS {
        return Err(Error::Implausible {
            what: "nr_cpu_ids".into(),
            addr: count_at,
            found: count.to_string(),
            expected: format!("1 to {MAX_CPUS}"),
        });
    }
    let online = mask(memory, needed("__cpu_online_mask")?, count)?;
    let possible = mask(memory, needed("__cpu_possible_mask")?, count)?;
    let word = machine.word.bytes() as u64;
    let cpus = (0..count).filter(|&cpu| possible[cpu as usize]);
    cpus.map(|cpu| {
        let offset = memory.read_word(VirtAddr(offsets.0.wrapping_add(word * u64::from(cpu))))?;
        let addr = notes.wrapping_add(offset);
        let addr = VirtAddr(if machine.word == WordSize::Bits32 { addr & 0xffff_ffff } else { addr });
        let filled = memory.read_u32(addr)? != 0;
        Ok(CrashNotes { cpu, online: online[cpu as usize], addr, capacity, filled })
    })
    .collect()
}

/// The first `count` bits of a `struct cpumask`: bit `n` is bit `n % BITS_PER_LONG` of its word `n / BITS_PER_LONG`.
fn mask(memory: &dyn KernelMemory, at: VirtAddr, count: u32) -> Result<Vec<bool>, Error> {
    let word = memory.machine().word.bytes() as u64;
    let mut bits = Vec::with_capacity(count as usize);
    let mut value = 0;
    for bit in 0..u64::from(count) {
        if bit % (8 * word) == 0 {
            value = memory.read_word(VirtAddr(at.0.wrapping_add(bit / 8)))?;
        }
        bits.push(value >> (bit % (8 * word)) & 1 == 1);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BE64, FakeKernel, LE64, MACHINES};
    use proptest::prelude::*;

    /// CPUs 0, 2 and 67 of 70 are possible, 0 and 67 online.
    fn kernel(machine: Machine) -> FakeKernel {
        let mut kernel = FakeKernel::new(machine);
        let word = machine.word.bytes() as u64;
        kernel.put_word(0x1000, 0x100);
        kernel.put_u32(0x1010, 70);
        kernel.put(0x2000, &[0; 16]);
        kernel.put(0x2100, &[0; 16]);
        for (mask, cpus) in [(0x2000u64, &[0u64, 67][..]), (0x2100, &[0, 2, 67])] {
            for cpu in cpus {
                let at = cpu / (8 * word) * word;
                let other = cpus.iter().filter(|c| *c / (8 * word) * word == at);
                kernel.put_word(mask + at, other.map(|c| 1 << (c % (8 * word))).sum());
            }
        }
        kernel.put(0x3000, &[0; 70 * 8]);
        for cpu in [0u64, 2, 67] {
            kernel.put_word(0x3000 + cpu * word, 0x10_0000 * (cpu + 1));
            kernel.put(0x10_0000 * (cpu + 1) + 0x100, &[0; 600]);
        }
        kernel
    }

    fn symbols(name: &str) -> Result<Option<VirtAddr>, Error> {
        Ok(match name {
            "crash_notes" => Some(VirtAddr(0x1000)),
            "nr_cpu_ids" => Some(VirtAddr(0x1010)),
            "__cpu_online_mask" => Some(VirtAddr(0x2000)),
            "__cpu_possible_mask" => Some(VirtAddr(0x2100)),
            "__per_cpu_offset" => Some(VirtAddr(0x3000)),
            _ => None,
        })
    }

    #[test]
    fn every_possible_cpu_has_its_buffer_and_is_online_or_not() {
        for machine in MACHINES {
            let found = crash_notes(&kernel(machine), symbols);
            if machine.arch == Arch::Ppc {
                assert!(found.unwrap_err().to_string().contains("struct elf_prstatus on ppc"));
                continue;
            }
            let found: Vec<_> =
                found.unwrap().iter().map(|n| (n.cpu, n.online, n.addr.0, n.filled)).collect();
            let expected =
                [(0, true, 0x10_0100, false), (2, false, 0x30_0100, false), (67, true, 0x440_0100, false)];
            assert_eq!(found, expected, "{machine:?}");
        }
    }

    #[test]
    fn a_note_fits_its_buffer_exactly_and_no_larger_one_does() {
        for (machine, len) in [(BE64, 504), (LE64, 336)] {
            let notes = crash_notes(&kernel(machine), symbols).unwrap()[0];
            let content = notes.content(machine, &vec![7; len]).unwrap();
            assert_eq!(content.len(), notes.capacity);
            let parsed = vmcore::Notes::parse(&content, machine.order).unwrap();
            let note = parsed.prstatus().next().unwrap();
            assert_eq!(note.desc, vec![7; len]);
            assert_eq!(parsed.iter().count(), 1);
            assert_eq!(notes.content(machine, &vec![7; len + 1]), None);
        }
    }

    #[test]
    fn a_buffer_that_holds_a_note_is_told_apart() {
        let mut kernel = kernel(BE64);
        kernel.put_u32(0x30_0100, 5);
        let filled: Vec<_> = crash_notes(&kernel, symbols).unwrap().iter().map(|n| n.filled).collect();
        assert_eq!(filled, [false, true, false]);
    }

    #[test]
    fn a_kernel_for_one_cpu_has_one_buffer() {
        let mut kernel = FakeKernel::new(LE64);
        kernel.put_word(0x1000, 0x8000);
        kernel.put(0x8000, &[0; 400]);
        let only = |name: &str| Ok((name == "crash_notes").then_some(VirtAddr(0x1000)));
        let found = crash_notes(&kernel, only).unwrap();
        assert_eq!((found.len(), found[0].cpu, found[0].addr), (1, 0, VirtAddr(0x8000)));
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in ["crash_notes", "nr_cpu_ids", "__cpu_online_mask", "__cpu_possible_mask"] {
            let without = |asked: &str| if asked == name { Ok(None) } else { symbols(asked) };
            let error = crash_notes(&kernel(LE64), without).unwrap_err().to_string();
            assert_eq!(error, format!("the kernel's symbols do not have {name}"));
        }
        let mut kernel = kernel(LE64);
        kernel.put_word(0x1000, 0);
        let error = crash_notes(&kernel, symbols).unwrap_err().to_string();
        assert_eq!(error, "the kernel's crash_notes are not allocated");
    }

    proptest! {
        #[test]
        fn any_numbers_end_in_buffers_or_an_error(
            count: u32, notes: u64, bits: [u8; 16], machine in prop::sample::select(&MACHINES[..]),
        ) {
            let mut kernel = kernel(machine);
            kernel.put_u32(0x1010, count);
            kernel.put(0x2100, &bits);
            kernel.put_word(0x1000, notes % 0x300);
            if let Ok(found) = crash_notes(&kernel, symbols) {
                prop_assert!(found.len() <= 128);
            }
        }
    }
}
