//! The record of what was saved in a boot.

use crate::line::{self, Words, escape, path_of, unescape};
use std::path::PathBuf;
use vmcore::DumpLevel;

/// A dump that was saved in this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Identifies the dump, see [`crate::identity`].
    pub dump: u64,
    /// The files, or what else it went into.
    pub files: Vec<PathBuf>,
    /// Whether it has every page that it should have.
    pub complete: bool,
    /// Whether the kernel showed `/proc/vmcore` when it was saved.
    pub from_vmcore: bool,
    /// The dump level that was asked for.
    pub asked: DumpLevel,
    /// The level at which it was saved: higher where there was no room.
    pub level: DumpLevel,
    /// What hadump gave back of the memory afterwards.
    pub given_back: Option<GivenBack>,
}

impl Saved {
    /// Whether pages are missing that were asked for, because there was no room.
    pub fn is_raised(&self) -> bool {
        self.level.bits() & !self.asked.bits() != 0
    }
}

/// Memory that hadump gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// Through which file of the kernel.
    pub interface: Interface,
    /// Whether that was all of it.
    pub all: bool,
}

/// A file of the kernel that memory is released through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// phyp-dump's `release_region`, range by range.
    ReleaseRegion,
    /// fadump's `release_mem`, all at once.
    ReleaseMem,
}

impl Interface {
    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReleaseRegion => "release_region",
            Self::ReleaseMem => "release_mem",
        }
    }
}

/// One line of the record:
///
/// ```text
/// saved boot=2f1c... dump=5f3a90c1d2e4b687 complete=1 vmcore=1 asked=0 level=31 file=/var/crash/vmcore 9a0b1c2d
/// given-back boot=2f1c... interface=release_mem all=1 01234567
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Saved(Saved),
    /// Of the memory of the dump that was saved last.
    GivenBack(GivenBack),
}

impl Line {
    pub(super) fn encode(&self, boot: &str) -> String {
        let boot = escape(boot.as_bytes());
        line::seal(match self {
            Self::Saved(saved) => {
                let Saved { dump, complete, from_vmcore, asked, level, .. } = saved;
                let (complete, vmcore) = (u8::from(*complete), u8::from(*from_vmcore));
                let mut line = format!(
                    "saved boot={boot} dump={dump:016x} complete={complete} vmcore={vmcore} asked={asked} level={level}"
                );
                for file in &saved.files {
                    line += &format!(" file={}", escape(file.as_os_str().as_encoded_bytes()));
                }
                line
            }
            Self::GivenBack(GivenBack { interface, all }) => {
                format!("given-back boot={boot} interface={} all={}", interface.name(), u8::from(*all))
            }
        })
    }

    /// The boot that a line is of, and what it says; `None` when it is torn.
    fn decode(line: &[u8]) -> Option<(String, Self)> {
        let words = Words::of(line::unseal(line)?);
        let level = |name: &str| DumpLevel::new(words.field(name)?.parse().ok()?);
        let line = match *words.0.first()? {
            "saved" => Self::Saved(Saved {
                dump: u64::from_str_radix(words.field("dump")?, 16).ok()?,
                files: words.fields("file").map(path_of).collect::<Option<_>>()?,
                complete: words.decimal("complete")? == 1,
                from_vmcore: words.decimal("vmcore")? == 1,
                asked: level("asked")?,
                level: level("level")?,
                given_back: None,
            }),
            "given-back" => Self::GivenBack(GivenBack {
                interface: match words.field("interface")? {
                    "release_region" => Interface::ReleaseRegion,
                    "release_mem" => Interface::ReleaseMem,
                    _ => return None,
                },
                all: words.decimal("all")? == 1,
            }),
            _ => return None,
        };
        Some((String::from_utf8(unescape(words.field("boot")?)?).ok()?, line))
    }
}

/// What the lines say of the boot `boot`.
pub(super) fn last(lines: &[u8], boot: &str) -> Option<Saved> {
    let mut best: Option<Saved> = None;
    for line in lines.split_inclusive(|&b| b == b'\n') {
        match Line::decode(line) {
            Some((of, line)) if of == boot && !boot.is_empty() => match (line, &mut best) {
                // A save that failed takes nothing from one that did not.
                (Line::Saved(saved), Some(best)) if best.complete && !saved.complete => (),
                (Line::Saved(saved), best) => *best = Some(saved),
                (Line::GivenBack(given), Some(best)) => best.given_back = Some(given),
                (Line::GivenBack(_), None) => (),
            },
            _ => (),
        }
    }
    best
}
