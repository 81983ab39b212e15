//! Chunks of the file that the parent snapshot has in this place.
//!
//! Where a chunk begins at the same offset and its id is the same, it ends at the same place too: the
//! next cut is a function of the bytes from a chunk's start alone. So what did not change is
//! hashed and not searched for cuts, and the cuts are still those of a first snapshot. What
//! must be looked at is where its region ends, then and now:
//!
//! * It ends where a region ends now: so it would in any case. There was no cut before that
//!   among the same bytes then, and there is none now.
//! * It ends within a region now: only if it was content that ended it then, on the same grid.
//!   One that ended because its region or its stretch of data did says nothing about where a
//!   longer one would be cut. And the region must go on for more than a grid unit: the cut was
//!   found in it, and rounded down, and the last byte of a region is not always looked at.

use super::seams::Layout;
use crate::chunk::{CutParams, Region, Rule};
use crate::format::content::Entry;
use crate::format::tree::Node;
use crate::id::BlobId;
use crate::repo::reader::Reader;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub offset: u64,
    pub len: u32,
    pub id: BlobId,
    /// The rule by which its content ended it; none if it ended because nothing followed.
    pub ended_by: Option<Rule>,
}

impl Chunk {
    /// Offset of the first byte after it.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// Would the same bytes from the same start be cut where it ends, now that `regions` are
    /// those of this stretch?
    fn ends_there(&self, regions: &[Region]) -> bool {
        let at = regions.partition_point(|region| region.end() <= self.offset);
        regions.get(at).is_some_and(|region| {
            let goes_on = self.end().saturating_add(region.grid.into()) < region.end();
            self.end() == region.end() || (goes_on && self.ended_by == Some(region.rule()))
        })
    }
}

/// The chunks of a file, by offset.
#[derive(Debug, Default)]
pub struct Familiar(Vec<Chunk>);

impl Familiar {
    /// Of a node of the parent; none if its lists, or its seam table, cannot be read.
    pub fn of(node: &Node, params: &CutParams, reader: &Reader) -> Self {
        let Some(layout) = Layout::of_node(node, params, reader) else { return Self::default() };
        let Ok((pieces, _)) = reader.pieces(&node.content) else { return Self::default() };
        let mut chunks: Vec<Chunk> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            if let Entry::Chunk { id, len } = piece.entry {
                if let Some(before) = chunks.last_mut().filter(|c| c.end() == piece.offset) {
                    let region = layout.region_at(before.offset);
                    before.ended_by = region.filter(|r| before.end() < r.end()).map(Region::rule);
                }
                chunks.push(Chunk { offset: piece.offset, len, id, ended_by: None });
            }
        }
        Self(chunks)
    }

    /// Does this chunk begin at `offset`?
    pub fn is_at(&self, offset: u64, len: u32, id: BlobId) -> bool {
        let found = self.0.binary_search_by_key(&offset, |chunk| chunk.offset);
        found.is_ok_and(|at| self.0[at].len == len && self.0[at].id == id)
    }

    /// Those that stand one after the other from `offset` on, where a chunk begins, up to `end`, and are cut there if
    /// their bytes are still the same. `regions` are those of this stretch of the file.
    pub fn run_at(&self, offset: u64, end: u64, regions: &[Region]) -> impl Iterator<Item = &Chunk> {
        let first = self.0.partition_point(|c| c.offset < offset);
        let mut next = offset;
        self.0[first..].iter().take_while(move |c| {
            let fits = c.offset == next && c.end() <= end && c.ends_there(regions);
            next = c.end();
            fits
        })
    }
}
