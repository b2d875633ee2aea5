//! README and docs against the program: every recipe is run as it stands, in a place that has what it names.

mod common;

use common::makedumpfile::OURS;
use common::report_skipped;
use common::run::{HADUMP, Run, Scratch, convert};
use corpus::Dump;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The documents for users.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![top().join("README.md"), top().join("dist/README.md")];
    let docs = fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(docs.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    documents.sort();
    documents
}

/// The indented blocks of a document.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks = vec![Vec::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(code) => blocks.last_mut().unwrap().push(code),
            None if line.is_empty() => {}
            None => blocks.push(Vec::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// A line of a block as a command of hadump's, without its prompt.
fn command(line: &str) -> Option<&str> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let ours = ["hadump ", "./makedumpfile ", "mkfifo ", "ln -s ", "for part in "];
    ours.iter().any(|start| line.starts_with(start)).then_some(line)
}

/// A command of a document, and what the document says of its run.
struct Example<'a> {
    line: &'a str,
    /// What is printed; nothing where the document shows only the command.
    printed: Vec<&'a str>,
    code: i32,
}

/// The commands of a block. What follows a line with a prompt is what it prints; `echo $?` shows its exit code.
fn examples<'a>(block: &[&'a str]) -> Vec<Example<'a>> {
    let mut examples: Vec<Example<'_>> = Vec::new();
    let (mut prompted, mut code_is_next) = (false, false);
    for line in block {
        if *line == "$ echo $?" {
            code_is_next = true;
        } else if code_is_next {
            code_is_next = false;
            examples.last_mut().expect("a command before").code = line.parse().expect("an exit code");
            prompted = false;
        } else if let Some(command) = command(line) {
            prompted = line.starts_with("$ ");
            examples.push(Example { line: command, printed: Vec::new(), code: 0 });
        } else if prompted {
            examples.last_mut().unwrap().printed.push(line);
        }
    }
    examples
}

impl Example<'_> {
    /// Whether a run ended as the document says, and printed what has the shape of what is shown.
    fn judge(&self, run: &Run) -> Result<(), String> {
        let printed = self.printed.join("\n");
        let differs = if run.code != Some(self.code) {
            format!("it ends with {:?} instead of {}", run.code, self.code)
        } else if !self.printed.is_empty() && shape(&run.stdout) != shape(&printed) {
            format!("it does not print what has the shape of\n{printed}")
        } else {
            return Ok(());
        };
        Err(format!("$ {}\n{}{}{differs}", self.line, run.stdout, run.stderr))
    }
}

/// The lines of a text with numbers, sizes, dates, addresses and paths masked. Columns may have any width.
fn shape(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // What a terminal shows of a line that is written over itself.
        let line = line.rsplit('\r').find(|line| !line.is_empty()).unwrap_or_default();
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace().map(masked) {
            let unit = word.trim_end_matches([',', ';', '.', ':', ')']);
            match words.last_mut() {
                Some(number)
                    if number.ends_with('#') && matches!(unit, "B" | "bytes" | "KiB" | "MiB" | "GiB") =>
                {
                    *number = format!("{}SIZE{}", number.trim_end_matches('#'), &word[unit.len()..]);
                }
                _ => words.push(word),
            }
        }
        lines.push(words.join(" "));
    }
    lines
}

/// A word without what differs from run to run.
fn masked(word: &str) -> String {
    if ["|", "/", "-", "\\"].contains(&word) {
        return "WHEEL".to_owned();
    }
    let core = word.trim_end_matches([',', ';', '.', ':', ')']);
    let end = &word[core.len()..];
    if core.contains('/') {
        return format!("PATH{end}");
    }
    let digits = core.strip_prefix("0x").unwrap_or(core);
    if (core.starts_with("0x") || digits.len() >= 8) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return format!("HEX{end}");
    }
    let mut masked = String::new();
    for c in core.chars() {
        match c {
            '0'..='9' | '.' | ',' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            c => masked.push(c),
        }
    }
    masked + end
}

/// Recipes that cannot be run here, and why.
const NOT_RUN: [(&str, &str); 7] = [
    ("--record-registration", "it needs a machine that is registered; save_space.rs has one"),
    ("/dev/sdb1", "it needs a disk; save_space.rs saves to one"),
    ("ln -s ", "it installs; the link is in the place that recipes are run in"),
    ("aws s3", "it needs object storage"),
    ("hadump mount", "it needs FUSE; mount.rs mounts"),
    ("fusermount", "it ends what was mounted"),
    ("age -d", "it needs age; sealed.rs runs it"),
];

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

/// A place with a machine after its crash, files of all kinds, and programs.
struct Place {
    scratch: Scratch,
    dump: Dump,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new("work");
        let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
        let at = |name: &str| scratch.directory().join(name);
        fs::create_dir(at("work")).unwrap();
        fs::create_dir_all(at("var/crash")).unwrap();
        fs::create_dir_all(at("root/.ssh")).unwrap();
        fs::write(at("root/.ssh/id_ed25519.pub"), RECIPIENT).unwrap();
        for disk in ["disk1", "disk2", "bin"] {
            fs::create_dir(at(disk)).unwrap();
        }
        // The machine: its memory, and the second kernel's view of it.
        for directory in ["machine/proc/device-tree/rtas", "machine/dev"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        symlink(dump.kernel_dump(), at("machine/proc/device-tree/rtas/ibm,kernel-dump")).unwrap();
        symlink(dump.memory(), at("machine/dev/mem")).unwrap();
        symlink(&dump.elf, at("machine/proc/vmcore")).unwrap();
        // The one of `cargo xtask demo`, whose second kernel offers no /proc/vmcore.
        fs::create_dir_all(at("demo/machine/proc")).unwrap();
        symlink(at("machine/proc/device-tree"), at("demo/machine/proc/device-tree")).unwrap();
        symlink(at("machine/dev"), at("demo/machine/dev")).unwrap();
        // The machine's own root is `/` for the commands that take none.
        let machine = at("machine").display().to_string();
        for (name, script) in [
            (
                "hadump",
                format!(
                    "case $1 in save|status) c=$1; shift; exec {HADUMP} $c --root {machine} \"$@\";; esac; exec {HADUMP} \"$@\""
                ),
            ),
            ("ssh", "shift; exec sh -c \"$*\"".to_owned()),
        ] {
            fs::write(at("bin").join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { scratch, dump }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.directory().join(name)
    }

    /// The recipe with the paths of this place.
    fn adapted(&self, line: &str) -> String {
        let mut line =
            line.replace("HOST-DATE", "*").replace("age1...", RECIPIENT).replace("age1qw4...", RECIPIENT);
        for (path, place) in [
            ("/var/crash", "var/crash"),
            ("/root/", "root/"),
            ("/disk1/", "disk1/"),
            ("/disk2/", "disk2/"),
            ("target/demo/", "demo/"),
            ("/mnt/crashed", "machine"),
            ("/proc/vmcore", "machine/proc/vmcore"),
            ("/etc/hadump/recipients", "root/.ssh/id_ed25519.pub"),
            ("~/.ssh/id_ed25519", "work/key.txt"),
        ] {
            line = line.replace(path, self.at(place).to_str().unwrap());
        }
        for command in ["convert", "regs", "hpte"] {
            line = line
                .replace(&format!("{command} / "), &format!("{command} {} ", self.at("machine").display()));
            if let Some(start) = line.strip_suffix(&format!("{command} /")) {
                line = format!("{start}{command} {}", self.at("machine").display());
            }
        }
        if line.contains("SLURM_ARRAY_TASK_ID") {
            line = format!("for SLURM_ARRAY_TASK_ID in $(seq 0 63); do {line} || exit; done");
        }
        line
    }

    /// Makes a file that a recipe reads.
    fn make(&self, name: &str) {
        let path = self.at("work").join(name);
        let link = |target: &Path| symlink(target, &path).unwrap();
        match name {
            "vmcore.elf" | "dump.elf" => link(&self.dump.elf),
            "memory.raw" => link(&self.dump.memory()),
            "ibm,kernel-dump" => link(&self.dump.kernel_dump()),
            "vmlinux" => self.dump.vmlinux().iter().for_each(|path| link(path)),
            "vmcore.flat" => drop(convert(&self.dump.elf, &path, &["--flattened"]).ok()),
            "key.txt" => fs::write(&path, format!("{IDENTITY}\n")).unwrap(),
            "part1" => {
                let set = self.at("work").join("part3");
                let mut command = Command::new(HADUMP);
                command.arg("convert").arg(&self.dump.elf).arg("-o").arg(&path);
                Run::of(command.arg("-o").arg(path.with_file_name("part2")).arg("-o").arg(set)).ok();
            }
            "vmcore.00000.age" | "vmcore.*.age" | "vmcore-dmesg.txt.age" => {
                let mut command = Command::new(HADUMP);
                command.args(["save", "-q", "--encrypt-to", RECIPIENT, "--root"]).arg(self.at("machine"));
                Run::of(command.arg("--to").arg(self.at("work/vmcore"))).ok();
            }
            "vmcore" => drop(convert(&self.dump.elf, &path, &[]).ok()),
            _ => panic!("nobody knows how to make {name}"),
        }
    }

    /// Makes the files that a line reads and that are not there.
    fn prepare(&self, line: &str) {
        let words: Vec<&str> = line.split(|c: char| c.is_whitespace()).collect();
        let known = [
            "vmcore.elf",
            "dump.elf",
            "memory.raw",
            "ibm,kernel-dump",
            "vmlinux",
            "vmcore.flat",
            "key.txt",
            "part1",
            "vmcore.00000.age",
            "vmcore.*.age",
            "vmcore-dmesg.txt.age",
            "vmcore",
        ];
        for (n, word) in words.iter().enumerate() {
            let is_output = n > 0 && matches!(words[n - 1], "-o" | "--output");
            let is_made_by_makedumpfile = line.contains("makedumpfile") && n + 1 == words.len();
            let reads = known.contains(word) && !is_output && !is_made_by_makedumpfile;
            let there = self.at("work").join(word).exists()
                || word.ends_with(".age") && self.at("work/vmcore.00000.age").exists();
            if reads && !there {
                self.make(word);
            }
        }
    }

    fn run(&self, line: &str) -> Run {
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", line]).current_dir(self.at("work")).env("PATH", path);
        Run::of(&mut command)
    }
}

#[test]
fn every_recipe_does_what_it_is_for_as_it_stands() {
    let (mut run, mut compared, mut wrong) = (0, 0, Vec::new());
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for block in blocks(&text) {
            let examples = examples(&block);
            if examples.is_empty() {
                continue;
            }
            let place = Place::new();
            symlink(&*OURS, place.at("work/makedumpfile")).unwrap();
            for example in examples {
                let line = example.line;
                if NOT_RUN.iter().any(|(what, _)| line.contains(what)) {
                    continue;
                }
                if line.contains("vmlinux") && place.dump.vmlinux().is_none() {
                    report_skipped("a recipe with a vmlinux: it is in the larger corpus");
                    continue;
                }
                // Each line may be taken alone, unless it goes on with what the one before made.
                let outputs =
                    ["vmcore", "vmcore.core", "vmcore.kdump"].map(|name| place.at("work").join(name));
                if line.contains("-o vmcore") || line.ends_with(" vmcore") && line.contains("makedumpfile") {
                    outputs.iter().for_each(|output| drop(fs::remove_file(output)));
                }
                place.prepare(line);
                let mut adapted = place.adapted(line);
                if !example.printed.is_empty() {
                    // What a person at a terminal sees is both streams, in their order.
                    adapted = format!("{{ {adapted}\n}} 2>&1");
                    compared += 1;
                }
                if let Err(differs) = example.judge(&place.run(&adapted)) {
                    wrong.push(format!("{}: {differs}\n", document.display()));
                }
                run += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(run > 35, "only {run} recipes were found");
    assert!(compared > 10, "only {compared} printed examples were found");
}

#[test]
fn an_example_with_another_exit_code_or_output_is_noticed() {
    let shown = ["$ hadump verify a", "  file  /a/b: 5.1 MiB", "pages  12", "$ echo $?", "4"];
    let example = &examples(&shown)[0];
    assert_eq!((example.line, example.code, example.printed.len()), ("hadump verify a", 4, 2));
    let judge = |code, stdout: &str| {
        let run = Run { code: Some(code), stdout: stdout.to_owned(), stderr: String::new() };
        example.judge(&run).is_ok()
    };
    assert!(judge(4, "    file  /other/path: 17.25 GiB\n   pages  1,234\n"));
    assert!(!judge(0, "  file  /a/b: 5.1 MiB\npages  12\n"), "another exit code");
    for other in [
        "  file  /a/b: 5.1 MiB\n",
        "  file  /a/b: 5.1 MiB\npages  12\nlevel  31\n",
        "  file  /a/b: 5.1 MiB\nframes  12\n",
        "  file  /a/b: 5.1 MiB\npages  12 of 13\n",
        "  file  /a/b: large\npages  12\n",
    ] {
        assert!(!judge(4, other), "{other}");
    }
}

#[test]
fn the_printed_conversion_counts_the_pages_of_a_real_one() {
    let text = fs::read_to_string(top().join("README.md")).unwrap();
    let printed: String = text
        .lines()
        .skip_while(|line| !line.contains("$ hadump convert target/demo/machine"))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", &line[4..]))
        .collect();
    let (place, out) = (Place::new(), Scratch::new("vmcore.kdump"));
    let report = convert(&place.at("demo/machine"), out.path(), &[]).ok().stderr;
    // What does not depend on the machine that converts is the same to the letter.
    for label in ["memory", "kept", "left out"] {
        let line = |text: &str| {
            text.lines().find(|line| line.trim_start().starts_with(label)).unwrap().trim().to_owned()
        };
        assert_eq!(line(&report), line(&printed));
    }
}

/// What makedumpfile.md shows of a run.
#[test]
fn the_printed_run_of_makedumpfile_ends_as_a_real_one() {
    let text = fs::read_to_string(top().join("docs/makedumpfile.md")).unwrap();
    let (place, printed) = (Place::new(), "    makedumpfile Completed.");
    assert!(text.lines().any(|line| line == printed), "the example is still there");
    let saved = place.at("work").join("vmcore");
    let run = Run::of(Command::new(&*OURS).args(["-l", "-d", "31"]).arg(&place.dump.elf).arg(&saved)).ok();
    assert_eq!(
        run.stdout,
        format!("\nThe dumpfile is saved to {}.\n\nmakedumpfile Completed.\n", saved.display())
    );
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut tests = BTreeSet::new();
    let mut directories = vec![top().join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                directories.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names =
                    text.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split('(').next());
                tests.extend(names.map(str::to_owned));
            }
        }
    }
    for (page, rows) in [("docs/exit-codes.md", 25), ("docs/limits.md", 7)] {
        let text = fs::read_to_string(top().join(page)).unwrap();
        let lines = text.lines().filter(|line| line.starts_with('|') && line.ends_with("` |"));
        let named: Vec<&str> =
            lines.filter_map(|row| row.trim_end_matches("` |").rsplit('`').next()).collect();
        assert!(named.len() > rows, "{page}: {named:?}");
        for name in named {
            assert!(tests.contains(name), "{page}: no test is called {name}");
        }
    }
}
