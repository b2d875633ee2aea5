//! `vmemmap_list`: where hash-MMU kernels on POWER keep the physical blocks of vmemmap.
//!
//! The hash page table itself belongs to the hypervisor and is not in a dump, so the kernel keeps a list of `struct
//! vmemmap_backing { list, phys, virt_addr }` (`arch/powerpc/mm/init_64.c`). Kernels before 6.6 keep it with the radix
//! MMU as well; later ones leave it empty there.

use super::linear::LINEAR_MASK;
use crate::Error;
use crate::address::physical::Physical;
use crate::address::translate::{Mapping, missing, not_mapped};
use vmcore::{ByteOrder, PhysAddr, VirtAddr, VmcoreInfo};

/// One run of blocks that lie side by side in both address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    virt: u64,
    phys: u64,
    len: u64,
}

/// The blocks of vmemmap, sorted by virtual address.
pub(crate) struct VmemmapList {
    runs: Vec<Run>,
}

/// Reads words and 32-bit numbers of the linear map, which is all that is mapped when the list is read.
struct Linear<'a, 'd> {
    physical: &'a Physical<'d>,
    order: ByteOrder,
}

impl Linear<'_, '_> {
    fn at(addr: VirtAddr, what: &str) -> Result<PhysAddr, Error> {
        if addr.0 >> 60 != 0xc {
            return Err(not_mapped(addr, format!("{what} should lie in the linear map")));
        }
        Ok(PhysAddr(addr.0 & LINEAR_MASK))
    }

    fn word(&self, addr: VirtAddr, what: &str) -> Result<u64, Error> {
        self.physical.entry(Self::at(addr, what)?, self.order, what)
    }

    fn u32(&self, addr: VirtAddr, what: &str) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.physical.read(Self::at(addr, what)?, &mut bytes, what)?;
        Ok(self.order.u32(&bytes))
    }
}

impl VmemmapList {
    /// Reads the list; `None` when the kernel has none or keeps it empty.
    pub(crate) fn open(
        order: ByteOrder,
        info: &VmcoreInfo,
        physical: &Physical<'_>,
    ) -> Result<Option<Self>, Error> {
        const PURPOSE: &str = "finding struct pages through vmemmap_list";
        let Some(symbol) = info.symbol("vmemmap_list") else { return Ok(None) };
        let linear = Linear { physical, order };
        let first = linear.word(symbol, "vmemmap_list")?;
        if first == 0 {
            return Ok(None);
        }
        let need = |value: Option<u64>, key: &str| value.ok_or_else(|| missing(key, PURPOSE));
        let offset = |member: &str| need(info.offset(member), &format!("OFFSET({member})"));
        let next = offset("vmemmap_backing.list")?;
        let phys = offset("vmemmap_backing.phys")?;
        let virt = offset("vmemmap_backing.virt_addr")?;
        let shift = block_shift(info, &linear)?;
        let block = 1u64 << shift;

        // A damaged list may run in a circle. No list is longer than blocks are needed for a struct page of every
        // frame, sections being populated whole; twice that and some is generous.
        let size = need(info.size("page"), "SIZE(page)")?;
        let frames = physical.memory().map().max_pfn().0;
        let most = (u128::from(frames) * u128::from(size) / u128::from(block) * 2 + 65536).min(1 << 23);
        let mut blocks = Vec::new();
        let mut node = first;
        // A node seen before, moved on at every power of two: a circle meets it soon.
        let mut mark = 0;
        while node != 0 {
            if blocks.len() as u128 >= most || node == mark {
                return Err(Error::Implausible {
                    what: "vmemmap_list".to_owned(),
                    addr: symbol,
                    found: format!("no end after {} entries", blocks.len()),
                    expected: "a list that ends".to_owned(),
                });
            }
            let field = |offset: u64| linear.word(VirtAddr(node.wrapping_add(offset)), "vmemmap_list entry");
            blocks.push((field(virt)?, field(phys)?));
            if blocks.len().is_power_of_two() {
                mark = node;
            }
            node = field(next)?;
        }
        Ok(Some(Self { runs: merge(blocks, block) }))
    }

    /// Where `addr` lies, if it is in vmemmap.
    pub(crate) fn translate(&self, addr: VirtAddr) -> Option<Mapping> {
        let next = self.runs.partition_point(|r| r.virt <= addr.0);
        let run = self.runs[..next].last()?;
        let offset = addr.0 - run.virt;
        (offset < run.len)
            .then(|| Mapping { phys: PhysAddr(run.phys.wrapping_add(offset)), len: run.len - offset })
    }
}

/// The size of a block: `mmu_psize_defs[mmu_vmemmap_psize].shift`.
fn block_shift(info: &VmcoreInfo, linear: &Linear<'_, '_>) -> Result<u32, Error> {
    const PURPOSE: &str = "the block size of vmemmap_list";
    let symbol = |name: &str| info.symbol(name).ok_or_else(|| missing(&format!("SYMBOL({name})"), PURPOSE));
    let psize_at = symbol("mmu_vmemmap_psize")?;
    let psize = linear.u32(psize_at, "mmu_vmemmap_psize")?;
    let size = info.size("mmu_psize_def").ok_or_else(|| missing("SIZE(mmu_psize_def)", PURPOSE))?;
    let offset =
        info.offset("mmu_psize_def.shift").ok_or_else(|| missing("OFFSET(mmu_psize_def.shift)", PURPOSE))?;
    let addr = symbol("mmu_psize_defs")?.0.wrapping_add(size.wrapping_mul(psize.into())).wrapping_add(offset);
    let shift = linear.u32(VirtAddr(addr), "mmu_psize_defs[mmu_vmemmap_psize].shift")?;
    if !(12..=34).contains(&shift) {
        return Err(Error::Implausible {
            what: "mmu_psize_defs[mmu_vmemmap_psize].shift".to_owned(),
            addr: VirtAddr(addr),
            found: format!("{shift} (mmu_vmemmap_psize is {psize})"),
            expected: "12 to 34, a page size of POWER".to_owned(),
        });
    }
    Ok(shift)
}

/// Sorts blocks and joins those that lie side by side in both address spaces.
fn merge(mut blocks: Vec<(u64, u64)>, block: u64) -> Vec<Run> {
    blocks.sort_unstable();
    let mut runs: Vec<Run> = Vec::new();
    for (virt, phys) in blocks {
        if virt.checked_add(block).is_none() || phys.checked_add(block).is_none() {
            continue;
        }
        match runs.last_mut() {
            Some(last) if virt == last.virt + last.len && phys == last.phys.wrapping_add(last.len) => {
                last.len += block;
            }
            _ => runs.push(Run { virt, phys, len: block }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_side_by_side_in_both_spaces_become_one_run() {
        let list =
            VmemmapList { runs: merge(vec![(0xf200, 0x500), (0xf000, 0x100), (0xf100, 0x200)], 0x100) };
        assert_eq!(list.runs.len(), 2);
        let at = |virt| list.translate(VirtAddr(virt));
        assert_eq!(at(0xf010), Some(Mapping { phys: PhysAddr(0x110), len: 0x1f0 }));
        assert_eq!(at(0xf210), Some(Mapping { phys: PhysAddr(0x510), len: 0xf0 }));
        assert_eq!(at(0xf300), None);
        assert_eq!(at(0xefff), None);
    }
}
