//! Edges that name what a list describes (how = 1): decoded, and always downwards. Those of version 1 of
//! delta no writer makes, so their frames are made by hand.

use ballast::codec::{self, Hint};
use ballast::crypto::keys::Purpose;
use ballast::format::bytes::Put;
use ballast::format::content::{Entry, ListV1};
use ballast::format::delta::{self, Source};
use ballast::format::envelope::{self, NONCE_LEN, Prefix, SUITE_XCHACHA_BLAKE3};
use ballast::format::frame::{self, Edge, FrameBlob, FrameRecord};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::format::pack::PackKind;
use ballast::format::wire;
use ballast::id::{BlobId, BlobKind, ObjectKind, ObjectName, SessionId};
use ballast::op::repair::index::{self, IndexOptions};
use ballast::progress::Silent;
use ballast::repo::frames::SealedFrame;
use ballast::repo::packfile::OpenPack;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::{Repository, keys};
use ballast::store::PutMode;
use support::{PASSWORD, Place, bytes};

/// A frame with `plain` as its one blob, stored as the difference to `base`, which `edge` is said to name.
pub fn frame(
    repo: &Repository,
    kind: BlobKind,
    plain: &[u8],
    edge: Edge,
    base: &[u8],
    height: u8,
) -> SealedFrame {
    // Another place in memory: zstd takes no notice of a prefix that overlaps what comes after it.
    let (base, mut encoded) = (base.to_vec(), Vec::new());
    let (how, _) = codec::encode_delta(plain, &[&base], Hint::NONE, &mut encoded).unwrap();
    let mut put = Put::default();
    delta::encode(&[Source { edges: 1, offset: 0, len: u32::try_from(base.len()).unwrap() }], &mut put);
    put.bytes(&encoded);
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, PASSWORD).unwrap().unwrap();
    let (epoch, len) = (keyring.current_epoch(), u32::try_from(plain.len()).unwrap());
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        epoch,
        how.encoding as u8,
        how.codec_version,
        len,
        &[edge],
    );
    let nonce = [height; NONCE_LEN];
    let bytes = [&nonce[..], &keyring.current(Purpose::Frame).seal(&nonce, &aad, &put.0)].concat();
    let record = FrameRecord {
        offset: 0,
        stored_len: u32::try_from(bytes.len()).unwrap(),
        plain_len: len,
        encoding: how.encoding as u8,
        codec_version: how.codec_version,
        height,
        flags: 0,
        edges: vec![edge],
        blobs: vec![FrameBlob { kind: kind as u8, len, id: repo.blob_id(kind, plain) }],
    };
    SealedFrame { record, bytes }
}

/// Puts the frames into a pack, and has everything listed anew.
pub fn put(place: &Place, frames: &[SealedFrame]) -> ObjectName {
    let (name, _) = put_pack(place, frames);
    index::run(&place.open_bare(), &IndexOptions { all: true, dry_run: false }, &Silent).unwrap();
    name
}

/// Puts the frames into a pack, and lists it beside what is listed.
pub fn put_beside(place: &Place, frames: &[SealedFrame]) {
    let (_, pack) = put_pack(place, frames);
    let (session, packs) = (SessionId([3; 16]), vec![pack]);
    put_index(
        &place.open_bare(),
        &IndexObject { session, replaces: Vec::new(), packs, extensions: Vec::new() },
    );
}

/// Seals an index object and puts it beside the others.
pub fn put_index(repo: &Repository, object: &IndexObject) {
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, PASSWORD).unwrap().unwrap();
    let plain = object.encode();
    let nonce: [u8; NONCE_LEN] = blake3::hash(&plain).as_bytes()[..NONCE_LEN].try_into().unwrap();
    let header = envelope::header(&Prefix::new(ObjectKind::Index, keyring.current_epoch()), &nonce);
    let aad = envelope::aad(&repo.config().repo_id, &header);
    let bytes = [&header[..], &keyring.current(Purpose::Index).seal(&nonce, &aad, &plain)].concat();
    let name = ObjectName::new(ObjectKind::Index, blake3::hash(&bytes).to_string());
    repo.store().put(&name, &bytes, PutMode::New).unwrap();
}

fn put_pack(place: &Place, frames: &[SealedFrame]) -> (ObjectName, IndexedPack) {
    let repo = place.open_bare();
    let key = repo.key_file(repo.key_id()).unwrap();
    let (keyring, _) = keys::try_open(&key, PASSWORD).unwrap().unwrap();
    let mut pack = OpenPack::new(PackKind::Data, keyring.current_epoch(), Vec::new());
    frames.iter().for_each(|frame| pack.push(frame).unwrap());
    let closed = pack.close(&repo, SessionId([3; 16])).unwrap();
    let name = ObjectName::from(closed.indexed.id);
    repo.store().put(&name, &closed.bytes, PutMode::New).unwrap();
    (name, closed.indexed)
}

pub fn edge(how: u8, id: BlobId) -> Edge {
    Edge { how, kind: BlobKind::List as u8, id }
}

pub fn list(entries: Vec<Entry>) -> Vec<u8> {
    wire::encode(&ListV1 { entries, extensions: Vec::new() })
}

#[test]
fn what_a_list_describes_can_be_a_base() {
    let place = Place::default();
    let repo = place.open_bare();
    let parts = [bytes(1, 5000), vec![0; 300], b"in the list".to_vec(), bytes(2, 4000)];
    let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let chunk = |part: &Vec<u8>| Entry::Chunk {
        id: session.store(BlobKind::Chunk, part).unwrap().id,
        len: u32::try_from(part.len()).unwrap(),
    };
    let inner =
        list(vec![Entry::Hole { len: 300 }, Entry::Inline { bytes: parts[2][..].into() }, chunk(&parts[3])]);
    let inner = session.store(BlobKind::List, &inner).unwrap().id;
    let outer = list(vec![chunk(&parts[0]), Entry::List { id: inner, len: 4311 }]);
    let outer = session.store(BlobKind::List, &outer).unwrap().id;
    session.flush().unwrap();
    drop(session);
    let base = parts.concat();
    let mut plain = base.clone();
    plain[4999] ^= 1;
    put(&place, &[frame(&repo, BlobKind::Chunk, &plain, edge(1, outer), &base, 1)]);
    let reader = Reader::open(&place.open_bare()).unwrap();
    let id = repo.blob_id(BlobKind::Chunk, &plain);
    assert_eq!(&*reader.blob(BlobKind::Chunk, id).unwrap(), plain);
}

/// A list that is the difference to what it describes itself, and two that are so to one another.
#[test]
fn no_edge_leads_back() {
    let place = Place::default();
    let repo = place.open_bare();
    let lists = [1, 2, 3].map(|seed| {
        let ids = bytes(seed, 40 * 32);
        list(ids.as_chunks().0.iter().map(|id| Entry::Chunk { id: BlobId(*id), len: 9 }).collect())
    });
    let ids = lists.each_ref().map(|list| repo.blob_id(BlobKind::List, list));
    put(
        &place,
        &[
            frame(&repo, BlobKind::List, &lists[0], edge(1, ids[1]), &lists[0], 1),
            frame(&repo, BlobKind::List, &lists[1], edge(1, ids[0]), &lists[1], 1),
            frame(&repo, BlobKind::List, &lists[2], edge(1, ids[2]), &lists[2], 200),
        ],
    );
    for id in ids {
        let store = place.store.clone();
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let repo = support::open_at(store, &Default::default()).unwrap();
            let error = Reader::open(&repo).unwrap().blob(BlobKind::List, id).unwrap_err();
            done.send(error.to_string()).unwrap();
        });
        let error = wait.recv_timeout(std::time::Duration::from_secs(60)).expect("it goes round for ever");
        assert!(error.contains("cannot be its own base"), "{error}");
    }
}
