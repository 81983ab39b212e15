//! Seam tables: names and places of the parts of a file (`docs/format.md`, "Seam
//! table"), so that tensors and bases are found without reading old headers.

use serde::{Deserialize, Serialize};

use crate::format::wire::{Bytes, Extension, Record, seq};

/// File layout that the seams were read from: safetensors.
pub const LAYOUT_SAFETENSORS: u8 = 1;
/// File layout that the seams were read from: SQLite pages.
pub const LAYOUT_SQLITE: u8 = 2;
/// File layout that the seams were read from: an archive of PyTorch.
pub const LAYOUT_TORCH: u8 = 3;
/// File layout that the seams were read from: GGUF.
pub const LAYOUT_GGUF: u8 = 4;
/// File layout that the seams were read from: one array of NumPy.
pub const LAYOUT_NPY: u8 = 5;

/// One part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// Name of the tensor.
    pub name: Bytes,
    /// Element type: safetensors' word for plain numbers (`BF16`, `F32`, …), ggml's name for quantised blocks (`Q8_0`),
    /// nothing where it is not known.
    pub dtype: Bytes,
    /// Dimensions, outermost first.
    #[serde(deserialize_with = "seq")]
    pub shape: Vec<u64>,
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Plaintext of a seam table blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeamTableV1 {
    /// [`LAYOUT_SAFETENSORS`], [`LAYOUT_TORCH`] and the like.
    pub layout: u8,
    /// In order of offset. Those of a torch archive may lie in one another.
    #[serde(deserialize_with = "seq")]
    pub seams: Vec<Seam>,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for SeamTableV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 16 << 20;
    const WHAT: &'static str = "seam table";
}
