//! Page counts in makedumpfile's tables, which people and scripts read.

use dumpfile::Written;
use std::fmt::Write;
use vmcore::{Reason, Selection};

/// The report of `--show-stats`.
pub(super) fn report(selection: &Selection, written: &Written) -> String {
    let memory = selection.map();
    let counts = selection.reasons();
    let total = memory.frames().total();
    let excluded = counts.total() + written.zero_pages;
    let mut text = String::from("\n");
    let mut line = |label: &str, pages: u64| {
        let _ = writeln!(text, "{label}: 0x{pages:016x}");
    };
    line("Original pages  ", total);
    line("  Excluded pages   ", excluded);
    line("    Pages filled with zero  ", written.zero_pages);
    line("    Non-private cache pages ", counts.get(Reason::Cache));
    line("    Private cache pages     ", counts.get(Reason::CachePrivate));
    line("    User process data pages ", counts.get(Reason::User));
    line("    Free pages              ", counts.get(Reason::Free));
    line("    Hwpoison pages          ", counts.get(Reason::HwPoison));
    line("    Offline pages           ", counts.get(Reason::Offline));
    for (label, reason) in [
        ("    Excluded before         ", Reason::Earlier),
        ("    Overwritten pages       ", Reason::Destroyed),
    ] {
        if counts.get(reason) > 0 {
            line(label, counts.get(reason));
        }
    }
    let remaining = total.saturating_sub(excluded);
    line("  Remaining pages  ", remaining);
    let percent = remaining.saturating_mul(100).checked_div(total).unwrap_or(0);
    let _ = writeln!(text, "  (The number of pages is reduced to {percent}%.)");
    let frames = memory.max_pfn().0;
    let _ = writeln!(text, "Memory Hole     : 0x{:016x}", frames.saturating_sub(total));
    let _ = writeln!(text, "{}", "-".repeat(50));
    let _ = writeln!(text, "Total pages     : 0x{frames:016x}");
    let _ = writeln!(text, "Write bytes     : {}", written.bytes);
    text
}

/// The table of `--mem-usage`; the selection is that of level 31.
pub(super) fn mem_usage(selection: &Selection, written: &Written) -> String {
    let counts = selection.reasons();
    let page_size = selection.map().page_size().bytes();
    let left_out = counts.total() + written.zero_pages;
    let total = selection.map().frames().total();
    let mut text = String::from("\nTYPE\t\tPAGES\t\t\tEXCLUDABLE\tDESCRIPTION\n");
    let _ = writeln!(text, "{}", "-".repeat(70));
    for (kind, tabs, pages, excludable, description) in [
        ("ZERO", "\t\t", written.zero_pages, "yes", "Pages filled with zero"),
        ("NON_PRI_CACHE", "\t", counts.get(Reason::Cache), "yes", "Cache pages without private flag"),
        ("PRI_CACHE", "\t", counts.get(Reason::CachePrivate), "yes", "Cache pages with private flag"),
        ("USER", "\t\t", counts.get(Reason::User), "yes", "User process pages"),
        ("FREE", "\t\t", counts.get(Reason::Free), "yes", "Free pages"),
        ("KERN_DATA", "\t", total.saturating_sub(left_out), "no", "Dumpable kernel data"),
    ] {
        let _ = writeln!(text, "{kind}{tabs}{pages:<16}\t{excludable}\t\t{description}");
    }
    let _ = writeln!(text, "\npage size:\t\t{page_size:<16}");
    let _ = writeln!(text, "Total pages on system:\t{total:<16}");
    let _ = writeln!(text, "Total size on system:\t{:<16} Byte", total.saturating_mul(page_size));
    text
}
