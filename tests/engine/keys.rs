//! Passwords are added, removed and changed on a store that dies at every change: at least one of
//! those that should open it does, and nothing that was stored is lost.

use std::sync::Arc;

use ballast::crypto::kdf;
use ballast::error::Result;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::fault::{Death, FaultStore};
use support::{PASSWORD, Place, bytes, look, put, read_back, surroundings};

const NEW: &[u8] = b"another password";

fn opens(place: &Place, password: &[u8]) -> Option<Repository> {
    Repository::open(place.store.clone(), password, &OpenOptions::default(), surroundings()).ok()
}

/// A new key first, the old one goes after.
fn change(repo: &Repository) -> Result<()> {
    let old = repo.key_id();
    repo.add_key(NEW, "new", &kdf::CHEAP)?;
    repo.remove_key(old)
}

fn add(repo: &Repository) -> Result<()> {
    repo.add_key(NEW, "new", &kdf::CHEAP).map(drop)
}

fn remove(repo: &Repository) -> Result<()> {
    let other = repo.keys()?.into_iter().find(|key| !key.current).expect("because there are two");
    repo.remove_key(other.id)
}

#[test]
fn the_store_dies_at_every_change_of_a_key() {
    type Work = fn(&Repository) -> Result<()>;
    // Which passwords must open it however far it came, and which one must once it is done.
    let cases: [(&str, bool, Work, bool, bool); 3] = [
        ("add", false, add, true, true),
        ("remove", true, remove, true, false),
        ("change", false, change, false, true),
    ];
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    put(top.join("file"), &bytes(1, 50_000));
    for (name, two, work, old_stays, new_in_the_end) in cases {
        let place = Place::default();
        let id = place.take(&top).snapshot.unwrap();
        if two {
            place.open_bare().add_key(NEW, "new", &kdf::CHEAP).unwrap();
        }
        let state = place.store.snapshot_state();
        let mut hit = 0;
        for n in 1.. {
            let mut died = false;
            for death in [Death::Before, Death::Torn, Death::After] {
                place.store.restore_state(&state);
                let fault = Arc::new(FaultStore::new(place.store.clone()));
                let repo = place.open_through(fault.clone());
                fault.die_at(n, death);
                let done = work(&repo);
                died = fault.is_dead();
                let what = format!("{name}, {death:?} at {n}");
                assert!(died || done.is_ok(), "{what}: {done:?}");
                let (old, new) = (opens(&place, PASSWORD), opens(&place, NEW));
                assert!(!old_stays || old.is_some(), "{what}: the old password opens it no more");
                assert!(done.is_err() || new.is_some() == new_in_the_end, "{what}");
                let repo = old.or(new).unwrap_or_else(|| panic!("{what}: no password opens it"));
                let found = read_back(&repo, id).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(found[&top.join("file")], look(&top)[&top.join("file")], "{what}");
                // Whatever half is left does no harm to the next attempt.
                if death == Death::Torn && opens(&place, NEW).is_none() {
                    repo.add_key(NEW, "again", &kdf::CHEAP).unwrap();
                    assert!(opens(&place, NEW).is_some(), "{what}");
                }
                hit += u64::from(died);
            }
            if !died {
                break;
            }
        }
        assert!(hit >= 3, "{name}: {hit} deaths");
    }
}
