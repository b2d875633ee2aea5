//! The kernel's name, which is also the first proof that translation works.

use crate::{Error, KernelMemory};
use vmcore::{Utsname, VirtAddr, VmcoreInfo};

/// Bytes of one string (`__NEW_UTS_LEN` + 1 of the kernel's `utsname.h`).
const LEN: usize = 65;

/// Where the name is in `uts_namespace` when the note does not say: after a `struct kref`, an `int`. The note says it
/// since 5.11, when the counter moved away and the name to the beginning.
const BEHIND_KREF: u64 = 4;

/// Where `struct new_utsname` lies: inside `init_uts_ns`, or before 2.6.19 in `system_utsname`.
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
    let mut bytes = [0; 6 * LEN];
    kernel.read(addr, &mut bytes)?;
    let text = |i: usize| {
        let field = &bytes[i * LEN..(i + 1) * LEN];
        let end = field.iter().position(|&b| b == 0).unwrap_or(LEN);
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let sysname = text(0);
    if sysname != "Linux" {
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
