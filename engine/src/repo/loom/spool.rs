//! Where the threads of a [`Loom`](super::Loom) lie: in memory, and beyond that in a temporary file without a name.
//! Only ever appended to.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, RwLock};

use crate::error::{Error, Result};
use crate::repo::temp;

/// What one step of a place stands for, so that a place fits into four bytes.
pub const STEP_BYTES: usize = 256;
/// Kept in memory.
const MEMORY_BYTES: usize = 8 << 20;

/// The same, where tests have no use for so much.
#[cfg(feature = "testing")]
pub static TESTED_MEMORY_BYTES: std::sync::atomic::AtomicUsize =
    std::sync::atomic::AtomicUsize::new(MEMORY_BYTES);

/// A place in the spool, in steps.
pub type At = u32;

#[derive(Debug, Default)]
struct Ends {
    memory: usize,
    /// Made when it is needed.
    file: Option<std::sync::Arc<File>>,
    file_bytes: u64,
}

/// See the module's words.
#[derive(Debug)]
pub struct Spool {
    memory_bytes: usize,
    memory: RwLock<Vec<u8>>,
    ends: Mutex<Ends>,
}

impl Default for Spool {
    fn default() -> Self {
        #[cfg(not(feature = "testing"))]
        let memory_bytes = MEMORY_BYTES;
        #[cfg(feature = "testing")]
        let memory_bytes = TESTED_MEMORY_BYTES.load(std::sync::atomic::Ordering::Relaxed);
        Self { memory_bytes, memory: RwLock::default(), ends: Mutex::default() }
    }
}

impl Spool {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Bytes in it.
    pub fn bytes(&self) -> u64 {
        let ends = self.ends();
        ends.memory as u64 + ends.file_bytes
    }

    /// Takes bytes in.
    pub fn append(&self, bytes: &[u8]) -> Result<At> {
        let room = bytes.len().next_multiple_of(STEP_BYTES);
        let mut ends = self.ends();
        if ends.memory + room <= self.memory_bytes {
            let mut memory = self.memory.write().unwrap_or_else(|e| e.into_inner());
            let at = ends.memory;
            ends.memory += room;
            memory.extend_from_slice(bytes);
            memory.resize(ends.memory, 0);
            return step(at as u64);
        }
        let dir = std::env::temp_dir();
        if ends.file.is_none() {
            let made = temp::nameless(&dir, "ballast-spool-").map_err(|e| failed(&dir, e))?;
            ends.file = Some(std::sync::Arc::new(made));
        }
        let at = ends.file_bytes;
        let place = step(self.memory_bytes as u64 + at)?;
        // Its last grain has a place as well.
        step(self.memory_bytes as u64 + at + room as u64)?;
        ends.file_bytes += room as u64;
        let file = ends.file.clone();
        drop(ends);
        match file {
            Some(file) => file.write_all_at(bytes, at).map_err(|e| failed(&dir, e)).map(|()| place),
            None => Err(Error::Internal("a spool without a file".into())),
        }
    }

    /// Reads what was taken in.
    pub fn read(&self, at: At, out: &mut [u8]) -> Result<()> {
        let at = at as usize * STEP_BYTES;
        // Of a frame that is described twice, and is longer the second time.
        let beyond = || Error::corrupt("a frame", "is shorter than its blobs");
        if at < self.memory_bytes {
            let memory = self.memory.read().unwrap_or_else(|e| e.into_inner());
            out.copy_from_slice(memory.get(at..at + out.len()).ok_or_else(beyond)?);
            return Ok(());
        }
        let file = self.ends().file.clone().ok_or_else(beyond)?;
        file.read_exact_at(out, (at - self.memory_bytes) as u64).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => beyond(),
            _ => failed(&std::env::temp_dir(), e),
        })
    }
}

fn failed(dir: &Path, source: std::io::Error) -> Error {
    Error::Temporary { dir: dir.to_owned(), source }
}

fn step(at: u64) -> Result<At> {
    At::try_from(at / STEP_BYTES as u64).map_err(|_| Error::Internal("a database that is too large".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_are_one() {
        let spool = Spool::default();
        let piece = |n: usize| vec![n as u8 + 1; 7 << 20 | n];
        let places: Vec<At> = (0..12).map(|n| spool.append(&piece(n)).unwrap()).collect();
        assert!(spool.bytes() > MEMORY_BYTES as u64 + (20 << 20), "some of it lies in the file");
        for (n, at) in places.iter().enumerate() {
            let mut out = vec![0; piece(n).len()];
            spool.read(*at, &mut out).unwrap();
            assert!(out == piece(n));
        }
        assert!(spool.read(At::MAX, &mut [0; 1]).is_err());
    }
}
