//! The recipe of a delta by grains as text: runs, steps, numbers (`docs/format.md`, "Delta by grains").

use super::{MAX_GRAINS, NEW};
use crate::error::Malformed;
use crate::format::bytes::Take;

const COPY: u64 = 0;
const REPLACE: u64 = 1;
const INSERT: u64 = 2;
const SEEK: u64 = 3;

/// What a writer wants coded.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// As [`super::Recipe::grains`].
    pub grains: Vec<u32>,
    /// For each grain of the plaintext that is new: the grain of the bases that stood in its place, which joins
    /// the prefix; or [`NEW`].
    pub near: Vec<u32>,
    /// Other grains of the bases that resemble the new ones, ascending.
    pub far: Vec<u32>,
}

impl Draft {
    /// Grains of the prefix in order: those of elsewhere, then those of the same place, so that the
    /// nearest stand nearest.
    pub fn prefix(&self) -> Vec<u32> {
        let near = self.grains.iter().zip(&self.near).filter(|(grain, near)| **grain == NEW && **near != NEW);
        self.far.iter().copied().chain(near.map(|(_, near)| *near)).collect()
    }

    /// As it stands in a frame.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let runs = runs(&self.far);
        varint(runs.len() as u64, &mut out);
        let mut after = 0;
        for (start, count) in runs {
            varint(u64::from(start - after), &mut out);
            varint(u64::from(count), &mut out);
            after = start + count;
        }
        let mut cursor = 0u32;
        let mut at = 0;
        while at < self.grains.len() {
            let (kind, wanted) = self.step(at);
            if let Some(wanted) = wanted.filter(|wanted| *wanted != cursor) {
                let moved = i64::from(wanted) - i64::from(cursor);
                varint((((moved << 1) ^ (moved >> 63)) as u64) << 2 | SEEK, &mut out);
                cursor = wanted;
            }
            let first = at;
            while at < self.grains.len() && self.step(at) == (kind, wanted.map(|w| w + (at - first) as u32)) {
                at += 1;
            }
            varint(((at - first) as u64) << 2 | kind, &mut out);
            if wanted.is_some() {
                cursor += (at - first) as u32;
            }
        }
        out
    }

    fn step(&self, at: usize) -> (u64, Option<u32>) {
        match (self.grains[at], self.near[at]) {
            (NEW, NEW) => (INSERT, None),
            (NEW, near) => (REPLACE, Some(near)),
            (grain, _) => (COPY, Some(grain)),
        }
    }
}

/// Ascending numbers as (first, count).
fn runs(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((start, count)) if *start + *count == *number => *count += 1,
            _ => runs.push((*number, 1)),
        }
    }
    runs
}

/// Appends a number, seven bits to a byte.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes one.
pub fn take_varint(take: &mut Take<'_>) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take.u8()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        value |= part << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed::new("a number of a recipe is too long"))
}

/// Grains of elsewhere in the prefix, where each grain comes from, and those of the same place in the prefix.
pub type Steps = (Vec<u32>, Vec<u32>, Vec<u32>);

/// A recipe taken apart: for a plaintext of `wanted` grains, and bases of so many.
pub fn steps(text: &[u8], wanted: usize, base_grains: u64) -> Result<Steps, Malformed> {
    let beyond = || Malformed::new("names a grain that its bases do not have");
    let too_many = || Malformed::new("has more grains than its plaintext");
    let mut take = Take(text);
    let mut far = Vec::new();
    let mut after = 0u64;
    for _ in 0..take_varint(&mut take)? {
        let (gap, count) = (take_varint(&mut take)?, take_varint(&mut take)?);
        let start = after.checked_add(gap).ok_or_else(beyond)?;
        after = start.checked_add(count).filter(|end| *end <= base_grains).ok_or_else(beyond)?;
        if count == 0 || count > (MAX_GRAINS - far.len()) as u64 {
            return Err(Malformed::new("has too much of a prefix"));
        }
        far.extend((start..after).map(|grain| grain as u32));
    }
    let (mut grains, mut near) = (Vec::with_capacity(wanted), Vec::new());
    let mut cursor = 0u64;
    while grains.len() < wanted {
        let step = take_varint(&mut take)?;
        let (kind, count) = (step & 3, step >> 2);
        if kind == SEEK {
            let moved = (count >> 1) as i64 ^ -((count & 1) as i64);
            cursor = cursor.checked_add_signed(moved).filter(|at| *at <= base_grains).ok_or_else(beyond)?;
            continue;
        }
        if count == 0 || count > (wanted - grains.len()) as u64 {
            return Err(too_many());
        }
        if kind == INSERT {
            grains.resize(grains.len() + count as usize, NEW);
            continue;
        }
        let end = cursor.checked_add(count).filter(|end| *end <= base_grains).ok_or_else(beyond)?;
        let named = (cursor..end).map(|grain| grain as u32);
        if kind == COPY {
            grains.extend(named);
        } else {
            near.extend(named);
            grains.resize(grains.len() + count as usize, NEW);
        }
        cursor = end;
    }
    take.end()?;
    Ok((far, grains, near))
}
