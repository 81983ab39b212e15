//! Decoding one frame of a plan: what it stands on was decoded before.

use std::sync::Arc;

use super::plan::{Base, Failure, Job, Plan};
use super::spool::{At, STEP_BYTES};
use super::{Cloth, FrameKey, Threads};
use crate::codec::grains::{GRAIN_BYTES, NEW, Recipe, grains_of};
use crate::error::{Error, Malformed, Result};
use crate::repo::frames;
use crate::repo::plain::Plain;
use crate::repo::reader::BlobBytes;

impl Plan<'_> {
    /// One frame; an error is no fault of what it stands on.
    pub(super) fn decode(&self, key: &FrameKey, job: &Job) -> Result<Made> {
        let made = if job.by_grains { self.by_grains(job) } else { self.plain(key, job) };
        match made {
            Err(error) if error.is_ours() => Err(error),
            Err(Error::Missing { blob, reason }) => {
                Ok(Made::Nothing(Failure::Own(format!("stands on {blob}: {reason}"))))
            }
            Err(error) => Ok(Made::Nothing(Failure::Own(error.to_string()))),
            Ok(made) => Ok(made),
        }
    }

    fn plain(&self, key: &FrameKey, job: &Job) -> Result<Made> {
        let wanted: u64 = job.blobs.iter().map(|(_, len)| u64::from(*len)).sum();
        // One of which little is wanted now is kept for the next plan.
        let plain = if wanted * 2 >= u64::from(job.place.plain_len) {
            PlainFrame::Own(self.reader.read_frame(&job.object, job.epoch, &job.place)?)
        } else {
            PlainFrame::Kept(self.reader.frame_bytes(&job.object, *key, job.epoch, &job.place)?)
        };
        let plain: &[u8] = match &plain {
            PlainFrame::Own(bytes) => bytes,
            PlainFrame::Kept(bytes) => bytes,
        };
        let mut blobs = Vec::with_capacity(job.blobs.len());
        for (offset, len) in &job.blobs {
            let start = *offset as usize;
            let bytes = plain.get(start..start + *len as usize).ok_or_else(|| {
                Error::corrupt(
                    &job.object,
                    format!("frame at {} is shorter than its blobs", job.place.offset),
                )
            })?;
            blobs.push((*offset, *len, self.cloth.spool.append(bytes)?));
        }
        Ok(Made::Plain(blobs))
    }

    fn by_grains(&self, job: &Job) -> Result<Made> {
        let damaged = |e: Malformed| e.of(format!("{}, frame at {}", job.object, job.place.offset));
        let mut bases = Vec::with_capacity(job.bases.len());
        let mut first = 0usize;
        for Base { blob, spot, len } in job.bases.iter().flat_map(|run| run.iter()) {
            let Some(threads) = self.cloth.threads(spot) else {
                let why = match self.failures.get(&spot.0) {
                    Some(Failure::Own(why)) => why.clone(),
                    Some(Failure::Base(blob, why)) => format!("it stands on {blob}: {why}"),
                    None => "it could not be decoded".into(),
                };
                return Ok(Made::Nothing(Failure::Base(*blob, why)));
            };
            bases.push(Woven { first, len: *len as usize, threads });
            first += grains_of(*len as usize);
        }
        let bases = Grains(bases);
        let encoded = frames::fetch_encoded(self.reader.repo(), &job.object, job.epoch, &job.place)?;
        let lens: Vec<u32> = job.bases.iter().flat_map(|run| run.iter()).map(|base| base.len).collect();
        let plain_len = job.place.plain_len as usize;
        let recipe = Recipe::read(&encoded, &lens, plain_len).map_err(damaged)?;
        let mut prefix = Vec::with_capacity(recipe.prefix.len() * GRAIN_BYTES);
        bases.gather(self.cloth, &recipe.prefix, &mut prefix)?;
        let mut new = vec![0; recipe.new_bytes];
        recipe.new_grains(&prefix, &mut new).map_err(damaged)?;
        drop(prefix);
        let mut next = if new.is_empty() { 0 } else { self.cloth.spool.append(&new)? };
        let mut threads: Vec<At> = Vec::with_capacity(recipe.grains.len());
        for (number, grain) in recipe.grains.iter().enumerate() {
            if *grain == NEW {
                threads.push(next);
                next += (GRAIN_BYTES / STEP_BYTES) as u32;
                continue;
            }
            let wanted = (plain_len - number * GRAIN_BYTES).min(GRAIN_BYTES);
            let (base, within) = bases.find(*grain)?;
            let at = base.threads.grain(within).filter(|_| base.grain_len(within) == wanted);
            threads.push(at.ok_or_else(|| damaged(Malformed::new("copies a grain of another length")))?);
        }
        Ok(Made::Woven(threads.into()))
    }
}

enum PlainFrame {
    Own(Plain),
    Kept(BlobBytes),
}

pub(super) enum Made {
    Woven(Arc<[At]>),
    Plain(Vec<(u32, u32, At)>),
    Nothing(Failure),
}

/// A base that was decoded: the number of its first grain, its length, and where it lies.
struct Woven {
    first: usize,
    len: usize,
    threads: Threads,
}

impl Woven {
    fn grain_len(&self, within: usize) -> usize {
        self.len.saturating_sub(within * GRAIN_BYTES).min(GRAIN_BYTES)
    }
}

struct Grains(Vec<Woven>);

impl Grains {
    fn find(&self, grain: u32) -> Result<(&Woven, usize)> {
        let grain = grain as usize;
        let after = self.0.partition_point(|base| base.first <= grain);
        let base = after.checked_sub(1).map(|at| &self.0[at]).filter(|b| grain - b.first < grains_of(b.len));
        let base =
            base.ok_or_else(|| Error::corrupt("a frame", "names a grain that its bases do not have"))?;
        Ok((base, grain - base.first))
    }

    /// Grains one after the other, neighbours of one base at once.
    fn gather(&self, cloth: &Cloth, grains: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let mut rest = grains;
        while let Some(first) = rest.first() {
            let (base, within) = self.find(*first)?;
            let most = grains_of(base.len) - within;
            let count = rest.iter().zip(*first..).take(most).take_while(|(a, b)| **a == *b).count();
            let len = (base.len - within * GRAIN_BYTES).min(count * GRAIN_BYTES);
            let from = out.len();
            out.resize(from + len, 0);
            cloth.gather(&base.threads, within..within + count, &mut out[from..])?;
            rest = &rest[count..];
        }
        Ok(())
    }
}
