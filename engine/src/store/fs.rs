//! The few things [`LocalStore`](super::local::LocalStore) asks of a file
//! system, as a trait, so that its durability can be proven on a double that
//! forgets whatever was not flushed (`simfs`).
//!
//! Assumes absolute paths whose parents are directories. Calls may be short or
//! interrupted as the system's are; the store loops. What a file system cannot
//! do (modes, owners, links, flushing a directory) an implementation works
//! around, remembers once in [`Fs::limitations`], and reports as success.
//! Everything else is the system's error, unchanged.

use std::io;
use std::path::{Path, PathBuf};

/// Who may use a new file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User and group it shall belong to; `None` leaves what the system gives.
    pub owner: Option<(u32, u32)>,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, FIFO, socket or device: never an object.
    Other,
}

/// What is known of a name, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Time of last change of content; nanoseconds since 1970.
    pub modified_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// User it belongs to.
    pub uid: u32,
    /// Group it belongs to.
    pub gid: u32,
}

/// A new file, open for writing.
pub trait NewFile: Send {
    /// Appends some of `bytes`; says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Flushes content and metadata to the medium.
    fn sync(&mut self) -> io::Result<()>;
}

/// An existing regular file, open for reading.
pub trait OpenFile: Send {
    /// Its length when it was opened.
    fn size_bytes(&self) -> u64;

    /// All of it is about to be read, once: what of it is not in memory now need not stay there.
    fn pass_by(&mut self) {}

    /// Reads some bytes from `offset`; 0 is the end of the file.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Flushes content and metadata to the medium.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Fs: Send + Sync {
    /// Creates a file under a name that must be free.
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn NewFile>>;

    /// Opens a regular file. Never follows a link, never waits for a FIFO.
    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;

    /// Moves `from` to `to` in one step; `AlreadyExists` when `to` is taken.
    /// `lock` is a file that may be locked where the file system offers no such step.
    fn publish(&self, from: &Path, to: &Path, lock: &Path) -> io::Result<()>;

    /// Moves `from` to `to` in one step, over what stands there.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Flushes the names in a directory to the medium.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Looks at a name, links not followed.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;

    /// Names in a directory and what they are; names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, FileKind)>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one directory; `AlreadyExists` when the name is taken.
    fn make_dir(&self, dir: &Path, access: Access) -> io::Result<()>;

    /// Bytes this user can still write.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The one absolute path, without links, of something that exists.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// What this file system was found unable to do, each said once.
    fn limitations(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The error for anything but a regular file under an object's name.
pub(super) fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}
