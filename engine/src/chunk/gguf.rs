//! GGUF: where the tensors of such a file are (`docs/format.md`, "Regions of models").
//!
//! ```text
//! "GGUF" | version u32 | tensors u64 | pairs u64 | pairs of key and value | name, dimensions, type and
//! offset of each tensor | zeros to the alignment | tensors, each begun on the alignment
//! ```
//! Numbers are little endian. Values are passed over, but for the alignment. All in front of the
//! tensors must lie in the leading bytes; every count is bounded by the bytes that are left, as each
//! thing counted takes at least one.

mod types;

pub use types::rule;

use super::layout::{MAX_TENSORS, Tensor};
use types::Type;

/// First bytes.
pub const MAGIC: &[u8] = b"GGUF";
/// Dimensions of a tensor of ggml.
const MAX_DIMENSIONS: u32 = 4;
/// Arrays in arrays: none are known; some are passed over.
const MAX_DEPTH: u32 = 4;
/// Where no pair says otherwise.
const ALIGNMENT: u32 = 32;

/// Tensors of a file of `size` bytes that begins with `first`: by the order of their offsets, without
/// overlaps.
pub fn tensors(first: &[u8], size: u64) -> Option<Vec<Tensor>> {
    let mut take = Take(first.strip_prefix(MAGIC)?);
    if !matches!(take.u32()?, 2 | 3) {
        return None;
    }
    let (count, pairs) = (take.u64()?, take.u64()?);
    let count = usize::try_from(count).ok().filter(|count| (1..=MAX_TENSORS).contains(count))?;
    let mut alignment = None;
    for _ in 0..pairs {
        let key = take.text()?;
        let kind = take.u32()?;
        if key == b"general.alignment" {
            let given = if kind == 4 { take.u32()? } else { return None };
            if alignment.replace(given).is_some() || !given.is_power_of_two() {
                return None;
            }
        } else {
            take.pass(kind, MAX_DEPTH)?;
        }
    }
    let mut infos = Vec::new();
    for _ in 0..count {
        infos.push(take.info()?);
    }
    let alignment = u64::from(alignment.unwrap_or(ALIGNMENT));
    let begin = ((first.len() - take.0.len()) as u64).checked_next_multiple_of(alignment)?;
    placed(infos, begin, alignment, size)
}

/// What stands of a tensor in front.
struct Info<'f> {
    name: &'f str,
    /// Outermost first.
    shape: Vec<u64>,
    kind: Option<Type>,
    /// `None`: its type is not known.
    len: Option<u64>,
    /// From where tensors begin.
    offset: u64,
}

/// The tensors, if all lie in the file and none in another. One of unknown type reaches to the next.
fn placed(mut infos: Vec<Info<'_>>, begin: u64, alignment: u64, size: u64) -> Option<Vec<Tensor>> {
    // Of those that begin together the empty ones first, then those of unknown type, which take no room there.
    infos.sort_unstable_by_key(|info| (info.offset, info.len != Some(0), info.len.is_some(), info.name));
    let mut tensors = Vec::with_capacity(infos.len());
    let mut covered = begin;
    let mut infos = infos.into_iter().peekable();
    while let Some(info) = infos.next() {
        if !info.offset.is_multiple_of(alignment) {
            return None;
        }
        let offset = begin.checked_add(info.offset)?;
        let end = match info.len {
            Some(len) => offset.checked_add(len)?,
            None => infos.peek().map_or(Some(size), |next| begin.checked_add(next.offset))?,
        };
        if offset < covered || end > size || end < offset {
            return None;
        }
        covered = end;
        let dtype = info.kind.map_or("", |kind| kind.word);
        let len = end - offset;
        tensors.push(Tensor { name: info.name.to_owned(), dtype, shape: info.shape, offset, len });
    }
    Some(tensors)
}

/// What is left to be read.
struct Take<'f>(&'f [u8]);

impl<'f> Take<'f> {
    fn bytes(&mut self, len: u64) -> Option<&'f [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'f [u8]> {
        let len = self.u64()?;
        self.bytes(len)
    }

    /// Passes over a value.
    fn pass(&mut self, kind: u32, depth: u32) -> Option<()> {
        match kind {
            8 => self.text().map(drop),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                let depth = depth.checked_sub(1)?;
                if let Some(width) = width(kind) {
                    return self.bytes(count.checked_mul(width)?).map(drop);
                }
                (0..count).try_for_each(|_| self.pass(kind, depth))
            }
            kind => self.bytes(width(kind)?).map(drop),
        }
    }

    fn info(&mut self) -> Option<Info<'f>> {
        let name = std::str::from_utf8(self.text()?).ok()?;
        let dimensions = self.u32().filter(|count| *count <= MAX_DIMENSIONS)?;
        let mut shape = (0..dimensions).map(|_| self.u64()).collect::<Option<Vec<u64>>>()?;
        let kind = Type::from_number(self.u32()?);
        let offset = self.u64()?;
        let len = match kind {
            Some(kind) => Some(kind.bytes_of(&shape)?),
            None => None,
        };
        shape.reverse();
        Some(Info { name, shape, kind, len, offset })
    }
}

/// Bytes of a value that is one number.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
