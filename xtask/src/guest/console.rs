//! What a console shows of a kernel that is not well.

/// What a healthy kernel never prints.
const FAULTS: [&str; 9] = [
    "Oops",
    "BUG:",
    "kernel BUG at",
    "Bad page state",
    "Bad page map",
    "Unable to handle kernel",
    "Kernel panic - not syncing",
    "list_add corruption",
    "list_del corruption",
];
/// The panic that scenarios ask for.
const WANTED: &str = "Kernel panic - not syncing: sysrq triggered crash";

/// Whether a line of a console shows a kernel's fault.
pub(crate) fn is_fault(line: &str) -> bool {
    FAULTS.iter().any(|fault| line.contains(fault)) && !line.contains(WANTED)
}

/// The lines of a console's log that show a kernel's fault.
pub(crate) fn faults(log: &[u8]) -> Vec<String> {
    let log = String::from_utf8_lossy(log);
    log.lines()
        .filter(|line| is_fault(line))
        .map(|line| format!("the kernel says: {}", line.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_is_a_fault_and_the_crash_that_was_asked_for_is_none() {
        let log = b"[    6.1] sysrq: Trigger a crash\r\n[    6.2] Kernel panic - not syncing: sysrq triggered crash\r\n";
        assert!(faults(log).is_empty());
        let log = b"[   71.3] Oops: Kernel access of bad area, sig: 11 [#1]\r\nmore\r\n";
        assert_eq!(faults(log), ["the kernel says: [   71.3] Oops: Kernel access of bad area, sig: 11 [#1]"]);
    }
}
