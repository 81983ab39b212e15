use std::sync::Mutex;

use super::*;
use crate::store::call::Method;
use crate::store::fault::{Effect, Fault, FaultStore};
use crate::store::memory::MemoryStore;

type Slept = Arc<Mutex<Vec<Duration>>>;

fn over(faults: &[Fault]) -> (Arc<FaultStore>, RetryStore, Slept) {
    let faulty = Arc::new(FaultStore::new(Arc::new(MemoryStore::new())));
    faults.iter().for_each(|fault| faulty.add(*fault));
    let policy = RetryPolicy {
        attempts: 5,
        first_delay: Duration::from_millis(10),
        max_delay: Duration::from_millis(30),
    };
    let slept: Slept = Arc::default();
    let noted = slept.clone();
    let sleep = Arc::new(move |delay| noted.lock().unwrap().push(delay));
    (faulty.clone(), RetryStore::with_sleep(faulty, policy, sleep), slept)
}

fn millis(slept: &Slept) -> Vec<u128> {
    slept.lock().unwrap().iter().map(Duration::as_millis).collect()
}

#[test]
fn waits_double_up_to_a_bound() {
    let down = Fault::new(Method::List, Effect::Fail(StoreErrorKind::Transient));
    let (faulty, store, slept) = over(&[down.times(4)]);
    store.list(ObjectKind::Pack).unwrap();
    assert_eq!(millis(&slept), [10, 20, 30, 30]);
    faulty.assert_all_hit();
}

#[test]
fn it_gives_up_with_the_last_failure() {
    let down = Fault::new(Method::Stat, Effect::Fail(StoreErrorKind::Transient));
    let (_, store, slept) = over(&[down.for_ever()]);
    assert!(store.stat(&ObjectName::config()).unwrap_err().is_transient());
    assert_eq!(millis(&slept).len(), 4);
}

#[test]
fn what_will_not_change_is_not_tried_again() {
    let (_, store, slept) = over(&[]);
    assert!(store.get(&ObjectName::config(), 9).unwrap_err().is_not_found());
    assert!(millis(&slept).is_empty());
}

#[test]
fn a_lost_answer_to_a_put_that_arrived_is_success() {
    let lost = Fault::new(Method::Put, Effect::LostAnswer(StoreErrorKind::Transient));
    let (faulty, store, _) = over(&[lost]);
    store.put(&ObjectName::ledger(1), b"mine", PutMode::New).unwrap();
    assert_eq!(store.get(&ObjectName::ledger(1), 9).unwrap(), b"mine");
    faulty.assert_all_hit();
}

/// A store that knows "exists" and nothing finer, as HTTP's 412 does.
#[test]
fn exists_after_a_lost_answer_is_settled_by_the_bytes() {
    let lost = Fault::new(Method::Put, Effect::LostAnswer(StoreErrorKind::Transient));
    let blunt = Fault::new(Method::Put, Effect::Fail(StoreErrorKind::AlreadyExists)).nth(2).times(2);
    let slow = Fault::new(Method::Get, Effect::Fail(StoreErrorKind::Transient));
    let (faulty, store, _) = over(&[lost, blunt, slow]);
    store.put(&ObjectName::ledger(1), b"mine", PutMode::New).unwrap();
    faulty.assert_all_hit();
}

#[test]
fn an_entry_of_another_stays_already_exists() {
    let down = Fault::new(Method::Put, Effect::Fail(StoreErrorKind::Transient));
    let (faulty, store, _) = over(&[down.nth(2)]);
    store.put(&ObjectName::ledger(1), b"his", PutMode::New).unwrap();
    let error = store.put(&ObjectName::ledger(1), b"mine", PutMode::New).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists);
    assert_eq!(store.get(&ObjectName::ledger(1), 9).unwrap(), b"his");
    faulty.assert_all_hit();
}
