//! `planes`: numbers of two or four bytes, split into one stream for each byte of an element
//! (`docs/format.md`, "Planes").
//!
//! Weights are noise but for their exponents. With the sign rotated out of the way the top byte of
//! a bf16 or f32 is the whole exponent, whose few values a Huffman coder takes to a third; the
//! others are stored as they are. zstd is that coder, told not to look for matches: its
//! normal levels find worthless ones and are slower, and larger.
//!
//! ```text
//! 0  1  width of an element: 2 or 4
//! 1  1  flags: bit 0 = each element was rotated left by one bit
//! 2  1  lead: bytes before the first element, less than the width
//! 3     for each plane, least significant first: coding u8 (0 raw, 1 zstd), length u32
//!       lead bytes | planes in the same order | bytes after the last whole element
//! ```

use crate::codec::literals;
use crate::codec::widest::widest;
use crate::error::Malformed;
use crate::format::bytes::{Put, Take};

const CODING_RAW: u8 = 0;
const CODING_ZSTD: u8 = 1;
const FLAG_ROTATED: u8 = 1;
/// A plane that saves less than one part in this many is stored as it is.
const WORTH: usize = 64;

/// How a stretch of numbers is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of an element: 2 or 4.
    pub width: usize,
    /// Bytes before the first element.
    pub lead: usize,
    /// Is the sign to be rotated to the lowest bit?
    pub rotated: bool,
    /// Which planes, least significant first, are worth trying to code.
    pub coded: [bool; 4],
}

impl Layout {
    fn header_len(self) -> usize {
        3 + 5 * self.width
    }
}

/// Buffers of one thread, used again.
#[derive(Debug, Default)]
pub struct Scratch {
    planes: Vec<u8>,
    coded: Vec<u8>,
}

/// Encodes into `out` (replaced). `false` if zstd refuses.
pub fn encode(plain: &[u8], layout: Layout, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
    let (lead, rest) = plain.split_at(layout.lead.min(plain.len()));
    let count = rest.len() / layout.width;
    let (elements, tail) = rest.split_at(count * layout.width);
    // Planes that are stored as they are stand where they belong at once: those before the first to be coded.
    let coded = &layout.coded[..layout.width];
    let direct = coded.iter().position(|worth| *worth).unwrap_or(layout.width);
    let begin = layout.header_len() + lead.len();
    // What stands there from before is overwritten: no clearing.
    out.resize(begin + direct * count, 0);
    out.reserve(plain.len() + layout.header_len() - out.len());
    out[layout.header_len()..begin].copy_from_slice(lead);
    let aside = (layout.width - direct) * count;
    if scratch.planes.len() < aside {
        scratch.planes.resize(aside, 0);
    }
    let planes = &mut scratch.planes[..aside];
    split(elements, layout, count, &mut out[begin..], planes);

    let mut header = Put::with_capacity(layout.header_len());
    header.u8(layout.width as u8).u8(u8::from(layout.rotated) * FLAG_ROTATED).u8(lead.len() as u8);
    for _ in 0..direct {
        header.u8(CODING_RAW).u32(u32::try_from(count).unwrap_or(u32::MAX));
    }
    for (plane, worth) in planes.chunks_exact(count.max(1)).zip(&coded[direct..]) {
        let mut coding = (CODING_RAW, plane);
        if *worth {
            if !literals::compress(plane, &mut scratch.coded) {
                return false;
            }
            if scratch.coded.len() < plane.len() - plane.len() / WORTH {
                coding = (CODING_ZSTD, &scratch.coded);
            }
        }
        let (coding, stored) = coding;
        header.u8(coding).u32(u32::try_from(stored.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(stored);
    }
    out.extend_from_slice(tail);
    header.0.resize(layout.header_len(), 0);
    out[..layout.header_len()].copy_from_slice(&header.0);
    true
}

/// Decodes exactly one encoded stretch into exactly `out`, with `scratch` for coded planes.
pub fn decode(encoded: &[u8], scratch: &mut Scratch, out: &mut [u8]) -> Result<(), Malformed> {
    let parts = Parts::of(encoded, scratch, out.len())?;
    let (lead, rest) = out.split_at_mut(parts.lead.len());
    let (elements, tail) = rest.split_at_mut(parts.count * parts.width);
    lead.copy_from_slice(parts.lead);
    tail.copy_from_slice(parts.tail);
    join(elements, parts.width, parts.rotated, &parts.planes);
    Ok(())
}

/// Does it decode to exactly `plain`? As [`decode`], and compared piece by piece while that is in the nearest cache.
pub fn decodes_to(encoded: &[u8], scratch: &mut Scratch, plain: &[u8]) -> Result<bool, Malformed> {
    const PIECE: usize = 1024;
    let parts = Parts::of(encoded, scratch, plain.len())?;
    let (lead, rest) = plain.split_at(parts.lead.len());
    let (elements, tail) = rest.split_at(parts.count * parts.width);
    let mut room = [0; 4 * PIECE];
    let mut pieces = elements.chunks(parts.width * PIECE).enumerate();
    Ok(lead == parts.lead
        && tail == parts.tail
        && pieces.all(|(number, piece)| {
            let from = number * PIECE;
            let planes =
                parts.planes.map(|plane| plane.get(from..plane.len().min(from + PIECE)).unwrap_or_default());
            let joined = &mut room[..piece.len()];
            join(joined, parts.width, parts.rotated, &planes);
            joined == piece
        }))
}

/// An encoded stretch, its planes decoded.
struct Parts<'p> {
    width: usize,
    rotated: bool,
    lead: &'p [u8],
    /// Elements, and bytes of each plane.
    count: usize,
    planes: [&'p [u8]; 4],
    tail: &'p [u8],
}

impl<'p> Parts<'p> {
    /// Of one that decodes to `len` bytes. Coded planes are decoded side by side into the scratch; raw ones are used where
    /// they stand.
    fn of(encoded: &'p [u8], scratch: &'p mut Scratch, len: usize) -> Result<Self, Malformed> {
        let mut take = Take(encoded);
        let (width, flags, lead) = (usize::from(take.u8()?), take.u8()?, usize::from(take.u8()?));
        if !(width == 2 || width == 4) || flags & !FLAG_ROTATED != 0 || lead >= width {
            return Err(Malformed::new(format!("planes of width {width}, flags {flags}, lead {lead}")));
        }
        let mut codings = [(0u8, 0usize); 4];
        for slot in &mut codings[..width] {
            let coding = take.u8()?;
            *slot = (coding, usize::try_from(take.u32()?).unwrap_or(usize::MAX));
        }
        let rest = len.checked_sub(lead).ok_or_else(|| Malformed::new("planes longer than their frame"))?;
        let count = rest / width;
        let lead = take.bytes(lead)?;
        let coded = codings[..width].iter().filter(|(coding, _)| *coding == CODING_ZSTD).count();
        let scratch = &mut scratch.planes;
        if scratch.len() < coded * count {
            scratch.resize(coded * count, 0);
        }
        let mut room = &mut scratch[..coded * count];
        let mut planes: [&[u8]; 4] = [&[]; 4];
        for (plane, (coding, len)) in planes.iter_mut().zip(&codings[..width]) {
            let stored = take.bytes(*len)?;
            *plane = match *coding {
                CODING_RAW if *len == count => stored,
                CODING_RAW => return Err(Malformed::new("a raw plane of another length than its elements")),
                CODING_ZSTD => {
                    let (target, left) = std::mem::take(&mut room).split_at_mut(count);
                    room = left;
                    if count > 0 || !stored.is_empty() {
                        literals::decompress(stored, target)?;
                    }
                    target
                }
                other => return Err(Malformed::new(format!("a plane with coding {other}"))),
            };
        }
        let tail = take.bytes(rest % width)?;
        take.end()?;
        Ok(Self { width, rotated: flags & FLAG_ROTATED != 0, lead, count, planes, tail })
    }
}

widest! {
    fn split(elements: &[u8], layout: Layout, count: usize, first: &mut [u8], rest: &mut [u8]) = split_plainly
}

widest! {
    fn join(elements: &mut [u8], width: usize, rotated: bool, planes: &[&[u8]; 4]) = join_plainly
}

/// Elements to planes, least significant byte first: as many as it holds into `first`, the others into `rest`. Plain loops
/// over equal slices and a constant rotation, which the compiler turns into vector code.
#[inline(always)]
fn split_plainly(elements: &[u8], layout: Layout, count: usize, first: &mut [u8], rest: &mut [u8]) {
    if count == 0 {
        return;
    }
    let mut planes = first.chunks_exact_mut(count).chain(rest.chunks_exact_mut(count));
    let mut next = || planes.next().unwrap_or_default();
    match (layout.width, layout.rotated) {
        (2, false) => split2::<0>(elements, [next(), next()]),
        (2, true) => split2::<1>(elements, [next(), next()]),
        (_, false) => split4::<0>(elements, [next(), next(), next(), next()]),
        (_, true) => split4::<1>(elements, [next(), next(), next(), next()]),
    }
}

#[inline(always)]
fn split2<const TURN: u32>(elements: &[u8], [low, high]: [&mut [u8]; 2]) {
    for ((element, low), high) in elements.as_chunks().0.iter().zip(low).zip(high) {
        let word = u16::from_le_bytes(*element).rotate_left(TURN);
        *low = word as u8;
        *high = (word >> 8) as u8;
    }
}

#[inline(always)]
fn split4<const TURN: u32>(elements: &[u8], [p0, p1, p2, p3]: [&mut [u8]; 4]) {
    for ((((element, p0), p1), p2), p3) in elements.as_chunks().0.iter().zip(p0).zip(p1).zip(p2).zip(p3) {
        let word = u32::from_le_bytes(*element).rotate_left(TURN);
        *p0 = word as u8;
        *p1 = (word >> 8) as u8;
        *p2 = (word >> 16) as u8;
        *p3 = (word >> 24) as u8;
    }
}

/// Reverse of [`split_plainly`].
#[inline(always)]
fn join_plainly(elements: &mut [u8], width: usize, rotated: bool, planes: &[&[u8]; 4]) {
    match (width, rotated) {
        (2, false) => join2::<0>(elements, planes),
        (2, true) => join2::<1>(elements, planes),
        (_, false) => join4::<0>(elements, planes),
        (_, true) => join4::<1>(elements, planes),
    }
}

#[inline(always)]
fn join2<const TURN: u32>(elements: &mut [u8], planes: &[&[u8]; 4]) {
    for ((element, low), high) in elements.as_chunks_mut().0.iter_mut().zip(planes[0]).zip(planes[1]) {
        let word = u16::from(*low) | u16::from(*high) << 8;
        *element = word.rotate_right(TURN).to_le_bytes();
    }
}

#[inline(always)]
fn join4<const TURN: u32>(elements: &mut [u8], planes: &[&[u8]; 4]) {
    let all = planes[0].iter().zip(planes[1]).zip(planes[2]).zip(planes[3]);
    for (element, (((a, b), c), d)) in elements.as_chunks_mut().0.iter_mut().zip(all) {
        let word = u32::from(*a) | u32::from(*b) << 8 | u32::from(*c) << 16 | u32::from(*d) << 24;
        *element = word.rotate_right(TURN).to_le_bytes();
    }
}

#[cfg(test)]
mod tests;
