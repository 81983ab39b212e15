//! Every store and every wrapper keeps the contract of `ballast::store`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::store::Store;
use ballast::store::conformance;
use ballast::store::fault::FaultStore;
use ballast::store::local::LocalStore;
use ballast::store::memory::MemoryStore;
use ballast::store::os_fs::{OsFs, PublishBy};
use ballast::store::record::RecordStore;
use ballast::store::retry::{RetryPolicy, RetryStore};
use ballast::store::simfs::SimFs;

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
