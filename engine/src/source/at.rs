//! Where something lies: a handle of its directory, its name there, and its
//! path for people.
//!
//! Every access goes by handle and name, so that neither a link planted in a
//! parent directory nor a path longer than the system takes can lead astray.
//! The handle is shared: an [`At`] may wait in a queue after the walk has left
//! the directory, and costs no descriptor of its own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, Mode, OFlags};

use super::stat::Stat;
use crate::error::printable;

/// One name in one directory. Clones share the handle.
#[derive(Debug, Clone)]
pub struct At {
    dir: Arc<OwnedFd>,
    entry: OsString,
    path: PathBuf,
}

impl At {
    /// `entry` in the directory that `dir` stands for; `path` is the absolute path of both together.
    pub(super) fn new(dir: Arc<OwnedFd>, entry: OsString, path: PathBuf) -> Self {
        Self { dir, entry, path }
    }

    /// By absolute path. Links in its parents are followed, the last name is not.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an absolute path"));
        }
        let (parent, entry) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, name),
            _ => (Path::new("/"), OsStr::new(".")),
        };
        let dir = rustix::fs::openat(CWD, parent, handle_flags(), Mode::empty())?;
        Ok(Self::new(Arc::new(dir), entry.to_owned(), path.to_owned()))
    }

    /// A place that need not exist, for what is no file (a stream): only its path and name mean anything.
    pub fn nominal(path: &Path) -> io::Result<Self> {
        let top = rustix::fs::openat(CWD, "/", handle_flags(), Mode::empty())?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        Ok(Self::new(Arc::new(top), name.to_owned(), path.to_owned()))
    }

    /// The absolute path, for people and for matching patterns.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name as a node holds it; empty for `/`.
    pub fn name(&self) -> &[u8] {
        if self.entry == "." { b"" } else { self.entry.as_bytes() }
    }

    /// What it is now; a link is not followed.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::at(self.dir(), &self.entry)
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn entry(&self) -> &OsStr {
        &self.entry
    }

    /// The same directory, with `suffix` behind the name.
    pub(super) fn sibling(&self, suffix: &str) -> Self {
        let with = |text: &OsStr| {
            let mut text = text.to_owned();
            text.push(suffix);
            text
        };
        Self::new(self.dir.clone(), with(&self.entry), with(self.path.as_os_str()).into())
    }

    /// Opens it for reading without following a link, without waiting, and without
    /// leaving a time of access behind where that is allowed.
    pub(super) fn open(&self, extra: OFlags) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | extra;
        #[cfg(target_os = "linux")]
        match rustix::fs::openat(self.dir(), &self.entry, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => {}
            done => return Ok(done?),
        }
        Ok(rustix::fs::openat(self.dir(), &self.entry, flags, Mode::empty())?)
    }

    /// A path that leads to it through the handle, for calls that know only paths.
    pub(super) fn handle_path(&self) -> PathBuf {
        static PROC: OnceLock<bool> = OnceLock::new();
        let by_handle = || format!("/proc/self/fd/{}/", self.dir.as_raw_fd());
        if cfg!(target_os = "linux") && *PROC.get_or_init(|| Path::new(&by_handle()).exists()) {
            let mut path = OsString::from(by_handle());
            path.push(&self.entry);
            path.into()
        } else {
            self.path.clone()
        }
    }
}

/// How a directory is opened when its names are not asked for: search permission is enough.
fn handle_flags() -> OFlags {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    let flags = flags | OFlags::PATH;
    flags
}

/// A path as one printable line.
pub fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_on_one_line() {
        let path = Path::new(OsStr::from_bytes(b"/a\nb/\xff\xc3\xa4"));
        assert_eq!(shown(path), "/a\\nb/\\xffä");
    }

    #[test]
    fn the_top_has_no_name() {
        let top = At::of_path(Path::new("/")).unwrap();
        assert_eq!(top.name(), b"");
        assert!(top.stat().is_ok());
        assert!(At::of_path(Path::new("a")).is_err());
    }
}
