//! Where a kernel is in a dump whose VMCOREINFO does not say it.
//!
//! The kernel's image is one piece of physical memory, so one variable found is all found. The variable is the kernel's
//! name, whose content is known from the vmlinux. How far addresses moved besides (KASLR) is read off the kernel's own
//! page table, or follows from the architecture.

use super::scan::{Search, find_all};
use crate::Error;
use vmcore::{Arch, Dump, PageSize, PhysAddr};

/// Bytes of one string of `struct new_utsname`, and where the release is.
const FIELD: usize = 65;
const RELEASE_AT: u64 = 130;

/// x86_64: where link address 0 is mapped, and what a large entry maps.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
const LARGE: u64 = 2 << 20;
const ENTRY_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What is known of a kernel before it is found: names to link addresses.
pub(super) struct Wanted<'a> {
    pub(super) release: &'a str,
    pub(super) link: &'a dyn Fn(&str) -> Option<u64>,
    /// Where the six strings of its name may be linked to be.
    pub(super) names: &'a [u64],
    /// A read-only text of the kernel and its link address.
    pub(super) banner: Option<(u64, Vec<u8>)>,
}

/// A kernel that was found.
pub(super) struct Image {
    /// What makes a physical address of a link address.
    pub(super) to_phys: u64,
    /// KERNELOFFSET: what makes the address it ran at of a link address.
    pub(super) moved: u64,
    /// NUMBER and its values that only the running kernel knew.
    pub(super) numbers: Vec<(&'static str, String)>,
}

/// What a search ended with.
pub(super) enum Outcome {
    Found(Image),
    /// The kernels that memory holds instead, by their releases.
    Others(Vec<String>),
}

/// Looks for the kernel in all memory.
///
/// # Errors
///
/// When the dump cannot be read, when several such kernels are in memory, and for machines whose image cannot be
/// placed.
pub(super) fn locate(dump: &Dump, wanted: &Wanted<'_>, search: &Search) -> Result<Outcome, Error> {
    let mut sysname = [0; FIELD];
    sysname[..5].copy_from_slice(b"Linux");
    let places = find_all(&*dump.memory, &[&sysname], search)?.remove(0);
    let mut others: Vec<String> = Vec::new();
    let mut images: Vec<Image> = Vec::new();
    for at in places {
        let Some(release) = release(dump, at)? else { continue };
        if release != wanted.release {
            if !others.contains(&release) {
                others.push(release);
            }
            continue;
        }
        for name in wanted.names {
            match place(dump, wanted, at.0.wrapping_sub(*name)) {
                Ok(image) => {
                    images.push(image);
                    break;
                }
                Err(Error::Read(error)) => return Err(error.into()),
                Err(error) => tracing::debug!("the name at {at} is not that of the kernel itself: {error}"),
            }
        }
    }
    match images.len() {
        0 => Ok(Outcome::Others(others)),
        1 => Ok(Outcome::Found(images.remove(0))),
        n => Err(Error::Unsupported(format!(
            "memory holds the kernel {} {n} times; say which one crashed with --vmcoreinfo",
            wanted.release
        ))),
    }
}

/// The release of a name that begins at `at`.
fn release(dump: &Dump, at: PhysAddr) -> Result<Option<String>, Error> {
    let mut field = [0; FIELD];
    let release_at = PhysAddr(at.0.saturating_add(RELEASE_AT));
    if !dump.memory.read(release_at, &mut field)?.is_known() {
        return Ok(None);
    }
    let end = field.iter().position(|&b| b == 0).unwrap_or(FIELD);
    let text = str::from_utf8(&field[..end]).ok();
    Ok(text.filter(|t| t.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned))
}

/// Proves that the image is where `to_phys` puts it, and learns the rest.
fn place(dump: &Dump, wanted: &Wanted<'_>, to_phys: u64) -> Result<Image, Error> {
    let elsewhere = |why: &str| Error::Unsupported(why.to_owned());
    if PageSize::K4.offset(to_phys) != 0 {
        return Err(elsewhere("it is not where an image of whole pages would have it"));
    }
    if let Some((at, text)) = &wanted.banner {
        let mut there = vec![0; text.len()];
        let at = PhysAddr(at.wrapping_add(to_phys));
        if !dump.memory.read(at, &mut there)?.is_known() || there != *text {
            return Err(elsewhere("the kernel's banner is not where it would be"));
        }
    }
    let mut image = Image { to_phys, moved: 0, numbers: Vec::new() };
    match dump.machine.arch {
        Arch::X86_64 => image.place_x86_64(dump, wanted)?,
        Arch::Ppc64 => image.place_ppc64(dump, wanted)?,
        _ => {
            return Err(Error::Unsupported(format!(
                "where a kernel of {} was moved to cannot be found out from a vmlinux; give its VMCOREINFO",
                dump.machine
            )));
        }
    }
    Ok(image)
}

impl Image {
    /// The word of `bytes` bytes at link address `addr`.
    fn number(&self, dump: &Dump, addr: u64, bytes: usize) -> Result<u64, Error> {
        let mut buffer = [0; 8];
        let buffer = &mut buffer[..bytes];
        read(dump, addr.wrapping_add(self.to_phys), buffer)?;
        Ok(if bytes == 4 { dump.machine.u32(buffer).into() } else { dump.machine.u64(buffer) })
    }

    fn say(&mut self, key: &'static str, value: impl ToString) {
        self.numbers.push((key, value.to_string()));
    }

    fn place_x86_64(&mut self, dump: &Dump, wanted: &Wanted<'_>) -> Result<(), Error> {
        let missing = |key: &str| Error::MissingKey { key: key.into(), purpose: "finding the kernel" };
        let root =
            ["init_top_pgt", "init_level4_pgt", "swapper_pg_dir"].iter().find_map(|n| (wanted.link)(n));
        let root = root.ok_or_else(|| missing("SYMBOL(swapper_pg_dir)"))?.wrapping_add(self.to_phys);
        let text = (wanted.link)("_stext").ok_or_else(|| missing("SYMBOL(_stext)"))?;
        let five = match (wanted.link)("__pgtable_l5_enabled") {
            Some(at) => self.number(dump, at, 4)? != 0,
            None => false,
        };
        let encryption = (wanted.link)("sme_me_mask").map_or(Ok(0), |at| self.number(dump, at, 8))?;
        let address = ENTRY_ADDRESS & !encryption;
        // The image is mapped by the last GiB but one.
        let mut table = root;
        for index in if five { &[511, 511, 510][..] } else { &[511, 510] } {
            table = entry(dump, table, *index)? & address;
        }
        let block = text.wrapping_add(self.to_phys) & !(LARGE - 1);
        let within = |index: &u64| -> Result<bool, Error> {
            let mut large = entry(dump, table, *index)?;
            if large & 1 == 0 {
                return Ok(false);
            }
            if large & 0x80 == 0 {
                large = entry(dump, large & address, 0)?;
            }
            Ok(large & address & !(LARGE - 1) == block)
        };
        for index in 0..512 {
            if within(&index)? {
                let at = KERNEL_MAP + index * LARGE;
                self.moved = at.wrapping_sub(text & !(LARGE - 1));
                let base = self.to_phys.wrapping_add(KERNEL_MAP).wrapping_sub(self.moved);
                self.say("NUMBER(phys_base)", base as i64);
                self.say("NUMBER(pgtable_l5_enabled)", u8::from(five));
                self.say("NUMBER(sme_mask)", encryption);
                // `arch/x86/include/asm/sparsemem.h`, unchanged since 2.6.31 but for five levels.
                self.say("NUMBER(SECTION_SIZE_BITS)", 27);
                self.say("NUMBER(MAX_PHYSMEM_BITS)", if five { 52 } else { 46 });
                return Ok(());
            }
        }
        Err(Error::Unsupported("the kernel's page table does not map its text".into()))
    }

    fn place_ppc64(&mut self, dump: &Dump, wanted: &Wanted<'_>) -> Result<(), Error> {
        // The image lies in the linear map, which begins at 0xc000000000000000.
        self.moved = self.to_phys.wrapping_add(0xc << 60);
        if let Some(at) = (wanted.link)("__vmalloc_start") {
            let start = self.number(dump, at, 8)?;
            self.say("NUMBER(VMALLOC_START)", format!("{start:#x}"));
        }
        // `SECTION_SIZE_BITS` never changed. `MAX_PHYSMEM_BITS` only bounds the table of sections, and 51 is the largest.
        self.say("NUMBER(SECTION_SIZE_BITS)", 24);
        self.say("NUMBER(MAX_PHYSMEM_BITS)", 51);
        Ok(())
    }
}

/// Entry `index` of the table at `table`.
fn entry(dump: &Dump, table: u64, index: u64) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    read(dump, table.wrapping_add(8 * index), &mut bytes)?;
    Ok(dump.machine.u64(&bytes))
}

fn read(dump: &Dump, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
    let addr = PhysAddr(at);
    let state = dump.memory.read(addr, bytes)?;
    if state.is_known() {
        return Ok(());
    }
    Err(Error::NotInDump { what: "the kernel's image".into(), addr, state })
}
