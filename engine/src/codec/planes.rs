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
    let (out_lead, rest) =
        out.split_at_mut_checked(lead).ok_or_else(|| Malformed::new("planes longer than their frame"))?;
    let count = rest.len() / width;
    let (elements, tail) = rest.split_at_mut(count * width);
    out_lead.copy_from_slice(take.bytes(lead)?);
    // Coded planes are decoded side by side into the scratch; raw ones are used where they stand.
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
    tail.copy_from_slice(take.bytes(tail.len())?);
    take.end()?;
    join(elements, width, flags & FLAG_ROTATED != 0, &planes);
    Ok(())
}

/// Elements to planes, least significant byte first: as many as it holds into `first`, the others into `rest`. Plain loops
/// over equal slices and a constant rotation, which the compiler turns into vector code.
fn split(elements: &[u8], layout: Layout, count: usize, first: &mut [u8], rest: &mut [u8]) {
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

fn split2<const TURN: u32>(elements: &[u8], [low, high]: [&mut [u8]; 2]) {
    for ((element, low), high) in elements.as_chunks().0.iter().zip(low).zip(high) {
        let word = u16::from_le_bytes(*element).rotate_left(TURN);
        *low = word as u8;
        *high = (word >> 8) as u8;
    }
}

fn split4<const TURN: u32>(elements: &[u8], [p0, p1, p2, p3]: [&mut [u8]; 4]) {
    for ((((element, p0), p1), p2), p3) in elements.as_chunks().0.iter().zip(p0).zip(p1).zip(p2).zip(p3) {
        let word = u32::from_le_bytes(*element).rotate_left(TURN);
        *p0 = word as u8;
        *p1 = (word >> 8) as u8;
        *p2 = (word >> 16) as u8;
        *p3 = (word >> 24) as u8;
    }
}

/// Reverse of [`split`].
fn join(elements: &mut [u8], width: usize, rotated: bool, planes: &[&[u8]; 4]) {
    match (width, rotated) {
        (2, false) => join2::<0>(elements, planes),
        (2, true) => join2::<1>(elements, planes),
        (_, false) => join4::<0>(elements, planes),
        (_, true) => join4::<1>(elements, planes),
    }
}

fn join2<const TURN: u32>(elements: &mut [u8], planes: &[&[u8]; 4]) {
    for ((element, low), high) in elements.as_chunks_mut().0.iter_mut().zip(planes[0]).zip(planes[1]) {
        let word = u16::from(*low) | u16::from(*high) << 8;
        *element = word.rotate_right(TURN).to_le_bytes();
    }
}

fn join4<const TURN: u32>(elements: &mut [u8], planes: &[&[u8]; 4]) {
    let all = planes[0].iter().zip(planes[1]).zip(planes[2]).zip(planes[3]);
    for (element, (((a, b), c), d)) in elements.as_chunks_mut().0.iter_mut().zip(all) {
        let word = u32::from(*a) | u32::from(*b) << 8 | u32::from(*c) << 16 | u32::from(*d) << 24;
        *element = word.rotate_right(TURN).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layouts() -> Vec<Layout> {
        [2, 4]
            .into_iter()
            .flat_map(|width| (0..width).map(move |lead| (width, lead)))
            .flat_map(|(width, lead)| {
                [false, true].map(|rotated| Layout { width, lead, rotated, coded: [true; 4] })
            })
            .collect()
    }

    fn round(plain: &[u8], layout: Layout) -> usize {
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        assert!(encode(plain, layout, &mut scratch, &mut out));
        let mut back = vec![0x55; plain.len()];
        decode(&out, &mut Scratch::default(), &mut back).unwrap();
        assert_eq!(back, plain, "{layout:?}");
        out.len()
    }

    #[test]
    fn every_length_and_layout_comes_back() {
        for layout in layouts() {
            for len in layout.lead..40 {
                let plain: Vec<u8> = (0..len as u8).map(|b| b.wrapping_mul(37)).collect();
                round(&plain, layout);
            }
        }
    }

    #[test]
    fn every_bf16_and_odd_f32_comes_back() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        round(&all, Layout { width: 2, lead: 0, rotated: true, coded: [true; 4] });
        let odd = [f32::NAN, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 8.0, 1.0];
        let mut plain: Vec<u8> = odd.iter().flat_map(|f| f.to_bits().to_le_bytes()).collect();
        plain.extend_from_slice(&0x7fc0_1234u32.to_le_bytes());
        round(&plain, Layout { width: 4, lead: 0, rotated: true, coded: [true; 4] });
    }

    #[test]
    fn a_constant_plane_costs_nothing() {
        let plain: Vec<u8> = (0..100_000u32)
            .flat_map(|i| (i.wrapping_mul(2_654_435_761) & 0xffff_0000).to_le_bytes())
            .collect();
        let len = round(&plain, Layout { width: 4, lead: 0, rotated: false, coded: [true; 4] });
        assert!(len < 201_000, "{len}");
    }

    #[test]
    fn lies_are_errors() {
        let plain: Vec<u8> = (0..4000u32).flat_map(|i| ((i % 7) as u16 * 300).to_le_bytes()).collect();
        let mut out = Vec::new();
        assert!(encode(
            &plain,
            Layout { width: 2, lead: 1, rotated: true, coded: [true; 4] },
            &mut Scratch::default(),
            &mut out
        ));
        let decode_to = |bytes: &[u8], len: usize| decode(bytes, &mut Scratch::default(), &mut vec![0; len]);
        assert!(decode_to(&out, plain.len()).is_ok());
        for len in [0, 1, plain.len() - 1, plain.len() + 1, plain.len() + 2] {
            assert!(decode_to(&out, len).is_err(), "{len}");
        }
        for cut in 0..out.len() {
            assert!(decode_to(&out[..cut], plain.len()).is_err(), "{cut}");
        }
        for (at, value) in [(0, 3), (0, 4), (1, 2), (2, 2), (3, 9), (4, 0xff), (7, 0x7f)] {
            let mut bad = out.clone();
            bad[at] = value;
            assert!(decode_to(&bad, plain.len()).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn anything_comes_back(plain in proptest::collection::vec(any::<u8>(), 4..600), which in 0usize..12) {
            round(&plain, layouts()[which]);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), len in 0usize..300) {
            drop(decode(&bytes, &mut Scratch::default(), &mut vec![0; len]));
        }
    }
}
