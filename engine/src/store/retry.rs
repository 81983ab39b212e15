//! Tries transient failures again, a bounded number of times, waiting twice as
//! long each time.
//!
//! Safe for `put` by the contract: an object that did arrive although its answer
//! was lost is found there with its own bytes, and that is success. A store that
//! only says "exists" is asked for the bytes.

use std::sync::Arc;
use std::time::Duration;

use super::{ObjectStat, PutMode, Store, StoreResult};
use crate::error::StoreErrorKind;
use crate::id::{ObjectKind, ObjectName};

/// How often, and how long to wait between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls altogether, the first included; at least 1.
    pub attempts: u32,
    /// Wait after the first failure.
    pub first_delay: Duration,
    /// No wait is longer.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    /// Waits of 0.1 s to 10 s, some 20 s in all: a network that fails for
    /// longer is a failure the user should hear of.
    fn default() -> Self {
        Self { attempts: 9, first_delay: Duration::from_millis(100), max_delay: Duration::from_secs(10) }
    }
}

type Sleep = Arc<dyn Fn(Duration) + Send + Sync>;

/// A store behind which transient failures stay hidden, for a while.
pub struct RetryStore {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    sleep: Sleep,
}

impl RetryStore {
    /// Waits by sleeping.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy) -> Self {
        Self::with_sleep(inner, policy, Arc::new(std::thread::sleep))
    }

    /// Waits by calling `sleep`.
    pub fn with_sleep(inner: Arc<dyn Store>, policy: RetryPolicy, sleep: Sleep) -> Self {
        Self { inner, policy, sleep }
    }

    /// `call` is told whether an earlier try may have arrived.
    fn retry<T>(&self, mut call: impl FnMut(bool) -> StoreResult<T>) -> StoreResult<T> {
        let mut delay = self.policy.first_delay;
        let mut tries = 1;
        loop {
            match call(tries > 1) {
                Err(error) if error.is_transient() && tries < self.policy.attempts => {
                    tracing::debug!(%error, tries, "trying again");
                    (self.sleep)(delay.min(self.policy.max_delay));
                    delay = delay.saturating_mul(2);
                    tries += 1;
                }
                other => return other,
            }
        }
    }
}

impl Store for RetryStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare(&self) -> StoreResult<()> {
        self.retry(|_| self.inner.prepare())
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.retry(|again| match self.inner.put(name, bytes, mode) {
            Err(error) if again && mode == PutMode::New && error.kind == StoreErrorKind::AlreadyExists => {
                match self.inner.get(name, bytes.len() as u64) {
                    Ok(there) if there == bytes => Ok(()),
                    // Not known yet whose it is: ask again.
                    Err(unknown) if unknown.is_transient() => Err(unknown),
                    _ => Err(error),
                }
            }
            other => other,
        })
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.retry(|_| self.inner.get(name, limit_bytes))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.retry(|_| self.inner.get_range(name, offset, len))
    }

    fn read_range(&self, name: &ObjectName, offset: u64, out: &mut [u8]) -> StoreResult<()> {
        self.retry(|_| self.inner.read_range(name, offset, out))
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.retry(|_| self.inner.stat(name))
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.retry(|_| self.inner.list(kind))
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.retry(|_| self.inner.remove(name))
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

#[cfg(all(test, feature = "testing"))]
mod tests;
