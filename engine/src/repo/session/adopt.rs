//! W3: what a run that was killed had finished is taken over.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::index::IndexedPack;
use crate::id::{BlobKind, BlobRef, SessionId};
use crate::progress::Progress;
use crate::repo::index::PackNumber;
use crate::repo::lease::live_sessions;
use crate::repo::packfile;
use crate::repo::session::{Session, locked};

impl Session {
    /// W3: packs that stand, are named by no index object and not condemned, of sessions that
    /// are dead. They are finished (a pack gets its name only when it is durable), so a run
    /// that was killed goes on where it was.
    pub(super) fn adopt(&mut self, progress: &dyn Progress) -> Result<()> {
        let orphans = self.index.orphans(&self.ledger);
        if orphans.is_empty() {
            return Ok(());
        }
        let live: HashSet<SessionId> =
            live_sessions(&self.repo, Some(self.id))?.into_iter().map(|(session, _)| session).collect();
        let mut adopted = Vec::new();
        for id in orphans {
            progress.check()?;
            match packfile::read_trailer(&self.repo, id) {
                Ok((session, _)) if live.contains(&session) => {}
                Ok((_, pack)) => match self.packs_of_bases(&pack)? {
                    Some(bases) => {
                        locked(&self.relied).extend(bases);
                        adopted.push(pack);
                    }
                    // What it is the difference to went since: it can never be read.
                    None => tracing::info!(pack = %id, "unlisted pack passed over: its bases are gone"),
                },
                Err(Error::Store(e)) if e.is_not_found() => {}
                // A note, not an error: nothing can need a pack that no index ever named.
                Err(error) => tracing::info!(%error, "unlisted pack passed over"),
            }
        }
        let bytes = adopted.iter().flat_map(|p| &p.frames).map(|f| u64::from(f.plain_len)).sum();
        self.adopted = (adopted.len() as u64, bytes);
        for pack in &adopted {
            for blob in pack.frames.iter().flat_map(|f| &f.blobs) {
                if let Some(kind) = BlobKind::from_byte(blob.kind) {
                    let blob = BlobRef::new(kind, blob.id);
                    locked(self.shard(&blob)).insert(blob);
                }
            }
        }
        if let Some(outbox) = &self.outbox {
            outbox.list_only(adopted);
        }
        Ok(())
    }

    /// Packs by which all bases of a pack's frames can be had.
    fn packs_of_bases(&self, pack: &IndexedPack) -> Result<Option<Vec<PackNumber>>> {
        let mut all = Vec::new();
        for frame in pack.frames.iter().filter(|frame| !frame.edges.is_empty()) {
            let Some(bases) = self.index.packs_of_bases(&frame.edges, frame.height, self.own_reader())?
            else {
                return Ok(None);
            };
            all.extend(bases);
        }
        Ok(Some(all))
    }
}
