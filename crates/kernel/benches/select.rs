//! Classification and translation on a real dump: `HADUMP_BENCH_DUMP` names an unpacked one, such as
//! `cargo xtask amplify` makes.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use kernel::{Kernel, KernelMemory};
use std::sync::OnceLock;
use vmcore::{Dump, DumpLevel, VirtAddr};

fn dump() -> Option<&'static Dump> {
    static DUMP: OnceLock<Option<Dump>> = OnceLock::new();
    let open = || {
        let Some(path) = std::env::var_os("HADUMP_BENCH_DUMP") else {
            eprintln!("skipped: HADUMP_BENCH_DUMP names no dump");
            return None;
        };
        Some(dumpfile::open(path.as_ref()).expect("HADUMP_BENCH_DUMP can be opened"))
    };
    DUMP.get_or_init(open).as_ref()
}

/// Reads and judges every struct page.
#[divan::bench(args = [1, 2, 31], sample_count = 20)]
fn classify_on_one_thread(bencher: Bencher<'_, '_>, level: u32) {
    let Some(dump) = dump() else { return };
    let kernel = Kernel::open(dump).expect("a kernel");
    let level = DumpLevel::new(level).expect("a level");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    bencher
        .counter(ItemsCount::new(dump.memory.map().frames().total()))
        .bench_local(|| pool.install(|| kernel.select(level, None).expect("a selection").selection.kept()));
}

/// The same, with nothing checked: what the gate costs is the difference.
#[divan::bench(args = [1, 2, 31], sample_count = 20)]
fn classify_without_the_gate(bencher: Bencher<'_, '_>, level: u32) {
    let Some(dump) = dump() else { return };
    let kernel = Kernel::open(dump).expect("a kernel");
    let level = DumpLevel::new(level).expect("a level");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let select = || kernel.select_unchecked(level, None).expect("a selection").selection.kept();
    bencher.counter(ItemsCount::new(dump.memory.map().frames().total())).bench_local(|| pool.install(select));
}

/// Translates an address of the kernel's image through the page tables.
#[divan::bench]
fn translate(bencher: Bencher<'_, '_>) {
    let Some(dump) = dump() else { return };
    let kernel = Kernel::open(dump).expect("a kernel");
    let VirtAddr(at) = kernel.info().symbol("init_uts_ns").expect("every kernel has one");
    bencher.bench_local(|| kernel.translate(black_box(VirtAddr(at))).expect("it is mapped"));
}

fn main() {
    divan::main();
}
