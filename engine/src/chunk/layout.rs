//! Model files: told by their leading bytes, never by a name, and laid out at their tensors
//! (`docs/format.md`, "Regions of models").
//!
//! [`find`] is the one door. It takes what follows the rules of a format to the letter; of
//! anything else, and of files beyond the limits, it says nothing, and the file is cut as one of
//! which nothing is known. So a hostile or broken file costs deduplication, never an error.
//!
//! [`regions`] makes regions of tensors alone: what a seam table remembers is enough to lay a file
//! out again as it was.
//!
//! Time is linear in what is looked at but for sorting: [`MAX_HEADER_BYTES`] of the file's front, and
//! of a torch archive as much of its directory and of its pickle. Memory: the limits of
//! [`super::safetensors`] and [`super::torch`].

use std::collections::HashSet;

use super::params::CutParams;
use super::region::{Policy, ReadAt, Region, Rule, check_regions};
use super::safetensors::{self, Header};
use super::{gguf, npy, torch};
use crate::error::Result;

/// So many leading bytes are enough to tell the layout of any file, and no header is longer.
pub const MAX_HEADER_BYTES: usize = 16 << 20;
/// Most tensors of one file.
pub const MAX_TENSORS: usize = 1 << 17;
/// Most dimensions of one tensor.
pub const MAX_DIMENSIONS: usize = 64;
/// Names, types, shapes and places of all tensors together, as [`Tensor::weight`] counts them: what a
/// seam table has room for.
const MAX_WEIGHT: usize = 14 << 20;

/// Enough to tell what a file may be.
const MAGIC_BYTES: usize = 16;

/// A region for every so many bytes of a file, besides [`FEW`]: with what lies between it takes some 220 bytes in lists
/// and records.
const LEAST_MEAN_BYTES: u64 = 8192;
/// So many are never too many.
const FEW: u64 = 64;

/// Cuts inside a tensor of plain numbers lie on whole numbers of every width.
pub const TENSOR_RULE: Rule = Rule { grid: 8, policy: Policy::Cdc };

/// A kind of model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tensors behind a header of JSON.
    Safetensors,
    /// PyTorch's zip archive: `.pt`, `.pth`, `.bin`.
    Torch,
    /// GGUF, versions 2 and 3.
    Gguf,
    /// One array of NumPy.
    Npy,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// As the file spells it.
    pub name: String,
    /// Type of its elements: safetensors' word for plain numbers, ggml's name for blocks of quantised ones,
    /// nothing where it is not known.
    pub dtype: &'static str,
    /// Dimensions, outermost first; none for a single number.
    pub shape: Vec<u64>,
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes; 0 if a dimension is.
    pub len: u64,
}

impl Tensor {
    /// Order of a seam table: by offset, empty ones first, then the longest, then by name.
    fn place(&self) -> (u64, bool, std::cmp::Reverse<u64>, &str) {
        (self.offset, self.len > 0, std::cmp::Reverse(self.len), &self.name)
    }

    /// At least its bytes in a seam table.
    pub(super) fn weight(&self) -> usize {
        weight(self.name.len(), self.shape.len())
    }
}

/// See [`Tensor::weight`].
pub(super) fn weight(name: usize, dimensions: usize) -> usize {
    48 + name + 9 * dimensions
}

/// A model file: what it is and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Which kind.
    pub format: Format,
    /// In the order of a seam table: by offset.
    pub tensors: Vec<Tensor>,
    /// They tile the file.
    pub regions: Vec<Region>,
}

/// How much of the front of a file that begins with `first` (16 bytes are enough) tells its layout, if it may be a model at all;
/// beyond [`MAX_HEADER_BYTES`] nothing does.
pub fn header_bytes(first: &[u8]) -> Option<u64> {
    match Format::of(first)? {
        Format::Safetensors => safetensors::header_len(first),
        Format::Npy => Some(npy::FRONT_BYTES),
        Format::Torch | Format::Gguf => Some(MAX_HEADER_BYTES as u64),
    }
}

/// The model that a file of `size` bytes is, which begins with `first`: all of it, or [`header_bytes`] of it.
/// `content` is the file, for what a format keeps at its end. `None`: there is nothing to see, and the
/// bytes alone decide.
pub fn find(first: &[u8], content: &dyn ReadAt, size: u64, params: &CutParams) -> Option<Model> {
    let format = Format::of(first).filter(|format| params.sees(*format))?;
    let tensors = match format {
        // Ordered and counted by its own rules.
        Format::Safetensors => Header::parse(first, size)?.tensors,
        Format::Torch => ordered(torch::tensors(first, content, size)?)?,
        Format::Gguf => ordered(gguf::tensors(first, size)?)?,
        Format::Npy => vec![npy::tensor(first, size)?],
    };
    let places = tensors.iter().map(|t| (t.offset, t.len, t.dtype.as_bytes()));
    let regions = regions(format, places, size);
    check_regions(&regions, size, params).ok()?;
    Some(Model { format, tensors, regions })
}

/// The same of content of which nothing is at hand: of safetensors no more is read than the header.
pub fn look(content: &dyn ReadAt, size: u64, params: &CutParams) -> Result<Option<Model>> {
    let mut first = vec![0; MAGIC_BYTES];
    let got = content.read_at(0, &mut first)?;
    first.truncate(got);
    let len = header_bytes(&first).and_then(|len| usize::try_from(len.min(size)).ok());
    // A longer header than any that is looked at.
    let Some(len) = len.filter(|len| *len <= MAX_HEADER_BYTES) else {
        return Ok(None);
    };
    first.resize(len, 0);
    let got = content.read_at(0, &mut first)?;
    first.truncate(got);
    Ok(find(&first, content, size, params))
}

/// In the order of a seam table, if each has a name of its own and there are no more than it holds.
fn ordered(mut tensors: Vec<Tensor>) -> Option<Vec<Tensor>> {
    let mut names = HashSet::with_capacity(tensors.len());
    let mut room = MAX_WEIGHT;
    for tensor in &tensors {
        room = room.checked_sub(tensor.weight())?;
        if !names.insert(tensor.name.as_str()) || tensor.shape.len() > MAX_DIMENSIONS {
            return None;
        }
    }
    drop(names);
    if tensors.is_empty() || tensors.len() > MAX_TENSORS {
        return None;
    }
    tensors.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
    Some(tensors)
}

/// The regions of a file by offset, length and type of its tensors, in the order of a seam table. Each
/// makes a region, but those that begin inside the region before (a part of it, or the same bytes under another
/// name) and, in a torch archive, those that cost more than they save. What lies between is cut as any
/// text. Two files that hold the same tensor cut it alike, whatever stands around it, unless one of them is made
/// of little but tiny tensors.
pub fn regions<'t>(
    format: Format,
    tensors: impl IntoIterator<Item = (u64, u64, &'t [u8])>,
    size: u64,
) -> Vec<Region> {
    let tensors: Vec<(u64, u64, &[u8])> = tensors.into_iter().collect();
    let least = format.least_bytes(tensors.iter().map(|(_, len, _)| *len), size);
    let mut regions = Vec::new();
    let mut covered = 0;
    let mut add = |start, len, Rule { grid, policy }: Rule| {
        if len > 0 {
            regions.push(Region { start, len, grid, policy });
        }
    };
    for (offset, len, dtype) in tensors {
        let Some(end) = offset.checked_add(len) else { continue };
        if len >= least && offset >= covered {
            add(covered, offset - covered, Rule::PLAIN);
            add(offset, len, format.rule(dtype));
            covered = end;
        }
    }
    add(covered, size.saturating_sub(covered), Rule::PLAIN);
    regions
}

impl Format {
    /// What a file that begins so may be.
    fn of(first: &[u8]) -> Option<Self> {
        match first {
            _ if first.starts_with(gguf::MAGIC) => Some(Self::Gguf),
            _ if first.starts_with(torch::MAGIC) => Some(Self::Torch),
            _ if first.starts_with(npy::MAGIC) => Some(Self::Npy),
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Self::Safetensors),
            _ => None,
        }
    }

    /// Shorter tensors make no region, in a file of `size` bytes and tensors of these lengths. Where they would be too
    /// many for their bytes, only longer ones do: no file costs more than its bytes for what it says of
    /// them.
    fn least_bytes(self, lens: impl Iterator<Item = u64> + Clone, size: u64) -> u64 {
        let mut least = match self {
            // By the rules of version 2.
            Self::Safetensors => return 1,
            Self::Torch => torch::LEAST_BYTES,
            Self::Gguf | Self::Npy => 1,
        };
        let most = size / LEAST_MEAN_BYTES + FEW;
        while least < u64::MAX && lens.clone().filter(|len| *len >= least).count() as u64 > most {
            least = least.saturating_mul(2).max(torch::LEAST_BYTES);
        }
        least
    }

    /// How a tensor of this type is cut.
    fn rule(self, dtype: &[u8]) -> Rule {
        match self {
            Self::Gguf => gguf::rule(dtype),
            Self::Safetensors | Self::Torch | Self::Npy => TENSOR_RULE,
        }
    }
}

impl CutParams {
    /// Does this version of the cutter see the tensors of such files?
    pub fn sees(&self, format: Format) -> bool {
        self.version >= if format == Format::Safetensors { 2 } else { 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Format, tensors: &[(u64, u64, &[u8])], size: u64) -> Vec<(u64, u64, u32)> {
        let regions = regions(format, tensors.iter().copied(), size);
        regions.iter().map(|r| (r.start, r.len, r.grid)).collect()
    }

    #[test]
    fn tensors_make_regions_and_gaps_are_plain() {
        use Format::{Gguf, Safetensors, Torch};
        let two = [(10, 0, &b"F32"[..]), (10, 600, b"F32"), (610, 700, b"Q8_0")];
        assert_eq!(shown(Safetensors, &two, 1310), [(0, 10, 1), (10, 600, 8), (610, 700, 8)]);
        assert_eq!(shown(Gguf, &two, 1320), [(0, 10, 1), (10, 600, 8), (610, 700, 34), (1310, 10, 1)]);
        // Tied, nested, and too short to be worth it.
        let nested = [(0, 9000, &b"F32"[..]), (0, 9000, b"F32"), (600, 700, b"F32"), (9000, 511, b"F32")];
        assert_eq!(shown(Torch, &nested, 9600), [(0, 9000, 8), (9000, 600, 1)]);
        assert_eq!(shown(Torch, &[], 5), [(0, 5, 1)]);
        // Too many for their bytes: the longer ones alone, and where all are alike, none.
        let many = |len: u64, last: u64| -> Vec<(u64, u64, &[u8])> {
            let even = (0..100).map(|n| (n * len, len, &b"I8"[..]));
            even.chain([(100 * len, last, &b"I8"[..])]).collect()
        };
        assert_eq!(shown(Gguf, &many(600, 2000), 62_000), [(0, 60_000, 1), (60_000, 2000, 8)]);
        assert_eq!(shown(Torch, &many(600, 600), 60_600), [(0, 60_600, 1)]);
        assert_eq!(shown(Gguf, &many(9000, 9000), 909_000).len(), 101);
        assert_eq!(shown(Safetensors, &many(1, 1), 101).len(), 101);
        let longest = vec![(0, u64::MAX, &b""[..]); 100];
        assert_eq!(regions(Gguf, longest, 10).len(), 1);
        // What lies is refused by `check_regions`.
        let long = regions(Safetensors, [(0, 20, &b""[..])], 10);
        assert!(check_regions(&long, 10, &CutParams::default()).is_err());
        assert_eq!(shown(Gguf, &[(u64::MAX, 2, b"")], 3), [(0, 3, 1)]);
    }
}
