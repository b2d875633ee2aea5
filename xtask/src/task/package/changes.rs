//! What package managers are told of a version's changes: CHANGELOG.md, in their forms.

use anyhow::{Context, Result};
use std::process::Command;

const CHANGELOG: &str = include_str!("../../../../CHANGELOG.md");

/// The changes of a version for rpm, an entry a line: a user who asks for them has no CHANGELOG.md before he has the package.
///
/// # Errors
///
/// CHANGELOG.md has no section for the version, or no entry in it.
pub(crate) fn for_rpm(version: &str) -> Result<String> {
    let entries = entries(CHANGELOG, version).filter(|entries| !entries.is_empty());
    let entries = entries.with_context(|| format!("CHANGELOG.md has no entries for version {version}"))?;
    Ok(entries.iter().map(|entry| format!("- {entry}\n")).collect())
}

/// Debian's changelog: the changes themselves are in hadump's own, which Debian's policy has as `changelog.gz`.
pub(crate) fn for_debian(full_version: &str, version: &str, maintainer: &str, time: u64) -> String {
    let date = Command::new("date").args(["-R", "-u", "-d", &format!("@{time}")]).output();
    let date =
        date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!(
        "hadump ({full_version}) unstable; urgency=medium\n\n  * Version {version}, as changelog.gz tells.\n\n -- {maintainer}  {date}\n"
    )
}

/// The entries of a version's section, each in one line of plain text; `None` if there is no such section.
fn entries(changelog: &str, version: &str) -> Option<Vec<String>> {
    let heading = format!("## {version}");
    let mut lines = changelog.lines();
    lines.find(|line| *line == heading)?;
    let mut entries: Vec<String> = Vec::new();
    // Only what directly follows an entry's first line belongs to it: before the entries there are prose and a table.
    let mut open = false;
    for line in lines.take_while(|line| !line.starts_with("## ")) {
        if let Some(first) = line.strip_prefix("- ") {
            entries.push(first.to_owned());
            open = true;
        } else if let (true, Some(more), Some(entry)) = (open, line.strip_prefix("  "), entries.last_mut()) {
            entry.push(' ');
            entry.push_str(more);
        } else {
            open = false;
        }
    }
    Some(entries.iter().map(|entry| plain(entry)).collect())
}

/// Markdown without its signs for code, and without the targets of links.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        match link.split_once("](").and_then(|(name, after)| Some((name, after.split_once(')')?.1))) {
            Some((name, after)) => {
                text.push_str(name);
                rest = after;
            }
            None => {
                text.push('[');
                rest = link;
            }
        }
    }
    text.push_str(rest);
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Changelog

## 0.2.0

Prose, and a table:

| a | b |
- `status` tells more
  of it ([docs/a.md](docs/a.md)).
- The array [3] stays.

  Not an entry's second line.

## 0.1.0

- The first.
";

    #[test]
    fn a_versions_entries_are_lines_of_plain_text() {
        let entries = entries(TEXT, "0.2.0").expect("a section");
        assert_eq!(entries, ["status tells more of it (docs/a.md).", "The array [3] stays."]);
        assert_eq!(super::entries(TEXT, "0.1.0").expect("a section"), ["The first."]);
        assert_eq!(super::entries(TEXT, "0.3.0"), None);
    }

    #[test]
    fn the_version_that_is_packaged_has_its_changes_told() {
        let changes = for_rpm(env!("CARGO_PKG_VERSION")).expect("a section in CHANGELOG.md");
        assert!(changes.lines().count() > 10 && changes.lines().all(|line| line.starts_with("- ")));
        assert!(for_rpm("0.0.0").is_err());
    }

    #[test]
    fn debian_is_told_the_version_and_who_made_it() {
        let changelog =
            for_debian("0.2.0-1+nolzo", "0.2.0", "Somebody <somebody@example.org>", 1_700_000_000);
        assert!(
            changelog.starts_with("hadump (0.2.0-1+nolzo) unstable; urgency=medium\n\n  * Version 0.2.0, ")
        );
        assert!(
            changelog.ends_with("\n -- Somebody <somebody@example.org>  Tue, 14 Nov 2023 22:13:20 +0000\n")
        );
    }
}
