//! Sizes and times as people read them.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

/// A number of bytes with a binary unit and three digits or so: `11.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} bytes"),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A time span: `0.32 s`, `12 s`, `3 min 05 s`.
pub(crate) fn time(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        let whole = span.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// A share of a whole: `2.7 %`; of nothing, 0.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 })
}

/// How much memory there is: `448 MiB in 7167 pages of 64 KiB, 1 only in part`.
pub(crate) fn memory(count: u64, pages: u64, page_size: u64, partial: u64) -> String {
    let partial = match partial {
        0 => String::new(),
        n => format!(", {n} only in part"),
    };
    format!("{} in {pages} pages of {} KiB{partial}", bytes(count), page_size >> 10)
}

/// A number of bytes with a binary unit, as people type it: `4096`, `4G`, `512MiB`, `64k`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
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
pub(crate) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse_size(text)?).ok_or_else(|| "the rate must not be 0".into())
}

/// A number of threads.
pub(crate) fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a number of threads, at least 1".into())
}

/// The number of a CPU.
pub(crate) fn parse_cpu(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected the number of a CPU, such as 0".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_fit_a_glance() {
        assert_eq!(bytes(512), "512 bytes");
        assert_eq!(bytes(11_904_036), "11.4 MiB");
        assert_eq!(bytes(805_306_368), "768 MiB");
        assert_eq!(time(Duration::from_millis(320)), "0.32 s");
        assert_eq!(time(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }

    #[test]
    fn rates_threads_and_cpus_are_numbers_and_a_wrong_one_is_answered_with_what_is_right() {
        assert_eq!(parse_rate("64MiB").map(u64::from), Ok(64 << 20));
        assert!(parse_rate("0").is_err());
        assert_eq!(parse_threads("2").map(usize::from), Ok(2));
        assert!(parse_threads("0").unwrap_err().contains("at least 1"));
        assert_eq!(parse_cpu("7"), Ok(7));
        assert!(parse_cpu("x").unwrap_err().contains("number of a CPU"));
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
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "4 G", "4X", "99999999T", "ü"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
