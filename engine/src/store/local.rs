//! A repository in a directory of this machine.
//!
//! Layout: `config`, `keys/`, `data/<first two digits>/`, `index/`,
//! `snapshots/`, `ledger/`, `locks/`. Everything else found there is not ours.
//!
//! Invariant 3, step by step ([`LocalStore::put`]): the directory and every
//! directory above it is durable; a temporary name beside the final one; content
//! flushed; the final name given in one step, for [`PutMode::New`] without
//! replacing; the directory flushed. An object that is already there with the
//! same bytes may be another program's that has not got so far: it is flushed
//! like an own one before it counts.
//!
//! The repository directory itself is made by [`LocalStore::prepare`] alone: a
//! `put` must never fill the empty mount point of a disk that has gone.

mod access;
#[cfg(all(test, feature = "testing"))]
mod durability;
mod layout;
fn short(name: &ObjectName, offset: u64, len: usize) -> StoreError {
    StoreError::new(StoreErrorKind::Size, "read", name, format!("it ends before {len} bytes from {offset}"))
}

#[cfg(test)]
mod on_disk;
mod reading;
mod settled;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::settled::Settled;
use super::fs::{Access, FileKind, Fs};
use super::os_fs::OsFs;
use super::{ObjectStat, PutMode, Store, StoreResult, check_name};
use crate::entropy::{Entropy, KernelEntropy};
use crate::error::{StoreError, StoreErrorKind};
use crate::id::{ObjectKind, ObjectName, to_hex};

/// Taken where a file system cannot publish in one step; see [`super::os_fs`].
const LOCK_FILE: &str = ".publish.lock";

/// Tries with another temporary name, or a directory that has gone meanwhile.
const PUT_TRIES: usize = 3;

/// A directory that holds a repository.
pub struct LocalStore {
    root: PathBuf,
    fs: Arc<dyn Fs>,
    settled: Settled,
    /// A directory could not be flushed: what the system still calls written may
    /// be lost, and asking again would be answered with a false yes.
    flush_failed: AtomicBool,
    temporaries: AtomicU64,
}

impl LocalStore {
    /// The repository at `path`, which need not exist yet.
    pub fn new(path: impl AsRef<Path>) -> StoreResult<Self> {
        Self::with_fs(Arc::new(OsFs::new()), path)
    }

    /// The same on another file system.
    pub fn with_fs(fs: Arc<dyn Fs>, path: impl AsRef<Path>) -> StoreResult<Self> {
        let path = path.as_ref();
        let root =
            layout::canonical(&*fs, path).map_err(|e| StoreError::from_io("find", path.display(), &e))?;
        Ok(Self {
            root,
            fs,
            settled: Settled::default(),
            flush_failed: AtomicBool::new(false),
            temporaries: AtomicU64::new(0),
        })
    }

    /// Not guessable, and never the same twice in one process.
    fn temporary(&self, dir: &Path, name: &ObjectName) -> StoreResult<PathBuf> {
        let mut random = [0; 8];
        let count = self.temporaries.fetch_add(1, Ordering::Relaxed);
        KernelEntropy
            .fill(&mut random)
            .map_err(|e| StoreError::new(StoreErrorKind::Other, "write", name, e))?;
        Ok(dir.join(format!(".{}.{}{count:x}.tmp", name.name, to_hex(&random))))
    }

    fn write_temporary(&self, path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
        let mut file = self.fs.create(path, access)?;
        let written = write_all(&mut *file, bytes).and_then(|()| file.sync());
        if written.is_err() {
            self.discard(path);
        }
        written
    }

    fn discard(&self, temporary: &Path) {
        if let Err(error) = self.fs.remove(temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %temporary.display(), %error, "a temporary file stays behind");
        }
    }

    /// Writes under a temporary name; one that is taken, or a directory that has
    /// gone since it was settled, costs another try.
    fn stage(&self, name: &ObjectName, dir: &Path, bytes: &[u8]) -> StoreResult<PathBuf> {
        let failed = |e: io::Error| StoreError::from_io("write", name, &e);
        for attempt in 1.. {
            let access = self.access().map_err(failed)?;
            self.settled.settle(&*self.fs, &self.root, dir, access.for_directory()).map_err(failed)?;
            let temporary = self.temporary(dir, name)?;
            match self.write_temporary(&temporary, bytes, access.for_file()) {
                Ok(()) => return Ok(temporary),
                Err(e) if attempt == PUT_TRIES => return Err(failed(e)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.settled.forget(),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        unreachable!("the last try returns")
    }

    fn flush_directory(&self, name: &ObjectName, dir: &Path) -> StoreResult<()> {
        self.fs.sync_dir(dir).map_err(|e| {
            self.flush_failed.store(true, Ordering::SeqCst);
            StoreError::from_io("write", name, &e)
        })
    }

    /// Whether the object is there with these very bytes; then it is durable too.
    fn has(&self, name: &ObjectName, path: &Path, dir: &Path, bytes: &[u8]) -> StoreResult<bool> {
        let failed = |e: io::Error| StoreError::from_io("write", name, &e);
        let file = match self.fs.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed)?,
        };
        if !reading::equals(&*file, bytes).map_err(failed)? {
            let reason = "it is there already, with other bytes";
            return Err(StoreError::new(StoreErrorKind::AlreadyExists, "write", name, reason));
        }
        let access = self.access().map_err(failed)?;
        self.settled.settle(&*self.fs, &self.root, dir, access.for_directory()).map_err(failed)?;
        file.sync().map_err(failed)?;
        self.flush_directory(name, dir)?;
        Ok(true)
    }

    fn publish(&self, name: &ObjectName, staged: &Path, path: &Path, mode: PutMode) -> io::Result<()> {
        match mode {
            PutMode::New => self.fs.publish(staged, path, &self.root.join(LOCK_FILE)),
            PutMode::Replace => self.fs.replace(staged, path),
        }
        .inspect_err(|error| {
            tracing::debug!(%name, %error, "could not give the name");
            self.discard(staged);
        })
    }
}

impl Store for LocalStore {
    fn location(&self) -> String {
        match self.root.to_str() {
            Some(text) => text.to_owned(),
            // Two paths must not get one cache for being printed alike.
            None => self.root.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
        }
    }

    fn prepare(&self) -> StoreResult<()> {
        let failed = |e: io::Error| StoreError::from_io("create", self.root.display(), &e);
        self.settled.make_root(&*self.fs, &self.root).map_err(failed)?;
        let access = self.access().map_err(failed)?;
        for kind in ObjectKind::ALL {
            let dir = self.directory_of(kind);
            self.settled.settle(&*self.fs, &self.root, &dir, access.for_directory()).map_err(failed)?;
        }
        Ok(())
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        check_name("write", name)?;
        if self.flush_failed.load(Ordering::SeqCst) {
            let reason = "the file system failed to flush an earlier one";
            return Err(StoreError::new(StoreErrorKind::Other, "write", name, reason));
        }
        let path = self.path_of(name);
        let dir = path.parent().unwrap_or(&self.root);
        if mode == PutMode::New && self.has(name, &path, dir, bytes)? {
            return Ok(());
        }
        let staged = self.stage(name, dir, bytes)?;
        if let Err(e) = self.publish(name, &staged, &path, mode) {
            // Another was faster, perhaps with the same bytes; or a network file
            // system lost its first answer and now reports its own success as a failure.
            return match mode {
                PutMode::New if self.has(name, &path, dir, bytes)? => Ok(()),
                _ => Err(StoreError::from_io("write", name, &e)),
            };
        }
        self.flush_directory(name, dir)
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        check_name("read", name)?;
        let failed = |e: io::Error| StoreError::from_io("read", name, &e);
        let file = self.fs.open(&self.path_of(name)).map_err(failed)?;
        match reading::whole(&*file, limit_bytes).map_err(failed)? {
            Some(bytes) => Ok(bytes),
            None => {
                let reason = format!("it is larger than {limit_bytes} bytes");
                Err(StoreError::new(StoreErrorKind::Size, "read", name, reason))
            }
        }
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        check_name("read", name)?;
        let failed = |e: io::Error| StoreError::from_io("read", name, &e);
        let file = self.fs.open(&self.path_of(name)).map_err(failed)?;
        reading::range(&*file, offset, len).map_err(failed)?.ok_or_else(|| short(name, offset, len))
    }

    fn read_range(&self, name: &ObjectName, offset: u64, out: &mut [u8]) -> StoreResult<()> {
        check_name("read", name)?;
        let failed = |e: io::Error| StoreError::from_io("read", name, &e);
        let mut file = self.fs.open(&self.path_of(name)).map_err(failed)?;
        if name.kind == ObjectKind::Pack && offset == 0 && out.len() as u64 == file.size_bytes() {
            file.pass_by();
        }
        if reading::range_into(&*file, offset, out).map_err(failed)? {
            Ok(())
        } else {
            Err(short(name, offset, out.len()))
        }
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        check_name("read", name)?;
        let failed = |e: io::Error| StoreError::from_io("read", name, &e);
        let known = self.fs.stat(&self.path_of(name)).map_err(failed)?;
        if known.kind != FileKind::File {
            return Err(failed(super::fs::not_a_file()));
        }
        Ok(ObjectStat { size_bytes: known.size_bytes, modified_ns: known.modified_ns })
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        let dir = self.directory_of(kind);
        let listed = match kind {
            ObjectKind::Pack => self.pack_names(&dir),
            kind => self.names_in(kind, &dir),
        };
        // An empty answer because the disk has gone would look like an empty repository.
        let listed = listed.and_then(|names| match names.is_empty() {
            true => self.fs.stat(&self.root).map(|_| names),
            false => Ok(names),
        });
        listed.map_err(|e| StoreError::from_io("list", dir.display(), &e))
    }

    /// Durable on return but for packs: one that a power failure brings back is
    /// still condemned, and prune removes thousands.
    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        check_name("remove", name)?;
        let path = self.path_of(name);
        let gone = |result: io::Result<()>| match result {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| StoreError::from_io("remove", name, &e)),
        };
        gone(self.fs.remove(&path))?;
        if name.kind == ObjectKind::Pack {
            return Ok(());
        }
        gone(self.fs.sync_dir(path.parent().unwrap_or(&self.root)))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.root.ancestors().find_map(|path| self.fs.free_bytes(path).ok())
    }

    fn make_reserve(&self, bytes: u64) -> StoreResult<()> {
        let failed = |e: io::Error| StoreError::from_io("write", "the reserve", &e);
        let access = self.access().map_err(failed)?;
        upkeep::make_reserve(&*self.fs, &self.root, bytes, access.for_file()).map_err(failed)
    }

    fn release_reserve(&self) -> StoreResult<u64> {
        let failed = |e: io::Error| StoreError::from_io("remove", "the reserve", &e);
        upkeep::release_reserve(&*self.fs, &self.root).map_err(failed)
    }

    fn sweep_temporaries(&self, before_ns: i64) -> StoreResult<u64> {
        let below = ObjectKind::ALL.iter().map(|kind| (self.directory_of(*kind), *kind == ObjectKind::Pack));
        // Two kinds may share a directory; then the second finds nothing left.
        let dirs: Vec<_> = below.collect();
        upkeep::sweep(&*self.fs, &dirs, before_ns)
            .map_err(|e| StoreError::from_io("tidy", self.root.display(), &e))
    }

    fn limitations(&self) -> Vec<String> {
        self.fs.limitations()
    }

    fn local_path(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }
}

fn write_all(file: &mut dyn super::fs::NewFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
