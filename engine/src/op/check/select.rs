//! Which packs are to be read. Pure.
//!
//! Packs that were found bad are always among them: a cable may have been at fault. Then those that
//! were never verified, in random order; then the others, the longest unverified first where an age
//! is asked for, else in random order.

use crate::id::PackId;
use crate::op::check::options::Subset;

/// A pack that may be read.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Its name.
    pub id: PackId,
    /// Its length.
    pub size: u64,
    /// When it was last found good by reading it, nanoseconds since 1970.
    pub verified_ns: Option<i64>,
    /// Found bad since.
    pub bad: bool,
}

/// Stamps this far in the future are of a clock that was wrong, not of a verification to come.
const FUTURE_NS: i64 = 86_400_000_000_000;

/// Chooses; the first is to be read first.
pub fn select(
    candidates: &[Candidate],
    subset: Option<Subset>,
    max_age_secs: Option<u64>,
    now_ns: i64,
    seed: &[u8; 32],
) -> Vec<PackId> {
    let age_ns =
        max_age_secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1_000_000_000));
    let verified = |c: &Candidate| c.verified_ns.filter(|at| *at <= now_ns.saturating_add(FUTURE_NS));
    let is_old = |c: &Candidate| match (verified(c), age_ns) {
        (Some(at), Some(age)) => now_ns.saturating_sub(at) > age,
        _ => true,
    };
    let in_share = |c: &Candidate| match subset {
        Some(Subset::Share { number, of }) => share_of(&c.id, of) + 1 == number,
        _ => true,
    };
    let mut chosen: Vec<Candidate> =
        candidates.iter().copied().filter(|c| c.bad || (is_old(c) && in_share(c))).collect();
    chosen.sort_by_cached_key(|c| {
        let at = verified(c).map(|at| if age_ns.is_some() { at } else { 0 });
        // `None`, never verified, comes before every `Some`.
        (!c.bad, at, *blake3::keyed_hash(seed, &c.id.0).as_bytes())
    });
    let total: u64 = candidates.iter().map(|c| c.size).sum();
    let room = match subset {
        Some(Subset::Percent(percent)) => (total as f64 * percent / 100.0).ceil() as u64,
        Some(Subset::Bytes(bytes)) => bytes,
        _ => return chosen.into_iter().map(|c| c.id).collect(),
    };
    let mut read = 0;
    let fits = |c: &Candidate| {
        // At least one, so that a small part of few packs comes around at all.
        let fits = c.bad || read == 0 || read + c.size <= room;
        read += if fits { c.size } else { 0 };
        fits
    };
    let mut fits = fits;
    chosen.into_iter().take_while(|c| fits(c)).map(|c| c.id).collect()
}

/// Which of `of` shares a pack is in, from 0 on.
fn share_of(id: &PackId, of: u64) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&id.0[..8]);
    u64::from_le_bytes(low) % of.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const DAY_NS: i64 = 86_400_000_000_000;
    const NOW: i64 = 1000 * DAY_NS;

    fn pack(n: u64, verified_days_ago: Option<i64>) -> Candidate {
        let id = PackId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        Candidate { id, size: 10, verified_ns: verified_days_ago.map(|d| NOW - d * DAY_NS), bad: false }
    }

    fn chosen(all: &[Candidate], subset: &str, age_days: Option<u64>, seed: u8) -> Vec<usize> {
        let subset = (!subset.is_empty()).then(|| subset.parse().unwrap());
        let ids = select(all, subset, age_days.map(|d| d * 86_400), NOW, &[seed; 32]);
        ids.iter().map(|id| all.iter().position(|c| c.id == *id).unwrap()).collect()
    }

    #[test]
    fn seven_shares_are_everything_once_and_stay_the_same() {
        let all: Vec<_> = (0..500).map(|n| pack(n, None)).collect();
        let mut seen = BTreeSet::new();
        for n in 1..=7 {
            let share = chosen(&all, &format!("{n}/7"), None, 1);
            assert!((40..110).contains(&share.len()), "{}", share.len());
            let mut again = chosen(&all[..400], &format!("{n}/7"), None, 2);
            again.sort_unstable();
            let mut before: Vec<_> = share.iter().copied().filter(|i| *i < 400).collect();
            before.sort_unstable();
            assert_eq!(again, before, "whatever else there is, and whatever the seed");
            assert!(share.into_iter().all(|i| seen.insert(i)), "no pack is in two shares");
        }
        assert_eq!(seen.len(), 500);
    }

    #[test]
    fn a_part_by_size_is_random_but_never_verified_first() {
        let mut all: Vec<_> = (0..100).map(|n| pack(n, (n >= 30).then_some(1))).collect();
        let tenth = chosen(&all, "10%", None, 1);
        assert_eq!(tenth.len(), 10);
        assert!(tenth.iter().all(|i| *i < 30));
        assert_ne!(tenth, chosen(&all, "10%", None, 2));
        let half = chosen(&all, "500", None, 1);
        assert_eq!((half.len(), half.iter().filter(|i| **i < 30).count()), (50, 30));
        assert_eq!(chosen(&all, "1", None, 1).len(), 1);
        assert_eq!(chosen(&all, "100%", None, 1).len(), 100);
        all[99].bad = true;
        assert_eq!(chosen(&all, "10%", None, 1)[0], 99, "what was found bad comes first");
        assert!(chosen(&[], "10%", None, 1).is_empty());
    }

    #[test]
    fn an_age_leaves_out_what_is_younger_and_takes_the_oldest_first() {
        let mut all =
            vec![pack(0, Some(10)), pack(1, Some(40)), pack(2, None), pack(3, Some(31)), pack(4, Some(-400))];
        assert_eq!(chosen(&all, "", Some(30), 1).len(), 4);
        let order = chosen(&all, "", Some(30), 1);
        assert_eq!(order[2..], [1, 3], "{order:?}");
        assert!(order[..2].contains(&2) && order[..2].contains(&4), "a wrong clock's stamp is none");
        assert_eq!(chosen(&all, "", Some(5), 1).last(), Some(&0));
        assert_eq!(chosen(&all, "25", Some(30), 1).len(), 2);
        all[0].bad = true;
        assert_eq!(chosen(&all, "", Some(30), 1)[0], 0, "young, but bad");
        assert_eq!(chosen(&all[..1], "", Some(100_000), 1), [0]);
    }
}
