//! Which frames are to be decoded for what is wanted, and in which order; and their decoding.

use std::collections::{HashMap, HashSet, hash_map};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::spool::{At, STEP_BYTES};
use super::{Cloth, FrameKey, Spot, Threads, Weaving};
use crate::codec;
use crate::codec::grains::{GRAIN_BYTES, NEW, Recipe, grains_of};
use crate::error::{Error, Malformed, Result};
use crate::format::content::{Entry, MAX_LIST_DEPTH};
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind, BlobRef, ObjectName};
use crate::progress::Progress;
use crate::repo::frames;
use crate::repo::index::{Place, Places};
use crate::repo::plain::Plain;
use crate::repo::reader::{BlobBytes, Reader};

/// Rounds with other copies of what could not be decoded.
const ROUNDS: usize = 4;
/// Bases of one frame.
const MAX_BASES: usize = 1 << 20;
/// More threads do not pay: the higher frames of a chain wait for the lower ones.
const MAX_THREADS: usize = 8;

/// Why a frame could not be decoded.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It is damaged itself.
    Own(String),
    /// This base of it cannot be had.
    Base(BlobRef, String),
}

/// By frame.
pub type Failures = HashMap<FrameKey, Failure>;

/// One frame to be decoded.
struct Job {
    object: ObjectName,
    epoch: u16,
    place: Place,
    by_grains: bool,
    /// Offset and length of the blobs that are wanted, of a frame that is not by grains.
    blobs: Vec<(u32, u32)>,
    /// What the edges stand for, in order.
    bases: Vec<Bases>,
}

/// A blob that a frame is decoded against.
#[derive(Debug, Clone, Copy)]
struct Base {
    blob: BlobRef,
    spot: Spot,
    len: u32,
}

/// A run of them. What a list describes is kept once for all frames that name it: after a VACUUM each frame stands on
/// most of a database.
type Bases = Arc<[Base]>;

struct Plan<'a> {
    reader: &'a Reader,
    places: Arc<dyn Places>,
    cloth: &'a Cloth,
    bad: &'a HashSet<FrameKey>,
    jobs: HashMap<FrameKey, Job>,
    /// Frames whose edges were not followed yet.
    todo: Vec<FrameKey>,
    /// Copies that were taken, and others that stand in frames of the plan.
    copies: HashMap<BlobRef, (Spot, u32)>,
    /// What lists describe, from copies below a height.
    lists: HashMap<BlobId, (u8, Bases)>,
    failures: Failures,
    progress: &'a dyn Progress,
}

/// Decodes what is wanted and what that stands on. An error is the user's wish to stop, or no room.
pub fn weave(
    reader: &Reader,
    cloth: &Cloth,
    wanted: &[Place],
    others: &[Place],
    progress: &dyn Progress,
) -> Result<Failures> {
    let mut bad = HashSet::new();
    let mut failures = Failures::new();
    for _ in 0..ROUNDS {
        let mut plan = Plan {
            reader,
            places: reader.places(),
            cloth,
            bad: &bad,
            jobs: HashMap::new(),
            todo: Vec::new(),
            copies: HashMap::new(),
            lists: HashMap::new(),
            failures: Failures::new(),
            progress,
        };
        for place in wanted {
            plan.add(place)?;
        }
        plan.follow()?;
        for place in others {
            if plan.has(place) {
                plan.add(place)?;
            }
        }
        plan.run()?;
        failures = plan.failures;
        let own = failures.iter().filter(|(_, failure)| matches!(failure, Failure::Own(_)));
        let mut other: Vec<FrameKey> = own.map(|(key, _)| *key).filter(|key| !bad.contains(key)).collect();
        if other.is_empty() {
            // Whole themselves, but what they stand on cannot be had: another copy may stand on something else.
            other.extend(failures.keys().filter(|key| !bad.contains(*key)));
            let lowest = other.iter().map(|key| key.2).min();
            other.retain(|key| Some(key.2) == lowest);
        }
        if other.is_empty() {
            break;
        }
        bad.extend(other);
    }
    Ok(failures)
}

impl Plan<'_> {
    /// Is the frame at a place in the plan?
    fn has(&self, place: &Place) -> bool {
        let pack = self.places.pack(place.pack);
        pack.is_some_and(|pack| self.jobs.contains_key(&(pack.id, place.offset, place.height)))
    }

    /// Takes the frame at a place into the plan, unless what is wanted of it is there already.
    fn add(&mut self, place: &Place) -> Result<Spot> {
        let pack =
            self.places.pack(place.pack).ok_or_else(|| Error::Internal("a place without a pack".into()))?;
        let key = (pack.id, place.offset, place.height);
        let spot = (key, place.blob_offset, place.blob_len);
        if self.cloth.threads(&spot).is_some() {
            return Ok(spot);
        }
        let by_grains = codec::is_by_grains(place.encoding, place.codec_version) && !place.edges.is_empty();
        if let hash_map::Entry::Vacant(vacant) = self.jobs.entry(key) {
            let job = Job {
                object: pack.id.into(),
                epoch: pack.epoch,
                place: place.clone(),
                by_grains,
                blobs: Vec::new(),
                bases: Vec::new(),
            };
            vacant.insert(job);
            if by_grains {
                self.todo.push(key);
                let mut offset = 0;
                for blob in self.places.blobs_at(place)? {
                    if let Some(kind) = BlobKind::from_byte(blob.kind) {
                        let blob_ref = BlobRef::new(kind, blob.id);
                        self.copies.entry(blob_ref).or_insert(((key, offset, blob.len), blob.len));
                    }
                    offset = offset.saturating_add(blob.len);
                }
            }
        }
        if let Some(job) = self.jobs.get_mut(&key).filter(|job| !job.by_grains) {
            let blob = (place.blob_offset, place.blob_len);
            if !job.blobs.contains(&blob) {
                job.blobs.push(blob);
            }
        }
        Ok(spot)
    }

    /// A copy of a blob below `height`, taken into the plan.
    fn base(&mut self, blob: &BlobRef, height: u8) -> Result<Option<(Spot, u32)>> {
        let known = self.copies.get(blob).filter(|((key, ..), _)| key.2 < height && !self.bad.contains(key));
        if let Some(known) = known {
            return Ok(Some(*known));
        }
        for place in self.places.places(blob)? {
            let Some(pack) = self.places.pack(place.pack) else { continue };
            if place.height < height && !self.bad.contains(&(pack.id, place.offset, place.height)) {
                let spot = self.add(&place)?;
                self.copies.insert(*blob, (spot, place.blob_len));
                return Ok(Some((spot, place.blob_len)));
            }
        }
        Ok(None)
    }

    /// Follows edges down to frames that are not by grains.
    fn follow(&mut self) -> Result<()> {
        while let Some(key) = self.todo.pop() {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            let edges = std::mem::take(&mut job.place.edges);
            let bases = self.bases(&edges, key.2);
            match (bases, self.jobs.get_mut(&key)) {
                (Ok(Ok(bases)), Some(job)) => {
                    job.bases = bases;
                    job.place.edges = edges;
                }
                (Ok(Err(failure)), _) => {
                    self.jobs.remove(&key);
                    self.failures.insert(key, failure);
                }
                (Err(error), _) => return Err(error),
                (Ok(Ok(_)), None) => {}
            }
        }
        Ok(())
    }

    /// What edges of a frame of this height stand for; the inner error is why it cannot be had.
    fn bases(&mut self, edges: &[Edge], height: u8) -> Result<std::result::Result<Vec<Bases>, Failure>> {
        let (mut all, mut run, mut count) = (Vec::new(), Vec::new(), 0);
        for edge in edges {
            let found = match (edge.how, BlobKind::from_byte(edge.kind)) {
                (0, Some(kind)) => self.these(&[BlobRef::new(kind, edge.id)], height)?,
                (1, Some(BlobKind::List)) => match self.of_list(edge.id, height)? {
                    Ok(described) => {
                        count += described.len();
                        all.extend([std::mem::take(&mut run).into(), described]);
                        Ok(Vec::new())
                    }
                    Err(failure) => Err(failure),
                },
                _ => Err(Failure::Own(format!("has an edge of kind {}/{}", edge.how, edge.kind))),
            };
            match found {
                Ok(found) => run.extend(found),
                Err(failure) => return Ok(Err(failure)),
            }
            if count + run.len() > MAX_BASES {
                return Ok(Err(Failure::Own("has bases over the limit".into())));
            }
        }
        all.push(run.into());
        Ok(Ok(all))
    }

    fn these(&mut self, blobs: &[BlobRef], height: u8) -> Result<std::result::Result<Vec<Base>, Failure>> {
        let mut found = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let Some((spot, len)) = self.base(blob, height)? else {
                let reason = "no copy of it below the frame that needs it can be read";
                return Ok(Err(Failure::Base(*blob, reason.into())));
            };
            found.push(Base { blob: *blob, spot, len });
        }
        Ok(Ok(found))
    }

    fn of_list(&mut self, list: BlobId, height: u8) -> Result<std::result::Result<Bases, Failure>> {
        // What stands below one frame stands below all that are no lower.
        if let Some((_, known)) = self.lists.get(&list).filter(|(made_for, _)| height >= *made_for) {
            return Ok(Ok(known.clone()));
        }
        let mut blobs = Vec::new();
        match self.described(list, height, 0, &mut blobs) {
            Ok(_) => {}
            Err(error) if error.is_ours() => return Err(error),
            Err(error) => {
                return Ok(Err(Failure::Base(BlobRef::new(BlobKind::List, list), error.to_string())));
            }
        }
        Ok(match self.these(&blobs, height)? {
            Ok(found) => {
                let found: Bases = found.into();
                self.lists.insert(list, (height, found.clone()));
                Ok(found)
            }
            Err(failure) => Err(failure),
        })
    }

    /// The chunks that a list describes, appended to `out`; gives their length. Every list that is read has some,
    /// so that lists of lists of nothing end soon.
    fn described(&self, list: BlobId, height: u8, depth: usize, out: &mut Vec<BlobRef>) -> Result<u64> {
        let refuse = |why: &str| Err(Error::corrupt(format!("content list {}", list.short()), why));
        if depth > MAX_LIST_DEPTH {
            return refuse("is nested too deep");
        }
        let mut total = 0;
        for entry in self.reader.list_below(list, height)?.entries {
            let len = entry.content_len();
            match entry {
                _ if len == 0 => return refuse("has nothing at a place, which no base may"),
                Entry::Chunk { .. } if out.len() == MAX_BASES => return refuse("describes too many chunks"),
                Entry::Chunk { id, .. } => out.push(BlobRef::new(BlobKind::Chunk, id)),
                Entry::List { id, .. } if self.described(id, height, depth + 1, out)? == len => {}
                Entry::List { .. } => return refuse("does not describe what has the length it states"),
                _ => return refuse("describes more than chunks"),
            }
            // Below 2^64 in all, as was checked when it was read.
            total += len;
        }
        Ok(total)
    }

    /// Decodes all frames, the lowest first.
    fn run(&mut self) -> Result<()> {
        let mut order: Vec<FrameKey> = self.jobs.keys().copied().collect();
        order.sort_unstable_by_key(|(pack, offset, height)| (*height, *pack, *offset));
        let mut rest = &order[..];
        while let Some(first) = rest.first() {
            let (wave, after) = rest.split_at(rest.partition_point(|key| key.2 <= first.2));
            rest = after;
            let done = self.wave(wave)?;
            let mut known = self.cloth.known.write().unwrap_or_else(|e| e.into_inner());
            for (key, made) in done {
                match made {
                    Made::Woven(threads) => drop(known.woven.insert(key, threads)),
                    Made::Plain(blobs) => {
                        let spots = blobs.into_iter().map(|(offset, len, at)| ((key, offset, len), at));
                        known.plain.extend(spots);
                    }
                    Made::Nothing(failure) => drop(self.failures.insert(key, failure)),
                }
            }
        }
        Ok(())
    }

    /// Frames of one height do not need each other.
    fn wave(&self, keys: &[FrameKey]) -> Result<Vec<(FrameKey, Made)>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(keys.len()));
        let work = || -> Result<()> {
            let _weaving = Weaving::begin();
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.progress.check()?;
                let Some(job) = self.jobs.get(key) else { continue };
                let made = self.decode(key, job)?;
                done.lock().unwrap_or_else(|e| e.into_inner()).push((*key, made));
            }
            Ok(())
        };
        if threads <= 1 || keys.len() == 1 {
            work()?;
        } else {
            std::thread::scope(|scope| {
                let work = &work;
                let handles: Vec<_> = (0..threads.min(keys.len())).map(|_| scope.spawn(work)).collect();
                let gone = |_| Err(Error::Internal("a decoding thread panicked".into()));
                handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).fold(Ok(()), Result::and)
            })?;
        }
        Ok(done.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    fn decode(&self, key: &FrameKey, job: &Job) -> Result<Made> {
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

enum Made {
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
