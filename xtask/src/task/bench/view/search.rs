//! `--search`: patterns of each kind looked for in a dump, beside reading and decompressing it alone.

use super::alone::{decompress, decompressing};
use crate::cargo::run;
use crate::task::bench::{convert, median};
use crate::task::measure::measure;
use anyhow::Result;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// A pattern of each kind. None of them is in the dump more than some dozen times, so that what is measured is the search and
/// not what is said of matches.
const PATTERNS: [(&str, &str); 6] = [
    ("text", "Linux version 6.1.192-lab "),
    ("bytes", "hex:4c696e7578 ?? 76657273696f6e20 ??2e"),
    ("word", "word:0x1234567890abcdef"),
    ("masked", "word:0x12345678/0xffffffff"),
    ("pointer", "pointer:0xffff957bc5a2c000+64"),
    ("regex", "regex:[a-z]{4,12}@[a-z]{4,12}\\.(?:com|org)"),
];

/// Measures a dump made of `input` by each of `methods`, and prints a line for each.
pub(in crate::task::bench) fn compare(
    hadump: &Path,
    input: &Path,
    directory: &Path,
    methods: &[String],
    runs: usize,
) -> Result<()> {
    let decompress = decompress()?;
    println!("Seconds, and how many times that of decompressing alone\n");
    let names: Vec<String> = PATTERNS.iter().map(|(name, _)| format!("{name} |")).collect();
    println!("| pages | decompressing | {}\n|---|---|{}", names.join(" "), "---|".repeat(names.len()));
    for method in methods {
        let dump = directory.join("dump");
        let words = convert(hadump, input, &dump, method, 1, None);
        run(Command::new(&words[0]).args(&words[1..]))?;
        // The first reader would pay for all.
        std::io::copy(&mut File::open(&dump)?, &mut std::io::sink())?;
        let mut alone = Vec::new();
        let mut searched = PATTERNS.map(|_| Vec::new());
        for _ in 0..runs {
            alone.push(decompressing(&decompress, &dump)?.seconds);
            for ((_, pattern), times) in PATTERNS.iter().zip(&mut searched) {
                let command = [hadump, Path::new("-q"), Path::new("search"), &dump, Path::new(pattern)];
                let command: Vec<String> = command.iter().map(|word| word.display().to_string()).collect();
                times.push(measure(&command, &dump)?.0.wall);
            }
        }
        let alone = median(alone);
        let cell = |times: Vec<f64>| {
            let seconds = median(times);
            format!("{seconds:.2} ({:.2}) |", seconds / alone)
        };
        let cells: Vec<String> = searched.into_iter().map(cell).collect();
        println!("| {method} | {alone:.2} | {}", cells.join(" "));
        std::fs::remove_file(&dump)?;
    }
    Ok(())
}
