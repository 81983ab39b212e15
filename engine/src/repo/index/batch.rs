//! Reads index objects, several at once where the store likes that.

use crate::error::{Error, Result};
use crate::format::index::IndexObject;
use crate::id::IndexId;
use crate::repo::Repository;

/// An index object, or what is wrong with it.
pub type Read = (IndexId, Result<IndexObject>);

/// Fewer than so many are not worth a thread.
const FEW: usize = 4;

/// Those that vanished meanwhile are left out; what is damaged comes as its error; a store that fails
/// ends it. Memory: all of them at once, so give a batch.
pub fn read(repo: &Repository, ids: &[IndexId]) -> Result<Vec<Read>> {
    let read_part = |part: &[IndexId]| -> Result<Vec<Read>> {
        part.iter().filter_map(|id| read_one(repo, *id).transpose()).collect()
    };
    let threads = repo.store().concurrency().min(ids.len());
    if threads <= 1 || ids.len() < FEW {
        return read_part(ids);
    }
    let parts = std::thread::scope(|scope| {
        let read_part = &read_part;
        let handles: Vec<_> = ids
            .chunks(ids.len().div_ceil(threads))
            .map(|part| scope.spawn(move || read_part(part)))
            .collect();
        let gone = |_| Err(Error::Internal("a reading thread panicked".into()));
        handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).collect::<Result<Vec<_>>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

fn read_one(repo: &Repository, id: IndexId) -> Result<Option<Read>> {
    match repo.index_object(id) {
        Err(Error::Store(e)) if e.is_not_found() => Ok(None),
        Err(Error::Store(e)) if e.is_transient() => Err(Error::Store(e)),
        Err(error @ Error::Internal(_)) => Err(error),
        read => Ok(Some((id, read))),
    }
}
