//! One frame of changed units: which older units it stands on, which of their grains it names, and what
//! is left to be coded.
//!
//! A base is one older unit, named by an edge. After a VACUUM a frame takes grains from a thousand of them, more
//! than a frame has edges: then an edge names a list, and stands for all that it describes.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::old::Old;
use super::{LEVEL, LEVEL_MOVED, MAX_HEIGHT};
use crate::codec::grains::{self, Draft, GRAIN_BYTES, MAX_PREFIX_GRAINS, NEW, grains_of};
use crate::error::Result;
use crate::format::MAX_FRAME_EDGES;
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind};
use crate::repo::frames::ByGrains;
use crate::repo::reader::BlobBytes;
use crate::repo::session::Session;

/// Anchors that a unit must share with what is new to become one more base: an edge costs 68 bytes.
const LEAST_SHARED: u64 = 2;

/// Bytes that an edge takes, in trailer and index,
const EDGE_COSTS: u64 = 68;
/// bytes that content takes which shares an anchor with an older unit and is coded without it,
const ANCHOR_COSTS: u64 = 50;
/// and what must be saved before a frame stands on lists.
const LISTS_COST: u64 = 4 << 10;
/// Lists that one frame stands on: each is some ten megabytes.
const MAX_LISTS: usize = 24;
/// New bytes of such a frame: what they share with older grains must find room in a prefix.
const MOVED_BYTES: usize = 2 << 20;

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

/// What the frame stands on.
struct Bases<'o, 'a> {
    old: &'o Old<'a>,
    edges: Vec<Edge>,
    /// Lengths of the blobs that the edges stand for.
    lens: Vec<u32>,
    /// Number of an older unit's first grain among those of all bases.
    first: HashMap<usize, u32>,
    grains: u32,
    height: u8,
}

impl<'o, 'a> Bases<'o, 'a> {
    fn new(old: &'o Old<'a>) -> Self {
        Self { old, edges: Vec::new(), lens: Vec::new(), first: HashMap::new(), grains: 0, height: 0 }
    }

    fn number(&mut self, at: usize) -> u32 {
        let len = self.old.units()[at].len;
        let first = *self.first.entry(at).or_insert(self.grains);
        self.grains += u32::try_from(grains_of(len as usize)).unwrap_or(0);
        self.lens.push(len);
        first
    }

    /// The number of a unit's first grain; it becomes a base if it stands no higher than `up_to`.
    fn unit(&mut self, at: usize, up_to: u8) -> Result<Option<u32>> {
        if let Some(first) = self.first.get(&at) {
            return Ok(Some(*first));
        }
        let Some(height) = self.old.height(at)?.filter(|height| *height <= up_to) else { return Ok(None) };
        if self.edges.len() == MAX_FRAME_EDGES {
            return Ok(None);
        }
        self.edges.push(Edge { how: 0, kind: BlobKind::Chunk as u8, id: self.old.units()[at].id });
        self.height = self.height.max(height);
        Ok(Some(self.number(at)))
    }

    /// All that a list describes.
    fn list(&mut self, number: usize) -> Result<()> {
        let list = &self.old.lists()[number];
        let height = self.old.list_height(list)?.filter(|height| *height <= MAX_HEIGHT);
        let Some(height) = height.filter(|_| self.edges.len() < MAX_FRAME_EDGES) else { return Ok(()) };
        self.edges.push(Edge { how: 1, kind: BlobKind::List as u8, id: list.id });
        self.height = self.height.max(height);
        for at in list.units.clone() {
            self.number(at);
        }
        Ok(())
    }
}

/// The grains of a unit beside those in its place.
struct Compared {
    /// The older unit in its place, and its bytes.
    near: Option<(usize, BlobBytes)>,
    same: Vec<bool>,
}

/// Grains of bases that the frame needs, by number: where they lie in `bytes`.
#[derive(Default)]
struct Stash {
    bytes: Vec<u8>,
    at: HashMap<u32, (usize, usize)>,
}

impl Stash {
    fn put(&mut self, number: u32, grain: &[u8]) {
        let bytes = &mut self.bytes;
        self.at.entry(number).or_insert_with(|| {
            bytes.extend_from_slice(grain);
            (bytes.len() - grain.len(), grain.len())
        });
    }

    fn get(&self, number: u32) -> Option<&[u8]> {
        self.at.get(&number).map(|(at, len)| &self.bytes[*at..at + len])
    }
}

/// What became of a group.
enum Made {
    Stored,
    /// It is shorter alone.
    Longer,
    /// A prefix has no room for what all of it shares with older units.
    TooMuch,
}

impl Group {
    /// Stores its units.
    pub fn store(mut self, session: &Session, old: Option<&Old<'_>>) -> Result<()> {
        // A short one may only stand last.
        self.units.sort_by_key(|unit| !unit.bytes.len().is_multiple_of(GRAIN_BYTES));
        let mut todo = vec![self];
        while let Some(mut group) = todo.pop() {
            let id = |unit: &Unit| (unit.id, u32::try_from(unit.bytes.len()).unwrap_or(u32::MAX));
            let ids: Vec<(BlobId, u32)> = group.units.iter().map(id).collect();
            let made = match (old, group.up_to) {
                (Some(old), Some(up_to)) => group.against(session, old, up_to, &ids)?,
                _ => Made::Longer,
            };
            match made {
                Made::Stored => {}
                Made::Longer => session.store_units(&group.plain(), &ids)?,
                Made::TooMuch => {
                    let rest = group.units.split_off(group.units.len() / 2);
                    todo.push(Self { units: rest, up_to: group.up_to, search: group.search });
                    todo.push(group);
                }
            }
        }
        Ok(())
    }

    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.units.iter().map(|unit| unit.bytes.len()).sum());
        self.units.iter().for_each(|unit| plain.extend_from_slice(&unit.bytes));
        plain
    }

    fn against(&self, session: &Session, old: &Old<'_>, up_to: u8, ids: &[(BlobId, u32)]) -> Result<Made> {
        match self.search {
            true => drop(old.anchors()?),
            false => old.prepare(self.units.iter().filter_map(|unit| unit.near))?,
        }
        let (compared, new) = self.compare(old, up_to)?;
        let shared = if self.search { shared(old, &new)? } else { Shared::default() };
        let lists = lists_for(old, &compared, &shared);
        // What moved comes from everywhere: all of the prefix is for that.
        let moved = !lists.is_empty();
        if moved && self.units.len() > 1 && new.len() > MOVED_BYTES {
            return Ok(Made::TooMuch);
        }
        let mut bases = Bases::new(old);
        for number in lists {
            bases.list(number)?;
        }
        let (mut draft, mut stash) = (Draft::default(), Stash::default());
        for (unit, compared) in self.units.iter().zip(&compared) {
            let near = match &compared.near {
                Some((at, bytes)) => bases.unit(*at, up_to)?.map(|first| (first, bytes)),
                None => None,
            };
            for (number, same) in compared.same.iter().enumerate() {
                let there = near.and_then(|(first, bytes)| {
                    let from = number * GRAIN_BYTES;
                    let grain = bytes.get(from..(from + GRAIN_BYTES).min(bytes.len()))?;
                    Some((first + u32::try_from(number).ok()?, grain)).filter(|_| !grain.is_empty())
                });
                let there = there.filter(|_| *same || !moved);
                if let Some((at, grain)) = there {
                    stash.put(at, grain);
                }
                let at = there.map_or(NEW, |(at, _)| at);
                draft.grains.push(if *same { at } else { NEW });
                draft.near.push(if *same { NEW } else { at });
            }
            debug_assert_eq!(compared.same.len(), grains_of(unit.bytes.len()));
        }
        // Of a unit that could not become a base after all every grain is new.
        drop((new, compared));
        let new = self.new_grains(&draft);
        draft.far = far(&mut bases, up_to, &shared, &draft, moved, &mut stash)?;
        if bases.edges.is_empty() {
            return Ok(Made::Longer);
        }
        let mut prefix = Vec::new();
        for number in draft.prefix() {
            prefix.extend_from_slice(stash.get(number).unwrap_or(&[]));
        }
        let mut encoded = Vec::new();
        if !grains::encode(&draft, &new, &prefix, if moved { LEVEL_MOVED } else { LEVEL }, &mut encoded) {
            return Ok(Made::Longer);
        }
        drop(prefix);
        let plain = self.plain();
        // What shares little is shorter among its neighbours, and stands on nothing.
        if encoded.len() > new.len() / 4 && session.is_shorter_alone(&plain, encoded.len()) {
            return Ok(Made::Longer);
        }
        let made = ByGrains {
            encoded: &encoded,
            edges: &bases.edges,
            lens: &bases.lens,
            grain: &|number| stash.get(number),
            height: bases.height,
        };
        session.store_units_against(&plain, ids, &made)?;
        Ok(Made::Stored)
    }

    /// Which grains are what they were, and the others one after the other.
    fn compare(&self, old: &Old<'_>, up_to: u8) -> Result<(Vec<Compared>, Vec<u8>)> {
        let (mut all, mut new) = (Vec::with_capacity(self.units.len()), Vec::new());
        for unit in &self.units {
            let mut near = None;
            if let Some(at) = unit.near
                && let Some(height) = old.height(at)?
                && let Some(bytes) = old.bytes(at, height.max(up_to))?
            {
                near = Some((at, bytes));
            }
            let there =
                |number: usize| near.as_ref().and_then(|(_, bytes)| bytes.chunks(GRAIN_BYTES).nth(number));
            let same: Vec<bool> =
                (0..).zip(unit.bytes.chunks(GRAIN_BYTES)).map(|(n, g)| there(n) == Some(g)).collect();
            let changed = unit.bytes.chunks(GRAIN_BYTES).zip(&same).filter(|(_, same)| !**same);
            changed.for_each(|(grain, _)| new.extend_from_slice(grain));
            all.push(Compared { near, same });
        }
        Ok((all, new))
    }

    fn new_grains(&self, draft: &Draft) -> Vec<u8> {
        let grains = self.units.iter().flat_map(|unit| unit.bytes.chunks(GRAIN_BYTES));
        let mut new = Vec::new();
        for (grain, _) in grains.zip(&draft.grains).filter(|(_, from)| **from == NEW) {
            new.extend_from_slice(grain);
        }
        new
    }
}

/// By older unit: how many anchors what is new shares with it, and with which of its grains how many.
type Shared = HashMap<usize, (u64, Vec<(u32, u64)>)>;

fn shared(old: &Old<'_>, new: &[u8]) -> Result<Shared> {
    let mut grains: HashMap<u32, u64> = HashMap::new();
    old.anchors()?.shared(new, |grain| *grains.entry(grain).or_default() += 1);
    let mut shared = Shared::new();
    for (grain, count) in grains {
        let (unit, within) = old.of_grain(grain);
        let (sum, grains) = shared.entry(unit).or_default();
        *sum += count;
        grains.push((within, count));
    }
    Ok(shared)
}

/// Lists to stand on, by number: none unless all was moved about, and edges to units would cost much or
/// reach little. A frame on lists is higher than all they describe.
fn lists_for(old: &Old<'_>, compared: &[Compared], shared: &Shared) -> Vec<usize> {
    let near: HashSet<usize> = compared.iter().filter_map(|c| c.near.as_ref().map(|(at, _)| *at)).collect();
    let grains = compared.iter().map(|c| c.same.len()).sum::<usize>();
    let same = compared.iter().flat_map(|c| &c.same).filter(|same| **same).count();
    if near.len() * 2 < compared.len() || same * 10 > grains {
        return Vec::new();
    }
    let mut others: Vec<u64> =
        shared.iter().filter(|(at, _)| !near.contains(at)).map(|(_, (sum, _))| *sum).collect();
    others.sort_unstable_by_key(|sum| Reverse(*sum));
    let edges = others.len().min(MAX_FRAME_EDGES.saturating_sub(near.len()));
    let beyond: u64 = others[edges..].iter().sum();
    if beyond * ANCHOR_COSTS + edges as u64 * EDGE_COSTS < LISTS_COST {
        return Vec::new();
    }
    let of_list = |list: &super::old::OldList| -> u64 {
        list.units.clone().filter_map(|at| shared.get(&at)).map(|(sum, _)| sum).sum()
    };
    let mut ranked: Vec<(u64, usize)> =
        old.lists().iter().map(of_list).zip(0..).filter(|(sum, _)| *sum > 0).collect();
    ranked.sort_unstable_by_key(|(sum, number)| (Reverse(*sum), *number));
    ranked.truncate(MAX_LISTS);
    let mut chosen: Vec<usize> = ranked.into_iter().map(|(_, number)| number).collect();
    chosen.sort_unstable();
    chosen
}

/// Grains that share content with what is new, of the units that share most, as many as the prefix has room
/// for. Ascending; their bytes go into `stash`.
fn far(
    bases: &mut Bases<'_, '_>,
    up_to: u8,
    shared: &Shared,
    draft: &Draft,
    moved: bool,
    stash: &mut Stash,
) -> Result<Vec<u32>> {
    let prefix: HashSet<u32> = draft.prefix().into_iter().collect();
    let left = MAX_PREFIX_GRAINS.saturating_sub(prefix.len());
    // Those that are bases already cost nothing more. On lists all are, and the prefix is what is short.
    let most = |grains: &[(u32, u64)]| grains.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut ranked: Vec<_> = shared.iter().map(|(unit, (sum, grains))| (*unit, *sum, &grains[..])).collect();
    ranked.sort_by_key(|(unit, sum, _)| (!bases.first.contains_key(unit), Reverse(*sum), *unit));
    let least = match moved {
        true => {
            let mut counts: Vec<u64> =
                ranked.iter().flat_map(|(.., grains)| grains.iter()).map(|(_, count)| *count).collect();
            counts.sort_unstable_by_key(|count| Reverse(*count));
            counts.get(left).map_or(0, |count| count + 1)
        }
        false => 0,
    };
    let mut far = Vec::new();
    for (unit, sum, grains) in ranked {
        if sum < LEAST_SHARED && !bases.first.contains_key(&unit) || most(grains) < least {
            continue;
        }
        let old = bases.old;
        let Some(height) = old.height(unit)? else { continue };
        let Some(first) = bases.unit(unit, up_to)? else { continue };
        let Some(bytes) = old.bytes(unit, height)? else { continue };
        for (within, _) in grains.iter().filter(|(_, count)| *count >= least) {
            let from = *within as usize * GRAIN_BYTES;
            let grain = bytes.get(from..(from + GRAIN_BYTES).min(bytes.len())).unwrap_or(&[]);
            if far.len() < left && !grain.is_empty() && !prefix.contains(&(first + within)) {
                stash.put(first + within, grain);
                far.push(first + within);
            }
        }
        if far.len() == left {
            break;
        }
    }
    far.sort_unstable();
    Ok(far)
}
