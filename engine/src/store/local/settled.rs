//! Which directories are known to be durable.
//!
//! A directory that is merely there may have been made a moment ago by a program
//! that has not flushed its parent yet; a power failure would take it back with
//! every object in it. So each directory is flushed into its parent once by this
//! process before anything in it is promised. All names that stood in a parent
//! before its flush are settled by that one flush: `data/` costs one, not 256.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::store::fs::{Access, FileKind, Fs};

/// Directories whose names, and all names above them, are on the medium.
#[derive(Default)]
pub(super) struct Settled(Mutex<HashSet<PathBuf>>);

impl Settled {
    fn known(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something that was known has gone: look again.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    /// `dir` and all between it and `root` exist and are durable; `root` must exist.
    pub(super) fn settle(&self, fs: &dyn Fs, root: &Path, dir: &Path, access: Access) -> io::Result<()> {
        if self.known().contains(dir) {
            return Ok(());
        }
        if dir == root {
            return self.settle_root(fs, root);
        }
        let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.settle(fs, root, parent, access)?;
        make_if_missing(fs, dir, access)?;
        let present = fs.list(parent)?;
        fs.sync_dir(parent)?;
        let mut known = self.known();
        known.insert(dir.to_owned());
        known.extend(
            present
                .into_iter()
                .filter(|(_, kind)| *kind == FileKind::Directory)
                .map(|(name, _)| parent.join(name)),
        );
        Ok(())
    }

    /// The repository directory and what is missing above it, private to this user.
    pub(super) fn make_root(&self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for path in root.ancestors() {
            match fs.stat(path) {
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(path),
                Err(e) => return Err(e),
            }
        }
        for path in missing.into_iter().rev() {
            make_if_missing(fs, path, Access { mode: 0o700, owner: None })?;
            if let Some(parent) = path.parent() {
                fs.sync_dir(parent)?;
            }
        }
        match fs.stat(root)?.kind {
            FileKind::Directory => Ok(()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// What we did not make, in a place we may not read, its owner answers for.
    fn settle_root(&self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        match root.parent().map(|parent| fs.sync_dir(parent)) {
            Some(Err(e)) if e.kind() != io::ErrorKind::PermissionDenied => return Err(e),
            _ => {}
        }
        self.known().insert(root.to_owned());
        Ok(())
    }
}

/// Asked to make what is there, a read-only place may answer in several ways.
fn make_if_missing(fs: &dyn Fs, dir: &Path, access: Access) -> io::Result<()> {
    match fs.make_dir(dir, access) {
        Err(_) if fs.stat(dir).is_ok() => Ok(()),
        other => other,
    }
}
