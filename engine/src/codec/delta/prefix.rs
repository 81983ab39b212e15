//! zstd with old content before the new (`docs/format.md`, "Delta", method 1): what stands there
//! already is named by its distance. For databases, text, lists and trees.
//!
//! zstd sizes its window and its table of matches for the new bytes alone: with the small table of
//! level 1 the old content is forgotten before it is of use, and a day of a database costs thirty
//! times as much. Both are set here so that they cover old and new together.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound};

use crate::codec::zstd::one_frame;
use crate::error::Malformed;

/// Most bytes of old content that one frame refers to.
pub const MAX_PREFIX_BYTES: usize = 8 << 20;

/// Positions of old and new content to an entry of the match table, as a power of two. What was found
/// is followed to both sides, so a sparse table finds nearly as much and is filled sooner; but zstd
/// forgets all of a prefix but its last eight bytes for each entry.
const SPARSE_LOG: u32 = 3;
/// Below this an entry for every position costs nothing.
const SMALL_TABLE_LOG: u32 = 17;
/// Up to this much, old and new together, a slower search of what is new is cheap enough.
const SMALL_BYTES: usize = 256 << 10;

/// The bases one after the other: where they stand if there is one, else copied into `joined`.
/// `None` if there are none, or too much of them.
pub fn join<'a>(bases: &[&'a [u8]], joined: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let total = bases.iter().try_fold(0usize, |sum, base| sum.checked_add(base.len()))?;
    match *bases {
        _ if total > MAX_PREFIX_BYTES => None,
        [] => None,
        [base] => Some(base),
        _ => {
            joined.clear();
            joined.reserve_exact(total);
            bases.iter().for_each(|base| joined.extend_from_slice(base));
            Some(joined)
        }
    }
}

/// How hard zstd looks for matches: its level, and the entries of its two tables as powers of two.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub level: i32,
    pub hash_log: u32,
    pub chain_log: u32,
}

/// The window, as a power of two, that covers so many bytes.
pub fn window_log(bytes: usize) -> u32 {
    bytes.max(1).next_power_of_two().trailing_zeros().clamp(10, 27)
}

/// One zstd frame of `plain` after `prefix`, appended to `out`. `false` if zstd refuses.
pub fn compress(plain: &[u8], prefix: &[u8], out: &mut Vec<u8>) -> bool {
    let total = prefix.len() + plain.len();
    let window = window_log(total);
    let table = window.min(SMALL_TABLE_LOG.max(window.saturating_sub(SPARSE_LOG)));
    let level = if total <= SMALL_BYTES { 3 } else { 1 };
    compress_with(plain, prefix, Effort { level, hash_log: table, chain_log: table }, out)
}

/// The same, with more or less effort.
///
/// The two do not overlap in memory: zstd would take no notice of the prefix. A context is made for every call:
/// it borrows the prefix, and its tables are cleared anyway.
pub fn compress_with(plain: &[u8], prefix: &[u8], effort: Effort, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut ctx = CCtx::create();
    let parameters = [
        CParameter::CompressionLevel(effort.level),
        CParameter::WindowLog(window_log(prefix.len() + plain.len())),
        CParameter::HashLog(effort.hash_log),
        CParameter::ChainLog(effort.chain_log),
        CParameter::ChecksumFlag(false),
        CParameter::ContentSizeFlag(true),
    ];
    if parameters.into_iter().any(|p| ctx.set_parameter(p).is_err()) || ctx.ref_prefix(prefix).is_err() {
        return false;
    }
    out.resize(start + compress_bound(plain.len()), 0);
    let made = ctx.compress2(&mut out[start..], plain);
    out.truncate(start + made.unwrap_or(0));
    made.is_ok()
}

/// Decompresses exactly one frame into exactly `out`.
pub fn decompress(encoded: &[u8], prefix: &[u8], out: &mut [u8]) -> Result<(), Malformed> {
    one_frame(encoded)?;
    let failed = |code| Malformed::new(format!("zstd: {}", zstd::zstd_safe::get_error_name(code)));
    let mut ctx = DCtx::create();
    ctx.ref_prefix(prefix).map_err(failed)?;
    let wanted = out.len();
    let made = ctx.decompress(out, encoded).map_err(failed)?;
    if made == wanted {
        Ok(())
    } else {
        Err(Malformed::new(format!("decodes to {made} bytes where {wanted} are stated")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    fn cost(plain: &[u8], prefix: &[u8]) -> usize {
        let mut out = vec![7];
        assert!(compress(plain, prefix, &mut out));
        let mut back = vec![0; plain.len()];
        decompress(&out[1..], prefix, &mut back).unwrap();
        assert_eq!(back, plain);
        out.len() - 1
    }

    #[test]
    fn what_stood_there_costs_next_to_nothing() {
        for len in [1000, 60_000, 300_000, 1 << 20, 8 << 20] {
            let old = noise(1, len);
            let mut new = old.clone();
            new[len / 2] ^= 1;
            let made = cost(&new, &old);
            assert!(made < 60 + len / 8192, "{made} for {len}");
            // Moved, and longer than before.
            let moved = [&old[len / 2..], &noise(2, 300), &old[..len / 2], &old].concat();
            let made = cost(&moved, &old);
            assert!(made < 500 + len / 2048, "{made} for {len}");
        }
        // All of a long prefix is in reach of a short text.
        let old = noise(1, 8 << 20);
        for at in [0, 1 << 20, 4 << 20, (8 << 20) - 20_000] {
            let new = [&old[at..at + 20_000]].concat();
            assert!(cost(&new, &old) < 200, "{at}");
        }
    }

    #[test]
    fn a_changed_entry_of_a_list_costs_that_entry() {
        // Entries of 44 bytes of which 40 are like noise: a tree or a list, 200 KB of it.
        let entry = |i: u32, seed: u8| {
            [&i.to_le_bytes()[..], &noise(seed, 40 * 4600)[i as usize * 40..][..40]].concat()
        };
        let old: Vec<u8> = (0..4600).flat_map(|i| entry(i, 1)).collect();
        let new: Vec<u8> = (0..4600).flat_map(|i| entry(i, if i == 2000 { 9 } else { 1 })).collect();
        assert!(cost(&new, &old) < 100);
    }

    #[test]
    fn empty_things_come_back() {
        cost(&[], &[]);
        cost(&[], b"old");
        cost(b"new", &[]);
    }

    #[test]
    fn another_prefix_is_found_out_or_harmless() {
        let old = noise(1, 100_000);
        let mut out = Vec::new();
        assert!(compress(&old.clone(), &old, &mut out));
        let mut back = vec![0; old.len()];
        // Of the same length: other bytes, which the id tells. Shorter: an error.
        decompress(&out, &noise(3, 100_000), &mut back).unwrap();
        assert!(back != old);
        assert!(decompress(&out, &old[..10], &mut back).is_err());
        assert!(decompress(&out, &[], &mut back).is_err());
    }

    #[test]
    fn bases_are_joined_within_the_limit() {
        let mut joined = Vec::new();
        assert_eq!(join(&[], &mut joined), None);
        assert_eq!(join(&[b"ab"], &mut joined), Some(&b"ab"[..]));
        assert_eq!(join(&[b"ab", b"", b"c"], &mut joined), Some(&b"abc"[..]));
        let big = vec![0; MAX_PREFIX_BYTES];
        assert_eq!(join(&[&big], &mut joined).map(<[u8]>::len), Some(MAX_PREFIX_BYTES));
        assert_eq!(join(&[&big, b"c"], &mut joined), None);
    }
}
