//! What the index holds: which index objects were taken in, which packs they name and under
//! which numbers, and which snapshots' trees this machine vouches for.
//!
//! A small file beside sled. It is removed before sled changes and written after sled was
//! flushed, so that its presence is the mark of a clean close.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::format::index::{IndexObject, IndexedPack};
use crate::format::wire::{self, Record};
use crate::id::{BlobId, IndexId, PackId};
use crate::repo::cache::CacheDir;
use crate::repo::index::{PackInfo, PackNumber};

/// Its name in the cache directory.
pub const FILE: &str = "catalogue";
/// Trees vouched for that are kept in mind.
const MAX_VOUCHED: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PackRow {
    id: PackId,
    size: u64,
    epoch: u16,
    pack_kind: u8,
    usable: bool,
    /// Are its entries in the look-up? Not when that was built anew while no index object
    /// named the pack.
    held: bool,
    /// Is it listed in `data/`? Found out once a run.
    #[serde(skip)]
    stands: Option<bool>,
}

impl PackRow {
    fn stands(&mut self, standing: &HashSet<PackId>) -> bool {
        *self.stands.get_or_insert_with(|| standing.contains(&self.id))
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    generation: u64,
    entries: u64,
    packs: Vec<PackRow>,
    objects: Vec<(IndexId, Vec<PackNumber>)>,
    vouched: Vec<(BlobId, u64)>,
}

impl Record for Stored {
    const VERSION: u8 = 4;
    const LIMIT_BYTES: usize = 1 << 30;
    const WHAT: &'static str = "catalogue";
}

/// The catalogue in memory.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Goes up whenever a pack that was usable no longer is.
    generation: u64,
    /// Entries that the look-up should hold.
    entries: u64,
    packs: Vec<PackRow>,
    /// Made at the first need: a run that finds nothing new has none.
    numbers: HashMap<PackId, PackNumber>,
    objects: HashMap<IndexId, Vec<PackNumber>>,
    vouched: Vec<(BlobId, u64)>,
    /// The look-up was built anew since this was loaded or last asked.
    released: bool,
}

/// Removes what this machine knows: an index object that was wrong has told it.
pub fn forget(cache: &CacheDir) {
    if !cache.remove(FILE) {
        tracing::warn!("the local index may stay out of date");
    }
}

impl Catalogue {
    /// Reads it; `None` if it is not there, damaged, or of another version.
    pub fn load(cache: &CacheDir) -> Option<Self> {
        let bytes = cache.read(FILE, Stored::LIMIT_BYTES as u64)?;
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let stored: Stored = wire::decode(body).ok()?;
        let count = PackNumber::try_from(stored.packs.len()).ok()?;
        if stored.objects.iter().flat_map(|(_, numbers)| numbers).any(|n| *n >= count) {
            return None;
        }
        Some(Self {
            generation: stored.generation,
            entries: stored.entries,
            packs: stored.packs,
            numbers: HashMap::new(),
            objects: stored.objects.into_iter().collect(),
            vouched: stored.vouched,
            released: false,
        })
    }

    /// Writes it.
    pub fn store(&self, cache: &CacheDir) {
        let stored = Stored {
            generation: self.generation,
            entries: self.entries,
            packs: self.packs.clone(),
            objects: self.objects.iter().map(|(id, numbers)| (*id, numbers.clone())).collect(),
            vouched: self.vouched.clone(),
        };
        let mut bytes = wire::encode(&stored);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        cache.write(FILE, &bytes);
    }

    /// Is more than half of it about packs that are gone? Then it is better made anew.
    pub fn is_mostly_dead(&mut self, listed: &BTreeSet<IndexId>, standing: &HashSet<PackId>) -> bool {
        let named = self.named_where(|id| listed.contains(id));
        let rows = named.iter().zip(&mut self.packs);
        let alive = rows.filter_map(|(named, row)| (*named && row.stands(standing)).then_some(())).count();
        self.packs.len() > 64 && alive < self.packs.len() / 2
    }

    /// Forgets index objects that are no longer listed. Entries of packs that only they named
    /// stay in sled, unusable.
    pub fn drop_vanished(&mut self, listed: &BTreeSet<IndexId>) {
        self.objects.retain(|id, _| listed.contains(id));
    }

    /// Was this index object taken in?
    pub fn knows(&self, id: &IndexId) -> bool {
        self.objects.contains_key(id)
    }

    /// Index objects taken in.
    pub fn object_ids(&self) -> impl Iterator<Item = IndexId> {
        self.objects.keys().copied()
    }

    /// Entries that the look-up should hold.
    pub fn entry_count(&self) -> u64 {
        self.entries
    }

    /// The look-up is about to be built anew: it holds nothing yet.
    pub fn release(&mut self) {
        self.released = true;
        self.entries = 0;
        self.packs.iter_mut().for_each(|row| row.held = false);
    }

    /// Was the look-up built anew since this was last asked?
    pub fn take_released(&mut self) -> bool {
        std::mem::take(&mut self.released)
    }

    /// Forgets one index object.
    pub fn drop_object(&mut self, id: &IndexId) {
        self.objects.remove(id);
    }

    /// Notes an index object; gives those of its packs that the look-up does not hold yet and
    /// must be given now.
    pub fn register<'o>(
        &mut self,
        id: IndexId,
        object: &'o IndexObject,
    ) -> Vec<(PackNumber, &'o IndexedPack)> {
        self.number_packs();
        let mut fresh = Vec::new();
        let mut named = Vec::with_capacity(object.packs.len());
        for pack in &object.packs {
            let next = PackNumber::try_from(self.packs.len()).expect("because a pack takes megabytes");
            let number = *self.numbers.entry(pack.id).or_insert(next);
            if number == next {
                self.packs.push(PackRow {
                    id: pack.id,
                    size: pack.size,
                    epoch: pack.epoch,
                    pack_kind: pack.pack_kind,
                    usable: false,
                    held: false,
                    stands: None,
                });
            }
            let row = &mut self.packs[number as usize];
            if !std::mem::replace(&mut row.held, true) {
                self.entries += pack.frames.iter().map(|f| f.blobs.len() as u64).sum::<u64>();
                fresh.push((number, pack));
            }
            named.push(number);
        }
        self.objects.insert(id, named);
        fresh
    }

    fn number_packs(&mut self) {
        if self.numbers.len() < self.packs.len() {
            self.numbers = (0..).zip(&self.packs).map(|(number, row)| (row.id, number)).collect();
        }
    }

    /// By pack number: does one of these index objects name it?
    fn named_where(&self, object: impl Fn(&IndexId) -> bool) -> Vec<bool> {
        let mut named = vec![false; self.packs.len()];
        for (_, numbers) in self.objects.iter().filter(|(id, _)| object(id)) {
            numbers.iter().for_each(|number| named[*number as usize] = true);
        }
        named
    }

    /// Packs that some index object names.
    pub fn named(&self) -> HashSet<PackId> {
        let named = self.named_where(|_| true);
        named.iter().zip(&self.packs).filter(|(named, _)| **named).map(|(_, row)| row.id).collect()
    }

    /// Decides for each pack whether it may be relied on.
    pub fn judge(&mut self, standing: &HashSet<PackId>, shunned: impl Fn(&PackId) -> bool) -> Vec<PackInfo> {
        let named = self.named_where(|_| true);
        let mut lost = false;
        let infos = named
            .into_iter()
            .zip(&mut self.packs)
            .map(|(named, row)| {
                let stands = row.stands(standing);
                let usable = stands && named && !shunned(&row.id);
                lost |= row.usable && !usable;
                row.usable = usable;
                PackInfo {
                    id: row.id,
                    size: row.size,
                    epoch: row.epoch,
                    pack_kind: row.pack_kind,
                    usable,
                    standing: stands,
                }
            })
            .collect();
        if lost {
            self.generation += 1;
        }
        infos
    }

    /// Packs that this run wrote and that are durable and listed in its own index objects.
    pub fn mark_usable(&mut self, own: &[PackId], infos: &mut Vec<PackInfo>) {
        for row in &self.packs[infos.len()..] {
            infos.push(PackInfo {
                id: row.id,
                size: row.size,
                epoch: row.epoch,
                pack_kind: row.pack_kind,
                usable: false,
                standing: false,
            });
        }
        self.number_packs();
        for number in own.iter().filter_map(|id| self.numbers.get(id)) {
            self.packs[*number as usize].usable = true;
            infos[*number as usize].usable = true;
            infos[*number as usize].standing = true;
        }
    }

    /// From now on this machine knows that all below the tree `root` was there.
    pub fn vouch(&mut self, root: BlobId) {
        self.vouched.retain(|(tree, generation)| *generation == self.generation && *tree != root);
        self.vouched.push((root, self.generation));
        let excess = self.vouched.len().saturating_sub(MAX_VOUCHED);
        self.vouched.drain(..excess);
    }

    /// Was all below the tree `root` there, and has no pack been lost since?
    pub fn vouches_for(&self, root: &BlobId) -> bool {
        self.vouched.iter().any(|(tree, generation)| tree == root && *generation == self.generation)
    }
}
