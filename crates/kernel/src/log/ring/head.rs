//! The rings' heads, and where everything lies.

use crate::log::{offset, size, symbol};
use crate::{Error, KernelMemory};
use vmcore::{Machine, VirtAddr};

/// The most bits of `prb_desc_ring.count_bits`: a buffer of 2 GiB, the kernel's `LOG_BUF_LEN_MAX`, with the 32
/// bytes a record that `PRB_AVGBITS` assumes.
const MAX_COUNT_BITS: u32 = 26;
/// The most bits of `prb_data_ring.size_bits`.
const MAX_SIZE_BITS: u32 = 31;
/// The most bytes of a structure of the ring; the largest has 88.
const MAX_STRUCT: u64 = 4096;

/// Where the rings' fields are.
pub(super) struct Layout {
    pub(super) state_var: usize,
    begin: usize,
    next: usize,
    pub(super) seq: Option<usize>,
    pub(super) ts_nsec: usize,
    pub(super) text_len: usize,
    /// A byte for the facility, and one for flags and level. VMCOREINFO does not have them: they are all that lies between
    /// `text_len` and `caller_id`.
    pub(super) facility: Option<usize>,
    pub(super) caller_id: Option<usize>,
}

/// The rings as their heads describe them.
pub(super) struct Ring<'a> {
    pub(super) memory: &'a dyn KernelMemory,
    pub(super) machine: Machine,
    pub(super) layout: Layout,
    pub(super) count: u64,
    pub(super) tail: u64,
    pub(super) head: u64,
    pub(super) text: VirtAddr,
    pub(super) text_size: u64,
}

/// A run of equal structures, read some at a time.
pub(super) struct Rows<'a> {
    memory: &'a dyn KernelMemory,
    base: VirtAddr,
    count: u64,
    size: usize,
    held: std::ops::Range<u64>,
    bytes: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(memory: &'a dyn KernelMemory, base: u64, count: u64, size: usize) -> Self {
        Self { memory, base: VirtAddr(base), count, size, held: 0..0, bytes: Vec::new() }
    }

    /// The bytes of element `index`, which is below the count.
    pub(super) fn get(&mut self, index: u64) -> Result<&[u8], Error> {
        if !self.held.contains(&index) {
            let many = (MAX_STRUCT / self.size as u64).clamp(1, self.count - index);
            // When a page after the element is missing, the element itself may still be there.
            self.fill(index, many).or_else(|_| self.fill(index, 1))?;
        }
        let at = (index - self.held.start) as usize * self.size;
        Ok(&self.bytes[at..at + self.size])
    }

    fn fill(&mut self, index: u64, many: u64) -> Result<(), Error> {
        self.held = 0..0;
        self.bytes.resize(many as usize * self.size, 0);
        let at = self.base.0.wrapping_add(index * self.size as u64);
        self.memory.read(VirtAddr(at), &mut self.bytes)?;
        self.held = index..index + many;
        Ok(())
    }
}

/// What a descriptor's state variable says, in its two top bits (kernel: `enum desc_state`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A writer was at work on the record when the kernel stopped.
    Reserved,
    /// The record is complete; it may still have been extended.
    Committed,
    /// The record is complete.
    Finalized,
    /// The descriptor waits for its next use.
    Reusable,
}

impl State {
    pub(super) fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Reserved,
            1 => Self::Committed,
            2 => Self::Finalized,
            _ => Self::Reusable,
        }
    }
}

/// Where a record's text lies.
pub(super) enum Place {
    /// The kernel kept no text because there was none.
    Empty,
    /// The buffer had no room for the text.
    Lost,
    /// The block's offset in the ring, and its bytes.
    Block(u64, u64),
    /// Not a place.
    Nonsense,
}

/// The sizes of the ring's structures, as VMCOREINFO gives them.
struct Sizes {
    ringbuffer: usize,
    desc_ring: usize,
    data_ring: usize,
    desc: usize,
    lpos: usize,
    info: usize,
    atomic: usize,
}

impl Sizes {
    fn of(memory: &dyn KernelMemory) -> Result<Self, Error> {
        let size = |name| size(memory, name, MAX_STRUCT);
        Ok(Self {
            ringbuffer: size("printk_ringbuffer")?,
            desc_ring: size("prb_desc_ring")?,
            data_ring: size("prb_data_ring")?,
            desc: size("prb_desc")?,
            lpos: size("prb_data_blk_lpos")?,
            info: size("printk_info")?,
            atomic: size("atomic_long_t")?,
        })
    }
}

impl Layout {
    /// `counter` is where the number is in an `atomic_long_t`.
    fn of(memory: &dyn KernelMemory, sizes: &Sizes, counter: usize) -> Result<Self, Error> {
        let word = memory.machine().word.bytes();
        let offset = |member, width, size| offset(memory, member, width, size);
        let lpos = offset("prb_desc.text_blk_lpos", sizes.lpos, sizes.desc)?;
        // What older kernels do not have or export.
        let optional = |member, width| match offset(member, width, sizes.info) {
            Err(Error::MissingKey { .. }) => Ok(None),
            other => other.map(Some),
        };
        let text_len = offset("printk_info.text_len", 2, sizes.info)?;
        let caller_id = optional("printk_info.caller_id", 4)?;
        Ok(Self {
            state_var: offset("prb_desc.state_var", sizes.atomic, sizes.desc)? + counter,
            begin: lpos + offset("prb_data_blk_lpos.begin", word, sizes.lpos)?,
            next: lpos + offset("prb_data_blk_lpos.next", word, sizes.lpos)?,
            ts_nsec: offset("printk_info.ts_nsec", 8, sizes.info)?,
            text_len,
            facility: (caller_id == Some(text_len + 4)).then_some(text_len + 2),
            seq: optional("printk_info.seq", 8)?,
            caller_id,
        })
    }
}

/// One of the two rings inside `struct printk_ringbuffer`.
struct Part<'a> {
    memory: &'a dyn KernelMemory,
    /// Where the whole structure lies, for messages.
    addr: VirtAddr,
    bytes: &'a [u8],
}

impl Part<'_> {
    fn word(&self, member: &str) -> Result<u64, Error> {
        let machine = self.memory.machine();
        let at = offset(self.memory, member, machine.word.bytes(), self.bytes.len())?;
        Ok(machine.word(&self.bytes[at..]))
    }

    /// The number whose logarithm `member` holds.
    fn power(&self, member: &str, most: u32) -> Result<u64, Error> {
        let at = offset(self.memory, member, 4, self.bytes.len())?;
        match self.memory.machine().u32(&self.bytes[at..]) {
            bits if (1..=most).contains(&bits) => Ok(1 << bits),
            bits => Err(Error::Implausible {
                what: member.into(),
                addr: self.addr,
                found: bits.to_string(),
                expected: format!("1 to {most}"),
            }),
        }
    }

    fn id(&self, member: &str, atomic: usize, counter: usize) -> Result<u64, Error> {
        let machine = self.memory.machine();
        let at = offset(self.memory, member, atomic, self.bytes.len())? + counter;
        Ok(machine.word(&self.bytes[at..]) & id_mask(machine))
    }
}

impl<'a> Ring<'a> {
    /// Reads the rings' heads, and prepares to read `descs` and `infos`.
    pub(super) fn open(memory: &'a dyn KernelMemory) -> Result<(Self, Rows<'a>, Rows<'a>), Error> {
        let machine = memory.machine();
        let sizes = Sizes::of(memory)?;
        let counter = offset(memory, "atomic_long_t.counter", machine.word.bytes(), sizes.atomic)?;
        let layout = Layout::of(memory, &sizes, counter)?;
        let desc_ring = offset(memory, "printk_ringbuffer.desc_ring", sizes.desc_ring, sizes.ringbuffer)?;
        let data_ring =
            offset(memory, "printk_ringbuffer.text_data_ring", sizes.data_ring, sizes.ringbuffer)?;

        let addr = VirtAddr(memory.read_word(symbol(memory, "prb")?)?);
        let mut bytes = vec![0; sizes.ringbuffer];
        memory.read(addr, &mut bytes)?;
        let descs = Part { memory, addr, bytes: &bytes[desc_ring..][..sizes.desc_ring] };
        let data = Part { memory, addr, bytes: &bytes[data_ring..][..sizes.data_ring] };
        let count = descs.power("prb_desc_ring.count_bits", MAX_COUNT_BITS)?;
        let rows = |member, size| Ok::<_, Error>(Rows::new(memory, descs.word(member)?, count, size));
        let (desc_rows, info_rows) =
            (rows("prb_desc_ring.descs", sizes.desc)?, rows("prb_desc_ring.infos", sizes.info)?);
        let ring = Self {
            memory,
            machine,
            layout,
            count,
            tail: descs.id("prb_desc_ring.tail_id", sizes.atomic, counter)?,
            head: descs.id("prb_desc_ring.head_id", sizes.atomic, counter)?,
            text: VirtAddr(data.word("prb_data_ring.data")?),
            text_size: data.power("prb_data_ring.size_bits", MAX_SIZE_BITS)?,
        };
        Ok((ring, desc_rows, info_rows))
    }

    /// The place that a descriptor gives for its record's text (kernel: `get_data`).
    pub(super) fn place(&self, desc: &[u8]) -> Place {
        let word = self.machine.word.bytes() as u64;
        let (begin, next) =
            (self.machine.word(&desc[self.layout.begin..]), self.machine.word(&desc[self.layout.next..]));
        // Positions are multiples of a word; odd ones are the kernel's FAILED_LPOS (1) and NO_LPOS (3).
        if begin & next & 1 == 1 {
            return if (begin, next) == (1, 1) { Place::Lost } else { Place::Empty };
        }
        let last = next.wrapping_sub(1) & word_mask(self.machine);
        let wrap = |lpos: u64| lpos / self.text_size;
        let wraps = word_mask(self.machine) / self.text_size;
        // A block may end exactly where the ring does (since 6.18); before, it would have been moved to the start.
        let (at, end) = if wrap(begin) == wrap(last) && begin <= last {
            (begin % self.text_size, last % self.text_size + 1)
        } else if (wrap(begin) + 1) & wraps == wrap(last) {
            // It did not fit before the ring's end and lies at its start as a whole.
            (0, last % self.text_size + 1)
        } else {
            return Place::Nonsense;
        };
        if !begin.is_multiple_of(word) || !end.is_multiple_of(word) || end - at < word {
            return Place::Nonsense;
        }
        Place::Block(at, end - at)
    }
}

pub(super) fn word_mask(machine: Machine) -> u64 {
    u64::MAX >> (64 - 8 * machine.word.bytes())
}

/// The bits of a state variable that hold the id; the two above hold the state (kernel: `DESC_ID_MASK`).
pub(super) fn id_mask(machine: Machine) -> u64 {
    word_mask(machine) >> 2
}
