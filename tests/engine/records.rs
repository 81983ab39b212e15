//! `ledger` and `lock`: what happened, and who is at work.

use ballast::entropy::Surroundings;
use ballast::error::Error;
use ballast::id::{ObjectKind, ObjectName, SessionId};
use ballast::op::forget::{self, ForgetOptions};
use ballast::op::ledger::{self, What};
use ballast::op::lock::{self, RemoveOptions};
use ballast::progress::Silent;
use ballast::repo::lease::{Judgement, Lease, live_sessions};
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use support::{PASSWORD, Place, bytes, put};

fn place(snapshots: u64) -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::default();
    for n in 0..snapshots {
        put(dir.path().join("source/file"), &bytes(n, 5000));
        place.take(dir.path().canonicalize().unwrap().join("source"));
    }
    (dir, place)
}

fn words(place: &Place, last: Option<usize>) -> Vec<(u64, &'static str)> {
    let report = ledger::run(&place.open_bare(), last).unwrap();
    let word = |what: &What| match what {
        What::Commit { forgotten: true, .. } => "forgotten",
        What::Commit { details: Some(_), .. } => "commit",
        What::Commit { .. } => "unreadable",
        What::Forget { .. } => "forget",
        What::Damaged { .. } => "damaged",
        _ => "other",
    };
    report.entries.iter().map(|line| (line.number, word(&line.what))).collect()
}

#[test]
fn the_history_is_told_in_order_with_its_gaps() {
    let (_dir, place) = place(4);
    let ids = place.open_bare().ledger(true).unwrap().committed();
    let options = ForgetOptions { ids: vec![ids[1]], ..ForgetOptions::default() };
    forget::run(&place.open_bare(), &options, &Silent).unwrap();
    assert_eq!(
        words(&place, None),
        [(1, "commit"), (2, "forgotten"), (3, "commit"), (4, "commit"), (5, "forget")]
    );
    assert_eq!(words(&place, Some(2)), [(4, "commit"), (5, "forget")]);
    assert_eq!(words(&place, Some(0)), []);
    assert_eq!(words(&place, Some(99)).len(), 5);
    place.store.remove(&ids[2].into()).unwrap();
    assert_eq!(words(&place, None)[2], (3, "unreadable"));
    place.store.tamper(&ObjectName::ledger(2), |b| b[70] ^= 1);
    let damaged = words(&place, None);
    assert_eq!((damaged[1], damaged.len()), ((2, "damaged"), 5));
    place.store.remove(&ObjectName::ledger(2)).unwrap();
    place.store.remove(&ObjectName::ledger(3)).unwrap();
    assert_eq!(words(&place, None), [(1, "commit"), (2, "damaged"), (4, "commit"), (5, "forget")]);
    let report = ledger::run(&place.open_bare(), Some(1)).unwrap();
    assert_eq!((report.damaged, report.head, report.entries.len()), (1, 5, 1));
}

fn session(n: u8) -> SessionId {
    SessionId([n; 16])
}

#[test]
fn leases_are_judged_and_those_that_nobody_holds_removed() {
    let (_dir, place) = place(1);
    // Who only lists has no other clock than its own: here the store's.
    let options = OpenOptions { cache_dir: None, ..place.options() };
    let repo = Repository::open(place.store.clone(), PASSWORD, &options, Surroundings::system()).unwrap();
    assert!(lock::list(&repo).unwrap().is_empty());
    let mut working = Lease::take(&repo, session(1), "snapshot").unwrap();
    working.begin(7).unwrap();
    let _silent = Lease::take(&repo, session(2), "prune").unwrap();
    // Garbage may be a lease of a later version: it counts until it lapses.
    let plant = |n: u8| place.store.plant(&session(n).into(), b"garbage".to_vec());
    plant(3);
    plant(4);
    for n in [2, 4] {
        place.store.set_modified_ns(&session(n).into(), 0);
    }
    let listed = lock::list(&repo).unwrap();
    let states: Vec<_> = listed.iter().map(|l| (l.session, l.state)).collect();
    use Judgement::{Alive, Lapsed};
    let all = [(session(1), Alive), (session(2), Lapsed), (session(3), Alive), (session(4), Lapsed)];
    assert_eq!(states, all);
    let holder = listed[0].holder.as_ref().unwrap();
    assert_eq!((holder.operation.as_str(), holder.start, holder.pid), ("snapshot", 7, std::process::id()));
    assert!(listed[2].holder.is_none() && listed[1].silent_secs > 3600);
    let live: Vec<_> = live_sessions(&repo, None).unwrap().into_iter().map(|(s, _)| s).collect();
    assert_eq!(live, [session(1), session(3)]);

    let remove = |words: &[&str], alive_too: bool| {
        let sessions = words.iter().map(|w| (*w).to_owned()).collect();
        lock::remove(&repo, &RemoveOptions { sessions, alive_too })
    };
    assert!(matches!(remove(&["ff"], true), Err(Error::NotFound { .. })));
    assert!(matches!(remove(&["0"], true), Err(Error::Usage(_))));
    let named = remove(&["0101", "0202", "02"], false).unwrap();
    assert_eq!((named.left[0].session, named.removed.len()), (session(1), 1));
    let report = remove(&[], false).unwrap();
    assert_eq!((report.removed[0].session, report.removed.len(), report.left.len()), (session(4), 1, 2));
    assert_eq!(remove(&[], true).unwrap().removed.len(), 2);
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0, "its own is gone too");
    // The run goes on and ends as if nothing had been.
    drop(working);
}
