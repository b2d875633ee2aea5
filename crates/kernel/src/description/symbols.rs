//! Where the kernel's variables and functions are, from any source.

use crate::kallsyms::Kallsyms;
use crate::vmlinux::Vmlinux;
use crate::{Error, KernelMemory};
use vmcore::{VirtAddr, VmcoreInfo};

/// A source of symbols of the running kernel.
pub trait Symbols {
    /// The address of the symbol called `name`.
    ///
    /// # Errors
    ///
    /// When the source is in the dump and cannot be read.
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error>;
}

impl Symbols for Kallsyms<'_> {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        self.find(name)
    }
}

/// The symbols of a vmlinux, moved to where the kernel ran.
pub struct Relocated<'v> {
    vmlinux: &'v Vmlinux,
    moved: u64,
    /// Addresses below belong to areas per CPU and do not move.
    image: u64,
}

impl<'v> Relocated<'v> {
    /// `moved` is KERNELOFFSET of VMCOREINFO: how far from its link address the kernel ran.
    pub fn new(vmlinux: &'v Vmlinux, moved: u64) -> Self {
        let image = ["_text", "_stext"].iter().find_map(|name| vmlinux.symbol(name));
        Self { vmlinux, moved, image: image.map_or(0, |symbol| symbol.addr) }
    }

    /// As [`Relocated::new`], by what VMCOREINFO says.
    pub fn by_info(vmlinux: &'v Vmlinux, info: &VmcoreInfo) -> Self {
        Self::new(vmlinux, kernel_offset(info))
    }
}

impl Symbols for Relocated<'_> {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        let linked = self.vmlinux.symbol(name);
        Ok(linked.map(|symbol| match symbol.addr >= self.image {
            true => VirtAddr(symbol.addr.wrapping_add(self.moved)),
            false => VirtAddr(symbol.addr),
        }))
    }
}

/// KERNELOFFSET, 0 for a kernel that does not move.
pub(crate) fn kernel_offset(info: &VmcoreInfo) -> u64 {
    info.get("KERNELOFFSET").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0)
}

/// SYMBOL(`name`) of VMCOREINFO first, which is there without a search, then the other source.
pub(crate) struct WithInfo<'a> {
    pub(crate) memory: &'a dyn KernelMemory,
    pub(crate) other: Option<&'a dyn Symbols>,
}

impl Symbols for WithInfo<'_> {
    fn symbol(&self, name: &str) -> Result<Option<VirtAddr>, Error> {
        // VMCOREINFO has the contents of these, not their addresses.
        let content = ["mem_section", "vmemmap", "node_online_map"].contains(&name);
        match (self.memory.info().symbol(name).filter(|_| !content), self.other) {
            (Some(addr), _) => Ok(Some(addr)),
            (None, Some(other)) => other.symbol(name),
            (None, None) => Ok(None),
        }
    }
}
