//! How large the output will be, as it is told before it is written, of real dumps.

mod common;

use common::run::{HADUMP, Run, Scratch, convert};
use common::saving::json;
use std::fs;
use std::process::Command;

const CASES: [(&str, &str); 3] = [("31", "zstd"), ("31", "none"), ("0", "zlib")];

fn dumps() -> impl Iterator<Item = corpus::Dump> {
    corpus::NAMES.into_iter().chain(corpus::DEBIAN).filter_map(corpus::dump)
}

/// A sample of a thousand pages tells it to a tenth.
#[test]
fn the_estimate_of_a_save_is_within_a_tenth_and_the_most_is_never_exceeded() {
    for dump in dumps() {
        let root = Scratch::new("root");
        fs::create_dir_all(root.path().join("proc")).unwrap();
        std::os::unix::fs::symlink(&dump.elf, root.path().join("proc/vmcore")).unwrap();
        for (level, method) in CASES {
            let target = Scratch::new("vmcore");
            let mut command = Command::new(HADUMP);
            command.args(["save", "-q", "--json", "-d", level, "-c", method, "--root"]).arg(root.path());
            let report = json(&Run::of(command.arg("--to").arg(target.path())));
            let [bytes, most] =
                ["bytes", "at_most_bytes"].map(|key| report["estimate"][key].as_u64().unwrap());
            let real = fs::metadata(target.path()).unwrap().len();
            let what = format!("{} at level {level} with {method}", dump.elf.display());
            assert!(bytes.abs_diff(real) <= real / 10, "{what}: {bytes} for {real}");
            assert!(real <= most, "{what}: {real}, at most {most}");
        }
    }
}

/// A dry run does all but write.
#[test]
fn a_dry_run_of_a_conversion_tells_the_exact_size() {
    for dump in dumps() {
        for (level, method) in CASES {
            let mut command = Command::new(HADUMP);
            command.args(["convert", "--dry-run", "-q", "--json", "-d", level, "-c", method]);
            let told = json(&Run::of(command.arg(&dump.elf)));
            let target = Scratch::new("vmcore");
            convert(&dump.elf, target.path(), &["-q", "-d", level, "-c", method]);
            let real = fs::metadata(target.path()).unwrap().len();
            assert_eq!(told["output"]["bytes"], real, "{} {level} {method}", dump.elf.display());
        }
    }
}
