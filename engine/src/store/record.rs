//! Writes down every call to a store, so that a test can hold an order of
//! writes, or assert "no needless read".

use std::sync::{Arc, Mutex, MutexGuard};

use super::call::{Call, Method};
use super::{ObjectStat, PutMode, Store, StoreResult};
use crate::id::{ObjectKind, ObjectName};

/// One call and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked.
    pub call: Call,
    /// Where a range that was read begins.
    pub offset: u64,
    /// Bytes written, or read on success.
    pub bytes: u64,
    /// Did it succeed?
    pub ok: bool,
}

/// A store that remembers what was asked of it, in the order of completion.
pub struct RecordStore {
    inner: Arc<dyn Store>,
    calls: Mutex<Vec<Recorded>>,
}

impl RecordStore {
    /// Records from now on.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Recorded> {
        self.recorded().clone()
    }

    /// Forgets all calls so far and returns them.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.recorded())
    }

    /// How many calls of `method`, on `kind` or on any.
    pub fn count(&self, method: Method, kind: Option<ObjectKind>) -> usize {
        self.matching(method, kind).len()
    }

    /// Bytes moved by calls of `method`, on `kind` or on any.
    pub fn bytes(&self, method: Method, kind: Option<ObjectKind>) -> u64 {
        self.matching(method, kind).iter().map(|recorded| recorded.bytes).sum()
    }

    /// Calls of `method`, on `kind` or on any, in order.
    pub fn matching(&self, method: Method, kind: Option<ObjectKind>) -> Vec<Recorded> {
        let fits = |r: &&Recorded| r.call.method == method && (kind.is_none() || r.call.kind == kind);
        self.recorded().iter().filter(fits).cloned().collect()
    }

    fn recorded(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note<T>(
        &self,
        call: Call,
        result: StoreResult<T>,
        bytes: impl FnOnce(Option<&T>) -> u64,
    ) -> StoreResult<T> {
        self.note_at(call, 0, result, bytes)
    }

    fn note_at<T>(
        &self,
        call: Call,
        offset: u64,
        result: StoreResult<T>,
        bytes: impl FnOnce(Option<&T>) -> u64,
    ) -> StoreResult<T> {
        let recorded = Recorded { call, offset, bytes: bytes(result.as_ref().ok()), ok: result.is_ok() };
        self.recorded().push(recorded);
        result
    }
}

fn none<T>(_: Option<&T>) -> u64 {
    0
}

fn length(bytes: Option<&Vec<u8>>) -> u64 {
    bytes.map_or(0, |bytes| bytes.len() as u64)
}

impl Store for RecordStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare(&self) -> StoreResult<()> {
        self.note(Call::prepare(), self.inner.prepare(), none)
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.note(Call::on(Method::Put, name), self.inner.put(name, bytes, mode), |_| bytes.len() as u64)
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.note(Call::on(Method::Get, name), self.inner.get(name, limit_bytes), length)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        let result = self.inner.get_range(name, offset, len);
        self.note_at(Call::on(Method::GetRange, name), offset, result, length)
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.note(Call::on(Method::Stat, name), self.inner.stat(name), none)
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.note(Call::list(kind), self.inner.list(kind), none)
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.note(Call::on(Method::Remove, name), self.inner.remove(name), none)
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
        self.inner.free_bytes()
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
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn every_call_is_written_down_with_its_bytes_and_outcome() {
        let store = RecordStore::new(Arc::new(MemoryStore::new()));
        let config = ObjectName::config();
        store.put(&config, b"12345", PutMode::New).unwrap();
        store.get_range(&config, 1, 3).unwrap();
        store.get(&config, 1).unwrap_err();
        store.list(ObjectKind::Pack).unwrap();
        assert_eq!(store.bytes(Method::Put, None), 5);
        assert_eq!(store.bytes(Method::GetRange, Some(ObjectKind::Config)), 3);
        assert_eq!(store.count(Method::List, Some(ObjectKind::Index)), 0);
        let failed = Recorded { call: Call::on(Method::Get, &config), offset: 0, bytes: 0, ok: false };
        assert_eq!(store.matching(Method::Get, None), [failed]);
        assert_eq!(store.take().len(), 4);
        assert!(store.calls().is_empty());
    }
}
