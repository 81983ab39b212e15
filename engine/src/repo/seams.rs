//! The seam table of a file: the one that its node names, or the one that its content would have.

use crate::chunk::CutParams;
use crate::chunk::layout::{self, Format};
use crate::error::{Error, Result};
use crate::format::seams::{LAYOUT_GGUF, LAYOUT_NPY, LAYOUT_SAFETENSORS, LAYOUT_TORCH, Seam, SeamTableV1};
use crate::format::tree::{Node, NodeKind};
use crate::format::wire;
use crate::id::BlobKind;
use crate::repo::file::ContentAt;
use crate::repo::reader::Reader;

/// The seam table of a node. `None` if it has none.
pub fn table_of(node: &Node, reader: &Reader) -> Result<Option<SeamTableV1>> {
    let Some(id) = node.seams else { return Ok(None) };
    let bytes = reader.blob(BlobKind::Seams, id)?;
    wire::decode(&bytes).map(Some).map_err(|e| e.of(format!("seam table {}", id.short())))
}

/// The seams of a file that has no table, since it was stored from a pipe or by a version that knew nothing of its kind:
/// out of the file itself. This is the one place that looks into files.
pub(super) fn table_inside(reader: &Reader, path: &[u8], node: &Node) -> Result<Option<SeamTableV1>> {
    if node.kind != NodeKind::File {
        return Ok(None);
    }
    let file = ContentAt::open(reader, path, node)?;
    match layout::look(&file, file.len(), &CutParams::default()) {
        Ok(model) => Ok(model.map(table_from)),
        // Its beginning is gone for good; `ls` and `dump` say so.
        Err(Error::Lost { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What seam tables call the formats.
const LAYOUTS: [(u8, Format); 4] = [
    (LAYOUT_SAFETENSORS, Format::Safetensors),
    (LAYOUT_TORCH, Format::Torch),
    (LAYOUT_GGUF, Format::Gguf),
    (LAYOUT_NPY, Format::Npy),
];

/// The format that a seam table means.
pub fn format_of(table: &SeamTableV1) -> Option<Format> {
    LAYOUTS.iter().find(|(number, _)| *number == table.layout).map(|(_, format)| *format)
}

/// The seam table of a model. It is within its limit: one of safetensors is shorter than the header, where
/// an entry takes at least 40 bytes of punctuation and words beside name and shape, those of other formats are
/// weighed ([`layout::find`]).
pub fn table_from(model: layout::Model) -> SeamTableV1 {
    let seam = |tensor: layout::Tensor| Seam {
        name: tensor.name.into_bytes().into(),
        dtype: tensor.dtype.as_bytes().into(),
        shape: tensor.shape,
        offset: tensor.offset,
        len: tensor.len,
    };
    let layout = LAYOUTS.iter().find(|(_, format)| *format == model.format).map_or(0, |known| known.0);
    SeamTableV1 { layout, seams: model.tensors.into_iter().map(seam).collect(), extensions: Vec::new() }
}
