//! The page of a report in Debian's browser: it is all there, runs nothing, and what a dump says in HTML is text.

mod common;

use common::run::{self, Scratch};
use corpus::program;
use phyp_model::synth::dump::{self, catalogue};
use phyp_model::synth::running::linux::{Layout, Linux, Task};
use std::path::Path;
use std::process::{Command, Output};

/// What a browser made of a page.
struct Seen {
    output: String,
    /// What scripts and policies complained of.
    console: Vec<String>,
}

/// Opens a page with options; nothing of the user's own is looked at.
fn open(chromium: &Path, page: &Path, options: &[&str]) -> Seen {
    let home = Scratch::new("home");
    let profile = format!("--user-data-dir={}", home.directory().join("profile").display());
    let run = Command::new(chromium)
        .env("HOME", home.directory())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=2000", &profile])
        .args(options)
        .arg(format!("file://{}", page.display()))
        .output();
    let Output { status, stdout, stderr } = run.expect("a browser that starts");
    let (output, told) =
        (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert!(status.success(), "{told}");
    let console = told.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Seen { output, console }
}

/// The page of a dump's report.
fn page(dump: &Path) -> Scratch {
    let page = Scratch::new("page.html");
    let file = page.path().to_str().unwrap();
    run::hadump(["report", dump.to_str().unwrap(), "--tasks", "all", "--html", file]).ok();
    page
}

/// A PNG's width and height.
fn size(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG"), "a picture");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn a_page_is_shown_with_its_headings_and_stacks_and_without_an_error() {
    let (Some(chromium), Some(dump)) = (program("chromium"), corpus::dump(corpus::X86_64_DEBIAN)) else {
        return;
    };
    let page = page(&dump.elf);
    let seen = open(&chromium, page.path(), &["--dump-dom"]);
    assert_eq!(seen.console, [""; 0]);
    for heading in ["What happened", "Machine", "Stacks", "Tasks", "Modules", "Memory", "Log"] {
        assert!(seen.output.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    for frame in ["sysrq_handle_crash+0x1a/0x20", "ksys_write+0x7b/0x110", "<svg"] {
        assert!(seen.output.contains(frame), "{frame}");
    }
    // At the width of a desk and of a phone, and on paper.
    for width in [1280, 390] {
        let picture = Scratch::new("picture.png");
        let options =
            [format!("--window-size={width},900"), format!("--screenshot={}", picture.path().display())];
        open(&chromium, page.path(), &options.each_ref().map(String::as_str));
        assert_eq!(size(&std::fs::read(picture.path()).unwrap()), (width, 900));
    }
    let paper = Scratch::new("paper.pdf");
    open(&chromium, page.path(), &[&format!("--print-to-pdf={}", paper.path().display())]);
    assert!(std::fs::read(paper.path()).unwrap().starts_with(b"%PDF"));
}

#[test]
fn what_a_browser_complains_of_is_noticed() {
    let Some(chromium) = program("chromium") else { return };
    let page = Scratch::new("page.html");
    std::fs::write(page.path(), "<p>text<script>missing()</script>").unwrap();
    let seen = open(&chromium, page.path(), &["--dump-dom"]);
    assert!(seen.console.iter().any(|line| line.contains("missing is not defined")), "{:?}", seen.console);
}

#[test]
fn names_and_lines_of_the_log_that_are_html_are_shown_as_text() {
    let Some(chromium) = program("chromium") else { return };
    let mut made = catalogue::build("x86_64-4k-vmemmap-6.12").unwrap();
    let mut linux = Linux::begin(dump::Arch::X86_64, made.spec.order, made.image.0, Layout::NEW, 1);
    let hostile = Task { ids: (7, 7), comm: "<img src=x>", state: 2, cpu: 0, kthread: true, rss: None };
    let task = linux.task(&hostile);
    let calls = ["schedule", "kthread", "ret_from_fork"].map(|name| linux.code(name, 0x40));
    linux.sleeps(task, &calls);
    linux.module("<script>alert(1)</script>", &["</pre><h1>function"]);
    linux.counters(20_000, 4_000);
    linux.log(
        "<6>before\n<3></span><script>alert(2)</script>\n<0>Kernel panic - not syncing: <b onclick=x>&lt;\n",
    );
    made.put(&linux.finish(), &[]).unwrap();
    let file = Scratch::new("vmcore");
    made.write_elf(file.path()).unwrap();
    let page = page(file.path());
    let seen = open(&chromium, page.path(), &["--dump-dom"]);
    assert_eq!(seen.console, [""; 0]);
    for element in ["<script", "<img", "<b ", "<h1>function", "onclick=\""] {
        assert!(!seen.output.contains(element), "{element}:\n{}", seen.output);
    }
    for text in [
        "&lt;img src=x&gt;",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&lt;script&gt;alert(2)&lt;/script&gt;",
        "&lt;b onclick=x&gt;&amp;lt;",
    ] {
        assert!(seen.output.contains(text), "{text}:\n{}", seen.output);
    }
}
