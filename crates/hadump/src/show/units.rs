//! Sizes and times as people read them.

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
}
