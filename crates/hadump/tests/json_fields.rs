//! docs/json.md against what `--json` prints: every field that is documented is printed, and every field that is printed
//! is documented.

mod common;

use common::run::{self, HADUMP, Run, Scratch};
use common::saving::{crashed, set_boot};
use phyp_model::Options;
use phyp_model::root::{self, RootOptions};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCUMENT: &str = include_str!("../../../docs/json.md");

/// Objects whose names are methods and not fields.
const BY_METHOD: [&str; 2] = ["pages.methods", "stored"];

/// What the document says of a command: the fields of its table, and all words in code style.
#[derive(Clone, Default)]
struct Documented {
    fields: BTreeSet<String>,
    words: BTreeSet<String>,
}

fn code(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn documented() -> BTreeMap<String, Documented> {
    let mut all: BTreeMap<String, Documented> = BTreeMap::new();
    for section in DOCUMENT.split("\n## `hadump ").skip(1) {
        let (command, text) = section.split_once(" --json`").expect("a heading");
        let mut here = Documented::default();
        for line in text.lines() {
            here.words.extend(code(line));
            if let Some((fields, _)) = line.strip_prefix("| `").and_then(|row| row.split_once(" | ")) {
                here.fields.extend(code(&format!("`{fields}")));
            }
        }
        all.insert(command.to_owned(), here);
    }
    // What the text says in words.
    let convert = all["convert"].clone();
    all.insert("join".to_owned(), convert.clone());
    let save = all.get_mut("save").expect("a section");
    save.fields.extend(convert.fields);
    save.words.extend(convert.words);
    let frames = all["verify"].words.clone();
    all.get_mut("diff").expect("a section").words.extend(frames);
    all
}

/// The fields of what was printed, those of arrays as if they were of the array.
fn printed(value: &Value, at: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| printed(item, at, fields)),
        Value::Object(_) if BY_METHOD.contains(&at) => {}
        Value::Object(items) => {
            for (name, item) in items {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                printed(item, &path, fields);
                fields.insert(path);
            }
        }
        _ => {}
    }
}

struct Place {
    scratch: Scratch,
    printed: BTreeMap<String, BTreeSet<String>>,
}

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.scratch.directory().join(name)
    }

    fn run(&mut self, args: &[&str]) {
        let mut command = Command::new(HADUMP);
        command.args(args).arg("--json").current_dir(self.scratch.directory());
        self.take(args[0], &Run::of(&mut command));
    }

    fn take(&mut self, command: &str, run: &Run) {
        let value: Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {}{}", run.stdout, run.stderr));
        printed(&value, "", self.printed.entry(command.to_owned()).or_default());
    }
}

#[test]
fn every_field_that_json_prints_is_documented_and_every_documented_one_is_printed() {
    let mut place = Place { scratch: Scratch::new("place"), printed: BTreeMap::new() };
    let dump = corpus::dump(corpus::POWER).expect("testdata/ holds the POWER dump");
    symlink(&dump.elf, place.at("elf")).unwrap();
    let modelled = place.at("modelled");
    root::write(&crashed(&Options::small_fadump(), 1), &modelled, &RootOptions::default()).expect("a root");
    set_boot(&modelled, "boot");
    for args in [
        &["convert", "elf", "-o", "kdump"][..],
        &["convert", "elf", "-o", "auto", "-c", "auto"],
        &["convert", "elf", "-o", "p0", "-o", "p1"],
        &["join", "p0", "p1", "-o", "joined"],
        &["info", "kdump"],
        &["regs", "modelled"],
        &["hpte", "modelled"],
        &["report", "elf"],
        &["dmesg", "kdump"],
        &["pages", "kdump", "--crc32"],
        &["verify", "kdump"],
        &["search", "kdump", "Linux version"],
        &["diff", "elf", "kdump"],
        &["status", "--root", "modelled"],
        &["save", "--root", "modelled", "--to", "saved", "--release", "after"],
        &["save", "--root", "modelled", "--to", "saved", "--resume"],
        &["status", "--root", "modelled"],
    ] {
        place.run(args);
    }
    let stream = run::hadump([
        Path::new("convert"),
        &place.at("elf"),
        Path::new("-o"),
        &place.at("flat"),
        Path::new("--flattened"),
    ]);
    stream.ok();
    let bytes = fs::read(place.at("flat")).unwrap();
    fs::write(place.at("cut"), &bytes[..bytes.len() / 2]).unwrap();
    let mut receive = Command::new("sh");
    receive.args(["-c", "exec \"$0\" receive received --json < cut", HADUMP]);
    let run = Run::of(receive.current_dir(place.scratch.directory()));
    place.take("receive", &run);

    let mut wrong = Vec::new();
    for (command, Documented { fields, words }) in documented() {
        let printed = place.printed.remove(&command).unwrap_or_default();
        for field in fields.difference(&printed) {
            wrong.push(format!("{command}: {field} is documented and not printed"));
        }
        for field in printed.difference(&fields) {
            let by_its_parts = fields.iter().any(|known| known.starts_with(&format!("{field}.")));
            let by_its_parent = field.rsplit_once('.').map_or_else(
                || words.contains(field),
                |(parent, name)| printed.contains(parent) && words.contains(name),
            );
            if !by_its_parts && !by_its_parent {
                wrong.push(format!("{command}: {field} is printed and not documented"));
            }
        }
    }
    assert!(place.printed.is_empty(), "without a section: {:?}", place.printed.keys());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
