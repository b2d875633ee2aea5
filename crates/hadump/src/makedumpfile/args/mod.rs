//! makedumpfile's command line: its options, what they mean together, and what hadump does not do.
//!
//! Every option of makedumpfile 1.7.9 and of its development branch is known here. It works, or it tunes something that
//! hadump does not need to be told and is accepted, or it is refused by name: before anything is opened, and already
//! under `--check-params`, which distributions run when a machine is set up. An option that was silently ignored would be
//! noticed only after a crash.

mod number;
mod table;
#[cfg(test)]
mod tests;

use super::getopt::Getopt;
use dumpfile::codec::Method;
use number::{parse_size, parse_virtual_address};
use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use table::{Opt, SPECS};
use vmcore::{DumpLevel, VirtAddr};

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
    /// The most bytes that the output may have.
    pub(super) limit: Option<u64>,
    pub(super) work_dir: Option<PathBuf>,
    pub(super) vtop: Option<VirtAddr>,
    pub(super) dry_run: bool,
    pub(super) check_only: bool,
    pub(super) partial_dmesg: bool,
    pub(super) vmlinux: Option<PathBuf>,
    pub(super) vmcoreinfo: Option<PathBuf>,
    pub(super) config: Option<PathBuf>,
    /// The dump has to be a Xen host's.
    pub(super) xen: bool,
    /// /proc/vmcore is read, not mapped.
    pub(super) non_mmap: bool,
    /// Oddities of values that are accepted all the same.
    pub(super) remarks: Vec<String>,
    /// -D and --show-stats add to the level, wherever they are on the command line.
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

/// Why a command line is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An option that does not exist, or lacks its value: glibc's words.
    Getopt(String),
    /// An invalid value, in makedumpfile's words.
    Value(String),
    /// Options or operands that cannot be combined, with a message for some.
    Usage(Option<String>),
    /// What hadump does not do.
    Unsupported(String),
}

impl Options {
    /// Parses the arguments after the program's name. The options are returned in any case: they determine where and
    /// whether a refusal is printed.
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

    /// Whether makedumpfile has an option of this name, alone or with others or a value behind it.
    pub(super) fn knows(arg: &str) -> bool {
        let long = arg.strip_prefix("--").map(|name| name.split('=').next().unwrap_or(name));
        SPECS.iter().any(|spec| match long {
            Some(name) => spec.long == Some(name),
            None => spec.short.is_some_and(|short| arg.as_bytes().get(1) == Some(&short)),
        })
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
            xen: false,
            non_mmap: false,
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
                let addr = parse_virtual_address(&text)
                    .ok_or_else(|| format!("--vtop {text}: not an address, such as 0xc000000000000000"))?;
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
            Opt::Xen => self.xen = true,
            Opt::NonMmap => self.non_mmap = true,
            Opt::NeedsNot(name, why) => self.remarks.push(format!("{name}: {why}")),
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

    /// A number as `atoi` reads it. After a crash a dump of the wrong level is worth more than a refusal because of letters
    /// after the digits, so these are only reported.
    fn number(&mut self, option: &str, value: &OsStr) -> i64 {
        let text = value.to_string_lossy();
        let (number, exact) = number::atoi(&text);
        if !exact {
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
        if let Some((name, why)) = self.refused {
            return Err(Refusal::Unsupported(format!("{name}: {why}")));
        }
        Ok(job)
    }

    fn kind(&self, mut operands: Vec<PathBuf>) -> Result<Job, Refusal> {
        let wrong = || Err(Refusal::Usage(None));
        let because = |why: &str| Err(Refusal::Usage(Some(why.into())));
        // Options that only creating a dump from another can use.
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
