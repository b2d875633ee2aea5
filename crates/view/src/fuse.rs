//! A tree, shown by the kernel: FUSE.
//!
//! The kernel keeps what it was given of a file in its page cache, as nothing of a dump changes. Files that are made when somebody
//! opens them are read past it, because the kernel asks for their length before.

use crate::content::{Content, Failure};
use crate::tree::{Kind, ROOT, Tree};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyLseek,
    ReplyOpen, Request, Session, SessionACL,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long the kernel may believe what it was told.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest request, which is also what each thread holds.
const LARGEST: u32 = 1 << 20;

/// Whence of `lseek` (`include/uapi/linux/fs.h`); others the kernel works out itself.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Who can look in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Who mounts.
    Owner,
    /// Everybody.
    All,
}

/// Shows `tree` at `directory` until it is unmounted, with `threads` threads that answer. The list of mounts calls it `source`.
/// `up` is called when it can be looked at.
///
/// # Errors
///
/// When it cannot be mounted, or the kernel ends the connection.
pub fn mount(
    tree: Tree,
    directory: &Path,
    source: &str,
    access: Access,
    threads: usize,
    up: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source.to_owned()),
        MountOption::Subtype("hadump".into()),
        MountOption::RO,
        MountOption::NoExec,
        MountOption::DefaultPermissions,
    ];
    config.acl = match access {
        Access::Owner => SessionACL::Owner,
        Access::All => SessionACL::All,
    };
    config.n_threads = Some(threads.max(2));
    // What was made by this process belongs to its user.
    let owner = std::fs::metadata("/proc/self")?;
    let shown = Shown { tree, access, owner: (owner.uid(), owner.gid()), since: SystemTime::now() };
    let session = Session::new(shown, directory, &config)?;
    up()?;
    session.run()
}

struct Shown {
    tree: Tree,
    access: Access,
    owner: (u32, u32),
    since: SystemTime,
}

thread_local! {
    /// What a thread answers with.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The tree's number of an inode; the kernel's root is 1.
fn number(ino: INodeNo) -> usize {
    usize::try_from(u64::from(ino)).map_or(usize::MAX, |ino| ino.wrapping_sub(1))
}

fn inode(number: usize) -> INodeNo {
    INodeNo(number as u64 + 1)
}

impl Shown {
    fn file(&self, ino: INodeNo) -> Result<&dyn Content, Errno> {
        match self.tree.node(number(ino)).map(|node| &node.kind) {
            Some(Kind::File(content)) => Ok(&**content),
            Some(Kind::Directory(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    /// What the kernel is told of a node, and how long that is right.
    fn attributes(&self, ino: INodeNo) -> Option<(FileAttr, Duration)> {
        let (kind, size, there, ready) = match &self.tree.node(number(ino))?.kind {
            Kind::Directory(_) => (FileType::Directory, 0, 0, true),
            Kind::File(content) => {
                // A file with holes says so by its blocks, or programs do not look for them.
                (FileType::RegularFile, content.len(), content.stored(), content.is_ready())
            }
        };
        let perm = match (kind, self.access) {
            (FileType::Directory, Access::Owner) => 0o500,
            (FileType::Directory, Access::All) => 0o555,
            (_, Access::Owner) => 0o400,
            (_, Access::All) => 0o444,
        };
        let attr = FileAttr {
            ino,
            size,
            blocks: there.div_ceil(512),
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind,
            perm,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 128 << 10,
            flags: 0,
        };
        Some((attr, if ready { FOR_EVER } else { Duration::ZERO }))
    }
}

/// Says in the log what the reader only knows as an error.
fn refused(failure: &Failure) -> Errno {
    tracing::warn!("a read of the mounted dump fails: {failure}");
    Errno::EIO
}

impl Filesystem for Shown {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Bounds what the kernel asks for at once.
        let _ = config.set_max_write(LARGEST);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let child = name.to_str().and_then(|name| self.tree.child(number(parent), name));
        match child.and_then(|child| self.attributes(inode(child))) {
            Some((attr, valid)) => reply.entry(&valid, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some((attr, valid)) => reply.attr(&valid, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(node) = self.tree.node(number(ino)) else { return reply.error(Errno::ENOENT) };
        let Kind::Directory(names) = &node.kind else { return reply.error(Errno::ENOTDIR) };
        let dots = [(".", number(ino)), ("..", node.parent)];
        let named = names.iter().map(|(name, number)| (name.as_str(), *number));
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (name, number)) in dots.into_iter().chain(named).enumerate().skip(skip) {
            let is_file = matches!(self.tree.node(number).map(|n| &n.kind), Some(Kind::File(_)));
            let kind = if is_file { FileType::RegularFile } else { FileType::Directory };
            if reply.add(inode(number), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let file = match self.file(ino) {
            Ok(file) => file,
            Err(errno) => return reply.error(errno),
        };
        match file.open() {
            Ok(()) if file.is_ready() => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(failure) => reply.error(refused(&failure)),
        }
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
        let file = match self.file(ino) {
            Ok(file) => file,
            Err(errno) => return reply.error(errno),
        };
        let len = u64::from(size.min(LARGEST)).min(file.len().saturating_sub(offset)) as usize;
        let mut reply = Some(reply);
        let read = ANSWER.with_borrow_mut(|answer| {
            file.lend(offset, len, answer, &mut |bytes| {
                if let Some(reply) = reply.take() {
                    reply.data(bytes);
                }
            })
        });
        if let (Err(failure), Some(reply)) = (read, reply.take()) {
            reply.error(refused(&failure));
        }
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let file = match self.file(ino) {
            Ok(file) => file,
            Err(errno) => return reply.error(errno),
        };
        let Some(from) = u64::try_from(offset).ok().filter(|from| *from < file.len()) else {
            return reply.error(Errno::ENXIO);
        };
        let found = match (whence, file.data_from(from)) {
            (SEEK_DATA, data) => data.map(|data| data.start),
            (SEEK_HOLE, Some(data)) if data.start == from => Some(data.end),
            (SEEK_HOLE, _) => Some(from),
            _ => return reply.error(Errno::EINVAL),
        };
        match found.and_then(|found| i64::try_from(found).ok()) {
            Some(found) => reply.offset(found),
            None => reply.error(Errno::ENXIO),
        }
    }
}

const _: () = assert!(ROOT == 0);
