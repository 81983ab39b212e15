//! Databases: read through the same windows, cut into units at fixed offsets. What the parent has at an
//! offset, or any pack holds, is taken over; the rest is gathered for frames ([`super::super::units`]).

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rayon::prelude::*;

use super::{Before, ChunkDone, LargeFile, LargeReader, Part};
use crate::error::Result;
use crate::format::content::Entry;
use crate::id::{BlobId, BlobKind};
use crate::op::snapshot::reading;
use crate::op::snapshot::units::{Gatherer, Old, Turnstile, group::Group};

/// New bytes of a window.
const DATABASE_BYTES: usize = 8 << 20;

/// What a database under way needs beside its file.
pub struct Paged<'a> {
    unit: u64,
    gatherer: Option<Gatherer<'a>>,
    turnstile: Arc<Turnstile>,
}

impl Paged<'_> {
    /// Nothing gathered yet.
    pub fn new(unit_bytes: u32) -> Self {
        Self { unit: u64::from(unit_bytes).max(1), gatherer: None, turnstile: Turnstile::new() }
    }
}

/// Where the results of chunks go.
pub struct Results<'d, F> {
    pub number: u64,
    pub done: &'d Sender<F>,
    pub wrap: fn(ChunkDone) -> F,
}

impl<'t, 'a> LargeReader<'t, 'a> {
    /// One stretch of data; `false` if it could not be read to its end.
    pub(super) fn read_units<'s, F>(
        &self,
        large: &mut LargeFile,
        (offset, len): (u64, u64),
        before: &Before<'_>,
        paged: &mut Paged<'a>,
        results: &Results<'_, F>,
        scope: &rayon::Scope<'s>,
    ) -> Result<bool>
    where
        't: 's,
        F: Send + 's,
    {
        let (mut at, mut end) = (offset, offset + len);
        let mut window = self.windows.take();
        while at < end {
            self.tools.progress.check()?;
            // Whole units, but for the first and the last of a stretch.
            let whole = DATABASE_BYTES as u64 / paged.unit * paged.unit;
            let mut stop = (at / paged.unit * paged.unit + whole.max(paged.unit)).min(end);
            let buffer = window.room(usize::try_from(stop - at).unwrap_or(usize::MAX));
            let got = match self.tools.read_at(&large.file.at, &large.source, at, buffer) {
                Ok(got) => got,
                Err(problem) if large.source.is_stream() => return Err(self.torn(problem)),
                Err(problem) => {
                    large.problems.push(problem);
                    return Ok(false);
                }
            };
            if large.source.is_stream() && got < buffer.len() {
                (stop, end) = (at + got as u64, at + got as u64);
                if got == 0 {
                    break;
                }
            }
            let buffer = &buffer[..usize::try_from(stop - at).unwrap_or(usize::MAX)];
            large.read_bytes += buffer.len() as u64;
            self.tools.progress.advance(0, buffer.len() as u64);
            let mut units = Vec::new();
            let mut from = at;
            while from < stop {
                let to = (from / paged.unit * paged.unit + paged.unit).min(stop);
                units.push((from, &buffer[(from - at) as usize..(to - at) as usize]));
                from = to;
            }
            let repo = self.tools.session.repo();
            let ids: Vec<BlobId> = self.pool.install(|| {
                units.par_iter().map(|(_, bytes)| repo.blob_id(BlobKind::Chunk, bytes)).collect()
            });
            if at == 0 && !large.source.is_stream() {
                large.live =
                    reading::live_bytes(self.tools, &large.file.at, &buffer[..buffer.len().min(100)]);
            }
            if paged.gatherer.is_none() {
                let path = large.file.at.path().as_os_str().as_bytes();
                let old = self.tools.ancestry.database(
                    path,
                    before.node,
                    &large.file.node,
                    &ids,
                    paged.unit,
                    self.tools.progress,
                );
                paged.gatherer = Some(Gatherer::new(self.tools.session, old));
            }
            for ((offset, bytes), id) in units.iter().zip(ids) {
                self.unit(large, *offset, bytes, id, before, paged, results, scope)?;
            }
            at = stop;
        }
        Ok(true)
    }

    #[allow(clippy::too_many_arguments)]
    fn unit<'s, F>(
        &self,
        large: &mut LargeFile,
        offset: u64,
        bytes: &[u8],
        id: BlobId,
        before: &Before<'_>,
        paged: &mut Paged<'a>,
        results: &Results<'_, F>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()>
    where
        't: 's,
        F: Send + 's,
    {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let same = before.familiar.is_at(offset, len, id);
        if same && (before.trusted || self.still_there(id)?)
            || !self.tools.session.take_chunk(id, bytes.len())?
        {
            large.parts.push(Part::Entry(Entry::Chunk { id, len }));
            return Ok(());
        }
        large.parts.push(Part::Chunk { len, id: None });
        large.awaited += 1;
        let part = large.parts.len() - 1;
        let Some(gatherer) = &mut paged.gatherer else { return Ok(()) };
        if let Some(full) = gatherer.add(part, id, bytes.to_vec(), offset)? {
            let old = gatherer.old().cloned();
            self.spawn_group(full, old, &paged.turnstile, results, scope);
        }
        Ok(())
    }

    /// Stores what is left.
    pub(super) fn finish_units<'s, F>(
        &self,
        mut paged: Paged<'a>,
        results: &Results<'_, F>,
        scope: &rayon::Scope<'s>,
    ) where
        't: 's,
        F: Send + 's,
    {
        let old = paged.gatherer.as_ref().and_then(|gatherer| gatherer.old().cloned());
        for group in paged.gatherer.take().map(Gatherer::finish).unwrap_or_default() {
            self.spawn_group(group, old.clone(), &paged.turnstile, results, scope);
        }
    }

    fn spawn_group<'s, F>(
        &self,
        group: Group,
        old: Option<Arc<Old<'a>>>,
        turnstile: &Arc<Turnstile>,
        results: &Results<'_, F>,
        scope: &rayon::Scope<'s>,
    ) where
        't: 's,
        F: Send + 's,
    {
        let pass = turnstile.pass();
        let (number, done, wrap) = (results.number, results.done.clone(), results.wrap);
        let session = self.tools.session;
        scope.spawn(move |_| {
            let parts: Vec<(usize, BlobId)> = group.units.iter().map(|unit| (unit.part, unit.id)).collect();
            let stored = reading::or_panicked(|| group.store(session, old.as_deref()));
            drop(pass);
            // The receiver is gone only when the run has failed already.
            match stored {
                Ok(()) => {
                    parts.into_iter().for_each(|(part, id)| drop(done.send(wrap((number, part, Ok(id))))))
                }
                Err(error) => drop(done.send(wrap((number, parts.first().map_or(0, |p| p.0), Err(error))))),
            }
        });
    }
}
