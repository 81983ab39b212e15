//! What a block is made of, as a header says it: streams of symbols, each symbol put together from
//! bits of the block.
//!
//! Every bit of a block stands in exactly one symbol, so that a block can be put together again
//! whatever the layout: a decoder knows of no type of block.

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};

/// Bytes of a block, at most. A decoder's symbols take at most [`MAX_SPREAD`] times the plaintext.
pub const MAX_PERIOD: usize = 512;
const MAX_STREAMS: usize = 16;
const MAX_TERMS: usize = 8;
/// Symbols to a byte of a block, at most.
const MAX_SPREAD: usize = 4;
/// A peak's position has to be less than this.
const MAX_PEAK_RUN: usize = 127;

const FLAG_TWO_PARTS: u8 = 1;
const FLAG_PEAK: u8 = 2;
const FLAG_KEY: u8 = 4;
const FLAG_HALVED: u8 = 8;

/// Some bits of consecutive bytes of a block: one part of as many symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Of the first byte.
    pub offset: u16,
    /// Bits of a byte below them.
    pub shift: u8,
    /// How many bits; 0 of a part that is not there.
    pub width: u8,
}

impl Part {
    /// Bits `shift` to `shift + width` of the bytes from `offset` on.
    pub const fn new(offset: usize, shift: u8, width: u8) -> Self {
        Self { offset: offset as u16, shift, width }
    }

    fn mask(self) -> u8 {
        ((1u16 << self.width) - 1) as u8
    }
}

/// A summand of a key: a symbol of an earlier stream, read in one of [`READINGS`] ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Number of the stream.
    pub stream: u8,
    /// How the symbol is read.
    pub reading: u8,
    /// What it is multiplied by.
    pub weight: i16,
}

/// As it is; as a logarithm; the size of a signed number as a logarithm; without its highest bit.
pub const READINGS: u8 = 4;

/// Symbols of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Symbols to a run.
    pub run: usize,
    /// Runs of a block: the parts of their symbols, lowest bits first. All have as many bits.
    pub lanes: Vec<[Part; 2]>,
    /// Of these two values, the first in a run is stored as its position.
    pub peak: Option<[u8; 2]>,
    /// Runs are ordered by the sum of these.
    pub key: Vec<Term>,
    /// The lowest bit of each symbol is stored as it is, apart.
    pub is_halved: bool,
}

impl Stream {
    /// Symbols of a block.
    pub fn per_block(&self) -> usize {
        self.run * self.lanes.len()
    }

    /// Bits of a symbol.
    pub fn bits(&self) -> u32 {
        self.lanes.first().map_or(0, |[low, high]| u32::from(low.width + high.width))
    }

    fn has_two_parts(&self) -> bool {
        self.lanes.iter().any(|[_, high]| high.width > 0)
    }

    /// The symbols of all `blocks`, of `period` bytes each.
    pub fn split(&self, period: usize, blocks: &[u8], symbols: &mut [u8]) {
        let (run, per_block) = (self.run, self.per_block());
        for (lane, [low, high]) in self.lanes.iter().enumerate() {
            let runs = || blocks.chunks_exact(period);
            let outs = symbols.chunks_exact_mut(per_block).map(|all| &mut all[lane * run..][..run]);
            let (from, mask) = (usize::from(low.offset), low.mask());
            if high.width == 0 {
                if low.width == 8 {
                    each(runs(), outs, from, run, |_, byte| byte);
                } else {
                    each(runs(), outs, from, run, |_, byte| byte >> (low.shift & 7) & mask);
                }
                continue;
            }
            each(runs(), outs, from, run, |_, byte| byte >> (low.shift & 7) & mask);
            let outs = symbols.chunks_exact_mut(per_block).map(|all| &mut all[lane * run..][..run]);
            let (from, mask, up) = (usize::from(high.offset), high.mask(), low.width & 7);
            each(runs(), outs, from, run, |symbol, byte| symbol | (byte >> (high.shift & 7) & mask) << up);
        }
    }

    /// Reverse of [`Stream::split`], into blocks whose bits of this stream are 0.
    pub fn join(&self, period: usize, symbols: &[u8], blocks: &mut [u8]) {
        let (run, per_block) = (self.run, self.per_block());
        for (lane, [low, high]) in self.lanes.iter().enumerate() {
            for (part, down) in [(low, 0), (high, low.width & 7)] {
                let runs = symbols.chunks_exact(per_block);
                let from = usize::from(part.offset);
                let outs = blocks.chunks_exact_mut(period).map(|block| &mut block[from..][..run]);
                let (mask, up) = (part.mask(), part.shift & 7);
                match part.width {
                    0 => {}
                    8 => each(runs, outs, lane * run, run, |_, symbol| symbol),
                    _ => {
                        each(runs, outs, lane * run, run, |byte, symbol| byte | (symbol >> down & mask) << up)
                    }
                }
            }
        }
    }
}

/// `f` of every byte of `outs` and what stands for it in `ins`, `run` bytes after `from` of each.
#[inline]
fn each<'i, 'o>(
    ins: impl Iterator<Item = &'i [u8]>,
    outs: impl Iterator<Item = &'o mut [u8]>,
    from: usize,
    run: usize,
    f: impl Fn(u8, u8) -> u8,
) {
    // Most runs are as long as a register, or half, or one; that is worth loops of their own.
    match run {
        1 => each_of::<1>(ins, outs, from, f),
        16 => each_of::<16>(ins, outs, from, f),
        32 => each_of::<32>(ins, outs, from, f),
        _ => {
            for (all, out) in ins.zip(outs) {
                for (out, byte) in out.iter_mut().zip(&all[from..][..run]) {
                    *out = f(*out, *byte);
                }
            }
        }
    }
}

#[inline]
fn each_of<'i, 'o, const RUN: usize>(
    ins: impl Iterator<Item = &'i [u8]>,
    outs: impl Iterator<Item = &'o mut [u8]>,
    from: usize,
    f: impl Fn(u8, u8) -> u8,
) {
    for (all, out) in ins.zip(outs) {
        let (Some(bytes), Some(out)) = (all[from..].first_chunk::<RUN>(), out.first_chunk_mut::<RUN>())
        else {
            continue;
        };
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = f(*out, *byte);
        }
    }
}

/// How blocks are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a block.
    pub period: usize,
    /// In the order in which they are stored.
    pub streams: Vec<Stream>,
}

impl Layout {
    /// Symbols of a block.
    pub fn per_block(&self) -> usize {
        self.streams.iter().map(Stream::per_block).sum()
    }

    /// Is no stream ordered or halved, and no peak taken out?
    pub fn is_flat(&self) -> bool {
        self.streams.iter().all(|stream| stream.key.is_empty() && stream.peak.is_none() && !stream.is_halved)
    }

    /// As a header.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut put = Put(std::mem::take(out));
        put.u16(self.period as u16).u8(self.streams.len() as u8);
        for stream in &self.streams {
            let two = stream.has_two_parts();
            let flags = [
                (two, FLAG_TWO_PARTS),
                (stream.peak.is_some(), FLAG_PEAK),
                (!stream.key.is_empty(), FLAG_KEY),
                (stream.is_halved, FLAG_HALVED),
            ];
            let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
            put.u8(flags).u8(stream.run as u8).u8(stream.lanes.len() as u8);
            for part in stream.lanes.iter().flat_map(|lane| &lane[..1 + usize::from(two)]) {
                put.u16(part.offset).u8(part.shift | part.width << 4);
            }
            if let Some(peak) = stream.peak {
                put.bytes(&peak);
            }
            if !stream.key.is_empty() {
                put.u8(stream.key.len() as u8);
                for term in &stream.key {
                    put.u8(term.stream).u8(term.reading).u16(term.weight as u16);
                }
            }
        }
        *out = put.0;
    }

    /// From a header. Each bit of a block is in one symbol, and no more symbols are there than
    /// [`MAX_SPREAD`] a byte.
    pub fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let (period, count) = (usize::from(take.u16()?), usize::from(take.u8()?));
        if !(1..=MAX_PERIOD).contains(&period) || !(1..=MAX_STREAMS).contains(&count) {
            return Err(Malformed::new(format!("fields of {count} streams in blocks of {period} bytes")));
        }
        let mut bits = vec![0u8; period];
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            streams.push(take_stream(take, number, &mut bits)?);
        }
        let layout = Self { period, streams };
        if bits.iter().any(|bits| *bits != 0xff) || layout.per_block() > MAX_SPREAD * period {
            return Err(Malformed::new("fields that leave bits of a block out"));
        }
        Ok(layout)
    }
}

/// Marks the bits that it takes in `bits`.
fn take_stream(take: &mut Take<'_>, number: usize, bits: &mut [u8]) -> Result<Stream, Malformed> {
    let (flags, run, lanes) = (take.u8()?, usize::from(take.u8()?), usize::from(take.u8()?));
    let known = flags & !(FLAG_TWO_PARTS | FLAG_PEAK | FLAG_KEY | FLAG_HALVED) == 0;
    let has_peak = flags & FLAG_PEAK != 0;
    if !known || run == 0 || lanes == 0 || (has_peak && run > MAX_PEAK_RUN) {
        return Err(Malformed::new(format!("a field with flags {flags}, {lanes} runs of {run}")));
    }
    let is_halved = flags & FLAG_HALVED != 0;
    let mut stream = Stream { run, lanes: Vec::with_capacity(lanes), peak: None, key: Vec::new(), is_halved };
    for _ in 0..lanes {
        let mut lane = [take_part(take, run, bits)?, Part::default()];
        if flags & FLAG_TWO_PARTS != 0 {
            lane[1] = take_part(take, run, bits)?;
        }
        stream.lanes.push(lane);
        let width = lane[0].width + lane[1].width;
        if lane[0].width == 0 || width > 8 || u32::from(width) != stream.bits() {
            return Err(Malformed::new("a field whose symbols have different bits"));
        }
    }
    if has_peak {
        stream.peak = Some(take.array()?);
    }
    if flags & FLAG_KEY != 0 {
        let terms = usize::from(take.u8()?);
        for _ in 0..terms {
            let (stream_of, reading, weight) = (take.u8()?, take.u8()?, take.u16()? as i16);
            if usize::from(stream_of) >= number || reading >= READINGS {
                return Err(Malformed::new(format!("a key of field {stream_of}, reading {reading}")));
            }
            stream.key.push(Term { stream: stream_of, reading, weight });
        }
        // A key takes four bytes in memory.
        if !(1..=MAX_TERMS).contains(&terms) || 2 * lanes > bits.len() {
            return Err(Malformed::new(format!("a key of {terms} terms for {lanes} runs")));
        }
    }
    Ok(stream)
}

fn take_part(take: &mut Take<'_>, run: usize, bits: &mut [u8]) -> Result<Part, Malformed> {
    let (offset, places) = (take.u16()?, take.u8()?);
    let part = Part { offset, shift: places & 15, width: places >> 4 };
    let twice = || Malformed::new("fields that take a bit twice, or one that is not there");
    if part.shift + part.width > 8 || part.shift > 7 {
        return Err(twice());
    }
    let (start, mask) = (usize::from(offset), part.mask() << part.shift);
    let bytes = bits.get_mut(start..start + run).ok_or_else(twice)?;
    for byte in bytes {
        if *byte & mask != 0 {
            return Err(twice());
        }
        *byte |= mask;
    }
    Ok(part)
}
