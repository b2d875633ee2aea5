//! A machine whose root is alive: memory is read and released while the program runs.
//!
//! The files through which a kernel shows and is told what becomes of the dump react through FUSE ([`FILES`], under their old
//! names too), as do `dev/mem` and `proc/vmcore`, which goes when memory is released. The others are plain.

use super::run::Scratch;
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};
use phyp_model::Extent;
use phyp_model::live::{FILES, Live};
use phyp_model::release::{Handler, Written};
use phyp_model::root::{self, RootOptions};
use phyp_model::scenario::Run;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file at this number of the mounted directory, by its path below the root.
const MEMORY: &str = "dev/mem";
const VMCORE: &str = "proc/vmcore";
/// The names from before 5.6 are links to the new ones, which lead here.
fn paths() -> impl Iterator<Item = &'static str> {
    [MEMORY, VMCORE].into_iter().chain(FILES)
}

/// The machine and its root directory.
pub struct LiveRoot {
    pub live: Arc<Mutex<Live>>,
    root: Scratch,
    vmcore: Scratch,
    // Unmounted before the directory goes.
    session: Option<BackgroundSession>,
    _mount: Scratch,
}

impl LiveRoot {
    /// The root of `run`'s machine; `None`, and a word about it, where there is no FUSE.
    pub fn new(run: Run, handler: Handler, bad: Vec<Extent>) -> Option<Self> {
        let (root, mount, vmcore) = (Scratch::new("root"), Scratch::new("live"), Scratch::new("vmcore"));
        fs::create_dir(mount.path()).expect("a directory");
        let options = RootOptions { memory: false, ..RootOptions::default() };
        root::write(&run, root.path(), &options).expect("a root");
        if run.fadump.vmcore {
            fs::rename(root.path().join(VMCORE), vmcore.path()).expect("a vmcore");
        }
        let live = Arc::new(Mutex::new(Live::new(run, handler)));
        let files = Files { live: Arc::clone(&live), bad, vmcore: vmcore.path().to_owned() };
        let session = match fuser::spawn_mount(files, mount.path(), &Config::default()) {
            Ok(session) => session,
            Err(error) => {
                super::report_skipped(&format!("a live root through /dev/fuse: {error}"));
                return None;
            }
        };
        for (number, path) in paths().enumerate() {
            let at = root.path().join(path);
            if at.exists() || path == MEMORY || path == VMCORE && vmcore.path().exists() {
                fs::create_dir_all(at.parent().expect("a directory")).expect("a directory");
                let _ = fs::remove_file(&at);
                symlink(mount.path().join(number.to_string()), at).expect("a link");
            }
        }
        let boot = root.path().join("proc/sys/kernel/random");
        fs::create_dir_all(&boot).expect("a directory");
        fs::write(boot.join("boot_id"), "0d2f0c3a-7a1e-4b57-9f67-27b3a4f2b5c1\n").expect("a boot");
        Some(Self { live, root, vmcore, session: Some(session), _mount: mount })
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// What `/proc/vmcore` was, which stays when that is gone.
    pub fn vmcore(&self) -> &Path {
        self.vmcore.path()
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
    /// What `/proc/vmcore` shows while it is there.
    vmcore: PathBuf,
}

impl Files {
    fn text(&self, path: &str) -> Option<String> {
        self.live.lock().expect("the machine").show(path).expect("memory can be read")
    }

    /// The kernel takes `/proc/vmcore` away; the other files stay.
    fn is_gone(&self, path: &str) -> bool {
        path == VMCORE && !self.live.lock().expect("the machine").run().fadump.vmcore
    }

    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let path = path(ino);
        let size = match path {
            Some(MEMORY) => self.live.lock().expect("the machine").run().memory.size(),
            Some(VMCORE) => fs::metadata(&self.vmcore).map_or(0, |file| file.len()),
            Some(path) => self.text(path).map_or(0, |text| text.len() as u64),
            None => 0,
        };
        let kind = if path.is_some() { FileType::RegularFile } else { FileType::Directory };
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
            perm: if path.is_some() { 0o600 } else { 0o755 },
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn path(ino: INodeNo) -> Option<&'static str> {
    paths().nth((u64::from(ino) as usize).checked_sub(2)?)
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        match number.map(|number| INodeNo(number + 2)) {
            Some(ino) if parent == INodeNo::ROOT && path(ino).is_some_and(|path| !self.is_gone(path)) => {
                reply.entry(&Duration::ZERO, &self.attributes(ino), Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &self.attributes(ino));
    }

    /// A shell empties a file before it writes to it; the kernel's own take no notice.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
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
        let Some(path) = path(ino) else { return reply.error(Errno::EISDIR) };
        if path == VMCORE {
            // Whoever still has it open reads an error once it is gone.
            if self.is_gone(path) {
                return reply.error(Errno::EIO);
            }
            let mut bytes = vec![0; size as usize];
            let file = fs::File::open(&self.vmcore).expect("a vmcore");
            let len = file.read_at(&mut bytes, offset).expect("a vmcore");
            return reply.data(&bytes[..len]);
        }
        if path != MEMORY {
            let text = self.text(path).unwrap_or_default();
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
        let Some(path) = path(ino) else { return reply.error(Errno::EISDIR) };
        let written = self.live.lock().expect("the machine").write(path, &text);
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
