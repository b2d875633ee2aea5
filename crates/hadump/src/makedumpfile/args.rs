//! makedumpfile's command line: its options, what they mean together, and what hadump does not do.
//!
//! Every option of makedumpfile 1.7.9 and of its development branch is known here. It works, or it tunes something that
//! hadump does not need to be told and is accepted, or it is refused by name: before anything is opened, and already
//! under `--check-params`, which distributions run when a machine is set up. An option that were ignored in silence would
//! be noticed only after a crash.

use super::getopt::{Getopt, Spec};
use dumpfile::codec::Method;
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use vmcore::{DumpLevel, VirtAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opt {
    Lzo,
    Snappy,
    Zlib,
    Zstd,
    Debug,
    DumpLevel,
    Elf,
    Flatten,
    Force,
    Generate,
    Help,
    ReadVmcoreinfo,
    SizeLimit,
    Rearrange,
    Version,
    Vmlinux,
    Split,
    Reassemble,
    MessageLevel,
    Vtop,
    DumpDmesg,
    PartialDmesg,
    Config,
    MemUsage,
    WorkDir,
    NumThreads,
    CheckParams,
    DryRun,
    ShowStats,
    /// Accepted and without effect.
    Tuning,
    /// Refused: the name, and why.
    Refused(&'static str, &'static str),
}

const XEN: &str = "dumps of Xen hosts are not supported";

const fn short(name: u8, takes_value: bool, option: Opt) -> Spec<Opt> {
    Spec { short: Some(name), long: None, takes_value, option }
}

const fn long(name: &'static str, takes_value: bool, option: Opt) -> Spec<Opt> {
    Spec { short: None, long: Some(name), takes_value, option }
}

/// In makedumpfile's order: glibc lists ambiguous names so.
const SPECS: [Spec<Opt>; 44] = [
    short(b'b', true, Opt::Tuning),
    short(b'c', false, Opt::Zlib),
    short(b'D', false, Opt::Debug),
    short(b'd', true, Opt::DumpLevel),
    short(
        b'e',
        false,
        Opt::Refused(
            "-e",
            "pages of struct page are never left out; without it the dump is larger and complete",
        ),
    ),
    short(b'E', false, Opt::Elf),
    short(b'F', false, Opt::Flatten),
    short(b'f', false, Opt::Force),
    short(b'g', true, Opt::Generate),
    short(b'h', false, Opt::Help),
    short(b'i', true, Opt::ReadVmcoreinfo),
    short(b'l', false, Opt::Lzo),
    short(b'L', true, Opt::SizeLimit),
    short(b'p', false, Opt::Snappy),
    short(b'R', false, Opt::Rearrange),
    short(b'v', false, Opt::Version),
    short(b'X', false, Opt::Refused("-X", XEN)),
    short(b'x', true, Opt::Vmlinux),
    short(b'z', false, Opt::Zstd),
    long("split", false, Opt::Split),
    long("reassemble", false, Opt::Reassemble),
    long("xen-syms", true, Opt::Refused("--xen-syms", XEN)),
    long("xen-vmcoreinfo", true, Opt::Refused("--xen-vmcoreinfo", XEN)),
    long("xen_phys_start", true, Opt::Refused("--xen_phys_start", XEN)),
    long("message-level", true, Opt::MessageLevel),
    long("vtop", true, Opt::Vtop),
    long("dump-dmesg", false, Opt::DumpDmesg),
    long("partial-dmesg", false, Opt::PartialDmesg),
    long("config", true, Opt::Config),
    long("help", false, Opt::Help),
    long("diskset", true, Opt::Refused("--diskset", "sadump disk sets are not supported")),
    long("cyclic-buffer", true, Opt::Tuning),
    long(
        "eppic",
        true,
        Opt::Refused("--eppic", "eppic macros are not run; --config erases data by rules of its own"),
    ),
    long("non-mmap", false, Opt::Tuning),
    long("mem-usage", false, Opt::MemUsage),
    long("splitblock-size", true, Opt::Tuning),
    long("work-dir", true, Opt::WorkDir),
    long("num-threads", true, Opt::NumThreads),
    long("check-params", false, Opt::CheckParams),
    long("dry-run", false, Opt::DryRun),
    long("show-stats", false, Opt::ShowStats),
    long("extension", true, Opt::Refused("--extension", "extensions are C objects for makedumpfile alone")),
    // Gone since 1.5.9, but still found in configurations older than that.
    long("non-cyclic", false, Opt::Tuning),
    long("version", false, Opt::Version),
];

/// What messages are printed; the values are makedumpfile's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageLevel(pub(super) u8);

impl MessageLevel {
    pub(super) const PROGRESS: u8 = 1;
    pub(super) const COMMON: u8 = 2;
    pub(super) const ERROR: u8 = 4;
    pub(super) const DEBUG: u8 = 8;
    pub(super) const REPORT: u8 = 16;
    const DEFAULT: Self = Self(Self::PROGRESS | Self::COMMON | Self::ERROR);

    pub(super) fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// The options of one call.
#[derive(Debug)]
pub(super) struct Options {
    /// `None` stores pages as they are.
    pub(super) codec: Option<Method>,
    /// One level, or several to try in turn when the output is full; never empty.
    pub(super) levels: Vec<DumpLevel>,
    pub(super) elf: bool,
    /// Standard output takes the dump; messages go to standard error.
    pub(super) flatten: bool,
    pub(super) force: bool,
    pub(super) messages: MessageLevel,
    pub(super) threads: Option<NonZeroUsize>,
    /// Bytes that the output may have.
    pub(super) limit: Option<u64>,
    pub(super) work_dir: Option<PathBuf>,
    pub(super) vtop: Option<VirtAddr>,
    pub(super) dry_run: bool,
    pub(super) check_only: bool,
    pub(super) partial_dmesg: bool,
    pub(super) vmlinux: Option<PathBuf>,
    pub(super) vmcoreinfo: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    /// What is odd about values that are taken all the same.
    pub(super) remarks: Vec<String>,
    /// -D and --show-stats add to the level wherever they stand.
    more_messages: u8,
    level_given: bool,
    generate: Option<PathBuf>,
    rearrange: bool,
    reassemble: bool,
    split: bool,
    dmesg: bool,
    mem_usage: bool,
    help: bool,
    version: bool,
    refused: Option<(&'static str, &'static str)>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    Help,
    Version,
    /// `-g`
    GenerateVmcoreinfo {
        output: PathBuf,
        vmlinux: PathBuf,
    },
    /// `-R`
    Rearrange {
        output: PathBuf,
    },
    /// `--reassemble`
    Reassemble {
        parts: Vec<PathBuf>,
        output: PathBuf,
    },
    /// `--dump-dmesg`
    Dmesg {
        input: PathBuf,
        output: Target,
    },
    /// `--mem-usage`
    MemUsage {
        input: PathBuf,
    },
    Create {
        input: PathBuf,
        output: Target,
    },
    /// `--split`
    Split {
        input: PathBuf,
        outputs: Vec<PathBuf>,
    },
}

/// Where a dump or a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Stdout,
    File(PathBuf),
}

/// Why a command line is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An option that does not exist, or lacks its value: glibc's words.
    Getopt(String),
    /// A value that makes no sense, in makedumpfile's words.
    Value(String),
    /// Options or operands that do not go together; sometimes there is more to say.
    Usage(Option<String>),
    /// What hadump does not do.
    Unsupported(String),
}

impl Options {
    /// Reads the arguments behind the program's name. The options are answered in any case: they say where and whether
    /// a refusal is printed.
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> (Self, Result<Job, Refusal>) {
        let mut options = Self::new();
        let mut getopt = Getopt::new(&SPECS, args);
        let job = loop {
            match getopt.next() {
                Ok(Some((option, value))) => {
                    if let Err(message) = options.take(option, value.unwrap_or_default()) {
                        break Err(Refusal::Value(message));
                    }
                }
                Ok(None) => break options.job(getopt.operands()),
                Err(message) => break Err(Refusal::Getopt(message)),
            }
        };
        options.messages.0 |= options.more_messages;
        if options.check_only {
            options.messages = MessageLevel::DEFAULT;
        }
        (options, job)
    }

    fn new() -> Self {
        Self {
            codec: None,
            levels: vec![DumpLevel::new(0).unwrap_or(DumpLevel::ALL)],
            elf: false,
            flatten: false,
            force: false,
            messages: MessageLevel::DEFAULT,
            threads: None,
            limit: None,
            work_dir: None,
            vtop: None,
            dry_run: false,
            check_only: false,
            partial_dmesg: false,
            vmlinux: None,
            vmcoreinfo: None,
            config: None,
            remarks: Vec::new(),
            more_messages: 0,
            level_given: false,
            generate: None,
            rearrange: false,
            reassemble: false,
            split: false,
            dmesg: false,
            mem_usage: false,
            help: false,
            version: false,
            refused: None,
        }
    }

    fn take(&mut self, option: Opt, value: OsString) -> Result<(), String> {
        match option {
            Opt::Lzo => self.codec = Some(Method::Lzo),
            Opt::Snappy => self.codec = Some(Method::Snappy),
            Opt::Zlib => self.codec = Some(Method::Zlib),
            Opt::Zstd => self.codec = Some(Method::Zstd),
            Opt::Debug => self.more_messages |= MessageLevel::DEBUG,
            Opt::ShowStats => self.more_messages |= MessageLevel::REPORT,
            Opt::DumpLevel => self.take_levels(&value)?,
            Opt::SizeLimit => {
                let limit = parse_size(&value).filter(|&limit| limit > 0);
                self.limit =
                    Some(limit.ok_or_else(|| format!("Limit size({}) is invalid.", value.display()))?);
            }
            Opt::MessageLevel => {
                let level = self.number("--message-level", &value);
                let level = u8::try_from(level).ok().filter(|&level| level <= 31);
                let level = level.ok_or_else(|| format!("Message_level({}) is invalid.", value.display()))?;
                self.messages = MessageLevel(level);
            }
            Opt::NumThreads => {
                let threads = self.number("--num-threads", &value);
                self.threads = usize::try_from(threads).ok().and_then(NonZeroUsize::new);
            }
            Opt::Vtop => {
                let text = value.to_string_lossy();
                let addr = parse_address(&text).ok_or_else(|| format!("--vtop {text}: not an address"))?;
                self.vtop = Some(VirtAddr(addr));
            }
            Opt::Elf => self.elf = true,
            Opt::Flatten => self.flatten = true,
            Opt::Force => self.force = true,
            Opt::Generate => self.generate = Some(value.into()),
            Opt::Help => self.help = true,
            Opt::ReadVmcoreinfo => self.vmcoreinfo = Some(value.into()),
            Opt::Rearrange => self.rearrange = true,
            Opt::Version => self.version = true,
            Opt::Vmlinux => self.vmlinux = Some(value.into()),
            Opt::Split => self.split = true,
            Opt::Reassemble => self.reassemble = true,
            Opt::DumpDmesg => self.dmesg = true,
            Opt::PartialDmesg => self.partial_dmesg = true,
            Opt::Config => self.config = Some(value.into()),
            Opt::MemUsage => self.mem_usage = true,
            Opt::WorkDir => self.work_dir = Some(value.into()),
            Opt::CheckParams => self.check_only = true,
            Opt::DryRun => self.dry_run = true,
            Opt::Tuning => {}
            Opt::Refused(name, why) => self.refused = self.refused.or(Some((name, why))),
        }
        Ok(())
    }

    /// A dump level, or several with commas between.
    fn take_levels(&mut self, value: &OsStr) -> Result<(), String> {
        let text = value.to_string_lossy();
        let mut levels = Vec::new();
        for level in text.split(',').filter(|level| !level.is_empty()) {
            let number = self.number("-d", OsStr::new(level));
            let known = u32::try_from(number).ok().and_then(DumpLevel::new);
            levels.push(known.ok_or_else(|| format!("Dump_level({number}) is invalid."))?);
        }
        if levels.is_empty() {
            return Err(format!("Dump_level({text}) is invalid."));
        }
        (self.levels, self.level_given) = (levels, true);
        Ok(())
    }

    /// A number as `atoi` reads it. After a crash a dump of the wrong level is worth more than a complaint about letters
    /// behind a digit, so these are said and no more.
    fn number(&mut self, option: &str, value: &OsStr) -> i64 {
        let text = value.to_string_lossy();
        let trimmed = text.trim();
        let end = trimmed
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || at == 0 && matches!(c, '-' | '+')))
            .map_or(trimmed.len(), |(at, _)| at);
        let number = trimmed[..end].parse().unwrap_or(0);
        if end != trimmed.len() || end == 0 {
            self.remarks.push(format!("{option} {text}: read as {number}"));
        }
        number
    }

    /// What the options and operands ask for together.
    fn job(&self, operands: Vec<OsString>) -> Result<Job, Refusal> {
        if self.help {
            return Ok(Job::Help);
        }
        if self.version {
            return Ok(Job::Version);
        }
        let job = self.kind(operands.into_iter().map(PathBuf::from).collect())?;
        let partial = ("--partial-dmesg", "the log is written whole; leave this option out");
        let found = self.partial_dmesg.then_some(partial);
        if let Some((name, why)) = self.refused.or(found) {
            return Err(Refusal::Unsupported(format!("{name}: {why}")));
        }
        Ok(job)
    }

    fn kind(&self, mut operands: Vec<PathBuf>) -> Result<Job, Refusal> {
        let wrong = || Err(Refusal::Usage(None));
        let because = |why: &str| Err(Refusal::Usage(Some(why.into())));
        // What only the making of a dump from another can use.
        let creating = self.codec.is_some()
            || self.level_given && self.levels[0].bits() > 0
            || self.elf
            || self.vmcoreinfo.is_some()
            || self.flatten;
        if let Some(output) = &self.generate {
            let Some(vmlinux) = &self.vmlinux else { return wrong() };
            return if !operands.is_empty() || creating || self.rearrange {
                wrong()
            } else if self.dry_run {
                because("--dry-run cannot be used with -g.")
            } else {
                Ok(Job::GenerateVmcoreinfo { output: output.clone(), vmlinux: vmlinux.clone() })
            };
        }
        if self.rearrange {
            return match (<[PathBuf; 1]>::try_from(operands), creating || self.vmlinux.is_some()) {
                (Ok([output]), false) => Ok(Job::Rearrange { output }),
                _ => wrong(),
            };
        }
        if self.reassemble {
            if creating || self.vmlinux.is_some() || self.split {
                return wrong();
            }
            if self.dry_run {
                return because("--dry-run cannot be used with --reassemble.");
            }
            return match operands.pop() {
                Some(output) if !operands.is_empty() => Ok(Job::Reassemble { parts: operands, output }),
                _ => wrong(),
            };
        }
        self.contradictions()?;
        if self.split {
            return match operands.split_first() {
                Some((input, outputs)) if outputs.len() > 1 => {
                    Ok(Job::Split { input: input.clone(), outputs: outputs.to_vec() })
                }
                _ => wrong(),
            };
        }
        let mut operands = operands.into_iter();
        let (input, output) = match (operands.next(), operands.next(), operands.next()) {
            (Some(input), None, None) if self.flatten => (input, Target::Stdout),
            (Some(input), None, None) if self.mem_usage => return Ok(Job::MemUsage { input }),
            (Some(input), Some(output), None) if !self.flatten && output == OsStr::new("-") => {
                (input, Target::Stdout)
            }
            (Some(input), Some(output), None) if !self.flatten => (input, Target::File(output)),
            _ => return wrong(),
        };
        Ok(if self.dmesg { Job::Dmesg { input, output } } else { Job::Create { input, output } })
    }

    /// Options for the making of a dump that exclude each other.
    fn contradictions(&self) -> Result<(), Refusal> {
        let because = |why: &str| Err(Refusal::Usage(Some(why.into())));
        if self.codec.is_some() && self.elf
            || self.vmcoreinfo.is_some() && self.vmlinux.is_some()
            || self.flatten && self.split
            || self.config.is_some() && self.vmlinux.is_none()
            || self.partial_dmesg && !self.dmesg
        {
            return Err(Refusal::Usage(None));
        }
        if self.dry_run && self.dmesg {
            return because("--dry-run cannot be used with --dump-dmesg.");
        }
        if self.threads.is_some() && self.split {
            return because("--num-threads cannot used with --split.");
        }
        if self.threads.is_some() && self.elf {
            return because("--num-threads cannot used with ELF format.");
        }
        if self.split && self.elf {
            return because("Options for splitting dumpfile cannot be used with Elf format.");
        }
        Ok(())
    }
}

/// A number of bytes with K, M, G, T, P or E behind it.
fn parse_size(value: &OsStr) -> Option<u64> {
    let text = value.to_str()?;
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        (at, 'p' | 'P') => (&text[..at], 50),
        (at, 'e' | 'E') if !text.starts_with("0x") => (&text[..at], 60),
        _ => (text, 0),
    };
    parse_address(digits)?.checked_mul(1 << shift)
}

/// A number in decimal, hexadecimal with `0x` or octal with `0`, as `strtoul` reads it.
fn parse_address(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}
