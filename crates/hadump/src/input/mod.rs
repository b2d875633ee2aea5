//! Opening what the user named: a dump file, the root of a machine after its crash, or the hypervisor's leavings file
//! by file.

pub(crate) mod crash_notes;
pub(crate) mod decrypt;
pub(crate) mod lent;
pub(crate) mod mini;
pub(crate) mod walk;

use crate::cli::InputArgs;
use crate::custody::{Standing, Watch};
use crate::show::{progress, units};
use ::save::Guarded;
use ::save::state::{self, Hold};
use anyhow::{Context, Result, bail};
use dumpfile::{Access, Assume};
use kernel::knowledge::{Given, Search};
use phyp::custody::Owner;
use phyp::region::Reading;
use phyp::{Leavings, Options, Severity};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use vmcore::{Arch, Dump, Machine, PageSizeBy, PhysAddr, RangeSet};

/// Which source is read when a machine's root offers the same memory twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// `/proc/vmcore`, which the running kernel assembled.
    Vmcore,
    /// The firmware's save areas, of which `/proc/vmcore` has only a part.
    Firmware,
}

/// Opens the input and logs its anomalies. A VMCOREINFO or vmlinux that the user gave must belong to this dump. Where
/// nothing says how large the kernel's pages are, its VMCOREINFO is searched for.
pub(crate) fn open(args: &InputArgs, prefer: Prefer) -> Result<Dump> {
    open_held(args, prefer, None)
}

/// As [`open`]; the machine's dump is held for reading already if there is a `reading`.
pub(crate) fn open_held(args: &InputArgs, prefer: Prefer, reading: Option<&Hold>) -> Result<Dump> {
    let mut dump = open_as_it_is(args, prefer, reading)?;
    if has_to_be_completed(&dump, args) {
        complete(&mut dump, args)?;
    }
    Ok(dump)
}

/// Whether something was given that describes the kernel, or nothing says how large its pages are.
fn has_to_be_completed(dump: &Dump, args: &InputArgs) -> bool {
    let given = args.knowledge();
    given.vmcoreinfo.is_some() || given.vmlinux.is_some() || dump.source.page_size_by != PageSizeBy::Input
}

/// As [`open`], for commands that need the kernel: a dump without VMCOREINFO is searched for it.
pub(crate) fn open_for_kernel(args: &InputArgs, prefer: Prefer) -> Result<Dump> {
    let mut dump = open_as_it_is(args, prefer, None)?;
    complete(&mut dump, args)?;
    Ok(dump)
}

/// As [`open`], for commands that say what a dump is: one without VMCOREINFO is searched for it, and shown also where
/// nothing is found.
pub(crate) fn open_to_show(args: &InputArgs, prefer: Prefer) -> Result<Dump> {
    let mut dump = open_as_it_is(args, prefer, None)?;
    if has_to_be_completed(&dump, args) {
        complete(&mut dump, args)?;
    } else if dump.vmcoreinfo.is_none() && complete(&mut dump, args).is_err() {
        // As it was before anything was looked for.
        dump = open_as_it_is(args, prefer, None)?;
    }
    Ok(dump)
}

/// Looks for what cannot be in an input without checksums, before its pages are copied or listed: what was found makes the
/// dump an incomplete one.
pub(crate) fn find_contradictions(dump: &mut Dump, args: &InputArgs) -> Result<()> {
    let found = dump.memory.contradictions()?;
    for problem in &found {
        tracing::error!("{}: {problem}", args.name());
    }
    dump.source.incomplete |= !found.is_empty();
    dump.source.problems.extend(found);
    Ok(())
}

/// Adds the VMCOREINFO that the dump lacks.
fn complete(dump: &mut Dump, args: &InputArgs) -> Result<()> {
    if let Some(path) = &args.vmcoreinfo
        && path.metadata().is_ok_and(|meta| meta.file_type().is_fifo())
    {
        tracing::warn!("{}: a FIFO or a pipe; waiting for who writes VMCOREINFO to it", path.display());
    }
    let search = Search::default();
    let what = || looking_for_kernel(&args.name(), search.seen());
    let given = Given { search: Some(&search), ..args.knowledge() };
    let completed = progress::patiently(what, false, || kernel::knowledge::complete(dump, &given));
    let remarks =
        completed.with_context(|| format!("{}: cannot find out which kernel it is of", args.name()))?;
    for remark in &remarks {
        tracing::warn!("{}: {remark}", args.name());
    }
    dump.source.remarks.extend(remarks);
    Ok(())
}

/// What is said while the kernel of the dump `name` is looked for, and how much of memory was searched for it.
fn looking_for_kernel(name: &str, seen: Option<(u64, u64)>) -> String {
    let far = seen.map_or(String::new(), |(done, all)| {
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        format!(": {} of {} searched ({percent} %)", units::bytes(done), units::bytes(all))
    });
    format!("{name}: looking for what describes its kernel{far}")
}

/// As [`open_held`], for a caller that completes what is known of the kernel itself.
pub(crate) fn open_as_it_is(args: &InputArgs, prefer: Prefer, reading: Option<&Hold>) -> Result<Dump> {
    let mut dump = open_source(args, prefer, reading)?;
    if let Some(given) = args.page_size {
        let only = Dump::only_page_size(dump.machine.arch)
            .filter(|only| *only != given && !matches!(dump.machine.arch, Arch::Other(_)));
        if let Some(only) = only {
            bail!(
                "{}: --page-size {given} cannot be: kernels of {} have pages of {only}",
                args.name(),
                dump.machine
            );
        }
        dump.set_page_size(given);
        dump.source.page_size_by = PageSizeBy::User;
    }
    Ok(dump)
}

/// Opens the input, whose pages have the size that it says itself.
fn open_source(args: &InputArgs, prefer: Prefer, reading: Option<&Hold>) -> Result<Dump> {
    match (&args.memory, &args.input[..]) {
        (Some(memory), _) => {
            let reading = hold_for(std::slice::from_ref(memory))?;
            let leavings = args.kernel_dump.is_some() || args.release_region.is_some();
            let dump = match args.machine.filter(|_| !leavings) {
                Some(machine) => open_plain(args, memory, machine)?,
                None => open_files(args, memory)?,
            };
            Ok(held(dump, reading))
        }
        (None, [input]) if input.is_dir() => {
            // Before anything is looked at: what a release that is being made leaves is seen then.
            let reading = reading.cloned().map_or_else(|| state::hold(input), |reading| Ok(Some(reading)))?;
            Ok(held(open_root(args, input, prefer)?, reading))
        }
        (None, files) => {
            let reading = hold_for(files)?;
            let mut dump = open_dump(files, args, &args.name())?;
            // The machine's own, named as a file: what makedumpfile's scripts do.
            if let [file] = files
                && is_live_vmcore(file)
            {
                dump = Standing::as_far_as_known(Path::new("/"))?.without_overwritten(dump);
            }
            Ok(held(dump, reading))
        }
    }
}

/// Holds this machine's dump if one of `files` is its memory.
fn hold_for(files: &[PathBuf]) -> Result<Option<Hold>> {
    Ok(if files.iter().any(|file| is_this_machine(file)) { state::hold(Path::new("/"))? } else { None })
}

/// Whether a file is the memory of the machine that this runs on, whatever it is called.
fn is_this_machine(file: &Path) -> bool {
    is_live_vmcore(file) || is_live_memory(file)
}

/// Whether a file is this machine's `/proc/vmcore`.
fn is_live_vmcore(file: &Path) -> bool {
    let place = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let vmcore = Path::new("/proc/vmcore");
    file == vmcore || place(vmcore).is_some_and(|vmcore| place(file) == Some(vmcore))
}

/// Whether a file is this machine's `/dev/mem`, the first of the memory devices.
fn is_live_memory(file: &Path) -> bool {
    let Ok(metadata) = file.metadata() else { return file == Path::new("/dev/mem") };
    metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 1)
}

/// Watches the machine whose memory the input is, if it is one's.
pub(crate) fn watch(args: &InputArgs) -> Option<Watch> {
    let mut files = args.files();
    match &args.input[..] {
        [root] if args.memory.is_none() && root.is_dir() => Some(Watch::of(root)),
        _ => files.any(is_this_machine).then(|| Watch::of(Path::new("/"))),
    }
}

/// The dump, held for reading as long as it is open.
fn held(mut dump: Dump, reading: Option<Hold>) -> Dump {
    if reading.is_some() {
        dump.memory = Box::new(Guarded::new(dump.memory, &RangeSet::default()).held(reading));
    }
    dump
}

/// Opens a dump file, or the files of a split set or of an encrypted dump, which messages call `name`.
fn open_dump(files: &[PathBuf], args: &InputArgs, name: &str) -> Result<Dump> {
    let is_missing = |file: &&PathBuf| file.as_os_str() == "-" && !file.exists();
    if files.iter().find(is_missing).is_some() {
        bail!(
            "-: standard input is not read: a dump is read at random, so write it into a file first (cat > FILE); \
             a flattened stream: hadump receive FILE"
        );
    }
    let assume = Assume { page_size: args.page_size, machine: args.machine, access: access(args, files) };
    let dump = match (decrypt::open(files, &args.identity)?, args.machine, files) {
        (Some(dump), ..) => dump,
        (None, Some(machine), [file]) if dumpfile::is_plain(file)? => open_plain(args, file, machine)?,
        (None, ..) => dumpfile::open_set_assuming(files, &assume)?,
    };
    for problem in &dump.source.problems {
        tracing::error!("{name}: {problem}");
    }
    for remark in &dump.source.remarks {
        tracing::warn!("{name}: {remark}");
    }
    Ok(dump)
}

/// How the files of a dump are read.
///
/// What firmware kept lies in memory that the running kernel has mapped for itself: there a read of `/proc/vmcore` is one copy and
/// nothing else, by the kernel's faster routine: 633 instructions for 4 KiB on POWER9, and 1,471 mapped.
fn access(args: &InputArgs, files: &[PathBuf]) -> Access {
    let kept_by_firmware = |file: &PathBuf| {
        // However its path is spelt.
        let file = match is_live_vmcore(file) {
            true => Ok(PathBuf::from("/proc/vmcore")),
            false => file.canonicalize(),
        };
        let tree = file.ok().and_then(|file| Some(file.parent()?.join("device-tree")));
        tree.is_some_and(|tree| ASSISTED.iter().any(|property| tree.join(property).exists()))
    };
    match args.access.of_files() {
        Access::Usual if files.iter().any(kept_by_firmware) => Access::Read,
        access => access,
    }
}

/// Below the device tree, beside `/proc/vmcore`: what the firmware tells of a dump that it kept.
const ASSISTED: [&str; 2] = ["rtas/ibm,kernel-dump", "ibm,opal/dump/mpipl-boot"];

/// Opens plain memory, of which byte n is physical address n: what QEMU's pmemsave, cloud-hypervisor and Firecracker write.
fn open_plain(args: &InputArgs, memory: &Path, machine: Machine) -> Result<Dump> {
    let ram: RangeSet<PhysAddr> = args.memory_map.iter().copied().collect();
    let ram = (!ram.is_empty()).then_some(&ram);
    Ok(dumpfile::open_raw(memory, machine, args.page_size, ram)?)
}

fn open_root(args: &InputArgs, root: &Path, prefer: Prefer) -> Result<Dump> {
    let standing = Standing::of(root)?;
    let system = &standing.system;
    let leavings = &system.leavings;
    let by_hand =
        leavings.kernel_dump.is_some() || leavings.release_region.is_some() || leavings.opal.is_some();
    if standing.custody.owner == Owner::Unknown {
        let why = "nothing below this root tells whether its memory is still untouched";
        tracing::warn!("{}: a dump was made of the last crash, and {why}", root.display());
    }
    if let (Readable::WhatIsLeft, Some(memory)) = (what_may_be_read(args, &standing, root)?, &system.memory) {
        return Ok(standing.what_is_left(assemble(args, leavings, memory)?));
    }
    let dump = match (&system.vmcore, &system.memory) {
        (Some(vmcore), memory) if prefer == Prefer::Vmcore || !by_hand || memory.is_none() => {
            open_dump(std::slice::from_ref(vmcore), args, &vmcore.display().to_string())?
        }
        (_, Some(memory)) if by_hand => standing.without_released(assemble(args, leavings, memory)?),
        _ => bail!(
            "{}: no dump found: neither proc/vmcore nor dev/mem with proc/device-tree/rtas/ibm,kernel-dump or \
             sys/kernel/release_region; see: hadump status --root {}",
            root.display(),
            root.display()
        ),
    };
    Ok(standing.without_overwritten(dump))
}

fn open_files(args: &InputArgs, memory: &Path) -> Result<Dump> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()));
    let kernel_dump = args.kernel_dump.as_deref().map(read).transpose()?;
    let region = args.release_region.as_deref().map(read).transpose()?;
    // A device has no length: the machine says where it has memory.
    let device = memory.metadata().is_ok_and(|meta| meta.file_type().is_char_device());
    let memory_map = if device && args.memory_map.is_empty() {
        let map = phyp::system::System::look(Path::new("/"))?.leavings.memory_map;
        Some(map.with_context(|| {
            format!(
                "{}: a device, and this machine does not say where it has memory; give --memory-map",
                memory.display()
            )
        })?)
    } else {
        None
    };
    let leavings = Leavings {
        memory_map,
        kernel_dump,
        release_region: region.map(|text| String::from_utf8_lossy(&text).into_owned()),
        ..Leavings::default()
    };
    if !is_live_memory(memory) {
        return assemble(args, &leavings, memory);
    }
    // This machine's own memory, whoever's it is now.
    let standing = Standing::of(Path::new("/"))?;
    match what_may_be_read(args, &standing, memory)? {
        Readable::WhatIsLeft => Ok(standing.what_is_left(assemble(args, &leavings, memory)?)),
        Readable::All => {
            let dump = assemble(args, &leavings, memory)?;
            Ok(standing.without_overwritten(standing.without_released(dump)))
        }
    }
}

/// What of a dump may be read, by whose its memory is.
enum Readable {
    /// All of it, as far as it was not released range by range.
    All,
    /// Only what the firmware copied.
    WhatIsLeft,
}

/// Decides, or says why nothing may be read of the machine's memory, which messages call `name`.
fn what_may_be_read(args: &InputArgs, standing: &Standing, name: &Path) -> Result<Readable> {
    let Some(why) = standing.given_away() else { return Ok(Readable::All) };
    let (name, system) = (name.display(), &standing.system);
    // phyp-dump's copy goes with the rest.
    let left = system.leavings.release_region.is_none() || !system.areas_are_gone();
    if left && system.memory.is_some() && (args.what_is_left || standing.custody.owner == Owner::Refused) {
        tracing::warn!("{name}: {why}; only what the firmware copied of it is read");
        return Ok(Readable::WhatIsLeft);
    }
    let help = if left {
        "--what-is-left reads what the firmware copied of it: boot memory, with the kernel's log, and the registers"
    } else {
        "nothing is left of it"
    };
    bail!("{name}: {why}, so it is not read; {help}")
}

/// Assembles the crashed system's memory.
fn assemble(args: &InputArgs, leavings: &Leavings, memory: &Path) -> Result<Dump> {
    let given: Option<RangeSet<PhysAddr>> =
        (!args.memory_map.is_empty()).then(|| args.memory_map.iter().copied().collect());
    let ram = given.as_ref().or(leavings.memory_map.as_ref());
    let image = dumpfile::open_image(memory, ram)?;
    let options = Options {
        reading: if args.start_end { Reading::StartEnd } else { Reading::AddressLength },
        memory_map: given,
        boot_memory_end: args.boot_memory_end,
        page_size: args.page_size,
    };
    let (dump, findings) = phyp::assemble(leavings, image, &options).with_context(|| {
        let name = memory.display();
        let nothing =
            leavings.kernel_dump.is_none() && leavings.release_region.is_none() && leavings.opal.is_none();
        match nothing {
            true => format!(
                "{name}: no dump; plain memory of a virtual machine needs --machine NAME, such as x86_64"
            ),
            false => format!("{name}: cannot assemble the dump"),
        }
    })?;
    for finding in findings.iter() {
        match finding.severity {
            Severity::Note => tracing::info!("{}", finding.text),
            Severity::Warning => tracing::warn!("{}", finding.text),
            Severity::Damage => tracing::error!("{}", finding.text),
        }
    }
    Ok(dump)
}

/// Adds the kernel's virtual addresses to a dump that has none; readers of ELF files cannot find them otherwise.
pub(crate) fn with_virtual_addresses(mut dump: Dump) -> Dump {
    // QEMU writes segments, and 0 for the virtual address of each.
    if dump.virt.iter().all(|segment| segment.virt.0 == 0) {
        let segments = kernel::Kernel::open(&dump).map(|kernel| kernel.virt_segments());
        match segments {
            Ok(segments) => dump.virt = segments,
            Err(error) => tracing::warn!(
                "gdb and vmcore-dmesg cannot read the output, as the kernel's addresses are not known: {error}"
            ),
        }
    }
    dump
}

/// Opens the dumped kernel's own description of itself.
pub(crate) fn kernel<'d>(dump: &'d Dump, args: &InputArgs) -> Result<kernel::Kernel<'d>> {
    kernel::Kernel::open(dump).with_context(|| format!("{}: cannot understand the kernel", args.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_that_firmware_kept_is_read_unless_mapping_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("proc/device-tree/rtas");
        let files = [root.path().join("proc/vmcore")];
        let mut args = InputArgs::path(&files[0]);
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::write(&files[0], "").unwrap();
        assert_eq!(access(&args, &files), Access::Usual);
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("ibm,kernel-dump"), "").unwrap();
        assert_eq!(access(&args, &files), Access::Read);
        let link = root.path().join("dump");
        std::os::unix::fs::symlink(&files[0], &link).unwrap();
        assert_eq!(access(&args, &[link]), Access::Read);
        args.access = crate::cli::Access::Map;
        assert_eq!(access(&args, &files), Access::Map);
    }

    #[test]
    fn a_search_through_memory_says_how_far_it_is() {
        let far = looking_for_kernel("vmcore", Some((3 << 30, 4 << 30)));
        assert_eq!(far, "vmcore: looking for what describes its kernel: 3.0 GiB of 4.0 GiB searched (75 %)");
        assert!(looking_for_kernel("vmcore", None).ends_with("describes its kernel"));
    }
}
