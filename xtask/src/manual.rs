//! Man pages and completions, from the same description of the command line that hadump parses it with.
//!
//! What an option does is said once, in the program. What an operator asks besides (which of them to use, an example, what is
//! left on the disk) is written by hand in `dist/man`, a file a page, with the lines `.\" OPTIONS` and `.\" COMMANDS` where
//! the program's own words go.

use crate::cli::Cli;
use clap::CommandFactory;
use clap_mangen::Man;
use std::fmt::Write as _;

/// A page in roff.
#[derive(Debug)]
pub(crate) struct Page {
    /// With its section: `hadump-save.1`.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What is written by hand: all files of `dist/man`.
const BY_HAND: [(&str, &str); 23] = [
    ("hadump.1", include_str!("../../dist/man/hadump.1")),
    ("hadump-boot.8", include_str!("../../dist/man/hadump-boot.8")),
    ("hadump-completions.1", include_str!("../../dist/man/hadump-completions.1")),
    ("hadump-convert.1", include_str!("../../dist/man/hadump-convert.1")),
    ("hadump-decrypt.1", include_str!("../../dist/man/hadump-decrypt.1")),
    ("hadump-diff.1", include_str!("../../dist/man/hadump-diff.1")),
    ("hadump-dmesg.1", include_str!("../../dist/man/hadump-dmesg.1")),
    ("hadump-gdb.1", include_str!("../../dist/man/hadump-gdb.1")),
    ("hadump-hpte.1", include_str!("../../dist/man/hadump-hpte.1")),
    ("hadump-info.1", include_str!("../../dist/man/hadump-info.1")),
    ("hadump-join.1", include_str!("../../dist/man/hadump-join.1")),
    ("hadump-makedumpfile.1", include_str!("../../dist/man/hadump-makedumpfile.1")),
    ("hadump-mount.1", include_str!("../../dist/man/hadump-mount.1")),
    ("hadump-pages.1", include_str!("../../dist/man/hadump-pages.1")),
    ("hadump-read.1", include_str!("../../dist/man/hadump-read.1")),
    ("hadump-receive.1", include_str!("../../dist/man/hadump-receive.1")),
    ("hadump-regs.1", include_str!("../../dist/man/hadump-regs.1")),
    ("hadump-report.1", include_str!("../../dist/man/hadump-report.1")),
    ("hadump-save.1", include_str!("../../dist/man/hadump-save.1")),
    ("hadump-search.1", include_str!("../../dist/man/hadump-search.1")),
    ("hadump-status.1", include_str!("../../dist/man/hadump-status.1")),
    ("hadump-verify.1", include_str!("../../dist/man/hadump-verify.1")),
    ("hadump.conf.5", include_str!("../../dist/man/hadump.conf.5")),
];

/// The exit codes of a command that has no section about them.
const EXIT_STATUS: &str = "\
.SH EXIT STATUS
.TP
.B 0
Complete.
.TP
.B 1
Nothing usable.
.TP
.B 2
Wrong usage.
.TP
.B 3
Complete, but more was kept than asked for, because the kernel's structures left doubt.
.TP
.B 4
Incomplete, but readable.
";

/// All pages.
pub(crate) fn pages() -> Vec<Page> {
    let mut cli = Cli::command();
    cli.build();
    BY_HAND
        .iter()
        .map(|(name, by_hand)| Page { name: (*name).to_owned(), text: page(&cli, name, by_hand) })
        .collect()
}

/// The commands that a user sees, without clap's own `help`.
fn commands(cli: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// The command that a page describes.
fn described<'a>(cli: &'a clap::Command, name: &str) -> Option<&'a clap::Command> {
    let stem = name.strip_suffix(".1")?;
    match stem.strip_prefix("hadump-") {
        Some(command) => commands(cli).find(|known| known.get_name() == command),
        None => Some(cli),
    }
}

fn page(cli: &clap::Command, name: &str, by_hand: &str) -> String {
    let (stem, section) = name.rsplit_once('.').expect("a page has a section");
    let version = env!("CARGO_PKG_VERSION");
    // No word is divided at the end of a line; each section would begin with groff's own setting again, but for the register.
    let mut text =
        format!(".nr HY 0\n.TH {stem} {section} \"\" \"hadump {version}\" \"hadump\"\n.nh\n.ad l\n");
    let by_hand = &dashed(by_hand);
    // Tables are for tbl, which man runs where the first line asks for it.
    if by_hand.contains("\n.TS\n") {
        text.insert_str(0, "'\\\" t\n");
    }
    let Some(command) = described(cli, name) else {
        return text + by_hand;
    };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    // What apropos prints is one line: remarks in brackets are for `--help`.
    let about = about.split(" (").next().unwrap_or_default();
    let _ = writeln!(text, ".SH NAME\n{stem} \\- {}", uncapitalised(&marked(about)));
    for line in by_hand.lines() {
        match line {
            ".\\\" OPTIONS" => text.push_str(&options(command)),
            ".\\\" COMMANDS" => text.push_str(&list(cli)),
            line => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if !by_hand.contains(".SH EXIT STATUS") {
        text.push_str(EXIT_STATUS);
    }
    if by_hand.contains(".SH SEE ALSO") {
        return text;
    }
    let others =
        if stem == "hadump" { "hadump\\-boot (8),\n.BR hadump.conf (5),\n.BR " } else { "hadump (1),\n.BR " };
    let last = if stem == "hadump-save" { "hadump\\-status (1)" } else { "hadump\\-save (1)" };
    let _ = writeln!(text, ".SH SEE ALSO\n.BR {others}{last}");
    text
}

/// The section of a command's options, in the program's words.
fn options(command: &clap::Command) -> String {
    let mut section = Vec::new();
    Man::new(command.clone()).render_options_section(&mut section).expect("memory takes everything");
    // The escapes of a preamble, which belong into a page once, are before the first line.
    marked(&String::from_utf8(section).expect("roff is text"))
}

/// What `--help` has in backquotes, in bold.
fn marked(text: &str) -> String {
    let mut parts = text.split('`');
    let mut marked = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        marked.push_str(if index % 2 == 0 { "\\fB" } else { "\\fR" });
        marked.push_str(part);
    }
    marked
}

/// Hyphens of names, options and examples as roff wants them, `\-`: such a word is not divided there, and can be copied.
fn dashed(by_hand: &str) -> String {
    let mut example = false;
    let mut text = String::new();
    for line in by_hand.lines() {
        match line {
            ".EX" => example = true,
            ".EE" => example = false,
            _ => {}
        }
        let name = [".B", ".I", ".R"].iter().any(|font| line.starts_with(font));
        if (example || name) && !line.contains("\\-") {
            text.push_str(&line.replace('-', "\\-"));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// The section of all commands.
fn list(cli: &clap::Command) -> String {
    let mut section = String::from(".SH COMMANDS\n");
    for command in commands(cli) {
        let about = marked(&command.get_about().map(ToString::to_string).unwrap_or_default());
        let _ = writeln!(section, ".TP\n.BR hadump\\-{} (1)\n{about}.", command.get_name());
    }
    section.push_str(".TP\n.BR hadump\\-makedumpfile (1)\nTake makedumpfile's command line.\n");
    section
}

fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Shell;
    use clap::ValueEnum;
    use std::collections::BTreeSet;
    use std::fs;

    fn built() -> clap::Command {
        let mut cli = Cli::command();
        cli.build();
        cli
    }

    #[test]
    fn every_command_and_every_option_has_a_page_and_is_completed_by_every_shell() {
        let (cli, pages) = (built(), pages());
        let script = |shell: &Shell| (*shell, String::from_utf8(shell.script()).expect("text"));
        let scripts: Vec<_> = Shell::value_variants().iter().map(script).collect();
        for command in commands(&cli) {
            let name = format!("hadump-{}.1", command.get_name());
            let page = pages.iter().find(|page| page.name == name);
            let page =
                page.unwrap_or_else(|| panic!("dist/man/{name} is missing, or manual.rs does not name it"));
            for (shell, script) in &scripts {
                assert!(
                    script.contains(command.get_name()),
                    "{shell:?} does not know {}",
                    command.get_name()
                );
            }
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                let Some(long) = option.get_long() else { continue };
                let in_roff = format!("\\-\\-{}", long.replace('-', "\\-"));
                assert!(page.text.contains(&in_roff), "{name} does not tell of --{long}");
                for (shell, script) in &scripts {
                    assert!(script.contains(long), "{shell:?} does not know {} --{long}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn every_page_that_is_written_by_hand_is_made_and_ends_with_where_to_read_on() {
        let files = fs::read_dir(crate::root().join("dist/man")).expect("dist/man");
        let files: BTreeSet<String> =
            files.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        let pages = pages();
        assert_eq!(files, pages.iter().map(|page| page.name.clone()).collect());
        for page in pages {
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"] {
                assert!(page.text.contains(&format!("\n.SH {section}\n")), "{}: no {section}", page.name);
            }
        }
    }

    /// `. <(hadump completions bash)` was an example that nobody could read: to roff it is a request.
    #[test]
    fn every_line_that_begins_with_a_dot_is_a_macro_of_man_pages() {
        let macros = [
            "nr", "TH", "nh", "ad", "SH", "SS", "PP", "TP", "IP", "RS", "RE", "B", "I", "BR", "RB", "BI",
            "IR", "RI", "br", "in", "EX", "EE", "TS", "TE", "sp", "ie", "el", "ds",
        ];
        for page in pages() {
            for line in page.text.lines() {
                let Some(word) = line.strip_prefix('.').and_then(|line| line.split(' ').next()) else {
                    continue;
                };
                assert!(macros.contains(&word), "{}: {line}", page.name);
            }
        }
    }

    #[test]
    fn options_and_names_are_not_divided_at_their_hyphens() {
        let text = dashed("firmware-assisted\n.BR hadump-save (1)\n.EX\nhadump save --to -\n.EE\nx-y\n");
        assert_eq!(
            text,
            "firmware-assisted\n.BR hadump\\-save (1)\n.EX\nhadump save \\-\\-to \\-\n.EE\nx-y\n"
        );
        assert_eq!(marked("as for `convert`, or `x`"), "as for \\fBconvert\\fR, or \\fBx\\fR");
    }

    #[test]
    fn every_setting_of_hadump_conf_is_explained() {
        let page = BY_HAND.iter().find(|(name, _)| *name == "hadump.conf.5").expect("its page").1;
        for line in include_str!("../../dist/hadump.conf").lines() {
            let set = line.strip_prefix('#').and_then(|line| line.split_once('='));
            if let Some((setting, value)) = set.filter(|(setting, _)| setting.starts_with("HADUMP_")) {
                assert!(page.contains(&format!(".B {setting}\n")), "{setting}");
                assert!(page.contains(value), "{setting}: the default is {value}");
            }
        }
    }
}
