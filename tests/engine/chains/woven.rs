//! Deltas by grains that nobody here writes: made by hand, as a hostile or a strange repository may have them.
//! Each is read, or is an error that other copies and files survive; none stops a run or goes on for ever.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ballast::codec::grains::{self, Draft, GRAIN_BYTES, NEW};
use ballast::crypto::keys::Purpose;
use ballast::error::{Error, Result};
use ballast::format::content::Entry;
use ballast::format::envelope::{NONCE_LEN, SUITE_XCHACHA_BLAKE3};
use ballast::format::frame::{self, Edge, FrameBlob, FrameRecord};
use ballast::format::index::IndexObject;
use ballast::id::{BlobId, BlobKind, BlobRef, ObjectKind, ObjectName};
use ballast::progress::Silent;
use ballast::repo::frames::SealedFrame;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::{Repository, keys};
use ballast::store::local::LocalStore;
use ballast::store::{PutMode, Store};
use support::{PASSWORD, Place, bytes};

use super::edges;

/// A frame with these blobs, by grains: `draft` of its plaintext, the new grains after `prefix`.
fn woven(
    repo: &Repository,
    blobs: &[(BlobKind, &[u8])],
    edges: &[Edge],
    draft: &Draft,
    prefix: &[u8],
    height: u8,
) -> SealedFrame {
    let plain: Vec<u8> = blobs.iter().flat_map(|(_, bytes)| *bytes).copied().collect();
    let new = plain.chunks(GRAIN_BYTES).zip(&draft.grains).filter(|(_, from)| **from == NEW);
    let new: Vec<u8> = new.flat_map(|(grain, _)| grain).copied().collect();
    let mut encoded = Vec::new();
    assert!(grains::encode(draft, &new, prefix, 3, &mut encoded));
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, PASSWORD).unwrap().unwrap();
    let (epoch, len) = (keyring.current_epoch(), u32::try_from(plain.len()).unwrap());
    let aad = frame::aad(&repo.config().repo_id, SUITE_XCHACHA_BLAKE3, epoch, 3, 2, len, edges);
    let nonce: [u8; NONCE_LEN] = blake3::hash(&encoded).as_bytes()[..NONCE_LEN].try_into().unwrap();
    let sealed = [&nonce[..], &keyring.current(Purpose::Frame).seal(&nonce, &aad, &encoded)].concat();
    let blob = |(kind, bytes): &(BlobKind, &[u8])| FrameBlob {
        kind: *kind as u8,
        len: u32::try_from(bytes.len()).unwrap(),
        id: repo.blob_id(*kind, bytes),
    };
    let record = FrameRecord {
        offset: 0,
        stored_len: u32::try_from(sealed.len()).unwrap(),
        plain_len: len,
        encoding: 3,
        codec_version: 2,
        height,
        flags: 0,
        edges: edges.to_vec(),
        blobs: blobs.iter().map(blob).collect(),
    };
    SealedFrame { record, bytes: sealed }
}

fn chunk(repo: &Repository, bytes: &[u8]) -> (Edge, Entry) {
    let id = repo.blob_id(BlobKind::Chunk, bytes);
    let entry = Entry::Chunk { id, len: u32::try_from(bytes.len()).unwrap() };
    (Edge { how: 0, kind: BlobKind::Chunk as u8, id }, entry)
}

fn all_new(count: usize) -> Draft {
    Draft { grains: vec![NEW; count], near: vec![NEW; count], far: Vec::new() }
}

fn copies(of: &[u32]) -> Draft {
    Draft { grains: of.to_vec(), near: vec![NEW; of.len()], far: Vec::new() }
}

/// A repository in which these chunks stand alone.
fn with_chunks(all: &[&[u8]]) -> (Place, Repository) {
    let place = Place::default();
    let mut session = Session::begin(&place.open_bare(), "snapshot", false, &Silent).unwrap();
    for bytes in all {
        session.store(BlobKind::Chunk, bytes).unwrap();
    }
    session.flush().unwrap();
    drop(session);
    let repo = place.open_bare();
    (place, repo)
}

/// What `work` gives on a thread with as much of a stack as a worker has, if it ends.
fn in_time<T: Send + 'static>(place: &Place, work: impl FnOnce(&Repository) -> T + Send + 'static) -> T {
    let (store, (done, wait)) = (place.store.clone(), mpsc::channel());
    let run = move || {
        let repo = support::open_at(store, &Default::default()).unwrap();
        drop(done.send(work(&repo)));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    wait.recv_timeout(Duration::from_secs(60)).expect("it goes on for ever")
}

fn read(repo: &Repository, blob: BlobRef) -> Result<Vec<u8>> {
    Reader::open(repo)?.blob(blob.kind, blob.id).map(|bytes| bytes.to_vec())
}

fn read_chunk(place: &Place, repo: &Repository, bytes: &[u8]) -> Result<Vec<u8>> {
    let blob = BlobRef::new(BlobKind::Chunk, repo.blob_id(BlobKind::Chunk, bytes));
    in_time(place, move |repo| read(repo, blob))
}

/// To plan a frame on what a list describes the list is read, which may need a plan itself.
#[test]
fn a_list_that_is_stored_by_grains_is_a_base() {
    let (a, b) = (bytes(1, 2 * GRAIN_BYTES), bytes(2, GRAIN_BYTES));
    let (place, repo) = with_chunks(&[&a, &b]);
    let (edge, entry) = chunk(&repo, &a);
    let list = edges::list(vec![entry, chunk(&repo, &b).1]);
    let described = edges::edge(1, repo.blob_id(BlobKind::List, &list));
    let plain = [&b[..], &a].concat();
    edges::put(
        &place,
        &[
            woven(&repo, &[(BlobKind::List, &list)], &[edge], &all_new(1), &[], 1),
            woven(&repo, &[(BlobKind::Chunk, &plain)], &[described], &copies(&[2, 0, 1]), &[], 2),
        ],
    );
    assert!(read_chunk(&place, &repo, &plain).unwrap() == plain);
}

/// One thread decodes a difference that stands on a unit; another, decoding units, needs that difference.
#[test]
fn two_threads_do_not_wait_for_each_other() {
    let base = bytes(1, GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&base]);
    let step = |n: u8| {
        let mut bytes = base.clone();
        bytes[..usize::from(n)].fill(n);
        bytes
    };
    let [unit, low, high, top] = [1, 2, 3, 4].map(step);
    let on = |bytes: &[u8]| chunk(&repo, bytes).0;
    edges::put(
        &place,
        &[
            woven(&repo, &[(BlobKind::Chunk, &unit)], &[on(&base)], &all_new(1), &[], 1),
            edges::frame(&repo, BlobKind::Chunk, &low, on(&unit), &unit, 2),
            edges::frame(&repo, BlobKind::Chunk, &high, on(&low), &low, 3),
            woven(&repo, &[(BlobKind::Chunk, &top)], &[on(&high)], &all_new(1), &[], 4),
        ],
    );
    let ids = [&low, &top].map(|bytes| repo.blob_id(BlobKind::Chunk, bytes));
    in_time(&place, move |repo| {
        for turn in 0..400 {
            let reader = Reader::open(repo).unwrap();
            let start = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                let one = scope.spawn(|| {
                    start.wait();
                    (0..turn * 30).for_each(|_| std::hint::spin_loop());
                    drop(reader.base_bytes(&BlobRef::new(BlobKind::Chunk, ids[0])).unwrap());
                });
                start.wait();
                drop(reader.blob(BlobKind::Chunk, ids[1]).unwrap());
                one.join().unwrap();
            });
        }
    });
}

/// The least copy of a base stands on what is gone; a higher one does not.
#[test]
fn a_higher_copy_serves_where_the_least_has_lost_its_base() {
    let (base, gone) = (bytes(1, GRAIN_BYTES), bytes(2, GRAIN_BYTES));
    let (place, repo) = with_chunks(&[&base]);
    let (middle, top) = (bytes(3, 2 * GRAIN_BYTES), bytes(4, GRAIN_BYTES));
    let on = |bytes: &[u8]| chunk(&repo, bytes).0;
    let top = [&middle[GRAIN_BYTES..], &top].concat();
    let draft = Draft { grains: vec![1, NEW], ..all_new(2) };
    edges::put(
        &place,
        &[
            woven(&repo, &[(BlobKind::Chunk, &middle)], &[on(&gone)], &all_new(2), &[], 1),
            woven(&repo, &[(BlobKind::Chunk, &middle)], &[on(&base)], &all_new(2), &[], 2),
            woven(&repo, &[(BlobKind::Chunk, &top)], &[on(&middle)], &draft, &[], 3),
        ],
    );
    assert!(read_chunk(&place, &repo, &middle).unwrap() == middle);
    assert!(read_chunk(&place, &repo, &top).unwrap() == top);
}

/// Each blob begins with a grain; one that does not is damage, and no reason to stop.
#[test]
fn a_blob_within_a_grain_is_damage() {
    let base = bytes(1, GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&base]);
    let (short, long) = (bytes(2, 100), bytes(3, GRAIN_BYTES));
    let blobs = [(BlobKind::Chunk, &short[..]), (BlobKind::Chunk, &long[..])];
    edges::put(&place, &[woven(&repo, &blobs, &[chunk(&repo, &base).0], &all_new(2), &[], 1)]);
    assert!(read_chunk(&place, &repo, &short).unwrap() == short);
    let error = read_chunk(&place, &repo, &long).unwrap_err();
    assert!(matches!(&error, Error::Missing { reason, .. } if reason.contains("is damaged")), "{error:?}");
}

/// One frame, said to hold one blob, and said to hold its halves: both are right.
#[test]
fn a_place_that_is_described_twice_serves_both() {
    let whole = bytes(1, 4 * GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&whole]);
    let (half, rest) = whole.split_at(GRAIN_BYTES);
    for name in repo.store().list(ObjectKind::Index).unwrap() {
        let name = ObjectName::new(ObjectKind::Index, name);
        let mut object = IndexObject::decode(&repo.open_object(&name).unwrap()).unwrap();
        for frames in object.packs.iter_mut().map(|pack| &mut pack.frames) {
            let mut again = frames[0].clone();
            assert_eq!((frames.len(), again.blobs.len()), (1, 1));
            let blob = |part: &[u8]| FrameBlob {
                len: u32::try_from(part.len()).unwrap(),
                id: repo.blob_id(BlobKind::Chunk, part),
                ..again.blobs[0]
            };
            again.blobs = [half, rest].map(blob).into();
            frames.push(again);
        }
        repo.store().remove(&name).unwrap();
        edges::put_index(&repo, &object);
    }
    let on = |bytes: &[u8]| chunk(&repo, bytes).0;
    let one = [half, half].concat();
    let two = [&whole[2 * GRAIN_BYTES..], half].concat();
    edges::put_beside(
        &place,
        &[
            woven(&repo, &[(BlobKind::Chunk, &one)], &[on(half)], &copies(&[0, 0]), &[], 1),
            woven(&repo, &[(BlobKind::Chunk, &two)], &[on(&whole)], &copies(&[2, 3, 0]), &[], 1),
        ],
    );
    let ids = [&one, &two].map(|bytes| repo.blob_id(BlobKind::Chunk, bytes));
    let read = in_time(&place, move |repo| {
        let reader = Reader::open(repo).unwrap();
        ids.map(|id| reader.blob(BlobKind::Chunk, id).map(|bytes| bytes.to_vec()))
    });
    assert!(read[0].as_ref().unwrap() == &one);
    assert!(read[1].as_ref().unwrap() == &two);
}

/// Lists of lists of lists: of nothing, and of ever the same chunk.
#[test]
fn lists_that_multiply_are_refused() {
    let base = bytes(1, GRAIN_BYTES);
    for (bottom, len) in [(Vec::new(), 0), (Vec::new(), 1), (vec![(); 1000], GRAIN_BYTES as u64)] {
        let (place, repo) = with_chunks(&[&base]);
        let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
        let (edge, entry) = chunk(&repo, &base);
        let mut list = edges::list(bottom.iter().map(|()| entry.clone()).collect());
        let mut described = bottom.len() as u64 * len.max(1);
        for _ in 0..3 {
            let id = session.store(BlobKind::List, &list).unwrap().id;
            let len = if described == 0 { len } else { described };
            list = edges::list(vec![Entry::List { id, len }; 1000]);
            described *= 1000;
        }
        let id: BlobId = session.store(BlobKind::List, &list).unwrap().id;
        session.flush().unwrap();
        drop(session);
        let plain = bytes(2, GRAIN_BYTES);
        let frame =
            woven(&repo, &[(BlobKind::Chunk, &plain)], &[edge, edges::edge(1, id)], &all_new(1), &[], 1);
        edges::put(&place, &[frame]);
        let error = read_chunk(&place, &repo, &plain).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
        let blob = BlobRef::new(BlobKind::Chunk, repo.blob_id(BlobKind::Chunk, &plain));
        // Nobody who writes or checks counts that far either.
        in_time(&place, move |repo| {
            let session = Session::begin(repo, "snapshot", false, &Silent).unwrap();
            session.height_of(&blob).unwrap();
        });
        in_time(&place, |repo| {
            let options = ballast::op::check::CheckOptions::default();
            drop(ballast::op::check::run(repo, &options, &Silent).unwrap());
        });
    }
}

/// As many edges as may be, each of which leads to as much as may be.
#[test]
fn a_frame_has_so_many_bases() {
    let base = bytes(1, GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&base]);
    let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let list = edges::list(vec![chunk(&repo, &base).1; 5000]);
    let id = session.store(BlobKind::List, &list).unwrap().id;
    session.flush().unwrap();
    drop(session);
    let plain = [&base[..], &base].concat();
    for (count, is_good) in [(200, true), (255, false)] {
        let listed = vec![edges::edge(1, id); count];
        let place_of = copies(&[0, 5000 * 199]);
        let plain = [&plain[..], &bytes(count as u64, GRAIN_BYTES)].concat();
        let draft = Draft { grains: [&place_of.grains[..], &[NEW]].concat(), ..all_new(3) };
        edges::put(&place, &[woven(&repo, &[(BlobKind::Chunk, &plain)], &listed, &draft, &[], 1)]);
        assert_eq!(read_chunk(&place, &repo, &plain).is_ok(), is_good, "{count} edges");
    }
}

/// Differences of both kinds in turns, as high as frames get.
#[test]
fn the_highest_chain_of_both_kinds_is_read() {
    let base = bytes(1, GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&base]);
    let step = |n: u8| {
        let mut bytes = base.clone();
        bytes[usize::from(n)] = bytes[usize::from(n)].wrapping_add(n);
        bytes
    };
    let mut frames = Vec::new();
    for height in 1..=255u8 {
        let (old, plain) = (step(height - 1), step(height));
        let on = chunk(&repo, &old).0;
        frames.push(match height % 2 {
            1 => edges::frame(&repo, BlobKind::Chunk, &plain, on, &old, height),
            _ => {
                let draft = Draft { near: vec![0], ..all_new(1) };
                let old = old.clone();
                woven(&repo, &[(BlobKind::Chunk, &plain)], &[on], &draft, &old, height)
            }
        });
    }
    edges::put(&place, &frames);
    for top in [255, 254] {
        assert!(read_chunk(&place, &repo, &step(top)).unwrap() == step(top));
    }
}

/// No room for what is decoded is no damage: a check that said so would have packs stored again.
#[test]
fn no_room_to_decode_is_no_damage() {
    let base = bytes(1, GRAIN_BYTES);
    let (place, repo) = with_chunks(&[&base]);
    let on = chunk(&repo, &base).0;
    let frames = [1, 2, 3, 4].map(|n| {
        let plain = vec![n; 16 << 20];
        woven(&repo, &[(BlobKind::Chunk, &plain)], &[on], &all_new(4096), &[], 1)
    });
    edges::put(&place, &frames);
    let dir = tempfile::tempdir().unwrap();
    let local = LocalStore::new(dir.path()).unwrap();
    local.prepare().unwrap();
    for kind in ObjectKind::ALL {
        for name in repo.store().list(kind).unwrap() {
            let name = ObjectName::new(kind, name);
            local.put(&name, &repo.store().get(&name, 1 << 30).unwrap(), PutMode::New).unwrap();
        }
    }
    let check = |temp: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg("check").arg(dir.path()).env("TMPDIR", temp).output().unwrap()
    };
    let failed = check(Path::new("/nowhere/to/be/found"));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(failed.status.code() == Some(1) && said.contains("/nowhere/to/be/found"), "{said}");
    let store = Arc::new(LocalStore::new(dir.path()).unwrap());
    let ledger = support::open_at(store, &Default::default()).unwrap().ledger(false).unwrap();
    for name in local.list(ObjectKind::Pack).unwrap() {
        assert!(!ledger.is_bad(&name.parse().unwrap()), "nothing is held against a pack");
    }
    let done = check(&std::env::temp_dir());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
