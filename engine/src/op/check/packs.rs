//! Packs, without reading them: does each stand, has it the length the index says, do its frames lie
//! one beside the other, does this program know how they are stored, was it found bad before?

use crate::codec;
use crate::error::{Error, Result};
use crate::id::{BlobKind, ObjectName, PackId};
use crate::op::check::alone;
use crate::op::check::data::Readings;
use crate::op::check::faults::Findings;
use crate::op::check::report::{CheckReport, FaultKind, Note, NoteKind, Repair};
use crate::op::check::scene::Scene;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index::PackNumber;

/// Judges every pack that is named and not condemned; sets in the holdings which may be relied on.
pub fn judge(
    repo: &Repository,
    scene: &mut Scene,
    found: &mut Findings,
    report: &mut CheckReport,
    progress: &dyn Progress,
) -> Result<()> {
    let holdings = alone(&mut scene.holdings)?;
    let named: Vec<PackNumber> =
        (0..).zip(&holdings.packs).filter(|(_, p)| !p.condemned).map(|(n, _)| n).collect();
    progress.phase("looking at packs", Some(named.len() as u64), None);
    progress.unit("packs");
    let ids: Vec<PackId> = named.iter().map(|n| holdings.packs[*n as usize].info.id).collect();
    let sizes = sizes(repo, &ids, progress)?;
    report.counts.packs = named.len() as u64;
    let mut unknown = Unknown::default();
    for (number, size) in named.into_iter().zip(sizes) {
        let pack = &mut holdings.packs[number as usize];
        let info = &mut pack.info;
        report.counts.pack_bytes += info.size;
        // The listing came first: what another run finished since stands all the same.
        info.standing = size.is_some();
        info.usable = info.standing && !pack.bad;
        let (id, stated) = (info.id, info.size);
        match size {
            None => _ = found.add_pack(FaultKind::PackGone, id, "is gone", Repair::Index),
            Some(size) if size != stated => {
                let reason = format!("is {size} bytes long where {stated} are stated");
                found.add_pack(FaultKind::PackLength, id, reason, Repair::Packs);
                lose_beyond(holdings, number, size);
            }
            Some(_) => {}
        }
        overlaps(holdings, number, found);
        unknown.count(holdings, number);
    }
    unknown.note(report);
    Ok(())
}

/// Frames that a pack of `size` bytes cannot hold.
fn lose_beyond(holdings: &mut Holdings, number: PackNumber, size: u64) {
    for frame in holdings.frame_numbers(number) {
        let row = &holdings.inventory.frames()[frame as usize];
        if u64::from(row.offset) + u64::from(row.stored_len) > size {
            holdings.lost_frames.insert(frame);
        }
    }
}

fn overlaps(holdings: &Holdings, number: PackNumber, found: &mut Findings) {
    let range = holdings.frame_numbers(number);
    let rows = &holdings.inventory.frames()[range.start as usize..range.end as usize];
    let mut places: Vec<(u32, u32)> = rows.iter().map(|r| (r.offset, r.stored_len)).collect();
    places.sort_unstable();
    if let Some(pair) = places.windows(2).find(|p| u64::from(p[0].0) + u64::from(p[0].1) > u64::from(p[1].0))
    {
        let reason = format!("the index has frames that overlap, at {} and {}", pair[0].0, pair[1].0);
        let pack = holdings.packs[number as usize].info.id;
        found.add_pack(FaultKind::IndexWrong, pack, reason, Repair::Index);
    }
}

/// What this program cannot judge: kept, named, no damage.
#[derive(Default)]
struct Unknown {
    frames: u64,
    bytes: u64,
    encodings: std::collections::BTreeSet<(u8, u8)>,
    blobs: u64,
    kinds: std::collections::BTreeSet<u8>,
}

impl Unknown {
    fn count(&mut self, holdings: &Holdings, number: PackNumber) {
        for frame in holdings.frame_numbers(number) {
            let row = &holdings.inventory.frames()[frame as usize];
            if !codec::is_known(row.encoding, row.codec_version) {
                self.frames += 1;
                self.bytes += u64::from(row.stored_len);
                self.encodings.insert((row.encoding, row.codec_version));
            }
            for blob in holdings.inventory.blobs_of(row).1 {
                if BlobKind::from_byte(blob.kind).is_none() {
                    self.blobs += 1;
                    self.kinds.insert(blob.kind);
                }
            }
        }
    }

    fn note(self, report: &mut CheckReport) {
        if self.frames > 0 {
            let all: Vec<_> = self.encodings.iter().map(|(e, v)| format!("{e} version {v}")).collect();
            let message = format!(
                "{} frames are stored with encodings that this program does not know ({})",
                self.frames,
                all.join(", ")
            );
            let note = Note::new(NoteKind::Unknown, message);
            report.notes.push(Note { count: self.frames, bytes: self.bytes, ..note });
        }
        if self.blobs > 0 {
            let all: Vec<_> = self.kinds.iter().map(u8::to_string).collect();
            let message = format!(
                "{} blobs are of kinds that this program does not know ({})",
                self.blobs,
                all.join(", ")
            );
            report.notes.push(Note { count: self.blobs, ..Note::new(NoteKind::Unknown, message) });
        }
    }
}

/// Lengths of packs, in parallel; `None` where one is not there.
fn sizes(repo: &Repository, ids: &[PackId], progress: &dyn Progress) -> Result<Vec<Option<u64>>> {
    let threads = repo.store().concurrency().clamp(1, 16).min(ids.len().max(1));
    let ask = |part: &[PackId]| -> Result<Vec<Option<u64>>> {
        let one = |id: &PackId| match repo.store().stat(&ObjectName::from(*id)) {
            Ok(stat) => Ok(Some(stat.size_bytes)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(Error::from(e)),
        };
        part.iter()
            .map(|id| {
                progress.check()?;
                progress.advance(1, 0);
                one(id)
            })
            .collect()
    };
    let parts = std::thread::scope(|scope| {
        let parts = ids.chunks(ids.len().div_ceil(threads).max(1));
        let handles: Vec<_> = parts.map(|part| scope.spawn(move || ask(part))).collect();
        let gone = |_| Err(Error::Internal("a reading thread panicked".into()));
        handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).collect::<Result<Vec<_>>>()
    })?;
    Ok(parts.concat())
}

/// Packs that an earlier check found bad and this one has not read: all of them is doubtful.
pub fn judge_remembered(scene: &mut Scene, readings: &Readings, found: &mut Findings) -> Result<()> {
    for pack in alone(&mut scene.holdings)?.packs.iter_mut().filter(|p| p.bad && !p.condemned) {
        if pack.info.standing && !readings.has_judged(&pack.info.id) {
            let reason = "was found bad by an earlier check";
            found.add_pack(FaultKind::PackBad, pack.info.id, reason, Repair::Packs);
        }
    }
    Ok(())
}
