//! `repair packs`: what can be read of bad packs goes to new ones, then the bad ones are condemned.
//!
//! 1. [`examine`]: is a pack what its name says, and can every frame of it be read?
//! 2. [`salvage`]: frames are copied by the index's records and by the trailer's, whichever is
//!    left; so a pack without an end, or with another one's bytes, gives what it has.
//! 3. [`heal`]: chunks that are lost are looked for in files on disk. The same id, the same bytes.
//! 4. What snapshots need and nobody has any more is named. A pack that held such a blob is not
//!    condemned: another disk, or another day, may still read it. The ledger calls it bad, so the
//!    next snapshot stores again what it finds.
//!
//! Every step adds; the entry that condemns comes last. Another run's entry in between begins the
//! last step anew, which finds copied what was copied.

mod examine;
mod heal;
mod report;
mod salvage;
mod view;

pub use report::{Fate, PackReport, PacksOptions, PacksReport};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;

use crate::codec::is_known;
use crate::error::{Error, Result};
use crate::format::index::IndexedPack;
use crate::format::ledger::{CondemnV1, Event};
use crate::format::record::{METHOD_DATA, VerifiedV1};
use crate::format::wire::Stamp;
use crate::id::{BlobId, BlobKind, BlobRef, PackId};
use crate::op::repair::judge::{Hold, Judge};
use crate::op::repair::losses::{self, Losses};
use crate::op::repair::{ATTEMPTS, Hand, is_damage, too_busy};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::index::PackNumber;
use crate::repo::index::inventory::blob_ref;
use crate::repo::ledger::Append;
use crate::repo::outbox::Outbox;
use crate::repo::reader::Reader;

use examine::Exam;
use salvage::{Salvage, Tally};
use view::View;

/// Repairs packs.
pub fn run(repo: &Repository, options: &PacksOptions, progress: &dyn Progress) -> Result<PacksReport> {
    let began = Stamp::from_ns(repo.surroundings().clock.now_ns());
    let mut hand = Hand::begin(repo, options.dry_run)?;
    let mut report = PacksReport { dry_run: options.dry_run, ..PacksReport::default() };
    let exams = find_bad(&mut hand, options, &mut report, progress)?;
    let is_bad = |exam: &&Exam| exam.is_bad();
    let bad: BTreeSet<PackId> = exams.iter().filter(is_bad).map(|exam| exam.pack).collect();
    let trailers: Vec<IndexedPack> = exams.iter().filter(is_bad).filter_map(|e| e.trailer.clone()).collect();
    let mut outbox = Outbox::start(repo, hand.session);
    let mut tallies: HashMap<PackId, Tally> = HashMap::new();
    let mut healed = false;
    for _ in 0..ATTEMPTS {
        let view = View::read(&mut hand, &bad, &trailers, progress)?;
        salvage_all(&view, (!options.dry_run).then_some(&outbox), &mut tallies, progress)?;
        outbox.flush()?;
        let mut view = View::read(&mut hand, &bad, &trailers, progress)?;
        if !options.from.is_empty() && !std::mem::replace(&mut healed, true) {
            let wanted = lost_chunks(&hand, &view, progress)?;
            let found = heal::run(&view, options, &outbox, wanted, progress)?;
            report.searched_files = found.files;
            report.healed_chunks = found.chunks;
            report.healed_bytes = found.bytes;
            report.problems = found.problems;
            outbox.flush()?;
            view = View::read(&mut hand, &bad, &trailers, progress)?;
        }
        let losses = assess(&hand, &view, &mut report, progress)?;
        report.new_bytes = outbox.stored_bytes();
        let fates = fates(&view, &exams, &losses);
        report.packs = exams
            .iter()
            .filter_map(|exam| Some((exam, *fates.get(&exam.pack)?)))
            .map(|(exam, fate)| exam.report(fate, tallies.get(&exam.pack).unwrap_or(&Tally::default())))
            .collect();
        if options.dry_run || write_entries(&mut hand, &fates, &exams, began)? {
            return Ok(report);
        }
    }
    Err(too_busy())
}

/// Reads the packs in question, and says what is wrong with each.
fn find_bad(
    hand: &mut Hand,
    options: &PacksOptions,
    report: &mut PacksReport,
    progress: &dyn Progress,
) -> Result<Vec<Exam>> {
    let (standing, mut holdings) = hand.look(progress)?;
    holdings.inventory.sort();
    let mut chosen: BTreeSet<PackId> = options.packs.iter().copied().collect();
    let may_be = |id: &&PackId| standing.contains(*id) && !hand.ledger.is_condemned(id);
    if options.read_data {
        chosen.extend(holdings.packs.iter().map(|p| &p.info.id).filter(may_be));
    } else if chosen.is_empty() {
        chosen.extend(hand.ledger.bad().filter(may_be));
        for pack in holdings.packs.iter().map(|p| p.info).filter(|info| may_be(&&info.id)) {
            match hand.repo.store().stat(&pack.id.into()) {
                Ok(stat) if stat.size_bytes == pack.size => {}
                Ok(_) => _ = chosen.insert(pack.id),
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(_) => _ = chosen.insert(pack.id),
            }
        }
    }
    let bytes =
        chosen.iter().filter_map(|id| holdings.number(id)).map(|n| holdings.packs[n as usize].info.size);
    progress.phase("reading packs", Some(chosen.len() as u64), Some(bytes.sum()));
    let holdings = Arc::new(holdings);
    let reader = Reader::with_places(&hand.repo, holdings.clone());
    let chosen: Vec<PackId> = chosen.into_iter().collect();
    let mut exams: Vec<Exam> = chosen
        .par_iter()
        .map(|id| match may_be(&id) {
            true => examine::run(&holdings, &reader, *id, progress),
            false => Ok(Exam::gone(*id)),
        })
        .collect::<Result<_>>()?;
    report.read_packs = exams.iter().filter(|exam| !exam.is_gone()).count() as u64;
    // Of all that were read only those matter with which something is wrong.
    let asked: HashSet<PackId> = options.packs.iter().copied().collect();
    exams.retain(|exam| !exam.is_whole() || asked.contains(&exam.pack) || hand.ledger.is_bad(&exam.pack));
    Ok(exams)
}

fn salvage_all(
    view: &View,
    outbox: Option<&Outbox>,
    tallies: &mut HashMap<PackId, Tally>,
    progress: &dyn Progress,
) -> Result<()> {
    let judge = Judge::new(&view.holdings, &view.reader);
    let packs: Vec<(&PackId, &Vec<PackNumber>)> = view.numbers.iter().collect();
    progress.phase("saving what can be read", Some(packs.len() as u64), None);
    let salvage = Salvage::new(&view.holdings, &judge, outbox, progress);
    let done: Vec<(PackId, Tally)> =
        packs.par_iter().map(|(id, numbers)| Ok((**id, salvage.pack(numbers)?))).collect::<Result<_>>()?;
    for (id, tally) in done {
        tallies.entry(id).or_default().add(tally);
    }
    Ok(())
}

/// Chunks that cannot be read: of all that index objects name, and of all that snapshots need.
fn lost_chunks(hand: &Hand, view: &View, progress: &dyn Progress) -> Result<HashSet<BlobId>> {
    let judge = Judge::new(&view.holdings, &view.reader);
    let inventory = &view.holdings.inventory;
    let mut lost = HashSet::new();
    for copies in inventory.distinct() {
        let blob = blob_ref(&inventory.blobs()[copies[0] as usize]);
        if let Some(blob) = blob.filter(|blob| blob.kind == BlobKind::Chunk) {
            progress.check()?;
            match judge.of(blob) {
                Ok(Hold::Sound | Hold::Frail) | Err(Error::Corrupt { .. }) => {}
                Ok(Hold::Lost) => _ = lost.insert(blob.id),
                Err(error) => return Err(error),
            }
        }
    }
    let (roots, _) = losses::roots(&hand.repo, &hand.ledger.committed())?;
    let (needed, _) = losses::find(&judge, &roots, progress)?;
    lost.extend(needed.lost.iter().filter(|blob| blob.kind == BlobKind::Chunk).map(|blob| blob.id));
    Ok(lost)
}

fn assess(hand: &Hand, view: &View, report: &mut PacksReport, progress: &dyn Progress) -> Result<Losses> {
    let judge = Judge::new(&view.holdings, &view.reader);
    let (roots, unreadable) = losses::roots(&hand.repo, &hand.ledger.committed())?;
    let (losses, _) = losses::find(&judge, &roots, progress)?;
    report.lost = BTreeMap::new();
    for blob in &losses.lost {
        *report.lost.entry(blob.kind.word().to_owned()).or_default() += 1;
    }
    report.snapshots = losses.snapshots.clone();
    report.unreadable = unreadable;
    report.unreadable.extend(losses.failed.iter().cloned());
    Ok(losses)
}

/// What becomes of each pack. One that holds what is lost and needed stays; so does each while it
/// cannot be told what snapshots need.
fn fates(view: &View, exams: &[Exam], losses: &Losses) -> BTreeMap<PackId, Fate> {
    let inventory = &view.holdings.inventory;
    let needed = |number: &PackNumber| {
        view.holdings.frame_numbers(*number).any(|frame| {
            let frame = &inventory.frames()[frame as usize];
            let (_, blobs) = inventory.blobs_of(frame);
            let lost = |blob: BlobRef| losses.lost.contains(&blob);
            !is_known(frame.encoding, frame.codec_version)
                || blobs.iter().any(|row| blob_ref(row).is_none_or(lost))
        })
    };
    let fate = |exam: &Exam| match view.numbers.get(&exam.pack) {
        _ if exam.is_gone() => Fate::Gone,
        _ if exam.is_whole() => Fate::Whole,
        None => Fate::Unknown,
        Some(numbers) if numbers.is_empty() => Fate::Unknown,
        Some(_) if !losses.failed.is_empty() => Fate::Stays,
        Some(numbers) if numbers.iter().any(needed) => Fate::Stays,
        Some(_) => Fate::Condemned,
    };
    exams.iter().map(|exam| (exam.pack, fate(exam))).collect()
}

/// `false`: another run wrote an entry meanwhile.
fn write_entries(
    hand: &mut Hand,
    fates: &BTreeMap<PackId, Fate>,
    exams: &[Exam],
    began: Stamp,
) -> Result<bool> {
    let of = |wanted: Fate| fates.iter().filter(move |(_, fate)| **fate == wanted).map(|(pack, _)| *pack);
    let good: Vec<PackId> = of(Fate::Whole)
        .filter(|id| hand.ledger.is_bad(id) && exams.iter().any(|e| e.pack == *id && e.is_whole()))
        .collect();
    let bad: Vec<PackId> = of(Fate::Stays).filter(|id| !hand.ledger.is_bad(id)).collect();
    if !good.is_empty() || !bad.is_empty() {
        let event =
            VerifiedV1 { method: METHOD_DATA, began, snapshot: None, good, bad, extensions: Vec::new() };
        if hand.append(&Event::Verified(event))? == Append::Taken {
            return Ok(false);
        }
    }
    let packs: Vec<PackId> = of(Fate::Condemned).collect();
    if packs.is_empty() {
        return Ok(true);
    }
    let condemn = CondemnV1 { packs, indexes: Vec::new(), snapshots: Vec::new() };
    Ok(hand.append(&Event::Condemn(condemn))? == Append::Done)
}

/// Is it worth going on past this failure of one frame?
fn passable(error: Error) -> Result<()> {
    if is_damage(&error) { Ok(()) } else { Err(error) }
}
