//! What new content of a large file may be stored as the difference to (design §5): the same
//! bytes of an older version of it, found chunk by chunk.
//!
//! Cuts never depend on it: it only says which older blobs cover the same stretch. Of a model that is
//! the same stretch of the same tensor (name and type, and shape but for the first dimension, so
//! that a grown vocabulary keeps its rows), wherever it lies now, under any of its names
//! where several are the same bytes; of any other file the same stretch of the file.
//!
//! Chains stay short: a source of height [`MAX_HEIGHT`] is not built upon. Then the root of the chain
//! serves, the newest older version that stands alone, if a quarter is still saved by it; else
//! the chunk stands alone, and is a new root.
//!
//! Memory: 48 bytes for each chunk and some 100 for each tensor of the versions at hand.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ancestry::{Ancestry, Origin};
use super::elements::{hint_at, seams_at};
use crate::error::Result;
use crate::format::content::Entry;
use crate::format::seams::Seam;
use crate::format::tree::Node;
use crate::format::wire::Bytes;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::reader::Reader;
use crate::repo::seams::table_of;
use crate::repo::session::{Against, Session, SourceRef};

/// A chunk is stored as a difference at most so many times removed from one that stands alone.
pub const MAX_HEIGHT: u8 = 3;
/// Older versions looked at for a root.
pub const OLDER: usize = 4;
/// Shorter chunks share frames, which is better.
pub const LEAST_BYTES: usize = 16 << 10;
/// Blobs that one source is made of, at most.
const MAX_BLOBS: usize = 24;
/// After so many chunks in a row of which a difference was no shorter, only some are tried.
const MANY_MISSES: u32 = 4;
/// One in so many.
const STILL_TRIED: u32 = 16;
/// After so many chunks for which a second source was of no use, it is not read any more.
const TRIED_TWO: u32 = 3;

/// One version of a file: its chunks by offset, and its tensors.
#[derive(Debug)]
pub struct Version {
    chunks: Vec<(u64, u32, BlobId)>,
    tensors: HashMap<(Bytes, Bytes), (Vec<u64>, u64, u64)>,
}

impl Version {
    /// Of a node; `None` if it cannot be read.
    pub fn of(node: &Node, reader: &Reader) -> Option<Self> {
        let (pieces, _) = reader.pieces(&node.content).ok()?;
        let chunks = pieces.into_iter().filter_map(|piece| match piece.entry {
            Entry::Chunk { id, len } => Some((piece.offset, len, id)),
            _ => None,
        });
        let chunks = chunks.collect();
        let table = table_of(node, reader).ok()?;
        let mut tensors = HashMap::new();
        for seam in table.map(|t| t.seams).unwrap_or_default() {
            tensors.insert((seam.name, seam.dtype), (seam.shape, seam.offset, seam.len));
        }
        Some(Self { chunks, tensors })
    }

    /// Bytes of tensors that it has too.
    pub fn matched(&self, seams: &[Seam]) -> u64 {
        total(seams.iter().filter(|seam| self.tensor(seam).is_some()))
    }

    /// Where it has the tensor: offset and length.
    pub fn tensor(&self, seam: &Seam) -> Option<(u64, u64)> {
        let (shape, offset, len) = self.tensors.get(&(seam.name.clone(), seam.dtype.clone()))?;
        let same = shape.len() == seam.shape.len() && shape.get(1..) == seam.shape.get(1..);
        same.then_some((*offset, *len))
    }

    /// The blobs that cover a stretch of it; `None` if they do not, or are too many.
    pub fn stretch(&self, offset: u64, len: u64) -> Option<SourceRef> {
        let end = offset.checked_add(len)?;
        let first = self.chunks.partition_point(|(at, len, _)| at + u64::from(*len) <= offset);
        let (start, ..) = *self.chunks.get(first)?;
        let mut next = start;
        let mut blobs = Vec::new();
        for (at, len, id) in self.chunks[first..].iter().take_while(|(at, ..)| *at < end) {
            if *at != next || blobs.len() == MAX_BLOBS {
                return None;
            }
            next = at + u64::from(*len);
            blobs.push(BlobRef::new(BlobKind::Chunk, *id));
        }
        // The last bytes may be missing: the difference is to what there is.
        let len = end.min(next).checked_sub(offset)?;
        let (offset, len) = (offset.checked_sub(start)?.try_into().ok()?, len.try_into().ok()?);
        (len > 0).then_some(SourceRef { blobs, offset, len })
    }

    fn len(&self) -> u64 {
        self.chunks.last().map_or(0, |(at, len, _)| at + u64::from(*len))
    }
}

/// The older versions of one file that is being stored.
pub struct Kin<'a> {
    ancestry: &'a Ancestry<'a>,
    /// Those that do not begin inside the one before, and others that are the same bytes.
    seams: Vec<Seam>,
    newest: Version,
    origin: Origin,
    older: OnceLock<Vec<Version>>,
    misses: AtomicU32,
    two_tried: AtomicU32,
    two_won: AtomicU32,
}

impl<'a> Kin<'a> {
    /// `newest` is what the file is compared with first, `seams` are the file's own.
    pub fn new(ancestry: &'a Ancestry<'a>, mut seams: Vec<Seam>, newest: Version, origin: Origin) -> Self {
        let mut last = (0, 0);
        seams.retain(|seam| {
            let place = (seam.offset, seam.len);
            let outer = seam.len > 0 && (place == last || seam.offset >= last.0 + last.1);
            if outer {
                last = place;
            }
            outer
        });
        Self {
            ancestry,
            seams,
            newest,
            origin,
            older: OnceLock::new(),
            misses: AtomicU32::new(0),
            two_tried: AtomicU32::new(0),
            two_won: AtomicU32::new(0),
        }
    }

    /// Stores the chunk at `offset` of the file.
    pub fn store(&self, session: &Session, plain: &[u8], offset: u64) -> Result<BlobId> {
        let misses = self.misses.load(Ordering::Relaxed);
        let hopeless = misses >= MANY_MISSES && !misses.is_multiple_of(STILL_TRIED);
        let seams = seams_at(&self.seams, offset, plain.len() as u64);
        let hint = hint_at(&self.seams, offset, plain.len() as u64);
        let near = if plain.len() < LEAST_BYTES || hopeless {
            None
        } else {
            self.stretch(&self.newest, seams, offset, plain.len() as u64)
        };
        let Some(near) = near else {
            if hopeless {
                self.misses.fetch_add(1, Ordering::Relaxed);
            }
            return session.store_typed(BlobKind::Chunk, plain, hint).map(|stored| stored.id);
        };
        let mut sources = Vec::new();
        let mut least_gain = 0;
        match session.height(&near)? {
            None => {}
            Some(height) if height < MAX_HEIGHT => {
                sources.push(near);
                if self.is_second_worth_it() {
                    let second =
                        self.older().first().and_then(|v| self.stretch(v, seams, offset, plain.len() as u64));
                    if let Some(second) = second
                        && session.height(&second)?.is_some_and(|height| height < MAX_HEIGHT)
                    {
                        sources.push(second);
                    }
                }
            }
            Some(_) => {
                least_gain = 25;
                for version in self.older() {
                    if let Some(root) = self.stretch(version, seams, offset, plain.len() as u64)
                        && session.height(&root)? == Some(0)
                    {
                        sources.push(root);
                        break;
                    }
                }
            }
        }
        let against = Against { sources: &sources, hint, least_gain_percent: least_gain };
        let stored = session.store_against(BlobKind::Chunk, plain, &against, self.ancestry.reader())?;
        if stored.new && !sources.is_empty() {
            match stored.sources {
                0 => self.misses.fetch_add(1, Ordering::Relaxed),
                _ => self.misses.swap(0, Ordering::Relaxed),
            };
            if sources.len() == 2 {
                self.two_tried.fetch_add(1, Ordering::Relaxed);
                self.two_won.fetch_add(u32::from(stored.sources == 2), Ordering::Relaxed);
            }
        }
        Ok(stored.id)
    }

    /// While it has won now and then.
    fn is_second_worth_it(&self) -> bool {
        let (tried, won) = (self.two_tried.load(Ordering::Relaxed), self.two_won.load(Ordering::Relaxed));
        tried < TRIED_TWO || won * 4 >= tried
    }

    fn older(&self) -> &[Version] {
        self.older.get_or_init(|| self.ancestry.older(&self.origin))
    }

    /// The same stretch of another version.
    fn stretch(&self, version: &Version, seams: &[Seam], offset: u64, len: u64) -> Option<SourceRef> {
        match seams.first() {
            Some(seam) => {
                let (start, old_len) = seams.iter().find_map(|seam| version.tensor(seam))?;
                let within = offset - seam.offset;
                version.stretch(start.checked_add(within)?, len.min(old_len.checked_sub(within)?))
            }
            None => version.stretch(offset, len.min(version.len().checked_sub(offset)?)),
        }
    }
}

/// Bytes of tensors, those with several names counted as often.
pub fn total<'s>(seams: impl Iterator<Item = &'s Seam>) -> u64 {
    seams.fold(0, |sum: u64, seam| sum.saturating_add(seam.len))
}
