//! Faults of the hypervisor's leavings, in sentences for a report.

use std::fmt;

/// How much a finding matters to who reads the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is missing.
    Note,
    /// Something contradicts the specification; what was read is believed complete.
    Warning,
    /// Something of the crashed system is lost or cannot be trusted.
    Damage,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Damage => "damage",
        })
    }
}

/// One finding: a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found, where, and what was done about it.
    pub text: String,
}

/// All findings, in the order they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds what is worth knowing.
    pub fn note(&mut self, text: impl fmt::Display) {
        self.add(Severity::Note, text);
    }

    /// Adds what contradicts the specification.
    pub fn warning(&mut self, text: impl fmt::Display) {
        self.add(Severity::Warning, text);
    }

    /// Adds what is lost.
    pub fn damage(&mut self, text: impl fmt::Display) {
        self.add(Severity::Damage, text);
    }

    /// Adds a finding; one that was made before is not repeated.
    pub fn add(&mut self, severity: Severity, text: impl fmt::Display) {
        let finding = Finding { severity, text: text.to_string() };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// The findings in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Reports whether something of the crashed system is lost.
    pub fn has_damage(&self) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Damage)
    }

    /// Reports whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether a finding's sentence contains `words`.
    pub fn mentions(&self, words: &str) -> bool {
        self.0.iter().any(|f| f.text.contains(words))
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_kept_once_and_damage_is_told_apart() {
        let mut findings = Findings::default();
        findings.note("a");
        findings.note("a");
        assert_eq!(findings.iter().count(), 1);
        assert!(!findings.has_damage());
        findings.damage("section 2 is short");
        assert!(findings.has_damage() && findings.mentions("section 2"));
    }
}
