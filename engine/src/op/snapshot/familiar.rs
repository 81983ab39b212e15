//! Chunks of the file that the parent snapshot has in this place.
//!
//! Where a chunk begins at the same offset and its id is the same, it ends at the same place too: the
//! next cut is a function of the bytes from a chunk's start alone. So what did not change is
//! hashed and not searched for cuts, and the cuts are still those of a first snapshot. The one
//! exception is a chunk that ended because its stretch did: it says nothing about where a
//! longer one would be cut.

use rayon::prelude::*;

use crate::format::content::Entry;
use crate::format::tree::Node;
use crate::id::{BlobId, BlobKind};
use crate::repo::Repository;
use crate::repo::reader::Reader;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub offset: u64,
    pub len: u32,
    pub id: BlobId,
    /// Nothing but a hole or the file's end followed.
    pub ended_stretch: bool,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// The chunks of a file, by offset.
#[derive(Debug, Default)]
pub struct Familiar(Vec<Chunk>);

impl Familiar {
    /// Of a node of the parent; none if its lists cannot be read.
    pub fn of(node: &Node, reader: &Reader) -> Self {
        let Ok((pieces, _)) = reader.pieces(&node.content) else { return Self::default() };
        let mut chunks: Vec<Chunk> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            if let Entry::Chunk { id, len } = piece.entry {
                if let Some(before) = chunks.last_mut().filter(|c| c.end() == piece.offset) {
                    before.ended_stretch = false;
                }
                chunks.push(Chunk { offset: piece.offset, len, id, ended_stretch: true });
            }
        }
        Self(chunks)
    }

    /// Those that stand one after the other from `offset` on, lie in `window` and are what they
    /// were. `end` is where this stretch of the file ends. Runs in the current pool.
    pub fn unchanged(&self, repo: &Repository, window: &[u8], offset: u64, end: u64) -> &[Chunk] {
        let first = self.0.partition_point(|c| c.offset < offset);
        let limit = offset + window.len() as u64;
        let mut next = offset;
        let run = self.0[first..].iter().take_while(|c| {
            let fits = c.offset == next && c.end() <= limit && c.end() <= end;
            next = c.end();
            fits && (!c.ended_stretch || c.end() == end)
        });
        let run = &self.0[first..first + run.count()];
        let same: Vec<bool> = run
            .par_iter()
            .map(|c| {
                let from = usize::try_from(c.offset - offset).unwrap_or(usize::MAX);
                let bytes = window.get(from..from.saturating_add(c.len as usize));
                bytes.is_some_and(|bytes| repo.blob_id(BlobKind::Chunk, bytes) == c.id)
            })
            .collect();
        &run[..same.iter().take_while(|same| **same).count()]
    }
}
