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

use super::params::CutParams;
use super::region::{Policy, ReadAt, Region, Rule, Seams, check_regions};
use crate::error::Result;

/// Longest header, the eight bytes of its length included: some hundred thousand tensors with long
/// names. The format's own bound is a hundred million bytes; what is longer than this is cut
/// plainly.
/// A seam table is never longer than the header it was made of, so this bounds it too.
pub const MAX_HEADER_BYTES: usize = 16 << 20;
/// Most tensors of one file.
pub const MAX_TENSORS: usize = 1 << 17;
/// Most dimensions of one tensor.
pub const MAX_DIMENSIONS: usize = 64;

/// Bytes in front of the JSON.
const LENGTH_BYTES: usize = 8;

/// Cuts inside a tensor lie on whole numbers of every width.
pub const TENSOR_RULE: Rule = Rule { grid: 8, policy: Policy::Cdc };

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// As the header spells it.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Dimensions, outermost first; none for a single number.
    pub shape: Vec<u64>,
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes; 0 if a dimension is.
    pub len: u64,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Length of header and length field: where the first tensor begins.
    pub len: u64,
    /// By offset, empty ones first where several begin, then by name. At least one.
    pub tensors: Vec<Tensor>,
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
                dtype: t.dtype,
                shape: t.shape,
                offset: len + t.begin,
                len: t.end - t.begin,
            })
            .collect();
        Some(Self { len, tensors })
    }

    /// The same of content of `len` bytes: no more of it is read than the header.
    pub fn read(data: &dyn ReadAt, len: u64) -> Result<Option<Self>> {
        let mut length = [0; LENGTH_BYTES];
        if !data.read_exact_at(0, &mut length)? {
            return Ok(None);
        }
        let wanted = u64::from_le_bytes(length).saturating_add(LENGTH_BYTES as u64);
        // Longer than the file, or than any header that is looked at: `parse` would refuse it.
        let Some(wanted) = usize::try_from(wanted.min(len)).ok().filter(|wanted| *wanted <= MAX_HEADER_BYTES)
        else {
            return Ok(None);
        };
        let mut first = vec![0; wanted];
        let got = data.read_at(0, &mut first)?;
        Ok(Self::parse(&first[..got], len))
    }

    /// How the file is laid out for cutting.
    pub fn regions(&self) -> Vec<Region> {
        regions(self.tensors.iter().map(|t| (t.offset, t.len)))
    }
}

/// The layout of a safetensors file by offset and length of its tensors, in their order: the
/// header, cut as any text, then each tensor. Two files that hold the same tensor cut it alike,
/// whatever stands around it.
pub fn regions(tensors: impl IntoIterator<Item = (u64, u64)>) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut add = |start, len, rule: Rule| {
        if len > 0 {
            regions.push(Region { start, len, grid: rule.grid, policy: rule.policy });
        }
    };
    let mut tensors = tensors.into_iter().peekable();
    if let Some((first, _)) = tensors.peek() {
        add(0, *first, Rule::PLAIN);
    }
    tensors.for_each(|(start, len)| add(start, len, TENSOR_RULE));
    regions
}

/// As a plug-in: content that is not safetensors is laid out as [`super::Opaque`] does.
#[derive(Debug, Default, Clone, Copy)]
pub struct Safetensors;

/// Header and regions of a file of `size` bytes that begins with `first`: all of it, or
/// [`MAX_HEADER_BYTES`]. `None`: there is nothing to see, and its content alone decides.
pub fn lay_out(first: &[u8], size: u64, params: &CutParams) -> Option<(Header, Vec<Region>)> {
    let header = if params.sees_tensors() { Header::parse(first, size) } else { None }?;
    let regions = header.regions();
    check_regions(&regions, size, params).ok()?;
    Some((header, regions))
}

impl Seams for Safetensors {
    fn regions(&self, data: &dyn ReadAt, len: u64) -> Result<Vec<Region>> {
        Ok(Header::read(data, len)?.map_or_else(|| super::Opaque::layout(len), |h| h.regions()))
    }
}

impl CutParams {
    /// Does this version of the cutter see tensors?
    pub fn sees_tensors(&self) -> bool {
        self.version >= 2
    }
}

#[cfg(test)]
mod tests;
