//! Where the kernel was and who it was: symbols, addresses and names in the lines of an oops.

/// The task and CPU of a line `CPU: 0 UID: 0 PID: 147 Comm: sh Kdump: loaded Not tainted …` (kernel:
/// `dump_stack_print_info`), as far as it names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) cpu: Option<u32>,
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
}

/// What follows the task's name and number where it hangs; the second since 6.17.
pub(super) const BLOCKED: [&str; 2] = [" blocked for more than ", " blocked in I/O wait for more than "];

/// A task's name has at most so many bytes (kernel: `TASK_COMM_LEN` less its end).
const COMM_LEN: usize = 15;

impl Who {
    /// Reads the line of `dump_stack_print_info`, or of `show_regs` before 3.10: `Pid: 147, comm: sh Not tainted …`.
    pub(super) fn of_header(message: &str) -> Option<Self> {
        if let Some(rest) = message.strip_prefix("Pid: ") {
            let (pid, rest) = number(rest)?;
            let comm = rest.strip_prefix(", comm: ").and_then(comm);
            return Some(Self { cpu: None, pid: Some(pid), comm });
        }
        let (cpu, rest) = number(message.strip_prefix("CPU: ")?)?;
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix("UID: ").and_then(number) {
            Some((_, rest)) => rest.trim_start(),
            None => rest,
        };
        let (pid, rest) = number(rest.strip_prefix("PID: ")?)?;
        let comm = rest.trim_start().strip_prefix("Comm: ").and_then(comm);
        Some(Self { cpu: Some(cpu), pid: Some(pid), comm })
    }

    /// What a watchdog says of the task that it found: `[sh:147]`, `task sh:147 blocked for more than …`, `CPU#1`,
    /// `on cpu 1`, `CPU 1 `, `CPU0,`.
    pub(super) fn of_watchdog(message: &str) -> Self {
        let mut who = Self::default();
        let task = |text: &str| {
            let (name, pid) = text.rsplit_once(':')?;
            Some((pid.parse().ok()?, name.to_owned()))
        };
        let named = match message.split_once("INFO: task ") {
            Some((_, rest)) => BLOCKED.iter().find_map(|words| task(rest.rsplit_once(words)?.0)),
            None => message.split_once("s! [").and_then(|(_, rest)| task(rest.trim_end().strip_suffix(']')?)),
        };
        (who.pid, who.comm) = named.unzip();
        // The names of tasks come after the CPU's number; where it is the task that is named first, there is no CPU.
        if !message.contains("INFO: task ") {
            let after = ["CPU#", " on cpu ", "CPU ", "CPU"].iter().find_map(|mark| {
                let (_, rest) = message.split_once(mark)?;
                number(rest)
            });
            who.cpu = after.map(|(cpu, _)| cpu);
        }
        who
    }
}

/// The name in front of ` Kdump: loaded`, ` Not tainted` or ` Tainted: `. A name may contain these words itself, but not
/// be longer than a name can be: the longest that fits is right.
fn comm(text: &str) -> Option<String> {
    let ends = [" Kdump: loaded", " Not tainted", " Tainted: "];
    let end = ends.iter().flat_map(|mark| text.match_indices(mark)).map(|(at, _)| at);
    let end = end.filter(|&at| at <= COMM_LEN).max();
    // The escapes of unprintable bytes are longer than these.
    let end = end.or_else(|| ends.iter().filter_map(|mark| text.find(mark)).min());
    Some(text[..end.unwrap_or_else(|| text.trim_end().len())].to_owned())
}

/// The decimal number that a text begins with, and the rest.
pub(super) fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// The first `name+0x1f/0x40 [module]` that `text` begins with, spelled so.
pub(super) fn symbol(text: &str) -> Option<String> {
    let plus = text.find("+0x")?;
    let name = &text[..plus];
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
    if name.is_empty() || name.len() > 512 || !name.bytes().all(is_name) {
        return None;
    }
    let (offset, rest) = hex(&text[plus + 3..])?;
    let (size, rest) = hex(rest.strip_prefix("/0x")?)?;
    let spelled = format!("{name}+{offset:#x}/{size:#x}");
    // s390x has no space before the module; since 5.13 its build ID may follow the name.
    let module = rest.trim_start_matches(' ').strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let module = module.and_then(|(inside, _)| inside.split(' ').next()).filter(|name| !name.is_empty());
    let is_module = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    Some(match module.filter(is_module) {
        Some(module) => format!("{spelled} [{module}]"),
        None => spelled,
    })
}

/// The hexadecimal number that a text begins with, and the rest.
fn hex(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
    Some((u64::from_str_radix(&text[..end], 16).ok()?, &text[end..]))
}

/// What follows any `[<ffffffff81234567>]`, `[c000000002387aa0]` and spaces.
pub(super) fn after_addresses(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let Some((inside, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
            return text;
        };
        let digits = inside.trim_start_matches('<').trim_end_matches('>').trim();
        if digits.len() < 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return text;
        }
        text = rest;
    }
}

/// The place that a line of registers gives for the instruction, if it is one of the kernel.
///
/// x86 `RIP: 0010:name+0x1f/0x40`, with addresses in front before 4.10, and `IP: name…` in page faults of those kernels;
/// arm64 `pc : name…`, arm and older arm64 `PC is at name…`; ppc64 `NIP [c000…] name…`; s390x `Krnl PSW : … (name…)`;
/// riscv64 `epc : name…`; loongarch64 `ERA: 9000… name…`; a machine check's `RIP !INEXACT! 10:<ffff…> {name…}`.
pub(super) fn place(message: &str) -> Option<String> {
    let text = message.trim_start();
    if let Some(rest) = text.strip_prefix("RIP: ") {
        let (segment, rest) = rest.split_once(':')?;
        // The two lowest bits are the privilege: what ran in user space is no place in the kernel.
        if u16::from_str_radix(segment, 16).ok()? & 3 != 0 {
            return None;
        }
        return symbol_or_address(rest);
    }
    if let Some((_, rest)) = text.split_once("Krnl PSW : ") {
        return symbol(rest.split_once('(')?.1);
    }
    if let Some((_, rest)) = text.split_once("[Hardware Error]: RIP ") {
        return symbol(rest.split_once('{')?.1);
    }
    let rest = ["IP: ", "pc : ", "PC is at ", "NIP ", "epc : ", "ERA: "]
        .iter()
        .find_map(|mark| text.strip_prefix(mark))?;
    match text.starts_with("ERA: ") {
        true => symbol(rest.trim_start().split_once(' ')?.1),
        false => symbol_or_address(rest),
    }
}

fn symbol_or_address(text: &str) -> Option<String> {
    let text = after_addresses(text);
    symbol(text).or_else(|| address_alone(text))
}

/// `0x1234` with nothing after it: a place that has no symbol.
pub(super) fn address_alone(text: &str) -> Option<String> {
    let (value, rest) = hex(text.trim().strip_prefix("0x")?)?;
    rest.is_empty().then(|| format!("{value:#x}"))
}

/// The address that an oops says was used.
pub(super) fn address(message: &str) -> Option<u64> {
    let marks = ["address: ", "address ", "in range [", " at "];
    let rest = marks.iter().find_map(|mark| Some(message.split_once(mark)?.1))?.trim_start();
    if rest.starts_with("(null)") || rest.starts_with("<NULL>") {
        return Some(0);
    }
    Some(hex(rest.strip_prefix("0x").unwrap_or(rest))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_may_look_like_what_follows_it() {
        for (line, comm) in [
            ("CPU: 0 UID: 0 PID: 7 Comm: sh Kdump: loaded Not tainted 6.12 #1", "sh"),
            ("CPU: 0 PID: 7 Comm: Not tainted x Tainted: G        W  6.1 #1", "Not tainted x"),
            ("CPU: 0 PID: 7 Comm: a Not tainted b Not tainted 6.1 #1", "a Not tainted b"),
            ("CPU: 0 PID: 7 Comm: \\x1b[31m\\x1b[0m\\x07 Not tainted 6.1 #1", "\\x1b[31m\\x1b[0m\\x07"),
            ("Pid: 7, comm: init Not tainted 2.6.32", "init"),
            ("CPU: 0 PID: 7 Comm:  Not tainted 6.1", ""),
        ] {
            assert_eq!(Who::of_header(line).unwrap().comm.as_deref(), Some(comm), "{line}");
        }
    }

    #[test]
    fn a_place_is_one_of_the_kernel() {
        for (line, expected) in [
            ("RIP: 0010:foo+0x10/0x20 [bar]", Some("foo+0x10/0x20 [bar]")),
            (
                "RIP: 0010:[<ffffffff8155c8b2>]  [<ffffffff8155c8b2>] foo.isra.3+0x16/0x20",
                Some("foo.isra.3+0x16/0x20"),
            ),
            ("RIP: 0033:0x43a3f0", None),
            ("RIP: 0010:0x0", Some("0x0")),
            ("RIP: 0010:0xffffffffc0123456", Some("0xffffffffc0123456")),
            ("IP: foo+0x1/0x2", Some("foo+0x1/0x2")),
            ("pc : foo+0x1/0x2 [bar]", Some("foo+0x1/0x2 [bar]")),
            ("PC is at foo+0x1/0x2", Some("foo+0x1/0x2")),
            ("NIP [c00000000069dc98] .foo+0x1/0x2", Some(".foo+0x1/0x2")),
            ("NIP [000000001002fac0] 0x1002fac0", Some("0x1002fac0")),
            (
                "Krnl PSW : 0704c00180000000 000003ff804b2a3c (foo+0x3c/0x100 [bar])",
                Some("foo+0x3c/0x100 [bar]"),
            ),
            ("epc : foo+0x26/0x3a", Some("foo+0x26/0x3a")),
            (" ERA: 9000000000222bb4 foo+0x28/0x60", Some("foo+0x28/0x60")),
            ("mce: [Hardware Error]: RIP !INEXACT! 10:<ffffffff810> {foo+0x1/0x2}", Some("foo+0x1/0x2")),
            ("pc : [<ffff0000>] lr : [<ffff0000>] pstate: 600", None),
        ] {
            assert_eq!(place(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_watchdog_names_cpu_and_task() {
        for (line, cpu, pid, comm) in [
            (
                "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:97]",
                Some(3),
                Some(97),
                Some("kworker/3:1"),
            ),
            ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 12", Some(12), None, None),
            ("watchdog: CPU 5 Hard LOCKUP", Some(5), None, None),
            ("SError Interrupt on CPU2, code 0x00000000be000000 -- SError", Some(2), None, None),
            ("INFO: task a b:7:4242 blocked for more than 120 seconds.", None, Some(4242), Some("a b:7")),
            ("INFO: task dd:7 blocked in I/O wait for more than 120 seconds.", None, Some(7), Some("dd")),
            ("watchdog: CPU7: Watchdog detected hard LOCKUP on cpu 3", Some(3), None, None),
            ("watchdog: BUG: soft lockup - CPU#", None, None, None),
        ] {
            let who = Who::of_watchdog(line);
            assert_eq!((who.cpu, who.pid, who.comm.as_deref()), (cpu, pid, comm), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_place_an_address_and_a_name_or_none(text in "(RIP: 0010:|CPU: 1 PID: 2 Comm: |NIP |Krnl PSW : |)[ -~é]{0,60}") {
            let _ = (place(&text), address(&text), Who::of_header(&text), Who::of_watchdog(&text));
        }
    }
}
