//! What was found good or bad by reading it, written to the ledger: from then on bad packs count as
//! absent for who writes, and age and subset have something to go by.

use crate::error::Result;
use crate::format::ledger::Event;
use crate::format::record::{METHOD_DATA, VerifiedV1};
use crate::format::wire::Stamp;
use crate::id::{PackId, SessionId};
use crate::op::check::data::Readings;
use crate::repo::Repository;
use crate::repo::ledger::Ledger;

/// Ids in one entry at most: some 6 MiB, where an entry may have 64.
const MAX_IDS: usize = 200_000;

/// Appends as many entries as it takes; gives their numbers. It is no failure of a check if that
/// cannot be done: the store may be read-only.
pub fn verified(repo: &Repository, readings: &Readings, began: Stamp) -> Result<Vec<u64>> {
    let (good, mut bad) = readings.verdicts();
    if good.is_empty() && bad.is_empty() {
        return Ok(Vec::new());
    }
    // Who writes must have read every entry, and find none of them damaged.
    let mut ledger = repo.ledger(true)?;
    bad.retain(|pack| !ledger.is_bad(pack));
    let session = SessionId(repo.surroundings().random()?);
    entries(&good, &bad, MAX_IDS, began)
        .into_iter()
        .map(|event| append(repo, &mut ledger, session, &event))
        .collect()
}

fn append(repo: &Repository, ledger: &mut Ledger, session: SessionId, event: &Event) -> Result<u64> {
    while !ledger.append_or_read(repo, session, event)?.is_empty() {}
    Ok(ledger.head())
}

/// Bad ones first: they are what must not be lost should the run end here.
fn entries(good: &[PackId], bad: &[PackId], max_ids: usize, began: Stamp) -> Vec<Event> {
    let all: Vec<(bool, PackId)> =
        bad.iter().map(|id| (false, *id)).chain(good.iter().map(|id| (true, *id))).collect();
    let pick = |part: &[(bool, PackId)], wanted| {
        part.iter().filter(|(is_good, _)| *is_good == wanted).map(|(_, id)| *id).collect()
    };
    all.chunks(max_ids)
        .map(|part| {
            Event::Verified(VerifiedV1 {
                method: METHOD_DATA,
                began,
                snapshot: None,
                good: pick(part, true),
                bad: pick(part, false),
                extensions: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_split_and_hold_each_pack_once() {
        let ids = |from: u8, to: u8| (from..to).map(|n| PackId([n; 32])).collect::<Vec<_>>();
        let (good, bad) = (ids(0, 10), ids(100, 103));
        let entries = entries(&good, &bad, 5, Stamp::default());
        let (mut all_good, mut all_bad) = (Vec::new(), Vec::new());
        for entry in &entries {
            let Event::Verified(v) = entry else { panic!("{entry:?}") };
            assert!(v.good.len() + v.bad.len() <= 5);
            all_good.extend_from_slice(&v.good);
            all_bad.extend_from_slice(&v.bad);
        }
        assert_eq!((entries.len(), all_good, all_bad), (3, good, bad));
    }
}
