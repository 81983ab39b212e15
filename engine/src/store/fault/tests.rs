use super::*;
use crate::store::memory::MemoryStore;

fn pack(digit: char) -> ObjectName {
    ObjectName::new(ObjectKind::Pack, digit.to_string().repeat(64))
}

fn faulty() -> (Arc<MemoryStore>, FaultStore) {
    let memory = Arc::new(MemoryStore::new());
    (memory.clone(), FaultStore::new(memory))
}

#[test]
fn a_scripted_fault_hits_the_call_it_names_and_no_other() {
    let (memory, store) = faulty();
    let fault = Fault::new(Method::Put, Effect::Fail(StoreErrorKind::Full));
    store.add(fault.on(ObjectKind::Pack).nth(2));
    store.put(&ObjectName::config(), b"c", PutMode::New).unwrap();
    store.put(&pack('a'), b"a", PutMode::New).unwrap();
    assert_eq!(store.put(&pack('b'), b"b", PutMode::New).unwrap_err().kind, StoreErrorKind::Full);
    store.put(&pack('c'), b"c", PutMode::New).unwrap();
    assert_eq!(memory.count_of(ObjectKind::Pack), 2);
    assert_eq!(store.mutations(), 4);
    store.assert_all_hit();
}

#[test]
#[should_panic(expected = "never hit")]
fn a_fault_that_never_came_to_pass_is_found() {
    let (_, store) = faulty();
    store.add(Fault::new(Method::Remove, Effect::Lost));
    store.put(&pack('a'), b"a", PutMode::New).unwrap();
    store.assert_all_hit();
}

#[test]
#[should_panic(expected = "never hit")]
fn a_death_that_never_came_is_found() {
    let (_, store) = faulty();
    store.die_at(2, Death::Before);
    store.put(&pack('a'), b"a", PutMode::New).unwrap();
    store.assert_all_hit();
}

#[test]
fn each_death_leaves_what_it_says_and_is_for_ever() {
    for (death, left) in
        [(Death::Before, None), (Death::Torn, Some(&b"ab"[..])), (Death::After, Some(&b"abcd"[..]))]
    {
        let (memory, store) = faulty();
        store.die_at(2, death);
        store.put(&pack('a'), b"alive", PutMode::New).unwrap();
        store.put(&pack('b'), b"abcd", PutMode::New).unwrap_err();
        assert_eq!(memory.get(&pack('b'), 9).ok().as_deref(), left, "{death:?}");
        store.get(&pack('a'), 9).unwrap_err();
        store.remove(&pack('a')).unwrap_err();
        assert!(store.is_dead());
        store.assert_all_hit();
        store.revive();
        assert_eq!(store.get(&pack('a'), 9).unwrap(), b"alive");
    }
}

#[test]
fn a_lying_store_claims_success() {
    let (memory, store) = faulty();
    store.add(Fault::new(Method::Put, Effect::Torn(None)));
    store.add(Fault::new(Method::Put, Effect::Lost).nth(2));
    store.put(&pack('a'), b"abcd", PutMode::New).unwrap();
    store.put(&pack('b'), b"abcd", PutMode::New).unwrap();
    assert_eq!(memory.get(&pack('a'), 9).unwrap(), b"ab");
    assert_eq!(memory.count_of(ObjectKind::Pack), 1);
    store.assert_all_hit();
}

#[test]
fn reads_are_spoiled_as_told() {
    let (_, store) = faulty();
    store.put(&pack('a'), &[0; 4], PutMode::New).unwrap();
    store.add(Fault::new(Method::Get, Effect::FlipBit(8 + 32)));
    store.add(Fault::new(Method::GetRange, Effect::Short(1)).for_ever());
    store.add(Fault::new(Method::List, Effect::Short(0)));
    assert_eq!(store.get(&pack('a'), 4).unwrap(), [0, 1, 0, 0]);
    assert_eq!(store.get(&pack('a'), 4).unwrap(), [0; 4]);
    assert_eq!(store.get_range(&pack('a'), 0, 4).unwrap(), [0]);
    assert_eq!(store.get_range(&pack('a'), 0, 4).unwrap(), [0]);
    assert!(store.list(ObjectKind::Pack).unwrap().is_empty());
    assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 1);
    store.assert_all_hit();
}

#[test]
fn quota_and_permission_refuse_changes_only() {
    let (memory, store) = faulty();
    store.set_quota(Some(5));
    store.put(&pack('a'), b"four", PutMode::New).unwrap();
    assert_eq!(store.free_bytes(), Some(1));
    assert_eq!(store.put(&pack('b'), b"four", PutMode::New).unwrap_err().kind, StoreErrorKind::Full);
    store.set_quota(None);
    store.set_read_only(true);
    assert_eq!(store.put(&pack('b'), b"four", PutMode::New).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.remove(&pack('a')).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.get(&pack('a'), 4).unwrap(), b"four");
    assert_eq!(memory.count_of(ObjectKind::Pack), 1);
}

#[test]
fn the_hook_may_use_the_store_itself() {
    let (memory, store) = faulty();
    let store = Arc::new(store);
    let behind = memory.clone();
    store.set_hook(move |call| {
        if call.method == Method::List {
            behind.put(&pack('f'), b"from another session", PutMode::New).unwrap();
        }
    });
    assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 1);
    store.clear_hook();
    store.list(ObjectKind::Pack).unwrap();
}
