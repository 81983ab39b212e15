//! Lost chunks, looked for in files that still stand on disk: cut as a snapshot cuts them, hashed, and
//! stored where the id is one that is lost. Nothing is believed of a file but its bytes.
//!
//! Memory: one window of [`WINDOW_BYTES`] and a largest chunk.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use rayon::prelude::*;

use crate::chunk::layout::{self, MAX_HEADER_BYTES};
use crate::chunk::{Ahead, Cutter, Opaque, Region, regions_within};
use crate::error::{Problem, Result};
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::op::repair::packs::{PacksOptions, View};
use crate::progress::Progress;
use crate::repo::copier::{Copier, Nearby};
use crate::repo::outbox::Outbox;
use crate::source::sqlite::{HEADER_BYTES, Header, UNITS_FROM_BYTES};
use crate::source::{Event, Exclude, Names, Plan, Segment, SourceFile, Walk, WalkContext, shown};

/// New bytes of a window.
const WINDOW_BYTES: usize = 16 << 20;
/// The layout of a file is told by its first window, as in a snapshot.
const _: () = assert!(WINDOW_BYTES >= MAX_HEADER_BYTES);

/// What was found.
#[derive(Debug, Default)]
pub struct Healed {
    /// Files that were read.
    pub files: u64,
    /// Chunks that were lost and are not any more.
    pub chunks: u64,
    /// Their length.
    pub bytes: u64,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

struct Search<'a> {
    copier: Copier<'a>,
    view: &'a View,
    cutter: Cutter,
    dry_run: bool,
    wanted: HashSet<BlobId>,
    near: Nearby,
    /// Of the file at hand.
    layout: Vec<Region>,
    buffer: Vec<u8>,
    healed: Healed,
    progress: &'a dyn Progress,
}

/// Searches what is below `options.from` for `wanted`, until all of it is found.
pub fn run(
    view: &View,
    options: &PacksOptions,
    outbox: &Outbox,
    wanted: HashSet<BlobId>,
    progress: &dyn Progress,
) -> Result<Healed> {
    let repo = view.reader.repo();
    let cutter = Cutter::new(&repo.config().cut_secret, repo.config().table_version, repo.cut_params())
        .map_err(|e| e.of("config"))?;
    let mut search = Search {
        copier: Copier::new(&view.holdings, &view.reader, outbox),
        view,
        cutter,
        dry_run: options.dry_run,
        wanted,
        near: Nearby::default(),
        layout: Vec::new(),
        buffer: Vec::new(),
        healed: Healed::default(),
        progress,
    };
    progress.phase("looking for lost data in files", None, None);
    let added = Plan::new().add(&options.from, Path::new("/"));
    search.healed.problems = added.problems;
    let context = WalkContext {
        exclude: Exclude::nothing(),
        names: Names::new(),
        clock: repo.surroundings().clock.clone(),
        taken: BTreeSet::new(),
    };
    for root in &added.roots {
        for event in Walk::new(root, &context) {
            progress.check()?;
            if search.wanted.is_empty() {
                break;
            }
            match event {
                Event::Item { at, stat, .. } if stat.is_file() && stat.size > 0 => {
                    progress.current(&shown(at.path()));
                    match SourceFile::open(&at, &stat) {
                        Ok(file) => search.file(&file)?,
                        Err(problem) => search.healed.problems.push(problem),
                    }
                }
                Event::Problem(problem) => search.healed.problems.push(problem),
                _ => {}
            }
        }
    }
    search.copier.finish(search.near)?;
    Ok(search.healed)
}

impl Search<'_> {
    fn file(&mut self, file: &SourceFile) -> Result<()> {
        self.healed.files += 1;
        self.layout = Opaque::layout(file.size());
        let mut first = [0; HEADER_BYTES];
        let is_paged = file.size() >= UNITS_FROM_BYTES
            && file.read_at(0, &mut first).is_ok()
            && Header::parse(&first).is_some();
        for segment in file.segments() {
            let Segment::Data { offset, len } = segment else { continue };
            let problem = match is_paged {
                true => self.units(file, offset, len)?,
                false => self.data(file, offset, len)?,
            };
            if let Some(problem) = problem {
                self.healed.problems.push(problem);
                return Ok(());
            }
        }
        self.progress.advance(1, 0);
        Ok(())
    }

    /// One stretch of a database: units at fixed offsets.
    fn units(&mut self, file: &SourceFile, offset: u64, len: u64) -> Result<Option<Problem>> {
        let unit = u64::from(self.view.reader.repo().config().sqlite_unit_bytes).max(1);
        let whole = (WINDOW_BYTES as u64 / unit).max(1) * unit;
        let (mut at, end) = (offset, offset + len);
        let mut buffer = std::mem::take(&mut self.buffer);
        while at < end {
            self.progress.check()?;
            let stop = (at / unit * unit + whole).min(end);
            buffer.resize((stop - at) as usize, 0);
            let got = match file.read_at(at, &mut buffer) {
                Ok(got) => got,
                Err(problem) => return Ok(Some(problem)),
            };
            self.progress.advance(0, got as u64);
            let edges = (at / unit + 1..).map(|n| n * unit).take_while(|edge| *edge < stop);
            let cuts: Vec<usize> = edges.chain([stop]).map(|edge| (edge - at) as usize).collect();
            self.chunks(&buffer, &cuts)?;
            at = stop;
        }
        self.buffer = buffer;
        Ok(None)
    }

    /// One stretch of data; what kept it from being read to its end.
    fn data(&mut self, file: &SourceFile, offset: u64, len: u64) -> Result<Option<Problem>> {
        let mut regions = regions_within(&self.layout, offset, len);
        let (mut held, mut start) = (0usize, 0u64);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            self.progress.check()?;
            let left = len - start - held as u64;
            let fresh = usize::try_from(left.min(WINDOW_BYTES as u64)).unwrap_or(WINDOW_BYTES);
            if buffer.len() < held + fresh {
                buffer.resize(held + fresh, 0);
            }
            let got = match file.read_at(offset + start + held as u64, &mut buffer[held..held + fresh]) {
                Ok(got) => got,
                Err(problem) => return Ok(Some(problem)),
            };
            self.progress.advance(0, got as u64);
            let filled = held + got;
            if offset == 0 && start == 0 && held == 0 {
                let first = &buffer[..filled];
                let rest = |offset: u64, out: &mut [u8]| file.look_at(offset, out).unwrap_or(0);
                let content = Ahead { first, rest: &rest };
                let found = layout::find(first, &content, file.size(), self.cutter.params());
                if let Some(model) = found {
                    self.layout = model.regions;
                    regions = regions_within(&self.layout, offset, len);
                }
            }
            let cuts = self.cutter.cut_regions(&buffer[..filled], offset + start, &regions);
            self.chunks(&buffer[..filled], &cuts)?;
            let last = cuts.last().copied().unwrap_or(0);
            if start + last as u64 == len || (last == 0 && got == 0) || got < fresh {
                self.buffer = buffer;
                return Ok(None);
            }
            buffer.copy_within(last..filled, 0);
            held = filled - last;
            start += last as u64;
        }
    }

    fn chunks(&mut self, window: &[u8], cuts: &[usize]) -> Result<()> {
        let repo = self.view.reader.repo();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ranges: Vec<_> = starts.zip(cuts.iter().copied()).map(|(from, to)| from..to).collect();
        let wanted = &self.wanted;
        let found: Vec<_> = ranges
            .into_par_iter()
            .map(|range| (repo.blob_id(BlobKind::Chunk, &window[range.clone()]), range))
            .filter(|(id, _)| wanted.contains(id))
            .collect();
        for (id, range) in found {
            if self.wanted.remove(&id) {
                let plain = &window[range];
                self.healed.chunks += 1;
                self.healed.bytes += plain.len() as u64;
                if !self.dry_run {
                    self.copier.anew(BlobRef::new(BlobKind::Chunk, id), plain, &mut self.near)?;
                }
            }
        }
        Ok(())
    }
}
