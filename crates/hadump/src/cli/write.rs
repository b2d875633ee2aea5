//! What is written, as every command that writes takes it.

use super::parse;
use anyhow::Result;
use clap::{Args, ValueEnum};
use dumpfile::codec::{Choice, Method, Methods};
use dumpfile::kdump;
use sealed::Recipients;
use std::num::NonZeroUsize;
use vmcore::DumpLevel;

/// What is written, and how, as `convert` and `save` take it.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    pub(crate) level: LevelArgs,
    /// Compression method [default: zstd]
    #[arg(short, long, value_name = "METHOD")]
    pub(crate) compression: Option<Compression>,
    /// What -c auto chooses from: several of none, snappy, lzo, zlib, zstd [default: none,lzo,zstd, or none,zlib,zstd in a
    /// build without LZO]
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', hide_possible_values = true)]
    pub(crate) methods: Vec<Compression>,
    /// Compression level (zlib 1..9, zstd -5..19)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) compression_level: Option<i32>,
    /// File format; an ELF file is never compressed
    #[arg(long, value_name = "FORMAT", default_value = "kdump")]
    pub(crate) format: Format,
    /// Store identical pages once (2 to 40 % slower)
    #[arg(long)]
    pub(crate) dedup: bool,
    /// Leave out the checksums by which `hadump verify` proves the file bit for bit (about 0.4 % of its size)
    #[arg(long)]
    pub(crate) no_checksums: bool,
    /// Threads that compress, besides one that writes [default and maximum: one per CPU]
    #[arg(short = 'j', long, value_name = "N", value_parser = parse::threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Copy the registers of a firmware-assisted dump into the crashed kernel's crash_notes, which fadump leaves empty
    /// and where drgn looks for the registers of running tasks. The output then differs from the dumped memory, and a
    /// note in it records where
    #[arg(long)]
    pub(crate) fill_crash_notes: bool,
    /// Encrypt the output so that only the owner of RECIPIENT's private key can read it; RECIPIENT is an age key
    /// (age1...), an SSH public key or a file of such keys, and may be given several times
    #[arg(long, value_name = "RECIPIENT", value_parser = parse_recipient)]
    pub(crate) encrypt_to: Vec<String>,
}

impl WriteArgs {
    /// Everything that the input holds, in a kdump file.
    pub(crate) fn everything(compression: Compression, threads: Option<NonZeroUsize>) -> Self {
        Self {
            level: LevelArgs { level: DumpLevel::new(0), exclude: Vec::new(), no_gate: false, mini: None },
            compression: Some(compression),
            methods: Vec::new(),
            compression_level: None,
            format: Format::Kdump,
            dedup: false,
            no_checksums: false,
            threads,
            fill_crash_notes: false,
            encrypt_to: Vec::new(),
        }
    }

    /// How pages are stored. An ELF file holds them as they are, whatever the default for kdump files is.
    pub(crate) fn compression(&self) -> Compression {
        match self.format {
            Format::Kdump => self.compression.unwrap_or(Compression::Zstd),
            Format::Elf => Compression::None,
        }
    }

    /// The same for a writer.
    pub(crate) fn choice(&self) -> Choice {
        match self.compression() {
            Compression::Auto => {
                Choice::Auto(Methods::of(self.methods.iter().map(|way| way.method())).unwrap_or_default())
            }
            one => Choice::One(one.method()),
        }
    }

    /// How the pages of a kdump file are stored with `method`.
    pub(crate) fn kdump_options(&self, method: Choice) -> kdump::Options {
        kdump::Options {
            method,
            level: self.compression_level,
            dedup: self.dedup,
            checksums: !self.no_checksums,
            part: None,
            beside: 0,
        }
    }

    /// Whether the output is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        !self.encrypt_to.is_empty()
    }

    /// Who is able to read the output, when it is encrypted.
    pub(crate) fn recipients(&self) -> Result<Option<Recipients>> {
        Ok(if self.is_encrypted() { Some(Recipients::parse(&self.encrypt_to)?) } else { None })
    }

    /// The first contradiction between options, as a message.
    pub(crate) fn contradiction(&self) -> Option<String> {
        if self.format == Format::Elf {
            if self.dedup {
                return Some(
                    "only kdump files can share pages: leave out --dedup or use --format kdump".into(),
                );
            }
            if self.no_checksums {
                return Some(
                    "only kdump files have checksums: leave out --no-checksums or use --format kdump".into(),
                );
            }
            let compressed =
                self.compression.is_some_and(|c| c != Compression::None) || !self.methods.is_empty();
            return (compressed || self.compression_level.is_some()).then(|| {
                "an ELF file is never compressed: use --format kdump or no compression options".into()
            });
        }
        let compression = self.compression();
        if !self.methods.is_empty() && compression != Compression::Auto {
            return Some(
                "--methods is what -c auto chooses from: add -c auto, or leave out --methods".into(),
            );
        }
        if self.methods.contains(&Compression::Auto) {
            return Some("--methods takes the methods that -c auto chooses from, not auto itself".into());
        }
        let level = self.compression_level?;
        let levels = compression.method().and_then(Method::levels);
        let name = compression.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        match levels {
            None => Some(format!("{name} has no compression levels")),
            Some(levels) if !levels.contains(&level) => {
                Some(format!("{name} has compression levels {} to {}", levels.start(), levels.end()))
            }
            Some(_) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LevelArgs {
    /// Pages to leave out, the sum of: 1 zero pages, 2 page cache without private data, 4 all page cache, 8 user memory,
    /// 16 free pages [default: 31]
    #[arg(short = 'd', long = "dump-level", value_name = "LEVEL", value_parser = parse_level)]
    level: Option<DumpLevel>,
    /// Pages to leave out, by name instead of by level
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',', conflicts_with = "level")]
    exclude: Vec<PageClass>,
    /// Skip the plausibility checks of the kernel's structures (docs/gate.md)
    #[arg(long)]
    no_gate: bool,
    /// Write a mini dump: at most SIZE bytes from a machine of any size, with what says why it crashed, for crash, drgn and
    /// `hadump report` (docs/mini.md) [SIZE if not given: 64M]
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = parse::size,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "64M",
        conflicts_with_all = ["level", "exclude", "no_gate"]
    )]
    mini: Option<u64>,
}

impl LevelArgs {
    /// Whether what the kernel's structures say is checked before pages are left out.
    pub(crate) fn gated(&self) -> bool {
        !self.no_gate
    }

    /// The most bytes of a mini dump, where one is asked for.
    pub(crate) fn mini(&self) -> Option<u64> {
        self.mini
    }

    /// The dump level asked for.
    pub(crate) fn level(&self) -> DumpLevel {
        if self.exclude.is_empty() {
            return self.level.unwrap_or(DumpLevel::ALL);
        }
        let bits = self.exclude.iter().fold(0, |bits, class| bits | class.bit());
        DumpLevel::new(bits.into()).expect("classes are the bits of 31")
    }
}

/// The classes of pages that can be left out.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PageClass {
    /// Pages of zeros
    Zero,
    /// Page cache without private data
    Cache,
    /// All page cache, with or without private data
    #[value(name = "cache_private", alias = "private")]
    CachePrivate,
    /// Memory of user processes
    User,
    /// Free pages
    Free,
}

impl PageClass {
    fn bit(self) -> u8 {
        match self {
            Self::Zero => DumpLevel::ZERO,
            Self::Cache => DumpLevel::CACHE,
            Self::CachePrivate => DumpLevel::CACHE_PRIVATE,
            Self::User => DumpLevel::USER,
            Self::Free => DumpLevel::FREE,
        }
    }
}

fn parse_level(text: &str) -> std::result::Result<DumpLevel, String> {
    text.parse().ok().and_then(DumpLevel::new).ok_or_else(|| "a dump level is a number from 0 to 31".into())
}

/// A recipient that can be encrypted to, as it was given: checked before anything is read.
fn parse_recipient(text: &str) -> std::result::Result<String, String> {
    match Recipients::parse(&[text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Best ratio for its speed; some builds of other tools cannot read it
    Zstd,
    /// Read by every tool
    Zlib,
    /// Fast, larger
    Lzo,
    /// Fast, larger still
    Snappy,
    /// No compression
    None,
    /// For each batch of pages what disk and processors have time for; the same input then gives files that differ
    Auto,
}

impl Compression {
    /// The codec; `None` to store pages as they are, and for `auto`, which is none.
    pub(crate) fn method(self) -> Option<Method> {
        match self {
            Self::Zstd => Some(Method::Zstd),
            Self::Zlib => Some(Method::Zlib),
            Self::Lzo => Some(Method::Lzo),
            Self::Snappy => Some(Method::Snappy),
            Self::None | Self::Auto => None,
        }
    }
}

/// The formats that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// makedumpfile's kdump-compressed format
    Kdump,
    /// An ELF core
    Elf,
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn level(args: &[&str]) -> std::result::Result<u8, clap::Error> {
        let fixed = ["hadump", "convert", "in", "-o", "out"];
        let cli = Cli::try_parse_from(fixed.iter().chain(args))?;
        let Command::Convert(convert) = cli.command else { unreachable!("it says convert") };
        Ok(convert.write.level.level().bits())
    }

    #[test]
    fn options_that_contradict_each_other_are_found() {
        let contradiction = |args: &[&str]| {
            let fixed = ["hadump", "convert", "in", "-o", "out"];
            let Command::Convert(convert) = Cli::parse_from(fixed.iter().chain(args)).command else {
                unreachable!("it says convert")
            };
            convert.write.contradiction()
        };
        for good in [
            &["-c", "zlib", "--compression-level", "9"][..],
            &["--compression-level=-5"],
            &["--format", "elf"],
            &["-c", "auto"],
            &["-c", "auto", "--methods", "none,zlib"],
        ] {
            assert_eq!(contradiction(good), None);
        }
        for bad in [
            &["-c", "zlib", "--compression-level", "10"][..],
            &["-c", "none", "--compression-level", "1"],
            &["-c", "lzo", "--compression-level", "1"],
            &["--format", "elf", "-c", "zlib"],
            &["--format", "elf", "--compression-level", "1"],
            &["--format", "elf", "--no-checksums"],
            &["--format", "elf", "-c", "auto"],
            &["--format", "elf", "--methods", "none"],
            &["--methods", "none,zlib"],
            &["-c", "auto", "--methods", "auto"],
            &["-c", "auto", "--compression-level", "1"],
        ] {
            assert!(contradiction(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn levels_are_given_as_a_sum_or_by_name() {
        assert_eq!(level(&[]).unwrap(), 31);
        assert_eq!(level(&["-d", "17"]).unwrap(), 17);
        assert_eq!(level(&["--exclude", "zero,free"]).unwrap(), 17);
        assert_eq!(level(&["--exclude", "cache_private"]).unwrap(), 4);
        assert_eq!(level(&["--exclude", "private"]).unwrap(), 4);
        assert!(level(&["-d", "32"]).is_err());
        assert!(level(&["-d", "1", "--exclude", "zero"]).is_err());
    }
}
