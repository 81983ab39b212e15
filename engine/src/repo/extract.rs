//! A file's content into an open file, every blob verified before it is written.
//!
//! Memory: one chunk a thread, beside the reader's cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::progress::Progress;
use crate::repo::reader::Reader;
use crate::repo::trees::Piece;

/// Threads that fetch and write.
const MAX_THREADS: usize = 4;

impl Reader {
    /// Writes `pieces`, which are `len` bytes together, to `file`, which is empty. Tells the bytes.
    pub fn extract(&self, pieces: &[Piece], len: u64, file: &File, progress: &dyn Progress) -> Result<()> {
        let failed = |e| Error::io("temporary file", e);
        file.set_len(len).map_err(failed)?;
        let _kept = self.prepare_pieces(pieces, progress)?;
        let (next, over, trouble) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let one = |piece: &Piece| -> Result<()> {
            progress.check()?;
            match &piece.entry {
                Entry::Chunk { id, len } => {
                    file.write_all_at(self.chunk(*id, *len)?.as_ref(), piece.offset).map_err(failed)?;
                }
                Entry::Inline { bytes } => file.write_all_at(bytes, piece.offset).map_err(failed)?,
                _ => {}
            }
            progress.advance(0, piece.entry.content_len());
            Ok(())
        };
        let work = || {
            while !over.load(Ordering::Relaxed)
                && let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(error) = one(piece) {
                    over.store(true, Ordering::Relaxed);
                    trouble.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(pieces.len()) {
                // One that cannot be had is done without.
                drop(std::thread::Builder::new().name("ballast-extract".into()).spawn_scoped(scope, work));
            }
            work();
        });
        let trouble = trouble.into_inner().unwrap_or_else(|e| e.into_inner());
        trouble.map_or(Ok(()), Err)
    }

    /// All of a short file; `None` if it is longer than `max`.
    pub fn whole(&self, content: &[Entry], max: u64) -> Result<Option<Vec<u8>>> {
        let (pieces, len) = self.pieces(content)?;
        if len > max {
            return Ok(None);
        }
        let mut all = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        for piece in &pieces {
            let start = usize::try_from(piece.offset).unwrap_or(usize::MAX);
            match &piece.entry {
                Entry::Chunk { id, len } => {
                    all[start..][..*len as usize].copy_from_slice(self.chunk(*id, *len)?.as_ref());
                }
                Entry::Inline { bytes } => all[start..][..bytes.len()].copy_from_slice(bytes),
                _ => {}
            }
        }
        Ok(Some(all))
    }

    /// The first bytes of a file, at most `max`; fewer where its first piece is shorter, none where it is a hole.
    pub fn first_bytes(&self, content: &[Entry], max: usize) -> Result<Vec<u8>> {
        let cut = |bytes: &[u8]| bytes[..bytes.len().min(max)].to_vec();
        match self.expand(content).next().transpose()? {
            Some(Entry::Chunk { id, len }) => Ok(cut(self.chunk(id, len)?.as_ref())),
            Some(Entry::Inline { bytes }) => Ok(cut(&bytes)),
            _ => Ok(Vec::new()),
        }
    }
}
