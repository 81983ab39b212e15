//! What hosts do, whole: a verb on a store that may die, lose an answer, or let another job run in
//! between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ballast::error::{Error, ProblemKind, Result, StoreErrorKind};
use ballast::format::ledger::{Event, ForgetV1};
use ballast::id::{ObjectKind, SessionId, SnapshotId};
use ballast::op::restore::{self, RestoreOptions};
use ballast::op::{prune, snapshot};
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::repo::ledger::Append;
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::fault::{Death, Effect, Fault, FaultStore};
use ballast::store::retry::{RetryPolicy, RetryStore};

use super::{Sitting, World, all, count, locked};
use crate::place::of;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Of the host's source.
    Snapshot,
    /// A session of its own, with differences to what is there.
    Chain(u8),
    /// The n-th of those that count.
    Forget(u8),
    /// All that can be.
    Prune,
    /// The n-th of those that count, to a directory.
    Restore(u8),
    /// A session begins and stays open.
    Begin,
    /// It stores something.
    Add(u8),
    /// What it stored becomes durable.
    Flush,
    /// It ends in a snapshot.
    Commit,
    /// It ends in nothing.
    Abandon,
}

impl Verb {
    /// May it write a ledger entry?
    fn appends(self) -> bool {
        matches!(self, Self::Snapshot | Self::Chain(_) | Self::Forget(_) | Self::Prune | Self::Commit)
    }
}

/// An answer of the store to a new ledger entry that never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The run asks again.
    Transient,
    /// The run ends.
    ForGood,
}

/// Another job, right before the `at`-th changing call of the one it stands in.
#[derive(Debug, Clone)]
pub struct Between {
    /// Which call.
    pub at: u64,
    /// All leases look dead from then on.
    pub lapse: bool,
    /// The job.
    pub job: Box<Job>,
}

/// See the module's words.
#[derive(Debug, Clone)]
pub struct Job {
    /// Whose.
    pub host: usize,
    /// What.
    pub verb: Verb,
    /// The store dies for it at that changing call.
    pub death: Option<(u64, Death)>,
    /// The answer to its first ledger entry is lost.
    pub lost: Option<Lost>,
    /// What runs in between.
    pub between: Option<Between>,
}

/// What became of it.
#[derive(Debug)]
pub struct Done {
    /// Its error.
    pub result: Result<()>,
    /// The store failed it, so any error will do.
    pub excused: bool,
}

impl Job {
    /// Without any trouble.
    pub fn plain(host: usize, verb: Verb) -> Self {
        Self { host, verb, death: None, lost: None, between: None }
    }
}

/// On CPU threads of its own: another job in between must not wait for those of this one.
pub fn on_own_threads<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(act)
}

impl World {
    /// Runs a job. Panics where it fails without an excuse.
    pub fn run(self: &Arc<Self>, job: &Job) {
        let done = self.attempt(job);
        match &done.result {
            Ok(()) => {}
            Err(_) if done.excused => {}
            // Whoever was held for dead again and again gives up.
            Err(Error::Overtaken { .. }) => count(&self.counts.overtaken, 1),
            Err(error) => panic!("{job:?}: {error}"),
        }
    }

    fn attempt(self: &Arc<Self>, job: &Job) -> Done {
        let (fault, store) = self.store_for(job);
        let result = on_own_threads(|| self.act(job.host, job.verb, &fault, store));
        fault.clear_hook();
        let died = fault.is_dead();
        if let Some((_, death)) = job.death.filter(|_| died) {
            let counter = match death {
                Death::Before => &self.counts.died_before,
                Death::Torn => &self.counts.died_torn,
                Death::After => &self.counts.died_after,
            };
            count(counter, 1);
        }
        if died {
            self.undo_torn_entry();
        }
        let lost = job.lost.is_some() && result.is_err();
        Done { result, excused: died || lost }
    }

    /// A session that stays open keeps the store it began with.
    fn store_for(self: &Arc<Self>, job: &Job) -> (Arc<FaultStore>, Arc<dyn Store>) {
        let sitting = matches!(job.verb, Verb::Add(_) | Verb::Flush | Verb::Commit | Verb::Abandon);
        let kept = locked(&self.hosts[job.host].sitting).as_ref().map(|s| s.fault.clone());
        let fault = kept.filter(|_| sitting).unwrap_or_else(|| Arc::new(FaultStore::new(self.store.clone())));
        if let Some((n, death)) = job.death {
            fault.die_at(n, death);
        }
        if let Some(lost) = job.lost.filter(|_| job.verb.appends()) {
            let kind = match lost {
                Lost::Transient => StoreErrorKind::Transient,
                Lost::ForGood => StoreErrorKind::Other,
            };
            fault.add(Fault::new(Method::Put, Effect::LostAnswer(kind)).on(ObjectKind::Ledger));
        }
        let (world, job, dying) = (self.clone(), job.clone(), Arc::downgrade(&fault));
        let (calls, hit) = (AtomicU64::new(0), AtomicBool::new(false));
        let losing = AtomicBool::new(job.lost.is_some() && job.verb.appends());
        fault.set_hook(move |call| {
            let dead = dying.upgrade().is_none_or(|fault| fault.is_dead());
            if dead || !call.method.is_mutating() {
                return;
            }
            let entry = call.method == Method::Put && call.kind == Some(ObjectKind::Ledger);
            if entry && losing.swap(false, Ordering::SeqCst) {
                count(&world.counts.lost_answers, 1);
            }
            let at = calls.fetch_add(1, Ordering::SeqCst) + 1;
            let Some(between) = job.between.as_ref().filter(|between| between.at == at) else { return };
            if !hit.swap(true, Ordering::SeqCst) {
                if between.lapse {
                    world.lapse();
                }
                count(&world.counts.nested, 1);
                world.run(&between.job);
                world.verify("in between");
            }
        });
        let policy = RetryPolicy { attempts: 3, first_delay: Duration::ZERO, max_delay: Duration::ZERO };
        let store: Arc<dyn Store> = Arc::new(RetryStore::new(fault.clone(), policy));
        (fault, store)
    }

    /// Names of entries are given at once or not at all, whatever the store: half of one is what no
    /// store that keeps its contract leaves behind.
    fn undo_torn_entry(&self) {
        let repo = self.bare();
        while !repo.ledger(false).unwrap().damage().is_empty() {
            let numbered = |n: &ballast::id::ObjectName| n.name.parse::<u64>().unwrap_or(0);
            let names = self.store.names().into_iter().filter(|n| n.kind == ObjectKind::Ledger);
            self.store.remove(&names.max_by_key(numbered).unwrap()).unwrap();
        }
    }

    /// Does it, as a host, through `store`.
    pub fn act(&self, host: usize, verb: Verb, fault: &Arc<FaultStore>, store: Arc<dyn Store>) -> Result<()> {
        match verb {
            Verb::Snapshot => self.snapshot(host, store),
            Verb::Chain(choice) => {
                let mut sitting = Sitting::begin(self, host, fault.clone(), store)?;
                sitting.add(self, choice)?;
                sitting.add(self, choice / 3 + 1)?;
                self.committed(sitting, host)
            }
            Verb::Forget(choice) => forget(&self.open(host, store)?, choice),
            Verb::Prune => {
                let report = prune::run(&self.open(host, store)?, &all(), &Silent)?;
                count(&self.counts.deleted, report.deleted_packs);
                count(&self.counts.repacks, report.repacked_packs);
                count(&self.counts.unchained, report.plan.unchained_blobs);
                Ok(())
            }
            Verb::Restore(choice) => self.restore(host, choice, store),
            Verb::Begin => {
                let sitting = Sitting::begin(self, host, fault.clone(), store)?;
                self.seat(host, sitting);
                Ok(())
            }
            Verb::Add(choice) => self.sitting(host, |sitting| sitting.add(self, choice)),
            Verb::Flush => self.sitting(host, Sitting::flush),
            Verb::Commit => {
                let sitting = self.take_sitting(host);
                sitting.map_or(Ok(()), |sitting| self.committed(sitting, host))
            }
            Verb::Abandon => {
                let sitting = self.take_sitting(host);
                drop(sitting);
                Ok(())
            }
        }
    }

    /// The lock is not held while it works: another job may stand in between.
    pub(super) fn take_sitting(&self, host: usize) -> Option<Sitting> {
        locked(&self.hosts[host].sitting).take()
    }

    fn sitting(&self, host: usize, act: impl FnOnce(&mut Sitting) -> Result<()>) -> Result<()> {
        let Some(mut sitting) = self.take_sitting(host) else { return Ok(()) };
        act(&mut sitting)?;
        self.seat(host, sitting);
        Ok(())
    }

    fn seat(&self, host: usize, sitting: Sitting) {
        let before = locked(&self.hosts[host].sitting).replace(sitting);
        drop(before);
    }

    fn committed(&self, sitting: Sitting, host: usize) -> Result<()> {
        self.reported(sitting.commit(self, host)?);
        Ok(())
    }

    fn snapshot(&self, host: usize, store: Arc<dyn Store>) -> Result<()> {
        let repo = self.open(host, store)?;
        let mut options = of(&self.hosts[host].top);
        options.threads = 1;
        options.description = self.try_for(locked(&self.hosts[host].files).clone());
        let report = snapshot::run(&repo, &options, &Silent)?;
        // A source may have become empty; nothing else is amiss.
        assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Empty), "{:?}", report.problems);
        count(&self.counts.adopted, report.adopted_packs);
        self.reported(report.snapshot.expect("because it was no dry run"));
        Ok(())
    }

    fn restore(&self, host: usize, choice: u8, store: Arc<dyn Store>) -> Result<()> {
        let repo = self.open(host, store)?;
        let Some(id) = nth(&repo.ledger(false)?.committed(), choice) else { return Ok(()) };
        let target = self.target();
        let options = RestoreOptions { threads: 1, ..RestoreOptions::new(id, target.path().to_owned()) };
        let report = restore::run(&repo, &options, &Silent)?;
        assert_eq!(report.problems, []);
        let label = repo.snapshot(id)?.record.description.0;
        let tried = locked(&self.oracle).tried[&label].clone();
        for (name, body) in tried {
            let there = self.hosts.iter().map(|host| host.top.join(&name)).chain([name.clone().into()]);
            let found = there
                .map(|path| target.path().join(path.strip_prefix("/").unwrap_or(&path)))
                .find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("{label}: {name} was not restored"));
            assert!(std::fs::read(found).unwrap() == body, "{label}: {name} was restored with other bytes");
        }
        count(&self.counts.restores, 1);
        Ok(())
    }
}

/// Forgets the n-th of the snapshots that count: entry first, object after.
pub fn forget(repo: &Repository, choice: u8) -> Result<()> {
    let mut ledger = repo.ledger(true)?;
    loop {
        let committed = ledger.committed();
        let Some(id) = nth(&committed, choice) else { return Ok(()) };
        let event = Event::Forget(ForgetV1 { snapshots: vec![id], reason: "test".into() });
        if ledger.append(repo, SessionId(repo.surroundings().random()?), &event)? == Append::Done {
            return Ok(repo.store().remove(&id.into())?);
        }
        ledger.refresh(repo)?;
    }
}

fn nth(all: &[SnapshotId], choice: u8) -> Option<SnapshotId> {
    all.get(usize::from(choice) % all.len().max(1)).copied()
}
