//! The file system of this machine.
//!
//! What it refuses is tried once, remembered, and worked around; `publish` tells
//! how names are given without replacing.

mod publish;
mod written;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub use self::publish::PublishBy;
use self::written::Written;
use super::fs::{Access, FileKind, FileStat, Fs, NewFile, OpenFile, not_a_file};
use crate::pagecache::{self, Passing};

/// The file system of this machine, and what it was found unable to do.
#[derive(Debug)]
pub struct OsFs {
    publish_by: AtomicU8,
    modes_refused: AtomicBool,
    owners_refused: AtomicBool,
    limitations: Mutex<BTreeSet<&'static str>>,
    publishing: Mutex<()>,
}

impl Default for OsFs {
    fn default() -> Self {
        Self::new()
    }
}

impl OsFs {
    /// Expects everything to work, until it does not.
    pub fn new() -> Self {
        Self::with_publish(PublishBy::Rename)
    }

    /// Starts at `by`, as if the better ways had been refused.
    pub fn with_publish(by: PublishBy) -> Self {
        Self {
            publish_by: AtomicU8::new(by as u8),
            modes_refused: AtomicBool::new(false),
            owners_refused: AtomicBool::new(false),
            limitations: Mutex::new(BTreeSet::new()),
            publishing: Mutex::new(()),
        }
    }

    fn say(&self, limitation: &'static str) {
        let mut known = self.limitations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.insert(limitation) {
            tracing::debug!(limitation, "the file system of the repository is limited");
        }
    }

    /// Owner first, for a change of owner may clear bits of the mode.
    fn apply(&self, file: &File, access: Access) -> io::Result<()> {
        let now = file.metadata()?;
        if let Some((uid, gid)) = access.owner
            && (now.uid(), now.gid()) != (uid, gid)
            && !self.owners_refused.load(Ordering::Relaxed)
        {
            self.apply_owner(file, uid, gid)?;
        }
        let wanted = access.mode & 0o777;
        if now.mode() & 0o777 != wanted && !self.modes_refused.load(Ordering::Relaxed) {
            let mode = (now.mode() & 0o7000) | wanted;
            let set = file.set_permissions(fs::Permissions::from_mode(mode));
            // exFAT takes a new mode and forgets it.
            let kept = set.is_ok() && file.metadata()?.mode() & 0o777 == wanted;
            match set {
                Err(error) if !is_refusal(&error) => return Err(error),
                _ if kept => {}
                _ => {
                    self.modes_refused.store(true, Ordering::Relaxed);
                    self.say("permission bits cannot be set: who may read the files is up to the mount");
                }
            }
        }
        Ok(())
    }

    fn apply_owner(&self, file: &File, uid: u32, gid: u32) -> io::Result<()> {
        use std::os::unix::fs::fchown;
        match fchown(file, Some(uid), Some(gid)) {
            Err(error) if is_refusal(&error) => {
                // One who is not root may still hand the file to a group of his.
                if fchown(file, None, Some(gid)).is_err() {
                    self.owners_refused.store(true, Ordering::Relaxed);
                    self.say("new files cannot be given to the owner and group of the repository directory");
                } else if file.metadata()?.uid() != uid {
                    self.say(
                        "new files belong to the user who writes them, not to the owner of the repository",
                    );
                }
                Ok(())
            }
            other => other,
        }
    }
}

/// Is this the system's way to say "not on this file system" or "not by you"?
fn is_refusal(error: &io::Error) -> bool {
    let not_here = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP, libc::ENOTTY];
    error.raw_os_error().is_some_and(|code| code == libc::EPERM || not_here.contains(&code))
}

/// [`is_refusal`], when missing permission is a failure and not a limitation.
fn is_unsupported(error: &io::Error) -> bool {
    is_refusal(error) && error.raw_os_error() != Some(libc::EPERM)
}

/// A flush that outlasts interruptions. `sync_all` is `F_FULLFSYNC` on macOS,
/// which some of its file systems lack while they do have `fsync`.
fn flush(file: &File) -> io::Result<()> {
    loop {
        let result = match file.sync_all() {
            Err(error) if is_unsupported(&error) => rustix::fs::fsync(file).map_err(io::Error::from),
            other => other,
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn kind_of(kind: fs::FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

struct Reading {
    file: File,
    size_bytes: u64,
    passing: Passing,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.passing.finish(&self.file);
    }
}

impl OpenFile for Reading {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn pass_by(&mut self) {
        if self.size_bytes >= pagecache::LEAST_BYTES {
            self.passing.before(&self.file, self.size_bytes, 0..self.size_bytes);
        }
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, out, offset)
    }

    fn sync(&self) -> io::Result<()> {
        flush(&self.file)
    }
}

impl Fs for OsFs {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn NewFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(access.mode & 0o700)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        match self.apply(&file, access) {
            Ok(()) => Ok(Box::new(Written::new(file))),
            Err(error) => {
                drop(fs::remove_file(path));
                Err(error)
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
            let planted = [libc::ELOOP, libc::EMLINK, libc::ENXIO];
            if error.raw_os_error().is_some_and(|code| planted.contains(&code)) {
                not_a_file()
            } else {
                error
            }
        })?;
        let known = file.metadata()?;
        if !known.is_file() {
            return Err(not_a_file());
        }
        Ok(Box::new(Reading { size_bytes: known.len(), file, passing: Passing::default() }))
    }

    fn publish(&self, from: &Path, to: &Path, lock: &Path) -> io::Result<()> {
        self.publish_with(|by| publish::attempt(by, from, to, lock))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?;
        match flush(&file) {
            Err(error) if is_unsupported(&error) => {
                self.say(
                    "directories cannot be flushed: a power failure may take back what was just written",
                );
                Ok(())
            }
            other => other,
        }
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let known = fs::symlink_metadata(path)?;
        Ok(FileStat {
            kind: kind_of(known.file_type()),
            size_bytes: known.len(),
            modified_ns: known.mtime().saturating_mul(1_000_000_000).saturating_add(known.mtime_nsec()),
            mode: known.mode() & 0o7777,
            uid: known.uid(),
            gid: known.gid(),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, FileKind)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind_of(kind),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string() {
                names.push((name, kind));
            }
        }
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_dir(&self, dir: &Path, access: Access) -> io::Result<()> {
        DirBuilder::new().mode(access.mode & 0o700).create(dir)?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
        self.apply(&file, access)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let known = rustix::fs::statvfs(path)?;
        Ok(known.f_bavail.saturating_mul(known.f_frsize))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn limitations(&self) -> Vec<String> {
        let known = self.limitations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.iter().map(ToString::to_string).collect()
    }
}
