//! The kernel's name, which is also the first proof that translation works.

use crate::{Error, KernelMemory};
use vmcore::{Utsname, VirtAddr, VmcoreInfo};

/// What every Linux calls itself.
const SYSNAME: &str = "Linux";

/// Bytes of one string (`__NEW_UTS_LEN` + 1 of the kernel's `utsname.h`).
const LEN: usize = 65;

/// Where the name is in `uts_namespace` when the note does not say: after a `struct kref`, an `int`. The note says it
/// since 5.11, when the counter moved away and the name to the beginning; kernels in between may not, and in those
/// with randomised structures (RANDSTRUCT, since 4.13) it is anywhere.
pub(crate) const BEHIND_KREF: u64 = 4;

/// The last offset at which the name can be: what else is in `uts_namespace` takes less.
pub(crate) const LAST_OFFSET: u64 = 256;

/// Where `struct new_utsname` lies, as VMCOREINFO says: inside `init_uts_ns`, or before 2.6.19 in `system_utsname`.
pub(crate) fn address(info: &VmcoreInfo) -> Result<VirtAddr, Error> {
    let missing = |key: &str| Error::MissingKey { key: key.to_owned(), purpose: "the kernel's name" };
    if let Some(uts) = info.symbol("system_utsname") {
        return Ok(uts);
    }
    let namespace = info.symbol("init_uts_ns").ok_or_else(|| missing("SYMBOL(init_uts_ns)"))?;
    let name = info.offset("uts_namespace.name").unwrap_or(BEHIND_KREF);
    Ok(VirtAddr(namespace.0.wrapping_add(name)))
}

/// Reads the six strings.
///
/// # Errors
///
/// When they cannot be read, and when the first is not `Linux`: then addresses are translated wrongly, or the memory
/// is not what VMCOREINFO says.
pub(crate) fn read(kernel: &impl KernelMemory) -> Result<Utsname, Error> {
    let addr = address(kernel.info())?;
    let error = match read_at(kernel, addr) {
        Err(error @ (Error::Implausible { .. } | Error::NotMapped { .. } | Error::NotInDump { .. })) => error,
        result => return result,
    };
    match elsewhere(kernel) {
        Some(addr) => read_at(kernel, addr),
        None => Err(error),
    }
}

/// The name at another offset of `init_uts_ns`. That it is the kernel's is seen by the release, which VMCOREINFO has too.
fn elsewhere(kernel: &impl KernelMemory) -> Option<VirtAddr> {
    let namespace = kernel.info().symbol("init_uts_ns")?;
    let release = kernel.info().release().filter(|release| !release.is_empty())?;
    let mut bytes = vec![0; LAST_OFFSET as usize + 3 * LEN];
    kernel.read(namespace, &mut bytes).ok()?;
    let offset = (0..=LAST_OFFSET as usize).find(|&at| {
        let field = |i: usize| &bytes[at + i * LEN..at + (i + 1) * LEN];
        let is = |i: usize, text: &str| {
            field(i).strip_prefix(text.as_bytes()).is_some_and(|rest| rest.starts_with(&[0]))
        };
        is(0, SYSNAME) && is(2, release)
    })?;
    Some(VirtAddr(namespace.0.wrapping_add(offset as u64)))
}

fn read_at(kernel: &impl KernelMemory, addr: VirtAddr) -> Result<Utsname, Error> {
    let mut bytes = [0; 6 * LEN];
    kernel.read(addr, &mut bytes)?;
    let text = |i: usize| {
        let field = &bytes[i * LEN..(i + 1) * LEN];
        let end = field.iter().position(|&b| b == 0).unwrap_or(LEN);
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let sysname = text(0);
    if sysname != SYSNAME {
        return Err(Error::Implausible {
            what: "init_uts_ns.name.sysname".to_owned(),
            addr,
            found: format!("{sysname:?}"),
            expected: "\"Linux\"".to_owned(),
        });
    }
    Ok(Utsname {
        sysname,
        nodename: text(1),
        release: text(2),
        version: text(3),
        machine: text(4),
        domainname: text(5),
    })
}
