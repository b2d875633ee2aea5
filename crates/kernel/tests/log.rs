//! The kernel logs of real dumps.

mod support;

use kernel::Kernel;
use kernel::log::{LogFormat, LogSummary, read_log};
use support::with_dump;
use vmcore::Dump;

/// The log of a dump in which nothing is wrong.
fn log(dump: &Dump) -> (String, LogSummary) {
    let mut out = Vec::new();
    let summary = read_log(&Kernel::open(dump).unwrap(), &mut out).unwrap();
    assert_eq!(summary.format, LogFormat::Ring);
    assert_eq!((summary.skipped, summary.remarks.as_slice()), (0, &[][..]));
    let text = String::from_utf8(out).unwrap();
    assert_eq!(summary.records, text.lines().filter(|l| l.starts_with('[')).count() as u64);
    (text, summary)
}

#[test]
fn logs_equal_makedumpfiles_byte_for_byte() {
    for name in ["x86_64-kdump-6.1", "power9-fadump-radix-64k"] {
        with_dump(name, |dir, dump| {
            let expected = std::fs::read_to_string(dir.join("expected/dmesg.txt")).unwrap();
            assert!(log(dump).0 == expected, "{name}: the log differs from makedumpfile's");
        });
    }
}

/// What the console showed up to the crash stands in the log, in the same order. The console leaves out the
/// caller, and messages of the debug level altogether: 26 of them, the device tree's geometry for example.
#[test]
fn a_big_endian_log_holds_what_its_console_showed() {
    with_dump("ppc64be-fadump-hash-4k", |dir, dump| {
        let (text, _) = log(dump);
        let bytes = std::fs::read(dir.join("console.log")).unwrap();
        let console = String::from_utf8_lossy(&bytes);
        // The first line comes while the firmware's text is still being printed.
        let booted = console.find("[    0.000000] random").unwrap();
        let crashed = console.find("--- interrupt: c00\n").unwrap() + "--- interrupt: c00".len();
        let shown = console[booted..crashed].lines().filter(|line| line.starts_with("[ "));
        let mut time = "";
        let mut logged = text.lines().map(|line| {
            time = if line.starts_with('[') { &line[..15] } else { time };
            format!("{time}{}", &line[26..]).trim_end().to_owned()
        });
        let mut count = 0;
        for line in shown.map(str::trim_end) {
            assert!(logged.any(|l| l == line), "not in the log, or not in its order: {line}");
            count += 1;
        }
        assert_eq!(logged.next(), None);
        assert_eq!(text.lines().count(), count + 26);
    });
}
