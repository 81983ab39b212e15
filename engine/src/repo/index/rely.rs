//! May a blob be relied on? A copy that stands is not enough: its frame may be a difference, and a dead
//! blob in a pack that stays may have lost its bases to a prune.
//!
//! Of each blob the decodable copy of least height is taken, and its bases from copies below it (design
//! §3.2), so the search always descends. What was found is kept while the index stays as it is: chains of a
//! database's copies are long, and their frames shared by hundreds of blobs.
//!
//! Memory: some 90 bytes for each blob in a frame with bases that was met, at most [`MAX_KNOWN`] of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::error::Result;
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::index::{Index, PackNumber, Place, Places};
use crate::repo::reader::Reader;

/// A copy that can be decoded, with all that this takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relied {
    /// Packs: of the copy, of its bases, and theirs.
    pub packs: HashSet<PackNumber>,
    /// Height of the copy. A frame that names the blob as its base must be higher.
    pub height: u8,
}

/// Blobs that are kept in mind.
const MAX_KNOWN: usize = 1 << 20;

/// What is known of a blob.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Its decodable copy of least height, which is not 0, and its frame.
    Copy(u8, usize),
    /// None below this height.
    NoneBelow(u16),
}

/// A frame that can be decoded.
#[derive(Debug)]
struct Whole {
    pack: PackNumber,
    /// Packs of its bases that stand alone.
    alone: Vec<PackNumber>,
    /// Frames of the others.
    below: Vec<usize>,
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Search {
    known: HashMap<BlobRef, Known>,
    /// Frames that have bases: `None` if one of them cannot be had.
    frames: Vec<Option<Whole>>,
    /// By place and height: one place may be said to hold frames of several heights.
    numbers: HashMap<(PackNumber, u32, u8), usize>,
    /// Copies beside others in frames that can be decoded: height and frame. Any of them does for a base.
    beside: HashMap<BlobRef, (u8, usize)>,
    /// What lists lead to.
    lists: HashMap<BlobId, Arc<[BlobRef]>>,
}

/// A copy that can be decoded: its pack, or its frame if that has bases.
#[derive(Debug, Clone, Copy)]
enum Found {
    Alone(PackNumber),
    Frame(u8, usize),
}

impl Found {
    fn height(self) -> u8 {
        match self {
            Self::Alone(_) => 0,
            Self::Frame(height, _) => height,
        }
    }
}

impl Search {
    fn below(
        &mut self,
        index: &Index,
        reader: &Reader,
        blob: &BlobRef,
        ceiling: u16,
    ) -> Result<Option<Found>> {
        let floor = match self.known.get(blob) {
            Some(Known::Copy(height, frame)) => {
                return Ok((u16::from(*height) < ceiling).then_some(Found::Frame(*height, *frame)));
            }
            Some(Known::NoneBelow(none)) if ceiling <= *none => return Ok(None),
            Some(Known::NoneBelow(none)) => *none,
            None => 0,
        };
        let places = index.usable_places(blob)?;
        self.among(index, reader, blob, places, floor, ceiling)
    }

    fn among(
        &mut self,
        index: &Index,
        reader: &Reader,
        blob: &BlobRef,
        mut places: Vec<Place>,
        floor: u16,
        ceiling: u16,
    ) -> Result<Option<Found>> {
        places.retain(|p| (floor..ceiling).contains(&p.height.into()));
        places.sort_by_key(|p| (p.height, p.pack));
        for place in places {
            if place.height == 0 {
                return Ok(Some(Found::Alone(place.pack)));
            }
            if let Some(frame) = self.frame(index, reader, &place)? {
                self.known.insert(*blob, Known::Copy(place.height, frame));
                return Ok(Some(Found::Frame(place.height, frame)));
            }
        }
        self.known.insert(*blob, Known::NoneBelow(ceiling));
        Ok(None)
    }

    /// The frame at a place, if each of its bases can be had from below it.
    fn frame(&mut self, index: &Index, reader: &Reader, place: &Place) -> Result<Option<usize>> {
        let key = (place.pack, place.offset, place.height);
        if let Some(number) = self.numbers.get(&key) {
            return Ok(self.frames[*number].is_some().then_some(*number));
        }
        let whole = self.bases(index, reader, &place.edges, place.height.into(), place.pack)?;
        let number = self.frames.len();
        self.numbers.insert(key, number);
        let is_whole = whole.is_some();
        self.frames.push(whole);
        if is_whole {
            for blob in index.blobs_at(place)? {
                if let Some(kind) = BlobKind::from_byte(blob.kind) {
                    self.beside.entry(BlobRef::new(kind, blob.id)).or_insert((place.height, number));
                }
            }
        }
        Ok(is_whole.then_some(number))
    }

    /// What stands below a frame of `pack`, if all of it can be had from below `ceiling`.
    fn bases(
        &mut self,
        index: &Index,
        reader: &Reader,
        edges: &[Edge],
        ceiling: u16,
        pack: PackNumber,
    ) -> Result<Option<Whole>> {
        let mut whole = Whole { pack, alone: Vec::new(), below: Vec::new() };
        for edge in edges {
            let Some(kind) = BlobKind::from_byte(edge.kind) else { return Ok(None) };
            let base = BlobRef::new(kind, edge.id);
            if !self.take_in(index, reader, &base, ceiling, &mut whole)? {
                return Ok(None);
            }
            if edge.how == 0 {
                continue;
            }
            if edge.how != 1 || kind != BlobKind::List {
                return Ok(None);
            }
            let Some(described) = self.described(reader, edge.id)? else { return Ok(None) };
            for blob in described.iter() {
                if !self.take_in(index, reader, blob, ceiling, &mut whole)? {
                    return Ok(None);
                }
            }
        }
        whole.alone.sort_unstable();
        whole.alone.dedup();
        whole.below.sort_unstable();
        whole.below.dedup();
        Ok(Some(whole))
    }

    fn take_in(
        &mut self,
        index: &Index,
        reader: &Reader,
        base: &BlobRef,
        ceiling: u16,
        whole: &mut Whole,
    ) -> Result<bool> {
        let beside = self.beside.get(base).filter(|(height, _)| u16::from(*height) < ceiling);
        let found = match beside {
            Some((height, frame)) => Some(Found::Frame(*height, *frame)),
            None => self.below(index, reader, base, ceiling)?,
        };
        match found {
            None => return Ok(false),
            Some(Found::Alone(pack)) if whole.alone.last() == Some(&pack) => {}
            Some(Found::Frame(_, frame)) if whole.below.last() == Some(&frame) => {}
            Some(Found::Alone(pack)) => whole.alone.push(pack),
            Some(Found::Frame(_, frame)) => whole.below.push(frame),
        }
        Ok(true)
    }

    /// All that a list leads to; `None` if it cannot be read.
    fn described(&mut self, reader: &Reader, list: BlobId) -> Result<Option<Arc<[BlobRef]>>> {
        if let Some(known) = self.lists.get(&list) {
            return Ok(Some(known.clone()));
        }
        match reader.led_to(list).map_err(|(_, error)| error) {
            Ok(blobs) => {
                let blobs: Arc<[BlobRef]> = blobs.into();
                self.lists.insert(list, blobs.clone());
                Ok(Some(blobs))
            }
            Err(error) if error.is_ours() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Packs by which what was found can be had.
    fn packs(&self, found: Found) -> HashSet<PackNumber> {
        match found {
            Found::Alone(pack) => HashSet::from([pack]),
            Found::Frame(_, frame) => self.packs_below(vec![frame]),
        }
    }

    fn packs_below(&self, mut todo: Vec<usize>) -> HashSet<PackNumber> {
        let mut packs = HashSet::new();
        let mut seen: HashSet<usize> = todo.iter().copied().collect();
        while let Some(whole) = todo.pop().map(|frame| self.frames.get(frame).and_then(Option::as_ref)) {
            let Some(whole) = whole else { continue };
            packs.insert(whole.pack);
            packs.extend(&whole.alone);
            todo.extend(whole.below.iter().filter(|frame| seen.insert(**frame)));
        }
        packs
    }
}

impl Index {
    fn search(&self) -> MutexGuard<'_, Search> {
        let mut search = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        if search.known.len() + search.beside.len() > MAX_KNOWN {
            *search = Search::default();
        }
        search
    }

    fn found(&self, blob: &BlobRef, reader: &Reader) -> Result<Option<(Found, MutexGuard<'_, Search>)>> {
        if self.is_empty() {
            return Ok(None);
        }
        // Most stand alone, and nobody needs to wait for another's search to find that out.
        let places = self.usable_places(blob)?;
        let mut search = self.search();
        let found = match search.known.get(blob) {
            Some(Known::Copy(height, frame)) => Some(Found::Frame(*height, *frame)),
            _ => search.among(self, reader, blob, places, 0, u16::MAX)?,
        };
        Ok(found.map(|found| (found, search)))
    }

    /// The copy of a blob that may be relied on; `None` if there is none. `reader` must read by this
    /// index.
    pub fn rely_on(&self, blob: &BlobRef, reader: &Reader) -> Result<Option<Relied>> {
        let found = self.found(blob, reader)?;
        Ok(found.map(|(found, search)| Relied { packs: search.packs(found), height: found.height() }))
    }

    /// The height of that copy alone.
    pub fn height_of(&self, blob: &BlobRef, reader: &Reader) -> Result<Option<u8>> {
        Ok(self.found(blob, reader)?.map(|(found, _)| found.height()))
    }

    /// Packs by which all that edges name can be had, each from a copy below `height`; `None` if
    /// that cannot be.
    pub fn packs_of_bases(
        &self,
        edges: &[Edge],
        height: u8,
        reader: &Reader,
    ) -> Result<Option<HashSet<PackNumber>>> {
        if edges.is_empty() || self.is_empty() {
            return Ok(edges.is_empty().then(HashSet::new));
        }
        let mut search = self.search();
        let Some(whole) = search.bases(self, reader, edges, height.into(), 0)? else { return Ok(None) };
        let mut packs = search.packs_below(whole.below);
        packs.extend(whole.alone);
        Ok(Some(packs))
    }

    fn usable_places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let mut places = self.look_up(blob)?;
        let packs = self.packs.read().unwrap_or_else(|e| e.into_inner());
        places.retain(|p| packs.get(p.pack as usize).is_some_and(|i| i.usable));
        Ok(places)
    }
}
