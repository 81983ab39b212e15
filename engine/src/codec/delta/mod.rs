//! `delta`: against the bytes that a frame's edges name (`docs/format.md`, "Delta").
//!
//! The first byte says the method; what it is worth is tried, never assumed: a delta is stored only
//! where it is shorter than the plaintext encoded alone.

mod choose;
mod fields;
mod groups;
mod numbers;
pub(super) mod prefix;
pub(super) mod stream;
mod words;

use std::cell::RefCell;

use crate::codec::estimate::{self, Choice, Look};
use crate::codec::fields::blocks::BlockType;
use crate::codec::{self, CODEC_VERSION, Encoded, encode_as};
use crate::error::Malformed;
use crate::format::bytes::Take;
use crate::format::frame::Encoding;

/// zstd with the bases, one after the other, as prefix.
const METHOD_PREFIX: u8 = 1;
/// Numbers against numbers of one base.
const METHOD_NUMBERS: u8 = 2;
/// Numbers against what two bases let expect.
const METHOD_STEP: u8 = 3;
/// Fields of blocks against those of one base.
const METHOD_FIELDS: u8 = 4;

/// Numbers that would take more than this share of what they take alone: a prefix may do better.
const DOUBTFUL: f64 = 0.9;
/// A delta below this share of the estimate for planes is not compared with the planes themselves,
const SURE_PLANES: f64 = 0.93;
/// nor one below this share of the estimate for zstd, which a sample tells less well.
const SURE_ZSTD: f64 = 0.25;

/// Repetitions, of which a sample sees only its own.
const NEARLY_NOTHING: f64 = 0.1;

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
    /// Blocks of quantised numbers; the first begins where the plaintext does.
    Blocks(BlockType),
}

#[derive(Default)]
struct Scratch {
    alone: Vec<u8>,
    joined: Vec<u8>,
    other: Vec<u8>,
    numbers: numbers::Scratch,
    fields: fields::Scratch,
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
    if plain.is_empty() || bases.iter().all(|base| base.is_empty()) {
        return None;
    }
    let look = estimate::look_as(plain, hint.element);
    SCRATCH.with_borrow_mut(|scratch| {
        let mut used = None;
        let layout = choose::numbers(plain, bases, hint, &look);
        let likely = look.share.unwrap_or(1.0);
        let numbers = layout.map_or(likely, |(_, share)| share.min(likely));
        let fields = choose::fields(plain, bases[0], hint, likely);
        if let Some((layout, share)) = fields.filter(|(_, share)| *share < numbers) {
            out.push(METHOD_FIELDS);
            if fields::encode(plain, bases[0], layout, &mut scratch.fields, out) {
                used = Some(1);
            } else {
                out.clear();
            }
            if share > likely * DOUBTFUL {
                used = prefixed(plain, bases, used, scratch, out);
            }
        } else if let Some((layout, share)) = layout.filter(|(_, share)| *share < likely) {
            out.push(if layout.quarters == 0 { METHOD_NUMBERS } else { METHOD_STEP });
            if numbers::encode(plain, bases, layout, &mut scratch.numbers, out) {
                used = Some(1 + usize::from(layout.quarters > 0));
            } else {
                out.clear();
            }
            if share > likely * DOUBTFUL {
                used = prefixed(plain, bases, used, scratch, out);
            }
        } else {
            used = prefixed(plain, bases, used, scratch, out);
        }
        let shorter = out.len() < plain.len()
            && (surely(plain, &look, out.len()) || shorter_than_alone(plain, hint, out, scratch));
        let how = Encoded { encoding: Encoding::Delta, codec_version: CODEC_VERSION };
        used.filter(|_| shorter).map(|used| (how, used))
    })
}

/// Does the sample alone say that `len` is less than `plain` takes alone?
fn surely(plain: &[u8], look: &Look, len: usize) -> bool {
    let sure = match look.choice {
        Choice::Planes(_) | Choice::Fields(_) | Choice::Literals => SURE_PLANES,
        Choice::Raw => 1.0,
        Choice::Zstd(_) => SURE_ZSTD,
    };
    // What zstd takes to nearly nothing is soon encoded, and a sample does not see how near.
    let by_counts = matches!(look.choice, Choice::Planes(_) | Choice::Fields(_) | Choice::Literals);
    let known = look.share.filter(|share| *share > NEARLY_NOTHING || by_counts);
    known.is_some_and(|share| (len as f64) < plain.len() as f64 * share * sure)
}

fn shorter_than_alone(plain: &[u8], hint: Hint, out: &[u8], scratch: &mut Scratch) -> bool {
    let how = encode_as(plain, hint, &mut scratch.alone);
    how.encoding == Encoding::Raw || out.len() < scratch.alone.len()
}

/// After the first base, and after all of them, where that is shorter than what `out` holds (if
/// `used` says that it does): how many are used.
fn prefixed(
    plain: &[u8],
    bases: &[&[u8]],
    mut used: Option<usize>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Option<usize> {
    for count in [1, bases.len()] {
        if count > 1 && count == used.unwrap_or(1) {
            break;
        }
        let Some(joined) = prefix::join(&bases[..count], &mut scratch.joined) else { break };
        scratch.other.clear();
        scratch.other.push(METHOD_PREFIX);
        // A further base is a further read at restore: it has to be worth that.
        if prefix::compress(plain, joined, &mut scratch.other)
            && used.is_none_or(|used| {
                let worth = if count > used { 64 + out.len() / 32 } else { 0 };
                scratch.other.len() + worth < out.len()
            })
        {
            std::mem::swap(out, &mut scratch.other);
            used = Some(count);
        }
    }
    used
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
        METHOD_NUMBERS | METHOD_STEP => {
            let wanted = 1 + usize::from(*method == METHOD_STEP);
            if bases.len() != wanted {
                return Err(Malformed::new(format!("{} bases where {wanted} are used", bases.len())));
            }
            SCRATCH.with_borrow_mut(|scratch| numbers::decode(rest, bases, &mut scratch.numbers, out))
        }
        METHOD_FIELDS => match bases {
            [base] => SCRATCH.with_borrow_mut(|scratch| fields::decode(rest, base, &mut scratch.fields, out)),
            _ => Err(Malformed::new(format!("{} bases where 1 is used", bases.len()))),
        },
        other => Err(Malformed::new(format!("a delta of method {other}, which this program does not know"))),
    }
}

/// What no base covers, encoded alone.
fn put_tail(tail: &[u8], out: &mut Vec<u8>) {
    if !tail.is_empty() {
        let mut coded = Vec::new();
        let how = codec::encode(tail, &mut coded);
        out.push(how.encoding as u8);
        out.extend_from_slice(if coded.is_empty() { tail } else { &coded });
    }
}

/// Reverse of [`put_tail`]: all that is left to be taken.
fn decode_tail(mut take: Take<'_>, tail: &mut [u8]) -> Result<(), Malformed> {
    if tail.is_empty() {
        return take.end();
    }
    let encoding = take.u8()?;
    // Never a delta again: a frame is one step.
    if encoding == Encoding::Delta as u8 {
        return Err(Malformed::new("a delta whose end is a delta"));
    }
    codec::decode(encoding, CODEC_VERSION, take.0, &[], tail)
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
        let how = encode_as(plain, hint, &mut alone);
        let most = if how.encoding == Encoding::Raw { plain.len() } else { alone.len() };
        assert!(
            out.len() < most,
            "{} {most} {how:?} {hint:?} {:?}",
            out.len(),
            estimate::look_as(plain, hint.element)
        );
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

    /// Weights, and what a step of training makes of them.
    fn weights(count: usize, steps: usize) -> Vec<f32> {
        let sum = |c: &[u8]| c.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>();
        let mut made: Vec<f32> = noise(7, count * 4).chunks_exact(4).map(|c| sum(c) * 4e-4).collect();
        for step in 0..steps {
            for (weight, c) in made.iter_mut().zip(noise(8 + step as u8, count * 2).chunks_exact(2)) {
                *weight += sum(c) * 1e-6 + 3e-4;
            }
        }
        made
    }

    fn bytes(weights: &[f32], element: Element) -> Vec<u8> {
        match element {
            Element::Bf16 => {
                weights.iter().flat_map(|w| ((w.to_bits() >> 16) as u16).to_le_bytes()).collect()
            }
            _ => weights.iter().flat_map(|w| w.to_bits().to_le_bytes()).collect(),
        }
    }

    #[test]
    fn a_step_of_training_costs_little() {
        for (element, most) in [(Element::Bf16, 0.30), (Element::F32, 0.62)] {
            let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(300_000, steps), element));
            for hint in [Hint { element }, Hint::NONE] {
                let (one, used) = round(&new, &[&base], hint).unwrap();
                assert_eq!(used, 1);
                assert!(one < (new.len() as f64 * most) as usize, "{element:?} {one} of {}", new.len());
                let (two, _) = round(&new, &[&base, &older], hint).unwrap();
                assert!(two <= one, "{two} {one}");
            }
        }
        // The second step is much like the first.
        let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(300_000, steps), Element::F32));
        assert_eq!(round(&new, &[&base, &older], Hint { element: Element::F32 }).unwrap().1, 2);
    }

    #[test]
    fn bases_of_other_lengths_serve_as_far_as_they_go() {
        let element = Element::Bf16;
        let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(200_000, steps), element));
        let whole = round(&new, &[&base], Hint { element }).unwrap().0;
        let (half, _) = round(&new, &[&base[..200_001]], Hint { element }).unwrap();
        assert!(half > whole && half < new.len() * 6 / 10, "{half}");
        let longer = [&base[..], &noise(3, 1001)].concat();
        assert_eq!(round(&new, &[&longer], Hint { element }).unwrap().0, whole);
        round(&new, &[&base[..100_000], &older[..50_003]], Hint { element }).unwrap();
        for cut in 1..4 {
            round(&new[..new.len() - cut], &[&base, &older], Hint { element }).unwrap();
            round(&new[cut..], &[&base[cut..]], Hint::NONE).unwrap();
        }
    }

    #[test]
    fn lies_about_numbers_are_errors() {
        let element = Element::Bf16;
        let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(5000, steps), element));
        let (new, mut out) = (&new[..9001], Vec::new());
        let (_, used) = encode_delta(new, &[&base[..8000]], Hint { element }, &mut out).unwrap();
        assert_eq!((used, out[0]), (1, METHOD_NUMBERS));
        let made =
            |bytes: &[u8], bases: &[&[u8]], len: usize| decode(bytes, bases, &mut vec![0; len]).is_ok();
        let base = &base[..8000];
        assert!(made(&out, &[base], new.len()));
        for cut in 0..out.len() {
            assert!(!made(&out[..cut], &[base], new.len()), "{cut}");
        }
        for len in [0, 1, 7999, 8000, new.len() - 1, new.len() + 1] {
            assert!(!made(&out, &[base], len), "{len}");
        }
        assert!(!made(&out, &[], new.len()));
        assert!(!made(&out, &[&base[..1]], new.len()));
        assert!(!made(&out, &[base, &older], new.len()));
        // Whatever a byte says instead, it is refused or decodes to something else, and no more.
        for at in 0..out.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = out.clone();
                bad[at] ^= flip;
                for bases in [&[base][..], &[base, &older]] {
                    made(&bad, bases, new.len());
                }
            }
        }
    }

    #[test]
    fn a_delta_does_not_end_in_a_delta() {
        // Sixteen equal numbers of two bytes, and one byte after them.
        let (base, mut out) = (noise(5, 32), vec![0xaa; 33]);
        let header = [METHOD_NUMBERS, 0, 0, 0, 8];
        let segment = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0];
        let zeros = [0; 16];
        let escapes = [0; 4];
        let good = [&header[..], &segment, &zeros, &escapes, &[Encoding::Raw as u8, 7]].concat();
        decode(&good, &[&base], &mut out).unwrap();
        assert_eq!(out, [&base[..], &[7]].concat());
        for tail in
            [&[Encoding::Delta as u8, METHOD_PREFIX][..], &[Encoding::Delta as u8], &[9, 7], &[0, 7, 7], &[]]
        {
            let bad = [&header[..], &segment, &zeros, &escapes, tail].concat();
            assert!(decode(&bad, &[&base], &mut out).is_err(), "{tail:?}");
        }
    }

    /// All patterns of two bytes, and what is odd among those of four, each against others: NaNs with
    /// payloads, both zeros, infinities, subnormals.
    #[test]
    fn every_pattern_comes_back() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let words =
            |f: &dyn Fn(u16) -> u16| -> Vec<u8> { all.iter().flat_map(|w| f(*w).to_le_bytes()).collect() };
        let new = words(&|w| w);
        let bases: [&dyn Fn(u16) -> u16; 5] =
            [&|w| w ^ 1, &|w| w.wrapping_add(3), &|w| w ^ 0x8000, &|w| w.rotate_left(5), &|w| !w];
        let odd = [
            0u32,
            0x8000_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7f80_0001,
            0x7fc0_1234,
            0xffff_ffff,
            1,
            0x8000_0001,
            0x007f_ffff,
            0x0080_0000,
            0x3f80_0000,
            0x7f7f_ffff,
        ];
        let singles = |turn: usize| -> Vec<u8> {
            (0..40_000).flat_map(|i| odd[(i / 7 + i * turn) % odd.len()].to_le_bytes()).collect()
        };
        let mut shorter = 0;
        for cut in [0, 1, 3] {
            for (base, element) in bases.iter().flat_map(|b| [Element::Bf16, Element::F16].map(|e| (b, e))) {
                let base = words(base);
                shorter += usize::from(round(&new[..new.len() - cut], &[&base], Hint { element }).is_some());
                round(&new[cut..], &[&base[cut..], &new[cut..]], Hint { element });
            }
            for turn in [1, 3] {
                let (new, base) = (singles(0), singles(turn));
                let hint = Hint { element: Element::F32 };
                shorter += usize::from(round(&new[..new.len() - cut], &[&base], hint).is_some());
                round(&new, &[&base[..base.len() - cut], &singles(2)], hint);
            }
        }
        assert!(shorter > 12, "{shorter}: it tells nothing where no difference is made");
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
        fn any_numbers_come_back(
            words in proptest::collection::vec((any::<u32>(), 0u32..9, 0u32..5), 40..3000),
            element in proptest::sample::select(vec![
                Element::Unknown, Element::Bf16, Element::F16, Element::F32,
                Element::Bytes(2), Element::Bytes(4),
            ]),
            cut in 0usize..9,
            zeros in 0u32..2,
        ) {
            // Like words with a step, or with all their bits changed, or odd values.
            let odd = [0x7f80_0000, 0xff80_0001, 0x8000_0000, 0x0000_0001, 0xffff_ffff, 0x7fc0_1234];
            let low = if zeros == 1 { 0xffff_0000 } else { 0xffff_ffff };
            let [mut older, mut base, mut new] = [const { Vec::new() }; 3];
            for (word, step, odds) in words {
                let a = if odds == 0 { odd[word as usize % odd.len()] } else { word };
                let step = if step == 8 { word.rotate_left(7) } else { (1u32 << (step * 2)) - 1 };
                older.extend_from_slice(&(a & low).to_le_bytes());
                base.extend_from_slice(&(a.wrapping_add(step) & low).to_le_bytes());
                new.extend_from_slice(&(a.wrapping_add(step).wrapping_add(step) & low).to_le_bytes());
            }
            let len = new.len() - cut;
            let hint = Hint { element };
            round(&new[..len], &[&base], hint);
            round(&new[cut..], &[&base, &older], hint);
            round(&new, &[&base[..len], &older], hint);
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            method in 0u8..6,
            bases in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
            len in 0usize..300,
        ) {
            let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
            drop(decode(&[&[method], &bytes[..]].concat(), &bases, &mut vec![0; len]));
        }
    }
}
