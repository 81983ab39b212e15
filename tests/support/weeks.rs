//! Weeks of a source of which next to everything is stored as the difference to the week before: tensors
//! by one base and by two, an edited file by a prefix, a directory and a content list. And what is in
//! the frames of a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::chunk::CutParams;
use ballast::crypto::keys::{Keyring, Purpose};
use ballast::entropy::{Surroundings, seeded};
use ballast::format::envelope::{NONCE_LEN, SUITE_XCHACHA_BLAKE3};
use ballast::format::frame::{self, Encoding, FrameRecord};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::id::{ObjectKind, ObjectName, SnapshotId};
use ballast::op::snapshot::SnapshotReport;
use ballast::repo::{InitOptions, Repository, keys};
use ballast::store::memory::MemoryStore;

use crate::models::{Tensor, file};
use crate::place::{LateClock, PASSWORD, Place, tiny};
use crate::tree::{Seen, assert_same, bytes, look, put};

/// Elements of the model that moves a little.
const SMALL_STEPS: usize = 40_000;
/// Elements of the model that drifts one way.
const DRIFT: usize = 24_000;
/// Stretches of data in the file with holes, which is too long to be read at once.
const STRETCHES: u64 = 66;
const APART: u64 = 64 << 10;

/// Chunks that are long enough to be stored as differences, in small packs.
pub fn init() -> InitOptions {
    let cut = CutParams { min: 16 << 10, avg: 24 << 10, max: 48 << 10, ..CutParams::default() };
    InitOptions { cut, data_pack_min_bytes: 64 << 10, data_pack_max_bytes: 128 << 10, ..tiny() }
}

/// Numbers of two bytes with few exponents; each week moves each of them by up to 2.
fn moving(week: u64) -> Vec<u8> {
    let mut words: Vec<u16> = bytes(1, 2 * SMALL_STEPS)
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], (c[1] & 0x80) | 0x3c | (c[1] & 1)]))
        .collect();
    for step in 1..=week {
        for (word, noise) in words.iter_mut().zip(bytes(1000 + step, SMALL_STEPS)) {
            *word = word.wrapping_add(u16::from(noise % 5)).wrapping_sub(2);
        }
    }
    words.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// Numbers of four bytes, each of which goes on by about its own step each week.
fn drifting(week: u64) -> Vec<u8> {
    let steps = bytes(2, 2 * DRIFT);
    let noise = bytes(2000 + week, DRIFT);
    let word = |i: usize, c: &[u8; 4]| {
        let step = u32::from(u16::from_le_bytes([steps[2 * i], steps[2 * i + 1]]));
        let week = u32::try_from(week).unwrap();
        let first = (u32::from_le_bytes(*c) & 0x80ff_ffff) | 0x3c00_0000;
        first.wrapping_add(step * week).wrapping_add(u32::from(noise[i] & 3))
    };
    let first = bytes(3, 4 * DRIFT);
    let words = first.as_chunks::<4>().0.iter().enumerate().map(|(i, c)| word(i, c));
    words.flat_map(u32::to_le_bytes).collect()
}

/// Noise with a byte changed here and there.
fn edited(week: u64) -> Vec<u8> {
    let mut image = bytes(4, 100_000);
    for step in 1..=week {
        for at in (0..image.len() - 100).step_by(4000) {
            image[at + 17 * usize::try_from(step).unwrap()] ^= 0x5a;
        }
    }
    image
}

fn stretch(at: u64, week: u64) -> Vec<u8> {
    let changed = if (1..=week).contains(&at) { 9000 } else { 5000 };
    bytes(changed + at, 4096)
}

fn model(dtype: &'static str, shape: &[u64], data: Vec<u8>) -> Vec<u8> {
    file(&[Tensor { name: "weight".into(), dtype, shape: shape.to_vec(), data }], "weekly")
}

/// Writes what stands below `top` in a week; what it stands there already is left alone.
pub fn write(top: &Path, week: u64) {
    let fresh = |name: &str, content: &[u8]| {
        let path = top.join(name);
        if fs::read(&path).ok().as_deref() != Some(content) {
            put(&path, content);
        }
    };
    fresh("moving.safetensors", &model("BF16", &[40, 1000], moving(week)));
    fresh("drifting.safetensors", &model("F32", &[24, 1000], drifting(week)));
    fresh("image", &edited(week));
    for i in 0..60u64 {
        let turn = if (1..=week).contains(&i) { "new" } else { "old" };
        fresh(&format!("many/a file with a name {i:02}"), format!("{turn} {i}").as_bytes());
    }
    fs::create_dir_all(top.join("extra")).unwrap();
    for old in 0..week {
        drop(fs::remove_file(top.join(format!("extra/{old}"))));
    }
    // Dead once the week is forgotten, in the same packs as bases that are not.
    fresh(&format!("extra/{week}"), &bytes(7000 + week, 30_000));
    let long = top.join("long");
    if !long.exists() {
        put(&long, b"");
    }
    let holes = fs::OpenOptions::new().read(true).write(true).open(&long).unwrap();
    holes.set_len(STRETCHES * APART).unwrap();
    for at in 0..STRETCHES {
        let (mut there, data) = ([0; 4096], stretch(at, week));
        holes.read_exact_at(&mut there, at * APART).unwrap();
        if there[..] != data[..] {
            holes.write_all_at(&data, at * APART).unwrap();
        }
    }
}

/// A repository with a snapshot of each of so many weeks, and copies of all weeks elsewhere.
pub struct Weeks {
    dir: tempfile::TempDir,
    /// What is backed up.
    pub top: PathBuf,
    /// The repository.
    pub place: Place,
    /// Each week as it was.
    pub all: Vec<(SnapshotId, BTreeMap<PathBuf, Seen>)>,
    write: fn(&Path, u64),
}

impl Weeks {
    /// Takes them.
    pub fn take(weeks: u64) -> Self {
        Self::take_of(weeks, write)
    }

    /// The same of another source: `write` brings it to a week, from nothing or from any week before.
    pub fn take_of(weeks: u64, write: fn(&Path, u64)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("source");
        let place = Place { store: Arc::new(MemoryStore::new()), cache: tempfile::tempdir().unwrap() };
        // Secrets that are the same each time, and so cuts, lists and heights.
        let surroundings = Surroundings { clock: Arc::new(LateClock), ..seeded::surroundings(4) };
        Repository::init(place.store.clone(), PASSWORD, &init(), &place.options(), surroundings).unwrap();
        let mut taken = Self { dir, top, place, all: Vec::new(), write };
        (0..weeks).for_each(|_| drop(taken.go_on()));
        taken
    }

    /// The next week.
    pub fn go_on(&mut self) -> SnapshotReport {
        (self.write)(&self.top, self.all.len() as u64);
        let report = self.place.take(&self.top);
        assert_eq!(report.problems, []);
        self.all.push((report.snapshot.unwrap(), look(&self.top)));
        report
    }

    /// A directory with what each of the weeks held.
    pub fn archive(&self) -> PathBuf {
        let archive = self.dir.path().canonicalize().unwrap().join("archive");
        (0..self.all.len() as u64).for_each(|week| (self.write)(&archive.join(week.to_string()), week));
        archive
    }

    /// Are these weeks whole, byte for byte?
    pub fn assert_whole(&self, weeks: std::ops::Range<usize>) {
        for (id, seen) in &self.all[weeks] {
            assert_same(&self.place.open_bare(), *id, &self.top, seen);
        }
    }
}

/// The packs of a repository as its index objects describe them, each once.
pub fn packs(repo: &Repository) -> BTreeMap<ObjectName, IndexedPack> {
    let mut all = BTreeMap::new();
    for name in repo.store().list(ObjectKind::Index).unwrap() {
        let plain = repo.open_object(&ObjectName::new(ObjectKind::Index, name)).unwrap();
        for pack in IndexObject::decode(&plain).unwrap().packs {
            all.insert(ObjectName::from(pack.id), pack);
        }
    }
    all
}

/// What a frame opens to, which is still encoded.
fn opened(repo: &Repository, keyring: &Keyring, pack: &IndexedPack, record: &FrameRecord) -> Vec<u8> {
    let name = ObjectName::from(pack.id);
    let len = record.stored_len as usize;
    let stored = repo.store().get_range(&name, record.offset.into(), len).unwrap();
    let (nonce, sealed) = stored.split_at(NONCE_LEN);
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        pack.epoch,
        record.encoding,
        record.codec_version,
        record.plain_len,
        &record.edges,
    );
    let key = keyring.key(Purpose::Frame, pack.epoch).unwrap();
    key.open(nonce.try_into().unwrap(), &aad, sealed).unwrap()
}

/// Kind of blob, method and height of every difference there is.
pub fn differences(repo: &Repository, password: &[u8]) -> BTreeSet<(u8, u8, u8)> {
    let mut all = BTreeSet::new();
    each_difference(repo, password, &mut |record, opened| {
        let method = opened[1 + 9 * usize::from(opened[0])];
        all.insert((record.blobs[0].kind, method, record.height));
    });
    all
}

/// How elements are read in the differences of numbers: the kinds of `docs/format.md`.
pub fn kinds_of_numbers(repo: &Repository, password: &[u8]) -> BTreeSet<u8> {
    let mut all = BTreeSet::new();
    each_difference(repo, password, &mut |_, opened| {
        let at = 1 + 9 * usize::from(opened[0]);
        if opened[at] > 1 {
            all.insert(opened[at + 1]);
        }
    });
    all
}

/// Each difference there is: its record, and what its frame opens to, which is still encoded.
pub fn each_difference(repo: &Repository, password: &[u8], each: &mut dyn FnMut(&FrameRecord, &[u8])) {
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, password).unwrap().unwrap();
    for pack in packs(repo).values() {
        for record in pack.frames.iter().filter(|f| f.encoding == Encoding::Delta as u8) {
            each(record, &opened(repo, &keyring, pack, record));
        }
    }
}

/// Tensors against one base and against two, an edited file, directories and lists, each in a chain as
/// high as so many weeks make it.
pub fn assert_full_of_differences(repo: &Repository, highest: u8) {
    let found = differences(repo, PASSWORD);
    let wanted = |kind: u8, method: u8, height: u8| {
        assert!(found.contains(&(kind, method, height)), "({kind}, {method}, {height}) of {found:?}");
    };
    for height in 1..=highest {
        wanted(0, 1, height);
        wanted(0, 2, height);
        wanted(1, 1, height);
        wanted(2, 1, height);
        if height > 1 {
            wanted(0, 3, height);
        }
    }
}
