//! Why the machine crashed, as text and as JSON.
//!
//! Nothing of it may cost the dump: it is found in a thread of its own, so that a fault there is a remark, and on a budget of
//! reads, time and memory ([`Allowance`]). What no budget ends (the process is killed) is begun only once in a boot.

use super::allowance::{Allowance, For};
use super::manner::Manner;
use crate::cli::Tasks;
use crate::show::crash::{Shown, json, text, words};
use crate::show::report::write_json;
use anyhow::{Context, Result, anyhow};
use kernel::Kernel;
use std::io::Write;
use std::path::PathBuf;
use triage::{Budget, Options, Stacks, examine, examine_within};
use vmcore::Dump;

/// As text and as JSON.
pub(super) const SUFFIXES: [&str; 2] = [TEXT, JSON];
const TEXT: &str = "-report.txt";
const JSON: &str = "-report.json";

/// Of the thread that reports: what a program's first thread has.
const STACK: usize = 8 << 20;

/// A report that was made.
pub(crate) struct Made {
    /// The files that were saved: the text, and the same as JSON.
    pub(crate) files: Vec<PathBuf>,
    /// Why one was not.
    pub(crate) failed: Option<anyhow::Error>,
    /// The cause in a line.
    pub(crate) cause: String,
    /// Why there is only a part of it.
    pub(crate) cut: Option<String>,
}

/// Finds out why the machine crashed, and writes it to two files, which are made durable. `input` is what the dump is called.
pub(crate) fn save(dump: &Dump, input: &str, manner: &Manner<'_>) -> Result<Made> {
    apart(|| report(dump, input, manner))
}

/// Does `work` in a thread of its own: a panic in it is an error.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("report".to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work).context("no thread can be started for it")?;
        thread.join().unwrap_or_else(|_| Err(anyhow!("hadump has a fault there, which is shown above")))
    })
}

/// Removes what an attempt that was killed left unfinished.
pub(crate) fn clear(manner: &Manner<'_>) -> Result<()> {
    SUFFIXES.iter().try_for_each(|suffix| manner.clear(suffix).map(|_| ()))
}

fn report(dump: &Dump, input: &str, manner: &Manner<'_>) -> Result<Made> {
    let allowance = Allowance::new();
    let (whole, cut) = (|| allowance.spent(For::Whole), || allowance.spent(For::Cut));
    let whole = Budget::new(Allowance::reads(For::Whole), &whole);
    let cut = Budget::new(Allowance::reads(For::Cut), &cut);
    let options = Options { stacks: Stacks::Blocked };
    let report = match Kernel::open(dump) {
        Ok(kernel) => examine_within(dump, &kernel, &options, &whole, &cut),
        Err(_) => examine(dump, None, None, &options),
    };
    let shown = Shown::new(input, dump, Tasks::Blocked, &report);
    let text = save_one(manner, TEXT, |out| Ok(out.write_all(text::text(&shown).as_bytes())?));
    // A reader of the one without the other is served, too.
    let json = save_one(manner, JSON, |out| write_json(out, &json::json(&shown)));
    let mut files = Vec::new();
    let mut failed = None;
    for saved in [text, json] {
        match saved {
            Ok(file) => files.push(file),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let cut = whole.spent().map(str::to_owned);
    Ok(Made { files, failed, cause: words::summary(&report.cause).to_owned(), cut })
}

fn save_one(
    manner: &Manner<'_>,
    suffix: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<PathBuf> {
    let file = manner.begin(suffix)?;
    match manner.fill(&file, write) {
        Ok(()) => Ok(file.commit()?),
        // What there is not the room for would take that of pages.
        Err(error) => {
            file.discard();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_can_be_said() {
        assert_eq!(apart(|| Ok(7)).unwrap(), 7);
        let faulty = |at: usize| Ok([1, 2][at]);
        assert!(apart(|| faulty(2)).unwrap_err().to_string().contains("a fault there"));
    }
}
