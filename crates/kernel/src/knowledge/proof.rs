//! Whether a VMCOREINFO leads to the kernel that it names, and with which size of pages.
//!
//! The kernel's name is read where it leads. That proves the size of pages wherever the way there goes through page tables;
//! where memory is mapped in one piece (POWER with hash tables, direct maps), the length of the table of sections tells it.
//! A size that the user gives goes before all others, unless the kernel proves it wrong.

use crate::address::memmodel::fits_sections;
use crate::{Error, Kernel};
use vmcore::{Arch, Dump, PageSize, PageSizeBy, Pfn, RangeSet, VmcoreInfo};

/// The sizes of pages of the kernels of machines that have several.
const PAGE_SIZES: [PageSize; 3] = [PageSize::K4, PageSize::K16, PageSize::K64];

/// Proves that `info` leads to the kernel that it names, and lets the dump have the page size of that kernel. The dump
/// keeps its own VMCOREINFO; when this fails, its page size as well.
///
/// # Errors
///
/// When it does not lead there, when the dump is damaged, and [`Error::PageSize`] when it leads there only with another
/// size of pages than the user's.
pub(super) fn prove_info(dump: &mut Dump, info: VmcoreInfo) -> Result<(), Error> {
    let before = dump.page_size();
    let stated = stated(dump.machine.arch, &info);
    let sizes = match (dump.source.page_size_by, stated) {
        (PageSizeBy::User, _) => vec![before],
        (_, Some(size)) => vec![size],
        (PageSizeBy::Nobody, None) => PAGE_SIZES.to_vec(),
        (PageSizeBy::Input, None) => vec![before],
    };
    let given = dump.source.page_size_by == PageSizeBy::User;
    let other = stated.filter(|&stated| given && stated != before);
    match (settle(dump, info.clone(), &sizes), other) {
        (Err(why), Some(stated)) if !matches!(why, Error::Read(_)) => {
            let leads = fitting(dump, info, &[stated])?.0;
            Err(if leads.is_empty() { why } else { Error::PageSize { given: before, stated } })
        }
        (result, _) => result,
    }
}

/// As [`prove_info`], for a text whose page size proved to be wrong: the one with which it leads to its kernel.
pub(super) fn prove_without_size(dump: &mut Dump, info: VmcoreInfo) -> Result<(), Error> {
    match Dump::only_page_size(dump.machine.arch) {
        Some(_) => prove_info(dump, info),
        None => settle(dump, info, &PAGE_SIZES),
    }
}

/// The page size that `info` states, or that is the only one of the architecture.
pub(super) fn stated(arch: Arch, info: &VmcoreInfo) -> Option<PageSize> {
    Dump::only_page_size(arch).or_else(|| info.page_size())
}

/// Lets the dump have the one of `sizes` with which `info` leads to its kernel.
fn settle(dump: &mut Dump, info: VmcoreInfo, sizes: &[PageSize]) -> Result<(), Error> {
    match fitting(dump, info, sizes)? {
        (fits, _) if fits.len() == 1 => {
            dump.set_page_size(fits[0]);
            if dump.source.page_size_by == PageSizeBy::Nobody {
                dump.source.page_size_by = PageSizeBy::Input;
            }
            Ok(())
        }
        (fits, Some(why)) if fits.is_empty() => Err(why),
        // Where memory is mapped in one piece, addresses lead to the kernel whatever its pages are.
        _ => Err(Error::Unsupported(
            "it has no PAGESIZE, and several sizes of pages lead to its kernel; --page-size can say which"
                .into(),
        )),
    }
}

/// What a change of the page size changes in a dump. Ranges of pages only grow when they are counted in larger ones.
pub(super) struct PageSizeOf {
    size: PageSize,
    by: PageSizeBy,
    destroyed: RangeSet<Pfn>,
}

impl PageSizeOf {
    /// As it is before sizes are tried.
    pub(super) fn before(dump: &Dump) -> Self {
        let source = &dump.source;
        Self { size: dump.page_size(), by: source.page_size_by, destroyed: source.destroyed.clone() }
    }

    /// Lets the dump have it again.
    pub(super) fn restore(&self, dump: &mut Dump) {
        dump.set_page_size(self.size);
        dump.source.page_size_by = self.by;
        dump.source.destroyed.clone_from(&self.destroyed);
    }
}

/// Whether `info` leads to the kernel that it names with any size of pages.
pub(super) fn leads_with_some_size(dump: &mut Dump, info: VmcoreInfo) -> Result<bool, Error> {
    Ok(!fitting(dump, info, &PAGE_SIZES)?.0.is_empty())
}

/// Those of `sizes` with which `info` leads to its kernel, and why another does not. The dump stays as it is.
fn fitting(
    dump: &mut Dump,
    info: VmcoreInfo,
    sizes: &[PageSize],
) -> Result<(Vec<PageSize>, Option<Error>), Error> {
    let before = PageSizeOf::before(dump);
    let own = dump.vmcoreinfo.replace(info);
    let mut fits = Vec::new();
    let mut failed = None;
    for &size in sizes {
        dump.set_page_size(size);
        match prove(dump) {
            Ok(()) => fits.push(size),
            Err(error) => failed = Some(error),
        }
        if matches!(failed, Some(Error::Read(_))) {
            break;
        }
    }
    dump.vmcoreinfo = own;
    before.restore(dump);
    match failed {
        Some(Error::Read(error)) => Err(error.into()),
        failed => Ok((fits, failed)),
    }
}

/// Proves that VMCOREINFO of `dump` leads to the kernel that it names.
fn prove(dump: &Dump) -> Result<(), Error> {
    let info = dump.vmcoreinfo.as_ref();
    let found = Kernel::open(dump)?.utsname().release.clone();
    match info.and_then(VmcoreInfo::release) {
        Some(release) if release != found => {
            return Err(Error::Implausible {
                what: "the kernel's release".into(),
                addr: info.and_then(|info| info.symbol("init_uts_ns")).unwrap_or_default(),
                found,
                expected: release.to_owned(),
            });
        }
        _ => {}
    }
    let page = dump.page_size();
    if info.is_some_and(|info| !fits_sections(info, dump.machine.arch, page)) {
        return Err(Error::Unsupported(format!(
            "its table of sections (LENGTH(mem_section)) is not that of a kernel with pages of {page}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcore::{MemoryMap, Notes, PageState, PhysAddr, PhysicalMemory, Range, ReadError};

    struct Empty(MemoryMap);

    impl PhysicalMemory for Empty {
        fn map(&self) -> &MemoryMap {
            &self.0
        }

        fn read_page(&self, _: Pfn, page: &mut [u8]) -> Result<PageState, ReadError> {
            page.fill(0);
            Ok(PageState::Present)
        }
    }

    #[test]
    fn trying_sizes_of_pages_leaves_what_was_destroyed_as_it_was() {
        let all = [Range::new(PhysAddr(0), PhysAddr(1 << 20))].into_iter().collect();
        let machine = vmcore::Machine { arch: Arch::Aarch64, ..crate::testing::LE64 };
        let mut dump = Dump {
            machine,
            memory: Box::new(Empty(MemoryMap::new(PageSize::K4, all))),
            notes: Notes::default(),
            vmcoreinfo: None,
            virt: Vec::new(),
            elf_flags: 0,
            source: vmcore::Source::default(),
        };
        dump.source.destroyed.insert(Range::new(Pfn(3), Pfn(5)));
        let before = dump.source.destroyed.clone();
        let info = VmcoreInfo::parse(b"OSRELEASE=6.1\n");
        prove_without_size(&mut dump, info).unwrap_err();
        assert_eq!(dump.page_size(), PageSize::K4);
        assert_eq!(dump.source.destroyed, before);
    }
}
