//! `delta`, version 2: units of a database against units of older copies, by grains of 4 KiB
//! (`docs/format.md`, "Delta by grains").
//!
//! Most pages of a changed unit are what they were: those are named in runs, and only the others are
//! coded, together, with the old grains that they resemble as prefix. So a strong coder costs little, and who
//! decodes a long chain moves no page that did not change: see [`Recipe`], which says where every
//! grain comes from without touching one.

mod recipe;

use super::delta::prefix::{self, Effort};
use super::zstd as plain_zstd;
use crate::error::Malformed;
use crate::format::bytes::Take;
pub use recipe::Draft;
use recipe::{steps, take_varint, varint};

/// Version of the delta encoding that this is.
pub const VERSION: u8 = 2;
/// Bytes of a grain; the last of a blob may be shorter.
pub const GRAIN_BYTES: usize = 4096;
/// A grain that stands in the frame itself.
pub const NEW: u32 = u32::MAX;
/// Most grains of old content before the new.
pub const MAX_PREFIX_GRAINS: usize = 2048;
/// Grains of a frame, and of a prefix that is read.
const MAX_GRAINS: usize = 4096;
/// Grains that the bases of one frame may have: 64 GiB.
const MAX_BASE_GRAINS: u64 = 1 << 24;
/// Runs of one recipe: none needs more than two a grain and two more.
const MAX_RECIPE_BYTES: usize = 1 << 17;

/// Grains of so many bytes.
pub fn grains_of(len: usize) -> usize {
    len.div_ceil(GRAIN_BYTES)
}

/// Where a frame's grains come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe<'e> {
    /// For each grain of the plaintext the grain of the bases that it is, or [`NEW`]. Grains of bases
    /// are numbered through, each base beginning with a grain of its own.
    pub grains: Vec<u32>,
    /// Grains of the bases that are the prefix, in order.
    pub prefix: Vec<u32>,
    /// Bytes of the new grains.
    pub new_bytes: usize,
    stream: &'e [u8],
}

/// Codes `new`, the new grains of a draft one after the other, after `prefix`, the bytes of
/// [`Draft::prefix`]; into `out` (cleared first). `false` if zstd refuses.
pub fn encode(draft: &Draft, new: &[u8], prefix: &[u8], level: i32, out: &mut Vec<u8>) -> bool {
    out.clear();
    let recipe = draft.write();
    let mut packed = Vec::new();
    let is_packed = plain_zstd::compress(&recipe, 9, &mut packed) && packed.len() < recipe.len();
    let head = if is_packed { &packed } else { &recipe };
    varint(recipe.len() as u64, out);
    varint(if is_packed { packed.len() as u64 } else { 0 }, out);
    out.extend_from_slice(head);
    // Tables that cover both, else what stands far back would not be found.
    let window = prefix::window_log(new.len() + prefix.len());
    let effort = Effort { level, hash_log: window.clamp(12, 21), chain_log: window.clamp(12, 22) };
    new.is_empty() || prefix::compress_with(new, prefix, effort, out)
}

impl<'e> Recipe<'e> {
    /// Of a frame's bytes. `bases` are the lengths of its bases' blobs in order, `plain_len` that of its
    /// plaintext.
    pub fn read(encoded: &'e [u8], bases: &[u32], plain_len: usize) -> Result<Self, Malformed> {
        let wanted = grains_of(plain_len);
        if wanted > MAX_GRAINS {
            return Err(Malformed::new("has more grains than a frame may have"));
        }
        let base_grains = bases.iter().map(|len| grains_of(*len as usize) as u64).sum::<u64>();
        if base_grains > MAX_BASE_GRAINS {
            return Err(Malformed::new("has bases over the limit"));
        }
        let mut take = Take(encoded);
        let (len, packed) = (take_varint(&mut take)?, take_varint(&mut take)?);
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_RECIPE_BYTES);
        let len = len.ok_or_else(|| Malformed::new("has too long a recipe"))?;
        let mut unpacked = Vec::new();
        let text = if packed == 0 {
            take.bytes(len)?
        } else {
            let packed = usize::try_from(packed).map_err(|_| Malformed::new("has too long a recipe"))?;
            unpacked.resize(len, 0);
            plain_zstd::decompress(take.bytes(packed)?, &mut unpacked)?;
            &unpacked
        };
        let (far, grains, near) = steps(text, wanted, base_grains)?;
        let prefix = [far, near].concat();
        if prefix.len() > MAX_GRAINS {
            return Err(Malformed::new("has too much of a prefix"));
        }
        let short = plain_len % GRAIN_BYTES;
        let new = grains.iter().filter(|grain| **grain == NEW).count();
        let ends_new = grains.last() == Some(&NEW) && short > 0;
        let new_bytes = new * GRAIN_BYTES - if ends_new { GRAIN_BYTES - short } else { 0 };
        Ok(Self { grains, prefix, new_bytes, stream: take.0 })
    }

    /// The new grains, one after the other. `prefix` are the bytes of [`Recipe::prefix`].
    pub fn new_grains(&self, prefix: &[u8], out: &mut [u8]) -> Result<(), Malformed> {
        debug_assert_eq!(out.len(), self.new_bytes);
        if out.is_empty() {
            return if self.stream.is_empty() {
                Ok(())
            } else {
                Err(Malformed::new("has bytes of no grain"))
            };
        }
        prefix::decompress(self.stream, prefix, out)
    }
}

/// Decodes into exactly `out`. `bases` are the lengths of the bases' blobs; `grain` gives the bytes of one of
/// their grains.
pub fn decode<'b>(
    encoded: &[u8],
    bases: &[u32],
    grain: impl Fn(u32) -> Option<&'b [u8]>,
    out: &mut [u8],
) -> Result<(), Malformed> {
    let recipe = Recipe::read(encoded, bases, out.len())?;
    let get =
        |number| grain(number).ok_or_else(|| Malformed::new("names a grain that its bases do not have"));
    let mut prefix = Vec::with_capacity(recipe.prefix.len() * GRAIN_BYTES);
    for number in &recipe.prefix {
        prefix.extend_from_slice(get(*number)?);
    }
    let mut new = vec![0; recipe.new_bytes];
    recipe.new_grains(&prefix, &mut new)?;
    let mut new = new.chunks(GRAIN_BYTES);
    for (number, to) in recipe.grains.iter().zip(out.chunks_mut(GRAIN_BYTES)) {
        let from = if *number == NEW { new.next() } else { Some(get(*number)?) };
        let from = from.filter(|from| from.len() == to.len());
        to.copy_from_slice(from.ok_or_else(|| Malformed::new("copies a grain of another length"))?);
    }
    Ok(())
}

/// Grains of whole bases, one base after the other, each from a grain of its own.
pub struct BaseGrains<'b> {
    bases: &'b [&'b [u8]],
    /// Number of each base's first grain.
    first: Vec<u32>,
}

impl<'b> BaseGrains<'b> {
    /// Of these.
    pub fn new(bases: &'b [&'b [u8]]) -> Self {
        let mut next = 0u32;
        let first = bases.iter().map(|base| {
            let first = next;
            next = next.saturating_add(u32::try_from(grains_of(base.len())).unwrap_or(u32::MAX));
            first
        });
        Self { bases, first: first.collect() }
    }

    /// One of them.
    pub fn get(&self, grain: u32) -> Option<&'b [u8]> {
        // Of bases that share a number all but the last are empty.
        let at = self.first.partition_point(|first| *first <= grain).checked_sub(1)?;
        let from = (grain - self.first[at]) as usize * GRAIN_BYTES;
        let base = self.bases[at];
        base.get(from..(from + GRAIN_BYTES).min(base.len())).filter(|bytes| !bytes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    fn lens(bases: &[&[u8]]) -> Vec<u32> {
        bases.iter().map(|b| u32::try_from(b.len()).unwrap()).collect()
    }

    /// Codes and decodes `plain`; gives the length.
    fn round(plain: &[u8], draft: &Draft, bases: &[&[u8]]) -> usize {
        let base = BaseGrains::new(bases);
        let bytes = |numbers: &[u32]| numbers.iter().flat_map(|n| base.get(*n).unwrap()).copied().collect();
        let prefix: Vec<u8> = bytes(&draft.prefix());
        let new = plain.chunks(GRAIN_BYTES).zip(&draft.grains).filter(|(_, g)| **g == NEW);
        let new: Vec<u8> = new.flat_map(|(bytes, _)| bytes).copied().collect();
        let mut out = Vec::new();
        assert!(encode(draft, &new, &prefix, 9, &mut out));
        let recipe = Recipe::read(&out, &lens(bases), plain.len()).unwrap();
        assert_eq!((&recipe.grains, recipe.prefix), (&draft.grains, draft.prefix()));
        let mut back = vec![0; plain.len()];
        decode(&out, &lens(bases), |n| base.get(n), &mut back).unwrap();
        assert!(back == plain);
        out.len()
    }

    #[test]
    fn what_did_not_change_costs_nothing() {
        let (a, b) = (noise(1, 16 * GRAIN_BYTES), noise(2, 3 * GRAIN_BYTES + 100));
        let mut plain = [&a[..], &b].concat();
        plain[5 * GRAIN_BYTES + 7] ^= 1;
        plain[5 * GRAIN_BYTES + 900] ^= 1;
        // One grain is replaced, one moved here from elsewhere.
        plain.splice(9 * GRAIN_BYTES..10 * GRAIN_BYTES, noise(3, GRAIN_BYTES));
        let mut draft = Draft { grains: (0..20).collect(), near: vec![NEW; 20], far: vec![20] };
        for (at, near) in [(5, 5), (9, NEW)] {
            (draft.grains[at], draft.near[at]) = (NEW, near);
        }
        let elsewhere = noise(3, GRAIN_BYTES);
        assert!(round(&plain, &draft, &[&a, &b, &elsewhere]) < 100);
        draft.far.clear();
        assert!(round(&plain, &draft, &[&a, &b, &elsewhere]) > GRAIN_BYTES);
    }

    #[test]
    fn grains_of_bases_are_numbered_through() {
        let (a, b) = (noise(1, GRAIN_BYTES + 1), noise(2, 10));
        let bases: [&[u8]; 4] = [&a, &[], &b, &[]];
        let grains = BaseGrains::new(&bases);
        assert_eq!(grains.get(1), Some(&a[GRAIN_BYTES..]));
        assert_eq!((grains.get(2), grains.get(3)), (Some(&b[..]), None));
        assert_eq!(BaseGrains::new(&[]).get(0), None);
    }

    #[test]
    fn lies_are_errors() {
        let base = noise(1, 4 * GRAIN_BYTES);
        let bases: [&[u8]; 1] = [&base];
        let draft = Draft { grains: vec![0, 1, NEW, 3], near: vec![NEW, NEW, 2, NEW], far: vec![1] };
        let mut plain = base.clone();
        plain[2 * GRAIN_BYTES] ^= 9;
        let mut out = Vec::new();
        let prefix = [&base[GRAIN_BYTES..2 * GRAIN_BYTES], &base[2 * GRAIN_BYTES..3 * GRAIN_BYTES]].concat();
        assert!(encode(&draft, &plain[2 * GRAIN_BYTES..3 * GRAIN_BYTES], &prefix, 3, &mut out));
        let try_with = |encoded: &[u8], bases: &[&[u8]], len: usize| {
            let grains = BaseGrains::new(bases);
            decode(encoded, &lens(bases), |n| grains.get(n), &mut vec![0; len])
        };
        assert!(try_with(&out, &bases, plain.len()).is_ok());
        assert!(try_with(&out, &[], plain.len()).is_err());
        assert!(try_with(&out, &[&base[..2 * GRAIN_BYTES]], plain.len()).is_err());
        assert!(try_with(&out, &[&base[..3 * GRAIN_BYTES + 9]], plain.len()).is_err(), "a short grain");
        for len in [0, plain.len() - GRAIN_BYTES, plain.len() - 1, plain.len() + 1] {
            assert!(try_with(&out, &bases, len).is_err(), "{len}");
        }
        for len in 0..out.len() {
            assert!(try_with(&out[..len], &bases, plain.len()).is_err(), "{len}");
        }
        // A recipe that promises more than it may.
        for recipe in [
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..],
            &[1, 0, 0xff, 0xff, 3, 0],
            &[0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            let mut bytes = Vec::new();
            varint(recipe.len() as u64, &mut bytes);
            bytes.extend_from_slice(&[&[0], recipe].concat());
            assert!(try_with(&bytes, &bases, plain.len()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_draft_comes_back(
            steps in proptest::collection::vec((0u32..5, 0u32..40), 1..60),
            far in proptest::collection::btree_set(0u32..40, 0..20),
            seed in 0u8..4,
        ) {
            let base = noise(seed, 40 * GRAIN_BYTES);
            let (mut draft, mut plain) = (Draft { far: far.into_iter().collect(), ..Draft::default() }, Vec::new());
            for (kind, grain) in steps {
                let old = &base[grain as usize * GRAIN_BYTES..][..GRAIN_BYTES];
                let (source, near) = match kind {
                    0 => (NEW, NEW),
                    1 => (NEW, grain),
                    _ => (grain, NEW),
                };
                let mut bytes = old.to_vec();
                bytes[0] ^= u8::from(source == NEW);
                plain.extend(bytes);
                draft.grains.push(source);
                draft.near.push(near);
            }
            round(&plain, &draft, &[&base[..GRAIN_BYTES * 7], &base[GRAIN_BYTES * 7..]]);
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            lens in proptest::collection::vec(0u32..100_000, 0..6),
            plain in 0usize..100_000,
        ) {
            drop(Recipe::read(&bytes, &lens, plain));
            let head = [&[bytes.len() as u8 & 0x7f, 0][..], &bytes].concat();
            drop(decode(&head, &lens, |_| Some(&[0; GRAIN_BYTES][..]), &mut vec![0; plain]));
        }
    }
}
