//! Which snapshots of one group are kept, and why: a pure function of what they say.
//!
//! As restic has it. Counts (`daily 7`): of the newest seven days that have a snapshot, the newest one
//! of each. Stretches (`within 30d`, `daily within 1y`): counted back from the newest snapshot,
//! not from now, so that a host that is silent loses nothing. The oldest snapshot of all is kept while a
//! count is not used up: a new repository grows into its policy.
//!
//! Snapshots dated in the future are kept and take no part: a clock that was wrong once must not
//! push real ones out, nor move the moment that stretches are counted from.
//!
//! Leaving a snapshot out, because it cannot be read, never makes this choose to remove one that it
//! would keep otherwise. `tests/engine/forget.rs` holds it to all this.

use std::collections::HashSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::calendar::Local;
use super::span::Span;
use crate::format::wire::Stamp;
use crate::id::SnapshotId;

/// A count without an end.
pub const UNLIMITED: u32 = u32::MAX;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// Every snapshot.
    Last,
    /// The newest one of an hour.
    Hourly,
    /// Of a day.
    Daily,
    /// Of an ISO week.
    Weekly,
    /// Of a month.
    Monthly,
    /// Of a year.
    Yearly,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// Snapshots of one number are of one period; `turn` tells every snapshot from the others.
    fn number(self, local: Local, turn: i64) -> i64 {
        match self {
            Self::Last => turn,
            Self::Hourly => local.hour(),
            Self::Daily => local.day(),
            Self::Weekly => local.week(),
            Self::Monthly => local.month(),
            Self::Yearly => local.year(),
        }
    }
}

/// What is to be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepPolicy {
    counts: [u32; 6],
    within: [Option<Span>; 6],
    /// Those with all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
    /// These.
    pub ids: Vec<SnapshotId>,
}

impl KeepPolicy {
    /// Keeps nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the newest snapshot of each of the newest `count` periods that have one.
    pub fn keep(mut self, period: Period, count: u32) -> Self {
        self.counts[period as usize] = count;
        self
    }

    /// Keeps the newest snapshot of every period that lies within `span` of the newest one.
    pub fn keep_within(mut self, period: Period, span: Span) -> Self {
        self.within[period as usize] = Some(span);
        self
    }

    /// Does it keep nothing whatever there is? Then it cannot be meant.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 6] && self.within == [None; 6] && self.tags.is_empty() && self.ids.is_empty()
    }

    /// Why each of the `candidates`, which are of one group, is kept. No reason: it is not.
    pub fn reasons(&self, candidates: &[Candidate], now: Stamp) -> Vec<Vec<Reason>> {
        let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); candidates.len()];
        let mut newest_first: Vec<usize> = Vec::new();
        for (at, candidate) in candidates.iter().enumerate() {
            if candidate.time > now {
                reasons[at].push(Reason::Future)
            } else {
                newest_first.push(at)
            }
            reasons[at].extend(self.named(candidate));
        }
        newest_first.sort_by_key(|at| std::cmp::Reverse((candidates[*at].time, candidates[*at].order)));
        for period in Period::ALL {
            self.count(period, candidates, &newest_first, &mut reasons);
        }
        for period in Period::ALL {
            self.look_back(period, candidates, &newest_first, &mut reasons);
        }
        reasons
    }

    fn named(&self, candidate: &Candidate) -> impl Iterator<Item = Reason> {
        let has_all = |tags: &&Vec<String>| tags.iter().all(|t| candidate.tags.contains(t));
        let tagged = self.tags.iter().find(has_all).map(|tags| Reason::Tag(tags.join(",")));
        tagged.into_iter().chain(self.ids.contains(&candidate.id).then_some(Reason::Id))
    }

    fn count(&self, period: Period, all: &[Candidate], newest_first: &[usize], reasons: &mut [Vec<Reason>]) {
        let mut left = self.counts[period as usize];
        let mut seen = HashSet::new();
        for (turn, at) in newest_first.iter().enumerate() {
            if left == 0 {
                return;
            }
            let first = seen.insert(period.number(all[*at].local(), turn as i64));
            if first || turn + 1 == newest_first.len() {
                reasons[*at].push(Reason::Count { period, oldest: !first });
                left -= u32::from(left != UNLIMITED);
            }
        }
    }

    fn look_back(
        &self,
        period: Period,
        all: &[Candidate],
        newest_first: &[usize],
        reasons: &mut [Vec<Reason>],
    ) {
        let (Some(span), Some(newest)) = (self.within[period as usize], newest_first.first()) else { return };
        let limit = span.before(all[*newest].time, all[*newest].utc_offset_secs);
        let mut seen = HashSet::new();
        for (turn, at) in newest_first.iter().enumerate().take_while(|(_, at)| all[**at].time > limit) {
            let first = seen.insert(period.number(all[*at].local(), turn as i64));
            if first || turn + 1 == newest_first.len() {
                reasons[*at].push(Reason::Within { period, span });
            }
        }
    }
}

impl fmt::Display for KeepPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for period in Period::ALL {
            match self.counts[period as usize] {
                0 => {}
                UNLIMITED => parts.push(format!("{} unlimited", period.word())),
                n => parts.push(format!("{} {n}", period.word())),
            }
        }
        for period in Period::ALL {
            if let Some(span) = self.within[period as usize] {
                parts.push(Reason::Within { period, span }.to_string());
            }
        }
        parts.extend(self.tags.iter().map(|tags| format!("tag {}", tags.join(","))));
        parts.extend(self.ids.iter().map(|id| format!("snapshot {}", id.short())));
        f.write_str(&parts.join("; "))
    }
}

/// What of a snapshot the policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which it is.
    pub id: SnapshotId,
    /// When it was taken.
    pub time: Stamp,
    /// Its own wall clock, seconds east of UTC.
    pub utc_offset_secs: i32,
    /// Tells which of two of the same time is the newer one.
    pub order: usize,
    /// Its tags.
    pub tags: Vec<String>,
}

impl Candidate {
    fn local(&self) -> Local {
        Local::of(self.time, self.utc_offset_secs)
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is dated in the future.
    Future,
    /// It has these tags.
    Tag(String),
    /// It was named.
    Id,
    /// It is the newest of a period that counts.
    Count {
        /// Which.
        period: Period,
        /// It is not the newest of its period, but there is none older to take its place.
        oldest: bool,
    },
    /// It is the newest of a period in this stretch.
    Within {
        /// Which.
        period: Period,
        /// How long.
        span: Span,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future => f.write_str("dated in the future"),
            Self::Tag(tags) => write!(f, "tag {tags}"),
            Self::Id => f.write_str("named"),
            Self::Count { period, oldest: false } => f.write_str(period.word()),
            Self::Count { period, oldest: true } => write!(f, "oldest {}", period.word()),
            Self::Within { period: Period::Last, span } => write!(f, "within {span}"),
            Self::Within { period, span } => write!(f, "{} within {span}", period.word()),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
