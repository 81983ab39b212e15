//! `forget`: snapshots that count no longer (design §3a).
//!
//! 1. Lease, and every entry of the ledger (W1).
//! 2. Of what is committed the [`policy`] chooses what to keep, group by group; or the ids are given.
//! 3. One ledger entry forgets the rest. Taken by another run: decide again, on what is there now.
//! 4. Only then are the objects of forgotten snapshots removed, those too that a killed run left.
//!
//! Their data stays until a prune; nothing is freed here. A snapshot that cannot be read is
//! forgotten only if its id is given.

pub mod calendar;
pub mod policy;
mod report;
pub mod span;

pub use policy::{KeepPolicy, Period, Reason, UNLIMITED};
pub use report::{ForgetOptions, ForgetReport, Group, GroupBy, GroupKey, Planned};
pub use span::Span;

use crate::error::{Error, Result, printable};
use crate::format::wire::Stamp;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::clerk::Clerk;
use crate::repo::ledger::Ledger;
use crate::repo::reserve::Reserve;

use policy::Candidate;

/// Forgets snapshots.
pub fn run(repo: &Repository, options: &ForgetOptions, progress: &dyn Progress) -> Result<ForgetReport> {
    match (options.ids.is_empty(), options.policy.is_empty()) {
        (true, true) => return Err(Error::Usage("nothing says which snapshots to keep or to forget".into())),
        (false, false) => return Err(Error::Usage("either ids or a policy, not both".into())),
        _ => {}
    }
    progress.phase("reading snapshots", None, None);
    if options.dry_run {
        let ledger = repo.ledger(true)?;
        let mut report = plan(repo, &ledger, options)?;
        report.dry_run = true;
        return Ok(report);
    }
    // To forget is how room is made: a full disk must not be in the way of it.
    let reserve = Reserve::draw(repo);
    let mut clerk = Clerk::begin(repo, "forget")?;
    let mut last = ForgetReport::default();
    let reason = if options.ids.is_empty() {
        format!("policy: keep {}", options.policy)
    } else {
        "asked for by id".to_owned()
    };
    let forgotten = clerk.forget(&reason, &mut |ledger| {
        last = plan(repo, ledger, options)?;
        progress.check()?;
        Ok(last.forgotten.clone())
    })?;
    let swept = repo.sweep_forgotten(clerk.ledger())?;
    reserve.make_again();
    Ok(ForgetReport {
        forgotten: forgotten.ids,
        entries: forgotten.entries,
        removed_objects: swept.removed,
        left_objects: swept.left,
        ..last
    })
}

/// What would be forgotten in the state that `ledger` tells.
fn plan(repo: &Repository, ledger: &Ledger, options: &ForgetOptions) -> Result<ForgetReport> {
    if options.ids.is_empty() { by_policy(repo, ledger, options) } else { by_id(repo, ledger, options) }
}

fn by_id(repo: &Repository, ledger: &Ledger, options: &ForgetOptions) -> Result<ForgetReport> {
    let committed = ledger.committed();
    let mut snapshots: Vec<Planned> = Vec::new();
    for id in &options.ids {
        if snapshots.iter().any(|planned| planned.id == *id) {
            continue;
        }
        if committed.contains(id) {
            snapshots.push(match repo.snapshot(*id) {
                Ok(snapshot) => Planned::readable(&snapshot, Vec::new()),
                Err(Error::Corrupt { .. } | Error::Store(_)) => Planned::unreadable(*id),
                Err(error) => return Err(error),
            });
        } else if !ledger.is_forgotten(id) {
            return Err(Error::NotFound { what: format!("snapshot {}", id.short()) });
        }
    }
    let forgotten: Vec<SnapshotId> = snapshots.iter().map(|s| s.id).collect();
    let kept = (committed.len() - forgotten.len()) as u64;
    let groups =
        if snapshots.is_empty() { Vec::new() } else { vec![Group { snapshots, ..Group::default() }] };
    Ok(ForgetReport { groups, kept, forgotten, ..ForgetReport::default() })
}

fn by_policy(repo: &Repository, ledger: &Ledger, options: &ForgetOptions) -> Result<ForgetReport> {
    let now = Stamp::from_ns(repo.surroundings().clock.now_ns());
    let (snapshots, unreadable) = repo.snapshots(ledger, &options.filter)?;
    let mut report = ForgetReport {
        unreadable: unreadable.into_iter().map(|(id, error)| (id, error.to_string())).collect(),
        ..ForgetReport::default()
    };
    for (key, members) in report::grouped(snapshots, options.group_by) {
        // They come oldest first, those of one time in the order of their commits.
        let candidates: Vec<Candidate> = (0..)
            .zip(&members)
            .map(|(order, s)| Candidate {
                id: s.id,
                time: s.record.time,
                utc_offset_secs: s.record.utc_offset_secs,
                order,
                tags: s.record.tags.iter().map(|t| t.0.clone()).collect(),
            })
            .collect();
        let reasons = options.policy.reasons(&candidates, now);
        let snapshots: Vec<Planned> =
            members.iter().zip(reasons).map(|(s, reasons)| Planned::readable(s, reasons)).collect();
        let kept = snapshots.iter().filter(|s| s.is_kept()).count();
        // One that is dated in the future is no reason to let every real one go.
        let real = || snapshots.iter().filter(|s| !s.reasons.contains(&Reason::Future));
        let count = real().count();
        if count > 0 && !real().any(Planned::is_kept) && !options.allow_empty {
            let of = describe(&key);
            let what = if count == 1 { "the only snapshot".into() } else { format!("all {count} snapshots") };
            return Err(Error::Usage(format!("this would forget {what} of {of}")));
        }
        report.kept += kept as u64;
        report.forgotten.extend(snapshots.iter().filter(|s| !s.is_kept()).map(|s| s.id));
        report.groups.push(Group { key, snapshots });
    }
    Ok(report)
}

fn describe(key: &GroupKey) -> String {
    let parts = [
        key.host.as_ref().map(|host| format!("host {host}")),
        key.paths.as_ref().map(|paths| {
            let paths: Vec<String> = paths.iter().map(|path| printable(path)).collect();
            format!("paths {}", paths.join(", "))
        }),
        key.tags.as_ref().map(|tags| match tags.is_empty() {
            true => "no tags".to_owned(),
            false => format!("tags {}", tags.join(",")),
        }),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "this repository".into() } else { parts.join(", ") }
}
