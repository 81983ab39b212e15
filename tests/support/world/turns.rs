//! A turnstile before a store: of several runs only the one whose turn it is may call it, and a
//! schedule says at which call the turn goes elsewhere. So the steps of a protocol are interleaved
//! on the real code, as chosen and not as it happens.
//!
//! A turn changes only right before a call that changes the store, a listing, or a look for a ledger
//! entry; nothing else can be told apart by others. A run that was killed makes no call any more.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ballast::error::{StoreError, StoreErrorKind};
use ballast::id::{ObjectKind, ObjectName};
use ballast::store::call::Method;
use ballast::store::{ObjectStat, PutMode, Store, StoreResult};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The turn goes to that run.
    To(usize),
    /// Whoever's turn it is stops for ever.
    Kill,
    /// Whoever's turn it is looks dead to all others.
    Lapse,
}

type OnLapse = Box<dyn Fn() + Send + Sync>;

struct Turns {
    turn: usize,
    done: Vec<bool>,
    dead: Vec<bool>,
    step: u64,
    schedule: VecDeque<(u64, Action)>,
    taken: u64,
}

/// See the module's words.
pub struct Turnstile {
    turns: Mutex<Turns>,
    moved: Condvar,
    on_lapse: OnLapse,
}

impl Turnstile {
    /// For so many runs, the first of which begins. The schedule is sorted by steps, counted over all
    /// runs from 0.
    pub fn new(
        runs: usize,
        schedule: &[(u64, Action)],
        on_lapse: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let turns = Turns {
            turn: 0,
            done: vec![false; runs],
            dead: vec![false; runs],
            step: 0,
            schedule: schedule.iter().copied().collect(),
            taken: 0,
        };
        Arc::new(Self { turns: Mutex::new(turns), moved: Condvar::new(), on_lapse: Box::new(on_lapse) })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for the turn of `run`; `false` if it is dead.
    fn pass(&self, run: usize, counts: bool) -> bool {
        let mut turns = self.turns();
        loop {
            if turns.dead[run] {
                return false;
            }
            if turns.turn != run {
                turns = self.moved.wait(turns).unwrap_or_else(|e| e.into_inner());
                continue;
            }
            if !counts {
                return true;
            }
            match turns.schedule.front().copied() {
                Some((at, action)) if at <= turns.step => {
                    turns.schedule.pop_front();
                    match action {
                        Action::To(other) if other != run && !turns.done[other] => {
                            turns.taken += 1;
                            turns.turn = other;
                            self.moved.notify_all();
                        }
                        Action::To(_) => {}
                        Action::Kill => {
                            turns.taken += 1;
                            turns.dead[run] = true;
                            self.moved.notify_all();
                        }
                        Action::Lapse => (self.on_lapse)(),
                    }
                }
                _ => {
                    turns.step += 1;
                    return true;
                }
            }
        }
    }

    /// A run is over: the turn goes to the next one.
    pub fn over(&self, run: usize) {
        let mut turns = self.turns();
        turns.done[run] = true;
        // It may end without a call at the end of its turn, never out of turn unless it is dead.
        if turns.turn == run
            && let Some(next) = turns.done.iter().position(|done| !done)
        {
            turns.turn = next;
        }
        self.moved.notify_all();
    }

    /// Steps made, and actions of the schedule that had an effect.
    pub fn steps(&self) -> (u64, u64) {
        let turns = self.turns();
        (turns.step, turns.taken)
    }

    /// Was it killed?
    pub fn is_dead(&self, run: usize) -> bool {
        self.turns().dead[run]
    }
}

/// The store as one run sees it.
pub struct TurnStore {
    inner: Arc<dyn Store>,
    turnstile: Arc<Turnstile>,
    run: usize,
}

impl TurnStore {
    /// For `run`.
    pub fn new(inner: Arc<dyn Store>, turnstile: Arc<Turnstile>, run: usize) -> Self {
        Self { inner, turnstile, run }
    }

    fn pass(&self, method: Method, kind: ObjectKind, object: &str) -> StoreResult<()> {
        let counts = method.is_mutating()
            || method == Method::List
            || (method == Method::Get && kind == ObjectKind::Ledger);
        match self.turnstile.pass(self.run, counts) {
            true => Ok(()),
            false => Err(StoreError::new(StoreErrorKind::Other, method.verb(), object, "this run is dead")),
        }
    }

    fn on(&self, method: Method, name: &ObjectName) -> StoreResult<()> {
        // A turn changes at the end of the ledger, not at each entry on the way there.
        let kind = name.kind;
        if method == Method::Get && kind == ObjectKind::Ledger && self.inner.stat(name).is_ok() {
            return self.pass(Method::Stat, kind, &name.name);
        }
        self.pass(method, kind, &name.name)
    }
}

impl Store for TurnStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare(&self) -> StoreResult<()> {
        self.inner.prepare()
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.on(Method::Put, name)?;
        self.inner.put(name, bytes, mode)
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.on(Method::Get, name)?;
        self.inner.get(name, limit_bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.on(Method::GetRange, name)?;
        self.inner.get_range(name, offset, len)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.on(Method::Stat, name)?;
        self.inner.stat(name)
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.pass(Method::List, kind, kind.directory())?;
        self.inner.list(kind)
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.on(Method::Remove, name)?;
        self.inner.remove(name)
    }

    /// One call at a time: the order of a run's own calls is its own.
    fn concurrency(&self) -> usize {
        1
    }
}
