//! `delta`: against the bytes that a frame's edges name (`docs/format.md`, "Delta").
//!
//! The first byte says the method; what it is worth is tried, never assumed: a delta is stored only
//! where it is shorter than the plaintext encoded alone.

mod prefix;

use std::cell::RefCell;

use crate::codec::{CODEC_VERSION, Encoded, encode};
use crate::error::Malformed;
use crate::format::frame::Encoding;

/// zstd with the bases, one after the other, as prefix.
const METHOD_PREFIX: u8 = 1;

/// What is known of the plaintext before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint {
    /// Its elements, from a dtype.
    pub element: Element,
}

impl Hint {
    /// Nothing is known.
    pub const NONE: Self = Self { element: Element::Unknown };
}

/// An element of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Element {
    /// Not known, or not numbers.
    #[default]
    Unknown,
    /// bfloat16.
    Bf16,
    /// IEEE 754 half.
    F16,
    /// IEEE 754 single.
    F32,
    /// Other numbers, of so many bytes.
    Bytes(u8),
}

#[derive(Default)]
struct Scratch {
    alone: Vec<u8>,
    joined: Vec<u8>,
    other: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Encodes `plain` against `bases`, likeliest first, into `out` (cleared first). `None` when nothing
/// is shorter than `plain` encoded alone; else also how many of the bases, from the first, a
/// decoder needs: only these are to become edges.
pub fn encode_delta(
    plain: &[u8],
    bases: &[&[u8]],
    hint: Hint,
    out: &mut Vec<u8>,
) -> Option<(Encoded, usize)> {
    out.clear();
    let _ = hint;
    if plain.is_empty() || bases.iter().all(|base| base.is_empty()) {
        return None;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let used = prefixed(plain, bases, scratch, out)?;
        // What it costs alone is the measure.
        let alone = encode(plain, &mut scratch.alone);
        let alone_len = if alone.encoding == Encoding::Raw { plain.len() } else { scratch.alone.len() };
        (out.len() < alone_len)
            .then_some((Encoded { encoding: Encoding::Delta, codec_version: CODEC_VERSION }, used))
    })
}

/// After the first base, and after all of them where that gains: how many are used.
fn prefixed(plain: &[u8], bases: &[&[u8]], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    for count in [1, bases.len()] {
        if count == used {
            break;
        }
        let Some(joined) = prefix::join(&bases[..count], &mut scratch.joined) else { break };
        scratch.other.clear();
        scratch.other.push(METHOD_PREFIX);
        // A further base is a further read at restore: it has to be worth that.
        if prefix::compress(plain, joined, &mut scratch.other)
            && (used == 0 || scratch.other.len() + 64 < out.len() - out.len() / 32)
        {
            std::mem::swap(out, &mut scratch.other);
            used = count;
        }
    }
    (used > 0).then_some(used)
}

/// Decodes into exactly `out`, against exactly the bases that were used.
pub fn decode(encoded: &[u8], bases: &[&[u8]], out: &mut [u8]) -> Result<(), Malformed> {
    let (method, rest) = encoded.split_first().ok_or_else(|| Malformed::new("a delta without a method"))?;
    match *method {
        METHOD_PREFIX => SCRATCH.with_borrow_mut(|scratch| {
            let joined = prefix::join(bases, &mut scratch.joined)
                .ok_or_else(|| Malformed::new("a delta against no bases, or too much of them"))?;
            prefix::decompress(rest, joined, out)
        }),
        other => Err(Malformed::new(format!("a delta of method {other}, which this program does not know"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(plain: &[u8], bases: &[&[u8]], hint: Hint) -> Option<(usize, usize)> {
        let mut out = vec![1, 2, 3];
        let (how, used) = encode_delta(plain, bases, hint, &mut out)?;
        assert_eq!(how, Encoded { encoding: Encoding::Delta, codec_version: CODEC_VERSION });
        let mut back = vec![0xaa; plain.len()];
        crate::codec::decode(how.encoding as u8, how.codec_version, &out, &bases[..used], &mut back).unwrap();
        assert_eq!(back, plain);
        let mut alone = Vec::new();
        let how = encode(plain, &mut alone);
        assert!(out.len() < if how.encoding == Encoding::Raw { plain.len() } else { alone.len() });
        Some((out.len(), used))
    }

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn only_what_gains_is_used() {
        let (a, b) = (noise(1, 300_000), noise(2, 300_000));
        assert_eq!(round(&a, &[], Hint::NONE), None);
        assert_eq!(round(&a, &[&[]], Hint::NONE), None);
        assert_eq!(round(&[], &[&a], Hint::NONE), None);
        assert_eq!(round(&a, &[&b], Hint::NONE), None);
        let (len, used) = round(&a.clone(), &[&a, &b], Hint::NONE).unwrap();
        assert!(len < 200 && used == 1, "{len}, {used}");
        let both = [&a[..150_000], &b[..150_000]].concat();
        let (len, used) = round(&both, &[&a, &b], Hint::NONE).unwrap();
        assert!(len < 300 && used == 2, "{len}, {used}");
    }

    #[test]
    fn lies_are_errors() {
        let (base, mut out) = (noise(1, 50_000), Vec::new());
        let plain = [&base[..], b"more"].concat();
        encode_delta(&plain, &[&base], Hint::NONE, &mut out).unwrap();
        let made =
            |bytes: &[u8], bases: &[&[u8]], len: usize| decode(bytes, bases, &mut vec![0; len]).is_ok();
        assert!(made(&out, &[&base], plain.len()));
        for len in [0, 1, plain.len() - 1, plain.len() + 1] {
            assert!(!made(&out, &[&base], len), "{len}");
        }
        for cut in 0..out.len() {
            assert!(!made(&out[..cut], &[&base], plain.len()), "{cut}");
        }
        assert!(!made(&[&out[..], b"x"].concat(), &[&base], plain.len()));
        assert!(!made(&out, &[], plain.len()));
        for method in (0..=255u8).filter(|m| *m != out[0]) {
            assert!(!made(&[&[method], &out[1..]].concat(), &[&base], plain.len()), "method {method}");
        }
        let mut room = vec![0; plain.len()];
        assert!(crate::codec::decode(3, 2, &out, &[&base], &mut room).is_err());
    }

    proptest! {
        #[test]
        fn anything_comes_back(
            plain in proptest::collection::vec(any::<u8>(), 0..600),
            bases in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..4),
            copied in 0usize..600,
        ) {
            let mut plain = plain;
            if let Some(base) = bases.last() {
                plain.extend_from_slice(&base[..copied.min(base.len())]);
            }
            let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
            round(&plain, &bases, Hint::NONE);
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            method in 0u8..4,
            bases in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
            len in 0usize..300,
        ) {
            let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
            drop(decode(&[&[method], &bytes[..]].concat(), &bases, &mut vec![0; len]));
        }
    }
}
