//! A file system whose content is read and written no faster than allowed. Names and looks are free.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{Access, FileKind, FileStat, Fs, NewFile, OpenFile};
use crate::limit::Limiter;

/// See the module's words.
pub struct LimitFs {
    inner: Arc<dyn Fs>,
    read: Option<Arc<Limiter>>,
    write: Option<Arc<Limiter>>,
}

impl LimitFs {
    /// `inner` behind these limits.
    pub fn new(inner: Arc<dyn Fs>, read: Option<Arc<Limiter>>, write: Option<Arc<Limiter>>) -> Self {
        Self { inner, read, write }
    }
}

struct SlowNew(Box<dyn NewFile>, Option<Arc<Limiter>>);

impl NewFile for SlowNew {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Short writes are the caller's to go on with.
        let piece = self.1.as_ref().map_or(bytes.len(), |limit| limit.piece().min(bytes.len()));
        if let Some(limit) = &self.1 {
            limit.take(piece);
        }
        self.0.write(&bytes[..piece])
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

struct SlowOpen(Box<dyn OpenFile>, Option<Arc<Limiter>>);

impl OpenFile for SlowOpen {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn pass_by(&mut self) {
        self.0.pass_by();
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let piece = self.1.as_ref().map_or(out.len(), |limit| limit.piece().min(out.len()));
        if let Some(limit) = &self.1 {
            limit.take(piece);
        }
        self.0.read_at(&mut out[..piece], offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Fs for LimitFs {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(SlowNew(self.inner.create(path, access)?, self.write.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(SlowOpen(self.inner.open(path)?, self.read.clone())))
    }

    fn publish(&self, from: &Path, to: &Path, lock: &Path) -> io::Result<()> {
        self.inner.publish(from, to, lock)
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.replace(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        self.inner.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, FileKind)>> {
        self.inner.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn make_dir(&self, dir: &Path, access: Access) -> io::Result<()> {
        self.inner.make_dir(dir, access)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_bytes(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonical(path)
    }

    fn limitations(&self) -> Vec<String> {
        self.inner.limitations()
    }
}
