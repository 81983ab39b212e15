//! What can be read of bad packs, into new ones: frame by frame as they are sealed.
//!
//! A blob is left where it is if another pack has it at no greater height, bases and all. If it has it
//! only at a greater one, it is stored once more, alone: no least height may rise (design §3.2).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::codec::is_known;
use crate::error::Result;
use crate::id::BlobRef;
use crate::op::repair::judge::Judge;
use crate::op::repair::packs::passable;
use crate::progress::Progress;
use crate::repo::copier::{Copier, Nearby};
use crate::repo::holdings::Holdings;
use crate::repo::index::PackNumber;
use crate::repo::index::inventory::{CopyNumber, FrameNumber, blob_ref};
use crate::repo::outbox::Outbox;

/// What came of a pack.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Frames of which something is needed and that could not be read.
    pub lost_frames: u64,
    /// Blobs copied, or stored again from elsewhere.
    pub saved_blobs: u64,
}

impl Tally {
    /// Both together. What was lost the first time is lost the second time too.
    pub fn add(&mut self, other: Self) {
        self.lost_frames = self.lost_frames.max(other.lost_frames);
        self.saved_blobs += other.saved_blobs;
    }
}

/// See the module's words.
pub struct Salvage<'a> {
    holdings: &'a Holdings,
    judge: &'a Judge<'a>,
    /// None in a dry run: then it is only read.
    copier: Option<Copier<'a>>,
    /// What was saved by now, and at which height.
    saved: Mutex<HashMap<BlobRef, u8>>,
    progress: &'a dyn Progress,
}

impl<'a> Salvage<'a> {
    /// `judge` must judge by `holdings`, in which bad packs are not usable.
    pub fn new(
        holdings: &'a Holdings,
        judge: &'a Judge<'a>,
        outbox: Option<&'a Outbox>,
        progress: &'a dyn Progress,
    ) -> Self {
        let copier = outbox.map(|outbox| Copier::new(holdings, judge.reader, outbox));
        Self { holdings, judge, copier, saved: Mutex::default(), progress }
    }

    /// One pack, by each description of it.
    pub fn pack(&self, numbers: &[PackNumber]) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut near = Nearby::default();
        for number in numbers {
            for frame in self.holdings.frame_numbers(*number) {
                self.progress.check()?;
                self.frame(frame, &mut near, &mut tally)?;
            }
        }
        if let Some(copier) = &self.copier {
            copier.finish(near)?;
        }
        self.progress.advance(1, 0);
        Ok(tally)
    }

    fn frame(&self, number: FrameNumber, near: &mut Nearby, tally: &mut Tally) -> Result<()> {
        let inventory = &self.holdings.inventory;
        let frame = &inventory.frames()[number as usize];
        if !is_known(frame.encoding, frame.codec_version) {
            return Ok(());
        }
        let (first, rows) = inventory.blobs_of(frame);
        let mut wanted: Vec<(CopyNumber, BlobRef)> = Vec::new();
        for (copy, row) in (first..).zip(rows) {
            if let Some(blob) = blob_ref(row)
                && self.saved().get(&blob).is_none_or(|height| *height > frame.height)
                && !self.judge.is_sound_up_to(&blob, frame.height)
            {
                wanted.push((copy, blob));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let is_wanted = |copy: CopyNumber| wanted.iter().any(|(other, _)| *other == copy);
        let read = match &self.copier {
            None => self.judge.reader.sealed_frame(self.holdings, frame).map(drop),
            Some(copier) => copier.frame(number, false, is_wanted, near),
        };
        let Err(error) = read else {
            tally.saved_blobs += wanted.len() as u64;
            self.saved().extend(wanted.iter().map(|(_, blob)| (*blob, frame.height)));
            return Ok(());
        };
        passable(error)?;
        // One by one, from wherever each can still be read.
        let mut lost = false;
        for (_, blob) in wanted {
            let done = match &self.copier {
                None => self.judge.reader.blob(blob.kind, blob.id).map(drop),
                Some(copier) => copier.blob(blob, near),
            };
            match done {
                Ok(()) => {
                    tally.saved_blobs += 1;
                    self.saved().insert(blob, 0);
                }
                Err(error) => {
                    passable(error)?;
                    lost = true;
                }
            }
        }
        tally.lost_frames += u64::from(lost);
        Ok(())
    }

    fn saved(&self) -> MutexGuard<'_, HashMap<BlobRef, u8>> {
        self.saved.lock().unwrap_or_else(|e| e.into_inner())
    }
}
