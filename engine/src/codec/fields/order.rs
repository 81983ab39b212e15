//! Runs of symbols ordered by what is known of them already: the scale of its block says how far
//! numbers spread, and the ratio of least value to scale where their middle lies.
//!
//! A key is computed with integers from symbols of earlier streams, which a decoder has by then.

use super::layout::{Layout, READINGS, Term};
use crate::codec::estimate::bits_of;

/// Groups of runs, at most; of single symbols four times as many, whose tables of codes are smaller.
const GROUPS: usize = 4;
/// Symbols to a group, at least: it has a table of codes.
const MIN_GROUP: usize = 16 << 10;
const MIN_SINGLES: usize = 2 << 10;
/// Keys looked at.
const SAMPLE: usize = 4 << 10;
/// A group's table of codes takes about so many bits for each symbol that occurs,
const TABLE_BITS: f64 = 5.0;
/// and in a sample each hides so many.
const UNSEEN_BITS: f64 = 0.72;
/// A group that saves less is stored raw.
const WORTH: f64 = 63.0 / 64.0;

/// What a term adds for each value of its symbol, before its weight.
fn readings(reading: u8) -> [i32; 256] {
    std::array::from_fn(|value| {
        let value = value as i32;
        match reading % READINGS {
            0 => value,
            1 => logarithm(value),
            2 => logarithm(i32::from(value as u8 as i8).abs()),
            _ => value & 0x7f,
        }
    })
}

/// The bits that a half-precision number of this value would have: nearly linear in its logarithm, and so
/// to be compared with the bits of halves.
fn logarithm(value: i32) -> i32 {
    if value <= 0 {
        return 0;
    }
    let exponent = value.ilog2();
    ((exponent as i32 + 15) << 10) | ((value << 10 >> exponent) & 0x3ff)
}

/// The keys of all runs of stream `number`; `symbols` holds the streams before it, one after the other.
pub fn keys(layout: &Layout, number: usize, blocks: usize, symbols: &[u8], keys: &mut Vec<i32>) {
    let stream = &layout.streams[number];
    let lanes = stream.lanes.len();
    keys.clear();
    keys.resize(blocks * lanes, 0);
    for Term { stream: of, reading, weight } in &stream.key {
        let of = usize::from(*of);
        let per_block = layout.streams[of].per_block();
        let before: usize = layout.streams[..of].iter().map(|s| s.per_block()).sum();
        let from = &symbols[before * blocks..][..per_block * blocks];
        let table = readings(*reading).map(|value| value.wrapping_mul(i32::from(*weight)));
        let add = |key: &mut i32, symbol: u8| *key = key.wrapping_add(table[usize::from(symbol)]);
        if per_block == lanes {
            keys.iter_mut().zip(from).for_each(|(key, symbol)| add(key, *symbol));
            continue;
        }
        for (keys, symbols) in keys.chunks_exact_mut(lanes).zip(from.chunks_exact(per_block)) {
            for (lane, key) in keys.iter_mut().enumerate() {
                add(key, symbols[lane * per_block / lanes]);
            }
        }
    }
}

/// Bounds between groups of about as many runs each, rising; none where ordering gains nothing.
pub fn choose(keys: &[i32], run: usize, symbols: &[u8]) -> Vec<i32> {
    let (most, least) = if run == 1 { (4 * GROUPS, MIN_SINGLES) } else { (GROUPS, MIN_GROUP) };
    let groups = most.min(symbols.len() / least);
    if groups < 2 {
        return Vec::new();
    }
    let step = keys.len().div_ceil(SAMPLE);
    let mut sample: Vec<i32> = keys.iter().step_by(step).copied().collect();
    sample.sort_unstable();
    let mut bounds: Vec<i32> = (1..groups).map(|i| sample[i * sample.len() / groups]).collect();
    bounds.dedup();
    bounds.retain(|bound| *bound > sample[0]);
    let mut counts = vec![[0u32; 256]; bounds.len() + 1];
    for (key, run) in keys.iter().zip(symbols.chunks_exact(run)).step_by(step) {
        let of_group = bounds.iter().filter(|bound| key >= bound).count();
        run.iter().for_each(|symbol| counts[of_group][usize::from(*symbol)] += 1);
    }
    let whole = std::array::from_fn(|symbol| counts.iter().map(|c| c[symbol]).sum());
    let cost = |counts: &[u32; 256]| {
        let kinds = counts.iter().filter(|c| **c > 0).count() as f64;
        let raw = counts.iter().sum::<u32>() as f64 * 8.0 * step as f64;
        let bits = (bits_of(counts) + kinds * UNSEEN_BITS) * step as f64 + kinds * TABLE_BITS;
        if bits < raw * WORTH { bits } else { raw }
    };
    if counts.iter().map(cost).sum::<f64>() < cost(&whole) { bounds } else { Vec::new() }
}

/// The group of every key: how many of the bounds are not above it.
pub fn groups(keys: &[i32], bounds: &[i32], groups: &mut Vec<u8>) {
    groups.clear();
    groups.resize(keys.len(), 0);
    for bound in bounds {
        for (group, key) in groups.iter_mut().zip(keys) {
            *group += u8::from(key >= bound);
        }
    }
}
