//! A step of a scenario, and what it must end with.

use std::fs;
use std::path::Path;

/// What a step must end with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// The boot, counted from 1, and the step's name in its script.
    name: (u32, &'static str),
    exit: i32,
    says: &'static [&'static str],
    never: &'static [&'static str],
}

impl Step {
    /// Step `name` of boot `boot` ends with this exit code.
    pub(crate) const fn new(boot: u32, name: &'static str, exit: i32) -> Self {
        Self { name: (boot, name), exit, says: &[], never: &[] }
    }

    /// Its output has all of these.
    pub(crate) const fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    /// Its output has none of these.
    pub(crate) const fn never(self, never: &'static [&'static str]) -> Self {
        Self { never, ..self }
    }

    /// What is wrong with what the step left below `results`; empty when nothing is.
    pub(super) fn judge(&self, results: &Path) -> Vec<String> {
        let (boot, name) = self.name;
        let file = |kind: &str| results.join(boot.to_string()).join(format!("{name}.{kind}"));
        let Ok(exit) = fs::read_to_string(file("exit")) else {
            return vec![format!("{boot}.{name} did not run, or did not end")];
        };
        let output = fs::read(file("out")).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let mut wrong = Vec::new();
        if exit.trim() != self.exit.to_string() {
            wrong.push(format!("{boot}.{name} ended with {}, expected {}", exit.trim(), self.exit));
        }
        for words in self.says.iter().filter(|words| !output.contains(**words)) {
            wrong.push(format!("{boot}.{name} does not say {words:?}"));
        }
        for words in self.never.iter().filter(|words| output.contains(**words)) {
            wrong.push(format!("{boot}.{name} says {words:?}"));
        }
        if !wrong.is_empty() {
            wrong.push(format!("    {}", output.trim_end().replace('\n', "\n    ")));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_did_not_run_or_ended_otherwise_is_a_failure() {
        let results = tempfile::tempdir().unwrap();
        let step = Step::new(2, "save", 0).says(&["saved"]).never(&["waits"]);
        assert_eq!(step.judge(results.path()), ["2.save did not run, or did not end"]);
        fs::create_dir(results.path().join("2")).unwrap();
        let (exit, out) = (results.path().join("2/save.exit"), results.path().join("2/save.out"));
        fs::write(&exit, "0\n").unwrap();
        fs::write(&out, "saved\n").unwrap();
        assert!(step.judge(results.path()).is_empty());
        fs::write(&exit, "4\n").unwrap();
        fs::write(&out, "a dump waits\n").unwrap();
        let wrong = [
            "2.save ended with 4, expected 0",
            "2.save does not say \"saved\"",
            "2.save says \"waits\"",
            "    a dump waits",
        ];
        assert_eq!(step.judge(results.path()), wrong);
    }
}
