//! `prune`: gives back the space of what no snapshot needs (design §3a, P1 to P6).
//!
//! 1. [`view`] reads the repository in the one order that is safe beside running sessions, and
//!    marks what committed snapshots need. Any damage ends it here: nothing was touched.
//! 2. [`plan`] decides what becomes of each pack; pure.
//! 3. [`repack`] copies the living parts of packs that will go, and lists what stays in new index
//!    objects.
//! 4. [`condemn`] writes the entry that makes it known. A snapshot that was committed meanwhile
//!    keeps what it needs; a condemnation by another prune begins all anew.
//! 5. [`sweep`] deletes what is condemned, as far as no session that began before may rely on it.
//!
//! Killed anywhere it leaves unlisted or doubly listed packs, never a snapshot without its data;
//! the next run takes care of them.
//!
//! Memory: that of [`crate::repo::holdings`] and [`crate::repo::reach`], some 60 bytes a copy, and
//! while it repacks that of an [`crate::repo::outbox`].

mod condemn;
mod options;
mod plan;
mod repack;
mod sweep;
mod view;

pub use options::{MaxUnused, PlanFigures, PruneOptions, PruneReport, Waiting};

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lease::{self, Lease};
use crate::repo::reserve::Reserve;

use condemn::Condemned;
use plan::Plan;
use view::{Seen, View};

/// So often it begins anew because others changed the repository meanwhile.
const ATTEMPTS: usize = 8;

/// Prunes. Where a committed snapshot is not whole, nothing is touched.
pub fn run(repo: &Repository, options: &PruneOptions, progress: &dyn Progress) -> Result<PruneReport> {
    if options.dry_run {
        return dry(repo, options, progress);
    }
    // A full disk must not keep anybody from making room.
    let reserve = Reserve::draw(repo);
    let session = SessionId(repo.surroundings().random()?);
    let mut lease = Lease::take(repo, session, lease::PRUNE)?;
    let mut report = PruneReport::default();
    let mut first = true;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let mut view = match View::read(repo, Some(session), progress)? {
            Seen::Moved => continue,
            Seen::Whole(view) => *view,
        };
        if std::mem::take(&mut first) {
            lease.begin(view.ledger.head())?;
        }
        let plan = plan_of(repo, &mut view, options);
        if report.plan == PlanFigures::default() {
            report.plan = plan.figures(&view);
        }
        if plan.is_empty(&view) {
            report.absorb(sweep::run(repo, session, view.ledger, progress)?);
            reserve.make_again();
            return Ok(report);
        }
        let Condemned::Done(done) = condemn::run(repo, session, view, &plan, progress)? else { continue };
        report.repacked_packs += done.repacked_packs;
        report.new_bytes += done.new_bytes;
        report.condemned_packs += done.condemned_packs;
        report.absorb(sweep::run(repo, session, done.ledger, progress)?);
        // What was deleted may make room for the rest; what waits for others does not.
        if !(done.more && report.waiting_packs == 0) {
            reserve.make_again();
            return Ok(report);
        }
        // Nobody was in the way: a round that made room is not one of those that were lost.
        attempt = 0;
    }
    Err(Error::Overtaken { what: "others change the repository faster than it can be pruned".into() })
}

/// Where there is no room to store blobs alone, what they are stored as a difference to must stay.
fn plan_of(repo: &Repository, view: &mut View, options: &PruneOptions) -> Plan {
    let plan = Plan::make(view, options, options.room(repo));
    if !plan.short_of_room || !view.keep_chains() {
        return plan;
    }
    let mut plan = Plan::make(view, options, options.room(repo));
    plan.short_of_room = true;
    plan
}

fn dry(repo: &Repository, options: &PruneOptions, progress: &dyn Progress) -> Result<PruneReport> {
    for _ in 0..ATTEMPTS {
        let Seen::Whole(mut view) = View::read(repo, None, progress)? else { continue };
        let plan = plan_of(repo, &mut view, options);
        let waiting_for = sweep::waiting(repo, &view)?;
        return Ok(PruneReport {
            dry_run: true,
            plan: plan.figures(&view),
            waiting_for,
            ..PruneReport::default()
        });
    }
    Err(Error::Overtaken { what: "others change the repository faster than it can be read".into() })
}
