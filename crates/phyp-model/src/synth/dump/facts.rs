//! The kernel's static data: names, variables, the note.

use crate::bytes::Bytes;
use crate::error::Result;
use crate::memory::Memory;
use crate::notes;
use crate::synth::dump::arch::{Basis, Space, image};
use crate::synth::dump::generation::Generation;
use crate::synth::dump::place::Places;
use crate::synth::dump::pool::Pool;
use crate::synth::dump::{Arch, Mmu, Model, Spec, note};
use crate::synth::hash::page_size_index;

/// Writes everything in the image but tables.
pub(crate) fn write(
    spec: &Spec,
    (space, basis): (&Space, Basis),
    places: &Places,
    (vmcoreinfo, release): (&str, &str),
    memory: &mut Memory,
    pool: &mut Pool,
) -> Result<()> {
    let order = spec.order;
    let at = |offset: u64| space.image_at + offset;
    let mut rng = crate::rng::Rng::new(spec.seed).fork(6);
    let mut text = vec![0; 0x1000];
    for offset in (0..image::SWAPPER).step_by(0x8000) {
        crate::content::fill_page(&mut rng, &mut text);
        memory.write(at(offset), &text)?;
    }
    let version = "#1 SMP Mon Nov 23 00:00:00 UTC 2026";
    let machine = spec.mmu.arch().name(order);
    for (n, name) in ["Linux", "model", release, version, machine, "(none)"].iter().enumerate() {
        let offset = image::UTS + note::uts_name(spec.generation) + n as u64 * 65;
        memory.write(at(offset), name.as_bytes())?;
    }
    let note = notes::note(order, "VMCOREINFO", 0, vmcoreinfo.as_bytes());
    memory.write(at(image::NOTE), &note)?;
    let nodes = spec.banks.iter().fold(0u64, |mask, bank| mask | 1 << bank.node);
    memory.write(at(image::MISC + 0x40), &order.u64(nodes))?;
    if spec.model == Model::Flat {
        // Where RAM does not begin at 0, these begin to count there (ARCH_PFN_OFFSET).
        let offset = match spec.mmu.arch() {
            Arch::Arm64 | Arch::Riscv64 => basis.ram_start / spec.page_size,
            _ => 0,
        };
        memory.write(at(image::MISC + 0x8), &order.u64(places.address(offset)))?;
    }
    match spec.mmu {
        Mmu::X86 { .. } => {
            let base =
                space.image_at.wrapping_sub(space.image.wrapping_add(space.image_at) - 0xffff_ffff_8000_0000);
            memory.write(at(image::MISC + 0x300), &order.u64(base))
        }
        Mmu::Radix | Mmu::Hash { .. } => ppc64(spec, space, places, memory, pool),
        Mmu::S390 { identity, .. } => {
            memory.write(0x0e0c, &order.u64(at(image::NOTE)))?;
            if spec.generation >= Generation::V6_9 {
                os_info(spec, space, identity, memory)?;
            }
            let end = spec.banks.last().map_or(0, |bank| bank.extent.end());
            memory.write(at(image::MISC + 0x208), &order.u64(space.linear.wrapping_add(end)))
        }
        _ => Ok(()),
    }
}

fn ppc64(spec: &Spec, space: &Space, places: &Places, memory: &mut Memory, pool: &mut Pool) -> Result<()> {
    let order = spec.order;
    let misc = space.image_at + image::MISC;
    let radix = spec.mmu == Mmu::Radix;
    memory.write(misc + 0x120, &order.u64(space.linear + misc + 0x180))?;
    memory.write(misc + 0x180 + 32, &order.u32(if radix { 0x40 } else { 0 }))?;
    let shift = match spec.mmu {
        Mmu::Hash { vmemmap_shift } => vmemmap_shift,
        _ if spec.huge_vmemmap => 21,
        _ => spec.page_size.trailing_zeros(),
    };
    // MMU_PAGE_2M is between those of the hashed table.
    let index = if shift == 21 { 7 } else { page_size_index(shift) };
    memory.write(misc + 0x110, &order.u32(index))?;
    memory.write(misc + 0x400 + u64::from(index) * 96, &order.u32(shift))?;
    // Radix kernels stopped to keep the list in 6.6.
    if spec.model != Model::Vmemmap || radix && spec.generation >= Generation::V6_6 {
        return Ok(());
    }
    let list = pool.take(places.pieces.len() as u64 * 24, 8)?;
    let mut out = Bytes::new(order);
    let mut newest = 0;
    for (n, (address, physical)) in places.pieces.iter().enumerate() {
        out.u64(newest).u64(*physical).u64(*address);
        newest = space.linear + list + n as u64 * 24;
    }
    memory.write(list, &out.bytes)?;
    memory.write(misc + 0x100, &order.u64(newest))
}

/// `struct os_info` (`arch/s390/include/asm/os_info.h`), which the lowcore points to.
fn os_info(spec: &Spec, space: &Space, identity: u64, memory: &mut Memory) -> Result<()> {
    let at = space.image_at + image::OS_INFO;
    let start = space.image.wrapping_add(space.image_at);
    let uncoupled = spec.generation >= Generation::V6_10;
    let values = [
        (0, space.image_at + image::NOTE),
        (4, identity),
        (5, if uncoupled { start } else { 0 }),
        (6, if uncoupled { space.image_at } else { 0 }),
        (7, space.vmemmap),
        (10, start),
        (11, start + image::SIZE),
        (12, space.image_at),
    ];
    let mut out = Bytes::zeroed(spec.order, 4096);
    // Version 1.2; entries of 20 bytes from 32 on: value, size, checksum.
    out.u64_at(0, 0x4f53_494e_464f_535a).u32_at(12, 0x0001_0002);
    for (number, value) in values {
        out.u64_at(32 + number * 20, value);
    }
    let words =
        out.bytes[12..].chunks(4).map(|word| word.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
    let sum = words.fold(0u64, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff_ffff) + (sum >> 32)
    });
    out.u32_at(8, sum as u32);
    memory.write(at, &out.bytes)?;
    memory.write(0x0e18, &spec.order.u64(at))
}
