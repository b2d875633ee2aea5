//! The dump that is read, with what the user's files say of its kernel.

use super::args::{MessageLevel, Options};
use super::messages::Messages;
use super::{given, headers};
use crate::beside::{Manner, report};
use crate::cli::{Access, InputArgs};
use crate::custody::{self, Watch};
use crate::input::{self, Prefer};
use anyhow::Result;
use dumpfile::codec::Method;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use vmcore::{Dump, Note};

/// The dump that is read, and its name for messages.
pub(super) struct Source {
    pub(super) args: InputArgs,
    pub(super) dump: Dump,
    /// Notes of hadump's own.
    pub(super) notes: Vec<Note>,
    /// The dump is of a Xen host, and its frames are not those of any Linux in it.
    pub(super) xen: bool,
    /// The machine whose memory is read, if it is one that runs.
    pub(super) watch: Option<Watch>,
}

/// The dump is not of a Xen host, as the user says. The text is makedumpfile's.
#[derive(Debug)]
pub(super) struct NotXen(String);

impl fmt::Display for NotXen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'-X' option is disable,because {} is not Xen's memory core image.", self.0)
    }
}

impl std::error::Error for NotXen {}

/// The variable of the environment that asks for a report beside a dump or a log, and the two words that it may be.
const REPORT: &str = "HADUMP_REPORT";
const BESIDE: &str = "beside";
const NEVER: &str = "never";

impl Source {
    /// Reports why the machine crashed beside the file `output`, if the environment asks for it. The dump is made whatever comes of
    /// it.
    pub(super) fn report_beside(&self, options: &Options, output: &Path, say: Messages) {
        let asked = std::env::var_os(REPORT).filter(|asked| !asked.is_empty() && asked != NEVER);
        let is_file = output.metadata().map_or(true, |metadata| metadata.is_file());
        let Some(asked) = asked.filter(|_| is_file && !options.dry_run && !self.xen) else { return };
        if asked != BESIDE {
            let asked = asked.display();
            say.error(&format!("{REPORT}={asked}: neither {BESIDE} nor {NEVER}; nothing is reported"));
            return;
        }
        // Scripts give the name without it when the dump is whole.
        let name = output.as_os_str().as_encoded_bytes().strip_suffix(b"-incomplete");
        let name = name.map_or(output, |name| Path::new(OsStr::from_bytes(name)));
        let manner = Manner { name, recipients: None, replace: options.force };
        let failed = match report::save(&self.dump, &self.args.name(), &manner) {
            Ok(made) => {
                say.debug(&format!("Reported why the machine crashed: {}", made.cause));
                made.failed
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            say.error(&format!("why the machine crashed was not reported: {error:#}"));
        }
    }

    pub(super) fn kernel(&self) -> Result<kernel::Kernel<'_>> {
        input::kernel(&self.dump, &self.args)
    }

    /// Refuses to keep what was read, if the memory turns out not to have been the dump's any more.
    pub(super) fn check_memory(&self) -> Result<()> {
        custody::check(self.watch.as_ref())
    }

    /// How the input's pages are compressed.
    pub(super) fn method(&self) -> Option<Method> {
        self.dump.source.compression.and_then(Method::from_name)
    }
}

/// Opens VMCORE, and prints its headers and its VMCOREINFO with the debugging messages: openSUSE's kdump takes the release
/// and the time of the crash from them.
pub(super) fn open(options: &Options, path: &Path, say: Messages) -> Result<Source> {
    open_args(options, InputArgs::path(path), say)
}

pub(super) fn open_args(options: &Options, args: InputArgs, say: Messages) -> Result<Source> {
    let access = if options.non_mmap { Access::Read } else { Access::Usual };
    let args = InputArgs { access, ..args };
    let watch = input::watch(&args);
    let mut dump = input::open_as_it_is(&args, Prefer::Vmcore, None)?;
    input::find_contradictions(&mut dump, &args)?;
    let debugging = say.level().has(MessageLevel::DEBUG);
    if debugging {
        say.debug(headers::text(&args.input, &dump).trim_end());
    }
    let xen = dump.notes.iter().any(|note| note.name == b"Xen");
    if options.xen && !xen {
        return Err(NotXen(args.name()).into());
    }
    if options.xen {
        say.error(&format!("-X: {} is of a Xen host, of which all pages are kept", args.name()));
    }
    let (dump, notes) = given::apply(options, dump, say)?;
    if debugging && let Some(info) = &dump.vmcoreinfo {
        let lines =
            String::from_utf8_lossy(info.text()).lines().map(|l| format!("  {l}\n")).collect::<String>();
        say.debug(&format!("VMCOREINFO   :\n{lines}"));
    }
    if debugging {
        say.debug(&headers::facts(&dump));
    }
    Ok(Source { args, dump, notes, xen: options.xen, watch })
}
