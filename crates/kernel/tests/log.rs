//! The kernel logs of real dumps.

mod support;

use corpus::{POWER, POWER_BE, X86_64};
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
    for name in [X86_64, POWER] {
        with_dump(name, |real, dump| {
            let expected = real.text("expected/dmesg.txt");
            assert!(log(dump).0 == expected, "{name}: the log differs from makedumpfile's");
        });
    }
}

/// What the console showed up to the crash is in the log, in the same order. The console leaves out the
/// caller, and messages of the debug level altogether: 26 of them, the device tree's geometry for example.
#[test]
fn a_big_endian_log_holds_what_its_console_showed() {
    with_dump(POWER_BE, |real, dump| {
        let (text, _) = log(dump);
        let console = real.text("console.log");
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
