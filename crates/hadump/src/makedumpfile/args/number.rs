//! Numbers as makedumpfile reads them.

use std::ffi::OsStr;

/// The number at the start of `text`, as `atoi` reads it, and whether that is all of `text`.
pub(super) fn atoi(text: &str) -> (i64, bool) {
    let trimmed = text.trim();
    let end = trimmed
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || at == 0 && matches!(c, '-' | '+')))
        .map_or(trimmed.len(), |(at, _)| at);
    let number = trimmed[..end].parse().unwrap_or(0);
    (number, end > 0 && end == trimmed.len())
}

/// A number of bytes with a suffix K, M, G, T, P or E.
pub(super) fn parse_size(value: &OsStr) -> Option<u64> {
    let text = value.to_str()?;
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        (at, 'p' | 'P') => (&text[..at], 50),
        (at, 'e' | 'E') if !text.starts_with("0x") => (&text[..at], 60),
        _ => (text, 0),
    };
    parse_address(digits)?.checked_mul(1 << shift)
}

/// An address of the kernel: as [`parse_address`], or in hexadecimal without `0x` where it has letters.
pub(super) fn parse_virtual_address(text: &str) -> Option<u64> {
    let lettered = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    parse_address(text).or_else(|| lettered.then(|| u64::from_str_radix(text, 16).ok())?)
}

/// A number in decimal, hexadecimal with `0x` or octal with `0`, as `strtoul` reads it.
pub(super) fn parse_address(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}
