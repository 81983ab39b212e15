//! Method 4: blocks of quantised numbers against older blocks (`docs/format.md`, "Delta").
//!
//! A step of training that moves every weight moves few of the numbers that it is rounded to, and
//! those by one: what is left of a stream of a field is mostly zeros.

use super::stream::{self, Shape};
use crate::codec;
use crate::codec::fields::{FEW_BLOCKS, Layout, pieces, room};
use crate::error::Malformed;
use crate::format::bytes::Take;

/// What lengths alone say is a little less than what is reached.
const REACHED: f64 = 1.03;

/// Buffers of one thread, used again.
#[derive(Debug, Default)]
pub struct Scratch {
    numbers: Vec<u8>,
    bases: Vec<u8>,
    symbols: Vec<u8>,
    low: Vec<u8>,
    escapes: Vec<u32>,
    coded: Vec<u8>,
    other: Vec<u8>,
}

/// Bytes of whole blocks that both have.
fn covered(layout: &Layout, plain: usize, base: usize) -> usize {
    plain.min(base) / layout.period * layout.period
}

/// Numbers of `bits` bits less those of the base, in zigzag (0, -1, 1, -2 … → 0, 1, 2, 3 …).
fn differences(bits: u32, numbers: &mut [u8], bases: &[u8]) {
    let up = 8 - bits;
    for (number, base) in numbers.iter_mut().zip(bases) {
        let difference = (number.wrapping_sub(*base) << up) as i8 >> up;
        *number = ((difference << 1) ^ (difference >> 7)) as u8;
    }
}

/// Reverse of [`differences`].
fn restore(bits: u32, numbers: &mut [u8], bases: &[u8]) {
    let mask = 0xff >> (8 - bits);
    for (number, base) in numbers.iter_mut().zip(bases) {
        let difference = (*number >> 1) ^ (*number & 1).wrapping_neg();
        *number = base.wrapping_add(difference) & mask;
    }
}

/// Appends to `out` what follows the method. `false` if zstd refuses.
pub fn encode(plain: &[u8], base: &[u8], layout: &Layout, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
    let (body, tail) = plain.split_at(covered(layout, plain.len(), base.len()));
    let blocks = body.len() / layout.period;
    let Scratch { numbers, bases, symbols, low, escapes, coded, other } = scratch;
    layout.put(out);
    for field in &layout.streams {
        let numbers = room(numbers, blocks * field.per_block());
        let bases = room(bases, numbers.len());
        field.split(layout.period, body, numbers);
        field.split(layout.period, &base[..body.len()], bases);
        differences(field.bits(), numbers, bases);
        let numbers = &*numbers;
        let shape = stream::choose(numbers);
        out.push(shape.byte());
        low.clear();
        escapes.clear();
        stream::split(numbers, shape, symbols, low, escapes);
        if !stream::put(symbols, coded, other, out) {
            return false;
        }
        out.extend_from_slice(low);
        out.extend_from_slice(&(escapes.len() as u32).to_le_bytes());
        if !escapes.is_empty() {
            symbols.clear();
            symbols.extend(escapes.iter().map(|escape| *escape as u8));
            if !stream::put(symbols, coded, other, out) {
                return false;
            }
        }
    }
    super::put_tail(tail, out);
    true
}

/// Decodes what follows the method into exactly `out`.
pub fn decode(encoded: &[u8], base: &[u8], scratch: &mut Scratch, out: &mut [u8]) -> Result<(), Malformed> {
    let mut take = Take(encoded);
    let layout = Layout::take(&mut take)?;
    let covered = covered(&layout, out.len(), base.len());
    if !layout.is_flat() || covered == 0 {
        return Err(Malformed::new("a delta of fields that are ordered, or cover nothing"));
    }
    let blocks = covered / layout.period;
    let (body, tail) = out.split_at_mut(covered);
    body.fill(0);
    let Scratch { numbers, bases, symbols, .. } = scratch;
    for field in &layout.streams {
        let numbers = room(numbers, blocks * field.per_block());
        let shape = Shape::of_byte(take.u8()?)?;
        let symbols = room(symbols, shape.symbol_bytes(numbers.len()));
        stream::take(&mut take, symbols)?;
        let low = take.bytes(shape.low_bytes(numbers.len()))?;
        let escapes = take_escapes(&mut take, numbers.len())?;
        let mut more = escapes.iter().copied().map(u32::from);
        stream::join(symbols, shape, low, &mut more, numbers)?;
        if more.next().is_some() {
            return Err(Malformed::new("a delta with too many escapes"));
        }
        let bases = room(bases, numbers.len());
        field.split(layout.period, &base[..covered], bases);
        restore(field.bits(), numbers, bases);
        field.join(layout.period, numbers, body);
    }
    super::decode_tail(take, tail)
}

/// A byte each: four times that would be more than all else that a frame may ask for.
fn take_escapes(take: &mut Take<'_>, most: usize) -> Result<Vec<u8>, Malformed> {
    let count = usize::try_from(take.u32()?).unwrap_or(usize::MAX);
    if count > most {
        return Err(Malformed::new("a delta with more escapes than numbers"));
    }
    let mut escapes = vec![0; count];
    if count > 0 {
        stream::take(take, &mut escapes)?;
    }
    Ok(escapes)
}

/// The share that a sample of `plain` would take, what no base covers as it takes alone; `None` where too
/// little is covered.
pub fn share(plain: &[u8], base: &[u8], layout: &Layout, alone: f64) -> Option<f64> {
    let covered = covered(layout, plain.len(), base.len());
    if covered / layout.period < FEW_BLOCKS {
        return None;
    }
    let (mut numbers, mut bases, mut bits, mut seen) = (Vec::new(), Vec::new(), 0.0, 0);
    for field in &layout.streams {
        let mut counts = [0u32; 256];
        seen = 0;
        for piece in pieces(covered, layout.period) {
            seen += piece.len();
            let numbers = room(&mut numbers, piece.len() / layout.period * field.per_block());
            let bases = room(&mut bases, numbers.len());
            field.split(layout.period, &plain[piece.clone()], numbers);
            field.split(layout.period, &base[piece], bases);
            differences(field.bits(), numbers, bases);
            numbers.iter().for_each(|number| counts[usize::from(*number)] += 1);
        }
        bits += codec::estimate::bits_of(&counts);
    }
    let share = bits * REACHED / (seen * 8).max(1) as f64;
    let covered = covered as f64 / plain.len() as f64;
    Some(share * covered + alone * (1.0 - covered))
}
