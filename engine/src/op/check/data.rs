//! Packs, read whole: each once, in parallel, held against its name, its trailer, the index, and the
//! ids of all that is in it.
//!
//! Memory: for each thread one pack as it is stored (16 MiB, where the config says nothing else) and
//! one frame decoded; what is decoded against bases goes through the reader and its cache.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::format::index::IndexedPack;
use crate::format::record::METHOD_DATA;
use crate::id::{BlobKind, BlobRef, ObjectName, PackId};
use crate::op::check::alone;
use crate::op::check::faults::Findings;
use crate::op::check::options::CheckOptions;
use crate::op::check::report::{CheckReport, FaultKind, Repair};
use crate::op::check::scene::Scene;
use crate::op::check::select::{Candidate, select};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index::PackNumber;
use crate::repo::inspect::inspect;
use crate::repo::reader::Reader;

/// Packs found bad that a check reads though it is not asked to read data.
const MAX_DOUBTFUL: usize = 64;

/// What reading a pack has shown.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// What is wrong with the pack apart from its frames.
    faults: Vec<String>,
    /// It is whole, and the index says something else of it.
    misindexed: bool,
    /// Frames that are lost, by their place in the pack's records, and why the first is.
    lost: Vec<usize>,
    lost_reason: String,
    /// Frames that nobody here can judge.
    unknown_frames: u64,
    /// The store failed in a way that says nothing of the pack.
    unread: bool,
    bytes: u64,
    plain_bytes: u64,
}

impl Reading {
    fn is_bad(&self) -> bool {
        !self.unread && (!self.faults.is_empty() || !self.lost.is_empty() && !self.misindexed)
    }

    fn is_good(&self) -> bool {
        !self.unread
            && !self.misindexed
            && self.faults.is_empty()
            && self.lost.is_empty()
            && self.unknown_frames == 0
    }
}

/// What was read in this run, whatever it looked at anew since.
#[derive(Debug, Default)]
pub struct Readings {
    chosen: Option<Vec<PackId>>,
    done: HashMap<PackId, Reading>,
}

impl Readings {
    /// Packs found good and bad, in the order of their names.
    pub fn verdicts(&self) -> (Vec<PackId>, Vec<PackId>) {
        let pick = |wanted: fn(&Reading) -> bool| {
            let mut ids: Vec<_> = self.done.iter().filter(|(_, r)| wanted(r)).map(|(id, _)| *id).collect();
            ids.sort();
            ids
        };
        (pick(Reading::is_good), pick(Reading::is_bad))
    }

    /// Has this run read it, and come to a judgement?
    pub fn has_judged(&self, pack: &PackId) -> bool {
        self.done.get(pack).is_some_and(|reading| !reading.unread)
    }

    /// Packs that are to be read now, if data is not asked for: those that were found bad. Without a
    /// look all that is in them would be in doubt.
    fn doubtful(holdings: &Holdings) -> Vec<PackId> {
        let bad = holdings.packs.iter().filter(|p| p.bad && !p.condemned && p.info.standing);
        bad.map(|p| p.info.id).take(MAX_DOUBTFUL).collect()
    }

    /// Packs that are to be read now: those chosen at the first look that still stand and were not
    /// read yet.
    pub fn choose(
        &mut self,
        repo: &Repository,
        options: &CheckOptions,
        scene: &Scene,
    ) -> Result<Vec<PackNumber>> {
        let holdings = &scene.holdings;
        let open = |number: PackNumber| {
            let pack = &holdings.packs[number as usize];
            pack.info.standing && !pack.condemned
        };
        let chosen = match &self.chosen {
            Some(chosen) => chosen,
            None if !options.reads_data() => self.chosen.insert(Self::doubtful(holdings)),
            None => {
                let candidates: Vec<Candidate> = (0..)
                    .zip(&holdings.packs)
                    .filter(|(number, _)| open(*number))
                    .map(|(_, pack)| {
                        let verified = scene.ledger.verified(&pack.info.id);
                        Candidate {
                            id: pack.info.id,
                            size: pack.info.size,
                            verified_ns: verified
                                .filter(|(_, m)| *m >= METHOD_DATA)
                                .map(|(at, _)| at.to_ns()),
                            bad: pack.bad,
                        }
                    })
                    .collect();
                let (seed, now) = (repo.surroundings().random()?, repo.surroundings().clock.now_ns());
                self.chosen.insert(select(&candidates, options.subset, options.max_age_secs, now, &seed))
            }
        };
        let numbers =
            chosen.iter().filter(|id| !self.done.contains_key(id)).filter_map(|id| holdings.number(id));
        Ok(numbers.filter(|number| open(*number)).collect())
    }
}

/// Reads packs. An error is the user's wish to stop; what was read until then is kept.
pub fn read(
    reader: &Reader,
    holdings: &Holdings,
    packs: &[PackNumber],
    options: &CheckOptions,
    readings: &mut Readings,
    progress: &dyn Progress,
) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let total = packs.iter().map(|n| holdings.packs[*n as usize].info.size).sum();
    progress.phase("reading packs", Some(packs.len() as u64), Some(total));
    progress.unit("packs");
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        let mut buffer = Vec::new();
        while let Some(number) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            progress.check()?;
            if let Some(reading) = read_one(reader, holdings, *number, &mut buffer)? {
                progress.advance(1, reading.bytes);
                let id = holdings.packs[*number as usize].info.id;
                done.lock().unwrap_or_else(|e| e.into_inner()).push((id, reading));
            }
        }
        Ok(())
    };
    let threads = options.thread_count().min(packs.len().max(1));
    let outcome = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let gone = |_| Err(Error::Internal("a reading thread panicked".into()));
        handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).fold(Ok(()), Result::and)
    });
    readings.done.extend(done.into_inner().unwrap_or_else(|e| e.into_inner()));
    outcome
}

/// `None`: it vanished meanwhile; whoever looks at the ledger again will know why.
fn read_one(
    reader: &Reader,
    holdings: &Holdings,
    number: PackNumber,
    buffer: &mut Vec<u8>,
) -> Result<Option<Reading>> {
    let expected = holdings.indexed(number);
    let name: ObjectName = expected.id.into();
    let store = reader.repo().store();
    let unread = |error: crate::error::StoreError| {
        let unread = error.is_transient() || error.kind == crate::error::StoreErrorKind::Denied;
        let lost = (0..expected.frames.len()).collect();
        let lost_reason = format!("cannot be read: {}", error.reason);
        Reading { lost, lost_reason, unread, ..Reading::default() }
    };
    let size = match store.stat(&name) {
        Ok(stat) => stat.size_bytes,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Ok(Some(unread(e))),
    };
    // The longest that any program of this format makes bounds the memory, whatever stands there.
    let len = usize::try_from(size.min(expected.size)).map_err(|_| Error::Internal("a huge pack".into()))?;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let bytes = &mut buffer[..len];
    match store.read_range(&name, 0, bytes) {
        Ok(()) => {}
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Ok(Some(unread(e))),
    }
    let mut found = inspect(reader.repo(), &expected, bytes);
    if size > expected.size {
        found.faults.insert(0, format!("has {} bytes too many", size - expected.size));
    }
    for frame in found.with_bases {
        match through_reader(reader, holdings, number, frame, &expected) {
            Ok(()) => found.plain_bytes += u64::from(expected.frames[frame].plain_len),
            Err(error) if error.is_ours() => return Err(error),
            // One of its bases cannot be had: that is the fault of the pack that should hold it, and the
            // walk tells who needs it. Or nobody does: a pack that stays may lose the bases of what is
            // dead in it to a prune.
            Err(Error::Missing { .. }) => {}
            Err(error) => found.bad_frames.push((frame, error.to_string())),
        }
    }
    found.bad_frames.sort();
    let lost_reason = found
        .bad_frames
        .first()
        .map(|(frame, reason)| format!("its frame at {} {reason}", expected.frames[*frame].offset))
        .unwrap_or_default();
    Ok(Some(Reading {
        faults: found.faults,
        misindexed: found.misindexed,
        lost: found.bad_frames.into_iter().map(|(frame, _)| frame).collect(),
        lost_reason,
        unknown_frames: found.unknown_frames,
        unread: false,
        bytes: size.min(expected.size),
        plain_bytes: found.plain_bytes,
    }))
}

/// A frame that is decoded against bases, by its place: every blob in it.
fn through_reader(
    reader: &Reader,
    holdings: &Holdings,
    number: PackNumber,
    frame: usize,
    expected: &IndexedPack,
) -> Result<()> {
    let row = &holdings.inventory.frames()[holdings.frame_numbers(number).start as usize + frame];
    let (first, _) = holdings.inventory.blobs_of(row);
    for (copy, blob) in (first..).zip(&expected.frames[frame].blobs) {
        if let Some(kind) = BlobKind::from_byte(blob.kind) {
            reader.copy_at(&BlobRef::new(kind, blob.id), &holdings.inventory.place(copy))?;
        }
    }
    Ok(())
}

/// Faults of what was read, and what may be relied on by it.
pub fn judge(
    scene: &mut Scene,
    readings: &Readings,
    found: &mut Findings,
    report: &mut CheckReport,
) -> Result<()> {
    let holdings = alone(&mut scene.holdings)?;
    for (id, reading) in &readings.done {
        report.counts.packs_read += 1;
        report.counts.bytes_read += reading.bytes;
        report.counts.plain_bytes += reading.plain_bytes;
        let Some(number) = holdings.number(id) else { continue };
        let frames = holdings.frame_numbers(number);
        holdings
            .lost_frames
            .extend(reading.lost.iter().map(|at| frames.start + *at as u32).filter(|f| *f < frames.end));
        let pack = &mut holdings.packs[number as usize];
        if pack.condemned || !pack.info.standing {
            continue;
        }
        if !reading.unread {
            // Its frames are known one by one now.
            pack.info.usable = true;
        }
        if reading.misindexed {
            let reason = "its trailer says something else than the index";
            found.add_pack(FaultKind::IndexWrong, *id, reason, Repair::Index);
        }
        for reason in &reading.faults {
            found.add_pack(FaultKind::PackDamaged, *id, reason, Repair::Packs);
        }
        if !reading.lost.is_empty() {
            let more = reading.lost.len() - 1;
            let reason = match more {
                0 => reading.lost_reason.clone(),
                more => format!("{}; so do {more} more", reading.lost_reason),
            };
            found.add_pack(FaultKind::PackDamaged, *id, reason, Repair::Packs);
        }
    }
    let standing = holdings.packs.iter().filter(|p| p.info.standing && !p.condemned);
    let left_out = standing.filter(|p| !readings.done.contains_key(&p.info.id)).count();
    report.counts.packs_left_out = left_out as u64;
    Ok(())
}
