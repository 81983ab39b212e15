//! Repositories of every version of the format, frozen under `tests/golden/v<n>`, that every
//! later version must read whole.
//!
//! `BALLAST_REGENERATE=1 cargo test -p ballast-tests --test golden` makes them anew: `v1`,
//! `v1-deltas`, in which next to everything is stored as a difference, and `v1-grains`, of databases whose
//! units are. From the tag `v1.0` on they are never made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use ballast::crypto::keys::{Keyring, Purpose};
use ballast::entropy::seeded;
use ballast::error::Result;
use ballast::format::envelope::{NONCE_LEN, Prefix};
use ballast::format::frame::{Encoding, FrameRecord};
use ballast::format::index::IndexObject;
use ballast::format::ledger::Event;
use ballast::format::pack::{FOOTER_LEN, Footer, Trailer, footer_aad, trailer_aad};
use ballast::format::padme;
use ballast::id::{BlobKind, ObjectKind, ObjectName, RepoId, SnapshotId};
use ballast::op::check::{self, CheckOptions};
use ballast::op::restore::{self, Overwrite, RestoreOptions};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{Repository, keys};
use ballast::store::local::LocalStore;
use support::golden::{self, PASSWORDS};
use support::weeks;

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(version)
}

/// Every file below `dir`, by its path from there.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                todo.push(path);
            } else {
                out.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    out
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// What each golden repository is made by.
const BUILDS: [(&str, fn(&Path) -> Result<String>); 3] =
    [("v1", golden::build), ("v1-deltas", golden::deltas::build), ("v1-grains", golden::grains::build)];

/// Makes them anew if that was asked for; once, before anything reads it.
fn regenerate() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("BALLAST_REGENERATE").is_none() {
            return;
        }
        for (version, build) in BUILDS {
            let made = tempfile::tempdir().unwrap();
            let expected = build(made.path()).unwrap();
            let target = folder(version);
            if target.exists() {
                fs::remove_dir_all(&target).unwrap();
            }
            for (path, bytes) in files(made.path()) {
                put(&target.join("repo").join(path), &bytes);
            }
            put(&target.join("EXPECTED"), expected.as_bytes());
        }
    });
}

/// The golden repository, copied so that nothing can touch it, and what it should hold.
fn golden(version: &str) -> (tempfile::TempDir, String) {
    regenerate();
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(&folder(version).join("repo")) {
        put(&copy.path().join(path), &bytes);
    }
    (copy, fs::read_to_string(folder(version).join("EXPECTED")).unwrap())
}

fn open(dir: &Path, password: &[u8]) -> Repository {
    let store = Arc::new(LocalStore::new(dir).unwrap());
    Repository::open(store, password, &golden::open_options(), seeded::surroundings(1)).unwrap()
}

fn restored(repo: &Repository, id: SnapshotId, target: &Path) {
    fs::create_dir(target).unwrap();
    let options = RestoreOptions {
        overwrite: Overwrite::Never,
        threads: 2,
        ..RestoreOptions::new(id, target.to_owned())
    };
    let report = restore::run(repo, &options, &Silent).unwrap();
    assert_eq!(report.problem_count, 0, "{:?}", report.problems);
}

fn names(repo: &Repository, kind: ObjectKind) -> Vec<ObjectName> {
    let mut names = repo.store().list(kind).unwrap();
    names.sort();
    names.into_iter().map(|n| ObjectName::new(kind, n)).collect()
}

/// Trailer and footer of a pack, and what must hold between them and the bytes.
fn check_pack(bytes: &[u8], keyring: &Keyring, repo_id: &RepoId) -> Trailer {
    let prefix = Prefix::decode(bytes, ObjectKind::Pack).unwrap();
    let open = |sealed: &[u8], aad: Vec<u8>| {
        let (nonce, sealed) = sealed.split_at(NONCE_LEN);
        let key = keyring.key(Purpose::Trailer, prefix.epoch).unwrap();
        key.open(nonce.try_into().unwrap(), &aad, sealed).unwrap()
    };
    let footer = open(&bytes[bytes.len() - FOOTER_LEN..], footer_aad(repo_id, prefix.suite, prefix.epoch));
    let footer = Footer::decode(&footer, bytes.len() as u64).unwrap();
    let at = usize::try_from(footer.trailer_offset).unwrap();
    let end = at + usize::try_from(footer.trailer_len).unwrap();
    let trailer = open(&bytes[at..end], trailer_aad(repo_id, prefix.suite, prefix.epoch));
    let trailer = Trailer::decode(&trailer).unwrap();
    assert_eq!(end + FOOTER_LEN, bytes.len());
    assert_eq!(trailer.region_len, footer.trailer_offset);
    assert_eq!(trailer.region_hash, *blake3::hash(&bytes[..at]).as_bytes());
    assert_eq!(padme::padded_len(bytes.len() as u64), bytes.len() as u64);
    trailer
}

#[test]
fn version_1() {
    let (dir, expected) = golden("v1");
    let before = files(dir.path());
    for password in PASSWORDS {
        let repo = open(dir.path(), password);
        let found = golden::read(&repo).unwrap();
        for (expected, found) in expected.lines().zip(found.lines()) {
            assert_eq!(expected, found);
        }
        assert_eq!(expected.len(), found.len());
        assert!(repo.take_notices().is_empty());
    }
    assert_eq!(files(dir.path()), before, "reading changes nothing");
}

/// Every object, whether a snapshot needs it or not.
#[test]
fn every_object_of_version_1_is_whole() {
    let (dir, _) = golden("v1");
    let repo = open(dir.path(), PASSWORDS[0]);
    let reader = Reader::open(&repo).unwrap();
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, PASSWORDS[0]).unwrap().unwrap();
    let mut packs = BTreeMap::new();
    for kind in ObjectKind::ALL {
        for name in names(&repo, kind) {
            let bytes = repo.store().get(&name, 1 << 30).unwrap();
            if name.name.len() == 64 {
                assert_eq!(blake3::hash(&bytes).to_string(), name.name, "{name}");
            }
            match kind {
                ObjectKind::Key => {}
                ObjectKind::Pack => {
                    packs.insert(name.name, check_pack(&bytes, &keyring, &repo.config().repo_id));
                }
                _ => drop(repo.open_object(&name).unwrap()),
            }
        }
    }
    let mut listed = BTreeSet::new();
    let (mut kinds, mut encodings) = (BTreeSet::new(), BTreeSet::new());
    for name in names(&repo, ObjectKind::Index) {
        for pack in IndexObject::decode(&repo.open_object(&name).unwrap()).unwrap().packs {
            assert_eq!(pack.frames, packs[&pack.id.to_hex()].frames, "index and trailer agree");
            for blob in pack.frames.iter().flat_map(|f| &f.blobs) {
                let kind = BlobKind::from_byte(blob.kind).unwrap();
                assert_eq!(reader.blob(kind, blob.id).unwrap().len(), blob.len as usize);
                kinds.insert(kind);
            }
            encodings.extend(pack.frames.iter().map(|f| f.encoding));
            listed.insert(pack.id.to_hex());
        }
    }
    assert_eq!(listed, packs.into_keys().collect());
    assert_eq!(kinds, BlobKind::ALL.into(), "there is a blob of each kind");
    assert_eq!(encodings, [Encoding::Raw as u8, Encoding::Zstd as u8].into());

    let events: Vec<_> = repo.ledger(false).unwrap().entries().map(|e| e.event.clone()).collect();
    assert!(matches!(
        events.as_slice(),
        [Event::Commit(_), Event::Commit(_), Event::Commit(_), Event::Forget(_), Event::Unknown(255)]
    ));
    assert_eq!(repo.keys().unwrap().into_iter().filter_map(|k| k.label).count(), 2);
}

/// Without `config`, its copy in a key file serves.
#[test]
fn version_1_can_lose_its_config() {
    let (dir, expected) = golden("v1");
    fs::remove_file(dir.path().join("config")).unwrap();
    let repo = open(dir.path(), PASSWORDS[1]);
    assert_eq!(golden::read(&repo).unwrap(), expected);
    assert_eq!(repo.take_notices().len(), 1);
}

/// It reads as it is to, by either key, and is as it was afterwards.
fn assert_reads(dir: &Path, expected: &str, most_bytes: usize) {
    let before = files(dir);
    assert!(before.values().map(Vec::len).sum::<usize>() < most_bytes, "it is small");
    for password in PASSWORDS {
        let repo = open(dir, password);
        let found = golden::read(&repo).unwrap();
        for (expected, found) in expected.lines().zip(found.lines()) {
            assert_eq!(expected, found);
        }
        assert_eq!(expected.len(), found.len());
        assert!(repo.take_notices().is_empty());
    }
    assert_eq!(files(dir), before, "reading changes nothing");
}

#[test]
fn differences_of_version_1() {
    let (dir, expected) = golden("v1-deltas");
    assert_reads(dir.path(), &expected, 200_000);
    let repo = open(dir.path(), PASSWORDS[0]);
    let there = weeks::differences(&repo, PASSWORDS[0]);
    let mut wanted = BTreeSet::new();
    for height in 1..=3 {
        // Chunks by a prefix and as numbers against one base, lists, trees; from the second week on
        // numbers against two bases.
        wanted.extend([(0, 1, height), (0, 2, height), (1, 1, height), (2, 1, height)]);
        wanted.extend([(0, 3, height)].into_iter().filter(|_| height > 1));
    }
    assert!(wanted.is_subset(&there), "{there:?}");
    assert_eq!(weeks::kinds_of_numbers(&repo, PASSWORDS[0]), [0, 1, 2, 3, 4].into(), "of every kind");
    let encodings: BTreeSet<u8> =
        weeks::packs(&repo).values().flat_map(|pack| &pack.frames).map(|frame| frame.encoding).collect();
    assert_eq!(encodings, [0, 1, 2, 3].into());
}

/// Checked, restored, gone on with, and restored again.
#[test]
fn differences_of_version_1_are_gone_on_with() {
    let (dir, expected) = golden("v1-deltas");
    let repo = open(dir.path(), PASSWORDS[0]);
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check::run(&repo, &options, &Silent).unwrap();
    assert_eq!((&report.faults[..], &report.notes[..]), (&[][..], &[][..]));

    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let newest = *repo.ledger(true).unwrap().committed().last().unwrap();
    restored(&repo, newest, &place.join("first"));
    let source = place.join("first/srv/golden");
    let hash = |path: &Path| blake3::hash(&fs::read(path).unwrap()).to_string();
    let last = expected.rsplit("snapshot ").next().unwrap();
    let files_there = files(&source);
    for path in files_there.keys() {
        let line = format!(
            " {} /srv/golden/{}
",
            hash(&source.join(path)),
            path.display()
        );
        assert!(
            last.contains(&line.replace("a file with a name ", "a%20file%20with%20a%20name%20")),
            "{line}"
        );
    }
    assert_eq!(files_there.len(), 59);

    // One more week: every tenth byte of what was trained.
    for name in ["bf16.safetensors", "f32.safetensors", "text"] {
        let mut bytes = files_there[Path::new(name)].clone();
        bytes.iter_mut().skip(200).step_by(200).for_each(|byte| *byte ^= 1);
        put(&source.join(name), &bytes);
    }
    let before = weeks::packs(&repo);
    let report = snapshot::run(&repo, &support::of(&source), &Silent).unwrap();
    assert_eq!(report.problems, []);
    let new = weeks::packs(&repo);
    let new = new.iter().filter(|(name, _)| !before.contains_key(*name)).flat_map(|(_, pack)| &pack.frames);
    let delta = |f: &&FrameRecord| f.encoding == Encoding::Delta as u8 && f.blobs[0].kind == 0;
    let heights: Vec<u8> = new.filter(delta).map(|f| f.height).collect();
    assert!(heights.len() >= 2, "stored as the difference to what the golden snapshots hold: {heights:?}");
    let repo = open(dir.path(), PASSWORDS[1]);
    restored(&repo, report.snapshot.unwrap(), &place.join("second"));
    let again = place.join("second").join(source.strip_prefix("/").unwrap());
    assert_eq!(files(&again), files(&source));
    restored(&repo, newest, &place.join("third"));
    assert_eq!(files(&place.join("third/srv/golden")), files_there);
    let report = check::run(&repo, &options, &Silent).unwrap();
    assert_eq!(report.faults, []);
}

/// What occurs in the recipes of deltas by grains: numbers of `docs/format.md` taken apart once more.
#[derive(Debug, Default)]
struct Ways {
    heights: BTreeSet<u8>,
    hows: BTreeSet<u8>,
    steps: BTreeSet<u64>,
    /// Runs of grains of elsewhere in one frame.
    runs: BTreeSet<u64>,
    /// Is the recipe stored packed? Is a grain new? Is the last one short?
    packed: BTreeSet<bool>,
    has_new: BTreeSet<bool>,
    short: BTreeSet<bool>,
    seeks_back: bool,
}

impl Ways {
    fn of(repo: &Repository) -> Self {
        let mut all = Self::default();
        weeks::each_difference(repo, PASSWORDS[0], &mut |record, opened| {
            if record.codec_version == 2 {
                all.take_in(record, opened);
            }
        });
        all
    }

    fn take_in(&mut self, record: &FrameRecord, mut opened: &[u8]) {
        self.heights.insert(record.height);
        self.hows.extend(record.edges.iter().map(|edge| edge.how));
        self.short.insert(!record.plain_len.is_multiple_of(4096));
        let (len, packed) = (number(&mut opened), number(&mut opened));
        let (recipe, stream) = opened.split_at(if packed == 0 { len } else { packed } as usize);
        self.packed.insert(packed != 0);
        self.has_new.insert(!stream.is_empty());
        let recipe = match packed {
            0 => recipe.to_vec(),
            _ => {
                let mut out = vec![0; len as usize];
                ballast::codec::decode(1, 1, recipe, &[], &mut out).unwrap();
                out
            }
        };
        let mut rest = &recipe[..];
        let runs = number(&mut rest);
        self.runs.insert(runs);
        for _ in 0..2 * runs {
            number(&mut rest);
        }
        while !rest.is_empty() {
            let step = number(&mut rest);
            self.steps.insert(step & 3);
            self.seeks_back |= step & 7 == 7;
        }
    }
}

fn number(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

#[test]
fn grains_of_version_1() {
    let (dir, expected) = golden("v1-grains");
    assert_reads(dir.path(), &expected, 300_000);

    let repo = open(dir.path(), PASSWORDS[0]);
    let ways = Ways::of(&repo);
    assert!(ways.heights.is_superset(&(1..=5).collect()), "{ways:?}");
    assert_eq!(ways.steps, [0, 1, 2, 3].into(), "{ways:?}");
    assert!(ways.runs.len() > 2 && ways.runs.contains(&0) && ways.seeks_back, "{ways:?}");
    assert_eq!(ways.hows, [0, 1].into(), "{ways:?}");
    for both in [&ways.packed, &ways.has_new, &ways.short] {
        assert_eq!(both.len(), 2, "{ways:?}");
    }
    let mut lists = BTreeSet::new();
    weeks::each_difference(&repo, PASSWORDS[0], &mut |record, _| {
        lists.extend((record.blobs[0].kind == 1).then_some(record.height));
    });
    assert!(lists.is_superset(&[1, 2].into()), "differences of lists: {lists:?}");
}

/// Checked to the last byte, and each snapshot restored.
#[test]
fn grains_of_version_1_come_back() {
    let (dir, expected) = golden("v1-grains");
    let repo = open(dir.path(), PASSWORDS[1]);
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check::run(&repo, &options, &Silent).unwrap();
    assert_eq!((&report.faults[..], &report.notes[..]), (&[][..], &[][..]));
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let snapshots = repo.ledger(true).unwrap().committed();
    assert_eq!(snapshots.len(), golden::grains::DAYS);
    for (id, listed) in snapshots.iter().zip(expected.split("snapshot ").skip(1)) {
        assert!(listed.starts_with(&id.to_string()));
        let target = place.join(id.to_string());
        restored(&repo, *id, &target);
        let there = files(&target.join("srv/golden"));
        assert_eq!(there.len(), 2);
        for (path, bytes) in there {
            let line = format!(" {} {} /srv/golden/{}\n", bytes.len(), blake3::hash(&bytes), path.display());
            assert!(listed.contains(&line), "{line}");
        }
    }
}

#[test]
fn it_is_made_the_same_each_time() {
    for (_, build) in BUILDS {
        let made = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let texts = made.each_ref().map(|dir| build(dir.path()).unwrap());
        assert_eq!(texts[0], texts[1]);
        assert_eq!(files(made[0].path()), files(made[1].path()));
    }
}

#[test]
fn no_version_is_untested() {
    regenerate();
    let tested = BTreeSet::from(["v1", "v1-deltas", "v1-grains"].map(str::to_owned));
    let there: BTreeSet<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.strip_prefix('v').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit())))
        .collect();
    assert_eq!(there, tested);
}
