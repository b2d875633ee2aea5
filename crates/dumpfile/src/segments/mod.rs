//! Which part of a file, if any, holds a physical address, and the memory behind such a table.

mod memory;

pub(crate) use memory::SegmentMemory;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use vmcore::{PhysAddr, Range, RangeSet};

/// What is known of a stretch of memory; where PT_LOADs overlap, what comes first here wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// The file has the bytes.
    Data,
    /// The bytes are zeros that take no room in the file.
    Zero,
    /// The file ends before the bytes it should have.
    Lost,
    /// A filter left the bytes out.
    Excluded,
}

/// A stretch of memory with one kind of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Physical addresses.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where the byte at `start` is in the file, of meaning for [`Content::Data`] only.
    pub(crate) offset: u64,
    pub(crate) content: Content,
    /// The number of the PT_LOAD in the file: the first one wins.
    pub(crate) rank: u32,
}

impl Piece {
    /// Where `addr`, inside the piece, is in the file.
    pub(crate) fn file_offset(&self, addr: u64) -> u64 {
        // Wraps only for virtual addresses, which a table may hold as well.
        self.offset.wrapping_add(addr - self.start)
    }

    /// Reports whether `next` continues where `self` ends, in memory and in the file.
    fn continues_as(&self, next: &Self) -> bool {
        self.end == next.start
            && self.content == next.content
            && (self.content != Content::Data || self.file_offset(self.end) == next.offset)
    }
}

/// Disjoint pieces in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pieces: Vec<Piece>,
}

impl Table {
    /// Resolves overlaps among `claims`, in any order, in time proportional to n log n.
    ///
    /// `/proc/vmcore` shows the kernel's text twice, as itself and as part of RAM, with the same bytes; broken
    /// memory maps overlap as well. A byte that several claims hold belongs to the one with the best content, among
    /// equals to the first in the file.
    pub(crate) fn resolve(mut claims: Vec<Piece>) -> Self {
        claims.retain(|c| c.start < c.end);
        claims.sort_unstable_by_key(|c| (c.start, c.rank));
        if claims.windows(2).all(|w| w[0].end <= w[1].start) {
            claims.dedup_by(|next, last| {
                let joins = last.continues_as(next);
                if joins {
                    last.end = next.end;
                }
                joins
            });
            return Self { pieces: claims };
        }
        let mut pieces: Vec<Piece> = Vec::with_capacity(claims.len());
        // The claims that began, best first; those that ended are removed when they come to the top.
        let mut open = BinaryHeap::new();
        let mut next = 0;
        let mut at = 0;
        loop {
            while let Some(&Reverse((_, _, i))) = open.peek()
                && claims[i as usize].end <= at
            {
                open.pop();
            }
            if open.is_empty() {
                let Some(claim) = claims.get(next) else { break };
                at = at.max(claim.start);
            }
            while let Some(claim) = claims.get(next)
                && claim.start <= at
            {
                open.push(Reverse((claim.content, claim.rank, next as u32)));
                next += 1;
            }
            let Some(&Reverse((_, _, best))) = open.peek() else { break };
            let claim = claims[best as usize];
            let until = claims.get(next).map_or(claim.end, |c| c.start.min(claim.end));
            if at < until {
                let piece = Piece { start: at, end: until, offset: claim.file_offset(at), ..claim };
                match pieces.last_mut() {
                    Some(last) if last.continues_as(&piece) => last.end = until,
                    _ => pieces.push(piece),
                }
                at = until;
            }
        }
        Self { pieces }
    }

    /// The table with more claims.
    pub(crate) fn with(mut self, claims: impl Iterator<Item = Piece>) -> Self {
        self.pieces.extend(claims);
        Self::resolve(self.pieces)
    }

    /// The table without what is in `holes`, which are disjoint and ascending.
    pub(crate) fn without<'p>(self, holes: impl Iterator<Item = &'p Piece>) -> Self {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        let mut rest = self.pieces.into_iter();
        let mut piece = rest.next();
        for hole in holes {
            while let Some(mut whole) = piece.filter(|piece| piece.start < hole.end) {
                if whole.start < hole.start {
                    pieces.push(Piece { end: whole.end.min(hole.start), ..whole });
                }
                if hole.end < whole.end {
                    (whole.offset, whole.start) =
                        (whole.file_offset(hole.end.max(whole.start)), hole.end.max(whole.start));
                    piece = Some(whole);
                    break;
                }
                piece = rest.next();
            }
        }
        pieces.extend(piece);
        pieces.extend(rest);
        Self { pieces }
    }

    /// Joins neighbours between which addresses and offsets stay at the same distance, over any gap.
    pub(crate) fn bridged(mut self) -> Self {
        self.pieces.dedup_by(|next, last| {
            let joins = last.content == next.content && last.file_offset(next.start) == next.offset;
            if joins {
                last.end = next.end;
            }
            joins
        });
        self
    }

    /// The pieces that have a byte in `window`, ascending, uncut.
    pub(crate) fn within(&self, window: Range<u64>) -> impl Iterator<Item = &Piece> {
        let first = self.pieces.partition_point(|p| p.end <= window.start);
        self.pieces[first..].iter().take_while(move |p| p.start < window.end)
    }

    /// The piece that holds `addr`.
    pub(crate) fn find(&self, addr: u64) -> Option<&Piece> {
        let next = self.pieces.partition_point(|p| p.start <= addr);
        self.pieces[..next].last().filter(|p| addr < p.end)
    }

    /// The number of pieces.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// All memory that any piece speaks of.
    pub(crate) fn memory(&self) -> RangeSet<PhysAddr> {
        self.pieces.iter().map(|p| Range::new(PhysAddr(p.start), PhysAddr(p.end))).collect()
    }

    /// How many bytes have this content.
    pub(crate) fn total(&self, content: Content) -> u64 {
        self.pieces.iter().filter(|p| p.content == content).map(|p| p.end - p.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    fn any_claims() -> impl Strategy<Value = Vec<Piece>> {
        let content =
            prop::sample::select(vec![Content::Data, Content::Zero, Content::Lost, Content::Excluded]);
        prop::collection::vec((0u64..100, 0u64..30, 0u64..1000, content), 0..12).prop_map(|claims| {
            let piece = |(rank, (start, len, offset, content))| Piece {
                start,
                end: start + len,
                offset,
                content,
                rank: rank as u32,
            };
            claims.into_iter().enumerate().map(piece).collect()
        })
    }

    proptest! {
        #[test]
        fn each_byte_belongs_to_its_best_claim(claims in any_claims()) {
            let table = Table::resolve(claims.clone());
            prop_assert!(table.pieces.windows(2).all(|w| w[0].end <= w[1].start && !w[0].continues_as(&w[1])));
            for addr in 0..140 {
                let holds = |c: &&Piece| c.start <= addr && addr < c.end;
                let best = claims.iter().filter(holds).min_by_key(|c| (c.content, c.rank));
                let found = table.find(addr);
                prop_assert_eq!(found.map(|p| p.content), best.map(|c| c.content));
                if let (Some(p), Some(c)) = (found, best) && c.content == Content::Data {
                    prop_assert_eq!(p.file_offset(addr), c.file_offset(addr));
                }
                prop_assert_eq!(table.within(Range::new(addr, addr + 1)).next(), found);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_of_a_hole_and_all_of_what_is_beside_it(
            claims in any_claims(),
            holes in prop::collection::vec((0u64..20, 0u64..20), 0..6),
        ) {
            let before = Table::resolve(claims.clone());
            let mut at = 0;
            let holes: Vec<Piece> = holes
                .into_iter()
                .map(|(gap, len)| {
                    let start = at + gap;
                    at = start + len;
                    Piece { start, end: at, offset: 0, content: Content::Lost, rank: 0 }
                })
                .filter(|hole| hole.start < hole.end)
                .collect();
            let after = Table::resolve(claims).without(holes.iter());
            prop_assert!(after.pieces.iter().all(|p| p.start < p.end));
            for addr in 0..140 {
                let is_hole = holes.iter().any(|h| h.start <= addr && addr < h.end);
                let what = |p: &Piece| (p.content, p.file_offset(addr));
                let wanted = before.find(addr).filter(|_| !is_hole).map(what);
                prop_assert_eq!(after.find(addr).map(what), wanted);
            }
        }
    }

    #[test]
    fn many_nested_claims_take_no_quadratic_time() {
        // One PT_LOAD over all others keeps the whole set open at once.
        let nested = |i: u64| Piece {
            start: i,
            end: 400_000 - i,
            offset: 7 * i,
            content: Content::Data,
            rank: 200_000 - i as u32,
        };
        let started = Instant::now();
        let table = Table::resolve((0..200_000).map(nested).collect());
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        assert_eq!(table.total(Content::Data), 400_000);
        assert_eq!(table.find(0).unwrap().offset, 0);
    }
}
