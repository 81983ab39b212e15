//! A file system in memory with a page cache that can be lost.
//!
//! What a program reads is the cache; what a crash leaves is the medium. Content
//! reaches the medium when its file is flushed, a name when its directory is.
//! [`SimFs::crash`] drops everything else; [`SimFs::crash_keeping`] keeps a part
//! of it, chosen by a seed, as a real machine may have written back some of its
//! cache on its own, torn files included. Each name is kept or lost by itself:
//! harsher than a journalling file system, as the contract of a store demands.
//!
//! It can also die at a chosen call ([`SimFs::crash_at`]), swallow flushes
//! ([`SimFs::swallow_syncs`]: the lie a proof of durability must detect), write
//! and read in small pieces with interruptions, be full, or be read-only.

mod medium;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use self::medium::{Body, Ino, Inode, ROOT, State, split};
use super::fs::{Access, FileKind, FileStat, Fs, NewFile, OpenFile, not_a_file};

pub use self::medium::SimCounts;

/// See the module's words. Clones share one file system; [`SimFs::fork`] makes a second.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<State>>);

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFs {
    /// Empty but for `/`.
    pub fn new() -> Self {
        let access = Access { mode: 0o755, owner: Some((0, 0)) };
        let body = Body::Directory { cached: BTreeMap::new(), durable: BTreeMap::new() };
        let root = Inode { body, access, modified_ns: 0 };
        let state = State { inodes: BTreeMap::from([(ROOT, root)]), next_ino: 1, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A second file system in the same state.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// From the `n`-th changing call (the first is 1) on, counted from now, every call fails.
    pub fn crash_at(&self, n: u64) {
        let mut state = self.state();
        state.dies_at = Some(state.counts.mutations + n);
    }

    /// Did a call fail because of [`SimFs::crash_at`]?
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Power fails and comes back: only what was flushed is there.
    pub fn crash(&self) {
        self.reboot(&mut |_| 0);
    }

    /// Power fails and comes back: of what was not flushed, a part chosen by `seed` is there.
    pub fn crash_keeping(&self, seed: u64) {
        let mut word = seed;
        self.reboot(&mut |below| {
            // SplitMix64.
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = word;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % below
        });
    }

    /// Flushes for which `lie` says yes report success and do nothing.
    pub fn swallow_syncs(&self, lie: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.state().swallow = Some(Arc::new(lie));
    }

    /// Flushes for which `chosen` says yes fail.
    pub fn fail_syncs(&self, chosen: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.state().fail = Some(Arc::new(chosen));
    }

    /// Reads and writes at most so much at a time, every second one interrupted.
    pub fn work_in_pieces(&self, piece_bytes: usize) {
        self.state().piece_bytes = Some(piece_bytes);
    }

    /// Room for so many bytes of file content.
    pub fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Refuses every change.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// What was asked so far.
    pub fn counts(&self) -> SimCounts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn reboot(&self, choose: &mut dyn FnMut(u64) -> u64) {
        let mut state = self.state();
        for inode in state.inodes.values_mut() {
            inode.body.lose(choose);
        }
        state.dies_at = None;
        state.dead = false;
    }
}

/// One open file; it stays what it is when its name goes elsewhere.
struct Handle {
    fs: SimFs,
    ino: Ino,
    path: PathBuf,
    size_bytes: u64,
}

impl NewFile for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.fs.state();
        state.mutate()?;
        let n = state.interrupted(bytes.len())?;
        let full = |capacity: u64| state.used_bytes() + n as u64 > capacity;
        if state.capacity_bytes.is_some_and(full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Body::File { cached, .. } = &mut state.inode(self.ino)?.body {
            cached.extend_from_slice(&bytes[..n]);
        }
        Ok(n)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.fs.state().sync_file(self.ino, &self.path)
    }
}

impl OpenFile for Handle {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.fs.state();
        state.alive()?;
        let n = state.interrupted(out.len())?;
        let Body::File { cached, .. } = &state.inode(self.ino)?.body else { return Err(not_a_file()) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(cached.len());
        let n = n.min(cached.len() - start);
        out[..n].copy_from_slice(&cached[start..start + n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.state().sync_file(self.ino, &self.path)
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn NewFile>> {
        let mut state = self.state();
        state.mutate()?;
        let ino = state.add(path, Body::File { cached: Vec::new(), durable: Vec::new() }, access)?;
        Ok(Box::new(Handle { fs: self.clone(), ino, path: path.to_owned(), size_bytes: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let mut state = self.state();
        state.alive()?;
        let ino = state.find(path)?;
        let Body::File { cached, .. } = &state.inode(ino)?.body else { return Err(not_a_file()) };
        let size_bytes = cached.len() as u64;
        Ok(Box::new(Handle { fs: self.clone(), ino, path: path.to_owned(), size_bytes }))
    }

    fn publish(&self, from: &Path, to: &Path, _lock: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        match state.find(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => state.rename(from, to),
        }
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.counts.dir_syncs += 1;
        let honest = state.flushes(dir)?;
        let ino = state.find(dir)?;
        match &mut state.inode(ino)?.body {
            Body::Directory { cached, durable } if honest => durable.clone_from(cached),
            Body::Directory { .. } => {}
            Body::File { .. } => return Err(io::ErrorKind::NotADirectory.into()),
        }
        Ok(())
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let mut state = self.state();
        state.alive()?;
        let ino = state.find(path)?;
        let inode = state.inode(ino)?;
        let (kind, size_bytes) = match &inode.body {
            Body::File { cached, .. } => (FileKind::File, cached.len() as u64),
            Body::Directory { .. } => (FileKind::Directory, 0),
        };
        let (uid, gid) = inode.access.owner.unwrap_or_default();
        Ok(FileStat { kind, size_bytes, modified_ns: inode.modified_ns, mode: inode.access.mode, uid, gid })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, FileKind)>> {
        let mut state = self.state();
        state.alive()?;
        let entries = state.directory(dir)?.clone();
        let kind = |ino: &Ino| match state.inodes.get(ino).map(|inode| &inode.body) {
            Some(Body::Directory { .. }) => FileKind::Directory,
            _ => FileKind::File,
        };
        Ok(entries.iter().map(|(name, ino)| (name.clone(), kind(ino))).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.find(path)?;
        let (dir, name) = split(path)?;
        state.directory(dir)?.remove(name);
        Ok(())
    }

    fn make_dir(&self, dir: &Path, access: Access) -> io::Result<()> {
        let mut state = self.state();
        let taken = state.find(dir).is_ok();
        match state.mutate() {
            Err(_) if taken && !state.dead => return Err(io::ErrorKind::AlreadyExists.into()),
            other => other?,
        }
        let body = Body::Directory { cached: BTreeMap::new(), durable: BTreeMap::new() };
        state.add(dir, body, access).map(|_| ())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.alive()?;
        Ok(state.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes())))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let state = self.state();
        state.find(path)?;
        Ok(path.to_owned())
    }
}
