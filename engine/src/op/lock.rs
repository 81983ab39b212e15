//! `lock`: the leases of runs that write, and taking away those that nobody holds any more.
//!
//! A lease only delays what others do; safety never rests on one. So removing any of them is safe for
//! the data: a run that is still at work may lose what it has sent, and begins anew.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::repo::Repository;
use crate::repo::lease::{self, Judgement, Lease, Seen, leases};

/// A lease as listed.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseInfo {
    /// Whose it is.
    pub session: SessionId,
    /// Alive or not.
    pub state: Judgement,
    /// Its last beat, by the store's clock; nanoseconds since 1970.
    pub beat_ns: i64,
    /// How long ago that was.
    pub silent_secs: i64,
    /// What it says; `None` if it cannot be read.
    #[serde(flatten)]
    pub holder: Option<Holder>,
}

/// Who holds it.
#[derive(Debug, Clone, Serialize)]
pub struct Holder {
    /// Host.
    pub host: String,
    /// User.
    pub user: String,
    /// Process id on that host.
    pub pid: u32,
    /// What it does.
    pub operation: String,
    /// The last ledger entry that it had read when it began; 0 = it has not begun yet.
    pub start: u64,
    /// Program and version.
    pub program: String,
}

fn info(seen: Seen) -> LeaseInfo {
    LeaseInfo {
        session: seen.session,
        state: seen.judgement,
        beat_ns: seen.beat_ns,
        silent_secs: seen.silent_ns / 1_000_000_000,
        holder: seen.record.map(|r| Holder {
            host: r.host.0,
            user: r.user.0,
            pid: r.pid,
            operation: r.operation.0,
            start: r.start,
            program: r.program.0,
        }),
    }
}

/// Every lease. Writes nothing, so how long one is silent is told by this machine's clock.
pub fn list(repo: &Repository) -> Result<Vec<LeaseInfo>> {
    Ok(leases(repo, None)?.into_iter().map(info).collect())
}

/// Which leases are to be removed.
#[derive(Debug, Clone, Default)]
pub struct RemoveOptions {
    /// Those whose session begins so; none = all.
    pub sessions: Vec<String>,
    /// Also those of runs that may be at work.
    pub alive_too: bool,
}

/// What became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RemoveReport {
    /// Removed.
    pub removed: Vec<LeaseInfo>,
    /// Left, since they may be at work.
    pub left: Vec<LeaseInfo>,
}

/// Removes leases. A lease of its own tells it what time it is on the store's clock.
pub fn remove(repo: &Repository, options: &RemoveOptions) -> Result<RemoveReport> {
    let own = Lease::take(repo, SessionId(repo.surroundings().random()?), lease::UNLOCK)?;
    let all = leases(repo, Some(own.session()))?;
    let mut chosen: Vec<Seen> = Vec::new();
    for word in &options.sessions {
        let fits: Vec<&Seen> = all.iter().filter(|s| s.session.to_hex().starts_with(word)).collect();
        match fits.as_slice() {
            [one] if chosen.iter().any(|s| s.session == one.session) => {}
            [one] => chosen.push((*one).clone()),
            [] => return Err(Error::NotFound { what: format!("lease {word}") }),
            many => {
                let candidates: Vec<_> = many.iter().take(5).map(|s| s.session.short()).collect();
                return Err(Error::Usage(format!("lease {word} is ambiguous: {}", candidates.join(", "))));
            }
        }
    }
    if options.sessions.is_empty() {
        chosen = all;
    }
    let mut report = RemoveReport::default();
    for seen in chosen {
        if seen.judgement == Judgement::Alive && !options.alive_too {
            report.left.push(info(seen));
        } else {
            repo.store().remove(&seen.session.into())?;
            report.removed.push(info(seen));
        }
    }
    Ok(report)
}
