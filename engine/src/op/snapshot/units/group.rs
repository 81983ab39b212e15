//! One frame of changed units: which older units it stands on, which of their grains it names, and what
//! is left to be coded.
//!
//! A base is one older unit, named by an edge. After a VACUUM a frame takes grains from a thousand of them, more
//! than a frame has edges: then an edge names a list, and stands for all that it describes.

use super::bases::{Bases, Stash};
use super::moved::{Shared, far, lists_for, shared};
use super::old::Old;
use super::{LEVEL, LEVEL_MOVED};
use crate::codec::grains::{self, Draft, GRAIN_BYTES, NEW, grains_of};
use crate::error::{Error, Result};
use crate::id::BlobId;
use crate::repo::frames::ByGrains;
use crate::repo::reader::BlobBytes;
use crate::repo::session::Session;

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
    /// See [`Group::plain`].
    plain: Vec<u8>,
}

/// The grains of a unit beside those in its place.
pub struct Compared {
    /// The older unit in its place, and its bytes.
    pub near: Option<(usize, BlobBytes)>,
    /// Which of them are the same.
    pub same: Vec<bool>,
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
    /// Of these units.
    pub fn new(units: Vec<Unit>, up_to: Option<u8>, search: bool) -> Self {
        Self { units, up_to, search, plain: Vec::new() }
    }

    /// Stores its units.
    pub fn store(mut self, session: &Session, old: Option<&Old<'_>>) -> Result<()> {
        // A short one may only stand last.
        self.units.sort_by_key(|unit| !unit.bytes.len().is_multiple_of(GRAIN_BYTES));
        let mut todo = vec![self];
        while let Some(mut group) = todo.pop() {
            let id = |unit: &Unit| (unit.id, u32::try_from(unit.bytes.len()).unwrap_or(u32::MAX));
            let ids: Vec<(BlobId, u32)> = group.units.iter().map(id).collect();
            let made = match (old, group.up_to) {
                (Some(old), Some(up_to)) if !old.is_given_up() => {
                    match group.against(session, old, up_to, &ids) {
                        // A snapshot that costs more is better than none.
                        Err(error @ Error::Temporary { .. }) => {
                            old.give_up(&error);
                            Made::Longer
                        }
                        made => made?,
                    }
                }
                _ => Made::Longer,
            };
            match made {
                Made::Stored => {}
                Made::Longer => session.store_units(group.plain(), &ids)?,
                Made::TooMuch => {
                    let rest = group.units.split_off(group.units.len() / 2);
                    todo.push(Self::new(rest, group.up_to, group.search));
                    todo.push(group);
                }
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.units.iter().map(|unit| unit.bytes.len()).sum()
    }

    /// Its units one after the other. They have no bytes of their own from then on.
    fn plain(&mut self) -> &[u8] {
        let plain = &mut self.plain;
        plain.reserve_exact(self.units.iter().map(|unit| unit.bytes.len()).sum());
        self.units.iter_mut().for_each(|unit| plain.extend_from_slice(&std::mem::take(&mut unit.bytes)));
        plain
    }

    fn against(
        &mut self,
        session: &Session,
        old: &Old<'_>,
        up_to: u8,
        ids: &[(BlobId, u32)],
    ) -> Result<Made> {
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
        let (mut draft, mut stash) = (Draft::default(), Stash::with_capacity(self.len()));
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
        let numbers = draft.prefix();
        let mut prefix = Vec::with_capacity(numbers.len() * GRAIN_BYTES);
        for number in numbers {
            prefix.extend_from_slice(stash.get(number).unwrap_or(&[]));
        }
        let mut encoded = Vec::new();
        if !grains::encode(&draft, &new, &prefix, if moved { LEVEL_MOVED } else { LEVEL }, &mut encoded) {
            return Ok(Made::Longer);
        }
        let new_len = new.len();
        drop((prefix, new));
        let plain = self.plain();
        // What shares little is shorter among its neighbours, and stands on nothing.
        if encoded.len() > new_len / 4 && session.is_shorter_alone(plain, encoded.len()) {
            return Ok(Made::Longer);
        }
        let made = ByGrains {
            encoded: &encoded,
            edges: &bases.edges,
            lens: &bases.lens,
            grain: &|number| stash.get(number),
            height: bases.height,
        };
        session.store_units_against(plain, ids, &made)?;
        Ok(Made::Stored)
    }

    /// Which grains are what they were, and the others one after the other.
    fn compare(&self, old: &Old<'_>, up_to: u8) -> Result<(Vec<Compared>, Vec<u8>)> {
        let (mut all, mut new) = (Vec::with_capacity(self.units.len()), Vec::with_capacity(self.len()));
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
        let mut new =
            Vec::with_capacity(draft.grains.iter().filter(|from| **from == NEW).count() * GRAIN_BYTES);
        for (grain, _) in grains.zip(&draft.grains).filter(|(_, from)| **from == NEW) {
            new.extend_from_slice(grain);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fails after they were laid out must not store nothing under their ids.
    #[test]
    fn units_are_laid_out_once_and_stay() {
        let unit =
            |part: usize, len| Unit { part, id: BlobId([1; 32]), bytes: vec![part as u8; len], near: None };
        let mut group = Group::new(vec![unit(1, 70), unit(2, 30)], None, false);
        let wanted = [vec![1; 70], vec![2; 30]].concat();
        assert_eq!(group.plain(), wanted);
        assert_eq!(group.plain(), wanted);
    }
}
