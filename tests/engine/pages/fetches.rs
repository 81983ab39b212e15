//! How often each frame is fetched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ballast::format::frame::FrameRecord;
use ballast::id::{ObjectKind, ObjectName};
use ballast::repo::Repository;
use ballast::store::{ObjectStat, PutMode, Store, StoreResult};
use support::Place;
use support::weeks::packs;

/// Notes which stretches of packs are read.
struct FetchStore {
    inner: Arc<dyn Store>,
    ranges: Mutex<Vec<(ObjectName, u64, u64)>>,
}

impl FetchStore {
    fn note(&self, name: &ObjectName, offset: u64, len: u64) {
        if name.kind == ObjectKind::Pack {
            self.ranges.lock().unwrap().push((name.clone(), offset, len));
        }
    }
}

impl Store for FetchStore {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn prepare(&self) -> StoreResult<()> {
        self.inner.prepare()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.inner.put(name, bytes, mode)
    }
    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.note(name, 0, u64::MAX);
        self.inner.get(name, limit_bytes)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.note(name, offset, len as u64);
        self.inner.get_range(name, offset, len)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.inner.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.inner.list(kind)
    }
    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.inner.remove(name)
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
    fn local_path(&self) -> Option<PathBuf> {
        self.inner.local_path()
    }
}

/// Every frame that stood there before `run`, and how often it was fetched by it.
pub fn fetches(place: &Place, run: &dyn Fn(&Repository)) -> Vec<(FrameRecord, u64)> {
    let frames: Vec<_> = packs(&place.open_bare()).into_iter().collect();
    let store = Arc::new(FetchStore { inner: place.store.clone(), ranges: Mutex::default() });
    run(&place.open_through(store.clone()));
    let mut read: BTreeMap<ObjectName, Vec<(u64, u64)>> = BTreeMap::new();
    for (name, offset, len) in store.ranges.lock().unwrap().drain(..) {
        read.entry(name).or_default().push((offset, offset.saturating_add(len)));
    }
    let mut all = Vec::new();
    for (name, pack) in frames {
        let ranges = read.remove(&name).unwrap_or_default();
        for frame in pack.frames {
            let (from, to) = (u64::from(frame.offset), u64::from(frame.offset + frame.stored_len));
            let times = ranges.iter().filter(|(start, end)| *start <= from && to <= *end).count() as u64;
            all.push((frame, times));
        }
    }
    all
}
