//! `hadump report` of real dumps.

mod common;

use common::run::{self, Run, Scratch};
use corpus::Dump;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// All dumps of the corpus that are there.
fn dumps() -> impl Iterator<Item = Dump> {
    corpus::NAMES.into_iter().chain(corpus::DEBIAN).filter_map(corpus::dump)
}

fn report(dump: &Path, options: &[&str]) -> Run {
    run::hadump([Path::new("report"), dump].into_iter().chain(options.iter().map(Path::new)))
}

#[test]
fn every_dump_has_a_report_of_two_screens() {
    for dump in dumps() {
        let text = report(&dump.elf, &[]).ok().stdout;
        assert!(text.lines().count() <= 120, "{}: {} lines\n{text}", dump.name, text.lines().count());
        for section in ["What happened", "Machine"] {
            assert!(text.lines().any(|line| line == section), "{}: no {section}\n{text}", dump.name);
        }
        assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{}", dump.name);
    }
}

#[test]
fn every_dump_has_a_report_as_json_that_tells_what_the_text_tells() {
    for dump in dumps() {
        let text = report(&dump.elf, &["--json", "--tasks", "all"]).ok().stdout;
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["dump"]["complete"], true, "{}", dump.name);
        assert_eq!(value["exit_code"], 0);
        let kind = value["cause"]["kind"].as_str().unwrap();
        // QEMU wrote that one while the machine ran.
        let expected = if dump.name == corpus::S390X { "no_crash" } else { "sysrq" };
        assert_eq!(kind, expected, "{}", dump.name);
    }
}

#[test]
fn every_dump_has_a_page_that_runs_nothing_and_fetches_nothing() {
    for dump in dumps() {
        let page = Scratch::new("page.html");
        let file = page.path().to_str().unwrap();
        report(&dump.elf, &["--html", file]).ok();
        let text = fs::read_to_string(page.path()).unwrap();
        assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>\n"), "{}", dump.name);
        for forbidden in ["<script", "http://", "https://", "url(", "@import", "javascript:"] {
            let style_and_rest = text.replace("http-equiv", "");
            let in_markup = style_and_rest.split("<pre").next().unwrap();
            assert!(!in_markup.contains(forbidden), "{}: {forbidden}", dump.name);
        }
        assert!(text.contains("<h2>What happened</h2>") && text.contains("<svg"), "{}", dump.name);
        let again = report(&dump.elf, &["--html", file]);
        assert_eq!(again.code, Some(1), "{}: a file is replaced", dump.name);
        assert!(again.stderr.contains("--force"), "{}", again.stderr);
        report(&dump.elf, &["--html", file, "--force"]).ok();
    }
}

#[test]
fn a_page_never_takes_the_place_of_the_dump() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let copy = Scratch::new("vmcore");
    dump.copy_elf(copy.path());
    let run = report(copy.path(), &["--force", "--html", copy.path().to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("this is the input"), "{}", run.stderr);
}

#[test]
fn a_report_of_a_dump_that_is_cut_is_made_and_ends_with_4() {
    let Some(dump) = corpus::dump(corpus::POWER) else { return };
    let copy = Scratch::new("vmcore");
    dump.copy_elf(copy.path());
    let file = fs::File::options().write(true).open(copy.path()).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len - len / 8).unwrap();
    let run = report(copy.path(), &[]);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stdout.contains("INCOMPLETE"), "{}", run.stdout);
}

#[test]
fn what_is_no_dump_has_no_report() {
    let file = Scratch::new("text");
    fs::write(file.path(), "no dump at all\n").unwrap();
    let run = report(file.path(), &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
}
