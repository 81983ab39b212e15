//! Which snapshots are kept: tables, an oracle that counts with calendars on its fingers, and what must
//! hold of any policy.

use std::collections::BTreeSet;

use ballast::format::wire::Stamp;
use ballast::id::SnapshotId;
use ballast::op::forget::policy::Candidate;
use ballast::op::forget::{KeepPolicy, Period, Reason, Span, UNLIMITED};
use proptest::prelude::*;

const DAY: i64 = 86_400;
/// 2025-04-05 12:00 UTC, a Saturday.
const NOW: i64 = 1_743_854_400;

fn id(n: usize) -> SnapshotId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
    SnapshotId(bytes)
}

fn at(order: usize, secs: i64) -> Candidate {
    let time = Stamp { secs, nanos: 0 };
    Candidate { id: id(order), time, utc_offset_secs: 0, order, tags: Vec::new() }
}

fn reasons(policy: &KeepPolicy, all: &[Candidate]) -> Vec<Vec<Reason>> {
    policy.reasons(all, Stamp { secs: NOW, nanos: 0 })
}

fn kept(policy: &KeepPolicy, all: &[Candidate]) -> BTreeSet<SnapshotId> {
    all.iter().zip(reasons(policy, all)).filter(|(_, why)| !why.is_empty()).map(|(c, _)| c.id).collect()
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

/// Year, month, day and the Monday of its week, by walking from 1970 on.
fn date(local_secs: i64) -> (i64, i64, i64, i64) {
    let (mut left, mut year, mut month) = (local_secs.div_euclid(DAY), 1970, 1);
    let monday = left - (left + 3).rem_euclid(7);
    loop {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let length = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
        if left < length {
            return (year, month, left + 1, monday);
        }
        left -= length;
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
}

fn key(period: Period, c: &Candidate) -> String {
    let local = c.time.secs + i64::from(c.utc_offset_secs);
    let (year, month, day, monday) = date(local);
    match period {
        Period::Last => format!("{:?} {}", c.time, c.order),
        Period::Hourly => format!("{year}-{month}-{day} {}", local.rem_euclid(DAY) / 3600),
        Period::Daily => format!("{year}-{month}-{day}"),
        Period::Weekly => format!("week of {monday}"),
        Period::Monthly => format!("{year}-{month}"),
        Period::Yearly => format!("{year}"),
    }
}

#[derive(Debug, Clone)]
struct Wanted {
    counts: Vec<(Period, u32)>,
    within_hours: Vec<(Period, u32)>,
    tags: Vec<Vec<String>>,
}

impl Wanted {
    fn policy(&self) -> KeepPolicy {
        let mut policy = KeepPolicy::new();
        for (period, count) in &self.counts {
            policy = policy.keep(*period, *count);
        }
        for (period, hours) in &self.within_hours {
            policy = policy.keep_within(*period, span(&format!("{hours}h")));
        }
        policy.tags = self.tags.clone();
        policy
    }

    fn oracle(&self, all: &[Candidate]) -> BTreeSet<SnapshotId> {
        let mut kept: BTreeSet<SnapshotId> = all.iter().filter(|c| c.time.secs > NOW).map(|c| c.id).collect();
        for list in &self.tags {
            kept.extend(all.iter().filter(|c| list.iter().all(|t| c.tags.contains(t))).map(|c| c.id));
        }
        let mut real: Vec<&Candidate> = all.iter().filter(|c| c.time.secs <= NOW).collect();
        real.sort_by_key(|c| (c.time, c.order));
        real.reverse();
        let (Some(newest), Some(oldest)) = (real.first(), real.last()) else { return kept };
        let newest_of_each = |period: Period, of: &[&Candidate]| -> Vec<SnapshotId> {
            let mut keys: Vec<String> = Vec::new();
            of.iter()
                .filter(|c| {
                    let key = key(period, c);
                    let new = !keys.contains(&key);
                    keys.push(key);
                    new
                })
                .map(|c| c.id)
                .collect()
        };
        for (period, count) in &self.counts {
            let firsts = newest_of_each(*period, &real);
            kept.extend(firsts.iter().take(*count as usize));
            if firsts.len() < *count as usize {
                kept.insert(oldest.id);
            }
        }
        for (period, hours) in &self.within_hours {
            let limit = newest.time.secs - i64::from(*hours) * 3600;
            let inside: Vec<&Candidate> = real.iter().copied().filter(|c| c.time.secs > limit).collect();
            kept.extend(newest_of_each(*period, &inside));
            if oldest.time.secs > limit {
                kept.insert(oldest.id);
            }
        }
        kept
    }
}

fn any_period() -> impl Strategy<Value = Period> {
    (0..Period::ALL.len()).prop_map(|n| Period::ALL[n])
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let count = prop_oneof![4 => 1..6u32, 1 => Just(UNLIMITED)];
    let counts = prop::collection::btree_map(0..6usize, count, 0..4)
        .prop_map(|m| m.into_iter().map(|(p, n)| (Period::ALL[p], n)).collect());
    let within = prop::collection::btree_map(0..6usize, 1..6000u32, 0..3)
        .prop_map(|m| m.into_iter().map(|(p, n)| (Period::ALL[p], n)).collect());
    let tags = prop::collection::vec(prop::collection::vec("[ab]", 1..3), 0..2);
    (counts, within, tags).prop_map(|(counts, within_hours, tags)| Wanted { counts, within_hours, tags })
}

/// Dense and sparse stretches, equal times, any offsets, a few in the future.
fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let secs = prop_oneof![
        NOW - 3 * DAY..NOW,
        NOW - 900 * DAY..NOW,
        (0..40i64).prop_map(|h| NOW - h * 1800),
        NOW + 1..NOW + 400 * DAY,
    ];
    let one = (secs, -50_400..50_400i32, prop::collection::vec("[ab]", 0..2));
    prop::collection::vec(one, 0..40).prop_map(|all| {
        (0..)
            .zip(all)
            .map(|(n, (secs, utc_offset_secs, tags))| Candidate { utc_offset_secs, tags, ..at(n, secs) })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn it_keeps_what_the_oracle_keeps(wanted in any_wanted(), all in any_candidates()) {
        prop_assert_eq!(kept(&wanted.policy(), &all), wanted.oracle(&all));
    }

    #[test]
    fn the_order_in_which_they_come_is_nothing(
        wanted in any_wanted(),
        (all, mixed) in any_candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        prop_assert_eq!(kept(&wanted.policy(), &all), kept(&wanted.policy(), &mixed));
    }

    /// Those that cannot be read are not there for the policy. Forgetting twice is this, too.
    #[test]
    fn a_gap_never_costs_another_snapshot(
        wanted in any_wanted(),
        all in any_candidates(),
        gaps in prop::collection::vec(any::<bool>(), 40),
    ) {
        let policy = wanted.policy();
        let rest: Vec<Candidate> =
            all.iter().zip(&gaps).filter(|(_, gap)| !**gap).map(|(c, _)| c.clone()).collect();
        let there: BTreeSet<SnapshotId> = rest.iter().map(|c| c.id).collect();
        let before: BTreeSet<SnapshotId> = kept(&policy, &all).intersection(&there).copied().collect();
        prop_assert!(kept(&policy, &rest).is_superset(&before));
        let stays: Vec<Candidate> = all.iter().filter(|c| kept(&policy, &all).contains(&c.id)).cloned().collect();
        prop_assert_eq!(kept(&policy, &stays).len(), stays.len(), "a second run forgets nothing more");
    }

    #[test]
    fn the_future_crowds_nobody_out(wanted in any_wanted(), all in any_candidates()) {
        let policy = wanted.policy();
        let real: Vec<Candidate> = all.iter().filter(|c| c.time.secs <= NOW).cloned().collect();
        let future: BTreeSet<SnapshotId> = all.iter().filter(|c| c.time.secs > NOW).map(|c| c.id).collect();
        let expected: BTreeSet<SnapshotId> = kept(&policy, &real).union(&future).copied().collect();
        prop_assert_eq!(kept(&policy, &all), expected);
    }

    #[test]
    fn every_option_keeps_more(
        wanted in any_wanted(), all in any_candidates(), period in any_period(), n in 1..5u32, h in 1..5000u32,
    ) {
        let policy = wanted.policy();
        let before = kept(&policy, &all);
        let more = |policy: KeepPolicy| kept(&policy, &all).is_superset(&before);
        if wanted.counts.iter().all(|(p, _)| *p != period) {
            prop_assert!(more(policy.clone().keep(period, n)));
        }
        if wanted.within_hours.iter().all(|(p, _)| *p != period) {
            let hours = span(&format!("{h}h"));
            prop_assert!(more(policy.clone().keep_within(period, hours)));
        }
        prop_assert!(before.is_empty() || !policy.is_empty() || all.iter().any(|c| c.time.secs > NOW));
        // Whatever counts or looks back keeps at least the newest.
        let real = all.iter().filter(|c| c.time.secs <= NOW).max_by_key(|c| (c.time, c.order));
        if let (Some(newest), false) = (real, wanted.counts.is_empty() && wanted.within_hours.is_empty()) {
            prop_assert!(before.contains(&newest.id));
        }
    }
}

fn words(policy: &KeepPolicy, all: &[Candidate]) -> Vec<String> {
    reasons(policy, all)
        .iter()
        .map(|why| why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        .collect()
}

#[test]
fn reasons_are_given() {
    // Twice a day for three days, and one long ago.
    let mut all: Vec<Candidate> = vec![at(0, NOW - 400 * DAY)];
    for day in (0..3).rev() {
        all.push(at(all.len(), NOW - day * DAY - 6 * 3600));
        all.push(at(all.len(), NOW - day * DAY));
    }
    all.push(at(7, NOW + 1));
    let policy = KeepPolicy::new().keep(Period::Last, 1).keep(Period::Daily, 2).keep(Period::Monthly, 9);
    assert_eq!(
        words(&policy, &all),
        ["monthly", "", "", "", "daily", "", "last; daily; monthly", "dated in the future",]
    );
    let policy = KeepPolicy::new().keep_within(Period::Last, span("7h")).keep(Period::Yearly, 3);
    assert_eq!(words(&policy, &all)[4..], ["", "within 7h", "yearly; within 7h", "dated in the future"]);
    let mut policy = KeepPolicy::new();
    assert!(policy.is_empty());
    policy.ids = vec![id(3)];
    policy.tags = vec![vec!["keep".into(), "safe".into()]];
    all[1].tags = vec!["keep".into()];
    all[2].tags = vec!["keep".into(), "other".into(), "safe".into()];
    assert_eq!(words(&policy, &all)[1..5], ["", "tag keep,safe", "named", ""]);
    assert_eq!(policy.to_string(), "tag keep,safe; snapshot 03000000");
}

#[test]
fn the_oldest_is_kept_until_a_policy_is_filled() {
    let all: Vec<Candidate> = (0..3).map(|n| at(n, NOW - 3600 * (3 - n as i64))).collect();
    let policy = KeepPolicy::new().keep(Period::Monthly, 2);
    assert_eq!(words(&policy, &all), ["oldest monthly", "", "monthly"]);
    assert_eq!(words(&KeepPolicy::new().keep(Period::Monthly, 1), &all), ["", "", "monthly"]);
}

#[test]
fn days_are_those_of_the_snapshots_own_clock() {
    // 23:30 UTC on Friday: in Berlin it is Saturday already, in New York it is 19:30.
    let friday = NOW - 12 * 3600 - 1800;
    let with = |order, secs, hours: i32| Candidate { utc_offset_secs: hours * 3600, ..at(order, secs) };
    let policy = KeepPolicy::new().keep(Period::Daily, 5);
    let berlin = [with(0, friday - 7200, 2), with(1, friday, 2), with(2, NOW, 2)];
    assert_eq!(words(&policy, &berlin), ["daily", "", "daily"]);
    let new_york = [with(0, friday - 7200, -4), with(1, friday, -4), with(2, NOW, -4)];
    assert_eq!(words(&policy, &new_york), ["oldest daily", "daily", "daily"]);
    // Of the same moment, the one committed later is the newer.
    let twins = [at(0, NOW - 60), at(1, NOW - 60)];
    assert_eq!(words(&KeepPolicy::new().keep(Period::Last, 1), &twins), ["", "last"]);
}

#[test]
fn stretches_begin_at_the_newest_snapshot_not_now() {
    let silent_for_years: Vec<Candidate> = (0..5).map(|n| at(n, NOW - 2000 * DAY + n as i64 * DAY)).collect();
    let policy = KeepPolicy::new().keep_within(Period::Last, span("2d"));
    assert_eq!(words(&policy, &silent_for_years), ["", "", "", "within 2d", "within 2d"]);
    let policy = KeepPolicy::new().keep_within(Period::Weekly, span("1m"));
    assert_eq!(words(&policy, &silent_for_years).iter().filter(|w| !w.is_empty()).count(), 2);
}
