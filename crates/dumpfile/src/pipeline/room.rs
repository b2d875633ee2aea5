//! How large a batch is: as large as makes writing quick, and smaller where memory is short.

/// Bytes of pages in a batch. With two threads 1 MiB is 3 to 20 % faster than 256 KiB (level 31 and 1, lzo and zstd, to
/// ext4), as writes are larger.
const MOST: u64 = 1 << 20;
/// The least, a single read.
const LEAST: u64 = 128 << 10;
/// Batches take at most this share of the memory that is available: in a capture kernel the page cache, the network and
/// other programs have to live on the rest. With 120 MB available one thread takes 17 MB in all and two take 20, with 40 MB
/// available 12 and 13; without a bound 28 and 32.
const SHARE: u64 = 8;

/// Batches under way for so many threads.
pub(super) fn window(threads: usize) -> usize {
    2 * threads + 8
}

/// Bytes of pages in a batch, for so many threads in this machine as it is now, `beside` as many runs that share its memory.
pub(super) fn batch_bytes(threads: usize, beside: usize) -> u64 {
    fit(available_memory(), threads, beside)
}

fn fit(available: Option<u64>, threads: usize, beside: usize) -> u64 {
    let Some(available) = available else { return MOST };
    let runs = (beside as u64).saturating_add(1);
    // Pages, and as much output where nothing shrinks.
    let each = available / runs / SHARE / (2 * window(threads) as u64);
    let power = each.checked_ilog2().map_or(0, |log| 1 << log);
    power.clamp(LEAST, MOST)
}

/// The bytes of memory that programs can have without others being pushed out (`MemAvailable`), if the kernel says.
pub fn available_memory() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_smaller_where_memory_is_short() {
        assert_eq!(fit(None, 1, 0), MOST);
        assert_eq!(fit(Some(1 << 40), 200, 0), MOST);
        assert_eq!(fit(Some(120 << 20), 2, 0), 512 << 10);
        assert_eq!(fit(Some(60 << 20), 1, 0), 256 << 10);
        assert_eq!(fit(Some(60 << 20), 4, 0), 128 << 10);
        assert_eq!(fit(Some(0), 4, 0), LEAST);
        assert_eq!(fit(Some(1 << 30), 1, usize::MAX), LEAST);
        // Files that are written at the same time share it.
        assert_eq!(fit(Some(480 << 20), 2, 3), fit(Some(120 << 20), 2, 0));
        for threads in [1, 2, 4, 16] {
            let all = 2 * window(threads) as u64 * fit(Some(256 << 20), threads, 0);
            assert!(all <= 32 << 20, "{threads}: {all}");
        }
    }

    #[test]
    fn the_kernels_count_of_memory_is_read() {
        let text =
            "MemTotal:         110592 kB\nMemFree:  9 kB\nMemAvailable:      61440 kB\nBuffers: 0 kB\n";
        assert_eq!(parse(text), Some(60 << 20));
        assert_eq!(parse("MemTotal: 5 kB\n"), None);
        assert_eq!(parse("MemAvailable: many\n"), None);
    }
}
