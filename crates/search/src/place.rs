//! What a place in memory is: its virtual addresses, and whose it is.

use kernel::{Kernel, Reverse, Slabs};
use triage::{Report, Subject, stack};
use vmcore::{PhysAddr, VirtAddr};

/// The longest name of a slab cache that is read.
const LONGEST_NAME: usize = 64;

/// Whose memory is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The kernel's image or a module: its symbol and how far behind it.
    Symbol {
        /// The symbol.
        name: String,
        /// Bytes from there.
        offset: u64,
        /// The module, `None` for the kernel itself.
        module: Option<String>,
    },
    /// A module, where no symbol is.
    Module {
        /// Its name.
        name: String,
    },
    /// A task's stack.
    Stack {
        /// The task's number.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// An object of a slab cache.
    Slab {
        /// The cache's name.
        cache: String,
        /// The object that the address is in, and how far behind its start; `None` where the kernel has more in a slab than
        /// objects.
        object: Option<(VirtAddr, u64)>,
    },
}

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The virtual addresses that the kernel has for it; that of the direct map is the last.
    pub virt: Vec<VirtAddr>,
    /// Whose it is; `None` where that is not known.
    pub owner: Option<Owner>,
}

/// A task's stack.
struct Stack<'a> {
    start: u64,
    pid: u32,
    comm: &'a str,
}

/// Says what places are.
pub struct Places<'a> {
    subject: &'a Subject<'a>,
    reverse: Reverse,
    slabs: Option<Slabs<'a, 'a>>,
    /// By their first addresses.
    stacks: Vec<Stack<'a>>,
    stack_size: u64,
}

impl<'a> Places<'a> {
    /// Learns where things are: from the kernel's page tables, and what a survey of the dump has found.
    ///
    /// # Errors
    ///
    /// When the input is damaged.
    pub fn new(
        subject: &'a Subject<'a>,
        report: &'a Report,
        kernel: Option<&'a Kernel<'a>>,
    ) -> Result<Self, kernel::Error> {
        let slabs = match kernel.map(Slabs::of) {
            Some(Err(error @ kernel::Error::Read(_))) => return Err(error),
            slabs => slabs.and_then(Result::ok),
        };
        let stack = |task: &'a triage::tasks::Task| {
            let start = subject.pointer_in(task.addr, "task_struct.stack").filter(|&start| start != 0)?;
            Some(Stack { start, pid: task.pid, comm: &task.comm })
        };
        let mut stacks: Vec<Stack<'_>> = report.tasks.iter().filter_map(stack).collect();
        stacks.sort_by_key(|stack| (stack.start, stack.pid));
        Ok(Self {
            subject,
            reverse: kernel.map(Kernel::reverse).transpose()?.unwrap_or_default(),
            slabs,
            stacks,
            stack_size: stack::stack_size(subject),
        })
    }

    /// What is at `phys`.
    ///
    /// # Errors
    ///
    /// When the input is damaged.
    pub fn of(&self, phys: PhysAddr) -> Result<Place, kernel::Error> {
        let virt = self.reverse.of(phys);
        let owner = match virt.iter().find_map(|&virt| self.at(virt)) {
            None => self.object(phys, virt.last().copied())?,
            owner => owner,
        };
        Ok(Place { virt, owner })
    }

    /// Whose a virtual address is, without regard to what `struct page`s say.
    pub fn at(&self, virt: VirtAddr) -> Option<Owner> {
        let symbols = &self.subject.symbols;
        if let Some(found) = symbols.at(virt) {
            return Some(Owner::Symbol {
                name: found.name.to_owned(),
                offset: found.offset,
                module: found.module.map(str::to_owned),
            });
        }
        if let Some(name) = symbols.module_at(virt) {
            return Some(Owner::Module { name: name.to_owned() });
        }
        let behind = self.stacks.partition_point(|stack| stack.start <= virt.0);
        let stack = self.stacks[..behind].last().filter(|stack| virt.0 - stack.start < self.stack_size)?;
        Some(Owner::Stack { pid: stack.pid, comm: stack.comm.to_owned() })
    }

    /// The object of a slab cache at `phys`, which the direct map has at `virt`.
    fn object(&self, phys: PhysAddr, virt: Option<VirtAddr>) -> Result<Option<Owner>, kernel::Error> {
        let Some(slabs) = &self.slabs else { return Ok(None) };
        let page = self.subject.dump.page_size();
        let Some(slab) = slabs.with(page.pfn(phys))? else { return Ok(None) };
        let cache = ["slab.slab_cache", "page.slab_cache"].into_iter();
        let cache =
            cache.filter_map(|path| self.subject.pointer_in(slab.at.0, path)).find(|&cache| cache != 0);
        let Some(cache) = cache else { return Ok(None) };
        let name = self.subject.offset("kmem_cache.name");
        let name = name.and_then(|name| self.subject.text_at(cache.wrapping_add(name), LONGEST_NAME));
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
        let object = || {
            let size = self.subject.number_in(cache, "kmem_cache.size").filter(|&size| size > 0)?;
            // Kernels that check for overruns have a zone before each object.
            let pad = self.subject.number_in(cache, "kmem_cache.red_left_pad").unwrap_or(0);
            let offset = phys.0.checked_sub(page.addr(slab.first).0)? % size;
            Some((VirtAddr(virt?.0.wrapping_sub(offset)), offset)).filter(|_| pad == 0)
        };
        Ok(Some(Owner::Slab { cache: name, object: object() }))
    }
}
