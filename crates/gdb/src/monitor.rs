//! What `monitor` does in gdb: the log, the report, physical memory.

use crate::{Host, Target, packet};
use kernel::log::read_log;
use std::fmt::Write as _;
use vmcore::{PageState, PhysAddr};

/// The most bytes of physical memory that one command shows.
const MOST: u64 = 64 << 10;
/// Those that it shows unless told.
const USUAL: u64 = 256;

const HELP: &str = "\
dmesg              the kernel's log
report             why the machine crashed, as `hadump report` says it
phys ADDRESS [LENGTH]
                   physical memory, 256 bytes unless LENGTH says otherwise; numbers are decimal, or hexadecimal after 0x
help               this list
";

/// Runs a command; the text that it prints, not yet safe for a terminal.
pub(crate) fn run(target: &Target<'_>, host: &dyn Host, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        [] | ["help"] => HELP.to_owned(),
        ["dmesg"] => dmesg(target),
        ["report"] => host.report(),
        ["phys", addr] => phys(target, addr, None),
        ["phys", addr, len] => phys(target, addr, Some(len)),
        ["phys", ..] => "expected: monitor phys ADDRESS [LENGTH]\n".to_owned(),
        [first, ..] => format!("no such command: {first}; `monitor help` lists them\n"),
    }
}

fn dmesg(target: &Target<'_>) -> String {
    let mut text = Vec::new();
    let remarks = match read_log(target.memory, &mut text) {
        Ok(summary) => summary.remarks,
        Err(error) => vec![format!("the log cannot be read: {error}")],
    };
    let mut text = String::from_utf8_lossy(&text).into_owned();
    for remark in remarks {
        let _ = writeln!(text, "{remark}");
    }
    text
}

/// A number as gdb's users write it.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => packet::number(digits.as_bytes()),
        None => text.parse().ok(),
    }
}

/// Physical memory, 16 bytes a line.
fn phys(target: &Target<'_>, addr: &str, len: Option<&str>) -> String {
    let Some(first) = number(addr) else { return format!("{addr}: expected an address, such as 0x1000\n") };
    let Some(len) = len.map_or(Some(USUAL), number).filter(|len| (1..=MOST).contains(len)) else {
        return format!("expected a length from 1 to {MOST}\n");
    };
    let Some(end) = first.checked_add(len) else { return format!("{addr}: beyond all memory\n") };
    let mut text = String::new();
    let mut at = first;
    let page = target.physical.map().page_size().bytes();
    while at < end {
        // A page is known or not as a whole.
        let mut bytes = vec![0; (end - at).min(page - at % page) as usize];
        let state = target.physical.read(PhysAddr(at), &mut bytes);
        let why = match state {
            Ok(PageState::Present | PageState::Zero) => None,
            Ok(PageState::Excluded) => Some("an earlier filter left the page out".to_owned()),
            Ok(PageState::Lost) => Some("the page is lost".to_owned()),
            Ok(PageState::Absent) => Some("there is no memory".to_owned()),
            Err(error) => Some(format!("cannot be read: {error}")),
        };
        match why {
            Some(why) => {
                let _ = writeln!(text, "{at:#x}: {why}");
            }
            None => lines(&mut text, at, &bytes),
        }
        at += bytes.len() as u64;
    }
    text
}

fn lines(text: &mut String, first: u64, bytes: &[u8]) {
    for (n, line) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = line.iter().map(|&byte| match byte {
            0x20..0x7f => char::from(byte),
            _ => '.',
        });
        let at = first + 16 * n as u64;
        let _ = writeln!(text, "{at:#x}: {:47}  {}", digits.join(" "), shown.collect::<String>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        let read = ["10", "0x10", "0X1f", "ffff", "-1", "0x", ""].map(number);
        assert_eq!(read, [Some(10), Some(16), Some(31), None, None, None, None]);
    }
}
