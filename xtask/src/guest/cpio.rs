//! An initramfs: a cpio archive in the format "newc", which the kernel unpacks.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory; those above it come first.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    /// Adds a copy of a file of the host.
    pub(crate) fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| from.display().to_string())?;
        self.entry(path, 0o100_755, (0, 0), &content);
        Ok(())
    }

    /// Adds a script.
    pub(crate) fn script(&mut self, path: &str, content: &str) {
        self.entry(path, 0o100_755, (0, 0), content.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// A header of the magic and thirteen numbers of eight hexadecimal digits, the name with its NUL, the content; name
    /// and content each end on a multiple of four.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("an initramfs of less than 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a short name");
        let (inode, owner, links, time, on) = (self.entries, 0, 1, 0, 0);
        let numbers = [inode, mode, owner, owner, links, time, size, on, on, device.0, device.1, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_contents_on_multiples_of_four() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.device("dev/console", 5, 1);
        archive.script("init", "#!/bin/sh\n");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        // Four entries, the last of which ends the archive.
        assert_eq!(text.matches("070701").count(), 4);
        // Mode, and the device's numbers, where the format has them.
        let console = &text[text.find("dev/console").unwrap() - 110..];
        assert_eq!((&console[14..22], &console[78..94]), ("00002180", "0000000500000001"));
        assert!(text.contains("#!/bin/sh\n\0\0"));
        assert!(text.contains("TRAILER!!!"));
    }
}
