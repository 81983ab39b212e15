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
                    Err(error) if error.is_ours() => {
                        return Err(error);
                    }
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::crypto::kdf;
    use crate::entropy::Surroundings;
    use crate::format::content::Entry;
    use crate::format::frame::{Edge, FrameRecord};
    use crate::format::snapshot::{CountsV1, SnapshotV1};
    use crate::format::tree::{Node, NodeKind};
    use crate::format::wire::Stamp;
    use crate::id::{BlobId, BlobKind, IndexId, ObjectKind};
    use crate::op::check::{self, CheckOptions, CheckReport};
    use crate::progress::Silent;
    use crate::repo::index;
    use crate::repo::session::Session;
    use crate::repo::{InitOptions, OpenOptions};
    use crate::store::PutMode;
    use crate::store::memory::MemoryStore;

    /// A snapshot of files `a`, `b` and `c`, each one chunk alone in its frame and pack.
    fn repository() -> (Repository, [BlobId; 3]) {
        let init = InitOptions {
            kdf: kdf::CHEAP,
            data_pack_min_bytes: 64 << 10,
            data_pack_max_bytes: 128 << 10,
            ..InitOptions::default()
        };
        let (store, open) = (Arc::new(MemoryStore::new()), OpenOptions::default());
        let repo = Repository::init(store, b"p", &init, &open, Surroundings::system()).unwrap();
        let mut session = Session::begin(&repo, "test", false, &Silent).unwrap();
        let mut nodes = Vec::new();
        let ids = [b"a", b"b", b"c"].map(|name| {
            let plain: Vec<u8> = (0..3000u32)
                .flat_map(|i| *blake3::hash(&[&i.to_le_bytes()[..], name].concat()).as_bytes())
                .collect();
            let id = session.store(BlobKind::Chunk, &plain).unwrap().id;
            let content = vec![Entry::Chunk { id, len: 96_000 }];
            nodes.push(Node { content, size: 96_000, ..Node::blank(name, NodeKind::File) });
            id
        });
        let root = session.store_tree(nodes).unwrap();
        let snapshot = SnapshotV1 {
            time: Stamp::default(),
            utc_offset_secs: 0,
            host: "h".into(),
            user: "u".into(),
            paths: Vec::new(),
            tags: Vec::new(),
            description: "".into(),
            parent: None,
            program: "p".into(),
            partial: false,
            root,
            counts: CountsV1::default(),
            problem_count: 0,
            problems: Vec::new(),
            extensions: Vec::new(),
        };
        let flushed = session.flush().unwrap();
        session.commit(&snapshot, None, flushed).unwrap();
        (repo, ids)
    }

    /// Writes the index anew, the frames of these chunks changed.
    fn reindex(repo: &Repository, change: impl Fn(BlobId, &mut FrameRecord)) {
        for id in index::list_ids::<IndexId>(repo, ObjectKind::Index).unwrap() {
            let mut object = repo.index_object(id).unwrap();
            for frame in object.packs.iter_mut().flat_map(|p| &mut p.frames) {
                change(frame.blobs[0].id, frame);
            }
            let (new, bytes) = repo.seal_index(&object.encode()).unwrap();
            repo.store().remove(&id.into()).unwrap();
            repo.store().put(&new.into(), &bytes, PutMode::New).unwrap();
        }
    }

    fn on(frame: &mut FrameRecord, height: u8, base: BlobId) {
        (frame.encoding, frame.height) = (3, height);
        frame.edges = vec![Edge { how: 0, kind: BlobKind::Chunk as u8, id: base }];
    }

    fn look(repo: &Repository) -> (CheckReport, Vec<String>) {
        let report = check::run(repo, &CheckOptions::default(), &Silent).unwrap();
        let mut paths: Vec<String> = report
            .faults
            .iter()
            .flat_map(|f| &f.touches.first)
            .map(|t| String::from_utf8_lossy(&t.path).into_owned())
            .collect();
        paths.sort();
        paths.dedup();
        (report, paths)
    }

    #[test]
    fn bases_must_stand_below() {
        let (repo, [a, b, c]) = repository();
        assert_eq!(look(&repo).0.faults, []);
        // c on b on a: descends.
        reindex(&repo, |id, frame| match id {
            id if id == b => on(frame, 1, a),
            id if id == c => on(frame, 2, b),
            _ => {}
        });
        let (report, _) = look(&repo);
        assert_eq!(report.faults, []);
        assert_eq!(report.counts.needed_blobs, 4);
        let sound: Vec<_> =
            index::list_ids::<IndexId>(&repo, ObjectKind::Index).unwrap().into_iter().collect();
        let saved = repo.store().get(&sound[0].into(), 1 << 20).unwrap();
        // b on c, too: a circle, of which nothing can be read.
        reindex(&repo, |id, frame| {
            if id == b {
                on(frame, 2, c)
            }
        });
        let (report, paths) = look(&repo);
        assert!(report.faults.iter().all(|f| f.kind == FaultKind::Base), "{:?}", report.faults);
        assert_eq!((report.touches.files, paths), (2, vec!["/b".into(), "/c".into()]));
        // Back to what descends; with a's pack all of them are gone, by that pack's fault.
        for id in index::list_ids::<IndexId>(&repo, ObjectKind::Index).unwrap() {
            repo.store().remove(&id.into()).unwrap();
        }
        repo.store().put(&sound[0].into(), &saved, PutMode::New).unwrap();
        let object = repo.index_object(sound[0]).unwrap();
        let of_a = object.packs.iter().find(|p| p.frames[0].blobs[0].id == a).unwrap();
        repo.store().remove(&of_a.id.into()).unwrap();
        let (report, paths) = look(&repo);
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert_eq!((report.faults[0].kind, report.faults[0].lost_blobs), (FaultKind::PackGone, 3));
        assert_eq!(paths, ["/a", "/b", "/c"]);
    }

    #[test]
    fn a_base_that_nobody_has_is_missing() {
        let (repo, [_, b, _]) = repository();
        reindex(&repo, |id, frame| {
            if id == b {
                on(frame, 1, BlobId([7; 32]))
            }
        });
        let (report, paths) = look(&repo);
        assert_eq!((report.faults.len(), report.faults[0].kind), (1, FaultKind::Missing));
        assert_eq!(paths, ["/b"]);
    }

    #[test]
    fn what_the_index_says_wrongly_is_the_index_s_fault() {
        let (repo, [a, b, _]) = repository();
        // Unknown encodings are named, not blamed.
        reindex(&repo, |id, frame| {
            if id == a {
                frame.encoding = 9
            }
        });
        let (report, _) = look(&repo);
        assert_eq!((report.faults.len(), report.notes.len()), (0, 1));
        assert!(report.notes[0].message.contains("9 version"), "{:?}", report.notes);
        let data = CheckOptions { read_data: true, ..CheckOptions::default() };
        let report = check::run(&repo, &data, &Silent).unwrap();
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert_eq!(report.faults[0].kind, FaultKind::IndexWrong, "its trailer says otherwise");
        assert_eq!(repo.ledger(true).unwrap().bad().count(), 0, "the pack is whole");
        reindex(&repo, |id, frame| {
            if id == a {
                frame.encoding = 0
            }
        });
        assert_eq!(check::run(&repo, &data, &Silent).unwrap().faults, []);
        // Another chunk's place.
        reindex(&repo, |id, frame| {
            if id == b {
                frame.blobs[0].id = BlobId([1; 32])
            }
        });
        let report = check::run(&repo, &data, &Silent).unwrap();
        let kinds: Vec<_> = report.faults.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [FaultKind::Missing, FaultKind::IndexWrong]);
        assert_eq!(repo.ledger(true).unwrap().bad().count(), 0);
    }
}
