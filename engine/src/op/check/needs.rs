//! Who is to blame that a blob is lost which a snapshot needs, or which another one is decoded
//! against.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::id::{BlobRef, PackId};
use crate::op::check::alone;
use crate::op::check::faults::{FaultNumber, Findings};
use crate::op::check::report::{FaultKind, Repair};
use crate::op::check::scene::Scene;
use crate::repo::Repository;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::inspect;
use crate::repo::reach::{Gap, Reach};
use crate::repo::reader::Reader;

/// Frames that have a base of which no copy stands below them: they are as lost as if they could
/// not be read. From the lowest up, so that what is lost below is lost above.
pub fn mark_unfounded(repo: &Repository, scene: &mut Scene) -> Result<()> {
    let shared = scene.holdings.clone();
    let inventory = &shared.inventory;
    let usable = |pack: u32| shared.packs[pack as usize].info.usable;
    let mut delta: Vec<(u8, FrameNumber)> = (0..)
        .zip(inventory.frames())
        .filter(|(_, row)| row.height > 0 && usable(row.pack))
        .map(|(number, row)| (row.height, number))
        .collect();
    if delta.is_empty() {
        return Ok(());
    }
    delta.sort_unstable();
    let reader = Reader::with_places(repo, shared.clone());
    let reach = Reach::new(&shared, &reader);
    for (height, number) in delta {
        let below = |copy: &CopyNumber| {
            let frame = inventory.blobs()[*copy as usize].frame;
            shared.is_usable(*copy)
                && !scene.unfounded.contains_key(&frame)
                && inventory.frames()[frame as usize].height < height
        };
        let bases = reach.bases_of(number);
        let lacking = bases.into_iter().find(|b| !inventory.copies(b.kind as u8, &b.id).iter().any(below));
        if let Some(base) = lacking {
            scene.unfounded.insert(number, base);
        }
    }
    drop(reach);
    drop(reader);
    drop(shared);
    alone(&mut scene.holdings)?.lost_frames.extend(scene.unfounded.keys());
    Ok(())
}

/// Finds, or makes, the fault that each gap is due to.
pub fn blame(
    repo: &Repository,
    scene: &Scene,
    reader: &Reader,
    gaps: &[Gap],
    found: &mut Findings,
) -> Result<()> {
    let unnamed = |blob: &BlobRef| scene.holdings.inventory.copies(blob.kind as u8, &blob.id).is_empty();
    let elsewhere = in_unlisted(repo, scene, gaps.iter().map(|g| g.blob).filter(unnamed).collect());
    let mut court = Court { scene, reader, elsewhere, found, tried: HashSet::new() };
    for gap in gaps {
        if !gap.absent && !gap.unread {
            let object = format!("{} {}", gap.blob.kind.word(), gap.blob.id);
            let number = court.found.add(FaultKind::Content, object, &gap.reason, Some(Repair::Snapshots));
            court.found.loses(number, gap.blob);
            continue;
        }
        for number in court.culprits(&gap.blob, u16::MAX)? {
            court.found.loses(number, gap.blob);
        }
    }
    Ok(())
}

/// Which of these blobs are in packs that stand and that no index object names.
fn in_unlisted(repo: &Repository, scene: &Scene, wanted: HashSet<BlobRef>) -> HashSet<BlobRef> {
    let mut all = HashSet::new();
    for pack in scene.holdings.unlisted.iter().filter(|_| !wanted.is_empty()) {
        // One that cannot be read holds nothing for anybody.
        let blobs = inspect::blobs_in(repo, *pack).unwrap_or_default();
        all.extend(blobs.into_iter().filter(|blob| wanted.contains(blob)));
    }
    all
}

struct Court<'a> {
    scene: &'a Scene,
    reader: &'a Reader,
    elsewhere: HashSet<BlobRef>,
    found: &'a mut Findings,
    /// Frames that were read to find out why they cannot be.
    tried: HashSet<FrameNumber>,
}

impl Court<'_> {
    /// The faults by which no copy of a height below `ceiling` can be had.
    fn culprits(&mut self, blob: &BlobRef, ceiling: u16) -> Result<Vec<FaultNumber>> {
        let holdings = &self.scene.holdings;
        let inventory = &holdings.inventory;
        let copies = inventory.copies(blob.kind as u8, &blob.id);
        let mut all = Vec::new();
        for copy in copies {
            let number = inventory.blobs()[*copy as usize].frame;
            let row = &inventory.frames()[number as usize];
            if u16::from(row.height) >= ceiling {
                continue;
            }
            let pack = &holdings.packs[row.pack as usize];
            let id = pack.info.id;
            if pack.condemned {
                all.push(self.condemned(pack.info.standing, id));
            } else if let Some(base) = self.scene.unfounded.get(&number) {
                all.extend(self.culprits(&base.clone(), row.height.into())?);
            } else if let Some(known) = self.found.of_pack(&id).filter(|_| !holdings.is_usable(*copy)) {
                all.push(known);
            } else if self.tried.insert(number) {
                match self.reader.copy_at(blob, &inventory.place(*copy)) {
                    Ok(_) => {}
                    Err(error @ (Error::Internal(_) | Error::Interrupted)) => return Err(error),
                    Err(error) => {
                        let reason = reason_of(error, row.offset);
                        all.push(self.found.add_pack(FaultKind::PackDamaged, id, reason, Repair::Packs));
                    }
                }
            } else {
                all.extend(self.found.of_pack(&id));
            }
        }
        if all.is_empty() {
            all.push(self.nobody(blob, copies.is_empty()));
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// A prune may condemn nothing that a committed snapshot needs: somebody wrote past the protocol.
    fn condemned(&mut self, standing: bool, id: PackId) -> FaultNumber {
        let (reason, repair) = match standing {
            true => ("is to be deleted, and snapshots need what only it holds", Repair::Packs),
            false => ("was deleted, and snapshots need what was in it", Repair::Snapshots),
        };
        self.found.add_pack(FaultKind::Condemned, id, reason, repair)
    }

    fn nobody(&mut self, blob: &BlobRef, unnamed: bool) -> FaultNumber {
        if !unnamed {
            let object = format!("{} {}", blob.kind.word(), blob.id);
            let reason = "another frame is decoded against it, and no copy stands below that frame";
            return self.found.add(FaultKind::Base, object, reason, Some(Repair::Snapshots));
        }
        let (kind, reason, repair) = match self.elsewhere.contains(blob) {
            true => (FaultKind::Unindexed, "no index object names packs that snapshots need", Repair::Index),
            false => (
                FaultKind::Missing,
                "no index object names what snapshots need, and no pack holds it",
                Repair::Snapshots,
            ),
        };
        self.found.add(kind, "index/", reason, Some(repair))
    }
}

fn reason_of(error: Error, offset: u32) -> String {
    let reason = match error {
        Error::Corrupt { reason, .. } | Error::Missing { reason, .. } => reason,
        Error::Store(e) => format!("cannot be read: {}", e.reason),
        error => error.to_string(),
    };
    // Some name the frame themselves.
    match reason.starts_with("frame at") {
        true => format!("its {reason}"),
        false => format!("its frame at {offset} {reason}"),
    }
}
