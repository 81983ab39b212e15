//! A scrub by who has the storage and no key: is each object that is named by its bytes what its name
//! says, are ledger numbers contiguous, has every object a header and a possible size?
//!
//! Memory: [`STRETCH`] bytes a thread.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::error::{Error, Result, StoreErrorKind};
use crate::format::envelope::{OVERHEAD, PREFIX_LEN, Prefix};
use crate::format::keyfile::KEYFILE_LEN;
use crate::format::pack::MIN_PACK_LEN;
use crate::format::{MAX_INDEX_BYTES, MAX_PACK_BYTES, MAX_RECORD_BYTES};
use crate::id::{ObjectKind, ObjectName, PackId, to_hex};
use crate::op::check::faults::Findings;
use crate::op::check::options::CheckOptions;
use crate::op::check::report::{CheckReport, FaultKind, Method, Note, NoteKind, Repair};
use crate::progress::Progress;
use crate::store::Store;

/// Read at a time.
const STRETCH: usize = 4 << 20;

/// Looks at every object. Only [`CheckOptions::threads`] is minded.
pub fn scrub(store: &dyn Store, options: &CheckOptions, progress: &dyn Progress) -> Result<CheckReport> {
    let begun = Instant::now();
    let mut report = CheckReport { method: Method::Names, attempts: 1, ..CheckReport::default() };
    let mut found = Findings::default();
    let mut objects: Vec<ObjectName> = Vec::new();
    for kind in
        [ObjectKind::Key, ObjectKind::Ledger, ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack]
    {
        let mut names = store.list(kind)?;
        names.sort();
        objects.extend(names.into_iter().map(|name| ObjectName::new(kind, name)));
    }
    objects.push(ObjectName::config());
    progress.phase("hashing objects", Some(objects.len() as u64), None);
    progress.unit("objects");
    let seen = look_at_all(store, &objects, options.thread_count(), progress)?;
    let mut whole_keys = 0;
    let mut bad_keys = Vec::new();
    for (name, Seen { bytes, fault }) in &seen {
        let counts = &mut report.counts;
        match name.kind {
            ObjectKind::Pack => {
                (counts.packs, counts.packs_read) = (counts.packs + 1, counts.packs_read + 1);
                counts.pack_bytes += bytes;
            }
            ObjectKind::Index => counts.index_objects += 1,
            ObjectKind::Snapshot => counts.snapshots += 1,
            ObjectKind::Ledger => counts.ledger_entries += 1,
            ObjectKind::Key => counts.keys += 1,
            ObjectKind::Config | ObjectKind::Lease => {}
        }
        counts.bytes_read += bytes;
        match fault {
            None => whole_keys += u64::from(name.kind == ObjectKind::Key),
            Some(reason) if name.kind == ObjectKind::Key => bad_keys.push((name, reason)),
            Some(reason) => blame(&mut found, name, reason),
        }
    }
    for (name, reason) in bad_keys {
        if whole_keys == 0 {
            found.add(FaultKind::Keys, name, reason, None);
        } else {
            let message = format!("{name} is damaged: {reason}; another key is whole");
            report
                .notes
                .push(Note { objects: vec![name.to_string()], ..Note::new(NoteKind::SpareKey, message) });
        }
    }
    if report.counts.keys == 0 {
        found.add(FaultKind::Keys, "keys/", "no key file is left", None);
    }
    for number in gaps(store, &objects)? {
        let reason = "is missing, though a later entry is there";
        found.add(FaultKind::Ledger, ObjectName::ledger(number), reason, None);
    }
    found.gather();
    report.faults = found.into_faults();
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn blame(found: &mut Findings, name: &ObjectName, reason: &str) {
    let (kind, repair) = match name.kind {
        ObjectKind::Pack => {
            if let Ok(id) = name.name.parse::<PackId>() {
                found.add_pack(FaultKind::PackDamaged, id, reason, Repair::Packs);
            }
            return;
        }
        ObjectKind::Index => (FaultKind::Index, Some(Repair::Index)),
        ObjectKind::Snapshot => (FaultKind::Snapshot, Some(Repair::Snapshots)),
        ObjectKind::Config => (FaultKind::Config, Some(Repair::Config)),
        ObjectKind::Ledger | ObjectKind::Lease | ObjectKind::Key => (FaultKind::Ledger, None),
    };
    found.add(kind, name, reason, repair);
}

/// What one object has shown.
struct Seen {
    bytes: u64,
    fault: Option<String>,
}

fn look_at_all(
    store: &dyn Store,
    objects: &[ObjectName],
    threads: usize,
    progress: &dyn Progress,
) -> Result<Vec<(ObjectName, Seen)>> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::with_capacity(objects.len()));
    let work = || -> Result<()> {
        let mut buffer = vec![0; STRETCH];
        while let Some(name) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(seen) = look_at(store, name, &mut buffer, progress)? {
                progress.advance(1, 0);
                all.lock().unwrap_or_else(|e| e.into_inner()).push((name.clone(), seen));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.min(objects.len())).map(|_| scope.spawn(work)).collect();
        let gone = |_| Err(Error::Internal("a reading thread panicked".into()));
        handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).fold(Ok(()), Result::and)
    })?;
    let mut all = all.into_inner().unwrap_or_else(|e| e.into_inner());
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

/// `None`: another run removed it since it was listed.
fn look_at(
    store: &dyn Store,
    name: &ObjectName,
    buffer: &mut [u8],
    progress: &dyn Progress,
) -> Result<Option<Seen>> {
    let unread = |e: crate::error::StoreError| match e.kind {
        StoreErrorKind::Transient | StoreErrorKind::Denied => Err(Error::from(e)),
        _ => Ok(Some(Seen { bytes: 0, fault: Some(format!("cannot be read: {}", e.reason)) })),
    };
    let size = match store.stat(name) {
        Ok(stat) => stat.size_bytes,
        Err(e) if e.is_not_found() && name.kind == ObjectKind::Config => {
            return Ok(Some(Seen { bytes: 0, fault: Some("is gone".into()) }));
        }
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return unread(e),
    };
    let overhead = OVERHEAD as u64;
    let sane = match name.kind {
        ObjectKind::Pack => MIN_PACK_LEN..=MAX_PACK_BYTES,
        ObjectKind::Index => overhead..=MAX_INDEX_BYTES,
        ObjectKind::Key => KEYFILE_LEN as u64..=KEYFILE_LEN as u64,
        _ => overhead..=MAX_RECORD_BYTES,
    };
    if !sane.contains(&size) {
        return Ok(Some(Seen { bytes: 0, fault: Some(format!("is {size} bytes long")) }));
    }
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    let mut fault = None;
    while at < size {
        progress.check()?;
        let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let stretch = &mut buffer[..len];
        match store.read_range(name, at, stretch) {
            Ok(()) => {}
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return unread(e),
        }
        if at == 0 && name.kind != ObjectKind::Key {
            let prefix = stretch.get(..PREFIX_LEN).unwrap_or_default();
            fault = Prefix::decode(prefix, name.kind).err().map(|e| e.0);
        }
        hasher.update(stretch);
        progress.advance(0, len as u64);
        at += len as u64;
    }
    let named_by_bytes =
        matches!(name.kind, ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot | ObjectKind::Key);
    if named_by_bytes && to_hex(hasher.finalize().as_bytes()) != name.name {
        fault = Some("its bytes do not match its name".into());
    }
    Ok(Some(Seen { bytes: size, fault }))
}

/// Numbers without an entry. A listing is a hint: what it left out is asked for.
fn gaps(store: &dyn Store, objects: &[ObjectName]) -> Result<Vec<u64>> {
    let entries = objects.iter().filter(|name| name.kind == ObjectKind::Ledger);
    let numbers: BTreeSet<u64> =
        entries.filter_map(|n| n.name.split('-').next().and_then(|n| n.parse().ok())).collect();
    let mut due = 1;
    let mut missing = Vec::new();
    for number in numbers {
        // Of a wide gap the first number says enough.
        if number > due {
            match store.stat(&ObjectName::ledger(due)) {
                Ok(_) => {}
                Err(e) if e.is_not_found() => missing.push(due),
                Err(e) => return Err(e.into()),
            }
        }
        due = number + 1;
    }
    Ok(missing)
}
