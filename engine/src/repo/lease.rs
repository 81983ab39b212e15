//! Leases: a session says that it lives (design §3a). A lease only delays deletion and
//! adoption; a wrong guess about one costs copying or reading again, never a snapshot.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::MAX_RECORD_BYTES;
use crate::format::config::STORE_ATOMIC_CREATE;
use crate::format::lease::LeaseV1;
use crate::format::wire::{Stamp, Text};
use crate::id::{ObjectKind, ObjectName, SessionId};
use crate::repo::{PROGRAM, Repository};
use crate::store::PutMode;

/// How often a lease is written anew.
pub const BEAT: Duration = Duration::from_secs(300);
/// A lease whose store time is this near to one just written is held to be alive.
pub const FRESH_NS: i64 = 3_600_000_000_000;

/// What the lease of a prune says that it does.
pub const PRUNE: &str = "prune";
/// What the lease of an unlock says that it does.
pub const UNLOCK: &str = "unlock";

/// This session's lease. Dropping it removes the object; a killed process leaves it, and
/// others find out that the process is gone.
pub struct Lease {
    repo: Repository,
    record: LeaseV1,
    beat: Option<(SyncSender<LeaseV1>, JoinHandle<()>)>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.record.session)
    }
}

impl Lease {
    /// W1, first half: a lease with start 0. [`Error::Locked`] only in a store without atomic creation.
    pub fn take(repo: &Repository, session: SessionId, operation: &str) -> Result<Self> {
        let process = Process::current();
        let record = LeaseV1 {
            session,
            start: 0,
            beat: 0,
            time: Stamp::from_ns(repo.surroundings().clock.now_ns()),
            host: Text(repo.identity().host.clone()),
            user: Text(repo.identity().user.clone()),
            place: Text(process.place),
            pid: process.pid,
            pid_start: process.start,
            operation: operation.into(),
            program: PROGRAM.into(),
            extensions: Vec::new(),
        };
        // From here on it is removed when dropped: its answer may have been lost, not the lease.
        let lease = Self { repo: repo.clone(), record, beat: None };
        put(repo, &lease.record)?;
        if repo.config().store_mode != STORE_ATOMIC_CREATE {
            lease.refuse_beside_others()?;
        }
        Ok(lease)
    }

    /// Where creation is not atomic the ledger alone keeps no order between a prune and the others: a
    /// prune runs alone, and nobody begins beside one. Each has put its own lease before it looks, so of
    /// two at once at least one sees the other.
    fn refuse_beside_others(&self) -> Result<()> {
        let alone = |record: &LeaseV1| record.operation.0 == PRUNE;
        if self.record.operation.0 == UNLOCK {
            return Ok(());
        }
        let others = live_sessions(&self.repo, Some(self.session()))?;
        // What cannot be read may be anything.
        let in_the_way =
            others.into_iter().find(|(_, other)| alone(&self.record) || other.as_ref().is_none_or(alone));
        let Some((session, record)) = in_the_way else { return Ok(()) };
        let by = match record {
            Some(r) => format!("a {} of {} on {}, process {}", r.operation.0, r.user.0, r.host.0, r.pid),
            None => format!("session {session}, whose lease cannot be read"),
        };
        Err(Error::Locked { by })
    }

    /// W1, second half: the head this session begins from; starts the heartbeat.
    pub fn begin(&mut self, head: u64) -> Result<()> {
        self.record.start = head;
        put(&self.repo, &self.record)?;
        let (stop, stopped) = sync_channel::<LeaseV1>(1);
        let (repo, mut record) = (self.repo.clone(), self.record.clone());
        let thread = std::thread::Builder::new().name("ballast-lease".into()).spawn(move || {
            while matches!(stopped.recv_timeout(BEAT), Err(RecvTimeoutError::Timeout)) {
                record.beat += 1;
                record.time = Stamp::from_ns(repo.surroundings().clock.now_ns());
                if let Err(error) = put(&repo, &record) {
                    tracing::warn!(%error, "lease not renewed");
                }
            }
        });
        match thread {
            Ok(thread) => self.beat = Some((stop, thread)),
            // Safety never rests on a lease: without a heartbeat the run is only likelier to be overtaken.
            Err(error) => tracing::warn!(%error, "no heartbeat"),
        }
        Ok(())
    }

    /// Whose it is.
    pub fn session(&self) -> SessionId {
        self.record.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.beat.take() {
            drop(stop);
            drop(thread.join());
        }
        if let Err(error) = self.repo.store().remove(&self.record.session.into()) {
            tracing::warn!(%error, "lease not removed; it will lapse");
        }
    }
}

fn put(repo: &Repository, record: &LeaseV1) -> Result<()> {
    let name: ObjectName = record.session.into();
    let bytes = repo.seal_named(&name, record)?;
    Ok(repo.store().put(&name, &bytes, PutMode::Replace)?)
}

/// What is to be thought of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Its run may still be at work.
    Alive,
    /// It was not renewed for an hour. Never where creation is not atomic: there a prune relies on
    /// leases (design §3a).
    Lapsed,
    /// Its process ran on this very system and is no more.
    Gone,
}

/// One lease as it stands.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Whose it is.
    pub session: SessionId,
    /// What it says; `None` if it cannot be read. It is then held to be alive until it lapses.
    pub record: Option<LeaseV1>,
    /// Its last beat, by the store's clock.
    pub beat_ns: i64,
    /// How long ago that was, by the same clock where that is known.
    pub silent_ns: i64,
    /// Alive or not.
    pub judgement: Judgement,
}

/// Every lease but `own`, by session. What time it is on the store's clock is told by `own`, which
/// was just written there; without it this machine's clock must do.
pub fn leases(repo: &Repository, own: Option<SessionId>) -> Result<Vec<Seen>> {
    let own_time = own.and_then(|own| repo.store().stat(&own.into()).ok()).map(|s| s.modified_ns);
    let now = own_time.unwrap_or_else(|| repo.surroundings().clock.now_ns());
    let may_lapse = repo.config().store_mode == STORE_ATOMIC_CREATE;
    let mut seen = Vec::new();
    for name in repo.store().list(ObjectKind::Lease)? {
        let Ok(session) = name.parse::<SessionId>() else { continue };
        if Some(session) == own {
            continue;
        }
        let name: ObjectName = session.into();
        let Ok(stat) = repo.store().stat(&name) else { continue };
        let record = match repo.store().get(&name, MAX_RECORD_BYTES) {
            Ok(bytes) => repo.open_named::<LeaseV1>(&name, &bytes).ok().filter(|r| r.session == session),
            Err(e) if e.is_not_found() => continue,
            Err(_) => None,
        };
        let silent_ns = now.saturating_sub(stat.modified_ns);
        let judgement = if record.as_ref().is_some_and(|r| Process::of(r).is_dead()) {
            Judgement::Gone
        } else if may_lapse && silent_ns > FRESH_NS {
            Judgement::Lapsed
        } else {
            Judgement::Alive
        };
        seen.push(Seen { session, record, beat_ns: stat.modified_ns, silent_ns, judgement });
    }
    seen.sort_by_key(|s| s.session);
    Ok(seen)
}

/// Sessions that may still be at work, other than `own`.
pub fn live_sessions(repo: &Repository, own: Option<SessionId>) -> Result<Vec<(SessionId, Option<LeaseV1>)>> {
    let alive = leases(repo, own)?.into_iter().filter(|s| s.judgement == Judgement::Alive);
    Ok(alive.map(|s| (s.session, s.record)).collect())
}

/// When a session's lease was last written, by the store's clock; `None` if somebody removed it.
pub fn store_time(repo: &Repository, own: SessionId) -> Result<Option<i64>> {
    match repo.store().stat(&own.into()) {
        Ok(stat) => Ok(Some(stat.modified_ns)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes leases whose process is certainly gone, or that have not moved for a day. A session that
/// slept writes its own again. Gives how many.
pub fn remove_dead(repo: &Repository, own: SessionId, now: i64) -> Result<u64> {
    let live: Vec<SessionId> =
        live_sessions(repo, Some(own))?.into_iter().map(|(session, _)| session).collect();
    let mut removed = 0;
    for name in repo.store().list(ObjectKind::Lease)? {
        let Ok(session) = name.parse::<SessionId>() else { continue };
        if session == own || live.contains(&session) {
            continue;
        }
        let name: ObjectName = session.into();
        let Ok(stat) = repo.store().stat(&name) else { continue };
        let record = repo.store().get(&name, MAX_RECORD_BYTES).map_err(Error::from);
        let record = record.and_then(|bytes| repo.open_named::<LeaseV1>(&name, &bytes));
        let dead = record.is_ok_and(|record| Process::of(&record).is_dead());
        if dead || now.saturating_sub(stat.modified_ns) > 24 * FRESH_NS {
            repo.store().remove(&name)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A process, told apart from a later one that was given the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// The running system and its process-id space; empty if unknown.
    place: String,
    pid: u32,
    start: u64,
}

impl Process {
    fn current() -> Self {
        let pid = std::process::id();
        Self { place: place().unwrap_or_default(), pid, start: start_of(pid).unwrap_or(0) }
    }

    fn of(lease: &LeaseV1) -> Self {
        Self { place: lease.place.0.clone(), pid: lease.pid, start: lease.pid_start }
    }

    /// Certainly gone: it ran under this very system, and no such process is there.
    fn is_dead(&self) -> bool {
        !self.place.is_empty()
            && self.start != 0
            && place().as_deref() == Some(&self.place)
            && start_of(self.pid) != Some(self.start)
    }
}

/// Boot id and process-id namespace: containers on one host share the first, not the second.
fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), space.display()))
}

/// Field 22 of `/proc/<pid>/stat`: when the process began, in ticks since boot.
fn start_of(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; the last bracket ends it. State is field 3.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_dead_process_is_told_from_a_living_one() {
        let here = Process::current();
        assert!(here.start > 0 && !here.is_dead());
        assert!(
            Process { start: here.start + 1, ..here.clone() }.is_dead(),
            "a later process of that number"
        );
        assert!(!Process { place: "elsewhere".into(), start: 1, pid: 1 }.is_dead());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let theirs = Process { pid: child.id(), start: start_of(child.id()).unwrap_or(1), ..here };
        child.wait().unwrap();
        assert!(theirs.is_dead());
    }
}
