//! `hadump read`: memory at an address.

use crate::cli::{self, Shape};
use crate::input::{self, Prefer};
use crate::outcome::{Misused, Outcome, misused};
use crate::output;
use crate::show::{bytes, terminal};
use anyhow::{Context, Result};
use kernel::knowledge::vmlinux_of;
use kernel::symbol_map::SymbolMap;
use kernel::{Error, Kernel};
use search::{Address, number};
use std::io::{self, IsTerminal, Write};
use vmcore::{Dump, Machine, PageState, PhysAddr, VirtAddr};

/// Addresses up to the next multiple of it lie side by side: the smallest page of any machine.
const STEP: u64 = 4096;

/// Reads and prints.
pub(crate) fn run(args: &cli::Read) -> Result<Outcome> {
    let (input, address, length) = args.typed().map_err(Misused)?;
    let address = Address::parse(&address).map_err(misused)?;
    let length = number(&length).map_err(misused)?;
    if args.format == Shape::Raw && io::stdout().is_terminal() {
        let why =
            "standard output is a terminal, which raw bytes are not for: send them into a pipe or a file";
        return Err(Misused(why.into()).into());
    }
    output::check_not_closed()?;
    let number = address.as_number();
    if args.physical && number.is_none() {
        return Err(Misused("a physical address is a number: symbols are virtual addresses".into()).into());
    }
    let mut dump = match args.physical {
        true => input::open(&input, Prefer::Vmcore)?,
        false => input::open_for_kernel(&input, Prefer::Vmcore)?,
    };
    let vmlinux = input.vmlinux.as_deref().map(|path| vmlinux_of(&mut dump, path)).transpose()?;
    let kernel = match Kernel::open(&dump) {
        Ok(kernel) => Some(kernel),
        Err(_) if args.physical => None,
        Err(error) => {
            let what =
                format!("{}: virtual addresses are not known; --physical reads without them", input.name());
            return Err(error).context(what);
        }
    };
    let reader = Reader { dump: &dump, kernel: kernel.as_ref().filter(|_| !args.physical) };
    let print = |start: u64, symbols: &SymbolMap| {
        let mut printer =
            Printer { shape: args.format, machine: dump.machine, symbols, at: start, line: Vec::new() };
        reader.read(start, length, &mut printer)
    };
    match number {
        // Nothing else of the kernel is needed.
        Some(number) if args.format != Shape::Words => print(number, &SymbolMap::default()),
        _ => triage::survey(&dump, kernel.as_ref(), vmlinux.as_ref(), |subject, _| {
            print(address.resolve(&|name| subject.symbol(name)).map_err(misused)?, &subject.symbols)
        }),
    }
}

/// Reads by virtual addresses if there is a kernel, else by physical ones.
struct Reader<'a> {
    dump: &'a Dump,
    kernel: Option<&'a Kernel<'a>>,
}

impl Reader<'_> {
    /// Hands `length` bytes from `start` on to `printer`, as far as they are known, and says what they end at.
    fn read(&self, start: u64, length: u64, printer: &mut Printer<'_>) -> Result<Outcome> {
        let (mut at, mut left) = (start, length);
        let mut buffer = [0; STEP as usize];
        while left > 0 {
            let part = &mut buffer[..(STEP - at % STEP).min(left) as usize];
            let known = match self.piece(at, part)? {
                Piece::Known(known) => known,
                Piece::Missing(error) => {
                    printer.end()?;
                    tracing::error!("{error}");
                    return Ok(Outcome::Incomplete);
                }
                Piece::Wrong(error) => {
                    printer.end()?;
                    return Err(Misused(error.to_string()).into());
                }
            };
            if printer.take(&part[..known])? {
                break;
            }
            left -= known as u64;
            // Behind the last address nothing is mapped, and 0 follows.
            at = at.wrapping_add(known as u64);
        }
        printer.end()?;
        // What was asked for is there, also where other parts of the dump are not.
        Ok(Outcome::Complete)
    }

    /// Fills `bytes`, which no page border is in, from `at` on.
    fn piece(&self, at: u64, bytes: &mut [u8]) -> Result<Piece> {
        let phys = match self.kernel.map(|kernel| kernel.translate(VirtAddr(at))) {
            None => PhysAddr(at),
            Some(Ok(phys)) => phys,
            Some(Err(error @ Error::Read(_))) => return Err(error.into()),
            // A page table that a filter or a disk took is no fault of the address.
            Some(Err(error @ Error::NotInDump { state: PageState::Lost | PageState::Excluded, .. })) => {
                return Ok(Piece::Missing(error));
            }
            Some(Err(error)) => return Ok(Piece::Wrong(error)),
        };
        // A frame may be there in part.
        let there = self.dump.memory.map().bytes().find(phys).map_or(0, |range| range.end.0 - phys.0);
        let known = bytes.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let state = match known {
            0 => PageState::Absent,
            _ => self.dump.memory.read(phys, &mut bytes[..known])?,
        };
        let what = self.kernel.map_or_else(|| "memory".to_owned(), |_| format!("virtual address {at:#x}"));
        let error = Error::NotInDump { what, addr: phys, state };
        Ok(match state {
            PageState::Present | PageState::Zero => Piece::Known(known),
            PageState::Lost | PageState::Excluded => Piece::Missing(error),
            PageState::Absent => Piece::Wrong(error),
        })
    }
}

/// What became of a piece of memory.
enum Piece {
    /// So many bytes are known, at least one.
    Known(usize),
    /// It should be there: it is lost, or an earlier filter left it out, which the error says.
    Missing(Error),
    /// It cannot be there.
    Wrong(Error),
}

/// Prints bytes as they come.
struct Printer<'a> {
    shape: Shape,
    machine: Machine,
    symbols: &'a SymbolMap,
    /// The address of the first byte that is not printed.
    at: u64,
    /// Bytes that do not fill a line.
    line: Vec<u8>,
}

impl Printer<'_> {
    /// Prints `bytes`, or keeps some for the next line; `true` when it has all that it needs.
    fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        let length = match self.shape {
            Shape::Raw => {
                io::stdout().lock().write_all(bytes)?;
                return Ok(false);
            }
            Shape::String => {
                let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
                self.line.extend_from_slice(text);
                return Ok(text.len() < bytes.len());
            }
            Shape::Hex => bytes::LINE,
            Shape::Words => self.machine.word.bytes(),
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(length - self.line.len()));
            self.line.extend_from_slice(now);
            if self.line.len() == length {
                self.print_line()?;
            }
            rest = later;
        }
        Ok(false)
    }

    /// Prints what is left.
    fn end(&mut self) -> Result<()> {
        match self.shape {
            Shape::String => writeln!(terminal::stdout(), "{}", String::from_utf8_lossy(&self.line))?,
            _ if self.line.is_empty() => {}
            _ => self.print_line()?,
        }
        Ok(io::stdout().lock().flush()?)
    }

    fn print_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = match self.shape {
            Shape::Words if line.len() == self.machine.word.bytes() => self.word(self.machine.word(&line)),
            _ => bytes::line(self.at, &line.iter().map(|byte| Some(*byte)).collect::<Vec<_>>()),
        };
        self.at = self.at.wrapping_add(line.len() as u64);
        Ok(writeln!(terminal::stdout(), "{text}")?)
    }

    /// A word, and what it points to in the kernel.
    fn word(&self, word: u64) -> String {
        let digits = 2 * self.machine.word.bytes();
        let symbol = self.symbols.at(VirtAddr(word)).map(|found| {
            let module = found.module.map_or_else(String::new, |module| format!(" [{module}]"));
            terminal::Line(&format!("  {}+{:#x}{module}", found.name, found.offset)).to_string()
        });
        format!("{:012x}  {word:0digits$x}{}", self.at, symbol.unwrap_or_default())
    }
}
