//! Values as people type them: sizes, numbers, addresses.

use std::num::{NonZeroU64, NonZeroUsize};
use vmcore::{Machine, PageSize, PhysAddr};

/// A number of bytes with a binary unit, as people type it: `4096`, `4G`, `512MiB`, `64k`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.ok_or_else(|| "expected a number of bytes such as 4096, 64M or 2GiB".into())
}

/// A rate: a number of bytes a second, and not 0.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(size(text)?).ok_or_else(|| "the rate must not be 0".into())
}

/// A number of threads.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a number of threads, at least 1".into())
}

/// The number of a CPU.
pub(crate) fn cpu(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected the number of a CPU, such as 0".into())
}

/// A page size in bytes, with K for KiB.
pub(crate) fn page_size(text: &str) -> Result<PageSize, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1024),
        None => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes.and_then(PageSize::new).ok_or_else(|| "expected a power of two from 4K to 1024K".into())
}

/// A machine as `uname -m` prints it.
pub(crate) fn machine(text: &str) -> Result<Machine, String> {
    Machine::from_name(text).ok_or_else(|| {
        "expected a machine as uname -m prints it: x86_64, aarch64, ppc64le, ppc64, s390x, riscv64, loongarch64, ...".into()
    })
}

/// An address in hexadecimal.
pub(crate) fn address(text: &str) -> Result<PhysAddr, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(PhysAddr)
        .map_err(|_| "expected a hexadecimal address such as 0x10000000".into())
}

/// A range of addresses, `START-END` without END itself.
pub(crate) fn range(text: &str) -> Result<vmcore::Range<PhysAddr>, String> {
    let (start, end) = text.split_once('-').ok_or("expected START-END such as 0x0-0x30000000")?;
    let (start, end) = (address(start)?, address(end)?);
    if start >= end {
        return Err("the end must be above the start".into());
    }
    Ok(vmcore::Range::new(start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_threads_and_cpus_are_numbers_and_a_wrong_one_is_answered_with_what_is_right() {
        assert_eq!(rate("64MiB").map(u64::from), Ok(64 << 20));
        assert!(rate("0").is_err());
        assert_eq!(threads("2").map(usize::from), Ok(2));
        assert!(threads("0").unwrap_err().contains("at least 1"));
        assert_eq!(cpu("7"), Ok(7));
        assert!(cpu("x").unwrap_err().contains("number of a CPU"));
    }

    #[test]
    fn sizes_are_read_with_the_units_that_people_type() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64k", 64 << 10),
            ("4G", 4 << 30),
            ("512MiB", 512 << 20),
            ("1TB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "4 G", "4X", "99999999T", "ü"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_ranges_are_read_as_people_write_them() {
        assert_eq!(page_size("64K"), Ok(PageSize::K64));
        assert_eq!(page_size("4096"), Ok(PageSize::K4));
        assert!(page_size("5000").is_err());
        let both = range("0X1000-2000").unwrap();
        assert_eq!((both.start, both.end), (PhysAddr(0x1000), PhysAddr(0x2000)));
        assert!(range("2000-1000").is_err());
        assert!(range("12").is_err());
    }
}
