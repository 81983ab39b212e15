//! Bytes that nobody should have written: every parser answers with an error, never a panic,
//! and allocates no more than the bytes it was given justify.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ballast::codec::grains::{self, Draft, GRAIN_BYTES, NEW};
use ballast::codec::{BlockType, Element, Hint};
use ballast::crypto::keys::Purpose;
use ballast::format::bytes::{Put, Take};
use ballast::format::content::{Entry, ListV1};
use ballast::format::delta;
use ballast::format::frame::{Edge, FrameBlob, FrameRecord, SEAL_OVERHEAD};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::format::keyfile::pad_record;
use ballast::format::pack::Trailer;
use ballast::format::snapshot::SnapshotV1;
use ballast::format::tree::{Node, NodeKind, TreeV1};
use ballast::format::wire::{self, Bytes, Extension, Record, Stamp, Text};
use ballast::id::{BlobId, IndexId, ObjectKind, PackId, SessionId};
use ballast::repo::{keys, keytext};
use proptest::prelude::*;
use support::counting::{self, Counting};
use support::fuzz::{self, Body};
use support::{formats, samples};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of memory for each byte of input: the smallest element on the wire, an empty text, is
/// one byte there and 24 in memory, three times while the list grows; then it is written again.
const MULTIPLE: usize = 80;
/// And this much, whatever the input: messages, first elements.
const SLACK_BYTES: usize = 64 << 10;

/// Reads `data`; checks what that took.
fn hold(name: &str, body: Body, data: &[u8]) -> bool {
    let (good, peak) = counting::peak(|| body(data));
    // A frame's plain length is stated, and authenticated, outside of its encoded bytes.
    let stated = match (name, data) {
        // Besides, numbers are held as words of four bytes, in two orders.
        ("delta", [a, b, c, ..]) => 8 * (usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16),
        ("sources", [a, b, ..]) => 8 * (usize::from(*a) | usize::from(*b) << 8),
        ("codec", [_, _, a, b, c, ..]) => usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16,
        // Besides, what is named of the bases, which a reader has at hand, is a prefix of at most 16 MiB; a
        // recipe may state 128 KiB.
        ("grains", [a, b, c, count, lens @ ..]) => {
            let plain = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
            let lens = lens.as_chunks().0.iter().take((*count).into()).map(|len| u32::from_le_bytes(*len));
            let grains: usize = lens.map(|len| grains::grains_of(len as usize)).sum();
            plain + grains.min(4096) * GRAIN_BYTES + (1 << 17)
        }
        _ => 0,
    };
    let allowed = MULTIPLE * data.len() + 4 * stated + SLACK_BYTES;
    assert!(peak <= allowed, "{name}: {peak} bytes for an input of {}", data.len());
    good
}

fn frame_bytes(frame: &FrameRecord) -> Vec<u8> {
    let mut put = Put::default();
    frame.encode(&mut put);
    put.0
}

fn zstd_frame() -> Vec<u8> {
    let plain = b"hostile or not hostile, that is hostile or not ".repeat(8);
    let mut encoded = Vec::new();
    let how = ballast::codec::encode(&plain, &mut encoded);
    let len = u16::try_from(plain.len()).unwrap().to_le_bytes();
    [&[how.encoding as u8, how.codec_version, len[0], len[1], 0], &encoded[..]].concat()
}

/// Blocks of Q8_0, and what a step makes of them.
fn blocks(step: u8) -> Vec<u8> {
    let noise = support::bytes(5, 70 * 31);
    let number = move |i: usize| (noise[i] >> 4) + u8::from(i.is_multiple_of(9)) * step;
    let block = |at: usize| {
        let scale = [(at % 5) as u8 + step, 0x2a];
        let top = std::iter::once(if at.is_multiple_of(2) { 0x7f } else { 0x81 });
        scale.into_iter().chain((0..31).map(|i| number(at * 31 + i))).chain(top).collect::<Vec<u8>>()
    };
    (0..70).flat_map(block).collect()
}

/// Encoded by their fields, alone.
fn fields_frame() -> Vec<u8> {
    let (plain, mut encoded) = (blocks(0), Vec::new());
    let hint = Hint { element: Element::Blocks(BlockType::Q8_0) };
    let how = ballast::codec::encode_as(&plain, hint, &mut encoded);
    assert_eq!((how.encoding as u8, how.codec_version), (2, 2));
    let len = u16::try_from(plain.len()).unwrap().to_le_bytes();
    [&[how.encoding as u8, how.codec_version, len[0], len[1], 0], &encoded[..]].concat()
}

/// The same against one base.
fn fields_delta() -> Vec<u8> {
    let (plain, base, mut encoded) = (blocks(1), blocks(0), Vec::new());
    let hint = Hint { element: Element::Blocks(BlockType::Q8_0) };
    ballast::codec::encode_delta(&plain, &[&base], hint, &mut encoded).unwrap();
    assert_eq!(encoded[0], 4);
    let mut put = Put::default();
    put.u16(u16::try_from(plain.len()).unwrap()).u8(0).u8(1);
    put.u16(u16::try_from(base.len()).unwrap()).bytes(&base).bytes(&encoded);
    put.0
}

/// A delta against so many of two bases: text by a prefix, else numbers that move on by a step.
fn delta_frame(text: bool, count: usize) -> Vec<u8> {
    let words = |step: u32| {
        (0..120u32).flat_map(move |i| (0x3d00_0000 + i * 70_001 + step * (i % 13 + 1)).to_le_bytes())
    };
    let [older, base, plain]: [Vec<u8>; 3] = [0, 1, 2].map(|step| {
        if text {
            format!("step {step} of a hostile text, {step}").into_bytes()
        } else {
            words(step).collect()
        }
    });
    let bases = [&base[..], &older[..]];
    let hint = Hint { element: if text { Element::Unknown } else { Element::F32 } };
    let mut encoded = Vec::new();
    let (_, used) = ballast::codec::encode_delta(&plain, &bases[..count], hint, &mut encoded).unwrap();
    assert_eq!((used, encoded[0]), (count, if text { 1 } else { 1 + count as u8 }));
    let mut put = Put::default();
    put.u16(u16::try_from(plain.len()).unwrap()).u8(0).u8(count as u8);
    bases[..used].iter().for_each(|b| {
        put.u16(u16::try_from(b.len()).unwrap());
    });
    bases[..used].iter().for_each(|b| {
        put.bytes(b);
    });
    put.bytes(&encoded);
    put.0
}

/// The same as a frame opens to: each base lies in the middle of two edges' bytes.
fn sourced_frame(text: bool, count: usize) -> Vec<u8> {
    let frame = delta_frame(text, count);
    let mut take = Take(&frame);
    let plain_len = take.u16().unwrap();
    take.bytes(2).unwrap();
    let lens: Vec<u16> = (0..count).map(|_| take.u16().unwrap()).collect();
    let (mut put, mut bytes, mut head) = (Put::default(), Vec::new(), Put::default());
    put.u16(plain_len).u8(2 * count as u8);
    let sources: Vec<delta::Source> =
        lens.iter().map(|len| delta::Source { edges: 2, offset: 3, len: (*len).into() }).collect();
    delta::encode(&sources, &mut head);
    for len in lens {
        let base = take.bytes(len.into()).unwrap();
        let (a, b) = base.split_at(base.len() / 3);
        let (a, b) = ([b"abc", a].concat(), [b, b"defg"].concat());
        put.u16(a.len() as u16).u16(b.len() as u16);
        bytes.extend([a, b].concat());
    }
    [&put.0[..], &bytes, &head.0, take.0].concat()
}

/// A frame by grains of a base of 40 pages and one of two, the last short: `new` of which are new.
fn grains_frame(case: &str) -> Vec<u8> {
    let bases = [40 * GRAIN_BYTES as u32, GRAIN_BYTES as u32 + 100];
    let mut draft = Draft { grains: (0..42).collect(), near: vec![NEW; 42], far: Vec::new() };
    match case {
        "copies" => draft.grains.swap(3, 9),
        "packed" => (0..42).for_each(|at| draft.grains[at] = if at % 2 == 1 { 0 } else { at as u32 }),
        _ => {
            draft.grains.truncate(9);
            draft.near.truncate(9);
            for (at, near) in [(2, 2), (5, NEW), (8, 41)] {
                (draft.grains[at], draft.near[at]) = (NEW, near);
            }
            draft.grains[4] = 30;
            draft.far = vec![1, 2, 41];
        }
    }
    let short = matches!(draft.grains.last(), Some(&NEW | &41));
    let new = draft.grains.iter().enumerate().filter(|(_, from)| **from == NEW).map(|(at, _)| {
        let mut grain = fuzz::made_up(&bases, at as u32).unwrap().to_vec();
        (grain[9], grain[90]) = (1, 2);
        if at == 8 { grain[..100].to_vec() } else { grain }
    });
    let new: Vec<u8> = new.flatten().collect();
    let prefix = draft.prefix();
    let prefix: Vec<u8> = prefix.iter().flat_map(|n| fuzz::made_up(&bases, *n).unwrap()).copied().collect();
    let mut encoded = Vec::new();
    assert!(grains::encode(&draft, &new, &prefix, 9, &mut encoded));
    assert_eq!((encoded[1] != 0, new.is_empty()), (case == "packed", case != "new"), "{case}");
    let plain = draft.grains.len() * GRAIN_BYTES - if short { GRAIN_BYTES - 100 } else { 0 };
    let mut put = Put::default();
    put.bytes(&u32::try_from(plain).unwrap().to_le_bytes()[..3]).u8(2).u32(bases[0]).u32(bases[1]);
    put.bytes(&encoded);
    put.0
}

/// Good inputs of every body. The last is whether anything may follow them.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>, bool)> {
    let record = |name, case, bytes| (name, case, bytes, false);
    let pack = samples::pack();
    let (_, file) = keys::make(
        &samples::keyring(),
        &samples::config(),
        samples::label(),
        samples::PASSWORD,
        &samples::KDF,
        &samples::surroundings(),
    )
    .unwrap();
    let page = keytext::export(&file, "/srv/vault", "key").into_bytes();
    let mut out = vec![
        ("envelope", "index", samples::seal(ObjectKind::Index, Purpose::Index, None, b"plain").1, true),
        record("keyfile", "file", file),
        record("keyfile", "label", pad_record(&samples::label(), 240).unwrap()),
        record("keyfile", "body", pad_record(&samples::body(), 1088).unwrap()),
        ("keypage", "page", page, false),
        record("config", "full", wire::encode(&samples::config())),
        record("pack", "trailer", samples::trailer().encode().0),
        record("pack", "padded", pack.trailer_plain),
        record("pack", "footer", samples::footer().encode().to_vec()),
        record("frame", "alone", frame_bytes(&samples::plain_frame())),
        record("frame", "delta", frame_bytes(&samples::delta_frame())),
        record("index", "full", samples::index().encode()),
        record("tree", "nodes", wire::encode(&samples::tree())),
        record("tree", "parts", wire::encode(&samples::parted_tree())),
        record("tree", "part", wire::encode(&samples::tree_part())),
        record("list", "full", wire::encode(&samples::list())),
        record("seams", "full", wire::encode(&samples::seams())),
        record("safetensors", "model", samples::model()),
        record("torch", "archive", samples::archive()),
        ("gguf", "model", samples::gguf(), true),
        record("npy", "array", formats::npy("<f4", &[2, 3], &[3; 24])),
        record("snapshot", "full", wire::encode(&samples::snapshot())),
        record("lease", "full", wire::encode(&samples::lease())),
        record("verified", "full", wire::encode(&samples::verified())),
        record("capture", "full", wire::encode(&samples::capture())),
        record("capture", "files", wire::encode(&samples::capture_files())),
        record("xattrs", "full", wire::encode(&samples::xattrs())),
        record("codec", "raw", [&[0, 1, 3, 0, 0][..], b"raw"].concat()),
        record("codec", "zstd", zstd_frame()),
        record("codec", "fields", fields_frame()),
        record("delta", "prefix", delta_frame(true, 1)),
        record("delta", "fields", fields_delta()),
        record("delta", "numbers", delta_frame(false, 1)),
        record("delta", "step", delta_frame(false, 2)),
        record("sources", "one", sourced_frame(false, 1)),
        record("sources", "two", sourced_frame(false, 2)),
        record("sources", "prefix", sourced_frame(true, 1)),
        record("grains", "copies", grains_frame("copies")),
        record("grains", "new", grains_frame("new")),
        record("grains", "packed", grains_frame("packed")),
    ];
    for (case, event) in samples::events() {
        let case = case.split(',').next().unwrap();
        let (kind, body) = event.encode();
        out.push(("event", case, [&[kind], &body[..]].concat(), kind == 255));
        out.push(record("ledger", case, wire::encode(&samples::ledger_entry(7, &event))));
    }
    out
}

#[test]
fn good_bytes_are_read() {
    for (name, case, bytes, _) in seeds() {
        assert!(hold(name, fuzz::body(name), &bytes), "{name}, {case}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    for (name, case, bytes, _) in seeds() {
        // Padding, and an envelope's ciphertext or the words around a page, may be shorter.
        let needed = match (name, case) {
            ("envelope", _) => 52,
            ("keypage", _) => bytes.len() - 30,
            ("keyfile", "label" | "body") => 2 + usize::from(u16::from_le_bytes([bytes[0], bytes[1]])),
            ("pack", "padded") => bytes.iter().rposition(|b| *b != 0).unwrap() + 1 + 2,
            _ => bytes.len(),
        };
        for len in 0..bytes.len() {
            let read = hold(name, fuzz::body(name), &bytes[..len]);
            assert!(!read || len >= needed, "{name}, {case}, cut at {len}");
        }
    }
}

#[test]
fn nothing_may_follow() {
    for (name, case, bytes, may) in seeds() {
        for tail in [&b"\xff"[..], &[0xff; 300]] {
            let read = hold(name, fuzz::body(name), &[&bytes, tail].concat());
            assert_eq!(read, may, "{name}, {case}");
        }
    }
}

#[test]
fn any_bit_may_flip() {
    for (name, _, mut bytes, _) in seeds() {
        let body = fuzz::body(name);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                hold(name, body, &bytes);
                bytes[at] ^= 1 << bit;
            }
        }
    }
}

/// A flipped bit under a seal, or in a line of a page, is not only survived but found.
#[test]
fn a_flipped_bit_under_a_seal_is_found() {
    let (_, file) = keys::make(
        &samples::keyring(),
        &samples::config(),
        samples::label(),
        samples::PASSWORD,
        &samples::KDF,
        &samples::surroundings(),
    )
    .unwrap();
    // Not the key derivation's parameters: those cost time, and are bound like all else.
    for at in (0..16).chain(32..file.len()) {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(!matches!(keys::try_open(&bad, samples::PASSWORD), Ok(Some(_))), "byte {at}");
    }
    let page = keytext::export(&file, "/srv/vault", "key");
    let begin = page.find("-----BEGIN").unwrap() + 27;
    let end = page.find("-----END").unwrap();
    for at in begin..end {
        let mut bad = page.clone().into_bytes();
        bad[at] ^= 3;
        if let Ok(text) = String::from_utf8(bad) {
            assert!(keytext::import(&text).map_or(true, |read| read == file), "character {at}");
        }
    }
}

/// Where a count or a length may stand: overwritten with the largest that fits there, and with
/// such that look harmless.
#[test]
fn counts_and_lengths_may_lie() {
    let lies: [&[u8]; 9] = [
        &[0xff; 4],
        &[0xff; 8],
        &[0xff, 0xff],
        &[0xfb, 0xff, 0xff],
        &[0xfc, 0xff, 0xff, 0xff, 0xff],
        &[0xfc, 0xff, 0xff, 0xff, 0x0f],
        &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xfa],
    ];
    for (name, _, bytes, _) in seeds() {
        let body = fuzz::body(name);
        for at in 0..bytes.len() {
            for lie in lies {
                let end = bytes.len().min(at + lie.len());
                let mut over = bytes.clone();
                over[at..end].copy_from_slice(&lie[..end - at]);
                hold(name, body, &over);
                // In place of one byte, so that what follows is still what it was.
                hold(name, body, &[&bytes[..at], lie, &bytes[at + 1..]].concat());
                // And with nothing behind it.
                hold(name, body, &[&bytes[..at], lie].concat());
            }
        }
    }
}

/// Long inputs in which everything is as small on the wire, and so as large in memory beside it,
/// as can be.
#[test]
fn many_small_elements_cost_what_they_cost() {
    let extensions: Vec<_> =
        (0..40_000).map(|_| Extension { tag: 0, critical: false, data: Bytes::default() }).collect();
    let mut snapshot = samples::snapshot();
    snapshot.tags = vec![Text::default(); 200_000];
    snapshot.paths = vec![Bytes::default(); 200_000];
    snapshot.extensions.clone_from(&extensions);
    let entries = vec![Entry::Inline { bytes: Bytes::default() }; 200_000];
    let mut tree = samples::tree();
    tree.nodes[7].content.clone_from(&entries);
    tree.nodes[7].extensions.clone_from(&extensions);
    let smallest = samples::node(b"", NodeKind::File, Vec::new());
    let nodes = TreeV1::of_nodes(vec![smallest; 20_000]);
    let list = ListV1 { entries, extensions };
    let mut index = samples::index();
    index.packs = vec![IndexedPack { frames: Vec::new(), ..index.packs[0].clone() }; 10_000];
    for (name, bytes) in [
        ("snapshot", wire::encode(&snapshot)),
        ("tree", wire::encode(&tree)),
        ("tree", wire::encode(&nodes)),
        ("list", wire::encode(&list)),
        ("index", index.encode()),
    ] {
        hold(name, fuzz::body(name), &bytes);
        hold(name, fuzz::body(name), &bytes[..bytes.len() - 1]);
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Recipes as long as may be, of what costs nothing to write.
#[test]
fn a_recipe_costs_what_it_may() {
    let seek = |by: i64| varint((((by << 1) ^ (by >> 63)) as u64) << 2 | 3);
    let most = 1 << 17;
    let there = u32::MAX;
    // Back and forth to the end; the longest run; numbers that add up beyond what they may.
    let cases: Vec<(Vec<u32>, Vec<u8>)> = vec![
        (vec![there], [vec![0], [seek(4000), seek(-4000)].concat().repeat(most / 8)].concat()),
        (vec![there], [vec![0], seek(0).repeat(most - 1)].concat()),
        (vec![there], [vec![1, 0], varint(4096), varint(4096 << 2 | 2)].concat()),
        (vec![there], [vec![1, 0], varint(4096), varint(4096 << 2 | 1)].concat()),
        (vec![there], [vec![2, 0], varint(4096), vec![0, 1]].concat()),
        (vec![there], [vec![1], varint(u64::MAX), varint(u64::MAX)].concat()),
        (vec![there], [vec![0], varint(u64::MAX)].concat()),
        (vec![there], [vec![0], varint(u64::MAX - 1)].concat()),
        (vec![there], [vec![0], varint(u64::MAX - 3)].concat()),
        (vec![there], [seek(i64::MAX >> 2), seek(i64::MIN >> 2)].concat()),
        (vec![there; 16], [vec![1], varint(1 << 20), vec![1]].concat()),
        (vec![there; 255], [vec![1], varint(1 << 24), vec![1]].concat()),
        (vec![0; 255], vec![0, 4]),
    ];
    for (bases, recipe) in cases {
        for plain in [1u32, 16 << 20 >> 8, (16 << 20) - 1] {
            let mut put = Put::default();
            put.bytes(&plain.to_le_bytes()[..3]).u8(bases.len() as u8);
            for len in &bases {
                put.u32(*len);
            }
            put.bytes(&varint(recipe.len() as u64)).u8(0).bytes(&recipe);
            hold("grains", fuzz::delta_grains, &put.0);
            // Packed, it says nothing about its length.
            let mut packed = put.0.clone();
            packed.truncate(4 + 4 * bases.len());
            let mut encoded = Vec::new();
            let how = ballast::codec::encode(&recipe.repeat(40), &mut encoded);
            if how.encoding as u8 == 1 && recipe.len() * 40 <= most {
                packed.extend(varint(recipe.len() as u64 * 40));
                packed.extend(varint(encoded.len() as u64));
                packed.extend(encoded);
                hold("grains", fuzz::delta_grains, &packed);
            }
        }
    }
    // A recipe over the limit is refused unread.
    for (len, packed) in [(most as u64 + 1, 0), (u64::MAX, 0), (most as u64 + 1, 5), (5, u64::MAX), (9, 9)] {
        let bytes = [&[0, 16, 0, 0][..], &varint(len), &varint(packed)].concat();
        let (read, peak) = counting::peak(|| fuzz::delta_grains(&bytes));
        assert!(!read && peak < SLACK_BYTES, "{len} {packed}: {peak}");
    }
}

fn over_limit<R: Record>() {
    let (read, peak) = counting::peak(|| wire::decode::<R>(&vec![1; R::LIMIT_BYTES + 1]).is_ok());
    assert!(!read && peak < R::LIMIT_BYTES + SLACK_BYTES);
}

#[test]
fn records_over_their_limit_are_refused_unread() {
    over_limit::<SnapshotV1>();
    over_limit::<TreeV1>();
    over_limit::<ballast::format::lease::LeaseV1>();
    over_limit::<ballast::format::config::ConfigV1>();
}

fn seed_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

/// The seeds of the fuzz targets, and what fuzzing found, on any toolchain.
/// `BALLAST_REGENERATE=1` writes the seeds anew; files beside them stay.
#[test]
fn the_committed_corpus_is_survived() {
    if std::env::var_os("BALLAST_REGENERATE").is_some() {
        for (name, case, bytes, _) in seeds() {
            let folder = seed_folder().join(name);
            fs::create_dir_all(&folder).unwrap();
            File::create(folder.join(case)).unwrap().write_all(&bytes).unwrap();
        }
    }
    for (name, body) in fuzz::BODIES {
        let mut count = 0;
        for entry in fs::read_dir(seed_folder().join(name)).unwrap() {
            hold(name, *body, &fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes)
}

fn id() -> impl Strategy<Value = BlobId> {
    any::<[u8; 32]>().prop_map(BlobId)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Stamp { secs, nanos })
}

fn some_extensions() -> impl Strategy<Value = Vec<Extension>> {
    let one = (any::<u16>(), bytes(40)).prop_map(|(tag, data)| Extension { tag, critical: false, data });
    prop::collection::vec(one, 0..3)
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (id(), any::<u32>()).prop_map(|(id, len)| Entry::Chunk { id, len }),
        (id(), any::<u32>()).prop_map(|(id, len)| Entry::List { id, len: len.into() }),
        any::<u32>().prop_map(|len| Entry::Hole { len: len.into() }),
        bytes(300).prop_map(|bytes| Entry::Inline { bytes }),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let name = prop::collection::vec(prop_oneof![1u8..=46, 48u8..=255], 3..40);
    let numbers = (any::<[u32; 4]>(), any::<[u64; 5]>(), any::<[u8; 2]>());
    let times = (stamp(), stamp(), prop::option::of(stamp()));
    let rest = (prop::collection::vec(entry(), 0..30), some_extensions(), prop::option::of(id()), bytes(9));
    (name, numbers, times, rest).prop_map(|(name, (small, large, tiny), times, rest)| Node {
        uid: small[0],
        gid: small[1],
        mode: small[2],
        attr_flags: small[3],
        size: large[0],
        inode: large[1],
        device: large[2],
        nlink: large[3],
        rdev: large[4],
        marks: tiny[0],
        capture: tiny[1],
        mtime: times.0,
        ctime: times.1,
        btime: times.2,
        extensions: rest.1,
        seams: rest.2,
        user: rest.3,
        ..samples::node(&name, NodeKind::File, rest.0)
    })
}

fn frame() -> impl Strategy<Value = FrameRecord> {
    let edge = (any::<u8>(), any::<u8>(), id()).prop_map(|(how, kind, id)| Edge { how, kind, id });
    let blob = (any::<u8>(), 0..4096u32, id()).prop_map(|(kind, len, id)| FrameBlob { kind, len, id });
    let lists = (prop::collection::vec(edge, 0..5), prop::collection::vec(blob, 1..40));
    (0..100_000u32, any::<[u8; 4]>(), lists).prop_map(|(stored, numbers, (edges, blobs))| FrameRecord {
        offset: 0,
        stored_len: stored + SEAL_OVERHEAD,
        plain_len: blobs.iter().map(|b| b.len).sum(),
        encoding: numbers[0],
        codec_version: numbers[1],
        height: if edges.is_empty() { 0 } else { numbers[2].max(1) },
        flags: numbers[3],
        edges,
        blobs,
    })
}

/// Frames one after the other, as a pack holds them, and where they end.
fn frames() -> impl Strategy<Value = (Vec<FrameRecord>, u64)> {
    prop::collection::vec(frame(), 0..6).prop_map(|mut frames| {
        let mut end = 12;
        for frame in &mut frames {
            frame.offset = end;
            end += frame.stored_len;
        }
        (frames, end.into())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_come_back(nodes in prop::collection::vec(node(), 0..6), extensions in some_extensions()) {
        let mut tree = TreeV1 { extensions, ..TreeV1::of_nodes(nodes) };
        tree.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        tree.nodes.dedup_by(|a, b| a.name == b.name);
        let bytes = wire::encode(&tree);
        prop_assert_eq!(&wire::decode::<TreeV1>(&bytes).unwrap(), &tree);
        prop_assert!(tree.check().is_ok());
        prop_assert!(hold("tree", fuzz::tree, &bytes));
    }

    #[test]
    fn lists_come_back(entries in prop::collection::vec(entry(), 0..100), extensions in some_extensions()) {
        let list = ListV1 { entries, extensions };
        let bytes = wire::encode(&list);
        prop_assert_eq!(&wire::decode::<ListV1>(&bytes).unwrap(), &list);
        prop_assert!(hold("list", fuzz::list, &bytes));
    }

    #[test]
    fn trailers_and_index_objects_come_back(
        (frames, end) in frames(),
        session in any::<[u8; 16]>(),
        hash in any::<[u8; 32]>(),
        numbers in any::<(u8, u16)>(),
        extensions in some_extensions(),
    ) {
        let trailer = Trailer {
            session: SessionId(session),
            pack_kind: numbers.0,
            flags: 0,
            region_len: end,
            region_hash: hash,
            frames: frames.clone(),
            extensions: extensions.clone(),
        };
        let Put(mut plain) = trailer.encode();
        prop_assert_eq!(&Trailer::decode(&plain).unwrap(), &trailer);
        plain.resize(plain.len() + 50, 0);
        prop_assert_eq!(&Trailer::decode(&plain).unwrap(), &trailer);
        let (id, size) = (PackId(hash), end);
        let pack = IndexedPack { id, size, pack_kind: numbers.0, flags: 0, epoch: numbers.1, frames };
        let packs = vec![pack; 2];
        let index = IndexObject { session: SessionId(session), replaces: vec![IndexId(hash)], packs, extensions };
        prop_assert_eq!(&IndexObject::decode(&index.encode()).unwrap(), &index);
    }

    #[test]
    fn any_plaintext_is_encoded_and_comes_back(
        pieces in prop::collection::vec((any::<u8>(), 0..3000usize), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut plain: Vec<u8> = pieces.iter().flat_map(|(b, n)| vec![*b; *n]).collect();
        plain.extend(noise);
        let mut encoded = Vec::new();
        let how = ballast::codec::encode(&plain, &mut encoded);
        let stored = if how.encoding as u8 == 0 { &plain } else { &encoded };
        prop_assert!(stored.len() <= plain.len());
        let mut back = vec![0; plain.len()];
        ballast::codec::decode(how.encoding as u8, how.codec_version, stored, &[], &mut back).unwrap();
        prop_assert_eq!(back, plain);
    }

    #[test]
    fn a_key_page_comes_back(seed in any::<[u8; 32]>()) {
        let mut file = vec![0; 1536];
        blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut file);
        let page = keytext::export(&file, "somewhere", "of nobody");
        prop_assert_eq!(&keytext::import(&page).unwrap(), &file);
        let (head, rest) = page.split_at(page.find("-----BEGIN BALLAST KEY-----").unwrap() + 27);
        let (body, tail) = rest.split_at(rest.find("-----END").unwrap());
        let lower = [head, &body.to_lowercase(), tail].concat();
        prop_assert_eq!(&keytext::import(&lower).unwrap(), &file);
    }

    #[test]
    fn noise_is_survived(data in prop::collection::vec(any::<u8>(), 0..600)) {
        for (name, body) in fuzz::BODIES {
            hold(name, *body, &data);
        }
    }

    #[test]
    fn what_was_changed_in_places_is_survived(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let seeds = seeds();
        let (name, _, bytes, _) = at.get(&seeds);
        let mut bytes = bytes.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        hold(name, fuzz::body(name), &bytes);
    }
}
