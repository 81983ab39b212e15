//! One frame of changed units: which older units it stands on, which of their grains it names, and what
//! is left to be coded.

use std::collections::HashMap;

use super::old::Old;
use crate::codec::grains::{self, Draft, GRAIN_BYTES, MAX_PREFIX_GRAINS, NEW, grains_of};
use crate::error::Result;
use crate::format::MAX_FRAME_EDGES;
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind};
use crate::repo::frames::ByGrains;
use crate::repo::reader::BlobBytes;
use crate::repo::session::Session;

/// Anchors that a unit must share with what is new to become one more base: an edge costs 68 bytes.
const LEAST_SHARED: u32 = 2;

/// A unit that is to be stored.
#[derive(Debug)]
pub struct Unit {
    /// Which part of the file.
    pub part: usize,
    pub id: BlobId,
    pub bytes: Vec<u8>,
    /// The older unit in its place.
    pub near: Option<usize>,
}

/// Units for one frame.
#[derive(Debug, Default)]
pub struct Group {
    pub units: Vec<Unit>,
    /// May it stand on older ones, up to this height?
    pub up_to: Option<u8>,
    /// Is it worth looking for what moved?
    pub search: bool,
}

/// An older unit that is a base.
struct Base {
    at: usize,
    height: u8,
    bytes: BlobBytes,
    /// Number of its first grain among those of all bases.
    first: u32,
}

#[derive(Default)]
struct Bases {
    all: Vec<Base>,
    grains: u32,
    of: HashMap<usize, usize>,
}

impl Bases {
    /// Adds it if it can be had and stands no higher than `up_to`.
    fn add(&mut self, old: &Old<'_>, at: usize, up_to: u8) -> Result<Option<usize>> {
        if let Some(known) = self.of.get(&at) {
            return Ok(Some(*known));
        }
        let Some(height) = old.height(at)?.filter(|height| *height <= up_to) else { return Ok(None) };
        let Some(bytes) = old.bytes(at, height)? else { return Ok(None) };
        let number = self.all.len();
        let first = self.grains;
        self.grains += u32::try_from(grains_of(bytes.len())).unwrap_or(0);
        self.all.push(Base { at, height, bytes, first });
        self.of.insert(at, number);
        Ok(Some(number))
    }

    fn grain(&self, number: u32) -> Option<&[u8]> {
        let after = self.all.partition_point(|base| base.first <= number);
        let base = &self.all[after.checked_sub(1)?];
        let from = (number - base.first) as usize * GRAIN_BYTES;
        base.bytes.get(from..(from + GRAIN_BYTES).min(base.bytes.len())).filter(|bytes| !bytes.is_empty())
    }
}

impl Group {
    /// Stores its units.
    pub fn store(mut self, session: &Session, old: Option<&Old<'_>>) -> Result<()> {
        // A short one may only stand last.
        self.units.sort_by_key(|unit| !unit.bytes.len().is_multiple_of(GRAIN_BYTES));
        let plain: Vec<u8> = self.units.iter().flat_map(|unit| &unit.bytes).copied().collect();
        let id = |unit: &Unit| (unit.id, u32::try_from(unit.bytes.len()).unwrap_or(u32::MAX));
        let ids: Vec<(BlobId, u32)> = self.units.iter().map(id).collect();
        if let (Some(old), Some(up_to)) = (old, self.up_to)
            && self.against(session, old, up_to, &plain, &ids)?
        {
            return Ok(());
        }
        session.store_units(&plain, &ids)
    }

    /// `false` if it is shorter alone.
    fn against(
        &self,
        session: &Session,
        old: &Old<'_>,
        up_to: u8,
        plain: &[u8],
        ids: &[(BlobId, u32)],
    ) -> Result<bool> {
        let mut bases = Bases::default();
        let mut draft = Draft::default();
        let mut new = Vec::new();
        if !self.search {
            old.prepare(self.units.iter().filter_map(|unit| unit.near))?;
        } else {
            old.anchors()?;
        }
        for unit in &self.units {
            let near = match unit.near {
                Some(at) => bases.add(old, at, up_to)?,
                None => None,
            };
            let near = near.map(|number| &bases.all[number]);
            for (number, grain) in unit.bytes.chunks(GRAIN_BYTES).enumerate() {
                let number_there = near.map(|base| base.first + number as u32);
                let there = near.and_then(|base| base.bytes.chunks(GRAIN_BYTES).nth(number));
                let (source, beside) = match (there, number_there) {
                    (Some(there), Some(at)) if there == grain => (at, NEW),
                    (Some(_), Some(at)) => (NEW, at),
                    _ => (NEW, NEW),
                };
                if source == NEW {
                    new.extend_from_slice(grain);
                }
                draft.grains.push(source);
                draft.near.push(beside);
            }
        }
        if self.search {
            let left = MAX_PREFIX_GRAINS.saturating_sub(draft.prefix().len());
            draft.far = far(old, &mut bases, up_to, &new, &draft, left)?;
        }
        if bases.all.is_empty() {
            return Ok(false);
        }
        let mut prefix = Vec::new();
        for number in draft.prefix() {
            prefix.extend_from_slice(bases.grain(number).unwrap_or(&[]));
        }
        let mut encoded = Vec::new();
        let level = std::env::var("X_LEVEL").ok().and_then(|v| v.parse().ok()).unwrap_or(9);
        if !grains::encode(&draft, &new, &prefix, level, &mut encoded) {
            return Ok(false);
        }
        drop(prefix);
        // What shares little is shorter among its neighbours, and stands on nothing.
        if encoded.len() > new.len() / 4 && session.is_shorter_alone(plain, encoded.len()) {
            return Ok(false);
        }
        let edges: Vec<Edge> = bases.all.iter().map(|base| edge(old.units()[base.at].id)).collect();
        let lens: Vec<u32> = bases.all.iter().map(|base| old.units()[base.at].len).collect();
        let made = ByGrains {
            encoded: &encoded,
            edges: &edges,
            lens: &lens,
            grain: &|number| bases.grain(number),
            height: bases.all.iter().map(|base| base.height).max().unwrap_or(0),
        };
        session.store_units_against(plain, ids, &made)?;
        Ok(true)
    }
}

fn edge(id: BlobId) -> Edge {
    Edge { how: 0, kind: BlobKind::Chunk as u8, id }
}

/// Grains that share content with `new`, at most `left` of them, of the units that share most. Ascending.
fn far(
    old: &Old<'_>,
    bases: &mut Bases,
    up_to: u8,
    new: &[u8],
    draft: &Draft,
    left: usize,
) -> Result<Vec<u32>> {
    let mut shared: HashMap<u32, u32> = HashMap::new();
    old.anchors()?.shared(new, |grain| *shared.entry(grain).or_default() += 1);
    let mut by_unit: HashMap<usize, (u32, Vec<u32>)> = HashMap::new();
    for (grain, count) in shared {
        let (unit, within) = old.of_grain(grain);
        let (sum, grains) = by_unit.entry(unit).or_default();
        *sum += count;
        grains.push(within);
    }
    let mut ranked: Vec<_> = by_unit.into_iter().collect();
    // Those that are bases already cost nothing more.
    ranked.sort_by_key(|(unit, (sum, _))| (!bases.of.contains_key(unit), std::cmp::Reverse(*sum), *unit));
    let near: std::collections::HashSet<u32> = draft.prefix().into_iter().collect();
    let mut far = Vec::new();
    for (unit, (sum, mut grains)) in ranked {
        let known = bases.of.contains_key(&unit);
        if !known && (sum < LEAST_SHARED || bases.all.len() >= MAX_FRAME_EDGES) {
            continue;
        }
        if far.len() + grains.len() > left {
            break;
        }
        let Some(number) = bases.add(old, unit, up_to)? else { continue };
        let first = bases.all[number].first;
        grains.sort_unstable();
        far.extend(grains.into_iter().map(|within| first + within).filter(|grain| !near.contains(grain)));
    }
    far.sort_unstable();
    Ok(far)
}
