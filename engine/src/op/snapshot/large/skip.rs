//! What a large file has in common with its parent is taken over chunk by chunk: read, hashed while it is
//! in the cache, and left behind. No window, no search for cuts.
//!
//! One chunk first, by the thread that reads: where nothing is as it was, that is all it costs. Then more and more
//! of them at a time by the pool.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::{Before, LargeFile, LargeReader, Part};
use crate::chunk::Region;
use crate::error::Result;
use crate::format::content::Entry;
use crate::id::BlobKind;
use crate::op::snapshot::database::Source;
use crate::op::snapshot::familiar::Chunk;

/// Chunks of a step, at most.
const STRIDE: usize = 32;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl LargeReader<'_, '_> {
    /// Takes over what stands unchanged at the beginning of `stretch`, where a chunk begins; says how many bytes. `reached` is
    /// told how far it is now and then.
    pub(super) fn skip(
        &self,
        large: &mut LargeFile,
        stretch: Range<u64>,
        before: &Before<'_>,
        regions: &[Region],
        reached: &mut dyn FnMut(&mut LargeFile, u64),
    ) -> Result<u64> {
        let mut run = before.familiar.run_at(stretch.start, stretch.end, regions).peekable();
        let (mut at, mut stride) = (stretch.start, 1);
        while run.peek().is_some() {
            self.tools.progress.check()?;
            let chunks: Vec<&Chunk> = run.by_ref().take(stride).collect();
            let same = self.unchanged(large, &chunks);
            for chunk in &chunks[..same] {
                if !(before.trusted || self.still_there(chunk.id)?) {
                    // Lost meanwhile: it is stored again.
                    return Ok(at - stretch.start);
                }
                large.parts.push(Part::Entry(Entry::Chunk { id: chunk.id, len: chunk.len }));
                at = chunk.end();
            }
            reached(large, at);
            if same < chunks.len() {
                break;
            }
            stride = (stride * 4).min(STRIDE);
        }
        Ok(at - stretch.start)
    }

    /// How many of the first of these, which stand one after the other, are what they were. What cannot be read is not:
    /// who reads it to store it says why.
    fn unchanged(&self, large: &LargeFile, chunks: &[&Chunk]) -> usize {
        let (Source::File(file), [first, ..], [.., last]) = (&large.source, chunks, chunks) else { return 0 };
        let (at, device) = (&large.file.at, file.stat().device);
        let repo = self.tools.session.repo();
        let same: Vec<bool> = file.over(first.offset..last.end(), |read| {
            let same = |chunk: &&Chunk| {
                BUFFER.with_borrow_mut(|buffer| {
                    let len = chunk.len as usize;
                    if buffer.len() < len {
                        buffer.resize(len, 0);
                    }
                    let bytes = &mut buffer[..len];
                    self.tools.fill(at, device, chunk.offset, bytes, read)
                        && repo.blob_id(BlobKind::Chunk, bytes) == chunk.id
                })
            };
            match chunks {
                [one] => vec![same(one)],
                _ => self.pool.install(|| chunks.par_iter().map(same).collect()),
            }
        });
        let count = same.iter().take_while(|same| **same).count();
        // What comes behind is read once more, through a window.
        file.passed(chunks.get(count).map_or(last.end(), |other| other.offset));
        count
    }
}
