//! Maintainers' tasks: `cargo xtask TASK`. Each is one file of `task/`.

#![forbid(unsafe_code)]

mod cargo;
mod cross;
mod guest;
mod manual;
mod pages;
mod task;

/// The integration tests' readers of dump files, which share no code with hadump.
#[path = "../../crates/hadump/tests/common/reader/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
mod reader;

/// hadump's command line, which man pages and completions are made of.
#[path = "../../crates/hadump/src/cli/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only its description is needed here")]
mod cli;

use clap::{Parser, Subcommand};
use corpus::unpack;
use std::path::Path;
use std::process::ExitCode;

/// Maintainers' tasks of hadump.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Saves a real POWER dump from testdata/ and verifies the result page by page
    Demo(task::demo::Demo),
    /// Runs every test; further arguments go to cargo test
    Test(task::test::Test),
    /// Times hadump and makedumpfile in turn
    Bench(task::bench::Bench),
    /// Crashes a real machine in QEMU, and saves its dump there
    Boot(task::boot::Boot),
    /// Makes the root directory of a machine after its crash, with any fault, to look at
    Model(task::model::Model),
    /// Makes the dump of a synthetic kernel of any architecture, to look at
    Synth(task::synth::Synth),
    /// Makes a large dump out of a small one, for bench
    Amplify(task::amplify::Amplify),
    /// Makes packages for distributions, and tries them
    Package(task::package::Packages),
    /// Writes the man pages, to read them
    Man(task::man::Pages),
    /// Hands hostile inputs to every reader
    Fuzz(task::fuzz::Fuzz),
    /// Checks formatting, lints and licences
    Lint,
    /// Lints, then tests
    Ci,
    /// Makes testdata/ from a corpus of dumps
    Testdata(task::testdata::Testdata),
    /// Runs a command and prints the time and memory it took, as JSON; `bench` starts itself with it
    #[command(hide = true)]
    Measure(task::measure::Measure),
    /// Does what `bench --capture` has planned; it starts itself so in its guests
    #[command(hide = true)]
    Capture(task::bench::Capture),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Demo(demo) => demo.run(),
        Task::Test(test) => test.run(),
        Task::Bench(bench) => bench.run(),
        Task::Boot(boot) => boot.run(),
        Task::Model(model) => model.run(),
        Task::Synth(synth) => synth.run(),
        Task::Amplify(amplify) => amplify.run(),
        Task::Package(packages) => packages.run(),
        Task::Man(pages) => pages.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Lint => task::lint::run(),
        Task::Ci => {
            task::lint::run()?;
            task::test::Test::default().run()
        }
        Task::Testdata(testdata) => testdata.run(),
        Task::Measure(measure) => measure.run(),
        Task::Capture(capture) => capture.run(),
    }
}

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}
