//! What is no damage and worth a line: what nobody names, what is to be deleted, what nobody needs.

use std::collections::HashSet;

use crate::id::{ObjectName, PackId};
use crate::op::check::report::{CheckReport, Note, NoteKind};
use crate::op::check::scene::Scene;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::CopyNumber;
use crate::repo::reach::Reach;

/// Counts them. `reach` was walked.
pub fn count(repo: &Repository, scene: &Scene, reach: &Reach<'_>, report: &mut CheckReport) {
    let holdings = &scene.holdings;
    let packs = |n: usize| if n == 1 { "1 pack".to_owned() } else { format!("{n} packs") };
    let about = |kind: NoteKind, ids: &[PackId], words: &str| Note {
        kind,
        message: format!("{} {words}", packs(ids.len())),
        count: ids.len() as u64,
        bytes: ids.iter().map(|id| size_of(repo, holdings, id)).sum(),
        objects: ids.iter().map(|id| ObjectName::from(*id).to_string()).collect(),
    };
    if !holdings.unlisted.is_empty() {
        let words = "named by no index object: of a run that was cut short, or is at work";
        report.notes.push(about(NoteKind::UnlistedPacks, &holdings.unlisted, words));
    }
    if !scene.condemned.is_empty() {
        let words = "condemned and not deleted yet";
        report.notes.push(about(NoteKind::CondemnedPacks, &scene.condemned, words));
    }
    let (unneeded, twice) = usage(holdings, reach, report);
    for (kind, (count, bytes), words) in [
        (NoteKind::Unreferenced, unneeded, "that no snapshot needs"),
        (NoteKind::Duplicates, twice, "that are stored once more"),
    ] {
        if count > 0 {
            let blobs = if count == 1 { "blob" } else { "blobs" };
            report.notes.push(Note { count, bytes, ..Note::new(kind, format!("{count} {blobs} {words}")) });
        }
    }
}

fn size_of(repo: &Repository, holdings: &Holdings, id: &PackId) -> u64 {
    match holdings.number(id) {
        Some(number) => holdings.packs[number as usize].info.size,
        None => repo.store().stat(&(*id).into()).map_or(0, |stat| stat.size_bytes),
    }
}

/// Copies and their share of stored bytes.
type Sum = (u64, u64);

/// What no snapshot needs, and what is needed but stored once already.
fn usage(holdings: &Holdings, reach: &Reach<'_>, report: &mut CheckReport) -> (Sum, Sum) {
    let inventory = &holdings.inventory;
    let settled = reach.settle(|copy| copy, &HashSet::new());
    let share = |copy: CopyNumber| {
        let blob = &inventory.blobs()[copy as usize];
        let frame = &inventory.frames()[blob.frame as usize];
        u64::from(frame.stored_len) * u64::from(blob.len) / u64::from(frame.plain_len.max(1))
    };
    let (mut unneeded, mut twice): (Sum, Sum) = ((0, 0), (0, 0));
    for copies in inventory.distinct() {
        let chosen = settled.chosen(copies[0]);
        report.counts.blobs += 1;
        report.counts.needed_blobs += u64::from(reach.is_needed(copies[0]) || chosen.is_some());
        let lost_but_needed = chosen.is_none() && reach.is_needed(copies[0]);
        for copy in copies.iter().filter(|c| !lost_but_needed && holdings.is_usable(**c)) {
            let sum = match chosen {
                None => &mut unneeded,
                Some(chosen) if chosen != *copy => &mut twice,
                Some(_) => continue,
            };
            *sum = (sum.0 + 1, sum.1 + share(*copy));
        }
    }
    (unneeded, twice)
}
