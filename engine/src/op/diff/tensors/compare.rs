//! Reads what may differ of two models, and adds it up.
//!
//! A tensor is gone through in jobs of a few megabytes, by threads that fetch and add up. Old chunks are read as what
//! the new ones are decoded against, so both come from one decoding where they are.
//!
//! Memory: 64 bytes for each chunk of both models and for each job; a thread has one chunk and one window of each
//! side, at most [`MAX_THREADS`] × (2 × 16 MiB + 2 × [`WINDOW_BYTES`]), beside the reader's cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::number::Unit;
use super::passable;
use super::sums::Sums;
use crate::chunk::ReadAt;
use crate::error::{Error, Result, printable};
use crate::format::content::Entry;
use crate::progress::Progress;
use crate::repo::file::ContentAt;
use crate::repo::model::{Model, Tensor};
use crate::repo::range::{differing, spans};
use crate::repo::reader::Reader;
use crate::repo::trees::Piece;

/// Threads that fetch and add up.
const MAX_THREADS: usize = 8;
/// A job ends with the first chunk of the new side that ends behind so many bytes.
const JOB_BYTES: u64 = 4 << 20;
/// Tensors of a model may be so many times as long as its files: some share their bytes. A table that says more lies.
const MAX_SHARED: u64 = 16;
/// Bytes that are looked at in one go, about.
const WINDOW_BYTES: u64 = 256 << 10;

/// A stretch of a tensor.
struct Job {
    /// Whose figures these are.
    tensor: usize,
    /// Shard and offset of the first byte, on both sides.
    old: (usize, u64),
    new: (usize, u64),
    len: u64,
    unit: Unit,
    /// Only the old side is read: the new one has the same.
    equal: bool,
}

/// All that is to be read of two models.
pub struct Work<'r> {
    old: Vec<ContentAt<&'r Reader>>,
    new: Vec<ContentAt<&'r Reader>>,
    jobs: Vec<Job>,
    /// Of each tensor: what is known without reading.
    known: BTreeMap<usize, Sums>,
}

/// What became of each tensor: its figures, or why it could not be read.
pub type Results = HashMap<usize, Result<Sums, String>>;

impl<'r> Work<'r> {
    /// Of two models; nothing of them is read but their lists.
    ///
    /// # Errors
    /// [`Error::Lost`] where a file lost a part for good; those of reading.
    pub fn new(reader: &'r Reader, old: Option<&Model>, new: Option<&Model>) -> Result<Self> {
        // Of a model that is alone nothing is read.
        let both = old.is_some() && new.is_some();
        let files = |model: Option<&Model>| -> Result<Vec<ContentAt<&'r Reader>>> {
            let shards = model.filter(|_| both).map(|model| &model.shards[..]).unwrap_or_default();
            let size = shards.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.node.size));
            if let Some(model) = model.filter(|model| both && model.bytes() / MAX_SHARED > size) {
                return Err(Error::corrupt(printable(&model.path), "its tensors lie on one another"));
            }
            let files = shards.iter().map(|shard| {
                let path = || printable(&shard.path);
                if let Some(lost) = shard.node.lost() {
                    let (lost_bytes, size_bytes) = (lost.bytes(), shard.node.size);
                    return Err(Error::Lost { path: path(), lost_bytes, size_bytes });
                }
                let file = ContentAt::open(reader, &shard.path, &shard.node)?;
                match file.len() == shard.node.size {
                    true => Ok(file),
                    false => Err(Error::corrupt(path(), "is not as long as its directory says")),
                }
            });
            files.collect()
        };
        Ok(Self { old: files(old)?, new: files(new)?, jobs: Vec::new(), known: BTreeMap::new() })
    }

    /// The first `bytes` of two tensors are to be compared.
    pub fn add(&mut self, tensor: usize, old: &Tensor, new: &Tensor, bytes: u64, unit: Unit) {
        let (olds, news) = (self.old[old.shard].pieces(), self.new[new.shard].pieces());
        let found = differing(spans(olds, old.offset, bytes), spans(news, new.offset, bytes), bytes);
        let stretches = in_units(&found, bytes, unit.bytes);
        let numbers = unit.number.is_some();
        let mut at = 0;
        for (start, len) in stretches.iter().copied().chain([(bytes, 0)]) {
            for (start, len, equal) in [(at, start - at, true), (start, len, false)] {
                if len == 0 || equal && (stretches.is_empty() || !numbers) {
                    self.known.entry(tensor).or_default().units += len / unit.bytes;
                    continue;
                }
                let mut from = start;
                while from < start + len {
                    // Zeros on both sides add nothing, and there may be more of them than anyone could read.
                    if equal
                        && let Some(zeros) = hole_after(news, new.offset + from)
                        && let units = zeros.min(start + len - from) / unit.bytes
                        && units > 0
                    {
                        self.known.entry(tensor).or_default().units += units;
                        from += units * unit.bytes;
                        continue;
                    }
                    let to = job_end(news, new.offset, from, start + len, unit.bytes);
                    let job = Job {
                        tensor,
                        old: (old.shard, old.offset + from),
                        new: (new.shard, new.offset + from),
                        len: to - from,
                        unit,
                        equal,
                    };
                    self.jobs.push(job);
                    from = to;
                }
            }
            at = start + len;
        }
    }

    /// Reads and adds up.
    pub fn run(mut self, progress: &dyn Progress) -> Result<Results> {
        // As they lie in the files, so that what was read is still at hand.
        self.jobs.sort_by_key(|job| (job.new, job.old));
        let bytes = self.jobs.iter().map(|job| job.len).sum();
        progress.phase("comparing tensors", None, Some(bytes));
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done = Mutex::new((Vec::with_capacity(self.jobs.len()), None));
        let work = || {
            let mut done_here = Vec::new();
            let mut trouble = None;
            while !over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = self.jobs.get(number) else { break };
                let sums = progress.check().and_then(|()| self.one(job));
                progress.advance(0, job.len);
                match sums {
                    Ok(sums) => done_here.push((number, Ok(sums))),
                    Err(error) => match passable(error) {
                        Ok(reason) => done_here.push((number, Err(reason))),
                        Err(error) => {
                            over.store(true, Ordering::Relaxed);
                            trouble = Some(error);
                        }
                    },
                }
            }
            let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
            done.0.extend(done_here);
            if done.1.is_none() {
                done.1 = trouble;
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(self.jobs.len()) {
                // One that cannot be had is done without.
                drop(std::thread::Builder::new().name("ballast-compare".into()).spawn_scoped(scope, work));
            }
            work();
        });
        let (done, trouble) = done.into_inner().unwrap_or_else(|e| e.into_inner());
        match trouble {
            Some(error) => Err(error),
            None => Ok(joined(self.known, &|number| self.jobs[number].tensor, done)),
        }
    }

    fn one(&self, job: &Job) -> Result<Sums> {
        let (old, new) = (self.old[job.old.0].clone().as_base(), self.new[job.new.0].clone());
        let window = (WINDOW_BYTES / job.unit.bytes).max(1) * job.unit.bytes;
        let capacity = window.min(job.len) as usize;
        let (mut was, mut is) = (vec![0; capacity], vec![0; if job.equal { 0 } else { capacity }]);
        let mut sums = Sums::default();
        let mut at = 0;
        while at < job.len {
            // Of a window's length at most.
            let len = (job.len - at).min(window) as usize;
            fill(&old, job.old.1 + at, &mut was[..len])?;
            if job.equal {
                sums.equal(&was[..len], &job.unit);
            } else {
                fill(&new, job.new.1 + at, &mut is[..len])?;
                sums.compare(&was[..len], &is[..len], &job.unit);
            }
            at += len as u64;
        }
        Ok(sums)
    }
}

/// What is known of each tensor, and what its jobs found, by their numbers: in the order of jobs, whoever did them, as a
/// sum of fractions depends on it. A tensor of which anything could not be read has no figures.
fn joined(
    known: BTreeMap<usize, Sums>,
    tensor: &dyn Fn(usize) -> usize,
    mut done: Vec<(usize, Result<Sums, String>)>,
) -> Results {
    done.sort_by_key(|(number, _)| *number);
    let mut results: Results = known.into_iter().map(|(tensor, sums)| (tensor, Ok(sums))).collect();
    for (number, sums) in done {
        let result = results.entry(tensor(number)).or_insert(Ok(Sums::default()));
        match (&mut *result, sums) {
            (Ok(all), Ok(sums)) => all.add(&sums),
            (Err(_), _) => {}
            (_, Err(reason)) => *result = Err(reason),
        }
    }
    results
}

/// How much of a hole lies from there on; `None` where there is none.
fn hole_after(pieces: &[Piece], offset: u64) -> Option<u64> {
    let piece = pieces.get(pieces.partition_point(|piece| piece.offset <= offset).checked_sub(1)?)?;
    let Entry::Hole { len } = piece.entry else { return None };
    (piece.offset + len).checked_sub(offset)
}

fn fill(file: &ContentAt<&Reader>, offset: u64, out: &mut [u8]) -> Result<()> {
    match file.read_exact_at(offset, out)? {
        true => Ok(()),
        false => Err(Error::corrupt(printable(file.path()), "ends before its tensors do")),
    }
}

/// Stretches widened to whole units; those that touch then are one.
fn in_units(stretches: &[(u64, u64)], len: u64, unit: u64) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::with_capacity(stretches.len());
    for (start, run) in stretches {
        let (start, end) = (start / unit * unit, (start + run).next_multiple_of(unit).min(len));
        match out.last_mut() {
            Some((first, run)) if *first + *run >= start => *run = (end - *first).max(*run),
            _ => out.push((start, end - start)),
        }
    }
    out
}

/// Where a job that begins `from` bytes into a tensor ends: with a chunk, where one ends with a unit.
fn job_end(pieces: &[Piece], offset: u64, from: u64, end: u64, unit: u64) -> u64 {
    let least = from.saturating_add(JOB_BYTES.next_multiple_of(unit));
    if least >= end {
        return end;
    }
    let next = pieces.partition_point(|piece| piece.offset < offset + least);
    let at = pieces.get(next).map_or(end, |piece| piece.offset - offset);
    let fits = at.is_multiple_of(unit) && at < least + JOB_BYTES;
    if fits { at.min(end) } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::content::Entry;
    use crate::id::BlobId;

    #[test]
    fn stretches_become_whole_units() {
        for (stretches, len, unit, wanted) in [
            (&[(0, 3), (5, 1), (9, 3)][..], 12, 4, &[(0, 8), (8, 4)][..]),
            (&[(1, 1), (13, 2)], 34, 17, &[(0, 17)]),
            (&[(30, 4)], 34, 17, &[(17, 17)]),
            (&[(3, 2)], 8, 1, &[(3, 2)]),
            (&[], 8, 2, &[]),
        ] {
            let found = in_units(stretches, len, unit);
            let bytes = |all: &[(u64, u64)]| all.iter().flat_map(|(s, l)| *s..s + l).collect::<Vec<_>>();
            assert_eq!(bytes(&found), bytes(wanted), "{stretches:?}");
            assert!(found.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
        }
    }

    #[test]
    fn jobs_are_joined_in_their_order_and_one_that_failed_fails_its_tensor() {
        let sums = |absolute: f64| Ok(Sums { units: 1, absolute, ..Sums::default() });
        let done = |order: &[usize]| -> Vec<(usize, Result<Sums, String>)> {
            let all = [sums(1e16), sums(1.0), sums(1.0), Err("gone".to_owned()), sums(2.0), sums(3.0)];
            order.iter().map(|number| (*number, all[*number].clone())).collect()
        };
        let known = BTreeMap::from([(0, Sums { units: 5, ..Sums::default() }), (2, Sums::default())]);
        for order in [[0, 1, 2, 3, 4, 5], [2, 1, 0, 5, 4, 3], [4, 2, 3, 0, 5, 1]] {
            let found = joined(known.clone(), &|number| usize::from(number > 2), done(&order));
            // One after the other, each 1 is too little to be seen.
            assert_eq!(found[&0], Ok(Sums { units: 8, absolute: 1e16, ..Sums::default() }), "{order:?}");
            assert_eq!(
                (&found[&1], &found[&2]),
                (&Err("gone".to_owned()), &Ok(Sums::default())),
                "{order:?}"
            );
        }
    }

    #[test]
    fn jobs_end_with_chunks_and_always_with_units() {
        let chunk = |n: u64| Piece {
            offset: n * 1_000_000,
            entry: Entry::Chunk { id: BlobId([1; 32]), len: 1_000_000 },
        };
        let pieces: Vec<Piece> = (0..40).map(chunk).collect();
        for (unit, offset) in [(1, 0), (2, 1_000_000), (4, 3_000_001), (34, 77), (8, 39_999_992)] {
            let end = (40_000_000 - offset) / unit * unit;
            let (mut from, mut jobs, mut at_chunks) = (0, 0, 0);
            while from < end {
                let to = job_end(&pieces, offset, from, end, unit);
                assert!(to > from && to <= end && to.is_multiple_of(unit), "{unit} {offset}: {from} to {to}");
                assert!(to - from <= 2 * JOB_BYTES + unit);
                at_chunks += u64::from((to + offset).is_multiple_of(1_000_000));
                (from, jobs) = (to, jobs + 1);
            }
            assert!(unit > 2 || jobs == at_chunks, "{unit}: {at_chunks} of {jobs}");
        }
    }
}
