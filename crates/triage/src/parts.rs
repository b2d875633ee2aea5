//! Kernel memory that is read so often and no more.
//!
//! Lists, counts and pointers of a hostile dump lead anywhere, each within its own bounds and all of them together far
//! beyond: ten thousand caches may share a list of ten thousand slabs. What all parts of a report have in common is that
//! they read, so it is reading that ends.

use crate::Report;
use kernel::{Error, KernelMemory};
use std::sync::atomic::{AtomicU64, Ordering};
use vmcore::{Dump, Machine, VirtAddr, VmcoreInfo};

/// Reads that each part of a report may make, whatever the machine: a few seconds' worth. A report of a machine with a
/// thousand tasks makes a hundredth of them.
const READS: u64 = 1 << 22;
/// One more for so many bytes of memory: a kernel has no more tasks than an eighth of its memory holds stacks of.
const BYTES_A_READ: u64 = 1 << 14;
/// Bytes that count as one read.
const PIECE: u64 = 4096;

/// Memory that refuses to be read when a part of a report has read too often.
pub(crate) struct Parts<'a> {
    memory: &'a dyn KernelMemory,
    reads: u64,
    left: AtomicU64,
}

impl<'a> Parts<'a> {
    /// The memory of a dump's kernel.
    pub(crate) fn new(memory: &'a dyn KernelMemory, dump: &Dump) -> Self {
        let reads = READS + dump.memory.map().bytes().total() / BYTES_A_READ;
        Self { memory, reads, left: AtomicU64::new(reads) }
    }

    /// The memory without this bound, for what has its own.
    pub(crate) fn whole(&self) -> &'a dyn KernelMemory {
        self.memory
    }

    /// Lets the next part read, and says whether the last one was refused.
    pub(crate) fn next(&self) -> bool {
        self.left.swap(self.reads, Ordering::Relaxed) == 0
    }
}

/// Finds a part of a report, and says so where that was ended.
pub(crate) fn one<T>(
    parts: Option<&Parts<'_>>,
    name: &str,
    report: &mut Report,
    find: impl FnOnce(&mut Report) -> T,
) -> T {
    parts.map(Parts::next);
    let found = find(report);
    if let Some(parts) = parts.filter(|parts| parts.next()) {
        let why = format!(
            "more than {} reads did not come to an end, so the dump is damaged or contradicts itself",
            parts.reads
        );
        report.lacks(format!("some of the {name}"), why);
    }
    found
}

impl KernelMemory for Parts<'_> {
    fn machine(&self) -> Machine {
        self.memory.machine()
    }

    fn info(&self) -> &VmcoreInfo {
        self.memory.info()
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        let cost = 1 + bytes.len() as u64 / PIECE;
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(cost), Ordering::Relaxed);
        if left < cost {
            let why = format!(
                "this part of the report has read {} times, and no sound dump asks for that",
                self.reads
            );
            return Err(Error::NotMapped { addr, why });
        }
        self.memory.read(addr, bytes)
    }
}
