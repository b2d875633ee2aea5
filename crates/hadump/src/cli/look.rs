//! The command lines of `hadump search` and `hadump read`, which end with what is looked for and not with an input.

use super::input::InputArgs;
use super::parse;
use clap::builder::Resettable;
use clap::{Args, ValueEnum};
use std::num::NonZeroU64;
use std::path::PathBuf;
use vmcore::PhysAddr;

const PATTERNS: &str = "\
Patterns:
  TEXT, text:TEXT            these bytes
  hex:BYTES                  these bytes, such as hex:dead??ef; each ? is half of one that may be anything
  word:VALUE[/MASK]          words of the machine that are VALUE in the bits of MASK, aligned, in the dump's byte order
  u16: u32: u64:VALUE[/MASK] numbers of this size, likewise
  pointer:START-END          pointers into a range of addresses; also pointer:START+LENGTH
  regex:EXPRESSION           what a regular expression matches, on bytes

Numbers are decimal, or hexadecimal after 0x. Addresses are hexadecimal, or symbols of the kernel: init_task+0x10.";

#[derive(Debug, Args)]
#[command(
    override_usage = "hadump search [OPTIONS] <INPUT>... <PATTERN>",
    after_help = PATTERNS,
    mut_arg("input", last_is_no_input),
    mut_arg("memory", beside_what_is_looked_for)
)]
pub(crate) struct Search {
    #[command(flatten)]
    input: InputArgs,
    /// Search only these physical addresses
    #[arg(long, value_name = "START-END", value_parser = parse::range)]
    pub(crate) physical: Option<vmcore::Range<PhysAddr>>,
    /// Search only pages that the kernel uses for this
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',')]
    pub(crate) class: Vec<Class>,
    /// Stop after N matches
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroU64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the kernel uses pages for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Class {
    /// The kernel's own, and what cannot be told from it
    Kernel,
    /// Memory of processes
    User,
    /// Page cache
    Cache,
    /// Free memory
    Free,
}

impl Search {
    /// The input, and the pattern.
    pub(crate) fn typed(&self) -> Result<(InputArgs, PathBuf), String> {
        let (input, [pattern]) = split(&self.input, "a PATTERN")?;
        Ok((input, pattern))
    }
}

#[derive(Debug, Args)]
#[command(
    override_usage = "hadump read [OPTIONS] <INPUT>... <ADDRESS> <LENGTH>",
    after_help = "The address is hexadecimal, or a symbol of the kernel: linux_banner, init_task+0x10. The length is a number of bytes, \
                  decimal or hexadecimal after 0x.",
    mut_arg("input", last_is_no_input),
    mut_arg("memory", beside_what_is_looked_for)
)]
pub(crate) struct Read {
    #[command(flatten)]
    input: InputArgs,
    /// The address is a physical one
    #[arg(long)]
    pub(crate) physical: bool,
    /// How the bytes are printed
    #[arg(long, value_name = "HOW", default_value = "hex")]
    pub(crate) format: Shape,
}

/// How bytes of memory are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Addresses, bytes and ASCII
    Hex,
    /// The bytes themselves, into a pipe or a file
    Raw,
    /// Words of the machine, with the symbol where one is an address of the kernel
    Words,
    /// The text up to its NUL
    String,
}

impl Read {
    /// The input, the address and the length.
    pub(crate) fn typed(&self) -> Result<(InputArgs, String, String), String> {
        let (input, looked_for) = split::<2>(&self.input, "an ADDRESS and a LENGTH")?;
        let [address, length] = looked_for.map(|typed| typed.to_string_lossy().into_owned());
        Ok((input, address, length))
    }
}

/// Takes what is looked for, the last arguments, from the input.
fn split<const N: usize>(args: &InputArgs, what: &str) -> Result<(InputArgs, [PathBuf; N]), String> {
    let mut input = args.clone();
    let inputs = input.input.len().checked_sub(N);
    let inputs = inputs.filter(|&inputs| (inputs == 0) == args.memory.is_some());
    let looked_for = inputs.map(|inputs| input.input.split_off(inputs)).and_then(|last| last.try_into().ok());
    match looked_for {
        Some(looked_for) => Ok((input, looked_for)),
        None if args.memory.is_some() => Err(format!("with --memory there is {what} and no other INPUT")),
        None => Err(format!("an INPUT and {what} are needed")),
    }
}

/// clap knows one list of arguments only.
fn last_is_no_input(input: clap::Arg) -> clap::Arg {
    input.required_unless_present(Resettable::Reset).required(true)
}

fn beside_what_is_looked_for(memory: clap::Arg) -> clap::Arg {
    memory.conflicts_with(Resettable::Reset)
}
