//! A dump against a raw copy of the `/proc/vmcore` that it was made of, page by page and by readers that owe nothing to
//! hadump.

use crate::reader::bit;
use crate::reader::elf::Elf;
use crate::reader::kdump::Kdump;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// A page is stored as it is.
const RAW: u64 = 0;
/// A page is stored compressed by zstd.
const ZSTD: u64 = 0x20;

/// What a comparison counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Pages with the same bytes.
    pub(crate) equal: u64,
    /// Pages of the machine that are not in the dump.
    pub(crate) left_out: u64,
}

/// Which pages two dumps have, whatever is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    /// Pages of both.
    pub(crate) both: u64,
    /// Pages of the first one alone.
    pub(crate) first: u64,
    /// Pages of the second one alone, and the lowest frame among them.
    pub(crate) second: u64,
    pub(crate) missing: Option<u64>,
}

impl Sets {
    /// Those of two kdump files.
    pub(crate) fn of(first: &Path, second: &Path) -> Self {
        let (first, second) = (Kdump::open(first), Kdump::open(second));
        let mut sets = Self::default();
        for pfn in 0..first.max_mapnr.max(second.max_mapnr) {
            match (bit(&first.bitmap2, pfn), bit(&second.bitmap2, pfn)) {
                (true, true) => sets.both += 1,
                (true, false) => sets.first += 1,
                (false, true) => {
                    sets.second += 1;
                    sets.missing.get_or_insert(pfn);
                }
                (false, false) => {}
            }
        }
        sets
    }
}

/// Compares each page of `dump` with that of `raw`.
///
/// # Errors
///
/// A page differs, or `dump` has one that `raw` has not.
pub(crate) fn compare(raw: &Path, dump: &Path) -> Result<Compared> {
    let (elf, kdump) = (Elf::open(raw), Kdump::open(dump));
    let page_size = usize::try_from(kdump.block_size)?;
    let (mut page, mut wanted) = (vec![0; page_size], vec![0; page_size]);
    let mut compared = Compared { equal: 0, left_out: 0 };
    for pfn in 0..kdump.max_mapnr {
        if !bit(&kdump.bitmap2, pfn) {
            compared.left_out += u64::from(bit(&kdump.bitmap1, pfn));
            continue;
        }
        let stored = kdump.stored(compared.equal);
        match stored.flags {
            RAW => page.copy_from_slice(&stored.bytes),
            ZSTD => {
                let len = zstd::bulk::decompress_to_buffer(&stored.bytes, &mut page)
                    .with_context(|| format!("frame {pfn:#x}"))?;
                ensure!(len == page_size, "frame {pfn:#x} unpacks to {len} bytes");
            }
            flags => bail!("frame {pfn:#x}: compression {flags:#x} is not zstd"),
        }
        let covered = elf.read(pfn * kdump.block_size, &mut wanted);
        ensure!(covered > 0, "frame {pfn:#x} is in {} and not in the raw copy", dump.display());
        ensure!(page == wanted, "frame {pfn:#x} of {} is not that of the raw copy", dump.display());
        compared.equal += 1;
    }
    Ok(compared)
}
