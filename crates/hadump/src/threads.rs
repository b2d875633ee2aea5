//! Threads: as many as were asked for and there are processors, and memory, for.

use anyhow::Result;
use std::num::NonZeroUsize;

/// Bytes of memory that each thread needs where memory is short, and the program besides, with what is to stay for others.
const PER_THREAD: u64 = 3 << 20;
const BASE_MEMORY: u64 = 32 << 20;

/// Runs `work` on `threads` threads, but on no more than there are processors, which is also what `None` means.
///
/// More threads than processors only wait for each other.
pub(crate) fn on<T: Send>(
    threads: Option<NonZeroUsize>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = threads.map_or(processors, |wanted| wanted.min(processors));
    match pool(threads.get()) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// A pool of `wanted` threads, or of as many as the system grants: where processes are limited (`ulimit -u`, a cgroup) work
/// takes longer, and is done. `None` where this thread belongs to another pool already and no other is granted.
pub(crate) fn pool(wanted: usize) -> Option<rayon::ThreadPool> {
    let halves = std::iter::successors(Some(wanted.max(1)), |&threads| (threads > 1).then_some(threads / 2));
    let granted = halves
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .find_map(Result::ok);
    granted.or_else(|| rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok())
}

/// How many threads the free memory is enough for: a kernel booted in 256 MB has little of it.
pub(crate) fn that_fit() -> NonZeroUsize {
    let fit =
        |free: u64| usize::try_from(free.saturating_sub(BASE_MEMORY) / PER_THREAD).unwrap_or(usize::MAX);
    let threads = dumpfile::available_memory().map_or(usize::MAX, fit);
    NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
}
