//! Is a pack what its name says, and can every frame of it be read?

use crate::codec::is_known;
use crate::error::{Error, Result};
use crate::format::MAX_PACK_BYTES;
use crate::format::index::IndexedPack;
use crate::id::{ObjectName, PackId, to_hex};
use crate::op::repair::is_damage;
use crate::op::repair::packs::salvage::Tally;
use crate::op::repair::packs::{Fate, PackReport};
use crate::progress::Progress;
use crate::repo::holdings::Holdings;
use crate::repo::packfile;
use crate::repo::reader::Reader;

/// What was found.
#[derive(Debug)]
pub struct Exam {
    /// Which pack.
    pub pack: PackId,
    /// What is wrong with it.
    faults: Vec<String>,
    /// What its own end says, if that can be read.
    pub trailer: Option<IndexedPack>,
    frames: u64,
    gone: bool,
}

impl Exam {
    /// Of a pack that does not stand, or was condemned.
    pub fn gone(pack: PackId) -> Self {
        Self { pack, faults: vec!["does not stand any more".into()], trailer: None, frames: 0, gone: true }
    }

    /// Does it not stand, or was it condemned?
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Nothing is wrong with it.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// It stands, and something is wrong with it.
    pub fn is_bad(&self) -> bool {
        !self.gone && !self.faults.is_empty()
    }

    /// As it is told.
    pub fn report(&self, fate: Fate, tally: &Tally) -> PackReport {
        PackReport {
            pack: self.pack,
            faults: self.faults.clone(),
            fate: if self.gone { Fate::Gone } else { fate },
            frames: self.frames,
            lost_frames: tally.lost_frames,
            saved_blobs: tally.saved_blobs,
        }
    }
}

/// Examines a pack that stands.
pub fn run(holdings: &Holdings, reader: &Reader, pack: PackId, progress: &dyn Progress) -> Result<Exam> {
    progress.check()?;
    let repo = reader.repo();
    let name: ObjectName = pack.into();
    let mut exam = Exam { pack, faults: Vec::new(), trailer: None, frames: 0, gone: false };
    match repo.store().get(&name, MAX_PACK_BYTES) {
        Ok(bytes) => {
            if to_hex(blake3::hash(&bytes).as_bytes()) != name.name {
                exam.faults.push("its bytes do not match its name".into());
            }
        }
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => exam.faults.push(format!("cannot be read whole: {}", error.reason)),
    }
    let whole_bytes = exam.faults.is_empty();
    match packfile::read_trailer(repo, pack) {
        Ok((_, trailer)) => exam.trailer = Some(trailer),
        Err(error) if is_damage(&error) => {
            let reason = match error {
                Error::Corrupt { reason, .. } => reason,
                other => other.to_string(),
            };
            exam.faults.push(format!("its end: {reason}"));
        }
        Err(error) => return Err(error),
    }
    let Some(number) = holdings.number(&pack) else {
        exam.frames = exam.trailer.as_ref().map_or(0, |trailer| trailer.frames.len() as u64);
        return Ok(exam);
    };
    let mut bad = 0u64;
    for frame in holdings.frame_numbers(number) {
        progress.check()?;
        exam.frames += 1;
        let row = &holdings.inventory.frames()[frame as usize];
        if !is_known(row.encoding, row.codec_version) {
            continue;
        }
        match reader.sealed_frame(holdings, row) {
            Ok(_) => {}
            // Its bases are lost: no fault of this pack.
            Err(Error::Missing { .. }) if whole_bytes => {}
            Err(error) if is_damage(&error) => bad += 1,
            Err(error) => return Err(error),
        }
    }
    if bad > 0 {
        exam.faults.push(format!("{bad} of {} frames cannot be read", exam.frames));
    }
    progress.advance(1, holdings.packs[number as usize].info.size);
    Ok(exam)
}
