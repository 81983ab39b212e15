//! A store that fails as it is told to: for sweeps over every point at which a
//! machine may die, for stores that lie, are full, or answer too late.
//!
//! Three things can be told. Scripted faults ([`FaultStore::add`]) hit chosen
//! calls; [`FaultStore::assert_all_hit`] fails a test whose faults never came to
//! pass. A death ([`FaultStore::die_at`]) ends everything at the n-th changing
//! call, for ever. A hook ([`FaultStore::set_hook`]) runs before each call, for
//! pauses and for another session's work in between.

mod script;

use std::sync::{Arc, Mutex, MutexGuard};

use self::script::State;
pub use self::script::{Death, Effect, Fault};
use super::call::{Call, Method};
use super::{ObjectStat, PutMode, Store, StoreResult};
use crate::error::{StoreError, StoreErrorKind};
use crate::id::{ObjectKind, ObjectName};

type Hook = Arc<dyn Fn(&Call) + Send + Sync>;

/// See the module's words.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    state: Mutex<State>,
    hook: Mutex<Option<Hook>>,
}

impl FaultStore {
    /// Without faults.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Mutex::default(), hook: Mutex::default() }
    }

    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.state().add(fault);
    }

    /// At the `n`-th changing call (`put`, `remove`; the first is 1), counted from
    /// now, the store dies: that call fails, having done what `death` says, and so
    /// does every later call of any kind.
    pub fn die_at(&self, n: u64, death: Death) {
        let mut state = self.state();
        state.dies_at = Some((state.mutations + n, death));
    }

    /// Back from the dead.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dead = false;
        state.dies_at = None;
    }

    /// Has it died?
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// `put` is `Full` once more than so many bytes, counted from now, would have been put.
    pub fn set_quota(&self, quota_bytes: Option<u64>) {
        let mut state = self.state();
        state.quota_bytes = quota_bytes;
        state.written_bytes = 0;
    }

    /// Changes are `Denied`.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Runs before each call, with no lock held: it may wait, or use the store.
    pub fn set_hook(&self, hook: impl Fn(&Call) + Send + Sync + 'static) {
        *self.hook.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Arc::new(hook));
    }

    /// No hook any more.
    pub fn clear_hook(&self) {
        *self.hook.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    /// Changing calls so far.
    pub fn mutations(&self) -> u64 {
        self.state().mutations
    }

    /// Panics unless every scripted fault, and the death, came to pass.
    pub fn assert_all_hit(&self) {
        let missed = self.state().missed();
        assert!(missed.is_empty(), "faults that were never hit: {missed:?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn decide(&self, call: &Call, put_bytes: u64) -> StoreResult<Option<Effect>> {
        let hook = self.hook.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(hook) = hook {
            hook(call);
        }
        self.state().decide(call, put_bytes)
    }

    /// A call that changes: `do_it` whole, or with half of the bytes.
    fn change(
        &self,
        call: &Call,
        put_bytes: u64,
        do_it: impl FnOnce(bool) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let reported = |kind: Option<StoreErrorKind>| kind.map_or(Ok(()), |kind| Err(scripted(kind, call)));
        match self.decide(call, put_bytes)? {
            None => do_it(true),
            Some(Effect::Fail(kind)) => Err(scripted(kind, call)),
            Some(Effect::Lost) => Ok(()),
            Some(Effect::LostAnswer(kind)) => do_it(true).and_then(|()| Err(scripted(kind, call))),
            Some(Effect::Torn(kind)) => do_it(false).and_then(|()| reported(kind)),
            Some(effect) => panic!("{effect:?} does not fit a call that changes"),
        }
    }

    /// A call that reads; `spoil` applies what an effect does to its answer.
    fn read<T>(
        &self,
        call: &Call,
        do_it: impl FnOnce() -> StoreResult<T>,
        spoil: impl FnOnce(T, Effect) -> T,
    ) -> StoreResult<T> {
        match self.decide(call, 0)? {
            None => do_it(),
            Some(Effect::Fail(kind) | Effect::LostAnswer(kind)) => Err(scripted(kind, call)),
            Some(effect) => do_it().map(|answer| spoil(answer, effect)),
        }
    }
}

fn scripted(kind: StoreErrorKind, call: &Call) -> StoreError {
    StoreError::new(kind, call.method.verb(), call.object(), "scripted fault")
}

fn unspoiled<T>(_: T, effect: Effect) -> T {
    panic!("{effect:?} does not fit this call")
}

fn spoil_bytes(mut bytes: Vec<u8>, effect: Effect) -> Vec<u8> {
    match effect {
        Effect::FlipBit(bit) => {
            let at = bit % (bytes.len().max(1) * 8);
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte ^= 1 << (at % 8);
            }
        }
        Effect::Short(kept) => bytes.truncate(kept),
        effect => panic!("{effect:?} does not fit a call that reads"),
    }
    bytes
}

impl Store for FaultStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare(&self) -> StoreResult<()> {
        self.read(&Call::prepare(), || self.inner.prepare(), unspoiled)
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.change(&Call::on(Method::Put, name), bytes.len() as u64, |whole| {
            let arriving = if whole { bytes } else { &bytes[..bytes.len() / 2] };
            self.inner.put(name, arriving, mode)
        })
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.read(&Call::on(Method::Get, name), || self.inner.get(name, limit_bytes), spoil_bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        let call = Call::on(Method::GetRange, name);
        self.read(&call, || self.inner.get_range(name, offset, len), spoil_bytes)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.read(&Call::on(Method::Stat, name), || self.inner.stat(name), unspoiled)
    }

    /// [`Effect::Short`] leaves out names: a listing that lags behind.
    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.read(
            &Call::list(kind),
            || self.inner.list(kind),
            |mut names, effect| {
                let Effect::Short(kept) = effect else { panic!("{effect:?} does not fit a listing") };
                names.truncate(kept);
                names
            },
        )
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.change(&Call::on(Method::Remove, name), 0, |_| self.inner.remove(name))
    }

    fn make_reserve(&self, bytes: u64) -> StoreResult<()> {
        self.inner.make_reserve(bytes)
    }

    fn release_reserve(&self) -> StoreResult<u64> {
        self.inner.release_reserve()
    }

    fn sweep_temporaries(&self, before_ns: i64) -> StoreResult<u64> {
        self.inner.sweep_temporaries(before_ns)
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.state();
        match state.quota_bytes {
            Some(quota) => Some(quota.saturating_sub(state.written_bytes)),
            None => self.inner.free_bytes(),
        }
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn limitations(&self) -> Vec<String> {
        self.inner.limitations()
    }

    fn local_path(&self) -> Option<std::path::PathBuf> {
        self.inner.local_path()
    }
}

#[cfg(test)]
mod tests;
