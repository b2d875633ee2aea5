//! What `/proc/meminfo` would have said, and whose the memory was.

use super::{Memory, Owner, processes};
use crate::Subject;

/// The most devices whose caches are looked at.
const MAX_DEVICES: usize = 1 << 14;

/// What is counted apart from the arrays of counters, in bytes.
struct Others {
    available: Option<u64>,
    buffers: Option<u64>,
    vmalloc: Option<u64>,
    per_cpu: Option<u64>,
    /// Of `per_cpu` what the kernel took before there was a page allocator.
    per_cpu_first: Option<u64>,
}

impl Memory {
    /// A counter in bytes, by its name among those of zones or nodes. It is 0 where CPUs' differences make it negative.
    fn counted(&self, name: &str) -> Option<u64> {
        let found = self.zone_counters.iter().chain(&self.node_counters).find(|counter| counter.name == name);
        let value = u64::try_from(found?.value.max(0)).ok()?;
        let unit = if name.ends_with("_KB") { 1 << 10 } else { self.page_size };
        value.checked_mul(unit)
    }

    /// The sum of counters; those that the kernel does not have are 0, but one of them it must have.
    fn summed(&self, names: &[&str]) -> Option<u64> {
        let known = names.iter().filter_map(|name| self.counted(name));
        known.fold(None, |sum: Option<u64>, value| Some(sum.unwrap_or(0).saturating_add(value)))
    }
}

/// Fills the lines of `/proc/meminfo` and the sum of owners. `on_lists` are pages that CPUs keep to give them out again, `low`
/// the sum of the zones' low watermarks.
pub(super) fn fill(subject: &Subject<'_>, memory: &mut Memory, on_lists: u64, low: Option<u64>) {
    let others =
        Others { available: low.and_then(|low| available(subject, memory, low)), ..others(subject, memory) };
    memory.meminfo = lines(subject, memory, &others);
    memory.owners = owners(subject, memory, &others, on_lists);
    let owned = memory.owners.iter().fold(0, |sum: u64, owner| sum.saturating_add(owner.bytes));
    memory.unexplained = memory.total.saturating_sub(owned);
}

fn others(subject: &Subject<'_>, memory: &Memory) -> Others {
    let page = memory.page_size;
    let word = |name: &str| subject.pointer(subject.symbol(name)?);
    let number = |name: &str| subject.unsigned(subject.symbol(name)?, 4);
    let per_cpu = word("pcpu_nr_populated").zip(number("pcpu_nr_units"));
    let first = subject.symbol("pcpu_first_chunk").and_then(|at| subject.pointer(at)).filter(|&at| at != 0);
    let first = first.and_then(|chunk| subject.number_in(chunk, "pcpu_chunk.nr_populated"));
    let of_units = |pages: u64| Some(pages.checked_mul(number("pcpu_nr_units")?)?.saturating_mul(page));
    Others {
        available: None,
        buffers: buffers(subject).map(|pages| pages.saturating_mul(page)),
        vmalloc: memory
            .counted("NR_VMALLOC")
            .or_else(|| word("nr_vmalloc_pages").map(|pages| pages.saturating_mul(page))),
        per_cpu: per_cpu.and_then(|(pages, _)| of_units(pages)),
        per_cpu_first: first.and_then(of_units),
    }
}

/// Bytes that programs could get without swapping, as the kernel estimates (kernel: `si_mem_available`): what is free and not
/// reserved, and of the page cache and of what is reclaimable all but half, or but what the kernel keeps free.
fn available(subject: &Subject<'_>, memory: &Memory, low: u64) -> Option<u64> {
    let low = low.checked_mul(memory.page_size)?;
    let reserved = subject.pointer(subject.symbol("totalreserve_pages")?)?.checked_mul(memory.page_size)?;
    let most_of = |bytes: u64| bytes - (bytes / 2).min(low);
    let cache = memory.summed(&["NR_ACTIVE_FILE", "NR_INACTIVE_FILE"])?;
    let reclaimable = ["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_RECLAIMABLE", "NR_KERNEL_MISC_RECLAIMABLE"];
    let reclaimable = memory.summed(&reclaimable)?;
    let parts = [memory.counted("NR_FREE_PAGES")?, most_of(cache), most_of(reclaimable)];
    Some(parts.into_iter().fold(0, u64::saturating_add).saturating_sub(reserved))
}

/// Pages of the caches of block devices (kernel: `nr_blockdev_pages`).
fn buffers(subject: &Subject<'_>) -> Option<u64> {
    let block = subject.pointer(subject.symbol("blockdev_superblock")?).filter(|&at| at != 0)?;
    let head = block.wrapping_add(subject.offset("super_block.s_inodes")?);
    let (inodes, whole) = subject.list(head, "inode.i_sb_list", MAX_DEVICES);
    let pages = |inode: u64| {
        let mapping = subject.pointer_in(inode, "inode.i_mapping")?;
        subject.pointer_in(mapping, "address_space.nrpages")
    };
    let mut sum = 0u64;
    for inode in inodes {
        sum = sum.checked_add(pages(inode)?)?;
    }
    whole.then_some(sum)
}

/// The lines, in the order of `/proc/meminfo`.
fn lines(subject: &Subject<'_>, memory: &Memory, others: &Others) -> Vec<(&'static str, u64)> {
    let of = |names: &[&str]| memory.summed(names);
    let pages = |name: &str| {
        let pages = subject.signed(subject.symbol(name)?, subject.word())?;
        u64::try_from(pages.max(0)).ok()?.checked_mul(memory.page_size)
    };
    let cached = || {
        let swap_cache = memory.counted("NR_SWAPCACHE").unwrap_or(0);
        let cached = memory.counted("NR_FILE_PAGES")?.saturating_sub(swap_cache);
        Some(cached.saturating_sub(others.buffers?))
    };
    let committed = || {
        let at = subject.symbol("vm_committed_as")?;
        let cpus = subject.cpus("__cpu_possible_mask")?;
        let pages = processes::per_cpu_counter(subject, at, &cpus)?;
        u64::try_from(pages.max(0)).ok()?.checked_mul(memory.page_size)
    };
    // Until 5.11 huge pages were counted as such and not in pages, which is when swap's cache got a counter.
    let thp = |name: &str| memory.counted("NR_SWAPCACHE").and(memory.counted(name));
    let huge =
        memory.huge.iter().fold(0, |sum: u64, huge| sum.saturating_add(huge.total.saturating_mul(huge.size)));
    let lines = [
        ("MemTotal", Some(memory.total)),
        ("MemFree", memory.counted("NR_FREE_PAGES")),
        ("MemAvailable", others.available),
        ("Buffers", others.buffers),
        ("Cached", cached()),
        ("SwapCached", memory.counted("NR_SWAPCACHE")),
        ("Active", of(&["NR_ACTIVE_ANON", "NR_ACTIVE_FILE"])),
        ("Inactive", of(&["NR_INACTIVE_ANON", "NR_INACTIVE_FILE"])),
        ("Active(anon)", memory.counted("NR_ACTIVE_ANON")),
        ("Inactive(anon)", memory.counted("NR_INACTIVE_ANON")),
        ("Active(file)", memory.counted("NR_ACTIVE_FILE")),
        ("Inactive(file)", memory.counted("NR_INACTIVE_FILE")),
        ("Unevictable", memory.counted("NR_UNEVICTABLE")),
        ("Mlocked", memory.counted("NR_MLOCK")),
        ("SwapTotal", pages("total_swap_pages")),
        ("SwapFree", pages("nr_swap_pages")),
        ("Dirty", memory.counted("NR_FILE_DIRTY")),
        ("Writeback", memory.counted("NR_WRITEBACK")),
        ("AnonPages", memory.counted("NR_ANON_MAPPED")),
        ("Mapped", memory.counted("NR_FILE_MAPPED")),
        ("Shmem", memory.counted("NR_SHMEM")),
        ("KReclaimable", of(&["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_RECLAIMABLE", "NR_KERNEL_MISC_RECLAIMABLE"])),
        ("Slab", slab(memory)),
        ("SReclaimable", of(&["NR_SLAB_RECLAIMABLE_B", "NR_SLAB_RECLAIMABLE"])),
        ("SUnreclaim", of(&["NR_SLAB_UNRECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE"])),
        ("KernelStack", memory.counted("NR_KERNEL_STACK_KB")),
        ("PageTables", memory.counted("NR_PAGETABLE")),
        ("SecPageTables", memory.counted("NR_SECONDARY_PAGETABLE")),
        ("Bounce", memory.counted("NR_BOUNCE")),
        ("WritebackTmp", memory.counted("NR_WRITEBACK_TEMP")),
        ("Committed_AS", committed()),
        ("VmallocUsed", others.vmalloc),
        ("Percpu", others.per_cpu),
        ("AnonHugePages", thp("NR_ANON_THPS")),
        ("ShmemHugePages", thp("NR_SHMEM_THPS")),
        ("FileHugePages", thp("NR_FILE_THPS")),
        ("CmaTotal", pages("totalcma_pages")),
        ("CmaFree", memory.counted("NR_FREE_CMA_PAGES")),
        ("Hugetlb", (!memory.huge.is_empty()).then_some(huge)),
    ];
    lines.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))).collect()
}

fn slab(memory: &Memory) -> Option<u64> {
    memory.summed(&[
        "NR_SLAB_RECLAIMABLE_B",
        "NR_SLAB_UNRECLAIMABLE_B",
        "NR_SLAB_RECLAIMABLE",
        "NR_SLAB_UNRECLAIMABLE",
    ])
}

/// Who owns how much of what the page allocator manages.
fn owners(subject: &Subject<'_>, memory: &Memory, others: &Others, on_lists: u64) -> Vec<Owner> {
    let counted = |name: &str| memory.counted(name).unwrap_or(0);
    let stacks = counted("NR_KERNEL_STACK_KB");
    let vmalloc = others.vmalloc.unwrap_or(0);
    // Stacks are vmalloc'ed, or objects of a slab cache where pages are large, or pages of their own.
    let (stacks, vmalloc) = match subject.offset("task_struct.stack_vm_area") {
        Some(_) => (stacks.min(vmalloc), vmalloc.saturating_sub(stacks)),
        None if memory.slabs.iter().any(|cache| cache.name == "thread_stack") => (0, vmalloc),
        None => (stacks, vmalloc),
    };
    let cache =
        counted("NR_FILE_PAGES").saturating_sub(counted("NR_SHMEM")).saturating_sub(counted("NR_SWAPCACHE"));
    let huge =
        memory.huge.iter().fold(0, |sum: u64, huge| sum.saturating_add(huge.total.saturating_mul(huge.size)));
    // The first chunk is no part of what the page allocator manages.
    let per_cpu =
        others.per_cpu.zip(others.per_cpu_first).map_or(0, |(all, first)| all.saturating_sub(first));
    let owners = [
        ("free", counted("NR_FREE_PAGES")),
        ("free, kept by CPUs", on_lists.saturating_mul(memory.page_size)),
        ("page cache", cache),
        ("anonymous memory", counted("NR_ANON_MAPPED")),
        ("shared memory and tmpfs", counted("NR_SHMEM")),
        ("huge pages (hugetlb)", huge),
        ("slab caches", slab(memory).unwrap_or(0)),
        ("kernel stacks", stacks),
        ("page tables", counted("NR_PAGETABLE").saturating_add(counted("NR_SECONDARY_PAGETABLE"))),
        ("vmalloc", vmalloc),
        ("per-CPU areas", per_cpu),
    ];
    owners.into_iter().filter(|(_, bytes)| *bytes > 0).map(|(name, bytes)| Owner { name, bytes }).collect()
}
