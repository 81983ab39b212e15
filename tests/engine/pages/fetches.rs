//! How often each frame is fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use ballast::format::frame::FrameRecord;
use ballast::id::{ObjectKind, ObjectName};
use ballast::repo::Repository;
use ballast::store::record::RecordStore;
use support::Place;
use support::weeks::packs;

/// Every frame that stood there before `run`, and how often it was fetched by it.
pub fn fetches(place: &Place, run: &dyn Fn(&Repository)) -> Vec<(FrameRecord, u64)> {
    let frames: Vec<_> = packs(&place.open_bare()).into_iter().collect();
    let store = Arc::new(RecordStore::new(place.store.clone()));
    run(&place.open_through(store.clone()));
    let mut read: BTreeMap<ObjectName, Vec<(u64, u64)>> = BTreeMap::new();
    for recorded in store.calls().into_iter().filter(|r| r.call.kind == Some(ObjectKind::Pack)) {
        let Some(name) = recorded.call.name else { continue };
        read.entry(name).or_default().push((recorded.offset, recorded.offset + recorded.bytes));
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
