//! VMCOREINFO: what the kernel wrote about itself for readers of its dump.

use crate::{PageSize, VirtAddr};
use std::collections::BTreeMap;

/// The parsed text of a VMCOREINFO note (kernel: `kernel/vmcore_info.c`, `kernel/crash_core.c` before 6.9).
///
/// Lines of `KEY=value`; the keys of symbols, offsets and so on read `SYMBOL(name)=hex`, `OFFSET(struct.member)=dec`,
/// `SIZE(type)=dec`, `LENGTH(array)=dec`, `NUMBER(name)=dec-or-0xhex`. A key that appears twice keeps its last
/// value, as the kernel appends. What is absent is `None`: no default stands in for a missing key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmcoreInfo {
    text: Vec<u8>,
    values: BTreeMap<String, String>,
}

impl VmcoreInfo {
    /// Parses the note's descriptor; lines without `=` and bytes after a NUL are ignored.
    pub fn parse(desc: &[u8]) -> Self {
        let text = desc.split(|&b| b == 0).next().unwrap_or_default();
        let values = text
            .split(|&b| b == b'\n')
            .filter_map(|line| String::from_utf8_lossy(line).split_once('=').map(own))
            .collect();
        Self { text: text.to_vec(), values }
    }

    /// The text as it was found.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Reports whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a plain key such as `OSRELEASE`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The virtual address of a kernel symbol; `None` also when the kernel wrote 0 for a symbol it lacks.
    pub fn symbol(&self, name: &str) -> Option<VirtAddr> {
        let value = self.get(&format!("SYMBOL({name})"))?;
        u64::from_str_radix(value.trim_start_matches("0x"), 16).ok().filter(|&v| v != 0).map(VirtAddr)
    }

    /// All symbols that the kernel has, with their addresses.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, VirtAddr)> {
        let names = self.values.keys().filter_map(|key| key.strip_prefix("SYMBOL(")?.strip_suffix(')'));
        names.filter_map(|name| Some((name, self.symbol(name)?)))
    }

    /// The offset in bytes of `member`, given as `struct.member`.
    pub fn offset(&self, member: &str) -> Option<u64> {
        self.get(&format!("OFFSET({member})"))?.parse().ok()
    }

    /// The size in bytes of a type.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.get(&format!("SIZE({name})"))?.parse().ok()
    }

    /// The number of elements of an array.
    pub fn length(&self, name: &str) -> Option<u64> {
        self.get(&format!("LENGTH({name})"))?.parse().ok()
    }

    /// A number, sign-extended to 64 bits when it is negative.
    pub fn number(&self, name: &str) -> Option<i64> {
        let value = self.get(&format!("NUMBER({name})"))?;
        match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(|v| v as i64),
            // Some kernels print unsigned longs above i64::MAX in decimal.
            None => value.parse().ok().or_else(|| value.parse::<u64>().ok().map(|v| v as i64)),
        }
    }

    /// The kernel's page size.
    pub fn page_size(&self) -> Option<PageSize> {
        PageSize::new(self.get("PAGESIZE")?.parse().ok()?)
    }

    /// The kernel's release, as `uname -r` prints it.
    pub fn release(&self) -> Option<&str> {
        self.get("OSRELEASE")
    }

    /// The time of the crash in seconds since 1970, absent when the kernel did not crash by its own will.
    pub fn crash_time(&self) -> Option<u64> {
        self.get("CRASHTIME")?.parse().ok()
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"OSRELEASE=6.12.94-fadump\nPAGESIZE=65536\nSYMBOL(_stext)=c000000000000000\n\
        SYMBOL(none)=0\nOFFSET(page.flags)=0\nSIZE(page)=64\nLENGTH(mem_section)=65536\n\
        NUMBER(VMALLOC_START)=0xc008000000000000\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\n\
        NUMBER(KASLR)=18446744073709551615\nCRASHTIME=1795388515\n\0junk=1";

    #[test]
    fn every_kind_of_key_is_read() {
        let info = VmcoreInfo::parse(TEXT);
        assert_eq!(info.release(), Some("6.12.94-fadump"));
        assert_eq!(info.page_size(), Some(PageSize::K64));
        assert_eq!(info.symbol("_stext"), Some(VirtAddr(0xc000_0000_0000_0000)));
        assert_eq!(info.symbol("none"), None);
        assert!(info.symbols().eq([("_stext", VirtAddr(0xc000_0000_0000_0000))]));
        assert_eq!(info.offset("page.flags"), Some(0));
        assert_eq!(info.size("page"), Some(64));
        assert_eq!(info.length("mem_section"), Some(65536));
        assert_eq!(info.number("VMALLOC_START"), Some(0xc008_0000_0000_0000_u64 as i64));
        assert_eq!(info.number("PAGE_BUDDY_MAPCOUNT_VALUE"), Some(-129));
        assert_eq!(info.number("KASLR"), Some(-1));
        assert_eq!(info.crash_time(), Some(1_795_388_515));
        assert_eq!(info.get("junk"), None);
        assert_eq!(info.offset("page.absent"), None);
    }
}
