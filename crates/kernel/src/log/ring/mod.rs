//! The log as rings of descriptors and text, since Linux 5.10.
//!
//! `prb` points to a `struct printk_ringbuffer`. Its descriptor ring is two arrays of `1 << count_bits`
//! elements: `descs` with each record's state and place, `infos` with its time, length and caller. A record has a
//! number, its id; descriptor `id % count` belongs to it as long as the descriptor's state variable repeats that
//! id. Text lies in a ring of `1 << size_bits` bytes as blocks, each an id (an `unsigned long`) and then the
//! characters. Positions in it only ever grow and wrap with the word (kernel: `kernel/printk/printk_ringbuffer.c`).

mod head;

use super::entry::{self, Entry};
use super::text::Caller;
use super::{Each, Extent, LogError, MAX_UNREADABLE, Progress, clear};
use crate::{Error, KernelMemory};
use head::{Place, Ring, Rows, State, id_mask};
use vmcore::VirtAddr;

pub(in crate::log) fn read(
    memory: &dyn KernelMemory,
    extent: Extent,
    each: &mut Each<'_>,
    progress: &mut Progress,
) -> Result<(), LogError> {
    let (ring, mut descs, mut infos) = Ring::open(memory)?;
    let cleared = match extent {
        // Without the numbers of the records, that of a clearing tells nothing.
        Extent::SinceClear if ring.layout.seq.is_some() => clear::sequence(memory)?,
        _ => None,
    };
    progress.summary.since_clear = cleared.is_some();
    let first = cleared.unwrap_or(0);
    let mask = id_mask(ring.machine);
    let mut records = (ring.head.wrapping_sub(ring.tail) & mask) + 1;
    if records > ring.count {
        let (tail, head, count) = (ring.tail, ring.head, ring.count);
        progress.remark(|| {
            format!("the log's oldest record is {tail:#x}, its newest {head:#x}, and it holds {count}: took the newest {count}")
        });
        records = count;
    }
    let mut text = Vec::new();
    // Blocks do not overlap, so all text together is no longer than the ring.
    let mut budget = ring.text_size;
    let mut unreadable = 0;
    for back in (0..records).rev() {
        let id = ring.head.wrapping_sub(back) & mask;
        match record(&ring, &mut descs, &mut infos, id, &mut text) {
            Ok(Found::Nothing) => {}
            Ok(Found::Unwritten) => progress.summary.unwritten += 1,
            Ok(Found::Lost(why)) => progress.skip(|| format!("record {id:#x} of the log {why}")),
            Ok(Found::Text { seq, .. }) if seq < first => {}
            Ok(Found::Text { block, ts_nsec, level, facility, caller, .. }) => {
                let Some(left) = budget.checked_sub(block) else {
                    progress.remark(|| format!("the log's records overlap at {id:#x}; the rest was skipped"));
                    break;
                };
                budget = left;
                let text = &text[ring.machine.word.bytes()..];
                each(&Entry { ts_nsec: Some(ts_nsec), level, facility, caller, text })?;
                progress.summary.records += 1;
            }
            Err(error) => {
                progress.skip(|| format!("record {id:#x} of the log: {error}"));
                unreadable += 1;
                if unreadable > MAX_UNREADABLE {
                    progress.remark(|| "the log's memory is missing; the rest was skipped".into());
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What is under a record's number.
enum Found {
    /// No record, or one without text.
    Nothing,
    /// A record that was begun and has no text yet, or found no room for it.
    Unwritten,
    /// A record whose text is gone, and how.
    Lost(&'static str),
    /// A record; the caller's buffer has its block: the id, and then the text.
    Text {
        /// Bytes taken in the text ring.
        block: u64,
        /// Its place among all that were ever written; 0 where the kernel does not export it.
        seq: u64,
        ts_nsec: u64,
        level: Option<u8>,
        facility: Option<u32>,
        caller: Option<Caller>,
    },
}

fn record(
    ring: &Ring<'_>,
    descs: &mut Rows<'_>,
    infos: &mut Rows<'_>,
    id: u64,
    text: &mut Vec<u8>,
) -> Result<Found, Error> {
    let machine = ring.machine;
    let row = id % ring.count;
    let desc = descs.get(row)?;
    let state = machine.word(&desc[ring.layout.state_var..]);
    let (owner, state) = (state & id_mask(machine), State::of(state >> (8 * machine.word.bytes() - 2)));
    if owner != id {
        // A writer moves the head before it marks the descriptor as its own (kernel: `desc_reserve`): until then it is as
        // its last user left it, or as the kernel began.
        let before = owner == id.wrapping_sub(ring.count) & id_mask(machine) && state == State::Reusable;
        let is_new = owner == 0 && state == State::Reserved;
        return Ok(match before || is_new {
            true => Found::Unwritten,
            false => Found::Lost("has a descriptor that belongs to another"),
        });
    }
    match state {
        State::Committed | State::Finalized => {}
        State::Reserved => return Ok(Found::Unwritten),
        State::Reusable => return Ok(Found::Nothing),
    }
    let (at, block) = match ring.place(desc) {
        Place::Block(at, block) => (at, block),
        Place::Empty => return Ok(Found::Nothing),
        Place::Lost => return Ok(Found::Unwritten),
        Place::Nonsense => return Ok(Found::Lost("has its text where no text can be")),
    };
    let info = infos.get(row)?;
    let word = machine.word.bytes();
    let len = machine.u16(&info[ring.layout.text_len..]) as u64;
    let ts_nsec = machine.u64(&info[ring.layout.ts_nsec..]);
    let seq = ring.layout.seq.map_or(0, |at| machine.u64(&info[at..]));
    let facility = ring.layout.facility.map(|at| u32::from(info[at]));
    let level = ring.layout.facility.map(|at| entry::level(machine, info[at + 1]));
    let caller = ring.layout.caller_id.map(|at| Caller(machine.u32(&info[at..])));
    // The kernel stores the whole length even of a text that it had to cut.
    let len = len.min(block - word as u64) as usize;
    text.resize(word + len, 0);
    ring.memory.read(VirtAddr(ring.text.0.wrapping_add(at)), text)?;
    if machine.word(text) != id {
        return Ok(Found::Lost("has a text that belongs to another"));
    }
    Ok(Found::Text { block, seq, ts_nsec, level, facility, caller })
}

#[cfg(test)]
mod tests;
