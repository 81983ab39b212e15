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
mod tests;
