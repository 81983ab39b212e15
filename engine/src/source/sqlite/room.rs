//! Where temporary images and copies lie, and how much.
//!
//! An image has no name: it is gone with its descriptor, however the process ends. A copy that SQLite must recover needs one until SQLite has
//! opened it; what a killed run left is swept after a day.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::entropy::{Clock, SystemClock};
use crate::repo::temp;

/// What folders begin with.
const PREFIX: &str = "ballast-sqlite-";
/// Names in a folder.
const NAMES: [&str; 4] = ["db", "db-wal", "db-shm", "db-journal"];
/// Left free beside a copy.
const RESERVE_BYTES: u64 = 64 << 20;
/// A folder this old is of a run that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A directory for temporary files.
#[derive(Debug, Clone)]
pub struct Room {
    dir: PathBuf,
    max_bytes: Option<u64>,
}

impl Room {
    /// In `dir`, of at most so many bytes each.
    pub fn new(dir: PathBuf, max_bytes: Option<u64>) -> Self {
        Self { dir, max_bytes }
    }

    /// Is there room for a file of so many `bytes`, of which `missing` are not there yet? Otherwise why not.
    pub fn check(&self, bytes: u64, missing: u64) -> Result<(), String> {
        let dir = self.dir.display();
        if let Some(max) = self.max_bytes.filter(|max| bytes > *max) {
            return Err(format!("its temporary copy would take {bytes} bytes, more than the {max} allowed"));
        }
        let stat =
            rustix::fs::statvfs(&self.dir).map_err(|e| format!("{dir} cannot be used for a copy: {e}"))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match missing > 0 && free < missing.saturating_add(RESERVE_BYTES) {
            true => Err(format!(
                "its temporary copy needs {missing} bytes and {dir} has {free} free; set TMPDIR to a place with room"
            )),
            false => Ok(()),
        }
    }

    /// A file without a name.
    pub fn file(&self, bytes: u64) -> Result<File, String> {
        self.check(bytes, bytes)?;
        temp::nameless(&self.dir, PREFIX)
            .map_err(|e| format!("no temporary file can be made in {}: {e}", self.dir.display()))
    }

    /// A folder that only we can enter.
    pub fn folder(&self, bytes: u64) -> Result<Folder, String> {
        self.check(bytes, bytes)?;
        sweep(&self.dir, now());
        let failed = |e| format!("no temporary folder can be made in {}: {e}", self.dir.display());
        let path = self.dir.canonicalize().map_err(failed)?.join(temp::new_name(PREFIX));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        Ok(Folder { path })
    }
}

/// By the clock that stamps files.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(SystemClock.now_ns()).unwrap_or(0))
}

/// A folder with copies of a database's files; removed when it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Path of one of [`NAMES`].
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.path.join(format!("db{suffix}"))
    }

    /// A new file of this name.
    pub fn create(&self, suffix: &str) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).mode(0o600).open(self.path(suffix))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Only what SQLite or we may have made: it could be anybody's folder of that name.
fn remove(folder: &Path) {
    for name in NAMES {
        drop(fs::remove_file(folder.join(name)));
    }
    if let Err(error) = fs::remove_dir(folder) {
        tracing::warn!(folder = %folder.display(), %error, "temporary folder not removed");
    }
}

/// Removes folders of our own that are too old to be in use, and files without a name that could
/// not lose it.
fn sweep(dir: &Path, now: SystemTime) {
    let uid = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        let age = meta.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) && meta.uid() == uid;
        if ours && age > STALE {
            match meta.is_dir() {
                true => remove(&entry.path()),
                false => drop(fs::remove_file(entry.path())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_and_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path().to_owned(), Some(1 << 20));
        assert!(room.file((1 << 20) + 1).unwrap_err().contains("allowed"));
        assert!(Room::new(dir.path().to_owned(), None).file(u64::MAX / 2).unwrap_err().contains("TMPDIR"));
        let file = room.file(100).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "without a name");
        drop(file);
        let left = room.folder(100).unwrap();
        left.create("-wal").unwrap();
        let path = left.path.clone();
        std::mem::forget(left);
        drop(room.folder(100).unwrap());
        assert!(path.exists(), "young: it may be in use");
        sweep(dir.path(), now() + STALE + Duration::from_secs(60));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
