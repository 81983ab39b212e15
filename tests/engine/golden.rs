//! Repositories of every version of the format, frozen under `tests/golden/v<n>`, that every
//! later version must read whole.
//!
//! `BALLAST_REGENERATE=1 cargo test -p ballast-tests --test golden` makes `v1` anew. From the tag
//! `v1.0` on it is never made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use ballast::crypto::keys::{Keyring, Purpose};
use ballast::entropy::seeded;
use ballast::format::envelope::{NONCE_LEN, Prefix};
use ballast::format::frame::Encoding;
use ballast::format::index::IndexObject;
use ballast::format::ledger::Event;
use ballast::format::pack::{FOOTER_LEN, Footer, Trailer, footer_aad, trailer_aad};
use ballast::format::padme;
use ballast::id::{BlobKind, ObjectKind, ObjectName, RepoId};
use ballast::repo::reader::Reader;
use ballast::repo::{Repository, keys};
use ballast::store::local::LocalStore;
use support::golden::{self, PASSWORDS};

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

/// Makes `v1` anew if that was asked for; once, before anything reads it.
fn regenerate() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("BALLAST_REGENERATE").is_none() {
            return;
        }
        let made = tempfile::tempdir().unwrap();
        let expected = golden::build(made.path()).unwrap();
        let target = folder("v1");
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
        }
        for (path, bytes) in files(made.path()) {
            put(&target.join("repo").join(path), &bytes);
        }
        put(&target.join("EXPECTED"), expected.as_bytes());
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

#[test]
fn it_is_made_the_same_each_time() {
    let made = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let texts = made.each_ref().map(|dir| golden::build(dir.path()).unwrap());
    assert_eq!(texts[0], texts[1]);
    assert_eq!(files(made[0].path()), files(made[1].path()));
}

#[test]
fn no_version_is_untested() {
    regenerate();
    let tested = BTreeSet::from(["v1".to_owned()]);
    let there: BTreeSet<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.strip_prefix('v').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())))
        .collect();
    assert_eq!(there, tested);
}
