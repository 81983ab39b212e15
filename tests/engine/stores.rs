//! Every store and every wrapper keeps the contract of `ballast::store`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ballast::id::{ObjectKind, ObjectName};
use ballast::limit::{Limiter, Pace};
use ballast::store::conformance;
use ballast::store::fault::FaultStore;
use ballast::store::limit::LimitFs;
use ballast::store::local::LocalStore;
use ballast::store::memory::MemoryStore;
use ballast::store::os_fs::{OsFs, PublishBy};
use ballast::store::record::RecordStore;
use ballast::store::retry::{RetryPolicy, RetryStore};
use ballast::store::simfs::SimFs;
use ballast::store::{PutMode, Store};

/// The suite on stores in new directories.
fn run_in_directories(make: impl Fn(&Path) -> Arc<dyn Store>) {
    let place = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    conformance::run(&|| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        make(&place.path().join(n.to_string()))
    });
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[test]
fn memory_store() {
    conformance::run(&memory);
}

#[test]
fn local_store() {
    run_in_directories(|path| Arc::new(LocalStore::new(path).unwrap()));
}

#[test]
fn local_store_where_no_rename_refuses() {
    run_in_directories(|path| {
        let fs = Arc::new(OsFs::with_publish(PublishBy::Link));
        Arc::new(LocalStore::with_fs(fs, path).unwrap())
    });
}

#[test]
fn local_store_where_links_are_refused_too() {
    run_in_directories(|path| {
        let fs = Arc::new(OsFs::with_publish(PublishBy::Lock));
        Arc::new(LocalStore::with_fs(fs, path).unwrap())
    });
}

#[test]
fn local_store_in_simulation() {
    conformance::run(&|| Arc::new(LocalStore::with_fs(Arc::new(SimFs::new()), "/a/repo").unwrap()));
}

#[test]
fn local_store_in_small_interrupted_pieces() {
    conformance::run(&|| {
        let fs = SimFs::new();
        fs.work_in_pieces(4000);
        Arc::new(LocalStore::with_fs(Arc::new(fs), "/a/repo").unwrap())
    });
}

/// Time passes when somebody sleeps.
#[derive(Default)]
struct Dream(std::sync::Mutex<Duration>);

impl Pace for Dream {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

#[test]
fn local_store_behind_limits() {
    let dream = Arc::new(Dream::default());
    let limit = || Some(Arc::new(Limiter::with_pace(1 << 20, dream.clone(), Arc::default())));
    let limited = |read, write| {
        let fs = LimitFs::new(Arc::new(SimFs::new()), read, write);
        Arc::new(LocalStore::with_fs(Arc::new(fs), "/a/repo").unwrap())
    };
    conformance::run(&|| limited(limit(), limit()));
    let name = ObjectName::new(ObjectKind::Pack, "ab".repeat(32));
    let bytes = vec![7; 3 << 20];
    for (read, write, took) in
        [(limit(), None, [0, 3]), (None, limit(), [3, 0]), (limit(), limit(), [3, 3]), (None, None, [0, 0])]
    {
        let store = limited(read, write);
        store.prepare().unwrap();
        let began = dream.now();
        store.put(&name, &bytes, PutMode::New).unwrap();
        let written = dream.now();
        assert_eq!(store.get(&name, 4 << 20).unwrap().len(), bytes.len());
        for (time, secs) in [(written - began, took[0]), (dream.now() - written, took[1])] {
            // A quarter of a second may have been saved up; each piece is rounded down to a nanosecond.
            let least = Duration::from_secs(secs).saturating_sub(Duration::from_millis(251));
            assert!(
                time >= least && time <= Duration::from_secs(secs + u64::from(secs > 0)),
                "{time:?}, {secs} s"
            );
        }
    }
}

#[test]
fn wrappers() {
    conformance::run(&|| Arc::new(RetryStore::new(memory(), RetryPolicy::default())));
    conformance::run(&|| Arc::new(FaultStore::new(memory())));
    conformance::run(&|| Arc::new(RecordStore::new(memory())));
}

#[test]
fn all_wrappers_over_a_local_store() {
    run_in_directories(|path| {
        let local = Arc::new(LocalStore::new(path).unwrap());
        let faulty = Arc::new(FaultStore::new(local));
        let recorded = Arc::new(RecordStore::new(faulty));
        Arc::new(RetryStore::new(recorded, RetryPolicy::default()))
    });
}
