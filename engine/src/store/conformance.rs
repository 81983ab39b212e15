//! The contract of [`Store`] as a suite: every store and every wrapper passes it.
//! It panics at the first breach.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use super::{PutMode, Store};
use crate::error::StoreErrorKind;
use crate::id::{ObjectKind, ObjectName, to_hex};

/// Holds the store that `make` gives, empty each time, to the contract.
pub fn run(make: &dyn Fn() -> Arc<dyn Store>) {
    let cases: [fn(Arc<dyn Store>); 11] = [
        an_empty_store_is_empty,
        any_size_comes_back,
        new_never_replaces,
        leases_are_replaced,
        limits_hold,
        ranges_are_exact,
        each_kind_lists_its_own_names,
        names_that_cannot_be_objects_are_refused,
        removing_is_idempotent,
        one_of_many_wins,
        readers_see_whole_objects,
    ];
    for case in cases {
        let store = make();
        store.prepare().unwrap();
        store.prepare().unwrap();
        case(store);
    }
}

/// The `n`-th name of a kind.
fn name(kind: ObjectKind, n: u64) -> ObjectName {
    let digest = blake3::hash(&n.to_le_bytes());
    match kind {
        ObjectKind::Config => ObjectName::config(),
        ObjectKind::Ledger => ObjectName::ledger(n),
        ObjectKind::Lease => ObjectName::new(kind, to_hex(&digest.as_bytes()[..16])),
        kind => ObjectName::new(kind, digest.to_hex()),
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&(len as u64).to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[track_caller]
fn fails<T>(result: super::StoreResult<T>, kind: StoreErrorKind) {
    assert_eq!(result.err().map(|error| error.kind), Some(kind));
}

fn an_empty_store_is_empty(store: Arc<dyn Store>) {
    assert!(!store.location().is_empty());
    assert!(store.concurrency() > 0);
    for kind in ObjectKind::ALL {
        assert!(store.list(kind).unwrap().is_empty());
        fails(store.get(&name(kind, 1), 10), StoreErrorKind::NotFound);
        fails(store.get_range(&name(kind, 1), 0, 0), StoreErrorKind::NotFound);
        fails(store.stat(&name(kind, 1)), StoreErrorKind::NotFound);
    }
}

fn any_size_comes_back(store: Arc<dyn Store>) {
    for (n, len) in [0, 1, 4095, 4096, 4097, 65_537, 5 << 20].into_iter().enumerate() {
        for kind in [ObjectKind::Pack, ObjectKind::Index] {
            let (name, bytes) = (name(kind, n as u64 + 1), noise(len));
            store.put(&name, &bytes, PutMode::New).unwrap();
            assert!(store.get(&name, u64::MAX).unwrap() == bytes, "{len} bytes");
            let stat = store.stat(&name).unwrap();
            assert_eq!(stat.size_bytes, len as u64);
            assert!(stat.modified_ns >= 0);
        }
    }
}

fn new_never_replaces(store: Arc<dyn Store>) {
    for kind in ObjectKind::ALL {
        let name = name(kind, 1);
        store.put(&name, b"first", PutMode::New).unwrap();
        store.put(&name, b"first", PutMode::New).unwrap();
        for other in [&b"other"[..], b"", b"first and more", b"firs"] {
            fails(store.put(&name, other, PutMode::New), StoreErrorKind::AlreadyExists);
        }
        assert_eq!(store.get(&name, 100).unwrap(), b"first");
        assert_eq!(store.list(kind).unwrap(), [name.name]);
    }
}

fn leases_are_replaced(store: Arc<dyn Store>) {
    let lease = name(ObjectKind::Lease, 1);
    for bytes in [&b"started"[..], b"beat", b"", b"a longer beat"] {
        store.put(&lease, bytes, PutMode::Replace).unwrap();
        assert_eq!(store.get(&lease, 100).unwrap(), bytes);
    }
    assert_eq!(store.list(ObjectKind::Lease).unwrap(), [lease.name]);
}

fn limits_hold(store: Arc<dyn Store>) {
    let (one, empty) = (name(ObjectKind::Snapshot, 1), name(ObjectKind::Snapshot, 2));
    store.put(&one, &noise(1000), PutMode::New).unwrap();
    store.put(&empty, b"", PutMode::New).unwrap();
    assert_eq!(store.get(&one, 1000).unwrap().len(), 1000);
    fails(store.get(&one, 999), StoreErrorKind::Size);
    fails(store.get(&one, 0), StoreErrorKind::Size);
    assert!(store.get(&empty, 0).unwrap().is_empty());
}

fn ranges_are_exact(store: Arc<dyn Store>) {
    let (pack, bytes) = (name(ObjectKind::Pack, 1), noise(10_000));
    store.put(&pack, &bytes, PutMode::New).unwrap();
    for (from, to) in
        [(0, 0), (0, 1), (0, 10_000), (1, 9_999), (4095, 8193), (9_999, 10_000), (10_000, 10_000)]
    {
        let range = store.get_range(&pack, from as u64, to - from).unwrap();
        let mut into = vec![0xee; to - from];
        store.read_range(&pack, from as u64, &mut into).unwrap();
        assert_eq!(into, range, "read_range is get_range");
        assert!(range == bytes[from..to], "{from}..{to}");
    }
    for (offset, len) in [
        (0, 10_001),
        (10_000, 1),
        (10_001, 0),
        (9_999, 2),
        (u64::MAX, 1),
        (1, usize::MAX),
        (u64::MAX, usize::MAX),
        (0, usize::MAX),
        (u64::MAX, 0),
    ] {
        fails(store.get_range(&pack, offset, len), StoreErrorKind::Size);
        // No buffer of a length that only a lie could have.
        if len <= 16 << 20 {
            fails(store.read_range(&pack, offset, &mut vec![0; len]), StoreErrorKind::Size);
        }
    }
}

fn each_kind_lists_its_own_names(store: Arc<dyn Store>) {
    let wanted = |kind| match kind {
        ObjectKind::Config => 1,
        ObjectKind::Pack => 40,
        _ => 5,
    };
    for kind in ObjectKind::ALL {
        for n in 1..=wanted(kind) {
            store.put(&name(kind, n), &n.to_le_bytes(), PutMode::New).unwrap();
        }
    }
    let session = ObjectName::new(ObjectKind::Ledger, format!("6-{}", "0f".repeat(16)));
    store.put(&session, b"its session in its name", PutMode::New).unwrap();
    for kind in ObjectKind::ALL {
        let mut expected: Vec<String> = (1..=wanted(kind)).map(|n| name(kind, n).name).collect();
        if kind == ObjectKind::Ledger {
            expected.push(session.name.clone());
        }
        expected.sort();
        let mut listed = store.list(kind).unwrap();
        listed.sort();
        assert_eq!(listed, expected);
        for listed in listed {
            store.get(&ObjectName::new(kind, listed), 100).unwrap();
        }
    }
}

fn names_that_cannot_be_objects_are_refused(store: Arc<dyn Store>) {
    let long = "a".repeat(64);
    let upper = "A".repeat(64);
    let escaping = format!("../{}", &long[3..]);
    for kind in ObjectKind::ALL {
        for bad in ["", ".", "..", "a/b", "../config", "a", "\0", "0", "01", "-1", &upper, &escaping] {
            let name = ObjectName::new(kind, bad);
            assert!(store.put(&name, b"x", PutMode::New).is_err(), "{name}");
            assert!(store.put(&name, b"x", PutMode::Replace).is_err(), "{name}");
            assert!(store.get(&name, 10).is_err(), "{name}");
            assert!(store.get_range(&name, 0, 0).is_err(), "{name}");
            assert!(store.stat(&name).is_err(), "{name}");
            assert!(store.remove(&name).is_err(), "{name}");
        }
        assert!(store.list(kind).unwrap().is_empty());
    }
}

fn removing_is_idempotent(store: Arc<dyn Store>) {
    for kind in ObjectKind::ALL {
        let name = name(kind, 1);
        store.remove(&name).unwrap();
        store.put(&name, b"here", PutMode::New).unwrap();
        store.remove(&name).unwrap();
        store.remove(&name).unwrap();
        assert!(store.list(kind).unwrap().is_empty());
        fails(store.get(&name, 10), StoreErrorKind::NotFound);
        store.put(&name, b"again", PutMode::New).unwrap();
        assert_eq!(store.get(&name, 10).unwrap(), b"again");
    }
}

/// Several at once give one name to different bytes, and another to the same.
fn one_of_many_wins(store: Arc<dyn Store>) {
    const THREADS: usize = 6;
    for round in 1..=12 {
        let (contested, shared) = (ObjectName::ledger(round), name(ObjectKind::Pack, round));
        let start = Barrier::new(THREADS);
        let won: Vec<bool> = std::thread::scope(|scope| {
            let contend = |n: usize| {
                let (store, start, contested, shared) = (&store, &start, &contested, &shared);
                scope.spawn(move || {
                    start.wait();
                    let result = store.put(contested, &noise(1000 + n), PutMode::New);
                    store.put(shared, &noise(500), PutMode::New).unwrap();
                    match result {
                        Ok(()) => true,
                        Err(error) => {
                            assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
                            false
                        }
                    }
                })
            };
            let threads: Vec<_> = (0..THREADS).map(contend).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: BTreeSet<usize> = (0..THREADS).filter(|n| won[*n]).collect();
        assert_eq!(winners.len(), 1, "exactly one wins, not {winners:?}");
        let winner = winners.into_iter().next().unwrap();
        assert!(store.get(&contested, 10_000).unwrap() == noise(1000 + winner));
        assert!(store.get(&shared, 10_000).unwrap() == noise(500));
    }
    assert_eq!(store.list(ObjectKind::Ledger).unwrap().len(), 12);
}

/// While one replaces a lease and puts packs, another sees old or new, never a part.
fn readers_see_whole_objects(store: Arc<dyn Store>) {
    let lease = name(ObjectKind::Lease, 1);
    store.put(&lease, &noise(100_000), PutMode::Replace).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1..=30 {
                store.put(&lease, &noise(100_000 + n), PutMode::Replace).unwrap();
                store.put(&name(ObjectKind::Pack, n as u64), &noise(100_000), PutMode::New).unwrap();
            }
        });
        while !writer.is_finished() {
            let seen = store.get(&lease, 1 << 20).unwrap();
            assert!(seen == noise(seen.len()));
            for pack in store.list(ObjectKind::Pack).unwrap() {
                let size = store.stat(&ObjectName::new(ObjectKind::Pack, pack)).unwrap().size_bytes;
                assert_eq!(size, 100_000);
            }
        }
    });
}
