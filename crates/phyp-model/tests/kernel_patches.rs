//! The patches of `docs/kernel` are mails that can be sent as they are, by whoever signs them.

use std::fs;
use std::path::Path;

#[test]
fn each_patch_is_a_whole_mail_under_the_kernels_licence_and_nobody_has_signed_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernel");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    assert!(!paths.is_empty());
    for (number, path) in paths.iter().enumerate() {
        let name = path.display();
        let text = fs::read_to_string(path).unwrap();
        let subject = format!("Subject: [PATCH {}/{}] powerpc/fadump: ", number + 1, paths.len());
        assert!(text.starts_with(&subject), "{name}");
        let (message, change) = text.split_once("\n---\n").unwrap();
        assert!(
            message.lines().skip(1).all(|line| line.len() <= 80),
            "{name}: a line is too long for a mail"
        );
        assert!(change.starts_with("SPDX-License-Identifier: GPL-2.0-or-later\n"), "{name}");
        assert!(!text.contains("Signed-off-by:") && !text.contains("\nFrom: "), "{name}");
        for hunk in change.split("\n@@ -").skip(1) {
            lines_are_counted(hunk).unwrap_or_else(|wrong| panic!("{name}: @@ -{}: {wrong}", &hunk[..20]));
        }
    }
}

/// Whether a hunk has as many lines, before and after, as it says: `START,LINES +START,LINES @@ ...`.
fn lines_are_counted(hunk: &str) -> Result<(), String> {
    let (head, body) = hunk.split_once('\n').ok_or("no lines")?;
    let said = |range: &str| range.split(',').nth(1).map_or(Ok(1), |lines| lines.parse::<usize>());
    let mut ranges = head.split(' ');
    let (before, after) = (ranges.next().unwrap_or_default(), ranges.next().unwrap_or_default());
    let lines: Vec<&str> = body.lines().take_while(|line| *line != "-- ").collect();
    let count = |marks: [char; 2]| lines.iter().filter(|line| line.starts_with(marks)).count();
    for (range, found) in [(before, count([' ', '-'])), (after, count([' ', '+']))] {
        let said = said(range).map_err(|error| error.to_string())?;
        if said != found {
            return Err(format!("{said} lines are said, {found} are there"));
        }
    }
    Ok(())
}
