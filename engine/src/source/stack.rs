//! The directories between a root and where the walk is.
//!
//! A tree may be deeper than a process may have files open: only the deepest
//! [`MAX_OPEN`] directories hold a handle. One that was closed is opened again
//! when the walk comes back to it, through `..` of the directory that is left,
//! else name by name from the root; either way it must be the very directory
//! that was listed, or the walk does not go on in it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::at::At;
use super::stat::Stat;

/// Directories open at a time.
pub(super) const MAX_OPEN: usize = 16;

/// A directory that was listed and not left yet.
struct Frame {
    handle: Option<Arc<OwnedFd>>,
    identity: (u64, u64),
    /// Names still to be visited, the next one last.
    names: Vec<OsString>,
    incomplete: bool,
}

/// From the root's directory to the one the walk is in.
#[derive(Default)]
pub(super) struct Stack {
    frames: Vec<Frame>,
    path: PathBuf,
    root: Option<At>,
}

/// A directory that was left.
pub(super) struct Left {
    pub path: PathBuf,
    /// Names were not visited.
    pub incomplete: bool,
    /// Why the walk cannot go on in the parent.
    pub lost: Option<(PathBuf, io::Error)>,
}

impl Stack {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Enters `at`, opened as `handle`; `names` are sorted.
    pub fn enter(
        &mut self,
        at: &At,
        handle: OwnedFd,
        stat: &Stat,
        mut names: Vec<OsString>,
        incomplete: bool,
    ) {
        names.reverse();
        if self.frames.is_empty() {
            at.path().clone_into(&mut self.path);
            self.root = Some(at.clone());
        } else {
            self.path.push(at.entry());
        }
        let handle = Some(Arc::new(handle));
        self.frames.push(Frame { handle, identity: stat.identity(), names, incomplete });
        if let Some(old) = self.frames.len().checked_sub(MAX_OPEN + 1) {
            self.frames[old].handle = None;
        }
    }

    /// The next name of the deepest directory.
    pub fn next(&mut self) -> Option<At> {
        let frame = self.frames.last_mut()?;
        let name = frame.names.pop()?;
        let handle = frame.handle.clone()?;
        let path = self.path.join(&name);
        Some(At::new(handle, name, path))
    }

    /// Leaves the deepest directory.
    pub fn leave(&mut self) -> Option<Left> {
        let frame = self.frames.pop()?;
        let mut left = Left { path: self.path.clone(), incomplete: frame.incomplete, lost: None };
        if self.frames.is_empty() {
            return Some(left);
        }
        self.path.pop();
        if let Err(e) = self.reopen(frame.handle.as_deref()) {
            left.lost = Some((self.path.clone(), e));
            if let Some(top) = self.frames.last_mut() {
                top.names.clear();
                top.incomplete = true;
            }
        }
        Some(left)
    }

    /// Gives the deepest directory its handle back, coming from `child`.
    fn reopen(&mut self, child: Option<&OwnedFd>) -> io::Result<()> {
        let Some(top) = self.frames.last() else { return Ok(()) };
        // Without names to visit no handle is needed, but its parent's way up is.
        if top.handle.is_some() {
            return Ok(());
        }
        let is_it = |fd: OwnedFd| match Stat::of(&fd) {
            Ok(stat) if stat.identity() == top.identity => Ok(fd),
            Ok(_) => Err(io::Error::other("was moved or replaced while it was walked")),
            Err(e) => Err(e),
        };
        let up = child.map(|child| step(child, Path::new("..")).and_then(is_it));
        let handle = match up {
            Some(Ok(handle)) => handle,
            _ => self.descend().and_then(is_it)?,
        };
        if let Some(top) = self.frames.last_mut() {
            top.handle = Some(Arc::new(handle));
        }
        Ok(())
    }

    /// From the root, name by name, to where the walk is.
    fn descend(&self) -> io::Result<OwnedFd> {
        let root = self.root.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut handle = step(root.dir(), Path::new(root.entry()))?;
        let below = self.path.strip_prefix(root.path()).map_err(io::Error::other)?;
        for name in below.components() {
            handle = step(&handle, Path::new(name.as_os_str()))?;
        }
        Ok(handle)
    }
}

fn step(dir: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    let flags = flags | OFlags::PATH;
    Ok(openat(dir, name, flags, Mode::empty())?)
}
