//! Stacks as each machine's kernel leaves them: of tasks that sleep, and of a CPU that an interrupt hit.
//!
//! x86_64 kernels are those with frame pointers. LoongArch has a table in which each function has a frame of 64 bytes.

use super::linux::{FUNCTION, FUNCTIONS, Linux, STACK};
use crate::synth::dump::Arch;

/// A frame's bytes on all machines here.
const FRAME: u64 = 0x100;
/// LoongArch's.
const LOONG_FRAME: u64 = 64;
/// Where an area per CPU has the place of the stack for interrupts.
const IRQ_STACK: u64 = 0x40;

/// Where a chain begins: what its first register or word has to hold, its stack pointer, its frame pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Start {
    pc: u64,
    sp: u64,
    fp: u64,
}

impl Linux {
    /// An address in a function.
    ///
    /// # Panics
    ///
    /// When there is no such function.
    pub fn code(&self, function: &str, offset: u64) -> u64 {
        let place = FUNCTIONS.iter().position(|name| *name == function);
        let place = place.unwrap_or_else(|| panic!("no function {function}"));
        self.memory.base + place as u64 * FUNCTION + offset
    }

    /// The unwind table of LoongArch: a frame for each function, but for the first, with which all stacks begin.
    pub fn unwind_table(&mut self) {
        let memory = &mut self.memory;
        let count = FUNCTIONS.len() as u64;
        let ips = memory.take(4 * count, 8);
        let entries = memory.take(8 * count, 8);
        for n in 0..count {
            let at = ips + 4 * n;
            memory.number(at, (memory.base + n * FUNCTION).wrapping_sub(at), 4);
            let kind = match FUNCTIONS[n as usize] {
                "ret_from_fork" => 1,
                "asm_common_interrupt" => 3,
                _ => 2,
            };
            let sp = if kind == 2 { LOONG_FRAME } else { 0 };
            let by = if FUNCTIONS[n as usize] == "handle_irq" { 3 } else { 2 };
            // The frame pointer is 16 bytes, the return address 8 below the caller's stack pointer.
            let word = sp | 0xfff0 << 16 | 0xfff8 << 32 | by << 48 | 1 << 52 | 1 << 56 | kind << 60;
            memory.word(entries + 8 * n, word);
        }
        memory.symbol("__start_orc_unwind_ip", 'R', ips);
        memory.symbol("__stop_orc_unwind_ip", 'R', ips + 4 * count);
        memory.symbol("__start_orc_unwind", 'R', entries);
    }

    /// Lets a task sleep where these functions called each other, innermost first: addresses of code.
    pub fn sleeps(&mut self, task: u64, calls: &[u64]) {
        let low = self.stack(task) + 0x1000;
        let start = self.chain(low, self.stack(task) + STACK, calls, 0);
        let thread = |member: &str| format!("task_struct.thread.{member}");
        let memory = &mut self.memory;
        match self.arch {
            Arch::X86_64 => {
                // `struct inactive_task_frame`: rbp and the return address are its last two words.
                memory.set(task, &thread("sp"), low - 0x38);
                memory.word(low - 0x38 + 40, start.fp);
                memory.word(low - 0x38 + 48, start.pc);
            }
            Arch::Arm64 => {
                for (name, value) in [("pc", start.pc), ("sp", start.sp), ("fp", start.fp)] {
                    memory.set(task, &thread(&format!("cpu_context.{name}")), value);
                }
            }
            Arch::Ppc64 | Arch::S390x => memory.set(task, &thread("ksp"), start.sp),
            Arch::Riscv64 => {
                memory.set(task, &thread("ra"), start.pc);
                memory.set(task, &thread("sp"), start.sp);
                let s0 = task + memory.offset(&thread("s"));
                memory.word(s0, start.fp);
            }
            Arch::LoongArch64 => {
                for (name, value) in [("reg01", start.pc), ("reg03", start.sp), ("reg22", start.fp)] {
                    memory.set(task, &thread(name), value);
                }
            }
        }
    }

    /// Lets an interrupt hit a task that runs on `cpu`: `before` are the addresses in its frames, that which was hit first;
    /// `handler` those of the interrupt's, innermost first, which are on the CPU's stack for interrupts, but for
    /// `asm_common_interrupt`, the code that is entered. Returns the CPU's registers in the order of `elf_gregset_t`.
    pub fn interrupted(&mut self, cpu: usize, task: u64, handler: &[u64], before: &[u64]) -> Vec<u64> {
        let irq = self.irq_stack(cpu);
        let stack = self.stack(task);
        let entry = self.code("asm_common_interrupt", 0x20);
        // Below the interrupted frames are the registers, and below these a frame of the code that is entered.
        let regs = stack + 0x2000;
        let low = match self.arch {
            Arch::Riscv64 => regs + 288,
            _ => regs + 0x200,
        };
        let was = match self.arch {
            Arch::Ppc64 if before.len() < 2 => Start { pc: before[0], sp: low, fp: 0 },
            Arch::Ppc64 => self.chain(low, stack + STACK, &before[1..], 0),
            _ => self.chain(low, stack + STACK, before, 0),
        };
        let own = regs - FRAME;
        let outwards = match self.arch {
            Arch::Riscv64 => regs,
            Arch::S390x => regs - 160,
            Arch::Ppc64 => regs - 112,
            _ => own,
        };
        let calls = if self.arch == Arch::Ppc64 { &handler[1..] } else { handler };
        let now = self.chain(irq + 0x1000, irq + STACK, calls, outwards);
        let memory = &mut self.memory;
        let mut put = |at: u64, words: &[(u64, u64)]| {
            words.iter().for_each(|(offset, word)| memory.word(at + offset, *word));
        };
        let hit = before[0];
        let mut words = vec![0; 48];
        match self.arch {
            Arch::X86_64 => {
                // A frame pointer with its lowest bit set is the address of registers.
                put(own, &[(0, regs | 1), (8, entry)]);
                put(regs, &[(4 * 8, was.fp), (16 * 8, hit), (17 * 8, 0x10), (19 * 8, low)]);
                (words[16], words[17], words[19], words[4]) = (handler[0], 0x10, now.sp, now.fp);
            }
            Arch::Arm64 => {
                let link = before.get(1).copied().unwrap_or(0);
                put(own, &[(0, regs + 304), (8, entry)]);
                put(regs, &[(29 * 8, was.fp), (30 * 8, link), (31 * 8, low), (32 * 8, hit), (33 * 8, 5)]);
                put(regs, &[(304, was.fp), (312, hit)]);
                (words[32], words[31], words[29], words[33]) = (handler[0], now.sp, now.fp, 5);
            }
            Arch::Riscv64 => {
                put(regs - 16, &[(0, 0), (8, entry)]);
                put(regs, &[(0, hit), (16, low), (64, was.fp), (256, 0x120)]);
                (words[0], words[2], words[8]) = (handler[0], now.sp, now.fp);
            }
            Arch::LoongArch64 => {
                // The function that changes the stack finds its caller's by its frame pointer.
                put(now.sp + LOONG_FRAME - 16, &[(0, own + 0x40)]);
                put(own + 0x40 - 16, &[(0, 0), (8, entry)]);
                put(own + 0x40, &[(8, hit), (24, low), (22 * 8, was.fp), (264, hit)]);
                (words[33], words[3], words[22]) = (handler[0], now.sp, now.fp);
            }
            Arch::Ppc64 => {
                put(outwards, &[(0, low), (16, entry), (96, 0x7265_6773_6865_7265)]);
                put(regs, &[(8, low), (32 * 8, hit)]);
                (words[32], words[1]) = (handler[0], now.sp);
            }
            Arch::S390x => {
                put(outwards, &[(136, entry)]);
                put(regs, &[(16, hit), (24 + 14 * 8, 0), (24 + 15 * 8, low)]);
                (words[1], words[17]) = (handler[0], now.sp);
            }
        }
        words
    }

    /// The registers, in the order of `elf_gregset_t`, of a CPU that runs a task there: addresses of code, innermost first.
    pub fn resting(&mut self, task: u64, calls: &[u64]) -> Vec<u64> {
        let stack = self.stack(task);
        let rest = if self.arch == Arch::Ppc64 { &calls[1..] } else { calls };
        let start = self.chain(stack + 0x2000, stack + STACK, rest, 0);
        let mut words = vec![0; 48];
        let (pc, sp, fp) = match self.arch {
            Arch::X86_64 => (16, 19, 4),
            Arch::Arm64 => (32, 31, 29),
            Arch::Riscv64 => (0, 2, 8),
            Arch::LoongArch64 => (33, 3, 22),
            Arch::Ppc64 => (32, 1, 47),
            Arch::S390x => (1, 17, 47),
        };
        (words[pc], words[sp], words[fp]) = (calls[0], start.sp, start.fp);
        words
    }

    /// A CPU's stack for interrupts; its lowest address.
    fn irq_stack(&mut self, cpu: usize) -> u64 {
        let memory = &mut self.memory;
        let stack = memory.take(STACK, STACK);
        let area = self.areas[cpu];
        match self.arch {
            Arch::X86_64 => {
                memory.word(area + IRQ_STACK, stack + STACK - 8);
                memory.symbol("hardirq_stack_ptr", 'A', IRQ_STACK);
            }
            Arch::Arm64 | Arch::Riscv64 => {
                memory.word(area + IRQ_STACK, stack);
                memory.symbol("irq_stack_ptr", 'A', IRQ_STACK);
            }
            Arch::LoongArch64 => {
                memory.word(area + IRQ_STACK, stack);
                memory.symbol("irq_stack", 'A', IRQ_STACK);
            }
            Arch::Ppc64 => {
                let array = memory.variable("hardirq_ctx", 8 * self.areas.len() as u64);
                memory.word(array + 8 * cpu as u64, stack);
            }
            Arch::S390x => {
                memory.types.declare("lowcore", "u64 restart_psw; ptr kernel_stack; ptr async_stack");
                let array = memory.variable("lowcore_ptr", 8 * self.areas.len() as u64);
                let lowcore = memory.alloc("lowcore");
                memory.word(array + 8 * cpu as u64, lowcore);
                memory.set(lowcore, "lowcore.async_stack", stack + STACK - 160);
            }
        }
        stack
    }

    /// Lays out frames from `low` upwards to a stack's end, where it begins. `calls` are the addresses in them, innermost
    /// first; the first is in a register, or on POWER and s390x on the stack. `outwards`: the outermost frame leads there, to
    /// another stack, instead of being the last.
    fn chain(&mut self, low: u64, end: u64, calls: &[u64], outwards: u64) -> Start {
        let count = calls.len() as u64;
        let memory = &mut self.memory;
        let frame = |n: u64| low + n * FRAME;
        let next = |n: u64| if n < count { frame(n) } else { outwards };
        let mut start = Start { pc: calls[0], sp: low, fp: frame(1) };
        match self.arch {
            Arch::X86_64 | Arch::Arm64 => {
                start.fp = next(1);
                for n in 1..count {
                    memory.word(frame(n), next(n + 1));
                    memory.word(frame(n) + 8, calls[n as usize]);
                }
            }
            Arch::Riscv64 => {
                // The outermost frame pointer is below the room for user space's registers.
                let fp = |n: u64| if n + 1 < count || outwards != 0 { frame(n) } else { end - 288 };
                start.fp = fp(1);
                for n in 1..count {
                    memory.word(fp(n) - 16, if n + 1 < count { fp(n + 1) } else { outwards });
                    memory.word(fp(n) - 8, calls[n as usize]);
                }
            }
            Arch::LoongArch64 => {
                for n in 1..count {
                    memory.word(low + n * LOONG_FRAME - 8, calls[n as usize]);
                }
            }
            Arch::Ppc64 => {
                for n in 0..count {
                    memory.word(frame(n), frame(n + 1));
                    memory.word(frame(n + 1) + 16, calls[n as usize]);
                }
                memory.word(frame(count), outwards);
            }
            Arch::S390x => {
                for n in 0..count {
                    memory.word(frame(n) + 152, next(n + 1));
                    memory.word(frame(n) + 136, calls[n as usize]);
                }
            }
        }
        start
    }
}
