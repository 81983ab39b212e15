//! What a frame of units stands on, and the grains it needs of that.

use std::collections::HashMap;

use super::MAX_HEIGHT;
use super::old::Old;
use crate::codec::grains::grains_of;
use crate::error::Result;
use crate::format::MAX_FRAME_EDGES;
use crate::format::frame::Edge;
use crate::id::BlobKind;

/// What the frame stands on.
pub struct Bases<'o, 'a> {
    pub old: &'o Old<'a>,
    pub edges: Vec<Edge>,
    /// Lengths of the blobs that the edges stand for.
    pub lens: Vec<u32>,
    /// Number of an older unit's first grain among those of all bases.
    pub first: HashMap<usize, u32>,
    grains: u32,
    /// The greatest of the heights that they were relied on for.
    pub height: u8,
}

impl<'o, 'a> Bases<'o, 'a> {
    /// Nothing yet.
    pub fn new(old: &'o Old<'a>) -> Self {
        Self { old, edges: Vec::new(), lens: Vec::new(), first: HashMap::new(), grains: 0, height: 0 }
    }

    fn number(&mut self, at: usize) -> u32 {
        let len = self.old.units()[at].len;
        let first = *self.first.entry(at).or_insert(self.grains);
        self.grains += u32::try_from(grains_of(len as usize)).unwrap_or(0);
        self.lens.push(len);
        first
    }

    /// The number of a unit's first grain; it becomes a base if it stands no higher than `up_to`.
    pub fn unit(&mut self, at: usize, up_to: u8) -> Result<Option<u32>> {
        if let Some(first) = self.first.get(&at) {
            return Ok(Some(*first));
        }
        let Some(height) = self.old.height(at)?.filter(|height| *height <= up_to) else { return Ok(None) };
        if self.edges.len() == MAX_FRAME_EDGES {
            return Ok(None);
        }
        self.edges.push(Edge { how: 0, kind: BlobKind::Chunk as u8, id: self.old.units()[at].id });
        self.height = self.height.max(height);
        Ok(Some(self.number(at)))
    }

    /// All that a list describes.
    pub fn list(&mut self, number: usize) -> Result<()> {
        let list = &self.old.lists()[number];
        let height = self.old.list_height(list)?.filter(|height| *height <= MAX_HEIGHT);
        let Some(height) = height.filter(|_| self.edges.len() < MAX_FRAME_EDGES) else { return Ok(()) };
        self.edges.push(Edge { how: 1, kind: BlobKind::List as u8, id: list.id });
        self.height = self.height.max(height);
        for at in list.units.clone() {
            self.number(at);
        }
        Ok(())
    }
}

/// Grains of bases that the frame needs, by number: where they lie in `bytes`.
pub struct Stash {
    bytes: Vec<u8>,
    at: HashMap<u32, (usize, usize)>,
}

impl Stash {
    /// Empty, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), at: HashMap::new() }
    }

    /// Takes one in.
    pub fn put(&mut self, number: u32, grain: &[u8]) {
        let bytes = &mut self.bytes;
        self.at.entry(number).or_insert_with(|| {
            bytes.extend_from_slice(grain);
            (bytes.len() - grain.len(), grain.len())
        });
    }

    /// One of them.
    pub fn get(&self, number: u32) -> Option<&[u8]> {
        self.at.get(&number).map(|(at, len)| &self.bytes[*at..at + len])
    }
}
