//! Tensors of a model to a stream: one as it is, or some as a safetensors file of their own. Only what they need is
//! read, wherever in the model's files it lies.
//!
//! ```text
//! length of the header, u64 | header: JSON, padded with spaces to eight bytes | tensors, one after the other
//! ```
//! Wide elements come first, so that each tensor lies on a multiple of its element's width, as the
//! format's own writer has it; among those of one width the order of the files is kept.
//!
//! Memory: what [`crate::repo::file::Stretches`] takes for the tensors that are written, and the header.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{refused, say_marks};
use crate::chunk::ReadAt;
use crate::chunk::layout::MAX_HEADER_BYTES;
use crate::chunk::safetensors::Dtype;
use crate::error::{Error, Problem, Result, printable};
use crate::format::seams::LAYOUT_SAFETENSORS;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::file::Stretches;
use crate::repo::model::Tensor;
use crate::repo::reader::Reader;
use crate::repo::weights::Weights;
use crate::source::choose;

/// Longest header that readers of the format take, the eight bytes of its length not counted.
const MAX_JSON_BYTES: usize = 100_000_000;
/// The key of a header that is no tensor.
const METADATA: &str = "__metadata__";

/// As what tensors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorFormat {
    /// The bytes of exactly one, nothing else.
    Raw,
    /// A safetensors file.
    Safetensors,
}

/// What to write.
#[derive(Debug, Clone)]
pub struct TensorOptions {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Absolute path inside it, of a model: see [`crate::repo::model::Model::find`].
    pub path: Vec<u8>,
    /// Names of tensors ([`choose`]).
    pub tensors: Vec<String>,
    /// As what.
    pub format: TensorFormat,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct TensorReport {
    /// How many tensors.
    pub tensors: u64,
    /// All that was written, a header included.
    pub bytes: u64,
}

/// Writes tensors to `out`. What `out` refuses is [`Error::Io`] with the kind it gave.
///
/// # Errors
/// [`Error::Usage`] where there is no model, or what was chosen cannot be written so; [`Error::NotFound`] if a
/// pattern fits nothing; [`Error::Lost`]; those of reading. After any error the output is not whole.
pub fn tensors(
    repo: &Repository,
    options: &TensorOptions,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<TensorReport> {
    let root = repo.snapshot(options.snapshot)?.record.root;
    let reader = Arc::new(Reader::open(repo)?);
    let weights = Weights::find(&reader, root, &options.path)?;
    let model = weights.model();
    let names: Vec<&[u8]> = model.tensors.iter().map(|tensor| &tensor.name[..]).collect();
    let chosen = choose(&names, &options.tensors, &model.path)?;
    let mut chosen: Vec<&Tensor> = chosen.into_iter().map(|number| &model.tensors[number]).collect();
    let header = match (options.format, &chosen[..]) {
        (TensorFormat::Raw, [_]) => Vec::new(),
        (TensorFormat::Raw, all) => {
            return Err(Error::Usage(format!("{}: {} tensors fit", printable(&model.path), all.len())));
        }
        (TensorFormat::Safetensors, _) => {
            let widths = chosen.iter().map(|tensor| width(tensor)).collect::<Result<Vec<u64>>>()?;
            let mut order: Vec<(&Tensor, u64)> = chosen.into_iter().zip(widths).collect();
            order.sort_by_key(|(_, width)| std::cmp::Reverse(*width));
            chosen = order.into_iter().map(|(tensor, _)| tensor).collect();
            header(&chosen, source_format(&weights, &chosen).as_deref())?
        }
    };
    let sizes = model.shards.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.node.size));
    if chosen.iter().fold(0, |sum: u64, t| sum.saturating_add(t.len)) / MAX_SHARED > sizes {
        return Err(Error::corrupt(printable(&model.path), "its tensors lie on one another"));
    }
    let mut stretches = Stretches::default();
    for tensor in &chosen {
        stretches.add(weights.file(tensor.shard)?, tensor.offset, tensor.len)?;
    }
    for shard in chosen.iter().map(|tensor| tensor.shard).collect::<BTreeSet<_>>() {
        let shard = &model.shards[shard];
        say_marks(&shard.node, &mut |kind, message| {
            progress.problem(&Problem::new(kind, printable(&shard.path), message));
        });
    }
    let bytes = chosen.iter().fold(header.len() as u64, |sum, tensor| sum.saturating_add(tensor.len));
    progress.phase("dumping", Some(chosen.len() as u64), Some(bytes));
    progress.unit("tensors");
    out.write_all(&header).map_err(refused)?;
    stretches.stream(&reader, progress, &mut |bytes| out.write_all(bytes).map_err(refused))?;
    out.flush().map_err(refused)?;
    let tensors = chosen.len() as u64;
    progress.advance(tensors, header.len() as u64);
    Ok(TensorReport { tensors, bytes })
}

/// Tensors may be so many times as long as their files: some share their bytes. A table that says more lies.
const MAX_SHARED: u64 = 16;

/// Bits of an element, if such a file can have the tensor.
fn width(tensor: &Tensor) -> Result<u64> {
    let refuse = |why: String| Err(Error::Usage(format!("tensor {} {why}", printable(&tensor.name))));
    let word = std::str::from_utf8(&tensor.dtype).ok();
    let Some(dtype) = word.and_then(Dtype::from_word) else {
        return refuse(format!("is of type {}, which safetensors does not have", printable(&tensor.dtype)));
    };
    match std::str::from_utf8(&tensor.name) {
        Ok(METADATA) => refuse("has a name that safetensors has for something else".into()),
        Err(_) => refuse("has a name that is no UTF-8, as safetensors wants it".into()),
        Ok(_) if dtype.bytes_of(&tensor.shape) != Some(tensor.len) => {
            refuse(format!("has {} bytes, which are not those of its type and shape", tensor.len))
        }
        Ok(_) => Ok(dtype.bits()),
    }
}

/// An entry of the header.
#[derive(Serialize)]
struct Described<'t> {
    dtype: &'t str,
    shape: &'t [u64],
    data_offsets: [u64; 2],
}

/// The header of a file of these tensors, in this order, with its length before it.
fn header(tensors: &[&Tensor], format: Option<&str>) -> Result<Vec<u8>> {
    let failed = |e: serde_json::Error| Error::Internal(format!("a header: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut json = b"{".to_vec();
    if let Some(format) = format {
        serde_json::to_writer(&mut json, METADATA).map_err(failed)?;
        json.push(b':');
        serde_json::to_writer(&mut json, &serde_json::json!({ "format": format })).map_err(failed)?;
    }
    let (mut names, mut at) = (HashSet::new(), 0u64);
    for tensor in tensors {
        let (name, dtype) = (text(&tensor.name), text(&tensor.dtype));
        let end = at.checked_add(tensor.len).ok_or_else(|| Error::Usage("too much for one file".into()))?;
        if !names.insert(&tensor.name) {
            return Err(Error::Usage(format!("tensor {} is there twice", printable(&tensor.name))));
        }
        if json.len() > 1 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, &name).map_err(failed)?;
        json.push(b':');
        let entry = Described { dtype: &dtype, shape: &tensor.shape, data_offsets: [at, end] };
        serde_json::to_writer(&mut json, &entry).map_err(failed)?;
        at = end;
    }
    json.push(b'}');
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() > MAX_JSON_BYTES {
        return Err(Error::Usage(format!("{} tensors are too many for one file", tensors.len())));
    }
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

/// What of a header's metadata counts: libraries ask whose arrays these were, and refuse a file that does not say.
#[derive(Deserialize)]
struct Lead {
    #[serde(rename = "__metadata__")]
    metadata: LeadMetadata,
}

#[derive(Deserialize)]
struct LeadMetadata {
    format: String,
}

/// The `format` that the first of their files names, if it does.
fn source_format(weights: &Weights, tensors: &[&Tensor]) -> Option<String> {
    let shard = tensors.first()?.shard;
    let of = weights.model().shards.get(shard).filter(|of| of.layout == LAYOUT_SAFETENSORS)?;
    let file = weights.file(shard).ok()?;
    let mut length = [0; 8];
    file.read_at(0, &mut length).ok()?;
    let len = usize::try_from(u64::from_le_bytes(length)).ok().filter(|len| *len <= MAX_HEADER_BYTES)?;
    if len as u64 > of.node.size {
        return None;
    }
    let mut json = vec![0; len];
    file.read_at(length.len() as u64, &mut json).ok()?;
    serde_json::from_slice::<Lead>(&json).ok().map(|lead| lead.metadata.format)
}
