//! A repository in memory: for tests, for rehearsals, and for measuring the
//! engine apart from disks.
//!
//! Bodies are shared, so that a state is saved and brought back at the cost of
//! its names: a crash sweep does so thousands of times. A store made by
//! [`MemoryStore::discarding_packs`] remembers of a pack only length and hash, so
//! that a run of any size fits; reading such a pack is an error.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{ObjectStat, PutMode, Store, StoreResult, check_name};
use crate::entropy::{Clock, SystemClock};
use crate::error::{StoreError, StoreErrorKind};
use crate::id::{ObjectKind, ObjectName};

/// Tells stores of one process apart by their location.
static COUNT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone)]
enum Body {
    Kept(Arc<Vec<u8>>),
    Discarded { size_bytes: u64, hash: blake3::Hash },
}

impl Body {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Kept(bytes) => bytes.len() as u64,
            Self::Discarded { size_bytes, .. } => *size_bytes,
        }
    }

    fn equals(&self, other: &[u8]) -> bool {
        match self {
            Self::Kept(bytes) => ***bytes == *other,
            Self::Discarded { size_bytes, hash } => {
                *size_bytes == other.len() as u64 && *hash == blake3::hash(other)
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Object {
    body: Body,
    modified_ns: i64,
}

/// All objects of a store at one moment.
#[derive(Debug, Clone, Default)]
pub struct MemoryState(BTreeMap<ObjectName, Object>);

/// See the module's words.
pub struct MemoryStore {
    number: u64,
    objects: Mutex<MemoryState>,
    clock: Arc<dyn Clock>,
    keeps_packs: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty store whose objects are dated by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { number, objects: Mutex::default(), clock, keeps_packs: true }
    }

    /// An empty store that forgets the bytes of packs.
    pub fn discarding_packs() -> Self {
        Self { keeps_packs: false, ..Self::new() }
    }

    /// A store that begins with the objects of another.
    pub fn from_state(state: &MemoryState) -> Self {
        let store = Self::new();
        store.restore_state(state);
        store
    }

    /// What is there now.
    pub fn snapshot_state(&self) -> MemoryState {
        self.objects().clone()
    }

    /// Sets the store back, or forward, to `state`.
    pub fn restore_state(&self, state: &MemoryState) {
        *self.objects() = state.clone();
    }

    /// Number and bytes of the objects of each kind that has any.
    pub fn totals(&self) -> BTreeMap<ObjectKind, (u64, u64)> {
        let mut totals = BTreeMap::new();
        for (name, object) in &self.objects().0 {
            let (count, bytes): &mut (u64, u64) = totals.entry(name.kind).or_default();
            *count += 1;
            *bytes += object.body.size_bytes();
        }
        totals
    }

    /// Bytes of all objects of a kind.
    pub fn bytes_of(&self, kind: ObjectKind) -> u64 {
        self.totals().get(&kind).map_or(0, |(_, bytes)| *bytes)
    }

    /// Number of objects of a kind.
    pub fn count_of(&self, kind: ObjectKind) -> u64 {
        self.totals().get(&kind).map_or(0, |(count, _)| *count)
    }

    fn objects(&self) -> MutexGuard<'_, MemoryState> {
        self.objects.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn find(&self, operation: &'static str, name: &ObjectName) -> StoreResult<Object> {
        check_name(operation, name)?;
        let found = self.objects().0.get(name).cloned();
        found.ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, operation, name, "it is not there"))
    }

    fn read(&self, name: &ObjectName) -> StoreResult<Arc<Vec<u8>>> {
        match self.find("read", name)?.body {
            Body::Kept(bytes) => Ok(bytes),
            Body::Discarded { .. } => {
                let reason = "this store keeps no bytes of packs";
                Err(StoreError::new(StoreErrorKind::Other, "read", name, reason))
            }
        }
    }
}

/// What no store allows: ways to damage one for tests.
#[cfg(feature = "testing")]
impl MemoryStore {
    /// Changes the bytes of an object in place. False when it is not there or not kept.
    pub fn tamper(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.objects().0.get_mut(name).map(|object| &mut object.body) {
            Some(Body::Kept(bytes)) => {
                change(Arc::make_mut(bytes));
                true
            }
            _ => false,
        }
    }

    /// Puts bytes under any name, over what stands there.
    pub fn plant(&self, name: &ObjectName, bytes: Vec<u8>) {
        let object = Object { body: Body::Kept(Arc::new(bytes)), modified_ns: self.clock.now_ns() };
        self.objects().0.insert(name.clone(), object);
    }

    /// Exchanges the bodies of two objects. False when either is missing.
    pub fn swap(&self, one: &ObjectName, other: &ObjectName) -> bool {
        let mut objects = self.objects();
        let (Some(a), Some(b)) = (objects.0.get(one).cloned(), objects.0.get(other).cloned()) else {
            return false;
        };
        objects.0.insert(one.clone(), b);
        objects.0.insert(other.clone(), a);
        true
    }

    /// Sets the store time of an object.
    pub fn set_modified_ns(&self, name: &ObjectName, modified_ns: i64) {
        if let Some(object) = self.objects().0.get_mut(name) {
            object.modified_ns = modified_ns;
        }
    }

    /// Every object's name.
    pub fn names(&self) -> Vec<ObjectName> {
        self.objects().0.keys().cloned().collect()
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        format!("memory:{}", self.number)
    }

    fn prepare(&self) -> StoreResult<()> {
        Ok(())
    }

    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        check_name("write", name)?;
        let body = if self.keeps_packs || name.kind != ObjectKind::Pack {
            Body::Kept(Arc::new(bytes.to_vec()))
        } else {
            Body::Discarded { size_bytes: bytes.len() as u64, hash: blake3::hash(bytes) }
        };
        let object = Object { body, modified_ns: self.clock.now_ns() };
        let mut objects = self.objects();
        match objects.0.get(name) {
            Some(present) if mode == PutMode::New => {
                if present.body.equals(bytes) {
                    return Ok(());
                }
                let reason = "it is there already, with other bytes";
                Err(StoreError::new(StoreErrorKind::AlreadyExists, "write", name, reason))
            }
            _ => {
                objects.0.insert(name.clone(), object);
                Ok(())
            }
        }
    }

    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        let bytes = self.read(name)?;
        if bytes.len() as u64 > limit_bytes {
            let reason = format!("it is larger than {limit_bytes} bytes");
            return Err(StoreError::new(StoreErrorKind::Size, "read", name, reason));
        }
        Ok(bytes.to_vec())
    }

    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        let bytes = self.read(name)?;
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(len)?));
        range.and_then(|range| bytes.get(range)).map(<[u8]>::to_vec).ok_or_else(|| {
            let reason = format!("it ends before {len} bytes from {offset}");
            StoreError::new(StoreErrorKind::Size, "read", name, reason)
        })
    }

    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        let object = self.find("read", name)?;
        Ok(ObjectStat { size_bytes: object.body.size_bytes(), modified_ns: object.modified_ns })
    }

    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        let objects = self.objects();
        Ok(objects.0.keys().filter(|name| name.kind == kind).map(|name| name.name.clone()).collect())
    }

    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        check_name("remove", name)?;
        self.objects().0.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(digit: char) -> ObjectName {
        ObjectName::new(ObjectKind::Pack, digit.to_string().repeat(64))
    }

    #[test]
    fn a_saved_state_comes_back() {
        let store = MemoryStore::new();
        store.put(&pack('a'), b"one", PutMode::New).unwrap();
        let saved = store.snapshot_state();
        store.put(&pack('b'), b"three", PutMode::New).unwrap();
        store.remove(&pack('a')).unwrap();
        assert_eq!((store.count_of(ObjectKind::Pack), store.bytes_of(ObjectKind::Pack)), (1, 5));
        store.restore_state(&saved);
        assert_eq!(store.list(ObjectKind::Pack).unwrap(), [pack('a').name]);
        assert_eq!(MemoryStore::from_state(&saved).get(&pack('a'), 3).unwrap(), b"one");
    }

    #[test]
    fn discarded_packs_are_remembered_by_length_and_hash() {
        let store = MemoryStore::discarding_packs();
        store.put(&pack('a'), b"one", PutMode::New).unwrap();
        store.put(&pack('a'), b"one", PutMode::New).unwrap();
        let other = store.put(&pack('a'), b"two", PutMode::New).unwrap_err();
        assert_eq!(other.kind, StoreErrorKind::AlreadyExists);
        assert_eq!(store.stat(&pack('a')).unwrap().size_bytes, 3);
        assert_eq!(store.get(&pack('a'), 3).unwrap_err().kind, StoreErrorKind::Other);
        assert_eq!(store.get_range(&pack('a'), 0, 1).unwrap_err().kind, StoreErrorKind::Other);
        store.put(&ObjectName::config(), b"kept", PutMode::New).unwrap();
        assert_eq!(store.get(&ObjectName::config(), 4).unwrap(), b"kept");
    }

    #[cfg(feature = "testing")]
    #[test]
    fn tests_can_damage_it_without_touching_a_saved_state() {
        let store = MemoryStore::new();
        store.put(&pack('a'), b"one", PutMode::New).unwrap();
        store.put(&pack('b'), b"two", PutMode::New).unwrap();
        let saved = store.snapshot_state();
        assert!(store.tamper(&pack('a'), |bytes| bytes[0] ^= 1));
        assert!(store.swap(&pack('a'), &pack('b')));
        assert_eq!(store.get(&pack('b'), 3).unwrap(), b"nne");
        assert!(!store.tamper(&pack('c'), |_| {}));
        store.restore_state(&saved);
        assert_eq!(store.get(&pack('a'), 3).unwrap(), b"one");
    }
}
