//! One group of numbers of like size as a stream: the high part of each as a symbol through
//! Huffman, the low bits, which are noise, as they are.
//!
//! Small numbers share a byte by twos, fours or eights: a Huffman coder spends no less than a bit
//! on a byte, and most differences are worth less than that.

use crate::codec::{literals, zstd};
use crate::error::Malformed;
use crate::format::bytes::Take;

use super::words::Number;

pub const CODING_RAW: u8 = 0;
pub const CODING_ZSTD: u8 = 1;
/// A stream that saves less than one part in this many is stored as it is.
const WORTH: usize = 64;
/// A stream stored in less than one part in this many may have matches: zstd looks for them too.
const MATCHES: usize = 3;
/// Numbers looked at to choose a shape.
const SAMPLE: usize = 4 << 10;
/// They are taken in so many places.
const RUNS: usize = 8;
/// What an escape costs besides its symbol, bits, about.
/// A shape in which more than one number in this many is an escape is not looked at.
const FEW: usize = 25;
const ESCAPE_BITS: f64 = 7.0;

/// How the numbers of a group are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Low bits stored as they are, 0–31.
    pub shift: u32,
    /// Symbols to a byte, as a power of two: 0–3.
    pub pack: u32,
}

impl Shape {
    /// From the byte that says it.
    pub fn of_byte(byte: u8) -> Result<Self, Malformed> {
        let shape = Self { shift: u32::from(byte & 31), pack: u32::from(byte >> 5) };
        if shape.pack > 3 || (shape.pack > 0 && shape.shift > 0) || shape.shift > 24 {
            return Err(Malformed::new("a delta with a group of unknown shape"));
        }
        Ok(shape)
    }

    /// Reverse of [`Shape::of_byte`].
    pub fn byte(self) -> u8 {
        (self.shift | self.pack << 5) as u8
    }

    /// The symbol that says: the number follows elsewhere. All below stand for themselves.
    fn escape(self) -> u32 {
        (1 << (8 >> self.pack)) - 1
    }

    pub fn symbol_bytes(self, count: usize) -> usize {
        count.div_ceil(1 << self.pack)
    }

    pub fn low_bytes(self, count: usize) -> usize {
        (count * self.shift as usize).div_ceil(8)
    }
}

/// The shape that a sample says is smallest.
pub fn choose<N: Number>(numbers: &[N]) -> Shape {
    let mut sample = [N::default(); SAMPLE];
    let sample = if numbers.len() <= SAMPLE {
        numbers
    } else {
        for (i, run) in sample.chunks_exact_mut(SAMPLE / RUNS).enumerate() {
            let start = (numbers.len() - run.len()) / (RUNS - 1) * i;
            run.copy_from_slice(&numbers[start..][..run.len()]);
        }
        &sample
    };
    // Lengths of numbers plus one: an escape is a one more than what fits.
    let mut lengths = [0usize; 33];
    for number in sample {
        lengths[32 - number.wide().saturating_add(1).leading_zeros() as usize] += 1;
    }
    // As few low bits as leave one number in two thousand too large.
    // A number of one byte is a symbol as it is.
    let (mut over, mut shift) = (0, if N::MAX.wide() > 0xff { 24 } else { 0 });
    while shift > 0 && over + lengths[shift + 8] <= sample.len() >> 11 {
        over += lengths[shift + 8];
        shift -= 1;
    }
    if shift > 0 {
        return Shape { shift: shift as u32, pack: 0 };
    }
    // As many to a byte as leave few escapes, or half as many.
    let escapes = |pack: u32| lengths[1 + (8 >> pack)..].iter().sum::<usize>();
    let most = (1..4).rev().find(|pack| escapes(*pack) * FEW <= sample.len()).unwrap_or(0);
    let shapes = [most, most.saturating_sub(1)].map(|pack| Shape { shift: 0, pack });
    if most > 0 && estimate(sample, shapes[1]) < estimate(sample, shapes[0]) { shapes[1] } else { shapes[0] }
}

/// Bits a number would cost, about.
fn estimate<N: Number>(sample: &[N], shape: Shape) -> f64 {
    let (mut counts, mut escapes) = ([0u32; 256], 0usize);
    let escape = shape.escape();
    for group in sample.chunks(1 << shape.pack) {
        let mut byte = 0;
        for number in group.iter().rev() {
            let symbol = (number.wide() >> shape.shift).min(escape);
            escapes += usize::from(symbol == escape);
            byte = byte << (8 >> shape.pack) | symbol;
        }
        counts[byte as usize & 0xff] += 1;
    }
    let bytes = shape.symbol_bytes(sample.len()).max(1) as f64;
    let seen = counts.iter().filter(|c| **c > 0);
    let (mut kinds, mut bits) = (0.0, 0.0);
    for count in seen {
        let share = f64::from(*count) / bytes;
        kinds += 1.0;
        bits -= share * share.log2();
    }
    // A sample sees too few of the rare bytes. A byte costs a bit, unless all are the same.
    let bits = bits + (kinds - 1.0) * 0.72 / bytes;
    let bits = if kinds > 1.0 { bits.max(1.0) + 0.03 } else { 0.0 };
    bits / f64::from(1 << shape.pack)
        + f64::from(shape.shift)
        + escapes as f64 * ESCAPE_BITS / sample.len().max(1) as f64
}

/// The numbers of a group: `symbols` (replaced) gets their symbols, `low` and `escapes` are appended to.
pub fn split<N: Number>(
    numbers: &[N],
    shape: Shape,
    symbols: &mut Vec<u8>,
    low: &mut Vec<u8>,
    escapes: &mut Vec<u32>,
) {
    let escape = shape.escape();
    symbols.clear();
    symbols.resize(shape.symbol_bytes(numbers.len()), 0);
    match shape.pack {
        0 => {
            let most = N::narrow(escape);
            for (symbol, number) in symbols.iter_mut().zip(numbers) {
                *symbol = number.down(shape.shift).min(most).wide() as u8;
            }
        }
        1 => pack::<2, N>(numbers, symbols),
        2 => pack::<4, N>(numbers, symbols),
        _ => pack::<8, N>(numbers, symbols),
    }
    let least = escape << shape.shift;
    // Else no number is so large.
    if least <= N::MAX.wide() {
        let least = N::narrow(least);
        for run in numbers.chunks(64) {
            // Most runs have none, which is soon seen.
            if run.iter().fold(false, |any, n| any | (*n >= least)) {
                let large = run.iter().filter(|n| **n >= least);
                escapes.extend(large.map(|n| (n.wide() >> shape.shift) - escape));
            }
        }
    }
    if shape.shift > 0 {
        pack_low(numbers, shape, low);
    }
}

fn pack<const N: usize, T: Number>(numbers: &[T], symbols: &mut [u8]) {
    let bits = 8 / N as u32;
    let escape = (1u32 << bits) - 1;
    let (whole, rest) = numbers.as_chunks::<N>();
    for (symbol, group) in symbols.iter_mut().zip(whole) {
        let mut byte = 0;
        for (i, number) in group.iter().enumerate() {
            byte |= number.wide().min(escape) << (i as u32 * bits);
        }
        *symbol = byte as u8;
    }
    if let Some(last) = symbols.get_mut(whole.len()) {
        for (i, number) in rest.iter().enumerate() {
            *last |= (number.wide().min(escape) << (i as u32 * bits)) as u8;
        }
    }
}

fn pack_low<N: Number>(numbers: &[N], shape: Shape, low: &mut Vec<u8>) {
    let start = low.len();
    let len = shape.low_bytes(numbers.len());
    low.resize(start + len + 8, 0);
    let mask = (1u64 << shape.shift) - 1;
    let (mut at, mut bits, mut held) = (start, 0, 0u64);
    for number in numbers {
        held |= (u64::from(number.wide()) & mask) << bits;
        bits += shape.shift;
        low[at..at + 8].copy_from_slice(&held.to_le_bytes());
        let whole = bits / 8;
        at += whole as usize;
        held >>= whole * 8;
        bits %= 8;
    }
    low.truncate(start + len);
}

/// Reverse of [`split`]: `low` is the group's own, `escapes` gives the next ones in order.
pub fn join<N: Number>(
    symbols: &[u8],
    shape: Shape,
    low: &[u8],
    escapes: &mut impl Iterator<Item = u32>,
    numbers: &mut [N],
) -> Result<(), Malformed> {
    match shape.pack {
        0 => {
            for (number, symbol) in numbers.iter_mut().zip(symbols) {
                *number = N::narrow(u32::from(*symbol));
            }
        }
        1 => unpack::<2, N>(symbols, numbers),
        2 => unpack::<4, N>(symbols, numbers),
        _ => unpack::<8, N>(symbols, numbers),
    }
    let escape = shape.escape();
    let mark = N::narrow(escape);
    // Most runs have none; then nothing but a look is needed.
    for run in numbers.chunks_mut(64) {
        if run.iter().fold(false, |any, n| any | (*n == mark)) {
            for number in run.iter_mut().filter(|n| **n == mark) {
                let more = escapes.next().ok_or_else(|| Malformed::new("a delta with too few escapes"))?;
                *number = N::narrow(more.wrapping_add(escape));
            }
        }
    }
    if shape.shift > 0 {
        unpack_low(low, shape, numbers);
    }
    Ok(())
}

fn unpack<const N: usize, T: Number>(symbols: &[u8], numbers: &mut [T]) {
    let bits = 8 / N as u32;
    let escape = (1u32 << bits) - 1;
    let (whole, rest) = numbers.as_chunks_mut::<N>();
    for (group, symbol) in whole.iter_mut().zip(symbols) {
        for (i, number) in group.iter_mut().enumerate() {
            *number = T::narrow((u32::from(*symbol) >> (i as u32 * bits)) & escape);
        }
    }
    if let Some(last) = symbols.get(whole.len()) {
        for (i, number) in rest.iter_mut().enumerate() {
            *number = T::narrow((u32::from(*last) >> (i as u32 * bits)) & escape);
        }
    }
}

fn unpack_low<N: Number>(low: &[u8], shape: Shape, numbers: &mut [N]) {
    let mask = (1u64 << shape.shift) - 1;
    let mut bit = 0usize;
    // Eight bytes are read at a time; near the end from a copy with room behind.
    let safe = low.len().saturating_sub(8) * 8 / shape.shift as usize;
    let (fast, slow) = numbers.split_at_mut(safe.min(numbers.len()));
    for number in fast {
        let mut word = [0; 8];
        word.copy_from_slice(&low[bit / 8..bit / 8 + 8]);
        let value = u64::from_le_bytes(word) >> (bit % 8) & mask;
        *number = number.up(shape.shift) | N::narrow(value as u32);
        bit += shape.shift as usize;
    }
    for number in slow {
        let mut word = [0; 8];
        let from = &low[(bit / 8).min(low.len())..];
        let len = from.len().min(8);
        word[..len].copy_from_slice(&from[..len]);
        let value = u64::from_le_bytes(word) >> (bit % 8) & mask;
        *number = number.up(shape.shift) | N::narrow(value as u32);
        bit += shape.shift as usize;
    }
}

/// Appends a coded stream to `out`: coding, length, bytes. `false` if zstd refuses.
pub fn put(plain: &[u8], coded: &mut Vec<u8>, other: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let mut best = (CODING_RAW, plain);
    if !plain.is_empty() {
        if !literals::compress(plain, coded) {
            return false;
        }
        if coded.len() < plain.len() - plain.len() / WORTH {
            if coded.len() < plain.len() / MATCHES
                && zstd::compress(plain, 1, other)
                && other.len() < coded.len()
            {
                std::mem::swap(coded, other);
            }
            best = (CODING_ZSTD, coded);
        }
    }
    let (coding, stored) = best;
    out.push(coding);
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(stored);
    true
}

/// Takes a stream that [`put`] made, of exactly `out`'s length.
pub fn take(take: &mut Take<'_>, out: &mut [u8]) -> Result<(), Malformed> {
    let (coding, len) = (take.u8()?, take.u32()?);
    let stored = take.bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
    match coding {
        CODING_RAW if stored.len() == out.len() => {
            out.copy_from_slice(stored);
            Ok(())
        }
        CODING_RAW => Err(Malformed::new("a raw stream of another length than its numbers")),
        CODING_ZSTD => literals::decompress(stored, out),
        other => Err(Malformed::new(format!("a stream with coding {other}"))),
    }
}
