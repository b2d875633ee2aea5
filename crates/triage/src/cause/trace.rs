//! The kernel's own traces of calls in its log.

use super::place::{address_alone, after_addresses, place, symbol};

/// The most frames of a trace; the kernel prints no more than its stacks hold.
const MAX_FRAMES: usize = 512;

/// A trace in the making: the first one of an oops.
#[derive(Debug, Default)]
pub(super) struct Trace {
    frames: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No line of it came yet.
    #[default]
    Ahead,
    Inside,
    Over,
}

/// What a line says within a trace.
enum Found {
    Frame(String),
    /// A mark between stacks, or registers where an interrupt came in.
    Between,
    /// The trace is over.
    Other,
}

impl Trace {
    /// Looks at the next line of the oops. Says whether it belongs to the trace.
    pub(super) fn take(&mut self, message: &str) -> bool {
        let text = message.trim();
        match self.state {
            State::Ahead if begins(text) => {
                self.state = State::Inside;
                true
            }
            State::Inside => match line(text) {
                Found::Frame(frame) if self.frames.len() < MAX_FRAMES => {
                    self.frames.push(frame);
                    true
                }
                Found::Between => true,
                _ => {
                    self.state = State::Over;
                    false
                }
            },
            _ => false,
        }
    }

    /// No line of it came yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.state == State::Ahead
    }

    /// It has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn frames(&self) -> &[String] {
        &self.frames
    }
}

fn begins(text: &str) -> bool {
    ["Call Trace:", "Call trace:", "Backtrace:"].iter().any(|mark| text.starts_with(mark))
}

/// Registers that are printed between frames where an interrupt or a system call came in.
const REGISTERS: [&str; 19] = [
    "RIP: ",
    "RSP: ",
    "RAX: ",
    "RDX: ",
    "RBP: ",
    "R10: ",
    "R13: ",
    "Code: ",
    "ORIG_RAX",
    "LR ",
    "LR:",
    "NIP: ",
    "REGS: ",
    "MSR: ",
    "CFAR: ",
    "IRQMASK: ",
    "GPR",
    "Call Trace:",
    "CTR: ",
];

fn line(text: &str) -> Found {
    // Where an interrupt came in, the function that it hit is named by the registers alone.
    if (text.starts_with("RIP: ") || text.starts_with("NIP ["))
        && let Some(place) = place(text)
    {
        // POWER names user space so, too.
        return if place.starts_with("0x") { Found::Between } else { Found::Frame(place) };
    }
    let marks = ["--- interrupt", "--- Exception", "--- syscall", "NIP ["];
    if text.starts_with('<') && text.ends_with('>')
        || REGISTERS.iter().chain(&marks).any(|m| text.starts_with(m))
    {
        return Found::Between;
    }
    // s390x puts frames that it is not sure of in parentheses.
    let (text, doubtful) = match text.strip_prefix('(') {
        Some(rest) if rest.starts_with('[') => (rest, true),
        _ => (text, false),
    };
    let text = after_addresses(text);
    let (text, doubtful) = match text.strip_prefix("? ") {
        Some(rest) => (after_addresses(rest), true),
        None => (text, doubtful || text.contains("(unreliable)")),
    };
    // arm: `show_stack from dump_stack_lvl+0x40/0x4c`, and with addresses and parentheses before 5.19.
    let text = text.rsplit_once(" from ").map_or(text, |(_, caller)| after_addresses(caller));
    let text = text.strip_prefix('(').unwrap_or(text);
    let frame = symbol(text).or_else(|| address_alone(text.trim_end_matches(" (unreliable)")));
    match frame {
        Some(frame) if doubtful => Found::Frame(format!("? {frame}")),
        Some(frame) => Found::Frame(frame),
        None => Found::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<String> {
        let mut trace = Trace::default();
        text.lines().for_each(|line| {
            trace.take(line);
        });
        trace.frames
    }

    #[test]
    fn every_machine_prints_traces_in_its_own_way() {
        for (text, expected) in [
            (
                "Call Trace:\n <IRQ>\n a+0x1/0x2\n ? b+0x1/0x2 [m]\n </IRQ>\n <TASK>\nRIP: 0010:c+0x1/0x2\nCode: 00\nRSP: 0018:ff EFLAGS: 00\n d+0x1/0x2 [m abc123]\nRIP: 0033:0x1\n </TASK>\nModules linked in:\n e+0x1/0x2",
                &["a+0x1/0x2", "? b+0x1/0x2 [m]", "c+0x1/0x2", "d+0x1/0x2 [m]"][..],
            ),
            (
                "Call Trace:\n [<ffffffff81234567>] ? a+0x1/0x2\n [<ffffffff81234567>] b+0x1/0x2 [m]",
                &["? a+0x1/0x2", "b+0x1/0x2 [m]"],
            ),
            ("Call trace:\n a+0x1/0x2 [m] (P)\n b+0x1/0x2", &["a+0x1/0x2 [m]", "b+0x1/0x2"]),
            (
                "Call Trace:\n[c000000002387aa0] [c00000000069dc98] a+0x1/0x2 (unreliable)\n[c000000002387ad0] [c0000000000a0274] 0xc0000000000a0274\n--- interrupt: 300 at b+0x1/0x2\nNIP [c000000000000001] b+0x1/0x2\nLR [c000000000000001] c+0x1/0x2\n--- interrupt: 300\n[c000000002387ad0] [c0000000000a0274] d+0x1/0x2\nNIP [000000001002fac0] 0x1002fac0",
                &["? a+0x1/0x2", "0xc0000000000a0274", "b+0x1/0x2", "d+0x1/0x2"],
            ),
            (
                "Call Trace:\n [<000000000078a1c4>] a+0x1/0x2[m] \n([<000000000078a1c4>] b+0x1/0x2)\n [<000000000078a1c4>] c+0x1/0x2 \nLast Breaking-Event-Address:\n [<000000000078a1c4>] d+0x1/0x2",
                &["a+0x1/0x2 [m]", "? b+0x1/0x2", "c+0x1/0x2"],
            ),
            (
                "Call trace: \n a from b+0x1/0x2\n[<c010e5f8>] (b) from [<c010a9e8>] (c+0x1/0x2)",
                &["b+0x1/0x2", "c+0x1/0x2"],
            ),
            ("[<ffffffff80a1b2c4>] a+0x1/0x2", &[]),
        ] {
            assert_eq!(frames(text), expected, "{text}");
        }
    }

    #[test]
    fn a_trace_without_end_is_cut() {
        let text = "Call Trace:\n".to_owned() + &" a+0x1/0x2\n".repeat(5000);
        assert_eq!(frames(&text).len(), MAX_FRAMES);
    }
}
