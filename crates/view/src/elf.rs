//! `vmcore`: the dump as an ELF core.

use crate::content::{Content, Failure};
use crate::pages::Pages;
use dumpfile::elf::Image;
use std::sync::Arc;

/// An ELF core whose pages are read where they are.
pub struct Core {
    image: Image,
    pages: Arc<Pages>,
}

impl Core {
    /// The core of `image`, which was made of the dump of `pages`.
    pub fn new(image: Image, pages: Arc<Pages>) -> Self {
        Self { image, pages }
    }
}

impl Content for Core {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Failure> {
        let before = self.image.pages_at().saturating_sub(offset).min(bytes.len() as u64);
        let (head, mut rest) = bytes.split_at_mut(before as usize);
        if !head.is_empty() {
            self.image.read_head(offset, head)?;
        }
        let mut at = offset + before;
        while !rest.is_empty() {
            let past = || Failure::Made(format!("no byte at offset {at:#x}"));
            let memory = self.image.memory_at(at).ok_or_else(past)?;
            let (now, later) = rest.split_at_mut(memory.len().min(rest.len() as u64) as usize);
            self.pages.read(memory.start, now)?;
            (at, rest) = (at + now.len() as u64, later);
        }
        Ok(())
    }
}
