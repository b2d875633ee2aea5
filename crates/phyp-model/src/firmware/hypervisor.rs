//! The hypervisor as a state machine: register, crash, copy, reset, invalidate.
//!
//! LoPAR, `ibm,configure-kernel-dump` and `ibm,os-term`; where QEMU's `rtas_configure_kernel_dump` checks less, the
//! model follows the machine's [`Firmware`].

use crate::Firmware;
use crate::copy::{self, Outcome};
use crate::error::Result;
use crate::extent::{Extent, covers};
use crate::faults::{Fault, HeaderFault, pick};
use crate::machine::{Machine, Options};
use crate::structure::{HEADER, KIND_CPU, KIND_HPTE, SECTION, Structure};

/// What the hypervisor is about to do when the partition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was registered.
    Idle,
    /// A crash will be dumped.
    Registered,
    /// A dump is pending, to be taken and invalidated.
    DumpActive,
}

/// Success.
pub const OK: i32 = 0;
/// Hardware error.
pub const HARDWARE: i32 = -1;
/// Parameter error.
pub const PARAMETER: i32 = -3;
/// A dump is registered already.
pub const ALREADY_REGISTERED: i32 = -9;
/// A dump is active.
pub const DUMP_ACTIVE: i32 = -10;

/// The sub-commands of `ibm,configure-kernel-dump`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// 1: register.
    Register,
    /// 2: unregister.
    Unregister,
    /// 3: complete, that is invalidate a dump that has been taken.
    Invalidate,
    /// Anything else.
    Other(u32),
}

impl From<u32> for Command {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Register,
            2 => Self::Unregister,
            3 => Self::Invalidate,
            other => Self::Other(other),
        }
    }
}

/// How a partition came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The kernel called `ibm,os-term`.
    OsTerm,
    /// A reset; a dump follows only if the kernel never took `ibm,nmi-interlock`.
    Reset {
        /// Whether the kernel took the interlock.
        nmi_interlock: bool,
    },
    /// The time the structure allows after a non-maskable interrupt ran out; 0 there means never.
    MaxTime,
    /// An ordinary reboot or power-off.
    Reboot,
}

/// The firmware's side of one machine.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    firmware: Firmware,
    state: State,
    /// The structure as it was when registered: later edits by the OS are not seen.
    registered: Option<Structure>,
    /// `ibm,kernel-dump`, from the copy until it is invalidated.
    property: Option<Vec<u8>>,
    /// Whether invalidation fails (a fault).
    pub invalidate_fails: bool,
}

impl Hypervisor {
    /// A hypervisor that knows of nothing.
    pub fn new(firmware: Firmware) -> Self {
        Self { firmware, state: State::Idle, registered: None, property: None, invalidate_fails: false }
    }

    /// What it would do now.
    pub fn state(&self) -> State {
        self.state
    }

    /// The property `ibm,kernel-dump`; present until the dump is invalidated.
    pub fn property(&self) -> Option<&[u8]> {
        self.property.as_deref()
    }

    /// The RTAS call `ibm,configure-kernel-dump`.
    ///
    /// `structure` is what the OS has at `address` for `length` bytes; the answer is the RTAS status.
    pub fn configure(
        &mut self,
        options: &Options,
        command: Command,
        address: u64,
        structure: &[u8],
        length: u64,
    ) -> i32 {
        match (command, self.state) {
            (Command::Register, State::Registered) => ALREADY_REGISTERED,
            (Command::Register | Command::Unregister, State::DumpActive) => DUMP_ACTIVE,
            (Command::Register, State::Idle) => {
                let Some(parsed) = self.acceptable(options, address, structure, length) else {
                    return PARAMETER;
                };
                self.registered = Some(parsed);
                self.state = State::Registered;
                OK
            }
            (Command::Unregister, State::Registered) => {
                self.registered = None;
                self.state = State::Idle;
                OK
            }
            (Command::Invalidate, State::DumpActive) => {
                if self.invalidate_fails {
                    return HARDWARE;
                }
                self.property = None;
                self.state = State::Idle;
                OK
            }
            // QEMU's switch reaches the end and says success.
            (Command::Invalidate, _) if self.firmware.is_qemu() => OK,
            (Command::Invalidate | Command::Unregister | Command::Other(_), _) => PARAMETER,
        }
    }

    /// The structure, if it may be registered.
    fn acceptable(&self, options: &Options, address: u64, bytes: &[u8], length: u64) -> Option<Structure> {
        let rma = options.ram.first().copied().unwrap_or(Extent::new(0, 0));
        let in_rma = rma.contains(address) && rma.end() - address >= length;
        let structure = Structure::parse(bytes)?;
        let sections = usize::from(structure.count);
        let exact = (HEADER + sections * SECTION) as u64;
        let right_length = if self.firmware.is_qemu() { length >= HEADER as u64 } else { length == exact };
        let plausible = in_rma && right_length && (1..=10).contains(&sections) && structure.version == 1;
        if !plausible || structure.first_section < HEADER as u32 {
            return None;
        }
        let fine = structure.sections.iter().all(|section| {
            let size = if matches!(section.kind, KIND_CPU | KIND_HPTE) && section.requested == 0 {
                1
            } else {
                section.requested
            };
            let destination = covers(&options.ram, Extent::new(section.destination, size));
            let source = matches!(section.kind, KIND_CPU | KIND_HPTE)
                || covers(&options.ram, Extent::new(section.source, section.requested));
            // PHYP refuses holes in boot memory and in the reserved area; QEMU looks at the copy only.
            self.firmware.is_qemu() || (destination && source && section.request & 1 == 1)
        });
        fine.then_some(structure)
    }

    /// Replaces what is registered, as if the kernel had asked for it: how faults get past the checks.
    pub(crate) fn alter(&mut self, change: impl FnOnce(&mut Structure)) {
        if let Some(structure) = &mut self.registered {
            change(structure);
        }
    }

    /// The partition moves to another machine, which knows nothing of the registration.
    pub fn migrate(&mut self) {
        if self.state == State::Registered {
            self.registered = None;
            self.state = State::Idle;
        }
    }

    /// The partition ends; performs the copy and makes the property if a dump was registered for such an end.
    ///
    /// `None` means a plain reboot. A property from an earlier dump that was not invalidated stays.
    ///
    /// # Errors
    ///
    /// The machine's memory cannot be read or written.
    pub fn end(&mut self, machine: &mut Machine, how: End, faults: &[Fault]) -> Result<Option<Outcome>> {
        let max_time = self.registered.as_ref().map_or(0, |structure| structure.max_time);
        let dumps = match how {
            End::OsTerm => true,
            End::Reset { nmi_interlock } => !nmi_interlock,
            End::MaxTime => max_time != 0,
            End::Reboot => false,
        };
        let registered = self.registered.take();
        if self.state == State::Registered {
            self.state = State::Idle;
        }
        let (true, Some(structure)) = (dumps, registered) else { return Ok(None) };
        let outcome = copy::perform(machine, structure, faults)?;
        self.property = Some(property(&outcome.structure, faults));
        self.state = State::DumpActive;
        Ok(Some(outcome))
    }
}

/// The property: header and sections, exactly as long, with the faults of its header, its flags and its status.
fn property(structure: &Structure, faults: &[Fault]) -> Vec<u8> {
    let mut structure = structure.clone();
    let mut length = None;
    for fault in pick(faults, |fault| match fault {
        Fault::Status(status) => Some(Err(*status)),
        Fault::Header(fault) => Some(Ok(*fault)),
        _ => None,
    }) {
        match fault {
            Err(status) => structure.status = status,
            Ok(HeaderFault::Version(version)) => structure.version = version,
            Ok(HeaderFault::SectionCount(count)) => structure.count = count,
            Ok(HeaderFault::FirstSection(offset)) => structure.first_section = offset,
            Ok(HeaderFault::Length(bytes)) => length = Some(bytes),
        }
    }
    let mut bytes = structure.bytes();
    if let Some(length) = length {
        bytes.truncate(length);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    fn machine(firmware: Firmware) -> (Machine, Hypervisor, Vec<u8>) {
        let options = Options { firmware, ..Options::small_phyp() };
        let structure = Layout::plan(&options).unwrap().structure().bytes();
        (Machine::new(options).unwrap(), Hypervisor::new(firmware), structure)
    }

    fn register(hypervisor: &mut Hypervisor, machine: &Machine, structure: &[u8]) -> i32 {
        let length = structure.len() as u64;
        hypervisor.configure(&machine.options, Command::Register, 0x1000, structure, length)
    }

    #[test]
    fn a_second_registration_and_one_over_a_waiting_dump_have_their_own_answers() {
        let (mut machine, mut hypervisor, structure) = machine(Firmware::Papr);
        assert_eq!(register(&mut hypervisor, &machine, &structure), OK);
        assert_eq!(register(&mut hypervisor, &machine, &structure), ALREADY_REGISTERED);
        assert!(hypervisor.end(&mut machine, End::OsTerm, &[]).unwrap().is_some());
        assert_eq!(hypervisor.state(), State::DumpActive);
        assert_eq!(register(&mut hypervisor, &machine, &structure), DUMP_ACTIVE);
        let unregister = hypervisor.configure(&machine.options, Command::Unregister, 0, &[], 0);
        assert_eq!(unregister, DUMP_ACTIVE);
        assert_eq!(hypervisor.configure(&machine.options, Command::Invalidate, 0, &[], 0), OK);
        assert_eq!((hypervisor.state(), hypervisor.property()), (State::Idle, None));
    }

    #[test]
    fn invalidating_nothing_is_an_error_in_papr_and_success_in_qemu() {
        for (firmware, status) in [(Firmware::Papr, PARAMETER), (Firmware::Qemu, OK)] {
            let (machine, mut hypervisor, _) = machine(firmware);
            assert_eq!(hypervisor.configure(&machine.options, Command::Invalidate, 0, &[], 0), status);
        }
    }

    #[test]
    fn papr_refuses_a_wrong_length_a_hole_and_a_missing_request() {
        let (machine, mut hypervisor, structure) = machine(Firmware::Papr);
        let length = structure.len() as u64 + 1;
        let longer = hypervisor.configure(&machine.options, Command::Register, 0, &structure, length);
        assert_eq!(longer, PARAMETER);
        let mut parsed = Structure::parse(&structure).unwrap();
        parsed.sections[2].destination = machine.options.ram_end() - 0x1000;
        assert_eq!(register(&mut hypervisor, &machine, &parsed.bytes()), PARAMETER);
        let mut parsed = Structure::parse(&structure).unwrap();
        parsed.sections[0].request = 0;
        assert_eq!(register(&mut hypervisor, &machine, &parsed.bytes()), PARAMETER);
        let eleven = Structure::new(vec![parsed.sections[2]; 11]);
        assert_eq!(register(&mut hypervisor, &machine, &eleven.bytes()), PARAMETER);
        assert_eq!(register(&mut hypervisor, &machine, &structure), OK);
    }

    #[test]
    fn only_a_registered_crash_makes_a_dump() {
        for (how, dumps) in [
            (End::OsTerm, true),
            (End::Reset { nmi_interlock: false }, true),
            (End::Reset { nmi_interlock: true }, false),
            (End::MaxTime, false),
            (End::Reboot, false),
        ] {
            let (mut machine, mut hypervisor, structure) = machine(Firmware::Papr);
            register(&mut hypervisor, &machine, &structure);
            assert_eq!(hypervisor.end(&mut machine, how, &[]).unwrap().is_some(), dumps, "{how:?}");
            assert_eq!(hypervisor.property().is_some(), dumps);
            assert!(
                hypervisor.end(&mut machine, End::OsTerm, &[]).unwrap().is_none(),
                "registration is used up"
            );
        }
    }

    #[test]
    fn a_migration_loses_the_registration_without_a_word() {
        let (mut machine, mut hypervisor, structure) = machine(Firmware::Papr);
        register(&mut hypervisor, &machine, &structure);
        hypervisor.migrate();
        assert_eq!(hypervisor.state(), State::Idle);
        assert!(hypervisor.end(&mut machine, End::OsTerm, &[]).unwrap().is_none());
    }
}
