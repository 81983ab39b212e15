//! Safetensors: where the tensors of such a file are (`docs/format.md`, "Regions of a
//! safetensors file").
//!
//! ```text
//! length of the header, u64 | header: JSON, trailing spaces | tensors, one after the other
//! ```
//! [`Header::parse`] looks at leading bytes only, never at a name. It takes what follows the
//! rules of the format to the letter; of anything else, and of headers beyond the limits
//! below, it says nothing, and the file is cut as one of which nothing is known. So a hostile
//! or broken file costs deduplication, never an error.
//!
//! Time is linear in the header but for sorting; memory is at most some 300 bytes for each
//! tensor and the names, 56 MiB at the limits, and is gone once the caller has made a seam
//! table of it.

mod dtype;
mod json;

use std::collections::HashSet;

pub use dtype::Dtype;

use super::layout::{self, Format, MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_TENSORS, Tensor};
use super::params::CutParams;
use super::region::{ReadAt, Region, Seams};
use crate::error::Result;

/// Bytes in front of the JSON.
const LENGTH_BYTES: usize = 8;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Length of header and length field: where the first tensor begins.
    pub len: u64,
    /// By offset, empty ones first where several begin, then by name. At least one.
    pub tensors: Vec<Tensor>,
}

/// Length of the header of a file that begins so, the eight bytes of its length included.
pub fn header_len(first: &[u8]) -> Option<u64> {
    let (length, _) = first.split_first_chunk::<LENGTH_BYTES>()?;
    Some(u64::from_le_bytes(*length).saturating_add(LENGTH_BYTES as u64))
}

impl Header {
    /// The header of a file that is `file_len` bytes long and begins with `first`, if it is
    /// safetensors: `first` must hold the whole header.
    pub fn parse(first: &[u8], file_len: u64) -> Option<Self> {
        let (length, rest) = first.split_first_chunk::<LENGTH_BYTES>()?;
        let json_len = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        if json_len > MAX_HEADER_BYTES - LENGTH_BYTES || rest.first() != Some(&b'{') {
            return None;
        }
        let mut tensors = json::tensors(rest.get(..json_len)?)?;
        let len = (LENGTH_BYTES + json_len) as u64;
        tensors.sort_unstable_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
        let mut names = HashSet::with_capacity(tensors.len());
        let mut at = 0;
        for tensor in &tensors {
            // No hole, no overlap, and as many bytes as its elements take.
            if tensor.begin != at || tensor.bytes() != tensor.end.checked_sub(at) {
                return None;
            }
            at = tensor.end;
            if !names.insert(tensor.name.as_str()) {
                return None;
            }
        }
        drop(names);
        if tensors.is_empty() || len.checked_add(at) != Some(file_len) {
            return None;
        }
        let tensors = tensors
            .into_iter()
            .map(|t| Tensor {
                name: t.name,
                dtype: t.dtype.word(),
                shape: t.shape,
                offset: len + t.begin,
                len: t.end - t.begin,
            })
            .collect();
        Some(Self { len, tensors })
    }

    /// How the file is laid out for cutting: the header, cut as any text, then each tensor.
    pub fn regions(&self) -> Vec<Region> {
        let size = self.tensors.last().map_or(self.len, |last| last.offset + last.len);
        let places = self.tensors.iter().map(|t| (t.offset, t.len, t.dtype.as_bytes()));
        layout::regions(Format::Safetensors, places, size)
    }
}

/// As a plug-in: content that is not safetensors is laid out as [`super::Opaque`] does.
#[derive(Debug, Default, Clone, Copy)]
pub struct Safetensors;

impl Seams for Safetensors {
    fn regions(&self, data: &dyn ReadAt, len: u64) -> Result<Vec<Region>> {
        let found = layout::look(data, len, &CutParams::default())?;
        Ok(found.map_or_else(|| super::Opaque::layout(len), |model| model.regions))
    }
}

#[cfg(test)]
mod tests;
