//! What the kernel's command line asks of fadump.

use std::iter;

/// What `crashkernel=` asks for on a machine of `ram` bytes, in bytes: the last one that names no `high` or `low`
/// memory, a size or a list of sizes by the amount of memory (`__parse_crashkernel`). `None` when there is none, or
/// none that the kernel understands, or it comes to zero.
pub(super) fn crashkernel(command_line: &str, ram: u64) -> Option<u64> {
    const OTHER: [&str; 3] = [",high", ",low", ",cma"];
    let mut words = command_line.split_ascii_whitespace().filter_map(|w| w.strip_prefix("crashkernel="));
    let value = words.rfind(|value| !OTHER.iter().any(|suffix| value.ends_with(suffix)))?;
    let value = value.split('@').next().unwrap_or_default();
    let size = if value.contains(':') { by_memory(value, ram)? } else { size(value)?.0 };
    Some(size).filter(|&size| size > 0)
}

/// `START-[END]:SIZE,...`: the size of the first range that holds `ram`, which the kernel rounds up to 128 MiB.
fn by_memory(list: &str, ram: u64) -> Option<u64> {
    let ram = ram.checked_next_multiple_of(128 << 20)?;
    for entry in list.split(',') {
        let (range, wanted) = entry.split_once(':')?;
        let (start, end) = range.split_once('-')?;
        let end = if end.is_empty() { u64::MAX } else { size(end)?.0 };
        if (size(start)?.0..end).contains(&ram) {
            return Some(size(wanted)?.0);
        }
    }
    None
}

/// A number in decimal, octal or hexadecimal with a suffix from K to E, and what follows it (`memparse`).
fn size(text: &str) -> Option<(u64, &str)> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let len = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let number = u64::from_str_radix(&digits[..len], radix).ok()?;
    let rest = &digits[len..];
    let suffix = rest.chars().next().map(|c| c.to_ascii_uppercase());
    let shift = iter::zip("KMGTPE".chars(), (10..).step_by(10)).find(|(c, _)| Some(*c) == suffix);
    match shift {
        Some((_, shift)) => Some((number.checked_mul(1 << shift)?, &rest[1..])),
        None => Some((number, rest)),
    }
}

/// Reports whether fadump is asked for.
pub(super) fn wants_fadump(command_line: &str) -> bool {
    let mut values = command_line.split_ascii_whitespace().filter_map(|w| w.strip_prefix("fadump="));
    let last = values.next_back().unwrap_or_default();
    last.starts_with("on") || last.starts_with("nocma")
}

/// Reports whether the dump area is not to be lent to programs.
pub(super) fn no_cma(command_line: &str) -> bool {
    command_line.split_ascii_whitespace().any(|w| w.starts_with("fadump=nocma"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_crashkernel_is_read_as_the_kernel_reads_it() {
        let asked = |text: &str| crashkernel(text, 4096 * MIB).map(|size| size / MIB);
        assert_eq!(asked("fadump=on crashkernel=832M quiet"), Some(832));
        assert_eq!(asked("crashkernel=0x30000000@32M"), Some(768));
        assert_eq!(asked("crashkernel=1g crashkernel=512M crashkernel=64M,high"), Some(512));
        assert_eq!(asked("crashkernel=2G-4G:384M,4G-16G:512M@16M,16G-:1G"), Some(512));
        assert_eq!(asked("crashkernel=8G-:1G"), None);
        assert_eq!(asked("crashkernel=0"), None);
        assert_eq!(asked("crashkernel=some"), None);
        assert_eq!(asked("quiet"), None);
        assert_eq!(crashkernel("crashkernel=4G-:512M", 4090 * MIB), Some(512 * MIB));
    }

    #[test]
    fn fadump_is_wanted_with_or_without_lending() {
        assert!(wants_fadump("fadump=on") && !no_cma("fadump=on"));
        assert!(wants_fadump("quiet fadump=nocma") && no_cma("quiet fadump=nocma"));
        assert!(!wants_fadump("fadump=on fadump=off") && !wants_fadump(""));
    }

    proptest! {
        #[test]
        fn no_command_line_makes_it_panic(text in "crashkernel=[0-9KMGE:,x@é-]{0,24}", ram: u64) {
            let _ = crashkernel(&text, ram);
        }
    }
}
