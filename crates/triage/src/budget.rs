//! How much is looked at before a report is cut short: for who has something more urgent to do than to report.

use kernel::{Error, KernelMemory};
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use vmcore::{Machine, VirtAddr, VmcoreInfo};

/// Reads from one question to the next: a question costs some microseconds, as many as fifty reads.
const EVERY: u64 = 1 << 10;
/// Bytes that count as one read more.
const PIECE: u64 = 64;

/// Answers in words what else is used up, if anything is: time, memory.
type Asked<'a> = dyn Fn() -> Option<String> + Sync + 'a;

/// What may be spent on looking. Work is counted, so that no list without an end can take longer; what else limits it is
/// asked every now and then.
pub struct Budget<'a> {
    /// Reads and pieces that were begun.
    done: AtomicU64,
    most: u64,
    asked: &'a Asked<'a>,
    spent: OnceLock<String>,
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("done", &self.done).field("most", &self.most).finish_non_exhaustive()
    }
}

impl<'a> Budget<'a> {
    /// At most `most` reads of the kernel's memory, of which one of 64 bytes more counts as one more; none after `asked` says
    /// what is used up.
    pub fn new(most: u64, asked: &'a Asked<'a>) -> Self {
        Self { done: AtomicU64::new(0), most, asked, spent: OnceLock::new() }
    }

    /// What was used up, in words without a full stop; `None` while there is more.
    pub fn spent(&self) -> Option<&str> {
        self.spent.get().map(String::as_str)
    }

    /// Reads until now, each 64 bytes of a longer one counted as one.
    pub fn reads(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: usize) -> Result<(), Error> {
        let cost = 1 + bytes as u64 / PIECE;
        let before = self.done.fetch_add(cost, Ordering::Relaxed);
        let after = before.saturating_add(cost);
        if self.spent.get().is_none() {
            let why = match after > self.most {
                true => Some(format!(
                    "more than {} reads of the kernel's memory would have been needed",
                    self.most
                )),
                false if before / EVERY != after / EVERY => (self.asked)(),
                false => None,
            };
            if let Some(why) = why {
                let _ = self.spent.set(why);
            }
        }
        self.spent().map_or(Ok(()), |why| Err(Error::Unsupported(why.to_owned())))
    }
}

/// Memory that is read on a budget: when that is spent, it cannot be read any more.
pub(crate) struct Bounded<'a> {
    pub(crate) memory: &'a dyn KernelMemory,
    pub(crate) budget: &'a Budget<'a>,
}

impl KernelMemory for Bounded<'_> {
    fn machine(&self) -> Machine {
        self.memory.machine()
    }

    fn info(&self) -> &VmcoreInfo {
        self.memory.info()
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        self.budget.spend(bytes.len())?;
        self.memory.read(addr, bytes)
    }
}
