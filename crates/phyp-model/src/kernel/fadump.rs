//! The running kernel's side of fadump, and the files through which it is told what to do.
//!
//! `fw_dump` of `arch/powerpc/kernel/fadump.c`: what the kernel keeps between its boot and its end. The files under
//! `/sys/kernel/fadump` are made once, in `fadump_init_files`, from what is so at that moment, and none is ever removed:
//! `release_mem` stays after the dump is gone, and so does the device tree, which no kernel edits. Only `/proc/vmcore`
//! goes (`vmcore_cleanup`).

use crate::crashinfo;
use crate::error::Result;
use crate::extent::{Extent, covers, intersect, merged, subtract, total};
use crate::faults::{Fault, SysfsFault};
use crate::hypervisor::{ALREADY_REGISTERED, Command, OK, PARAMETER};
use crate::layout::PARAMETER_AREA;
use crate::machine::Mode;
use crate::release::{self, Written};
use crate::scenario::{FREED, Run};
use crate::verdict;

/// Bytes that kernel and page tables take of a real machine's boot memory.
const KERNEL: u64 = 30 << 20;

/// What the kernel knows of fadump, from its boot on.
#[derive(Clone, Debug, Default)]
pub struct Fadump {
    /// `fadump=on` was on the command line and memory could be reserved. Without it the files are there all the same, and
    /// no write is permitted.
    pub enabled: bool,
    /// The firmware holds a dump of the boot before this one: the file `release_mem` was made. It stays.
    pub had_dump: bool,
    /// That dump was not given up (`dump_active`): `release_mem` works, `registered` cannot be written.
    pub dump_active: bool,
    /// The kernel believes that it is registered (`dump_registered`).
    pub registered: bool,
    /// `/proc/vmcore` is there.
    pub vmcore: bool,
    /// Memory that this boot's release, or refusal, gave to the allocator: whole pages, sorted.
    pub freed: Vec<Extent>,
    /// What the kernel's log says of fadump, a line an entry.
    pub log: Vec<String>,
    /// What the kernel itself wrote into pages that it had given away: crash-info header and parameters.
    pub trespassed: Vec<Extent>,
}

impl Run {
    /// `setup_fadump`: the kernel looks for a dump, or registers.
    pub(crate) fn setup_fadump(&mut self) -> Result<()> {
        if self.options.mode == Mode::Phyp2008 {
            return Ok(());
        }
        let waits = self.dump_waits();
        self.fadump = Fadump {
            enabled: true,
            had_dump: waits,
            dump_active: waits,
            vmcore: waits && self.rejected.is_none(),
            ..Fadump::default()
        };
        if !waits {
            return self.register().map(drop);
        }
        let firmware = if self.options.mode == Mode::Opal { "opal" } else { "rtas" };
        self.say(format!("{firmware} fadump: Firmware-assisted dump is active."));
        self.say("fadump: Firmware-assisted dump is active.".to_owned());
        Ok(())
    }

    /// As if the kernel had been booted without `fadump=on` (`fadump_reserve_mem`): nothing is reserved, and nothing works.
    pub(crate) fn disable(&mut self) {
        self.hypervisor.configure(&self.options, Command::Unregister, 0, &[], 0);
        self.fadump = Fadump::default();
        self.layout.parameter = None;
    }

    /// What a kernel does that refuses the dump ([`Run::rejected`]): the firmware is told to forget it, and memory is freed
    /// before the first process runs (`fadump_invalidate_release_mem`, from `fadump_process`).
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn refuse(&mut self) -> Result<()> {
        self.fadump.vmcore = false;
        if let Some(said) = verdict::said(self) {
            self.say(said.to_owned());
        }
        self.give_up()?;
        let gone = subtract(&intersect(&self.truth.ram, &self.fadump.freed), &self.truth.reserved);
        self.truth.lost = merged([std::mem::take(&mut self.truth.lost), gone].concat());
        Ok(())
    }

    /// A write to `release_mem`: one shot, all or nothing (`release_mem_store`).
    ///
    /// `EPERM` wherever no dump is active, whatever is written: also after a release, and where the kernel has refused the
    /// dump. `EINVAL` for anything but 1 while one is active. If the firmware would not forget the dump it stays active, and
    /// a second 1 frees pages that somebody has by then: [`Written::Oops`].
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_release_mem(&mut self, text: &str) -> Result<Written> {
        if !self.fadump.had_dump || self.has(&Fault::Sysfs(SysfsFault::NoReleaseMem)) {
            return Ok(Written::NoFile);
        }
        if !self.fadump.dump_active {
            return Ok(Written::NotPermitted);
        }
        if number(text) != Some(1) {
            return Ok(Written::Invalid);
        }
        self.fadump.vmcore = false;
        self.give_up()
    }

    /// `fadump_invalidate_release_mem`: whether the firmware agrees or not, memory is freed.
    fn give_up(&mut self) -> Result<Written> {
        let forgotten = if self.options.mode == Mode::Opal {
            !self.hypervisor.invalidate_fails
        } else {
            self.hypervisor.configure(&self.options, Command::Invalidate, 0, &[], 0) == OK
        };
        if forgotten {
            self.fadump.dump_active = false;
            self.opal = None;
        }
        let frees = release::frees(self);
        if total(&intersect(&frees, &self.fadump.freed)) > 0 {
            return Ok(Written::Oops);
        }
        for extent in &frees {
            self.memory.fill(*extent, FREED)?;
            let (start, end) = (extent.start, extent.end());
            self.say(format!("fadump: freeing reserved memory ({start:#x} - {end:#x})"));
        }
        self.fadump.freed = frees;
        Ok(Written::Accepted)
    }

    /// A write to `registered` (`registered_store`): 1 registers, after unregistering where need be; 0 unregisters.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_registered(&mut self, text: &str) -> Result<Written> {
        if !self.fadump.enabled || self.fadump.dump_active {
            return Ok(Written::NotPermitted);
        }
        let wanted = number(text);
        if matches!(wanted, Some(0 | 1)) && self.fadump.registered {
            // What the firmware answers is ignored; after a failure the kernel believes what it believed.
            let status = self.hypervisor.configure(&self.options, Command::Unregister, 0, &[], 0);
            self.fadump.registered = status != OK;
        }
        match wanted {
            Some(0) => Ok(Written::Accepted),
            Some(1) => self.register(),
            _ => Ok(Written::Invalid),
        }
    }

    /// `register_fadump`: a new crash-info header, written where it always was, whoever has that page now; then the firmware
    /// is asked.
    fn register(&mut self) -> Result<Written> {
        let mut machine = self.machine()?;
        crashinfo::initialise(&mut machine, &self.layout)?;
        self.memory = machine.memory;
        if let Some(header) = self.layout.crash_info {
            self.trespass(header);
        }
        if self.options.mode == Mode::Opal {
            self.fadump.registered = true;
            return Ok(Written::Accepted);
        }
        let structure = self.layout.structure().bytes();
        let length = structure.len() as u64;
        let status = self.hypervisor.configure(&self.options, Command::Register, 0x1000, &structure, length);
        self.fadump.registered = matches!(status, OK | ALREADY_REGISTERED);
        self.say(match status {
            OK => "rtas fadump: Registration is successful!".to_owned(),
            _ => format!("rtas fadump: Failed to register. Unknown Error({status})."),
        });
        Ok(match status {
            OK => Written::Accepted,
            PARAMETER => Written::Invalid,
            ALREADY_REGISTERED => Written::Exists,
            _ => Written::Failed,
        })
    }

    /// A write to `bootargs_append` (`bootargs_append_store`): 2 KiB, the text and zeros, go into the parameter area, though
    /// a release has freed it.
    ///
    /// # Errors
    ///
    /// The memory cannot be written.
    pub fn write_bootargs_append(&mut self, text: &str) -> Result<Written> {
        let Some(area) = self.layout.parameter else { return Ok(Written::NoFile) };
        if !self.fadump.enabled || self.fadump.dump_active {
            return Ok(Written::NotPermitted);
        }
        if text.len() as u64 >= PARAMETER_AREA {
            return Ok(Written::Invalid);
        }
        let mut bytes = text.strip_suffix('\n').unwrap_or(text).as_bytes().to_vec();
        bytes.resize(PARAMETER_AREA as usize, 0);
        self.memory.write(area.start, &bytes)?;
        self.trespass(area);
        Ok(Written::Accepted)
    }

    /// What `bootargs_append` shows, and what the next kernel after a crash appends to its command line: the bytes of the
    /// parameter area up to the first NUL, whoever wrote them. `None` where the kernel has no such area.
    ///
    /// # Errors
    ///
    /// The memory cannot be read.
    pub fn bootargs_append(&self) -> Result<Option<String>> {
        let Some(area) = self.layout.parameter else { return Ok(None) };
        let bytes = self.memory.bytes(area.start, area.length)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }

    fn say(&mut self, line: String) {
        self.fadump.log.push(line);
    }

    /// Remembers what of `written` lies in pages that were given away.
    fn trespass(&mut self, written: Extent) {
        let others = intersect(&self.fadump.freed, &[written]);
        self.fadump.trespassed = merged([std::mem::take(&mut self.fadump.trespassed), others].concat());
    }

    /// Whether the memory above boot memory was given to the allocator: by a release, or because the kernel refused the
    /// dump.
    pub fn released(&self) -> bool {
        !self.fadump.freed.is_empty()
    }

    /// Whether `extent` was given away in this boot, wholly.
    pub fn is_freed(&self, extent: Extent) -> bool {
        covers(&self.fadump.freed, extent)
    }

    /// Bytes of memory that the kernel manages (`MemTotal`): what it booted in, less what it keeps for itself, and what was
    /// freed since. The dump area stays reserved after a release; in a boot without a dump the part of it as large as boot
    /// memory is lent to user space (`fadump_cma_init`) and counts.
    pub fn memory_total(&self) -> u64 {
        let page = self.options.page_size;
        let boot = total(&intersect(&self.ram_now, &[Extent::new(0, self.options.boot_top)]));
        if self.options.mode == Mode::Phyp2008 {
            // What it releases it counts elsewhere ([`crate::live::Live::memory_total`]).
            return boot;
        }
        // Measured on machines of 1 to 4 GiB: the kernel and its tables, for which a model's boot memory of 16 MiB has no
        // room, and the memory map, 64 bytes a page, in pieces of 2 MiB.
        let map = (total(&self.ram_now) / page * 64).next_multiple_of(2 << 20);
        // Tables that grow with the memory that the kernel finds free at its boot.
        let hashes = if self.fadump.had_dump { 0 } else { total(&self.ram_now) / 1024 };
        let kept = (boot / 10).min(KERNEL) + map + hashes;
        let buffers = self.options.mode.facts().map_or(0, |facts| facts.buffers) * page;
        let managed = if !self.fadump.enabled {
            total(&self.ram_now)
        } else if !self.fadump.had_dump {
            total(&subtract(&self.ram_now, &[self.layout.reserved])) / page * page + total(&self.lent())
        } else if self.released() {
            boot + total(&self.fadump.freed)
        } else {
            boot - buffers
        };
        managed.saturating_sub(kept / page * page)
    }
}

/// `kstrtoint(text, 0)`: a sign and a prefix are allowed, one newline after.
fn number(text: &str) -> Option<i32> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(&digits[1..], 8),
        None => digits.parse(),
    };
    let value = value.ok()?;
    i32::try_from(if negative { -value } else { value }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_the_kernel_reads_it() {
        for (text, value) in
            [("1", 1), ("1\n", 1), ("+1", 1), ("0x1", 1), ("01", 1), ("0", 0), ("-1", -1), ("010", 8)]
        {
            assert_eq!(number(text), Some(value), "{text:?}");
        }
        for text in ["", "one", "1 1", "1\n\n", "--1", "0x", "4294967296"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
