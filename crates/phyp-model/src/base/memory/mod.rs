//! The memory of a modelled machine, of which only what was written costs anything.

mod image;
mod pattern;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{ModelError, Result};
use crate::extent::{Extent, merged};
use image::Base;
pub use pattern::{STAMP, Tag};
use pattern::{fill_pattern, fill_stamps};

/// Bytes per piece of the sparse map, and the grain of a hole.
pub const CHUNK: u64 = 0x1_0000;

/// Bytes of one hole in a written image: a file system's block.
const BLOCK: usize = 4096;

#[derive(Clone, Debug)]
enum Chunk {
    Zero,
    Filled(Tag),
    /// Zeros, but for the pattern in the first [`STAMP`] bytes of every page of this size.
    Stamped(Tag, u64),
    Bytes(Arc<Vec<u8>>),
}

/// A sparse physical memory image, from address 0 to its size.
///
/// Cloning is cheap and gives an independent snapshot: pieces are shared until one side writes. A machine
/// of terabytes costs what was written to it. Writes go to the map in memory, or, for an image made by
/// [`Memory::in_file`], straight to a sparse file until [`Memory::freeze`].
#[derive(Clone, Debug)]
pub struct Memory {
    size: u64,
    base: Option<Arc<Base>>,
    write_through: bool,
    chunks: BTreeMap<u64, Chunk>,
}

impl Memory {
    /// Memory of `size` bytes, all zero.
    pub fn new(size: u64) -> Self {
        Self { size, base: None, write_through: false, chunks: BTreeMap::new() }
    }

    /// Memory whose first contents are those of a raw image; the file itself is never written.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn over(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(ModelError::io(path, "open the memory image"))?;
        let length = file.metadata().map_err(ModelError::io(path, "ask the size"))?.len();
        let base = Base { file, path: path.to_path_buf(), length };
        Ok(Self { size: length, base: Some(Arc::new(base)), write_through: false, chunks: BTreeMap::new() })
    }

    /// Memory that lives in a new sparse file, for images too large for this process.
    ///
    /// Snapshots of it are not independent before [`Memory::freeze`].
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn in_file(path: &Path, size: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(ModelError::io(path, "create the memory image"))?;
        file.set_len(size).map_err(ModelError::io(path, "set the size"))?;
        let base = Base { file, path: path.to_path_buf(), length: size };
        Ok(Self { size, base: Some(Arc::new(base)), write_through: true, chunks: BTreeMap::new() })
    }

    /// Ends writing through to the file: later writes stay in memory.
    pub fn freeze(&mut self) {
        self.write_through = false;
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `bytes` from physical address `address`.
    ///
    /// # Errors
    ///
    /// The range reaches past the memory, or the image file cannot be read.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        self.check(address, bytes.len() as u64)?;
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u64;
            let offset = (at % CHUNK) as usize;
            let length = (bytes.len() - done).min(CHUNK as usize - offset);
            let part = &mut bytes[done..done + length];
            match self.chunks.get(&(at / CHUNK)) {
                Some(Chunk::Zero) => part.fill(0),
                Some(Chunk::Filled(tag)) => fill_pattern(*tag, at, part),
                Some(Chunk::Stamped(tag, page)) => fill_stamps(*tag, *page, at, part),
                Some(Chunk::Bytes(chunk)) => part.copy_from_slice(&chunk[offset..offset + length]),
                None => self.read_base(at, part)?,
            }
            done += length;
        }
        Ok(())
    }

    /// `length` bytes from physical address `address`.
    ///
    /// # Errors
    ///
    /// As [`Memory::read`].
    pub fn bytes(&self, address: u64, length: u64) -> Result<Vec<u8>> {
        self.check(address, length)?;
        let mut bytes = vec![0; length as usize];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes `bytes` at physical address `address`. Zeros written over zeros stay a hole.
    ///
    /// # Errors
    ///
    /// The range reaches past the memory, or the image file cannot be read or written.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.check(address, bytes.len() as u64)?;
        if self.write_through
            && let Some(base) = &self.base
        {
            return base
                .file
                .write_all_at(bytes, address)
                .map_err(ModelError::io(&base.path, "write the memory image"));
        }
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u64;
            let (index, offset) = (at / CHUNK, (at % CHUNK) as usize);
            let length = (bytes.len() - done).min(CHUNK as usize - offset);
            let part = &bytes[done..done + length];
            done += length;
            let hole = match self.chunks.get(&index) {
                None => self.base.as_ref().is_none_or(|base| base.length <= index * CHUNK),
                Some(chunk) => matches!(chunk, Chunk::Zero),
            };
            if hole && is_zero(part) {
                continue;
            }
            self.chunk_mut(index)?[offset..offset + length].copy_from_slice(part);
        }
        Ok(())
    }

    /// Makes every byte of `extent` zero, as holes where it covers whole pieces.
    ///
    /// # Errors
    ///
    /// As [`Memory::write`].
    pub fn clear(&mut self, extent: Extent) -> Result<()> {
        self.cover(extent, &Chunk::Zero, &mut |_, part| part.fill(0))
    }

    /// Fills `extent` with the pattern of `tag`; costs nothing where it covers whole pieces.
    ///
    /// # Errors
    ///
    /// As [`Memory::write`].
    pub fn fill(&mut self, extent: Extent, tag: Tag) -> Result<()> {
        self.cover(extent, &Chunk::Filled(tag), &mut |at, part| fill_pattern(tag, at, part))
    }

    /// Makes `extent` zero but for the pattern in the first [`STAMP`] bytes of every page of `page` bytes, a power
    /// of two of at most [`CHUNK`]; costs nothing where it covers whole pieces.
    ///
    /// # Errors
    ///
    /// As [`Memory::write`].
    pub fn stamp(&mut self, extent: Extent, tag: Tag, page: u64) -> Result<()> {
        self.cover(extent, &Chunk::Stamped(tag, page), &mut |at, part| fill_stamps(tag, page, at, part))
    }

    /// Copies `length` bytes from `source` to `destination`, front to back in steps of `step` bytes.
    ///
    /// Each step is read whole and then written: where the destination lies inside the source and ahead of
    /// it, a later step reads what an earlier one wrote (PAPR says nothing about overlap; QEMU's
    /// `spapr_fadump.c` copies in steps of 32 MiB and smears the same way).
    ///
    /// # Errors
    ///
    /// As [`Memory::write`].
    pub fn copy(&mut self, source: u64, destination: u64, length: u64, step: u64) -> Result<()> {
        self.check(source, length)?;
        self.check(destination, length)?;
        if source == destination {
            return Ok(());
        }
        let mut done = 0;
        while done < length {
            let now = step.max(1).min(length - done);
            let from = Extent::new(source + done, now);
            let mut pieces = Vec::new();
            for extent in self.data_within(from)? {
                pieces.push((extent.start - from.start, self.bytes(extent.start, extent.length)?));
            }
            self.clear(Extent::new(destination + done, now))?;
            for (offset, bytes) in pieces {
                self.write(destination + done + offset, &bytes)?;
            }
            done += now;
        }
        Ok(())
    }

    /// The parts of `extent` that may hold anything but zeros, in pieces of at most [`CHUNK`] bytes.
    ///
    /// # Errors
    ///
    /// The image file cannot be asked for its holes.
    pub fn data_within(&self, extent: Extent) -> Result<Vec<Extent>> {
        let last = extent.end().div_ceil(CHUNK);
        let mut indices: Vec<u64> = self
            .chunks
            .range(extent.start / CHUNK..last)
            .filter(|(_, chunk)| !matches!(chunk, Chunk::Zero))
            .map(|(index, _)| *index)
            .collect();
        if let Some(base) = &self.base {
            for data in base.data(extent)? {
                let range = data.start / CHUNK..data.end().div_ceil(CHUNK);
                indices.extend(range.filter(|index| !self.chunks.contains_key(index)));
            }
        }
        indices.sort_unstable();
        indices.dedup();
        let pieces = indices.iter().map(|index| Extent::new(index * CHUNK, CHUNK).intersect(extent));
        Ok(pieces.filter(|piece| !piece.is_empty()).collect())
    }

    /// Whether `extent` holds the same bytes here and in `other`.
    ///
    /// # Errors
    ///
    /// As [`Memory::read`].
    pub fn equals(&self, other: &Self, extent: Extent) -> Result<bool> {
        self.equals_at(extent.start, other, extent.start, extent.length)
    }

    /// Whether `length` bytes at `address` are those of `other` at `other_address`; holes cost nothing.
    ///
    /// # Errors
    ///
    /// As [`Memory::read`].
    pub fn equals_at(&self, address: u64, other: &Self, other_address: u64, length: u64) -> Result<bool> {
        self.check(address, length)?;
        other.check(other_address, length)?;
        let mut places: Vec<Extent> = Vec::new();
        for piece in self.data_within(Extent::new(address, length))? {
            places.push(Extent::new(piece.start - address, piece.length));
        }
        for piece in other.data_within(Extent::new(other_address, length))? {
            places.push(Extent::new(piece.start - other_address, piece.length));
        }
        let (mut left, mut right) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
        for place in merged(places) {
            let mut at = place.start;
            while at < place.end() {
                let now = (place.end() - at).min(CHUNK) as usize;
                self.read(address + at, &mut left[..now])?;
                other.read(other_address + at, &mut right[..now])?;
                if left[..now] != right[..now] {
                    return Ok(false);
                }
                at += now as u64;
            }
        }
        Ok(true)
    }

    /// Writes `extent` to `file` at `offset`, leaving holes where memory is zero. The file must be new there.
    ///
    /// # Errors
    ///
    /// Memory cannot be read or the file cannot be written.
    pub fn write_extent(&self, file: &File, path: &Path, offset: u64, extent: Extent) -> Result<()> {
        let mut buffer = vec![0; CHUNK as usize];
        for piece in self.data_within(extent)? {
            let bytes = &mut buffer[..piece.length as usize];
            self.read(piece.start, bytes)?;
            let mut at = offset + (piece.start - extent.start);
            let mut rest = &bytes[..];
            // A run of blocks that are not zero goes out in one write.
            while !rest.is_empty() {
                let zeros: usize = rest.chunks(BLOCK).take_while(|b| is_zero(b)).map(<[u8]>::len).sum();
                let data: usize =
                    rest[zeros..].chunks(BLOCK).take_while(|b| !is_zero(b)).map(<[u8]>::len).sum();
                file.write_all_at(&rest[zeros..zeros + data], at + zeros as u64)
                    .map_err(ModelError::io(path, "write"))?;
                at += (zeros + data) as u64;
                rest = &rest[zeros + data..];
            }
        }
        Ok(())
    }

    /// Writes the whole memory to a new raw file: byte `n` is physical address `n`.
    ///
    /// # Errors
    ///
    /// As [`Memory::write_extent`].
    pub fn write_raw(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(ModelError::io(path, "create"))?;
        file.set_len(self.size).map_err(ModelError::io(path, "set the size"))?;
        self.write_extent(&file, path, 0, Extent::new(0, self.size))
    }

    /// The raw file that this memory is, when nothing has been written over it.
    pub fn untouched_file(&self) -> Option<&Path> {
        self.base
            .as_ref()
            .filter(|base| self.chunks.is_empty() && base.length == self.size)
            .map(|base| &*base.path)
    }

    fn check(&self, address: u64, length: u64) -> Result<()> {
        match address.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(ModelError::OutsideMemory { address, length, size: self.size }),
        }
    }

    fn read_base(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        let Some(base) = &self.base else { return Ok(()) };
        let length = base.length.saturating_sub(address).min(bytes.len() as u64) as usize;
        base.file
            .read_exact_at(&mut bytes[..length], address)
            .map_err(ModelError::io(&base.path, "read the memory image"))
    }

    fn chunk_mut(&mut self, index: u64) -> Result<&mut Vec<u8>> {
        let ready = matches!(self.chunks.get(&index), Some(Chunk::Bytes(_)));
        if !ready {
            let mut bytes = vec![0; CHUNK as usize];
            match self.chunks.get(&index) {
                Some(Chunk::Filled(tag)) => fill_pattern(*tag, index * CHUNK, &mut bytes),
                Some(Chunk::Stamped(tag, page)) => fill_stamps(*tag, *page, index * CHUNK, &mut bytes),
                None => self.read_base(index * CHUNK, &mut bytes)?,
                _ => {}
            }
            self.chunks.insert(index, Chunk::Bytes(Arc::new(bytes)));
        }
        match self.chunks.get_mut(&index) {
            Some(Chunk::Bytes(bytes)) => Ok(Arc::make_mut(bytes)),
            _ => unreachable!("the piece was made just above"),
        }
    }

    fn cover(&mut self, extent: Extent, whole: &Chunk, part: &mut dyn FnMut(u64, &mut [u8])) -> Result<()> {
        self.check(extent.start, extent.length)?;
        if extent.is_empty() {
            return Ok(());
        }
        let first_whole = extent.start.div_ceil(CHUNK);
        let end_whole =
            if extent.end() == self.size { extent.end().div_ceil(CHUNK) } else { extent.end() / CHUNK };
        if self.write_through {
            let mut buffer = vec![0; CHUNK as usize];
            let mut at = extent.start;
            while at < extent.end() {
                let now = (extent.end() - at).min(CHUNK) as usize;
                part(at, &mut buffer[..now]);
                self.write(at, &buffer[..now])?;
                at += now as u64;
            }
            return Ok(());
        }
        if first_whole < end_whole {
            let absent_is_zero = self.base.is_none() && matches!(whole, Chunk::Zero);
            if absent_is_zero {
                let gone: Vec<u64> =
                    self.chunks.range(first_whole..end_whole).map(|(index, _)| *index).collect();
                for index in gone {
                    self.chunks.remove(&index);
                }
            } else {
                for index in first_whole..end_whole {
                    self.chunks.insert(index, whole.clone());
                }
            }
        }
        let edges = if first_whole < end_whole {
            [
                Extent::between(extent.start, first_whole * CHUNK),
                Extent::between(end_whole * CHUNK, extent.end()),
            ]
        } else {
            let middle = (extent.start / CHUNK + 1) * CHUNK;
            let cut = middle.min(extent.end());
            [Extent::between(extent.start, cut), Extent::between(cut, extent.end())]
        };
        for edge in edges.into_iter().filter(|edge| !edge.is_empty()) {
            let mut bytes = vec![0; edge.length as usize];
            part(edge.start, &mut bytes);
            self.write(edge.start, &bytes)?;
        }
        Ok(())
    }
}

/// Reports whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(512).all(|block| block.iter().fold(0, |acc, byte| acc | byte) == 0)
}

#[cfg(test)]
mod tests;
