//! A long ledger is read from this machine's copy of it: the same entries for one request, nothing taken
//! for there that is not, and never in the place of a look for damage.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::error::Error;
use ballast::format::ledger::{Event, ForgetV1};
use ballast::id::{ObjectKind, ObjectName, SessionId, SnapshotId};
use ballast::op::check::{self, CheckOptions};
use ballast::op::prune::{self, PruneOptions};
use ballast::progress::Silent;
use ballast::repo::ledger::{Append, Ledger};
use ballast::repo::{OpenOptions, Repository};
use ballast::store::call::Method;
use ballast::store::record::RecordStore;
use support::{Place, bytes, of, put};

/// Entries of a long ledger.
const MANY: u64 = 100;

/// Grows the ledger to `head` entries, by a machine that keeps no copy.
fn grow(place: &Place, head: u64) {
    let repo = place.open_bare();
    let mut ledger = Ledger::read(&repo).unwrap();
    while ledger.head() < head {
        let n = ledger.head() + 1;
        let event = Event::Forget(ForgetV1 {
            snapshots: vec![SnapshotId([n as u8; 32])],
            reason: format!("entry {n}").as_str().into(),
        });
        assert_eq!(ledger.append(&repo, SessionId([7; 16]), &event).unwrap(), Append::Done);
    }
}

/// A repository of [`MANY`] entries, and where this machine's copy of them is.
fn long() -> (Place, PathBuf) {
    let place = Place::default();
    grow(&place, MANY);
    let repo = place.open();
    assert_eq!(repo.ledger(true).unwrap().head(), MANY);
    let copy = place.cache_of(&repo).join("ledger");
    assert!(copy.exists());
    (place, copy)
}

/// The ledger as `for_writing` sees it, and how many entries were asked for.
fn read(place: &Place, for_writing: bool) -> (Result<Ledger, Error>, usize) {
    let store = Arc::new(RecordStore::new(place.store.clone()));
    let repo = place.open_through(store.clone());
    store.take();
    let ledger = repo.ledger(for_writing);
    (ledger, store.count(Method::Get, Some(ObjectKind::Ledger)))
}

fn all_of(ledger: &Ledger) -> Vec<([u8; 32], Event)> {
    ledger.entries().map(|e| (e.hash, e.event.clone())).collect()
}

fn whole(repo: &Repository) -> Vec<([u8; 32], Event)> {
    all_of(&Ledger::read(repo).unwrap())
}

fn overwrite(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

#[test]
fn what_was_read_once_is_not_asked_for_again() {
    let (place, copy) = long();
    for for_writing in [true, false] {
        let (ledger, asked) = read(&place, for_writing);
        let ledger = ledger.unwrap();
        assert_eq!(asked, 2, "the last one, and the one that is not there");
        assert_eq!(all_of(&ledger), whole(&place.open_bare()));
        assert_eq!(ledger.forgotten().len() as u64, MANY);
    }
    // What others wrote since is read, and copied when it is much.
    grow(&place, MANY + 63);
    let before = fs::read(&copy).unwrap();
    let (ledger, asked) = read(&place, true);
    assert_eq!((ledger.unwrap().head(), asked), (MANY + 63, 65));
    assert_eq!(fs::read(&copy).unwrap(), before);
    grow(&place, MANY + 64);
    assert_eq!(read(&place, true).1, 66);
    let (ledger, asked) = read(&place, true);
    assert_eq!(asked, 2);
    assert_eq!(all_of(&ledger.unwrap()), whole(&place.open_bare()));
}

#[test]
fn a_short_ledger_has_no_copy() {
    let place = Place::default();
    grow(&place, 63);
    let repo = place.open();
    repo.ledger(true).unwrap();
    assert!(!place.cache_of(&repo).join("ledger").exists());
    assert_eq!(read(&place, true).1, 64);
}

#[test]
fn whatever_became_of_the_copy_the_entries_are_read() {
    let (other, theirs) = long();
    let sound = |place: &Place| {
        let (ledger, asked) = read(place, true);
        assert_eq!(all_of(&ledger.unwrap()), whole(&place.open_bare()));
        asked
    };
    let spoils: &[(&str, &dyn Fn(&Path))] = &[
        ("gone", &|copy| fs::remove_file(copy).unwrap()),
        ("empty", &|copy| overwrite(copy, b"")),
        ("garbage", &|copy| overwrite(copy, &bytes(3, 40_000))),
        ("cut short", &|copy| {
            let content = fs::read(copy).unwrap();
            overwrite(copy, &content[..content.len() - 1]);
        }),
        ("one bit", &|copy| {
            let mut content = fs::read(copy).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            overwrite(copy, &content);
        }),
        ("of another repository", &|copy| {
            fs::copy(&theirs, copy).unwrap();
        }),
        ("a directory", &|copy| {
            fs::remove_file(copy).unwrap();
            fs::create_dir(copy).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let (place, copy) = long();
        spoil(&copy);
        assert!(sound(&place) as u64 > MANY, "{what}");
        if *what != "a directory" {
            assert_eq!(sound(&place), 2, "{what}: it was written anew");
        }
    }
    drop(other);
}

/// Of what was: the copy must not bring back entries that are not there.
#[test]
fn a_repository_set_back() {
    let place = Place::default();
    grow(&place, 70);
    let before = place.store.snapshot_state();
    grow(&place, MANY);
    place.open().ledger(true).unwrap();
    place.store.restore_state(&before);
    let refused = read(&place, true).0;
    assert!(matches!(refused, Err(Error::RolledBack { remembered: 100, found: 70 })), "{refused:?}");
    assert_eq!(read(&place, false).0.unwrap().head(), 70);
}

/// The same number of entries, of which all but the first 70 are others.
#[test]
fn another_history_of_the_same_length() {
    let place = Place::default();
    grow(&place, 70);
    let before = place.store.snapshot_state();
    grow(&place, MANY);
    place.open().ledger(true).unwrap();
    place.store.restore_state(&before);
    let repo = place.open_bare();
    let mut ledger = Ledger::read(&repo).unwrap();
    while ledger.head() < MANY {
        let event = Event::Forget(ForgetV1 { snapshots: vec![], reason: "another".into() });
        ledger.append(&repo, SessionId([8; 16]), &event).unwrap();
    }
    let refused = read(&place, true).0;
    assert!(matches!(refused, Err(Error::HistoryReplaced { number: 100 })), "{refused:?}");
    let accepting = OpenOptions { accept_older: true, ..place.options() };
    let accepted = place.open_with(&accepting).ledger(true).unwrap();
    assert_eq!(all_of(&accepted), whole(&repo));
    assert_eq!(all_of(&read(&place, true).0.unwrap()), whole(&repo));
}

#[test]
fn an_entry_that_went_missing_is_missing() {
    let (place, _) = long();
    for gone in [1, 50, MANY - 1] {
        let state = place.store.snapshot_state();
        ballast::store::Store::remove(&*place.store, &ObjectName::ledger(gone)).unwrap();
        let refused = read(&place, true).0;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{gone}: {refused:?}");
        let lenient = read(&place, false).0.unwrap();
        assert_eq!(lenient.damage_by_number().map(|(number, _)| number).collect::<Vec<_>>(), [gone]);
        place.store.restore_state(&state);
    }
}

/// A name that is like its own does not stand for it.
#[test]
fn another_name_of_the_same_number_is_not_the_entry() {
    let (place, _) = long();
    let (gone, like) =
        (ObjectName::ledger(50), ObjectName::new(ObjectKind::Ledger, format!("50-{:032x}", 1)));
    place.store.plant(&like, vec![0; 200]);
    ballast::store::Store::remove(&*place.store, &gone).unwrap();
    let refused = read(&place, true).0;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

/// Damage in the middle costs those who have read it before nothing, and is found by those who look.
#[test]
fn damage_is_found_by_those_who_look_for_it() {
    let (dir, top) = (tempfile::tempdir().unwrap(), "source");
    let top = dir.path().canonicalize().unwrap().join(top);
    fs::create_dir(&top).unwrap();
    put(top.join("file"), &bytes(1, 50_000));
    let (place, _) = long();
    place.store.tamper(&ObjectName::ledger(40), |bytes| bytes[60] ^= 1);
    let report = place.run(&of(&top)).unwrap();
    assert!(report.snapshot.is_some());
    let found = check::run(&place.open(), &CheckOptions::default(), &Silent).unwrap();
    assert!(found.faults.iter().any(|f| format!("{f:?}").contains("40")), "{:?}", found.faults);
    let refused = prune::run(&place.open(), &PruneOptions::default(), &Silent);
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let history = ballast::op::ledger::run(&place.open(), None).unwrap();
    assert_eq!(history.damaged, 1);
    // A machine without a copy cannot go on.
    let elsewhere = tempfile::tempdir().unwrap();
    let options = OpenOptions { cache_dir: Some(elsewhere.path().into()), ..place.options() };
    assert!(matches!(place.open_with(&options).ledger(true), Err(Error::Corrupt { .. })));
}
