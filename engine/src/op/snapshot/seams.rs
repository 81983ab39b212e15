//! How a file is laid out for cutting, and its seam table.
//!
//! The layout is taken from the very bytes that are stored: of the first window, or of the
//! whole small file. So it is a function of the content even of a file that changes while it is
//! read, but for an archive of PyTorch, whose directory is read ahead from its end; changed in between, that
//! may name other places than what is stored has, and costs deduplication. A header that does not lie whole in the
//! first stretch of data has none (a hole is zeros, which no header holds). A hole ends a region; what of it lies behind the hole is a
//! region of its own.

use crate::chunk::layout;
use crate::chunk::{CutParams, Opaque, ReadAt, Region, check_regions, regions_within};
use crate::error::Result;
use crate::format::seams::Seam;
use crate::format::tree::Node;
use crate::format::wire;
use crate::id::{BlobId, BlobKind};
use crate::repo::reader::Reader;
use crate::repo::seams::{format_of, table_from, table_of};
use crate::repo::session::Session;

/// Regions of a file, and the blob that says what they are.
#[derive(Debug, Default)]
pub struct Layout {
    regions: Vec<Region>,
    /// The seam table, if the file has parts with names.
    pub table: Option<BlobId>,
    /// What stands in it; not of an older version.
    pub seams: Vec<Seam>,
}

impl Layout {
    /// Of a file of `size` bytes that begins with `first`: all of it, or [`layout::header_bytes`]; `content`
    /// is the file. Stores the seam table.
    pub fn of(
        first: &[u8],
        content: &dyn ReadAt,
        size: u64,
        params: &CutParams,
        session: &Session,
    ) -> Result<Self> {
        let Some(mut model) = layout::find(first, content, size, params) else {
            return Ok(Self::opaque(size));
        };
        let regions = std::mem::take(&mut model.regions);
        let table = table_from(model);
        let id = session.store(BlobKind::Seams, &wire::encode(&table))?.id;
        Ok(Self { regions, table: Some(id), seams: table.seams })
    }

    /// Of a file of which nothing is known.
    pub fn opaque(size: u64) -> Self {
        Self { regions: Opaque::layout(size), table: None, seams: Vec::new() }
    }

    /// The same layout that [`Layout::of`] gave when the node of a parent was made. `None` if that
    /// cannot be told.
    pub fn of_node(node: &Node, params: &CutParams, reader: &Reader) -> Option<Self> {
        let Some(id) = node.seams else { return Some(Self::opaque(node.size)) };
        let table = table_of(node, reader).ok().flatten()?;
        let format = format_of(&table).filter(|format| params.sees(*format))?;
        let places = table.seams.iter().map(|seam| (seam.offset, seam.len, &seam.dtype[..]));
        let regions = layout::regions(format, places, node.size);
        check_regions(&regions, node.size, params).ok()?;
        Some(Self { regions, table: Some(id), seams: Vec::new() })
    }

    /// The region that holds a byte.
    pub fn region_at(&self, offset: u64) -> Option<&Region> {
        self.regions.get(self.regions.partition_point(|region| region.end() <= offset))
    }

    /// The regions of a stretch of data, by their offset in the file.
    pub fn within(&self, offset: u64, len: u64) -> Vec<Region> {
        regions_within(&self.regions, offset, len)
    }
}
