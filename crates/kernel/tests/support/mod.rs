//! Real dumps for tests: `HADUMP_CORPUS` names the directory that holds them, compressed.

use kernel::{Error, KernelMemory};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use vmcore::{Arch, ByteOrder, Machine, Notes, VirtAddr, VmcoreInfo, WordSize};

/// The directory of one dump, or `None` with a word on what is skipped.
pub(crate) fn corpus(name: &str) -> Option<PathBuf> {
    match std::env::var_os("HADUMP_CORPUS") {
        Some(corpus) => Some(Path::new(&corpus).join(name)),
        None => {
            eprintln!("skipped the real dump {name}: HADUMP_CORPUS does not say where it is");
            None
        }
    }
}

/// Unpacks `path` to an unnamed sparse file.
pub(crate) fn unpack(path: &Path) -> File {
    let packed = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = zstd::Decoder::new(packed).unwrap();
    reader.window_log_max(27).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let mut block = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let mut filled = 0;
        while filled < block.len() {
            match reader.read(&mut block[filled..]).unwrap() {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            file.set_len(len).unwrap();
            return file;
        }
        len += filled as u64;
        if block[..filled].iter().all(|&b| b == 0) {
            file.seek(SeekFrom::Current(filled as i64)).unwrap();
        } else {
            file.write_all(&block[..filled]).unwrap();
        }
    }
}

/// A kernel's memory as the ELF headers of its core map it.
pub(crate) struct ElfKernel {
    file: File,
    machine: Machine,
    info: VmcoreInfo,
    /// Virtual start, length, file offset.
    loads: Vec<(u64, u64, u64)>,
}

impl ElfKernel {
    /// Reads `vmcore.elf.zst` of one dump of the corpus.
    pub(crate) fn open(dir: &Path) -> Self {
        let file = unpack(&dir.join("vmcore.elf.zst"));
        let mut head = [0; 4096];
        file.read_exact_at(&mut head, 0).unwrap();
        let order = if head[5] == 2 { ByteOrder::Big } else { ByteOrder::Little };
        let arch = Arch::from_elf(order.u16(&head[18..])).unwrap();
        let machine = Machine { arch, order, word: WordSize::Bits64 };
        let mut info = None;
        let mut loads = Vec::new();
        for header in head[64..].chunks_exact(56).take(order.u16(&head[56..]).into()) {
            let (offset, virt, size) =
                (order.u64(&header[8..]), order.u64(&header[16..]), order.u64(&header[32..]));
            if order.u32(header) == 1 {
                loads.push((virt, size, offset));
            } else {
                let mut notes = vec![0; size as usize];
                file.read_exact_at(&mut notes, offset).unwrap();
                info = vmcore::Dump::find_vmcoreinfo(&Notes::parse(&notes, order).unwrap());
            }
        }
        Self { file, machine, info: info.unwrap(), loads }
    }
}

impl KernelMemory for ElfKernel {
    fn machine(&self) -> Machine {
        self.machine
    }

    fn info(&self) -> &VmcoreInfo {
        &self.info
    }

    fn read(&self, addr: VirtAddr, bytes: &mut [u8]) -> Result<(), Error> {
        let len = bytes.len() as u64;
        let inside = |&(virt, size, _): &(u64, u64, u64)| {
            addr.0.checked_sub(virt).is_some_and(|at| at.checked_add(len).is_some_and(|end| end <= size))
        };
        let Some(&(virt, _, offset)) = self.loads.iter().find(|load| inside(load)) else {
            return Err(Error::NotMapped { addr, why: "no program header covers it".into() });
        };
        self.file.read_exact_at(bytes, offset + (addr.0 - virt)).unwrap();
        Ok(())
    }
}
