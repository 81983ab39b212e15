//! What is worth trying, from a sample: the lengths of differences for each exponent of the base,
//! for every way the numbers may be read and predicted.

use super::numbers::Layout;
use super::words::{self, Kind};
use super::{Element, Hint, fields};
use crate::codec::estimate::{Choice, Look};
use crate::codec::fields::Layout as Fields;
use crate::codec::fields::blocks;

/// Elements of a piece of the sample, of which there are [`PIECES`].
const PIECE: usize = 2 << 10;
const PIECES: usize = 4;
/// What lengths alone say is a little more than what is reached.
const REACHED: f64 = 0.94;
/// What a length that occurs costs in a table of codes, in so small a sample.
const TABLE_BITS: f64 = 5.0;
/// A second base is a further read at restore: it has to save this share.
const SECOND_BASE: f64 = 0.98;

/// How fields may be compared with those of the base, and the share of the plaintext that would take.
pub fn fields(plain: &[u8], base: &[u8], hint: Hint, alone: f64) -> Option<(&'static Fields, f64)> {
    let layout = match hint.element {
        Element::Blocks(block) => block.against(),
        Element::Bytes(1) => blocks::bytes(),
        Element::Bytes(4) => blocks::halves_of_bytes(),
        _ => return None,
    };
    fields::share(plain, base, layout, alone).map(|share| (layout, share))
}

/// The likeliest layout as numbers, and the share of the plaintext it would take.
pub fn numbers(plain: &[u8], bases: &[&[u8]], hint: Hint, alone: &Look) -> Option<(Layout, f64)> {
    let (kinds, lead): (&[Kind], usize) = match (hint.element, alone.choice) {
        (Element::Bf16, _) => (&[Kind::BF16], 0),
        (Element::F16, _) => (&[Kind::F16], 0),
        (Element::F32, _) => (&[Kind::F32], 0),
        (Element::Bytes(2), _) => (&[Kind::I16, Kind::BF16, Kind::F16], 0),
        (Element::Bytes(4), _) => (&[Kind::I32, Kind::F32], 0),
        (Element::Unknown, Choice::Planes(planes)) if planes.width == 2 => {
            (&[Kind::BF16, Kind::F16, Kind::I16], planes.lead)
        }
        (Element::Unknown, Choice::Planes(planes)) => (&[Kind::F32, Kind::I32], planes.lead),
        _ => return None,
    };
    let mut best: Option<(Layout, f64)> = None;
    // Where low bytes are all zeros, entropy alone mistakes where an element begins.
    let leads = if lead == 0 { &[0][..] } else { &[lead, 0] };
    for (kind, lead) in kinds.iter().flat_map(|kind| leads.iter().map(move |lead| (kind, *lead))) {
        let layout = Layout { kind: *kind, lead, quarters: 0 };
        let share = share(plain, bases, layout, alone)?;
        if best.is_none_or(|(_, least)| share < least) {
            best = Some((layout, share));
        }
    }
    let Layout { kind, lead, .. } = best?.0;
    if bases.len() > 1 {
        let mut stepped: Option<(Layout, f64)> = None;
        for quarters in 1..=4 {
            let layout = Layout { kind, lead, quarters };
            let Some(share) = share(plain, bases, layout, alone) else { break };
            if stepped.is_some_and(|(_, least)| share >= least) {
                break;
            }
            stepped = Some((layout, share));
        }
        best = match (best, stepped) {
            (Some((_, one)), Some((layout, two))) if two < one * SECOND_BASE => Some((layout, two)),
            _ => best,
        };
    }
    best
}

/// Share of `plain` that a sample of it would take; what no base covers is encoded alone.
fn share(plain: &[u8], bases: &[&[u8]], layout: Layout, alone: &Look) -> Option<f64> {
    let covered = layout.covered(plain.len(), bases);
    if covered < 64 {
        return None;
    }
    let width = layout.kind.width;
    let prediction = layout.prediction(covered, bases);
    let elements = &plain[layout.lead..][..covered];
    let zeros = words::common_zeros(layout.kind, elements, prediction);
    let (count, mut tally) = (covered / width, [[0u16; 34]; 256]);
    let mut seen = 0;
    for piece in 0..PIECES {
        let len = PIECE.min(count / PIECES);
        let start = (count - len) / (PIECES - 1) * piece * width;
        let end = start + len * width;
        seen += len;
        words::each(
            layout.kind,
            &elements[start..end],
            prediction.range(start, end),
            |difference, exponent| {
                let number = if width == 2 {
                    words::fold2(difference as u16, zeros).into()
                } else {
                    words::fold4(difference, zeros)
                };
                tally[usize::from(exponent)][32 - number.leading_zeros() as usize] += 1;
                true
            },
        );
    }
    let bits: f64 = tally.iter().map(cost).sum();
    let covered_share = covered as f64 / plain.len() as f64;
    let share = bits / (seen.max(1) * width * 8) as f64 * REACHED;
    Some(share * covered_share + alone.share.unwrap_or(1.0) * (1.0 - covered_share))
}

/// Bits of all numbers of one exponent: their lengths by entropy, what is below the first bit as it
/// is, and something for telling the lengths apart, lest mantissa bits be taken for exponents.
fn cost(lengths: &[u16; 34]) -> f64 {
    let total: u32 = lengths.iter().map(|c| u32::from(*c)).sum();
    let of = |(length, count): (usize, &u16)| {
        let count = f64::from(*count);
        TABLE_BITS + count * ((f64::from(total) / count).log2() + length.saturating_sub(1) as f64)
    };
    lengths.iter().enumerate().filter(|(_, c)| **c > 0).map(of).sum()
}
