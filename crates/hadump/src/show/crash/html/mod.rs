//! The report as one page for a browser, which fetches nothing and runs no script.
//!
//! A dump is hostile: whatever comes from it is written as [`Text`], and a policy in the page forbids all that could be loaded or
//! run if something should pass all the same.

mod escape;
mod picture;
mod sections;
mod treemap;

pub(crate) use picture::{CLASSES, LEFT_OUT, Stretch};

use super::Shown;
use escape::Text;
use sections::Section;
use std::fmt::Write as _;
use triage::cause::Kind;

const STYLE: &str = include_str!("style.css");

/// The page. `stretches` is physical memory by class, empty where that is not known.
pub(crate) fn page(shown: &Shown<'_>, stretches: &[Stretch]) -> String {
    let report = shown.report;
    let (host, release) = (&report.machine.host, &report.machine.release);
    let of = if report.cause.kind == Kind::NoCrash { "Report of" } else { "Crash of" };
    let title = match (super::words::host_of(host), release.is_empty()) {
        (Some(host), _) => format!("{of} {host}, Linux {release}"),
        (None, false) => format!("{of} Linux {release}"),
        (None, true) => format!("Report of {}", shown.path),
    };
    let sections: Vec<Section> =
        sections::all(shown, stretches).into_iter().filter(|section| !section.body.is_empty()).collect();
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n",
        Text(&title),
        Text(&title)
    );
    out.push_str("<nav>");
    for Section { id, name, .. } in &sections {
        let _ = write!(out, "<a href=\"#{id}\">{name}</a>");
    }
    out.push_str("</nav>\n");
    if !shown.complete {
        out.push_str(
            "<div class=\"what warn\"><p>This dump is incomplete: some of its memory is missing.</p></div>\n",
        );
    }
    if let Some(mini) = &shown.mini {
        let words = mini.words();
        let _ = writeln!(out, "<p class=\"hint\">This is a mini dump, {}.</p>", Text(&words));
    }
    for Section { id, name, body } in sections {
        let _ = write!(out, "<section id=\"{id}\">\n<h2>{name}</h2>\n{body}</section>\n");
    }
    let _ = writeln!(
        out,
        "<footer class=\"hint\"><p>Made by hadump {} from {} ({}).</p></footer>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        Text(shown.path),
        Text(shown.format)
    );
    out
}
