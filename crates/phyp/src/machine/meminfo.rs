//! `/proc/meminfo`.

/// The field of this name, in bytes, of the file's text.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:         262144 kB\nMemFree:            1024 kB\nMemAvailable: 7 kB\n";
        assert_eq!(field(text, "MemTotal"), Some(256 << 20));
        assert_eq!(field(text, "MemAvailable"), Some(7 << 10));
        assert_eq!(field(text, "Mem"), None);
    }
}
