//! Methods 2 and 3: numbers against numbers of one or two bases (`docs/format.md`, "Delta").
//!
//! What both bases cover is cut into segments, so that buffers stay small; each is predicted,
//! ordered into groups of numbers of like size, and stored a group after the other.

use super::groups::{self, Counts, Places};
use super::stream::{self, Shape};
use super::words::{self, Kind, Prediction, Word};
use crate::error::Malformed;
use crate::format::bytes::Take;

/// Elements of a segment, at most.
const SEGMENT: usize = 1 << 19;
/// Numbers to a block with a level of its own, as a power of two.
const BLOCK_LOG: u8 = 8;

/// How a stretch is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How elements are read.
    pub kind: Kind,
    /// Bytes before the first element.
    pub lead: usize,
    /// Quarters of the last step that are expected again; 0 is against one base.
    pub quarters: u8,
}

impl Layout {
    /// Bytes that lie in whole elements of the plaintext and of all bases used.
    pub fn covered(self, plain: usize, bases: &[&[u8]]) -> usize {
        let used = &bases[..bases.len().min(1 + usize::from(self.quarters > 0))];
        let common = used.iter().map(|base| base.len()).fold(plain, usize::min);
        common.saturating_sub(self.lead) / self.kind.width * self.kind.width
    }

    /// What is expected in the covered bytes.
    pub fn prediction<'a>(self, covered: usize, bases: &[&'a [u8]]) -> Prediction<'a> {
        let base = &bases[0][self.lead..][..covered];
        let older = if self.quarters == 0 { base } else { &bases[1][self.lead..][..covered] };
        Prediction { base, older, quarters: self.quarters }
    }
}

/// Buffers of one thread, used again.
#[derive(Debug, Default)]
pub struct Scratch {
    of_two: Numbers<u16>,
    of_four: Numbers<u32>,
    shared: Shared,
}

#[derive(Debug, Default)]
struct Numbers<N> {
    plain: Vec<N>,
    ordered: Vec<N>,
}

#[derive(Debug, Default)]
struct Shared {
    keys: Vec<u8>,
    scales: Vec<u8>,
    bounds: Vec<u8>,
    symbols: Vec<u8>,
    low: Vec<u8>,
    escapes: Vec<u32>,
    coded: Vec<u8>,
    other: Vec<u8>,
}

/// The first `len` of `buffer`, grown if need be: what is in them is overwritten anyway.
fn room<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// Appends to `out` what follows the method. `false` if zstd refuses.
pub fn encode(
    plain: &[u8],
    bases: &[&[u8]],
    layout: Layout,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> bool {
    let Layout { kind, lead, quarters } = layout;
    let covered = layout.covered(plain.len(), bases);
    let prediction = layout.prediction(covered, bases);
    let number = Kind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
    out.extend_from_slice(&[number as u8, lead as u8, quarters, BLOCK_LOG]);
    let (head, rest) = plain.split_at(lead.min(plain.len()));
    let (elements, tail) = rest.split_at(covered);
    out.extend_from_slice(head);
    for (i, segment) in elements.chunks(SEGMENT * kind.width).enumerate() {
        let start = i * SEGMENT * kind.width;
        let prediction = prediction.range(start, start + segment.len());
        let Scratch { of_two, of_four, shared } = scratch;
        let done = match kind.width {
            2 => encode_segment(segment, prediction, kind, of_two, shared, out),
            _ => encode_segment(segment, prediction, kind, of_four, shared, out),
        };
        if !done {
            return false;
        }
    }
    super::put_tail(tail, out);
    true
}

fn encode_segment<N: Word>(
    plain: &[u8],
    prediction: Prediction<'_>,
    kind: Kind,
    numbers: &mut Numbers<N>,
    shared: &mut Shared,
    out: &mut Vec<u8>,
) -> bool {
    let Shared { keys, scales, bounds, symbols, low, escapes, coded, other } = shared;
    let count = plain.len() / kind.width;
    let (numbers, ordered) = (room(&mut numbers.plain, count), room(&mut numbers.ordered, count));
    let keys = room(keys, count);
    let zeros = words::common_zeros(kind, plain, prediction);
    N::differences(kind, plain, prediction, zeros, numbers, keys);
    let outlier = 1u32 << (8 * kind.width as u32).saturating_sub(2 + zeros);
    let origin = groups::scales(numbers, keys, BLOCK_LOG, outlier, scales);
    groups::keys(scales, origin, BLOCK_LOG, keys);
    let counts = Counts::of(keys);
    groups::divide(&counts.total(), bounds);
    let Some(places) = Places::new(&counts, bounds) else { return false };
    places.scatter(keys, numbers, ordered);

    out.push(zeros as u8);
    out.extend_from_slice(&origin.to_le_bytes());
    out.push(bounds.len() as u8);
    out.extend_from_slice(bounds);
    if !stream::put(scales, coded, other, out) {
        return false;
    }
    low.clear();
    escapes.clear();
    for range in places.ranges() {
        let group = &ordered[range];
        let shape = stream::choose(group);
        out.push(shape.byte());
        stream::split(group, shape, symbols, low, escapes);
        if !stream::put(symbols, coded, other, out) {
            return false;
        }
    }
    out.extend_from_slice(low);
    out.extend_from_slice(&(escapes.len() as u32).to_le_bytes());
    if escapes.is_empty() {
        return true;
    }
    (0..kind.width).all(|plane| {
        symbols.clear();
        symbols.extend(escapes.iter().map(|e| (e >> (8 * plane)) as u8));
        stream::put(symbols, coded, other, out)
    })
}

/// Decodes what follows the method into exactly `out`. `bases` are one or two, as the method says.
pub fn decode(
    encoded: &[u8],
    bases: &[&[u8]],
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<(), Malformed> {
    let mut take = Take(encoded);
    let (number, lead) = (take.u8()?, usize::from(take.u8()?));
    let (quarters, block_log) = (take.u8()?, take.u8()?);
    let kind = *Kind::ALL
        .get(usize::from(number))
        .ok_or_else(|| Malformed::new(format!("a delta of numbers of kind {number}")))?;
    let steps = if bases.len() == 1 { 0..=0 } else { 1..=4 };
    if lead >= kind.width || !steps.contains(&quarters) || !(4..=16).contains(&block_log) {
        return Err(Malformed::new(format!(
            "a delta with lead {lead}, {quarters} quarters, blocks {block_log}"
        )));
    }
    let layout = Layout { kind, lead, quarters };
    let covered = layout.covered(out.len(), bases);
    if covered == 0 {
        return Err(Malformed::new("a delta that covers nothing"));
    }
    let prediction = layout.prediction(covered, bases);
    let (head, rest) = out.split_at_mut(lead);
    let (elements, tail) = rest.split_at_mut(covered);
    head.copy_from_slice(take.bytes(lead)?);
    for (i, segment) in elements.chunks_mut(SEGMENT * kind.width).enumerate() {
        let start = i * SEGMENT * kind.width;
        let prediction = prediction.range(start, start + segment.len());
        let Scratch { of_two, of_four, shared } = scratch;
        match kind.width {
            2 => decode_segment(&mut take, prediction, kind, block_log, of_two, shared, segment)?,
            _ => decode_segment(&mut take, prediction, kind, block_log, of_four, shared, segment)?,
        }
    }
    super::decode_tail(take, tail)
}

fn decode_segment<N: Word>(
    take: &mut Take<'_>,
    prediction: Prediction<'_>,
    kind: Kind,
    block_log: u8,
    numbers: &mut Numbers<N>,
    shared: &mut Shared,
    out: &mut [u8],
) -> Result<(), Malformed> {
    let Shared { keys, scales, symbols, escapes, .. } = shared;
    let count = out.len() / kind.width;
    let zeros = u32::from(take.u8()?);
    let origin = take.u16()?;
    if zeros >= 8 * kind.width as u32 || origin > 1023 {
        return Err(Malformed::new(format!("a delta with {zeros} low bits left out, levels from {origin}")));
    }
    let bounds = usize::from(take.u8()?);
    let bounds = take.bytes(bounds)?;
    let scales = room(scales, count.div_ceil(1 << block_log));
    stream::take(take, scales)?;
    let keys = room(keys, count);
    words::exponents(kind, prediction.base, keys);
    groups::keys(scales, origin, block_log, keys);
    let places = Places::new(&Counts::of(keys), bounds)
        .ok_or_else(|| Malformed::new("a delta whose groups do not rise"))?;

    let ordered = room(&mut numbers.ordered, count);
    let mut shapes = Vec::with_capacity(bounds.len() + 1);
    let symbols = room(symbols, count);
    for range in places.ranges() {
        let shape = Shape::of_byte(take.u8()?)?;
        let bytes = shape.symbol_bytes(range.len());
        let start = range.start;
        stream::take(take, &mut symbols[start..start + bytes])?;
        shapes.push((range, shape));
    }
    let mut lows = Vec::with_capacity(shapes.len());
    for (range, shape) in &shapes {
        lows.push(take.bytes(shape.low_bytes(range.len()))?);
    }
    take_escapes(take, kind, count, escapes)?;
    let mut more = escapes.iter().copied();
    for ((range, shape), low) in shapes.into_iter().zip(lows) {
        let symbols = &symbols[range.start..];
        stream::join(symbols, shape, low, &mut more, &mut ordered[range])?;
    }
    if more.next().is_some() {
        return Err(Malformed::new("a delta with too many escapes"));
    }
    places.gather(keys, ordered, |first, numbers| {
        let (start, end) = (first * kind.width, (first + numbers.len()) * kind.width);
        N::restore(numbers, prediction.range(start, end), zeros, &mut out[start..end]);
    });
    Ok(())
}

fn take_escapes(
    take: &mut Take<'_>,
    kind: Kind,
    count: usize,
    escapes: &mut Vec<u32>,
) -> Result<(), Malformed> {
    let escaped = usize::try_from(take.u32()?).unwrap_or(usize::MAX);
    if escaped > count {
        return Err(Malformed::new("a delta with more escapes than numbers"));
    }
    escapes.clear();
    escapes.resize(escaped, 0);
    if escaped == 0 {
        return Ok(());
    }
    let mut plane = vec![0; escaped];
    for shift in 0..kind.width {
        stream::take(take, &mut plane)?;
        for (escape, byte) in escapes.iter_mut().zip(&plane) {
            *escape |= u32::from(*byte) << (8 * shift);
        }
    }
    Ok(())
}
