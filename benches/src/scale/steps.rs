//! What is measured. Each step runs in a process of its own, so that its peak of memory is its own; key
//! derivation is not in any figure.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ballast::entropy::Surroundings;
use ballast::error::{Error, Result};
use ballast::id::{BlobKind, BlobRef, ObjectKind};
use ballast::op::forget::{ForgetOptions, KeepPolicy, Period};
use ballast::op::prune::PruneOptions;
use ballast::op::restore::RestoreOptions;
use ballast::op::snapshot::SnapshotOptions;
use ballast::op::{check, forget, list, prune, restore, snapshot};
use ballast::progress::Silent;
use ballast::repo::index::Index;
use ballast::repo::reader::Reader;
use ballast::repo::snapshots::Filter;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast_benches::Random;
use ballast_benches::stored::bytes_below;

use crate::hollow::Run;
use crate::make::{PASSWORD, small_name};
use crate::shape::{LARGE_CHUNKS, LARGE_FILES, Shape, chunk};
use crate::store::Unflushed;

/// Look-ups of one kind.
const LOOK_UPS: u64 = 200_000;

/// The steps in their order: name, and what is said of it.
pub const STEPS: &[(&str, &str)] = &[
    ("sync", "index from nothing"),
    ("memory", "the same in memory, no cache to be had"),
    ("open", "open, nothing new, first time since it was built; then the first look-up"),
    ("again", "open, nothing new; then the first look-up"),
    ("more", "open, one new index object"),
    ("look-ups", "look-ups"),
    ("snapshots", "snapshots"),
    ("latest", "find the newest snapshot"),
    ("forget", "forget --dry-run, 24 hourly 14 daily 8 weekly 24 monthly"),
    ("strange", "unchanged run over 100 × 2 GiB, parent made elsewhere"),
    ("unchanged", "unchanged run over 100 × 2 GiB, parent made here"),
    ("prune", "prune --dry-run"),
    ("check", "check"),
    ("one", "one file out of a snapshot of small files, first time here"),
    ("one-more", "one file out of a snapshot of small files"),
];

fn open(dir: &Path, repo: &str, cached: bool) -> Result<Repository> {
    let options = OpenOptions { cache_dir: cached.then(|| dir.join("cache")), ..OpenOptions::default() };
    let store = LocalStore::new(dir.join(repo))?;
    Repository::open(Arc::new(store), PASSWORD, &options, Surroundings::system())
}

/// Runs one step; gives the lines of its result.
pub fn run(step: &str, dir: &Path, shape: &Shape) -> Result<Vec<String>> {
    match step {
        "sync" => sync(dir),
        "memory" => open_index(&open(dir, "repo", false)?).map(|(_, lines)| lines),
        "open" | "again" => open_index(&open(dir, "repo", true)?).map(|(_, lines)| lines),
        "more" => more(dir, shape),
        "look-ups" => look_ups(dir, shape),
        "snapshots" => {
            let repo = open(dir, "repo", true)?;
            timed(|| list::run(&repo, &Filter::default())?.snapshots.len().said("snapshots"))
        }
        "latest" => {
            let repo = open(dir, "repo", true)?;
            timed(|| {
                let ledger = repo.ledger(false)?;
                repo.find_snapshot(&ledger, "latest", &Filter::default())?.id.short().len().said("digits")
            })
        }
        "forget" => forgotten(dir),
        "strange" | "unchanged" => unchanged(dir),
        "prune" => {
            let repo = open(dir, "repo", true)?;
            let options = PruneOptions { dry_run: true, ..PruneOptions::default() };
            timed(|| {
                let plan = prune::run(&repo, &options, &Silent)?.plan;
                Ok(format!(
                    "{} packs, {} needed blobs, {} bases, {} dead packs, {} index objects replaced",
                    plan.packs, plan.needed_blobs, plan.base_blobs, plan.dead_packs, plan.replaced_indexes
                ))
            })
        }
        "check" => {
            let repo = open(dir, "repo", true)?;
            timed(|| {
                let report = check::run(&repo, &check::CheckOptions::default(), &Silent)?;
                Ok(format!("{} faults, {} blobs needed", report.faults.len(), report.counts.needed_blobs))
            })
        }
        "one" | "one-more" => one(dir, shape, step == "one"),
        other => Err(Error::Usage(format!("no step {other}"))),
    }
}

trait Said {
    fn said(self, what: &str) -> Result<String>;
}

impl Said for usize {
    fn said(self, what: &str) -> Result<String> {
        Ok(format!("{self} {what}"))
    }
}

/// Wall clock and processor time: others may be at work on the machine.
#[derive(Clone, Copy)]
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), processor_secs())
    }

    fn line(self, what: &str) -> String {
        let (wall, processor) = (self.0.elapsed().as_secs_f64(), processor_secs() - self.1);
        format!("{what}: {wall:.3} s, {processor:.2} s of processor time")
    }

    fn rate(self, what: &str, count: u64) -> String {
        let (wall, processor) = (self.0.elapsed().as_secs_f64(), processor_secs() - self.1);
        let each = 1e6 / count as f64;
        let (a_second, wall, processor) = (count as f64 / wall, wall * each, processor * each);
        format!("{what}: {a_second:.0} a second, {wall:.1} µs each, {processor:.1} µs of processor time")
    }
}

/// Of this process, to a hundredth.
fn processor_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn timed(step: impl FnOnce() -> Result<String>) -> Result<Vec<String>> {
    let begun = Watch::start();
    let said = step()?;
    Ok(vec![begun.line("all"), said])
}

fn open_index(repo: &Repository) -> Result<(Index, Vec<String>)> {
    let mut lines = Vec::new();
    let all = Watch::start();
    let ledger = repo.ledger(true)?;
    lines.push(all.line("ledger"));
    let begun = Watch::start();
    let index = Index::open(repo, &ledger)?;
    lines.push(begun.line("index"));
    let begun = Watch::start();
    if !index.names(&chunk(0))? {
        return Err(Error::Internal("the first chunk is not in the index".into()));
    }
    lines.push(begun.line("first look-up"));
    lines.insert(0, all.line("all"));
    Ok((index, lines))
}

fn sync(dir: &Path) -> Result<Vec<String>> {
    drop(fs::remove_dir_all(dir.join("cache")));
    let repo = open(dir, "repo", true)?;
    let mut lines = {
        let begun = Watch::start();
        let (index, mut lines) = open_index(&repo)?;
        drop(index);
        lines[0] = begun.line("all, with closing");
        lines
    };
    let objects = repo.store().list(ObjectKind::Index)?.len();
    let packs = repo.store().list(ObjectKind::Pack)?.len();
    lines.push(format!(
        "{objects} index objects of {} bytes, {packs} packs",
        bytes_below(&dir.join("repo/index"))
    ));
    let cache = repo.cache().map(|cache| cache.path().to_owned()).unwrap_or_default();
    let catalogue = fs::metadata(cache.join("catalogue")).map_or(0, |m| m.len());
    lines.push(format!("sled {} bytes, catalogue {catalogue} bytes", bytes_below(&cache.join("index"))));
    Ok(lines)
}

/// What one more run of another machine added.
fn more(dir: &Path, shape: &Shape) -> Result<Vec<String>> {
    let repo = open(dir, "repo", true)?;
    let store = Unflushed::new(dir.join("repo"))?;
    let mut run = Run::begin(&repo, &store)?;
    let first = shape.total() + 1_000_000 + std::process::id() as u64 * 1000;
    for number in first..first + 500 {
        run.add(number, (0, 0))?;
    }
    run.end()?;
    open_index(&repo).map(|(_, lines)| lines)
}

fn look_ups(dir: &Path, shape: &Shape) -> Result<Vec<String>> {
    let repo = open(dir, "repo", true)?;
    let ledger = repo.ledger(true)?;
    let index = Arc::new(Index::open(&repo, &ledger)?);
    index.names(&chunk(0))?;
    let reader = Reader::with_index(&repo, index.clone());
    let mut lines = Vec::new();
    let wrong = |blob: &BlobRef| Err(Error::Internal(format!("{blob} is not where it should be")));
    let mut random = Random::new(7);
    for turn in ["random hits", "random hits, again"] {
        let begun = Watch::start();
        for _ in 0..LOOK_UPS {
            let blob = chunk(random.bits() % shape.total());
            if !index.names(&blob)? {
                return wrong(&blob);
            }
        }
        lines.push(begun.rate(turn, LOOK_UPS));
    }
    let begun = Watch::start();
    for _ in 0..LOOK_UPS {
        let blob = chunk(shape.total() * 2 + random.bits() % (1 << 40));
        if index.names(&blob)? {
            return wrong(&blob);
        }
    }
    lines.push(begun.rate("random misses", LOOK_UPS));
    let begun = Watch::start();
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let index = &index;
            scope.spawn(move || {
                let mut random = Random::new(100 + thread);
                for _ in 0..LOOK_UPS / 2 {
                    let blob = chunk(shape.total() * 2 + random.bits() % (1 << 40));
                    index.names(&blob).expect("because the index is whole");
                }
            });
        }
    });
    lines.push(begun.rate("random misses, two threads", LOOK_UPS));
    let begun = Watch::start();
    for number in 0..LARGE_FILES * LARGE_CHUNKS {
        if index.rely_on(&chunk(number), &reader)?.is_none() {
            return wrong(&chunk(number));
        }
    }
    lines.push(begun.rate("file after file, to rely on", LARGE_FILES * LARGE_CHUNKS));
    let (count, begun) = (shape.per_model() * 60, Watch::start());
    for number in shape.snapshots - 60..shape.snapshots {
        for number in shape.first_of(number)..shape.first_of(number + 1) {
            if index.rely_on(&chunk(number), &reader)?.is_none() {
                return wrong(&chunk(number));
            }
        }
    }
    lines.push(begun.rate("the newest models, half of them differences, to rely on", count));
    if index.names(&BlobRef::new(BlobKind::List, crate::shape::id(0)))? {
        return Err(Error::Internal("a list that nobody stored".into()));
    }
    Ok(lines)
}

fn forgotten(dir: &Path) -> Result<Vec<String>> {
    let repo = open(dir, "repo", true)?;
    let policy = KeepPolicy::new()
        .keep(Period::Hourly, 24)
        .keep(Period::Daily, 14)
        .keep(Period::Weekly, 8)
        .keep(Period::Monthly, 24);
    let options = ForgetOptions { policy, dry_run: true, ..ForgetOptions::default() };
    timed(|| {
        let report = forget::run(&repo, &options, &Silent)?;
        Ok(format!("{} kept, {} forgotten", report.kept, report.forgotten.len()))
    })
}

fn unchanged(dir: &Path) -> Result<Vec<String>> {
    let repo = open(dir, "repo", true)?;
    let source = dir.join("source").canonicalize().map_err(|e| Error::io(dir, e))?;
    let options = SnapshotOptions {
        paths: vec![source],
        cwd: "/".into(),
        host: Some("scale".into()),
        ..SnapshotOptions::default()
    };
    timed(|| {
        let report = snapshot::run(&repo, &options, &Silent)?;
        if report.read_bytes > 0 || report.files_unchanged != LARGE_FILES {
            return Err(Error::Internal("the large files were read".into()));
        }
        Ok(format!("{} files unchanged, {} bytes stored", report.files_unchanged, report.stored_bytes))
    })
}

fn one(dir: &Path, shape: &Shape, first: bool) -> Result<Vec<String>> {
    let repo = open(dir, "small", true)?;
    if let (true, Some(cache)) = (first, repo.cache()) {
        drop(fs::remove_dir_all(cache.path()));
    }
    let target = dir.join("restored");
    drop(fs::remove_dir_all(&target));
    let number = shape.small_files / 3;
    let below = format!("d{:04}/{}", number / 100, small_name(number));
    let source = dir.canonicalize().map_err(|e| Error::io(dir, e))?.join("small-source");
    let wanted = source.join(&below);
    let mut lines = Vec::new();
    for turn in ["--include", "by path"] {
        let begun = Watch::start();
        let ledger = repo.ledger(false)?;
        let newest = repo.find_snapshot(&ledger, "latest", &Filter::default())?;
        let mut options = RestoreOptions::new(newest.id, target.clone());
        let path = wanted.to_string_lossy().into_owned();
        if turn == "--include" {
            options.include = vec![path]
        } else {
            options.path = Some(path.into_bytes())
        }
        let report = restore::run(&repo, &options, &Silent)?;
        if report.files != 1 {
            return Err(Error::Internal(format!("{} files restored", report.files)));
        }
        lines.push(begun.line(turn));
    }
    drop(fs::remove_dir_all(&target));
    Ok(lines)
}
