//! What this boot's kernel and firmware say of themselves.

use super::FlatTree;
use crate::bytes::Bytes;
use crate::devtree::{DeviceTree, read_file};
use crate::meminfo;
use crate::{Error, Findings};
use std::path::Path;
use vmcore::{ByteOrder, PageSize, PhysAddr, Range};

const MAX_TREE: u64 = 64 << 20;
const MAX_TEXT: u64 = 1 << 20;
/// The entry of the auxiliary vector that holds the page size (`AT_PAGESZ`).
const AT_PAGESZ: u64 = 6;

/// What the running kernel and the firmware beneath it say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// Where RTAS lies: `/rtas/linux,rtas-base`, `rtas-size`.
    pub rtas: Option<Range<PhysAddr>>,
    /// Where the initial RAM disk was loaded: `/chosen/linux,initrd-start`, `-end`.
    pub initrd: Option<Range<PhysAddr>>,
    /// There is a node `/chosen`: without an initial RAM disk there was none.
    pub has_chosen: bool,
    /// There is a node `/reserved-memory`.
    pub has_reserved_memory: bool,
    /// Another kernel started this one, so that the rules of a firmware's boot do not hold.
    pub by_kexec: bool,
    /// `/sys/firmware/fdt`, which root may read.
    pub flat_tree: Option<FlatTree>,
    /// The page size of the running kernel.
    pub page_size: Option<PageSize>,
    /// The kernel uses the radix MMU; otherwise hash.
    pub radix: Option<bool>,
    /// `CmaTotal` of `/proc/meminfo` in bytes: memory that is lent until somebody needs it in one piece, as the dump area of an ordinary
    /// boot is.
    pub cma_total: Option<u64>,
    /// The running kernel's release: `6.12.94-fadump`.
    pub release: Option<String>,
    /// The running kernel's command line.
    pub command_line: Option<String>,
}

impl BootFacts {
    /// Reads what is there below `root`; what cannot be read or makes no sense is a finding, and not known.
    pub(crate) fn look(root: &Path, tree: &DeviceTree, findings: &mut Findings) -> Self {
        let mut look = Look { root, tree, findings };
        Self {
            rtas: look.rtas(),
            initrd: look.initrd(),
            has_chosen: tree.has_node("chosen"),
            has_reserved_memory: tree.has_node("reserved-memory"),
            by_kexec: tree.has("chosen/linux,booted-from-kexec"),
            flat_tree: look.flat_tree(),
            page_size: look.page_size(),
            radix: look.text("proc/cpuinfo").as_deref().and_then(radix),
            cma_total: look.text("proc/meminfo").and_then(|text| meminfo::field(&text, "CmaTotal")),
            release: look.line("proc/sys/kernel/osrelease"),
            command_line: look.line("proc/cmdline"),
        }
    }
}

struct Look<'a> {
    root: &'a Path,
    tree: &'a DeviceTree,
    findings: &'a mut Findings,
}

impl Look<'_> {
    fn take<T>(&mut self, result: Result<Option<T>, Error>) -> Option<T> {
        result.unwrap_or_else(|error| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |c| format!(": {c}"));
            self.findings.note(format!("{error}{cause}"));
            None
        })
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let bytes = read_file(&self.root.join(path), MAX_TEXT);
        self.take(bytes).map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    fn line(&mut self, path: &str) -> Option<String> {
        self.text(path).map(|t| t.trim_matches(['\0', '\n', ' ']).to_owned())
    }

    /// A property of one number of 32 or 64 bits.
    fn number(&mut self, path: &str) -> Option<u64> {
        let bytes = self.tree.property(path);
        let bytes = self.take(bytes)?;
        let get = Bytes::big(&bytes);
        match bytes.len() {
            4 => get.u32(0).map(u64::from),
            8 => get.u64(0),
            _ => None,
        }
    }

    /// Both are numbers of 32 bits (`rtas_initialize`): RTAS lies below 4 GiB.
    fn rtas(&mut self) -> Option<Range<PhysAddr>> {
        let mut number = |path| self.number(path).filter(|&n| n <= u32::MAX.into());
        let (base, size) = (number("rtas/linux,rtas-base")?, number("rtas/rtas-size")?);
        Some(Range::new(PhysAddr(base), PhysAddr(base.saturating_add(size)))).filter(|r| !r.is_empty())
    }

    fn initrd(&mut self) -> Option<Range<PhysAddr>> {
        let start = self.number("chosen/linux,initrd-start")?;
        let end = self.number("chosen/linux,initrd-end")?;
        Some(Range::new(PhysAddr(start), PhysAddr(end))).filter(|r| !r.is_empty())
    }

    fn flat_tree(&mut self) -> Option<FlatTree> {
        let bytes = read_file(&self.root.join("sys/firmware/fdt"), MAX_TREE);
        let bytes = self.take(bytes)?;
        self.take(FlatTree::parse(&bytes).map(Some))
    }

    /// Every program's auxiliary vector has it, and the root's own `/proc/self` is as good as any.
    fn page_size(&mut self) -> Option<PageSize> {
        let bytes = read_file(&self.root.join("proc/self/auxv"), MAX_TEXT);
        let bytes = self.take(bytes)?;
        [ByteOrder::Little, ByteOrder::Big].into_iter().find_map(|order| {
            let get = Bytes::new(&bytes, order);
            let entry = (0..bytes.len() / 16).find(|i| get.u64(i * 16) == Some(AT_PAGESZ))?;
            PageSize::new(get.u64(entry * 16 + 8)?)
        })
    }
}

/// The line `MMU : Radix` or `Hash` of `/proc/cpuinfo` (`pSeries_show_cpuinfo`).
fn radix(text: &str) -> Option<bool> {
    let line = text.lines().find_map(|l| l.strip_prefix("MMU")?.trim_start().strip_prefix(':'))?;
    match line.trim() {
        "Radix" => Some(true),
        "Hash" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn look(files: &[(&str, Vec<u8>)]) -> (BootFacts, Findings) {
        let root = root(files);
        let mut findings = Findings::default();
        let tree = DeviceTree::new(root.path().join("proc/device-tree"));
        let facts = BootFacts::look(root.path(), &tree, &mut findings);
        (facts, findings)
    }

    fn range(start: u64, end: u64) -> Option<Range<PhysAddr>> {
        Some(Range::new(PhysAddr(start), PhysAddr(end)))
    }

    #[test]
    fn the_facts_of_a_boot_are_read_from_its_files() {
        let auxv: Vec<u8> = [16u64, 0xdc00, 6, 0x10000, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        let (facts, findings) = look(&[
            ("proc/device-tree/rtas/linux,rtas-base", 0x1fff_0000u32.to_be_bytes().to_vec()),
            ("proc/device-tree/rtas/rtas-size", 0x83cu32.to_be_bytes().to_vec()),
            ("proc/device-tree/chosen/linux,initrd-start", 0x101_0000u64.to_be_bytes().to_vec()),
            ("proc/device-tree/chosen/linux,initrd-end", 0x107_fb60u64.to_be_bytes().to_vec()),
            ("proc/meminfo", b"MemTotal:         754112 kB\nCmaTotal:  327680 kB\n".to_vec()),
            ("proc/cpuinfo", b"processor\t: 0\n\nMMU\t\t: Radix\n".to_vec()),
            ("proc/self/auxv", auxv),
            ("proc/sys/kernel/osrelease", b"6.12.94-fadump\n".to_vec()),
            ("proc/cmdline", b"console=hvc0 fadump=on\n".to_vec()),
        ]);
        assert_eq!(facts.rtas, range(0x1fff_0000, 0x1fff_083c));
        assert_eq!(facts.initrd, range(0x101_0000, 0x107_fb60));
        assert!(facts.has_chosen && !facts.by_kexec);
        assert_eq!((facts.page_size, facts.radix), (Some(PageSize::K64), Some(true)));
        assert_eq!(facts.cma_total, Some(320 << 20));
        assert_eq!(facts.release.as_deref(), Some("6.12.94-fadump"));
        assert_eq!(facts.command_line.as_deref(), Some("console=hvc0 fadump=on"));
        assert!(findings.is_empty());
    }

    #[test]
    fn an_auxiliary_vector_of_either_byte_order_gives_the_page_size() {
        let auxv: Vec<u8> = [6u64, 0x1000, 0, 0].iter().flat_map(|w| w.to_be_bytes()).collect();
        assert_eq!(look(&[("proc/self/auxv", auxv)]).0.page_size, Some(PageSize::K4));
        assert_eq!(look(&[("proc/self/auxv", vec![6; 40])]).0.page_size, None);
    }

    #[test]
    fn nothing_is_known_of_an_empty_root_and_a_broken_tree_is_a_finding() {
        assert_eq!(look(&[]), (BootFacts::default(), Findings::default()));
        let (facts, findings) = look(&[
            ("sys/firmware/fdt", vec![0; 64]),
            ("proc/device-tree/rtas/linux,rtas-base", vec![1, 2, 3]),
            ("proc/cpuinfo", b"MMU : Unheard of\n".to_vec()),
            ("proc/meminfo", b"CmaTotal: 18446744073709551615 kB\n".to_vec()),
        ]);
        assert_eq!(facts, BootFacts::default());
        assert!(findings.mentions("flattened device tree: magic"), "{findings:?}");
    }
}
