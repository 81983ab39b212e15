//! All that index objects say, at one moment, beside what stands in `data/`: for verbs that look
//! at everything (`check`, `prune`, `repair`). Nothing of it is kept on disk.
//!
//! Memory: an [`Inventory`], and some 200 bytes a pack.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::frame::FrameRecord;
use crate::format::index::{IndexObject, IndexedPack};
use crate::id::{BlobRef, IndexId, ObjectKind, PackId, SessionId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::index::inventory::{CopyNumber, FrameNumber, Inventory};
use crate::repo::index::{self, PackInfo, PackNumber, Place, Places, batch};
use crate::repo::ledger::Ledger;

/// Index objects read at a time.
const BATCH: usize = 32;

/// One pack that some index object names.
#[derive(Debug, Clone)]
pub struct HeldPack {
    /// What the index says of it.
    pub info: PackInfo,
    /// [`PackInfo`] has no flags: they stand here, to be written again.
    pub flags: u8,
    /// In D(head): to be deleted.
    pub condemned: bool,
    /// Found bad, and not good since.
    pub bad: bool,
    /// It was not listed, and was found when asked for by name: somebody put it since, or the listing
    /// lags. Nobody can say yet whose it is and who needs it.
    pub late: bool,
    /// Sessions whose index objects name it.
    pub sessions: Vec<SessionId>,
    /// First of its frames in the inventory, and how many.
    pub frames: (u32, u32),
}

/// One index object.
#[derive(Debug, Clone)]
pub struct HeldObject {
    /// Its name.
    pub id: IndexId,
    /// Who wrote it.
    pub session: SessionId,
    /// Packs it names.
    pub packs: Vec<PackNumber>,
    /// Replaced, and deleted any time: what it names must be named elsewhere.
    pub condemned: bool,
    /// About how long it is: its frame records.
    pub records_bytes: u64,
}

/// See the module's words.
#[derive(Debug, Default)]
pub struct Holdings {
    /// Frames and blobs, sorted.
    pub inventory: Inventory,
    /// Packs by number.
    pub packs: Vec<HeldPack>,
    /// Index objects that could be read.
    pub objects: Vec<HeldObject>,
    /// Index objects that are there and could not be read.
    pub damaged: Vec<(IndexId, Error)>,
    /// Packs that two index objects describe differently; the first is believed.
    pub disputed: Vec<(PackId, IndexId)>,
    /// Packs that stand, are named by no readable index object and not condemned.
    pub unlisted: Vec<PackId>,
    /// Frames that are lost though their pack stands: for who has read it.
    pub lost_frames: HashSet<FrameNumber>,
    numbers: HashMap<PackId, PackNumber>,
}

impl Holdings {
    /// Reads every index object. `standing` are the names in `data/`, listed before; `ledger` was
    /// read between the two (P1).
    pub fn read(
        repo: &Repository,
        ledger: &Ledger,
        standing: &HashSet<PackId>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut all = Self::default();
        let ids: Vec<IndexId> = index::list_ids(repo, ObjectKind::Index)?.into_iter().collect();
        progress.phase("reading the index", Some(ids.len() as u64), None);
        for batch in ids.chunks(BATCH) {
            progress.check()?;
            for (id, object) in batch::read(repo, batch)? {
                match object {
                    Ok(object) => all.take_in(id, &object, ledger, standing)?,
                    Err(error) => all.damaged.push((id, error)),
                }
            }
            progress.advance(batch.len() as u64, 0);
        }
        all.ask_for_late(repo)?;
        let unlisted = |id: &&PackId| !all.numbers.contains_key(*id) && !ledger.is_condemned(id);
        all.unlisted = standing.iter().filter(unlisted).copied().collect();
        all.unlisted.sort();
        all.inventory.sort();
        Ok(all)
    }

    /// A listing is a hint: what an index object names was durable before, so a pack that is not
    /// listed may have been put meanwhile.
    fn ask_for_late(&mut self, repo: &Repository) -> Result<()> {
        for pack in self.packs.iter_mut().filter(|pack| !pack.info.standing && !pack.condemned) {
            match repo.store().stat(&pack.info.id.into()) {
                Ok(_) => {
                    pack.late = true;
                    pack.info.standing = true;
                    pack.info.usable = !pack.bad;
                }
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Takes in one more index object; [`Inventory::sort`] is then due.
    pub fn take_in(
        &mut self,
        id: IndexId,
        object: &IndexObject,
        ledger: &Ledger,
        standing: &HashSet<PackId>,
    ) -> Result<()> {
        let mut named = Vec::with_capacity(object.packs.len());
        let mut records_bytes = 0;
        for pack in &object.packs {
            records_bytes += pack.frames.iter().map(FrameRecord::encoded_len).sum::<usize>() as u64;
            let next = PackNumber::try_from(self.packs.len())
                .map_err(|_| Error::Internal("more than four billion packs".into()))?;
            let number = *self.numbers.entry(pack.id).or_insert(next);
            named.push(number);
            if number != next {
                let held = &mut self.packs[number as usize];
                if !held.sessions.contains(&object.session) {
                    held.sessions.push(object.session);
                }
                if !self.is_same(number, pack) {
                    self.disputed.push((pack.id, id));
                }
                continue;
            }
            let first = self.inventory.frames().len();
            self.inventory.add(number, pack)?;
            let (condemned, bad) = (ledger.is_condemned(&pack.id), ledger.is_bad(&pack.id));
            let standing = standing.contains(&pack.id);
            self.packs.push(HeldPack {
                info: PackInfo {
                    id: pack.id,
                    size: pack.size,
                    epoch: pack.epoch,
                    pack_kind: pack.pack_kind,
                    usable: standing && !condemned && !bad,
                    standing,
                },
                flags: pack.flags,
                condemned,
                bad,
                late: false,
                sessions: vec![object.session],
                // The inventory has refused what does not fit.
                frames: (
                    u32::try_from(first).unwrap_or(u32::MAX),
                    u32::try_from(pack.frames.len()).unwrap_or(0),
                ),
            });
        }
        let condemned = ledger.is_condemned_index(&id);
        self.objects.push(HeldObject { id, session: object.session, packs: named, condemned, records_bytes });
        Ok(())
    }

    /// Adds what a pack's own trailer says of it, under a number of its own, whatever index objects say.
    /// [`Inventory::sort`] is then due.
    pub fn describe(&mut self, pack: &IndexedPack, session: SessionId) -> Result<PackNumber> {
        let full = |_| Error::Internal("more than four billion packs".into());
        let number = PackNumber::try_from(self.packs.len()).map_err(full)?;
        let first = u32::try_from(self.inventory.frames().len()).map_err(full)?;
        self.inventory.add(number, pack)?;
        self.packs.push(HeldPack {
            info: PackInfo {
                id: pack.id,
                size: pack.size,
                epoch: pack.epoch,
                pack_kind: pack.pack_kind,
                usable: false,
                standing: true,
            },
            flags: pack.flags,
            condemned: false,
            bad: false,
            late: false,
            sessions: vec![session],
            frames: (first, u32::try_from(pack.frames.len()).map_err(full)?),
        });
        Ok(number)
    }

    fn is_same(&self, number: PackNumber, pack: &IndexedPack) -> bool {
        let held = &self.packs[number as usize];
        held.info.size == pack.size
            && held.info.epoch == pack.epoch
            && held.info.pack_kind == pack.pack_kind
            && held.flags == pack.flags
            && held.frames.1 as usize == pack.frames.len()
            && self.records(number).iter().eq(pack.frames.iter())
    }

    /// May this copy be relied on?
    pub fn is_usable(&self, copy: CopyNumber) -> bool {
        let frame = self.inventory.blobs()[copy as usize].frame;
        let pack = self.inventory.frames()[frame as usize].pack;
        self.packs[pack as usize].info.usable
            && (self.lost_frames.is_empty() || !self.lost_frames.contains(&frame))
    }

    /// Number of a pack.
    pub fn number(&self, pack: &PackId) -> Option<PackNumber> {
        self.numbers.get(pack).copied()
    }

    /// Numbers of a pack's frames.
    pub fn frame_numbers(&self, number: PackNumber) -> std::ops::Range<u32> {
        let (first, count) = self.packs[number as usize].frames;
        first..first + count
    }

    /// The records of a pack's frames, as an index object has them.
    pub fn records(&self, number: PackNumber) -> Vec<FrameRecord> {
        let rows = &self.inventory.frames()[self.frame_range(number)];
        rows.iter().map(|row| self.inventory.record(row)).collect()
    }

    fn frame_range(&self, number: PackNumber) -> std::ops::Range<usize> {
        let range = self.frame_numbers(number);
        range.start as usize..range.end as usize
    }

    /// A pack as an index object names it.
    pub fn indexed(&self, number: PackNumber) -> IndexedPack {
        let held = &self.packs[number as usize];
        IndexedPack {
            id: held.info.id,
            size: held.info.size,
            pack_kind: held.info.pack_kind,
            flags: held.flags,
            epoch: held.info.epoch,
            frames: self.records(number),
        }
    }
}

impl Places for Holdings {
    fn places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let copies = self.inventory.copies(blob.kind as u8, &blob.id);
        let mut places: Vec<_> = copies.iter().map(|copy| self.inventory.place(*copy)).collect();
        index::best_first(&mut places, |number| self.pack(number));
        Ok(places)
    }

    fn pack(&self, number: PackNumber) -> Option<PackInfo> {
        self.packs.get(number as usize).map(|pack| pack.info)
    }
}
