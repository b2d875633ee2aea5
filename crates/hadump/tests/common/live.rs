//! A machine whose root is alive: memory is read and released while the program runs.
//!
//! Three files of the root react through FUSE: `dev/mem`, `sys/kernel/release_region` (or fadump's
//! `release_mem`) and `proc/meminfo`. The others are plain.

use super::run::Scratch;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};
use phyp_model::Extent;
use phyp_model::live::Live;
use phyp_model::release::{Handler, Written};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::Run;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const NAMES: [&str; 4] = ["mem", "meminfo", "release_region", "release_mem"];

/// The machine and its root directory.
pub struct LiveRoot {
    pub live: Arc<Mutex<Live>>,
    root: Scratch,
    // Unmounted before the directory goes.
    session: Option<BackgroundSession>,
    _mount: Scratch,
}

impl LiveRoot {
    /// The root of `run`'s machine; `None`, and a word about it, where there is no FUSE.
    pub fn new(run: Run, handler: Handler, bad: Vec<Extent>) -> Option<Self> {
        let root = Scratch::new("root");
        let mount = Scratch::new("live");
        fs::create_dir(mount.path()).expect("a directory");
        let options = RootOptions { memory: false, ..RootOptions::default() };
        root::write(&run, root.path(), &options).expect("a root");
        let live = Arc::new(Mutex::new(Live::new(run, handler)));
        let files = Files { live: Arc::clone(&live), bad };
        let session = match fuser::spawn_mount(files, mount.path(), &Config::default()) {
            Ok(session) => session,
            Err(error) => {
                super::report_skipped(&format!("a live root through /dev/fuse: {error}"));
                return None;
            }
        };
        let link = |name: &str, at: &str| {
            let at = root.path().join(at);
            fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
            if name != "release_mem" && name != "release_region" || at.exists() {
                let _ = fs::remove_file(&at);
                symlink(mount.path().join(name), at).expect("a link");
            }
        };
        link("mem", "dev/mem");
        link("meminfo", "proc/meminfo");
        link("release_region", "sys/kernel/release_region");
        link("release_mem", "sys/kernel/fadump/release_mem");
        let boot = root.path().join("proc/sys/kernel/random");
        fs::create_dir_all(&boot).expect("a directory");
        fs::write(boot.join("boot_id"), "0d2f0c3a-7a1e-4b57-9f67-27b3a4f2b5c1\n").expect("a boot");
        Some(Self { live, root, session: Some(session), _mount: mount })
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }
}

impl Drop for LiveRoot {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

struct Files {
    live: Arc<Mutex<Live>>,
    /// Memory that fails to be read.
    bad: Vec<Extent>,
}

impl Files {
    fn text(&self, name: &str) -> Option<String> {
        let live = self.live.lock().expect("the machine");
        match name {
            "meminfo" => Some(format!("MemTotal:       {} kB\nMemFree:  1 kB\n", live.memory_total() / 1024)),
            "release_region" => Some(root::release_region(live.run(), root::ReleaseText::Shipped)),
            _ => None,
        }
    }

    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let name = name(ino);
        let size = match name {
            Some("mem") => self.live.lock().expect("the machine").run().memory.size(),
            Some(name) => self.text(name).map_or(0, |text| text.len() as u64),
            None => 0,
        };
        let kind = if name.is_some() { FileType::RegularFile } else { FileType::Directory };
        let (uid, gid) = (0, 0);
        let epoch = UNIX_EPOCH;
        FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind,
            perm: if name.is_some() { 0o600 } else { 0o755 },
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn name(ino: INodeNo) -> Option<&'static str> {
    NAMES.get((u64::from(ino) as usize).checked_sub(2)?).copied()
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match NAMES.iter().position(|known| OsStr::new(known) == name) {
            Some(number) if parent == INodeNo::ROOT => {
                let attributes = self.attributes(INodeNo(number as u64 + 2));
                reply.entry(&Duration::ZERO, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Nothing is cached and nothing read ahead: each read reaches the machine as the program made it.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(name) = name(ino) else { return reply.error(Errno::EISDIR) };
        if let Some(text) = self.text(name) {
            let from = (offset as usize).min(text.len());
            let to = (from + size as usize).min(text.len());
            return reply.data(&text.as_bytes()[from..to]);
        }
        let mut live = self.live.lock().expect("the machine");
        let len = u64::from(size).min(live.run().memory.size().saturating_sub(offset));
        let bad = self.bad.iter().any(|bad| bad.start < offset + len && offset < bad.end());
        let mut bytes = vec![0; len as usize];
        // A read that fails is a read: late is late.
        match live.read(offset, &mut bytes) {
            Ok(()) if bad => reply.error(Errno::EIO),
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let text = String::from_utf8_lossy(data);
        let mut live = self.live.lock().expect("the machine");
        let written = match name(ino) {
            Some("release_region") => live.write_release_region(&text),
            Some("release_mem") => live.write_release_mem(&text),
            _ => return reply.error(Errno::EACCES),
        };
        match written.expect("memory can be written") {
            Written::Accepted => reply.written(data.len() as u32),
            Written::NotPermitted => reply.error(Errno::EPERM),
            Written::Invalid | Written::Oops => reply.error(Errno::EINVAL),
            Written::Exists => reply.error(Errno::EEXIST),
            Written::Failed => reply.error(Errno::EIO),
            Written::NoFile => reply.error(Errno::ENODEV),
        }
    }
}
