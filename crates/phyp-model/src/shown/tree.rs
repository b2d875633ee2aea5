//! Writing a directory laid out like a machine's root: device tree, sysfs, debugfs, `/dev/mem`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{ModelError, Result};
use crate::extent::Extent;

/// A root directory under construction.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

/// How the device tree describes the memory of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryNodes {
    /// One `memory@` node per range.
    #[default]
    Plain,
    /// `memory@0` for the first block, `ibm,dynamic-memory` for the others.
    Dynamic,
    /// `memory@0` for the first block, `ibm,dynamic-memory-v2` for the others.
    DynamicV2,
}

impl Tree {
    /// Starts in `root`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, or a root directory is there already: what an earlier run left would mix
    /// with this one's, and its large files may be links to someone's originals.
    pub fn new(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(ModelError::io(root, "create the directory"))?;
        if root.join("proc").exists() {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(ModelError::io(root, "make a root directory over another one")(exists));
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// Where `name` lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file with the mode the kernel gives it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn file(&self, name: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let path = self.parent(name)?;
        fs::write(&path, contents).map_err(ModelError::io(&path, "write"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(ModelError::io(&path, "set the mode"))
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    ///
    /// The link cannot be made.
    pub fn link(&self, name: &str, target: &str) -> Result<()> {
        let path = self.parent(name)?;
        symlink(target, &path).map_err(ModelError::io(&path, "make the link"))
    }

    /// The path of a file whose directory is made.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub fn parent(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(ModelError::io(parent, "create the directory"))?;
        }
        Ok(path)
    }

    /// Writes a property of the device tree: bytes as the firmware has them.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn property(&self, name: &str, value: &[u8]) -> Result<()> {
        self.file(&format!("proc/device-tree/{name}"), 0o444, value)
    }

    /// Writes the root node and the memory nodes (LoPAR, "memory" and "ibm,dynamic-reconfiguration-memory").
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn memory(&self, ram: &[Extent], lmb_size: u64, nodes: MemoryNodes) -> Result<()> {
        self.property("#address-cells", &2u32.to_be_bytes())?;
        self.property("#size-cells", &2u32.to_be_bytes())?;
        let node = |extent: &Extent| {
            let name = format!("memory@{:x}", extent.start);
            self.property(&format!("{name}/device_type"), b"memory\0")?;
            let reg = [extent.start.to_be_bytes(), extent.length.to_be_bytes()].concat();
            self.property(&format!("{name}/reg"), &reg)
        };
        if nodes == MemoryNodes::Plain {
            return ram.iter().try_for_each(node);
        }
        let first = ram.first().map_or(0, |extent| extent.length.min(lmb_size));
        node(&Extent::new(0, first))?;
        let dynamic = "ibm,dynamic-reconfiguration-memory";
        self.property(&format!("{dynamic}/ibm,lmb-size"), &lmb_size.to_be_bytes())?;
        let end = ram.iter().map(|extent| extent.end()).max().unwrap_or(0);
        let blocks: Vec<(u64, bool)> = (0..end.div_ceil(lmb_size))
            .map(|n| n * lmb_size)
            .filter(|base| *base >= first)
            .map(|base| (base, ram.iter().any(|extent| extent.contains(base))))
            .collect();
        // Flags: 8 assigned to the partition, 80h reserved; a block that is neither is a hole.
        let flags = |assigned: bool| if assigned { 0x8u32 } else { 0 };
        let mut out = Bytes::new(ByteOrder::Big);
        if nodes == MemoryNodes::Dynamic {
            out.u32(blocks.len() as u32);
            for (n, (base, assigned)) in blocks.iter().enumerate() {
                out.u64(*base).u32(0x8000_0000 + n as u32).u32(0).u32(0).u32(flags(*assigned));
            }
            return self.property(&format!("{dynamic}/ibm,dynamic-memory"), &out.bytes);
        }
        let runs: Vec<&[(u64, bool)]> = blocks.chunk_by(|a, b| a.1 == b.1).collect();
        out.u32(runs.len() as u32);
        for run in runs {
            let (base, assigned) = run[0];
            let index = 0x8000_0000 + ((base - first) / lmb_size) as u32;
            out.u32(run.len() as u32).u64(base).u32(index).u32(0).u32(flags(assigned));
        }
        self.property(&format!("{dynamic}/ibm,dynamic-memory-v2"), &out.bytes)
    }

    /// Writes what RTAS firmware says about dumps: token, sizes, versions, and the structure when a dump is pending.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn rtas(&self, sizes: &[(u32, u64)], property: Option<&[u8]>) -> Result<()> {
        self.property("rtas/ibm,configure-kernel-dump", &0x2023u32.to_be_bytes())?;
        let mut out = Bytes::new(ByteOrder::Big);
        for (kind, size) in sizes {
            out.u32(*kind).u64(*size);
        }
        self.property("rtas/ibm,configure-kernel-dump-sizes", &out.bytes)?;
        self.property("rtas/ibm,configure-kernel-dump-version", &[0, 1, 0, 1])?;
        if let Some(property) = property {
            self.property("rtas/ibm,kernel-dump", property)?;
        }
        Ok(())
    }

    /// Writes `/sys/kernel/fadump`, and the old names beside it as links.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn fadump(&self, files: &FadumpFiles) -> Result<()> {
        let number = |value: bool| if value { b"1\n" } else { b"0\n" };
        self.file("sys/kernel/fadump/enabled", 0o444, number(files.enabled))?;
        self.file("sys/kernel/fadump/registered", 0o644, number(files.registered))?;
        let reserved = format!("{}\n", files.mem_reserved);
        self.file("sys/kernel/fadump/mem_reserved", 0o444, reserved.as_bytes())?;
        if files.hotplug_ready {
            self.file("sys/kernel/fadump/hotplug_ready", 0o444, b"1\n")?;
        }
        if let Some(text) = &files.bootargs_append {
            self.file("sys/kernel/fadump/bootargs_append", 0o644, format!("{text}\n").as_bytes())?;
        }
        if files.release_mem {
            self.file("sys/kernel/fadump/release_mem", 0o200, b"")?;
        }
        if files.old_names {
            self.link("sys/kernel/fadump_enabled", "fadump/enabled")?;
            self.link("sys/kernel/fadump_registered", "fadump/registered")?;
            if files.release_mem {
                self.link("sys/kernel/fadump_release_mem", "fadump/release_mem")?;
            }
        }
        Ok(())
    }
}

/// What `/sys/kernel/fadump` shows.
#[derive(Clone, Debug)]
pub struct FadumpFiles {
    /// The kernel was booted with `fadump=on`.
    pub enabled: bool,
    /// The kernel believes that it is registered.
    pub registered: bool,
    /// Bytes reserved.
    pub mem_reserved: u64,
    /// Memory hotplug needs no new registration (6.10).
    pub hotplug_ready: bool,
    /// What is in the parameter area, where there is one.
    pub bootargs_append: Option<String>,
    /// The firmware had a dump when this kernel booted.
    pub release_mem: bool,
    /// The names from before 5.6 are still there.
    pub old_names: bool,
}
