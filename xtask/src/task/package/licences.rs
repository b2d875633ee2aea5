//! Under which licences the packaged program is, and the notices of everything that is linked into it.

use crate::cargo::cargo;
use crate::cross::Target;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// The file `copyright` of packages and tarballs of a version of hadump.
pub(crate) fn copyright(version: &str, has_lzo: bool) -> String {
    let whole = if has_lzo {
        "\
The program /usr/bin/hadump as a whole is under the GNU General Public License,
version 2: it contains the LZO codec of the crate lzo1x, which is under that
licence. On Debian systems its text is in /usr/share/common-licenses/GPL-2, and
elsewhere in GPL-2.0.txt beside this file."
    } else {
        "\
This build has no LZO codec, so that the program /usr/bin/hadump may be used under
the licences of its sources."
    };
    let nolzo = if has_lzo { "" } else { " --without-lzo" };
    format!(
        "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hadump
Comment:
{whole}
 .
 Source: hadump-{version}-source.tar.gz, and hadump-{version}-vendor.tar.gz with the
 crates that are linked, lie where this package does. Both were made, as this
 package was, by `cargo xtask package --source{nolzo}`; the crates are also those of
 crates.io with the checksums in the file Cargo.lock of the sources. Whoever
 passes this package on passes these on, too, or says where they are.

Files: *
Copyright: the authors of hadump
License: MIT or Apache-2.0

Files: third-party
Copyright: see third-party.gz
License: several
 The crates that are linked into the program, and the notices of their authors, are
 in third-party.gz beside this file. The C library of Debian, which is linked
 statically, is under the LGPL, version 2.1 or later; on Debian systems its text is
 in /usr/share/common-licenses/LGPL-2.1.

License: MIT or Apache-2.0
{mit}
 .
 Or, at your choice, the Apache License, Version 2.0. On Debian systems its text is
 in /usr/share/common-licenses/Apache-2.0, and elsewhere in LICENSE-APACHE beside
 this file.
",
        whole = indented(whole),
        mit = indented(include_str!("../../../../LICENSE-MIT")),
    )
}

/// Lines of a text as the format of `copyright` takes them.
fn indented(text: &str) -> String {
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.trim().is_empty() { " .".to_owned() } else { format!(" {line}") });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names, versions, licences and notices of the crates that hadump links on `target`.
pub(crate) fn third_party(without_lzo: bool, target: &Target) -> Result<Vec<u8>> {
    let mut command =
        cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", target.triple]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let mut text = String::from("Linked into hadump:\n\n");
    let mut notices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked(&metadata)? {
        let word = |field: &str| package[field].as_str().unwrap_or_default();
        let name = format!("{} {}", word("name"), word("version"));
        if package["source"].is_null() || without_lzo && word("name") == "lzo1x" {
            continue;
        }
        writeln!(text, "{name}: {}, {}", word("license"), word("repository"))?;
        let directory = Path::new(word("manifest_path")).parent().context("a manifest is in a directory")?;
        for notice in notices_in(directory)? {
            notices.entry(notice).or_default().insert(name.clone());
        }
    }
    for (notice, names) in &notices {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        write!(text, "\n{}\n{}\n\n{}\n", "=".repeat(80), names.join(", "), notice.trim())?;
    }
    Ok(text.into_bytes())
}

/// The packages that `hadump` reaches by dependencies that are linked.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages = metadata["packages"].as_array().context("cargo metadata: packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo metadata: nodes")?;
    let hadump = packages.iter().find(|package| package["name"] == "hadump").context("no package hadump")?;
    let mut reached = BTreeSet::new();
    let mut waiting = vec![hadump["id"].clone()];
    while let Some(id) = waiting.pop() {
        if !reached.insert(id.to_string()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id).context("a package is a node")?;
        for dependency in list(&node["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(dependency["pkg"].clone());
            }
        }
    }
    Ok(packages.iter().filter(|package| reached.contains(&package["id"].to_string())).collect())
}

/// What a crate says of its licences.
fn notices_in(directory: &Path) -> Result<Vec<String>> {
    let mut notices = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let wanted = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if path.is_file() && wanted.iter().any(|start| name.starts_with(start)) {
            notices.push(fs::read_to_string(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(notices)
}
