//! Where time goes: each stage of the pipeline alone, one thread unless it says otherwise.
//! `cargo bench -p ballast-benches --bench stages`; throughput is of plaintext.

use std::hint::black_box;
use std::sync::Arc;

use ballast::chunk::{CutParams, Cutter, Rule};
use ballast::codec::{self, BlockType, Element, Hint};
use ballast::crypto::aead::SealKey;
use ballast::crypto::hash::{IdKeys, object_name};
use ballast::entropy::Surroundings;
use ballast::error::Result;
use ballast::id::{BlobKind, BlobRef};
use ballast::op::check::{self, CheckOptions};
use ballast::progress::Silent;
use ballast::repo::session::Session;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast::store::memory::MemoryStore;
use ballast_benches::{noise, text, weights};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, bench};

const CHUNK: usize = 1 << 20;
const WINDOW: usize = 32 << 20;

fn main() {
    divan::main();
}

#[bench]
fn copy(bencher: Bencher<'_, '_>) {
    let (from, mut to) = (noise(WINDOW, 1), vec![0; WINDOW]);
    bencher.counter(BytesCount::new(WINDOW)).bench_local(|| to.copy_from_slice(black_box(&from)));
}

#[bench]
fn cut_sequential(bencher: Bencher<'_, '_>) {
    let (cutter, data) = (cutter(), noise(WINDOW, 2));
    bencher
        .counter(BytesCount::new(WINDOW))
        .bench_local(|| cutter.cut_window(black_box(&data), true, Rule::PLAIN));
}

#[bench]
fn cut_all_threads(bencher: Bencher<'_, '_>) {
    let (cutter, data) = (cutter(), noise(WINDOW, 2));
    bencher
        .counter(BytesCount::new(WINDOW))
        .bench_local(|| cutter.cut_window_parallel(black_box(&data), true, Rule::PLAIN));
}

#[bench]
fn hash_keyed(bencher: Bencher<'_, '_>) {
    let (keys, data) = (IdKeys::derive(&[1; 32]), noise(CHUNK, 3));
    bencher.counter(BytesCount::new(CHUNK)).bench_local(|| keys.id(BlobKind::Chunk, black_box(&data)));
}

#[bench]
fn hash_of_pack(bencher: Bencher<'_, '_>) {
    let data = noise(16 << 20, 3);
    bencher.counter(BytesCount::new(data.len())).bench_local(|| object_name(black_box(&data)));
}

#[bench(args = ["Q8_0", "Q4_K"])]
fn encode_blocks(bencher: Bencher<'_, '_>, word: &str) {
    let ((data, hint), mut out) = (blocks(word), Vec::new());
    bencher
        .counter(BytesCount::new(data.len()))
        .bench_local(|| codec::encode_as(black_box(&data), hint, &mut out));
}

#[bench(args = ["Q8_0", "Q4_K"])]
fn decode_blocks(bencher: Bencher<'_, '_>, word: &str) {
    let ((data, hint), mut stored) = (blocks(word), Vec::new());
    let how = codec::encode_as(&data, hint, &mut stored);
    assert_eq!(how.codec_version, 2);
    let mut out = vec![0; data.len()];
    bencher.counter(BytesCount::new(data.len())).bench_local(|| -> Result<(), _> {
        codec::decode(how.encoding as u8, how.codec_version, black_box(&stored), &[], &mut out)
    });
}

#[bench(args = ["noise", "weights", "text"])]
fn encode(bencher: Bencher<'_, '_>, kind: &str) {
    let (data, mut out) = (sample(kind), Vec::new());
    bencher.counter(BytesCount::new(CHUNK)).bench_local(|| codec::encode(black_box(&data), &mut out));
}

#[bench(args = ["weights", "text"])]
fn decode(bencher: Bencher<'_, '_>, kind: &str) {
    let (data, mut stored, mut out) = (sample(kind), Vec::new(), vec![0; CHUNK]);
    let how = codec::encode(&data, &mut stored);
    bencher.counter(BytesCount::new(CHUNK)).bench_local(|| -> Result<(), _> {
        codec::decode(how.encoding as u8, how.codec_version, black_box(&stored), &[], &mut out)
    });
}

#[bench]
fn seal(bencher: Bencher<'_, '_>) {
    let (key, data, mut out) = (SealKey::new(&[2; 32]), noise(CHUNK, 4), vec![0; CHUNK + 16]);
    bencher
        .counter(BytesCount::new(CHUNK))
        .bench_local(|| key.seal_into(&[3; 24], b"associated", black_box(&data), &mut out));
}

#[bench]
fn open(bencher: Bencher<'_, '_>) {
    let key = SealKey::new(&[2; 32]);
    let sealed = key.seal(&[3; 24], b"associated", &noise(CHUNK, 4));
    let mut out = vec![0; CHUNK];
    bencher
        .counter(BytesCount::new(CHUNK))
        .bench_local(|| key.open_into(&[3; 24], b"associated", black_box(&sealed), &mut out));
}

/// One look-up in sled, of 100,000 entries.
#[bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let options = OpenOptions { cache_dir: Some(cache.path().to_owned()), ..OpenOptions::default() };
    let store = Arc::new(MemoryStore::new());
    let init = InitOptions { kdf: ballast::crypto::kdf::CHEAP, ..InitOptions::default() };
    let repo =
        Repository::init(store, b"bench", &init, &options, Surroundings::system()).expect("a repository");
    let mut session = Session::begin(&repo, "bench", false, &Silent).expect("a session");
    let ids: Vec<BlobRef> = (0..100_000u64)
        .map(|i| {
            let stored = session.store(BlobKind::Chunk, &i.to_le_bytes().repeat(8)).expect("a stored blob");
            BlobRef::new(BlobKind::Chunk, stored.id)
        })
        .collect();
    let objects = session.flush().expect("durable packs");
    session.index().absorb(objects, None).expect("an index");
    let mut at = 0;
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        at = (at + 7919) % ids.len();
        session.is_known(black_box(&ids[at]))
    });
}

/// `check --read-data` of 256 MiB by all threads, on a disk of memory where there is one.
/// Throughput is of plaintext; noise is stored as it is.
#[bench(args = ["noise", "weights", "text"], sample_count = 10)]
fn check_data(bencher: Bencher<'_, '_>, kind: &str) {
    const COUNT: usize = 256;
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.expect("a temporary directory");
    let store = Arc::new(LocalStore::new(dir.path()).expect("a directory"));
    let init = InitOptions { kdf: ballast::crypto::kdf::CHEAP, ..InitOptions::default() };
    let repo = Repository::init(store, b"bench", &init, &OpenOptions::default(), Surroundings::system())
        .expect("a repository");
    let mut session = Session::begin(&repo, "bench", false, &Silent).expect("a session");
    for seed in 0..COUNT as u64 {
        let data = match kind {
            "weights" => weights(CHUNK, seed),
            "text" => text(CHUNK, seed),
            _ => noise(CHUNK, seed),
        };
        session.store(BlobKind::Chunk, &data).expect("a stored blob");
    }
    session.flush().expect("durable packs");
    drop(session);
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    bencher.counter(BytesCount::new(COUNT * CHUNK)).bench_local(|| {
        let report = check::run(&repo, &options, &Silent).expect("a check");
        assert!(report.is_sound());
        assert_eq!(report.counts.plain_bytes, (COUNT * CHUNK) as u64);
    });
}

fn cutter() -> Cutter {
    Cutter::new(&[9; 32], 1, CutParams::default()).expect("valid parameters")
}

/// A megabyte of blocks as ggml makes them, about, and what they are.
fn blocks(word: &str) -> (Vec<u8>, Hint) {
    let block = BlockType::of_word(word.as_bytes()).expect("a known word");
    let values = weights(4 * CHUNK, 6);
    let mut values =
        values.as_chunks().0.iter().map(|w| f32::from_bits(u32::from(u16::from_le_bytes(*w)) << 16));
    let mut data = Vec::with_capacity(CHUNK);
    while data.len() + block.bytes() <= CHUNK {
        let numbers: Vec<f32> = values.by_ref().take(if word == "Q8_0" { 32 } else { 256 }).collect();
        let most = numbers.iter().fold(0f32, |most, n| most.max(n.abs()));
        let half = ((most.to_bits() >> 13) - (112 << 10)) as u16;
        data.extend_from_slice(&half.to_le_bytes());
        if word == "Q8_0" {
            data.extend(numbers.iter().map(|n| (n / most * 127.0).round() as i8 as u8));
        } else {
            let nibble = |n: f32| (n / most * 7.5 + 8.0) as u8 & 15;
            data.extend_from_slice(&half.to_le_bytes());
            data.extend(numbers[..12].iter().map(|n| 40 + (n / most * 20.0) as u8));
            data.extend(numbers.as_chunks().0.iter().map(|[a, b]| nibble(*a) | nibble(*b) << 4));
        }
    }
    (data, Hint { element: Element::Blocks(block) })
}

fn sample(kind: &str) -> Vec<u8> {
    match kind {
        "weights" => weights(CHUNK, 5),
        "text" => text(CHUNK, 5),
        _ => noise(CHUNK, 5),
    }
}
