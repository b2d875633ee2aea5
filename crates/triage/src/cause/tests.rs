//! Logs of crashes in the kernel's own formats: `tests/logs/NAME.txt`, each with what is expected of it in front.

use super::*;
use crate::log::tests::entries;
use proptest::prelude::*;
use std::path::Path;
use std::time::{Duration, Instant};

/// A file of `tests/logs`: lines `key: value`, a line `---`, and the log.
struct Logged {
    name: String,
    expected: Vec<(String, String)>,
    text: String,
}

fn logs() -> Vec<Logged> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let (head, text) = text.split_once("---\n").unwrap();
            let expected = head
                .lines()
                .map(|line| line.split_once(':').unwrap())
                .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
                .collect();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Logged { name, expected, text: text.to_owned() }
        })
        .collect();
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    logs
}

/// `facts:` names what the dump knows: `none`, `time`, `cpu=3`, `cpu=none`, `task=7 sh`. By default the time.
fn facts(logged: &Logged) -> Facts {
    let Some((_, text)) = logged.expected.iter().find(|(key, _)| key == "facts") else {
        return Facts { crash_time: true, ..Facts::default() };
    };
    let mut facts = Facts::default();
    for fact in text.split(", ") {
        match fact.split_once('=') {
            None => facts.crash_time |= fact == "time",
            Some(("cpu", number)) => facts.panic_cpu = Some(number.parse().ok()),
            Some(("task", task)) => {
                let (pid, comm) = task.split_once(' ').unwrap();
                facts.task = Some((pid.parse().unwrap(), comm.to_owned()));
            }
            Some(_) => panic!("{}: {fact}", logged.name),
        }
    }
    facts
}

/// What was found, by the keys of the files.
fn told(cause: &Cause, key: &str) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    match key {
        "kind" => cause.kind.name().to_owned(),
        "at" => text(&cause.at),
        "address" => cause.address.map_or_else(|| "-".to_owned(), |address| format!("{address:#x}")),
        "cpu" => number(cause.cpu),
        "pid" => number(cause.pid),
        "comm" => text(&cause.comm),
        "panic" => text(&cause.panic),
        "frames" => cause.call_trace.len().to_string(),
        "summary" => cause.summary.clone(),
        "signature" => {
            crate::signature::find(cause, &[]).map_or_else(|| "-".to_owned(), |s| s.parts[2..].join(" "))
        }
        _ => panic!("{key}"),
    }
}

#[test]
fn each_log_yields_the_cause_that_is_noted_with_it() {
    let logs = logs();
    assert!(logs.len() >= 40, "{}", logs.len());
    let mut wrong = Vec::new();
    for logged in &logs {
        let found = find(&entries(&logged.text), &facts(logged));
        assert!(logged.expected.iter().any(|(key, _)| key == "kind"), "{}", logged.name);
        for (key, value) in logged.expected.iter().filter(|(key, _)| key != "facts") {
            let told = told(&found.cause, key);
            if told != *value {
                wrong.push(format!("{}: {key} is {told:?}, expected {value:?}", logged.name));
            }
        }
        if found.cause.kind != Kind::NoCrash && found.cause.kind != Kind::Unknown {
            assert!(!found.cause.lines.is_empty(), "{}", logged.name);
            assert!(found.cause.lines.len() <= MAX_LINES);
        }
        let user: Vec<_> = logged.text.lines().filter(|l| l.starts_with("<12>")).map(|l| &l[4..]).collect();
        assert!(!found.cause.lines.iter().any(|line| user.contains(&line.as_str())), "{}", logged.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const KINDS: [Kind; 21] = [
    Kind::NoCrash,
    Kind::Unknown,
    Kind::NullPointer,
    Kind::BadAccess,
    Kind::Bug,
    Kind::GeneralProtection,
    Kind::Trap,
    Kind::MachineCheck,
    Kind::Panic,
    Kind::HardLockup,
    Kind::SoftLockup,
    Kind::HungTask,
    Kind::RcuStall,
    Kind::OutOfMemory,
    Kind::Watchdog,
    Kind::SysRq,
    Kind::InitDied,
    Kind::Boot,
    Kind::Firmware,
    Kind::StackCorruption,
    Kind::Corruption,
];

#[test]
fn every_kind_has_a_log() {
    let logs = logs();
    for kind in KINDS {
        let has = |logged: &Logged| logged.expected.contains(&("kind".into(), kind.name().into()));
        assert!(logs.iter().any(has), "{}", kind.name());
    }
}

/// The same words as programs write them to `/dev/kmsg`.
#[test]
fn what_programs_write_is_never_a_cause() {
    for logged in logs() {
        let text: String = logged
            .text
            .lines()
            .map(|line| match line.split_once('>') {
                Some((number, rest)) if number.starts_with('<') && number.len() <= 4 => {
                    format!("<12>{rest}\n")
                }
                _ => format!("<12>{line}\n"),
            })
            .collect();
        let found = find(&entries(&text), &Facts::default());
        assert_eq!((found.cause.kind, found.cause.lines.len()), (Kind::NoCrash, 0), "{}", logged.name);
        let found = find(&entries(&text), &Facts { crash_time: true, ..Facts::default() });
        assert_eq!(found.cause.kind, Kind::Unknown, "{}", logged.name);
    }
}

#[test]
fn the_names_of_machinery_are_sorted() {
    assert!(machinery::names().is_sorted());
}

#[test]
fn without_a_log_the_dump_may_still_know_of_a_crash() {
    let time = Facts { crash_time: true, ..Facts::default() };
    let cpu = Facts { panic_cpu: Some(Some(3)), task: Some((7, "sh".into())), ..Facts::default() };
    let none = Facts { panic_cpu: Some(None), ..Facts::default() };
    for (facts, kind, words) in [
        (time, Kind::Unknown, "The kernel crashed, and its log cannot be read."),
        (cpu, Kind::Unknown, "The kernel crashed, and its log cannot be read, task sh (pid 7), on CPU 3."),
        (none, Kind::NoCrash, "Nothing says that the kernel crashed: it was dumped while it ran."),
        (
            Facts::default(),
            Kind::Unknown,
            "Whether the kernel crashed is not known, for its log cannot be read.",
        ),
    ] {
        let cause = without_log(&facts);
        assert_eq!((cause.kind, cause.summary.as_str()), (kind, words));
    }
}

/// Others compute signatures by the page.
#[test]
fn the_documentation_lists_all_machinery_and_every_kind() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, list) = page.split_once("The machinery:\n").unwrap();
    let listed: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed[..machinery::names().len()], *machinery::names());
    for kind in KINDS {
        assert!(page.contains(&format!("`{}`", kind.name())), "{kind:?}");
    }
}

fn at_once(text: &str) {
    let entries = entries(text);
    let begin = Instant::now();
    let found = find(&entries, &Facts { crash_time: true, ..Facts::default() });
    assert!(found.cause.lines.len() <= MAX_LINES);
    let _ = (crate::signature::find(&found.cause, &[]), entries.show(50, &found.entries));
    assert!(begin.elapsed() < Duration::from_secs(20), "{} bytes took {:?}", text.len(), begin.elapsed());
}

#[test]
fn logs_made_to_take_long_do_not() {
    let oops =
        "BUG: kernel NULL pointer dereference, address: 0000000000000000\nOops: 0000 [#1] SMP\nCall Trace:\n";
    at_once(&oops.repeat(20_000));
    at_once(&"INFO: task a:1 blocked for more than 1 seconds.\n".repeat(60_000));
    at_once(&format!("[{}", "[<ffffffff81234567>]".repeat(200_000)));
    at_once(&format!("RIP: 0010:{}", "a+0x".repeat(500_000)));
    at_once(&format!("CPU: 0 PID: 1 Comm: {}", " Not tainted".repeat(300_000)));
    let callers: String = (0..60_000).map(|i| format!("[    1.0] [T{i:7}] Oops: 0000 [#1]\n")).collect();
    at_once(&callers);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Pieces of all logs in any order, cut and glued anywhere.
    #[test]
    fn any_text_ends_in_a_cause(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..60), 0..60),
        noise in "[ -~\n]{0,200}", time: bool, cpu in prop::option::of(prop::option::of(0u32..4)),
    ) {
        let lines: Vec<String> = logs().into_iter().flat_map(|l| l.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let mut text = noise;
        for (line, other, cut) in cuts {
            let (line, other) = (line.get(&lines), other.get(&lines));
            let cut = line.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(line.len());
            text += &line[..cut];
            text += other;
            text.push('\n');
        }
        let entries = entries(&text);
        let found = find(&entries, &Facts { crash_time: time, panic_cpu: cpu, task: None });
        prop_assert!(found.cause.lines.len() <= MAX_LINES && !found.cause.summary.is_empty());
        let _ = crate::signature::find(&found.cause, &[]);
    }
}
