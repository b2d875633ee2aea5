//! `/proc/vmcore`, read in several ways: what a page costs, without anything being done with it.

use super::plan::Way;
use crate::reader::elf::Elf;
use anyhow::{Context, Result};
use nix::libc::{MAP_NORESERVE, MAP_PRIVATE, PROT_READ};
use nix::sys::resource::{UsageWho, getrusage};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};
use vmcore::{PageState, Pfn};

const PAGE: usize = 4096;
/// As much as hadump reads at once.
const AT_ONCE: usize = 128 << 10;

/// Reads all pages that `path` has, and returns how many and the user and system time that it took, in seconds.
pub(super) fn read(path: &Path, way: Way) -> Result<(u64, f64)> {
    let begun = processor_seconds()?;
    let pages = match way {
        Way::Hadump => as_hadump(path)?,
        Way::Read(bytes) => {
            by_pieces(path, bytes, |file, offset, piece| Ok(file.read_exact_at(piece, offset)?))?
        }
        Way::Map(bytes) => by_pieces(path, bytes, |file, offset, piece| {
            let window = MmapRegion::<()>::build(
                Some(FileOffset::from_arc(file.clone(), offset)),
                piece.len(),
                PROT_READ,
                MAP_PRIVATE | MAP_NORESERVE,
            );
            let window = window.with_context(|| format!("{} bytes at {offset:#x}", piece.len()))?;
            // A page at a time into the same place, as whoever compresses them has it in a processor's own cache.
            let page = &mut piece[..PAGE];
            for at in (0..window.size()).step_by(PAGE) {
                window.get_slice(at, PAGE)?.copy_to(black_box(&mut *page));
            }
            Ok(())
        })?,
    };
    Ok((pages, processor_seconds()? - begun))
}

fn as_hadump(path: &Path) -> Result<u64> {
    let dump = dumpfile::open(path)?;
    let size = dump.memory.map().page_size().len();
    let mut buffer = vec![0; AT_ONCE];
    let mut states = vec![PageState::Absent; AT_ONCE / size];
    let mut pages = 0;
    for frames in dump.memory.map().frames().iter() {
        for first in (frames.start.0..frames.end.0).step_by(states.len()) {
            let count = states.len().min((frames.end.0 - first) as usize);
            dump.memory.read_run(Pfn(first), &mut buffer[..count * size], &mut states[..count])?;
            black_box(&buffer);
            pages += count as u64;
        }
    }
    Ok(pages)
}

/// Calls `obtain` for all whole pages of all segments, at most `bytes` of them at once.
fn by_pieces(
    path: &Path,
    bytes: usize,
    mut obtain: impl FnMut(&Arc<File>, u64, &mut [u8]) -> Result<()>,
) -> Result<u64> {
    let file = Arc::new(File::open(path)?);
    let mut piece = vec![0; bytes];
    let mut pages = 0;
    for load in Elf::open(path).loads {
        // Firmware cuts pages in two; parts of them are not mapped.
        let page = PAGE as u64;
        let start = load.offset.next_multiple_of(page);
        let end = (load.offset + load.filesz) / page * page;
        for offset in (start..end.max(start)).step_by(bytes) {
            let count = bytes.min((end - offset) as usize);
            obtain(&file, offset, &mut piece[..count])?;
            black_box(&piece);
            pages += (count / PAGE) as u64;
        }
    }
    Ok(pages)
}

/// User and system time of this process.
fn processor_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let times = [usage.user_time(), usage.system_time()];
    Ok(times.iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// An ELF core of one segment, at a page's border.
    fn core(pages: usize) -> tempfile::NamedTempFile {
        let mut bytes = vec![0; PAGE];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 1;
        bytes[64 + 8..][..8].copy_from_slice(&(PAGE as u64).to_le_bytes());
        for field in [32, 40] {
            bytes[64 + field..][..8].copy_from_slice(&((pages * PAGE) as u64).to_le_bytes());
        }
        bytes.resize(PAGE * (pages + 1), 7);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn each_way_reads_every_page_once() {
        let file = core(37);
        for way in
            [Way::Read(PAGE), Way::Read(16 * PAGE), Way::Map(PAGE), Way::Map(16 * PAGE), Way::Map(64 * PAGE)]
        {
            assert_eq!(read(file.path(), way).unwrap().0, 37, "{way:?}");
        }
    }
}
