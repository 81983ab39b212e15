//! Files of a snapshot, open: against what they were made of, and against a model; how much of the store is read; damage.

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use ballast::chunk::{CutParams, ReadAt};
use ballast::format::content::Entry;
use ballast::format::tree::Node;
use ballast::id::{BlobKind, BlobRef, ObjectKind, SnapshotId};
use ballast::op::{open, restore};
use ballast::progress::Silent;
use ballast::repo::file::SnapshotFile;
use ballast::repo::lookup::{self, LastLink};
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, Repository};
use ballast::store::call::Method;
use ballast::store::record::RecordStore;
use proptest::prelude::*;
use support::{Place, bytes, tiny};

use crate::scene::Scene;

/// The same repository through a store that writes down what is read.
pub fn recorded(place: &Place) -> (Repository, Arc<RecordStore>) {
    let store = Arc::new(RecordStore::new(place.store.clone()));
    (place.open_through(store.clone()), store)
}

pub fn node_of(reader: &Reader, repo: &Repository, id: SnapshotId, path: &[u8]) -> Node {
    let root = repo.snapshot(id).unwrap().record.root;
    lookup::resolve(reader, root, path, LastLink::Follow).unwrap().node.unwrap()
}

/// Data, a hole, data, and a tail that is no whole number of anything.
fn holed() -> Vec<u8> {
    let mut content = bytes(1, 300_000);
    content.resize(content.len() + (1 << 20), 0);
    content.extend(bytes(2, 200_001));
    content
}

fn put_holed(scene: &Scene, name: &str) -> Vec<u8> {
    let content = holed();
    scene.put(name, b"");
    let file = std::fs::File::options().write(true).open(scene.top.join(name)).unwrap();
    file.write_all_at(&content[..300_000], 0).unwrap();
    file.write_all_at(&content[300_000 + (1 << 20)..], 300_000 + (1 << 20)).unwrap();
    content
}

#[test]
fn a_whole_file_its_parts_and_what_is_none() {
    let scene = Scene::new();
    let large = put_holed(&scene, "large");
    scene.put("small", b"hello");
    scene.put("empty", b"");
    let id = scene.take(1);
    let repo = scene.repo();
    for (name, content) in [("large", &large[..]), ("small", b"hello"), ("empty", b"")] {
        let mut file = open::file(&repo, id, &scene.path(name)).unwrap();
        assert_eq!((file.len(), file.is_empty()), (content.len() as u64, content.is_empty()));
        let mut all = Vec::new();
        assert_eq!(file.read_to_end(&mut all).unwrap(), content.len());
        assert!(all == content, "{name}");
        assert_eq!(file.read(&mut [0; 10]).unwrap(), 0, "its end");
        file.rewind().unwrap();
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        assert!(file.to_vec().unwrap() == content);
        assert_eq!(file.read_at(content.len() as u64 + 7, &mut [0; 4]).unwrap(), 0);
    }
    let file = open::file(&repo, id, &scene.path("large")).unwrap();
    let mut part = file.part(250_000, 1_200_000).unwrap();
    let expected = &large[250_000..1_450_000];
    let mut all = Vec::new();
    part.read_to_end(&mut all).unwrap();
    assert!(all == expected && part.to_vec().unwrap() == expected);
    assert_eq!(part.seek(SeekFrom::End(-3)).unwrap(), 1_199_997);
    let mut rest = Vec::new();
    part.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, &expected[expected.len() - 3..], "nothing beyond the part");
    assert_eq!(part.read_at(1_199_998, &mut [0; 10]).unwrap(), 2, "nor by offset");
    assert!(part.seek(SeekFrom::Current(-1_200_001)).is_err());
    let within = part.part(100, 50).unwrap();
    assert_eq!(within.to_vec().unwrap(), &expected[100..150]);
    assert!(part.part(1_199_999, 2).is_err() && file.part(u64::MAX, 2).is_err());
    let end = large.len() as u64;
    assert!(file.part(end - 1, 2).is_err() && file.part(end, 0).unwrap().is_empty());
    let refused = |name: &str| open::file(&repo, id, &scene.path(name)).map(drop).unwrap_err().to_string();
    assert!(refused("").ends_with("is a directory") && refused("none").contains("not found"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is read wherever, it is what stands there: by position, by offset, by clones, in parts.
    #[test]
    fn any_reads_give_what_a_vector_gives(
        steps in prop::collection::vec((0u8..6, any::<prop::sample::Index>(), 1usize..150_000), 1..60),
    ) {
        thread_local! {
            static STAGE: (Scene, Vec<u8>, SnapshotFile) = {
                let scene = Scene::new();
                let content = put_holed(&scene, "f");
                let file = open::file(&scene.repo(), scene.take(1), &scene.path("f")).unwrap();
                (scene, content, file)
            };
        }
        STAGE.with(|(_, content, file)| {
            let mut file = file.clone();
            let mut position = 0usize;
            for (kind, place, len) in &steps {
                let at = place.index(content.len() + 1000);
                let expected = |from: usize| &content[from.min(content.len())..(from + len).min(content.len())];
                let mut buf = vec![7; *len];
                match kind {
                    0 => {
                        position = at;
                        prop_assert_eq!(file.seek(SeekFrom::Start(at as u64)).unwrap(), at as u64);
                    }
                    1 => {
                        let got = file.read_at(at as u64, &mut buf).unwrap();
                        prop_assert!(&buf[..got] == expected(at), "{} bytes at {}", len, at);
                    }
                    2 => {
                        let len = expected(at).len() as u64;
                        let from = at.min(content.len());
                        prop_assert!(file.part(from as u64, len).unwrap().to_vec().unwrap() == expected(at));
                    }
                    3 => {
                        // Eight bytes, as a parser does.
                        let got = file.read(&mut buf[..1]).unwrap();
                        prop_assert_eq!(&buf[..got], &expected(position)[..got]);
                        prop_assert_eq!(got, expected(position).len().min(1));
                        position += got;
                    }
                    _ => {
                        let mut got = 0;
                        while got < *len {
                            match file.read(&mut buf[got..]).unwrap() {
                                0 => break,
                                n => got += n,
                            }
                        }
                        prop_assert!(&buf[..got] == expected(position), "{} bytes at {}", len, position);
                        position += got;
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn many_threads_read_one_file() {
    let scene = Scene::new();
    let content = put_holed(&scene, "f");
    let file = open::file(&scene.repo(), scene.take(1), &scene.path("f")).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4usize {
            let (file, content) = (&file, &content);
            scope.spawn(move || {
                for step in 0..40usize {
                    let (at, mut buf) = ((n * 7919 + step * 41_231) % content.len(), vec![0; 9000]);
                    let got = file.read_at(at as u64, &mut buf).unwrap();
                    assert!(buf[..got] == content[at..(at + 9000).min(content.len())]);
                }
                let mut all = Vec::new();
                file.clone().read_to_end(&mut all).unwrap();
                assert!(all == *content);
            });
        }
    });
}

/// What frames hold these chunks takes in packs.
pub fn stored(reader: &Reader, chunks: impl IntoIterator<Item = ballast::id::BlobId>) -> u64 {
    let places = reader.places();
    let mut frames = std::collections::BTreeMap::new();
    for id in chunks {
        let place = places.places(&BlobRef::new(BlobKind::Chunk, id)).unwrap().remove(0);
        frames.insert((place.pack, place.offset), u64::from(place.stored_len));
    }
    frames.values().sum()
}

fn chunks(node: &Node, reader: &Reader) -> Vec<(u64, u64, ballast::id::BlobId)> {
    let (pieces, _) = reader.pieces(&node.content).unwrap();
    let chunk = |p: ballast::repo::trees::Piece| match p.entry {
        Entry::Chunk { id, len } => Some((p.offset, p.offset + u64::from(len), id)),
        _ => None,
    };
    pieces.into_iter().filter_map(chunk).collect()
}

#[test]
fn here_and_there_only_the_chunks_that_are_touched_are_read_and_each_once() {
    let scene = Scene::new();
    // Chunks of 64 KiB and more have frames of their own; these are 16 KiB at most.
    let content = bytes(3, 3 << 20);
    scene.put("f", &content);
    let id = scene.take(1);
    let (repo, store) = recorded(&scene.place);
    let reader = Arc::new(Reader::open(&repo).unwrap());
    let node = node_of(&reader, &repo, id, &scene.path("f"));
    let mut file = SnapshotFile::open(&reader, b"/f", &node).unwrap();
    let read = || store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    let all = chunks(&node, &reader);
    store.take();
    // Eight bytes at a time, all through some chunks: each frame once, and not much ahead of what was asked for.
    let end = all[20].1;
    let mut small = [0; 8];
    while file.stream_position().unwrap() < end {
        file.read_exact(&mut small).unwrap();
    }
    let touched = stored(&reader, all[..=20].iter().map(|c| c.2));
    // Until nothing is on its way any more.
    let (mut before, mut still) = (read(), 0);
    while still < 5 {
        std::thread::sleep(Duration::from_millis(20));
        still = if read() == before { still + 1 } else { 0 };
        before = read();
    }
    assert!(read() >= touched && read() <= 4 * touched, "{} for {touched}", read());
    // One place far away, ten times.
    store.take();
    let (offset, _, chunk) = all[all.len() - 5];
    for _ in 0..10 {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut small).unwrap();
        assert_eq!(small, content[offset as usize..][..8]);
    }
    assert!(read() <= stored(&reader, [chunk]) + (1 << 20), "what was on its way, and one chunk: {}", read());
    let before = read();
    file.read_at(offset + 100, &mut small).unwrap();
    assert!(read() - before <= stored(&reader, [chunk]));
}

/// A file of stretches of data with holes between is fetched ahead like any other.
#[test]
fn holes_between_do_not_stop_what_is_fetched_ahead() {
    const STRETCH: usize = 64 << 10;
    let cut = CutParams { min: 64 << 10, avg: 128 << 10, max: 512 << 10, ..CutParams::default() };
    let scene = Scene::at(Place::new(&InitOptions { cut, ..tiny() }));
    scene.put("f", b"");
    let file = std::fs::File::options().write(true).open(scene.top.join("f")).unwrap();
    let mut content = vec![0; 40 * 2 * STRETCH];
    for n in 0..40 {
        let data = bytes(100 + n as u64, STRETCH);
        file.write_all_at(&data, (n * 2 * STRETCH) as u64).unwrap();
        content[n * 2 * STRETCH..][..STRETCH].copy_from_slice(&data);
    }
    file.set_len(content.len() as u64).unwrap();
    drop(file);
    let id = scene.take(1);
    let (repo, store) = recorded(&scene.place);
    let reader = Arc::new(Reader::open(&repo).unwrap());
    let node = node_of(&reader, &repo, id, &scene.path("f"));
    let all = chunks(&node, &reader);
    let apart = all.windows(2).filter(|pair| pair[0].1 < pair[1].0).count();
    assert_eq!((apart, all.len()), (39, 40), "a chunk, a hole, and so on");
    let mut file = SnapshotFile::open(&reader, b"/f", &node).unwrap();
    store.take();
    let end = all[20].1 as usize;
    let mut read = vec![0; end];
    for part in read.chunks_mut(8 << 10) {
        file.read_exact(part).unwrap();
    }
    assert!(read == content[..end]);
    let wanted = stored(&reader, all[..=24].iter().map(|c| c.2));
    let fetched = || store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    let patience = std::time::Instant::now();
    while fetched() < wanted && patience.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(fetched() >= wanted, "{} of {wanted}: nothing ahead", fetched());
    file.read_to_end(&mut read).unwrap();
    assert!(read == content);
}

#[test]
fn restoring_one_file_of_a_directory_reads_that_file() {
    let scene = Scene::new();
    for n in 0..4 {
        scene.put(&format!("model-{n}-of-4.safetensors"), &bytes(10 + n, 2 << 20));
    }
    let id = scene.take(1);
    let path = scene.path("model-2-of-4.safetensors");
    let (repo, store) = recorded(&scene.place);
    let reader = Reader::open(&repo).unwrap();
    let node = node_of(&reader, &repo, id, &path);
    let wanted = stored(&reader, chunks(&node, &reader).into_iter().map(|c| c.2));
    let target = tempfile::tempdir().unwrap();
    for (what, bytes) in [("restored", true), ("dumped", false)] {
        store.take();
        if bytes {
            let options = restore::RestoreOptions {
                path: Some(path.clone()),
                ..restore::RestoreOptions::new(id, target.path().join("out"))
            };
            restore::run(&repo, &options, &Silent).unwrap();
        } else {
            ballast::op::dump::run(&repo, id, &path, &mut std::io::sink(), &Silent).unwrap();
        }
        let read = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
        assert!(read >= wanted, "{what}: {read} of {wanted}");
        assert!(read < wanted * 11 / 10, "{what}: {read} for {wanted}");
    }
}

#[test]
fn a_damaged_chunk_is_an_error_and_never_other_bytes() {
    let scene = Scene::new();
    let content = bytes(4, 1 << 20);
    scene.put("f", &content);
    let id = scene.take(1);
    let repo = scene.repo();
    let reader = Arc::new(Reader::open(&repo).unwrap());
    let node = node_of(&reader, &repo, id, &scene.path("f"));
    let all = chunks(&node, &reader);
    let (from, _, bad) = all[all.len() / 2];
    let place = reader.places().places(&BlobRef::new(BlobKind::Chunk, bad)).unwrap().remove(0);
    let pack: ballast::id::ObjectName = reader.places().pack(place.pack).unwrap().id.into();
    assert!(scene.place.store.tamper(&pack, |pack| pack[place.offset as usize + 30] ^= 1));
    let reader = Arc::new(Reader::open(&repo).unwrap());
    let mut file = SnapshotFile::open(&reader, b"/srv/f", &node).unwrap();
    let mut read = Vec::new();
    let error = file.read_to_end(&mut read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("chunk"), "{error}");
    assert!(read.len() as u64 <= from && content.starts_with(&read), "{} of {from}", read.len());
    assert!(file.to_vec().is_err() && file.read_at(from, &mut [0; 4]).is_err());
    // What is not in that frame can still be had, by the same file.
    assert_eq!(file.part(0, all[0].1).unwrap().to_vec().unwrap(), &content[..all[0].1 as usize]);
    file.rewind().unwrap();
    let mut first = [0; 100];
    file.read_exact(&mut first).unwrap();
    assert_eq!(first, content[..100]);
}

#[test]
fn what_the_repository_lost_is_no_zeros() {
    let scene = Scene::new();
    let content = bytes(5, 400_000);
    scene.put("f", &content);
    let id = scene.take(1);
    let repo = scene.repo();
    let reader = Arc::new(Reader::open(&repo).unwrap());
    let mut node = node_of(&reader, &repo, id, &scene.path("f"));
    let mut lost = ballast::format::record::LostV1::default();
    lost.push(100_000, 50_000);
    node.mark_lost(lost);
    let file = SnapshotFile::open(&reader, b"/srv/f", &node).unwrap();
    let mut buf = vec![0; 100_000];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 100_000);
    assert!(buf == content[..100_000]);
    for error in [
        file.read_at(99_999, &mut buf[..2]).unwrap_err(),
        file.part(149_999, 10).map(drop).unwrap_err(),
        file.to_vec().unwrap_err(),
    ] {
        assert!(error.to_string().contains("50000 of its 400000 bytes are lost"), "{error}");
    }
    assert_eq!(file.part(150_000, 10).unwrap().to_vec().unwrap(), &content[150_000..150_010]);
    let error = file.clone().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("/srv/f is damaged"), "{error}");
}
