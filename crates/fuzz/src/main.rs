//! Long runs of one target or all: `cargo xtask fuzz`.

#![forbid(unsafe_code)]

use clap::Parser;
use fuzz::{Failure, Runner, TARGETS};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Hands changed inputs to hadump's readers; no input may make them panic, hang or take memory out of proportion
#[derive(Parser)]
#[command(name = "cargo xtask fuzz", bin_name = "cargo xtask fuzz")]
struct Arguments {
    /// How many changed inputs each target gets
    #[arg(long, default_value_t = 100_000)]
    runs: u64,
    /// One target only
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|t| t.name)))]
    target: Option<String>,
    /// The number of the first run
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Hand over this file instead
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// Where an input that fails is kept
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    keep: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = TARGETS.iter().filter(|t| arguments.target.as_ref().is_none_or(|name| name == t.name));
    let mut failed = false;
    for target in chosen {
        let runner = Runner::new(target);
        let started = Instant::now();
        let result = match &arguments.input {
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => runner.replay(bytes).map(|taken| (1, u64::from(taken))),
                Err(error) => {
                    eprintln!("fuzz: {}: {error}", path.display());
                    return ExitCode::FAILURE;
                }
            },
            None => runner
                .run(arguments.first..arguments.first.saturating_add(arguments.runs))
                .map(|taken| (arguments.runs, taken)),
        };
        match result {
            Ok((runs, taken)) => {
                println!(
                    "{:>10}  {runs} runs, {taken} inputs taken, in {:.1?}",
                    target.name,
                    started.elapsed()
                );
            }
            Err(failure) => {
                report(&failure, &arguments);
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn report(failure: &Failure, arguments: &Arguments) {
    println!("{:>10}  FAILED in run {}: {}", failure.target, failure.run, failure.what);
    if arguments.input.is_some() {
        return;
    }
    let path = arguments.keep.join(format!("fuzz-{}-{}.bin", failure.target, failure.run));
    match std::fs::write(&path, &failure.input) {
        Ok(()) => println!(
            "            once more: cargo xtask fuzz --target {} --input {}",
            failure.target,
            path.display()
        ),
        Err(error) => println!("            {}: {error}", path.display()),
    }
}
