//! `planes`, version 2: blocks of quantised numbers, taken apart into their fields
//! (`docs/format.md`, "Fields").
//!
//! A block holds a scale or two and small numbers, packed. What is alike stands together here: each
//! field is a stream of symbols, the numbers of blocks of like scale stand together, and of a run in which one
//! number is always the largest only the place of that one is stored. Huffman codes do the rest.
//!
//! Buffers: two to three times the plaintext for the layouts here, fourteen times for the worst that a header
//! may ask for.

pub mod blocks;
mod layout;
mod order;
#[cfg(test)]
mod tests;

pub use layout::Layout;

use crate::codec::delta::stream;
use crate::codec::estimate::bits_of;
use crate::error::Malformed;
use crate::format::bytes::Take;

/// Version of the planes encoding that this is.
pub const VERSION: u8 = 2;
/// Fewer blocks say nothing of their fields.
pub const FEW_BLOCKS: usize = 64;
/// Groups of runs that a reader takes.
const MAX_GROUPS: usize = 64;
/// A run without a peak.
const NO_PEAK: u8 = 0x7f;
/// The peak has the second of its values.
const SECOND: u8 = 0x80;
/// Blocks of a piece of a sample take at most so many bytes, of which there are [`PIECES`].
const PIECE_BYTES: usize = 16 << 10;
const PIECES: usize = 3;

/// Buffers of one thread, used again.
#[derive(Debug, Default)]
pub struct Scratch {
    symbols: Vec<u8>,
    ordered: Vec<u8>,
    peaks: Vec<u8>,
    keys: Vec<i32>,
    groups: Vec<u8>,
    low: Vec<u8>,
    coded: Vec<u8>,
    other: Vec<u8>,
}

/// The first `len` of `buffer`, grown if need be: what is in them is overwritten anyway.
pub fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Encodes into `out` (replaced). `false` if zstd refuses.
pub fn encode(plain: &[u8], layout: &Layout, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
    let blocks = plain.len() / layout.period;
    let (body, tail) = plain.split_at(blocks * layout.period);
    let Scratch { symbols, ordered, peaks, keys, groups, low, coded, other } = scratch;
    let symbols = room(symbols, blocks * layout.per_block());
    out.clear();
    layout.put(out);
    let mut at = 0;
    for (number, stream) in layout.streams.iter().enumerate() {
        let (before, rest) = symbols.split_at_mut(at);
        let these = &mut rest[..blocks * stream.per_block()];
        at += these.len();
        stream.split(layout.period, body, these);
        peaks.clear();
        if let Some(peak) = stream.peak {
            peaks.extend(these.chunks_exact(stream.run).map(|run| find_peak(run, peak)));
            if !stream::put(peaks, coded, other, out) {
                return false;
            }
        }
        let mut bounds = Vec::new();
        if !stream.key.is_empty() {
            order::keys(layout, number, blocks, before, keys);
            bounds = order::choose(keys, stream.run, these);
            out.push(bounds.len() as u8);
            bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        }
        if bounds.is_empty() && stream.peak.is_none() && !stream.is_halved {
            if !stream::put(these, coded, other, out) {
                return false;
            }
            continue;
        }
        let ordered = room(ordered, these.len());
        if bounds.is_empty() {
            groups.clear();
        } else {
            order::groups(keys, &bounds, groups);
        }
        let runs = Runs { run: stream.run, groups, peaks };
        let ends = runs.ends(these.len() / stream.run, bounds.len() + 1);
        runs.scatter(&ends, these, ordered);
        let all = ends.last().copied().unwrap_or(0);
        low.clear();
        if stream.is_halved {
            halve(&mut ordered[..all], low);
        }
        let mut start = 0;
        for &end in &ends {
            if !stream::put(&ordered[start..end], coded, other, out) {
                return false;
            }
            start = end;
        }
        out.extend_from_slice(low);
    }
    out.extend_from_slice(tail);
    true
}

/// Decodes exactly one encoded stretch into exactly `out`.
pub fn decode(encoded: &[u8], scratch: &mut Scratch, out: &mut [u8]) -> Result<(), Malformed> {
    let mut take = Take(encoded);
    let layout = Layout::take(&mut take)?;
    let blocks = out.len() / layout.period;
    let (body, tail) = out.split_at_mut(blocks * layout.period);
    let Scratch { symbols, ordered, peaks, keys, groups, .. } = scratch;
    let symbols = room(symbols, blocks * layout.per_block());
    body.fill(0);
    let mut at = 0;
    for (number, stream) in layout.streams.iter().enumerate() {
        let (before, rest) = symbols.split_at_mut(at);
        let these = &mut rest[..blocks * stream.per_block()];
        at += these.len();
        let count = these.len() / stream.run;
        peaks.clear();
        if stream.peak.is_some() {
            peaks.resize(count, 0);
            stream::take(&mut take, peaks)?;
            let within = |peak: &u8| *peak == NO_PEAK || usize::from(*peak & !SECOND) < stream.run;
            if !peaks.iter().all(within) {
                return Err(Malformed::new("a peak outside of its run"));
            }
        }
        let mut bounds = Vec::new();
        if !stream.key.is_empty() {
            let count = take.u8()?;
            if usize::from(count) >= MAX_GROUPS {
                return Err(Malformed::new(format!("fields in {count} groups")));
            }
            for _ in 0..count {
                bounds.push(take.u32()? as i32);
            }
            if !bounds.is_sorted_by(|a, b| a < b) {
                return Err(Malformed::new("fields whose groups do not rise"));
            }
        }
        if bounds.is_empty() && stream.peak.is_none() && !stream.is_halved {
            stream::take(&mut take, these)?;
            stream.join(layout.period, these, body);
            continue;
        }
        groups.clear();
        if !bounds.is_empty() {
            order::keys(&layout, number, blocks, before, keys);
            order::groups(keys, &bounds, groups);
        }
        let runs = Runs { run: stream.run, groups, peaks };
        let ends = runs.ends(count, bounds.len() + 1);
        let ordered = room(ordered, these.len());
        let mut start = 0;
        for &end in &ends {
            stream::take(&mut take, &mut ordered[start..end])?;
            start = end;
        }
        if stream.is_halved {
            unhalve(&mut ordered[..start], take.bytes(start.div_ceil(8))?);
        }
        runs.gather(&ends, stream.peak.unwrap_or_default(), ordered, these);
        stream.join(layout.period, these, body);
    }
    tail.copy_from_slice(take.bytes(tail.len())?);
    take.end()
}

const ONES: u64 = u64::from_le_bytes([1; 8]);

/// Takes the lowest bit of each symbol away: eight to a byte of `low`, the first lowest.
fn halve(symbols: &mut [u8], low: &mut Vec<u8>) {
    let (whole, rest) = symbols.as_chunks_mut();
    for eight in whole {
        let word = u64::from_le_bytes(*eight);
        // Byte i's bit is moved to bit 56 + i; no two bits meet.
        low.push(((word & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8);
        *eight = (word >> 1 & (ONES * 0x7f)).to_le_bytes();
    }
    if !rest.is_empty() {
        low.push(rest.iter().enumerate().map(|(i, symbol)| (symbol & 1) << i).sum());
        rest.iter_mut().for_each(|symbol| *symbol >>= 1);
    }
}

/// Reverse of [`halve`]: a bit for each symbol.
fn unhalve(symbols: &mut [u8], low: &[u8]) {
    let (whole, rest) = symbols.as_chunks_mut();
    for (eight, bits) in whole.iter_mut().zip(low) {
        // Bit i of each byte i, then made its lowest.
        let spread = (u64::from(*bits) * ONES) & 0x8040_2010_0804_0201;
        let bits = (spread + ONES * 0x7f) >> 7 & ONES;
        *eight = ((u64::from_le_bytes(*eight) & (ONES * 0x7f)) << 1 | bits).to_le_bytes();
    }
    if let Some(bits) = low.get(whole.len()) {
        for (i, symbol) in rest.iter_mut().enumerate() {
            *symbol = *symbol << 1 | (bits >> i & 1);
        }
    }
}

/// Where the first of two values stands in a run, and which.
#[inline]
fn find_peak(run: &[u8], [first, second]: [u8; 2]) -> u8 {
    // The highest bit of the lowest zero byte of a word, and of no byte below it.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, rest) = run.as_chunks();
    let found = words.iter().enumerate().find_map(|(i, eight)| {
        let word = u64::from_le_bytes(*eight);
        let marks = zero(word ^ (ONES * u64::from(first))) | zero(word ^ (ONES * u64::from(second)));
        (marks != 0).then(|| 8 * i + marks.trailing_zeros() as usize / 8)
    });
    let last = || rest.iter().position(|symbol| *symbol == first || *symbol == second);
    match found.or_else(|| Some(run.len() - rest.len() + last()?)) {
        None => NO_PEAK,
        Some(place) => place as u8 | if run[place] == first { 0 } else { SECOND },
    }
}

/// Runs of a stream, in their groups.
struct Runs<'a> {
    run: usize,
    /// Of each run; empty where there is but one.
    groups: &'a [u8],
    /// Of each run; empty where there are none.
    peaks: &'a [u8],
}

impl Runs<'_> {
    #[inline]
    fn group(&self, index: usize) -> usize {
        self.groups.get(index).map_or(0, |group| usize::from(*group))
    }

    /// The peak of a run: its place and which it is.
    #[inline]
    fn peak(&self, index: usize) -> u8 {
        self.peaks.get(index).copied().unwrap_or(NO_PEAK)
    }

    /// Where each of so many groups of `count` runs ends.
    fn ends(&self, count: usize, groups: usize) -> Vec<usize> {
        let mut ends = vec![0; groups];
        for index in 0..count {
            ends[self.group(index)] += self.run - usize::from(self.peak(index) != NO_PEAK);
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        ends
    }

    /// Every run with its begin among the ordered ones, and its length there.
    #[inline]
    fn each(&self, ends: &[usize], count: usize, mut f: impl FnMut(u8, std::ops::Range<usize>)) {
        let mut places: Vec<usize> = [&[0], &ends[..ends.len() - 1]].concat();
        for index in 0..count {
            let (place, peak) = (&mut places[self.group(index)], self.peak(index));
            let start = *place;
            *place += self.run - usize::from(peak != NO_PEAK);
            f(peak, start..*place);
        }
    }

    /// Orders runs by group, without their peaks.
    fn scatter(&self, ends: &[usize], symbols: &[u8], ordered: &mut [u8]) {
        let mut runs = symbols.chunks_exact(self.run);
        self.each(ends, symbols.len() / self.run, |peak, range| {
            let (Some(run), to) = (runs.next(), &mut ordered[range]) else { return };
            let place = usize::from(peak & !SECOND);
            match (run.first_chunk::<32>(), to.first_chunk_mut::<31>()) {
                _ if peak == NO_PEAK => to.copy_from_slice(run),
                // No jumps for the length that nearly all have.
                (Some(run), Some(to)) if self.run == 32 => {
                    for (i, to) in to.iter_mut().enumerate() {
                        *to = if (i as u8) < place as u8 { run[i] } else { run[i + 1] };
                    }
                }
                _ => {
                    to[..place].copy_from_slice(&run[..place]);
                    to[place..].copy_from_slice(&run[place + 1..]);
                }
            }
        });
    }

    /// Reverse of [`Runs::scatter`].
    fn gather(&self, ends: &[usize], values: [u8; 2], ordered: &[u8], symbols: &mut [u8]) {
        let count = symbols.len() / self.run;
        let mut runs = symbols.chunks_exact_mut(self.run);
        self.each(ends, count, |peak, range| {
            let (Some(run), from) = (runs.next(), &ordered[range]) else { return };
            let (place, value) = (usize::from(peak & !SECOND), values[usize::from(peak >> 7)]);
            match (run.first_chunk_mut::<32>(), from.first_chunk::<31>()) {
                _ if peak == NO_PEAK => run.copy_from_slice(from),
                (Some(run), Some(from)) if self.run == 32 => {
                    run[31] = from[30];
                    for i in (1..31).rev() {
                        run[i] = if i as u8 > place as u8 { from[i - 1] } else { from[i] };
                    }
                    run[0] = from[0];
                    run[place & 31] = value;
                }
                _ => {
                    run[..place].copy_from_slice(&from[..place]);
                    run[place] = value;
                    run[place + 1..].copy_from_slice(&from[place..]);
                }
            }
        });
    }
}

/// Pieces of `len` bytes in whole blocks: begin, middle, end.
pub fn pieces(len: usize, period: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let blocks = len / period;
    let piece = (PIECE_BYTES / period).max(1).min(blocks);
    (0..PIECES).map(move |i| {
        let start = (blocks - piece) / (PIECES - 1) * i;
        start * period..(start + piece) * period
    })
}

/// Share of its length that `plain` would be stored in, by a sample; 1 if it has too few blocks.
pub fn share(plain: &[u8], layout: &Layout) -> f64 {
    if plain.len() / layout.period < FEW_BLOCKS {
        return 1.0;
    }
    let mut symbols = Vec::new();
    let mut bits = 0.0;
    let mut seen = 0;
    for stream in &layout.streams {
        let mut counts = [0u32; 256];
        seen = 0;
        for piece in pieces(plain.len(), layout.period) {
            seen += piece.len();
            let these = room(&mut symbols, piece.len() / layout.period * stream.per_block());
            stream.split(layout.period, &plain[piece], these);
            these.iter().for_each(|symbol| counts[usize::from(*symbol)] += 1);
        }
        bits += bits_of(&counts);
    }
    bits / (seen * 8).max(1) as f64
}
