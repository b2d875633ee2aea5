//! What the user gives, and whether it is of the kernel that crashed.

use super::image::{self, Image, Outcome, Wanted};
use super::in_memory::{self, FIRST_KEY};
use super::proof::prove_info;
use crate::dwarf::Dwarf;
use crate::knowledge::{Search, vmcoreinfo};
use crate::vmlinux::{Vmlinux, candidates};
use crate::{Error, uts};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vmcore::{Dump, VmcoreInfo};

/// The largest file believed to be VMCOREINFO: the kernel keeps it in one page.
const MAX_FILE: u64 = 1 << 20;

/// The text of a VMCOREINFO file that proves to be of this dump's kernel. One with the addresses that the kernel was
/// linked at, as `makedumpfile -g` writes it, is moved to where the kernel ran.
pub(super) fn vmcoreinfo(dump: &mut Dump, path: &Path, search: &Search) -> Result<Vec<u8>, Error> {
    let unusable = |why: String| Error::Given { path: path.to_owned(), why };
    let failed = |source| Error::File { path: path.to_owned(), what: "it cannot be read", source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let text = text(&bytes).ok_or_else(|| {
        unusable("this is not a VMCOREINFO: it has no line OSRELEASE=…; a note or its text is needed".into())
    })?;
    let info = VmcoreInfo::parse(text);
    refuse_another_build(dump, path, info.release(), info.get("BUILD-ID"))?;
    let text = text.to_vec();
    let given = info.clone();
    let why = match prove_info(dump, info) {
        Ok(()) => return Ok(text),
        Err(error @ (Error::Read(_) | Error::PageSize { .. })) => return Err(error),
        Err(error) => error,
    };
    let release = given.release().unwrap_or_default().to_owned();
    let link = |name: &str| given.symbol(name).map(|addr| addr.0);
    let names = names_at(&link, given.offset("uts_namespace.name"));
    if names.is_empty() {
        return Err(unusable(format!("it does not lead to a kernel in this dump: {why}")));
    }
    let wanted = Wanted { release: &release, link: &link, names: &names, banner: None };
    match image::locate(dump, &wanted, search)? {
        Outcome::Found(image) => {
            let text = moved(&given, &image);
            prove_info(dump, VmcoreInfo::parse(&text))
                .map_err(|error| unusable(format!("it does not lead to a kernel in this dump: {error}")))?;
            Ok(text)
        }
        Outcome::Others(others) => Err(foreign(path, &release, &others, &why.to_string())),
    }
}

/// Opens the vmlinux at `path`. In a directory it is the one that belongs to the dump's kernel, whose name and build are
/// those of the dump's VMCOREINFO, or of the one in its memory.
pub(super) fn open(dump: &mut Dump, path: &Path) -> Result<Vmlinux, Error> {
    if !path.is_dir() {
        return Vmlinux::open(path);
    }
    let search = &Search::default();
    let info = match dump.vmcoreinfo.clone() {
        Some(info) => Some(info),
        None => in_memory::find(dump, search, &|_| true, &mut Vec::new())
            .or_else(|error| super::insufficient(error).map(|_| None))?
            .map(|found| VmcoreInfo::parse(&found.text)),
    };
    let release = info.as_ref().and_then(VmcoreInfo::release);
    let build = info.as_ref().and_then(|info| info.get("BUILD-ID"));
    let mut others = Vec::new();
    for file in candidates(path, release, build) {
        let vmlinux = match Vmlinux::open(&file) {
            Ok(vmlinux) => vmlinux,
            Err(error) => {
                tracing::debug!("{error}");
                continue;
            }
        };
        let theirs = vmlinux.known_release().ok().flatten();
        let fits = match (build, vmlinux.build_id()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ if info.is_none() => self::vmlinux(dump, &vmlinux, search).is_ok(),
            _ => theirs.is_some() && theirs.as_deref() == release,
        };
        if fits {
            tracing::debug!("{} is of the dump's kernel", file.display());
            return Ok(vmlinux);
        }
        others.push(format!("{} of {}", file.display(), theirs.as_deref().unwrap_or("an unknown kernel")));
    }
    let wanted = release.unwrap_or("the dump's kernel");
    let there = if others.is_empty() { String::new() } else { format!("; there is {}", others.join(", ")) };
    Err(Error::Given {
        path: path.to_owned(),
        why: format!("this directory has no vmlinux of {wanted}{there}"),
    })
}

/// The VMCOREINFO that a vmlinux makes for this dump; `None` when the dump has its own, of the same kernel.
pub(super) fn vmlinux(dump: &mut Dump, vmlinux: &Vmlinux, search: &Search) -> Result<Option<Vec<u8>>, Error> {
    if vmlinux.machine() != dump.machine {
        let why = format!("it is a kernel for {}, the dump is of {}", vmlinux.machine(), dump.machine);
        return Err(Error::AnotherKernel { path: vmlinux.path().to_owned(), why });
    }
    let release = vmlinux.known_release()?;
    refuse_another_build(dump, vmlinux.path(), release.as_deref(), vmlinux.build_id())?;
    if let Some(own) = dump.vmcoreinfo.clone()
        && prove_info(dump, own).is_ok()
    {
        return Ok(None);
    }
    let release = vmlinux.release()?;
    let dwarf = Dwarf::open(vmlinux)?.ok_or_else(|| {
        vmlinux.unusable("it has no debug information (.debug_info), which struct offsets are taken from")
    })?;
    let text = vmcoreinfo::of_vmlinux(vmlinux, &dwarf)?;
    let info = VmcoreInfo::parse(text.as_bytes());
    let link = |name: &str| vmlinux.symbol(name).map(|symbol| symbol.addr);
    let names = names_at(&link, info.offset("uts_namespace.name"));
    if names.is_empty() {
        return Err(vmlinux.unusable("it has no symbol init_uts_ns"));
    }
    let banner = link("linux_banner").map(|at| -> Result<_, Error> {
        let mut text = vec![0; 256];
        let len = vmlinux.read(at, &mut text)?;
        text.truncate(text.iter().position(|&b| b == 0).unwrap_or(len));
        Ok((at, text))
    });
    let wanted = Wanted { release: &release, link: &link, names: &names, banner: banner.transpose()? };
    match image::locate(dump, &wanted, search)? {
        Outcome::Found(image) => {
            let text = moved(&info, &image);
            prove_info(dump, VmcoreInfo::parse(&text))?;
            Ok(Some(text))
        }
        Outcome::Others(others) => {
            let why = "its name is not where the kernel's image would have it";
            Err(foreign(vmlinux.path(), &release, &others, why))
        }
    }
}

/// The text in a file: from its first line on, up to a NUL. A note's header may be before it.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(bytes, FIRST_KEY)?;
    // Keys may be before it in a text; in a note, bytes that are none.
    let start = if bytes[..at].contains(&0) { at } else { 0 };
    let text = &bytes[start..];
    Some(&text[..memchr::memchr(0, text).unwrap_or(text.len())])
}

/// Refuses what another kernel's name or build is on.
fn refuse_another_build(
    dump: &mut Dump,
    path: &Path,
    release: Option<&str>,
    build: Option<&str>,
) -> Result<(), Error> {
    let Some(own) = dump.vmcoreinfo.clone() else { return Ok(()) };
    let differ =
        |theirs: Option<&str>, ours: Option<&str>| matches!((theirs, ours), (Some(a), Some(b)) if a != b);
    let show = |text: Option<&str>| text.unwrap_or_default().to_owned();
    // A note that does not lead to the dump's kernel says nothing about it.
    let mut refuse = |what, theirs, ours| match prove_info(dump, own.clone()) {
        Ok(()) => Err(Error::AnotherKernel {
            path: path.to_owned(),
            why: format!("it belongs to the kernel with {what} {theirs}, the dump to the one with {ours}"),
        }),
        Err(error @ (Error::Read(_) | Error::PageSize { .. })) => Err(error),
        Err(_) => Ok(()),
    };
    if differ(release, own.release()) {
        return refuse("release", show(release), show(own.release()));
    }
    if differ(build, own.get("BUILD-ID")) {
        return refuse("build id", show(build), show(own.get("BUILD-ID")));
    }
    Ok(())
}

/// The error that the dump is not of kernel `release`, but of `others` if that is known.
fn foreign(path: &Path, release: &str, others: &[String], why: &str) -> Error {
    let path = path.to_owned();
    match others {
        [] => {
            Error::Given { path, why: format!("it is of kernel {release}, which is not in this dump: {why}") }
        }
        others => Error::AnotherKernel {
            path,
            why: format!(
                "it is of kernel {release}, and the dump's memory of {}: {why}",
                others.join(" and ")
            ),
        },
    }
}

/// Where the kernel's name may be linked to be: at one place where `offset` says it, else at every offset that it has had.
fn names_at(link: &dyn Fn(&str) -> Option<u64>, offset: Option<u64>) -> Vec<u64> {
    if let Some(name) = link("system_utsname") {
        return vec![name];
    }
    let Some(namespace) = link("init_uts_ns") else { return Vec::new() };
    let offsets = match offset {
        Some(offset) => vec![offset],
        None => [uts::BEHIND_KREF, 0].into_iter().chain((8..=uts::LAST_OFFSET).step_by(4)).collect(),
    };
    offsets.into_iter().map(|offset| namespace.wrapping_add(offset)).collect()
}

/// The text with its symbols where the kernel ran, and with what only the running kernel knew.
fn moved(info: &VmcoreInfo, image: &Image) -> Vec<u8> {
    let mut text = String::new();
    for line in String::from_utf8_lossy(info.text()).lines() {
        let symbol = line.strip_prefix("SYMBOL(").and_then(|rest| rest.split_once(")="));
        let symbol = symbol.and_then(|(name, hex)| Some((name, u64::from_str_radix(hex, 16).ok()?)));
        match symbol {
            Some((name, addr)) => {
                text.push_str(&format!("SYMBOL({name})={:x}\n", addr.wrapping_add(image.moved)));
            }
            None => text.extend([line, "\n"]),
        }
    }
    for (key, value) in image.numbers.iter().filter(|(key, _)| info.get(key).is_none()) {
        text.push_str(&format!("{key}={value}\n"));
    }
    text.push_str(&format!("KERNELOFFSET={:x}\n", image.moved));
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_found_in_a_note_and_keeps_what_stands_before_its_first_key() {
        assert_eq!(text(b"\x0b\0\0\0VMCOREINFO\0OSRELEASE=1\nA=2\n\0rest"), Some(&b"OSRELEASE=1\nA=2\n"[..]));
        assert_eq!(text(b"A=2\nOSRELEASE=1\n"), Some(&b"A=2\nOSRELEASE=1\n"[..]));
        assert_eq!(text(b"A=2\n"), None);
    }

    #[test]
    fn symbols_move_and_what_the_file_says_itself_is_not_said_again() {
        let info =
            VmcoreInfo::parse(b"OSRELEASE=1\nSYMBOL(a)=ffffffff81000000\nNUMBER(x)=7\nSYMBOL(bad)=zz\n");
        let numbers = vec![("NUMBER(x)", "9".to_owned()), ("NUMBER(y)", "8".to_owned())];
        let image = Image { to_phys: 0, moved: 0x20_0000, numbers };
        let text = String::from_utf8(moved(&info, &image)).unwrap();
        assert_eq!(
            text,
            "OSRELEASE=1\nSYMBOL(a)=ffffffff81200000\nNUMBER(x)=7\nSYMBOL(bad)=zz\nNUMBER(y)=8\nKERNELOFFSET=200000\n"
        );
    }

    proptest! {
        #[test]
        fn any_file_is_a_text_or_none(mut bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..60) {
            let at = at.min(bytes.len());
            bytes.splice(at..at, FIRST_KEY.iter().copied());
            let found = text(&bytes).unwrap();
            prop_assert!(VmcoreInfo::parse(found).release().is_some() || found.contains(&b'\n') || at > 0);
        }
    }
}
