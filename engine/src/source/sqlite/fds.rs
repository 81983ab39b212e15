//! Descriptors of files that SQLite may have locked in this process.
//!
//! SQLite locks by POSIX record locks, and those go away as soon as *any* descriptor of the same file is closed
//! by the process that holds them: a hard link of a database, read by another thread, would
//! silently unlock it. So whoever reads files closes them through a [`Guarded`]: while a
//! [`Held`] of the file lives, its descriptors wait, and are closed when the last one is gone.
//!
//! Connections that the embedding program itself has to a database are not known here: it can
//! protect their locks by a [`Held`] of its own.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError, RwLock};

use crate::source::stat::Stat;

/// Device and inode.
type Identity = (u64, u64);

/// Files that must not be closed now: how many want it so, and what waits.
#[derive(Default)]
struct Waiting {
    holders: usize,
    files: Mutex<Vec<File>>,
}

static HELD: LazyLock<RwLock<HashMap<Identity, Waiting>>> = LazyLock::new(RwLock::default);

/// While it lives, this process closes no descriptor of a file that was opened for reading here.
/// Must outlive the SQLite connection that it is for.
#[derive(Debug)]
pub struct Held(Identity);

impl Held {
    /// Of the file with this device and inode ([`Stat::identity`]).
    pub fn new(identity: (u64, u64)) -> Self {
        let mut held = HELD.write().unwrap_or_else(PoisonError::into_inner);
        held.entry(identity).or_default().holders += 1;
        Self(identity)
    }

    /// Of the file at `path`, links followed.
    pub fn of_path(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(path)?;
        Ok(Self::new((meta.dev(), meta.ino())))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = HELD.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = held.get_mut(&self.0) {
            waiting.holders -= 1;
            if waiting.holders == 0 {
                // Closes them, and nobody can lock the file through `Held` meanwhile.
                held.remove(&self.0);
            }
        }
    }
}

/// An open file that is closed only when no [`Held`] of it lives.
#[derive(Debug)]
pub struct Guarded {
    file: Option<File>,
    identity: Option<Identity>,
}

impl Guarded {
    /// Takes a file, of which `stat` is a look at the descriptor.
    pub fn new(file: File, stat: &Stat) -> Self {
        Self { file: Some(file), identity: Some(stat.identity()) }
    }
}

impl From<File> for Guarded {
    fn from(file: File) -> Self {
        let identity = Stat::of(&file).ok().map(|stat| stat.identity());
        Self { file: Some(file), identity }
    }
}

impl Deref for Guarded {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_ref().expect("because only dropping takes it")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let held = HELD.read().unwrap_or_else(PoisonError::into_inner);
        match self.identity.and_then(|identity| held.get(&identity)) {
            Some(waiting) => waiting.files.lock().unwrap_or_else(PoisonError::into_inner).push(file),
            // Under the lock: no `Held` can begin before it is closed.
            None => drop(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn nothing_is_closed_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("db"), dir.path().join("link"));
        File::create(&path).unwrap();
        std::fs::hard_link(&path, &link).unwrap();
        let is_open = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|p| p == link);
        let open = || Guarded::from(File::open(&link).unwrap());

        let file = open();
        let fd = file.as_raw_fd();
        let (one, two) = (Held::of_path(&path).unwrap(), Held::of_path(&link).unwrap());
        drop(file);
        drop(one);
        assert!(is_open(fd), "held by its other name");
        drop(two);
        assert!(!is_open(fd));
        let file = open();
        let fd = file.as_raw_fd();
        drop(file);
        assert!(!is_open(fd));
    }
}
