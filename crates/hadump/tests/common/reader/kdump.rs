//! A kdump-compressed file, 64-bit layout, header version 6, either byte order.
//!
//! Layouts: `struct disk_dump_header` and `struct kdump_sub_header` of makedumpfile's `diskdump_mod.h`.

use super::{Order, bit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// An open kdump file.
pub struct Kdump {
    pub order: Order,
    /// sysname, nodename, release, version, machine, domainname.
    pub uts: [String; 6],
    /// Seconds since 1970.
    pub time: u64,
    pub status: u64,
    /// In bytes.
    pub block_size: u64,
    pub nr_cpus: u64,
    pub max_mapnr: u64,
    pub phys_base: u64,
    pub dump_level: u64,
    /// The frames that had memory.
    pub bitmap1: Vec<u8>,
    /// The frames that are in the file.
    pub bitmap2: Vec<u8>,
    pub notes: Vec<u8>,
    /// The VMCOREINFO text that the sub-header points to.
    pub vmcoreinfo: Vec<u8>,
    descriptors: u64,
    file: File,
}

/// A page as the file has it: its compression flag and its stored bytes.
pub struct Stored {
    pub flags: u64,
    /// Where in the file they stand.
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Kdump {
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let read = |offset: u64, len: u64| {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset)
                .unwrap_or_else(|e| panic!("{}: {len} bytes at {offset}: {e}", path.display()));
            bytes
        };
        let head = read(0, 464);
        assert_eq!(head[..8], *b"KDUMP   ", "{}: signature", path.display());
        let order = Order { big: head[8] == 0 };
        assert_eq!(order.u32(&head, 8), 6, "{}: header version", path.display());
        let uts = std::array::from_fn(|field| {
            let text = &head[12 + field * 65..][..65];
            assert_eq!(text[64], 0, "the last byte of a utsname field");
            String::from_utf8_lossy(text).trim_end_matches('\0').into()
        });
        let block_size = order.u32(&head, 428);
        let sub = read(block_size, 104);
        let sub_blocks = order.u32(&head, 432);
        let bitmap_blocks = order.u32(&head, 436);
        let max_mapnr = order.u64(&sub, 96);
        assert_eq!(order.u32(&head, 440), max_mapnr.min(0xffff_ffff), "max_mapnr");
        let half = max_mapnr.div_ceil(8).div_ceil(block_size);
        assert_eq!(bitmap_blocks, 2 * half, "bitmap_blocks");
        let bitmaps = (1 + sub_blocks) * block_size;
        Self {
            order,
            uts,
            time: order.u64(&head, 408),
            status: order.u32(&head, 424),
            block_size,
            nr_cpus: order.u32(&head, 460),
            max_mapnr,
            phys_base: order.u64(&sub, 0),
            dump_level: order.u32(&sub, 8),
            bitmap1: read(bitmaps, half * block_size),
            bitmap2: read(bitmaps + half * block_size, half * block_size),
            vmcoreinfo: read(order.u64(&sub, 32), order.u64(&sub, 40)),
            notes: read(order.u64(&sub, 48), order.u64(&sub, 56)),
            descriptors: bitmaps + bitmap_blocks * block_size,
            file,
        }
    }

    /// The frames in the file, ascending.
    pub fn kept(&self) -> impl Iterator<Item = u64> {
        (0..self.max_mapnr).filter(|pfn| bit(&self.bitmap2, *pfn))
    }

    /// Where the descriptor of the `index`th page stands in the file.
    pub fn descriptor(&self, index: u64) -> u64 {
        self.descriptors + index * 24
    }

    /// The `index`th page of the file, as it is stored.
    pub fn stored(&self, index: u64) -> Stored {
        let mut descriptor = [0; 24];
        self.file.read_exact_at(&mut descriptor, self.descriptor(index)).expect("a page descriptor");
        let mut bytes = vec![0; self.order.u32(&descriptor, 8) as usize];
        let offset = self.order.u64(&descriptor, 0);
        self.file.read_exact_at(&mut bytes, offset).expect("a page");
        Stored { flags: self.order.u32(&descriptor, 12), offset, bytes }
    }
}
