//! Snapshots of safetensors files: what a changed, moved or grown tensor costs, what the seam
//! table says, and what becomes of headers that are not what they seem.

mod models {
    pub mod formats;
    pub mod pickles;
}

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ballast::chunk::CutParams;
use ballast::crypto::kdf;
use ballast::format::content::Entry;
use ballast::format::seams::{LAYOUT_SAFETENSORS, SeamTableV1};
use ballast::format::tree::Node;
use ballast::id::{BlobId, SnapshotId};
use ballast::op::snapshot::{self, Parent, SnapshotOptions, SnapshotReport};
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, Repository};
use proptest::prelude::*;
use support::models::{Tensor, file, framed, header, tensor, transformer};
use support::{Calls, Place, assert_same, bytes, look, of, put, tiny, walk_back};

/// Chunks of 64 KiB on average, for models of tens of megabytes.
fn middle() -> InitOptions {
    let cut = CutParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10, ..CutParams::default() };
    InitOptions { kdf: kdf::CHEAP, cut, ..InitOptions::default() }
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn nodes(repo: &Repository, id: SnapshotId) -> BTreeMap<PathBuf, Node> {
    let reader = Reader::open(repo).unwrap();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut all = BTreeMap::new();
    walk_back(&reader, root, Path::new("/"), &mut |path, node| {
        all.insert(path, node.clone());
        Ok(())
    })
    .unwrap();
    all
}

/// Takes a snapshot without problems and compares it with the source, byte for byte.
fn whole(place: &Place, top: &Path) -> SnapshotReport {
    let expected = look(top);
    let report = place.take(top);
    assert_eq!(report.problems, [], "{}", top.display());
    assert_same(&place.open(), report.snapshot.unwrap(), top, &expected);
    report
}

/// The node of a file in a snapshot.
fn node(place: &Place, report: &SnapshotReport, path: &Path) -> Node {
    nodes(&place.open(), report.snapshot.unwrap())[path].clone()
}

fn table(place: &Place, node: &Node) -> Option<SeamTableV1> {
    ballast::repo::seams::table_of(node, &Reader::open(&place.open()).unwrap()).unwrap()
}

/// Chunks of a node: where each begins, and its id.
fn chunks(place: &Place, node: &Node) -> Vec<(u64, BlobId)> {
    let reader = Reader::open(&place.open()).unwrap();
    let (pieces, _) = reader.pieces(&node.content).unwrap();
    let chunk = |p: ballast::repo::trees::Piece| match p.entry {
        Entry::Chunk { id, .. } => Some((p.offset, id)),
        _ => None,
    };
    pieces.into_iter().filter_map(chunk).collect()
}

/// What a second snapshot of `now` adds beside one of `before`, as a share of `now`.
fn added(options: &InitOptions, before: &[(&str, Vec<u8>)], now: &[(&str, Vec<u8>)]) -> f64 {
    let (_dir, top) = temp();
    let place = Place::new(options);
    for (name, content) in before {
        put(top.join("before").join(name), content);
    }
    whole(&place, &top.join("before"));
    for (name, content) in now {
        put(top.join("now").join(name), content);
    }
    let report = whole(&place, &top.join("now"));
    let total: usize = now.iter().map(|(_, content)| content.len()).sum();
    assert!(report.files_unchanged == 0 && report.read_bytes == total as u64);
    report.new_bytes as f64 / total as f64
}

fn model() -> Vec<Tensor> {
    transformer(1, 6, 512, 9000)
}

#[test]
fn tensors_that_moved_cost_nothing() {
    let old = model();
    let renamed = |t: &Tensor| Tensor { name: format!("model.{}", t.name), ..t.clone() };
    let (front, back) = old.split_at(old.len() / 2);
    let reversed: Vec<Tensor> = old.iter().rev().cloned().collect();
    let mut inserted = old.clone();
    inserted.insert(3, tensor("adapter", 99, &[3]));
    let fp32 = Tensor { name: "scales".into(), dtype: "F32", shape: vec![3], data: bytes(98, 12) };
    inserted.insert(0, fp32);
    let one = |tensors: &[Tensor], note: &str| vec![("model.safetensors", file(tensors, note))];
    let cases = [
        ("sharded anew", vec![("1-of-2", file(front, "")), ("2-of-2", file(back, ""))]),
        ("renamed", one(&old.iter().map(renamed).collect::<Vec<_>>(), "")),
        ("in another order", one(&reversed, "")),
        ("another header", one(&old, "of another length, not a multiple of anything")),
        ("small ones inserted", one(&inserted, "")),
    ];
    for (what, now) in cases {
        for options in [middle(), InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() }] {
            let share = added(&options, &one(&old, ""), &now);
            assert!(share <= 0.001, "{what}: {share}");
        }
    }
}

#[test]
fn a_grown_vocabulary_keeps_what_was_there() {
    let old = model();
    let mut new = old.clone();
    let rows = &mut new[0];
    rows.shape[0] += 8;
    rows.data.extend_from_slice(&bytes(77, 8 * 512 * 2));
    let share = added(&middle(), &[("m", file(&old, ""))], &[("m", file(&new, ""))]);
    assert!(share <= 0.01, "{share}");
}

#[test]
fn tied_tensors_are_stored_once() {
    let old = model();
    let mut tied = old.clone();
    tied.push(Tensor { name: "head.weight".into(), ..old[0].clone() });
    let (_dir, top) = temp();
    put(top.join("m"), &file(&tied, ""));
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let once: usize = old.iter().map(|t| t.data.len()).sum();
    assert!(report.new_bytes < once as u64 * 1001 / 1000 + 10_000, "{} of {once}", report.new_bytes);
}

#[test]
fn one_changed_tensor_of_a_hundred_costs_its_bytes() {
    let old: Vec<Tensor> = (0..100).map(|n| tensor(format!("t{n:02}"), n, &[256, 500])).collect();
    for which in [0, 57, 99] {
        let mut new = old.clone();
        new[which].data = bytes(1000, new[which].data.len());
        let share = added(&middle(), &[("m", file(&old, ""))], &[("m", file(&new, ""))]);
        assert!(share <= 0.011, "tensor {which}: {share}");
    }
}

#[test]
fn the_seam_table_says_where_tensors_are() {
    let (_dir, top) = temp();
    let small: Vec<Tensor> =
        vec![tensor("a", 1, &[100, 70]), tensor("none", 2, &[0, 5]), tensor("b", 3, &[])];
    let large = model();
    for (name, tensors) in [("small.bin", &small), ("large", &large)] {
        put(top.join(name), &file(tensors, ""));
    }
    put(top.join("other.safetensors"), &bytes(5, 100_000));
    let place = Place::new(&middle());
    let first = whole(&place, &top);
    let second = whole(&place, &top);
    assert_eq!(second.files_unchanged, 3);
    // The same architecture, other weights.
    let other: Vec<Tensor> =
        large.iter().map(|t| Tensor { data: bytes(500, t.data.len()), ..t.clone() }).collect();
    put(top.join("large"), &file(&other, ""));
    let third = whole(&place, &top);

    let named = |path: &str| [&first, &second, &third].map(|r| node(&place, r, &top.join(path)));
    for (name, tensors) in [("small.bin", &small), ("large", &large)] {
        let nodes = named(name);
        assert!(nodes.iter().all(|n| n.seams.is_some() && n.seams == nodes[0].seams), "{name}");
        let table = table(&place, &nodes[0]).unwrap();
        assert_eq!(table.layout, LAYOUT_SAFETENSORS);
        let mut at = header(tensors, "").len() as u64;
        let starts: Vec<u64> = chunks(&place, &nodes[0]).iter().map(|c| c.0).collect();
        assert_eq!(table.seams.len(), tensors.len());
        for t in tensors {
            let seam = table.seams.iter().find(|s| *s.name == *t.name.as_bytes()).unwrap();
            assert_eq!((&*seam.dtype, &seam.shape), (t.dtype.as_bytes(), &t.shape));
            assert_eq!((seam.offset, seam.len), (at, t.data.len() as u64));
            assert!(seam.len == 0 || starts.contains(&at), "{} begins a chunk", t.name);
            at += seam.len;
        }
    }
    assert!(named("other.safetensors").iter().all(|n| n.seams.is_none()), "a name is not looked at");
}

/// Longer than what one thread reads at a time, up to the longest that is looked at.
#[test]
fn long_headers_are_read_whole() {
    let (_dir, top) = temp();
    let place = Place::new(&middle());
    let tensors = model();
    let path = top.join("model.safetensors");
    let least = header(&tensors, "").len();
    for (len, seen) in [(3 << 20, true), (5 << 20, true), (16 << 20, true), ((16 << 20) + 8, false)] {
        put(&path, &file(&tensors, &"n".repeat(len - least)));
        assert_eq!(header(&tensors, &"n".repeat(len - least)).len(), len);
        let node = node(&place, &whole(&place, &top), &path);
        let names = table(&place, &node).map(|table| table.seams.len());
        assert_eq!(names, seen.then_some(tensors.len()), "{len}");
    }
}

#[test]
fn a_tensor_is_cut_alike_in_a_small_and_in_a_large_file() {
    let (_dir, top) = temp();
    let one = tensor("one", 1, &[1000, 1000]);
    put(top.join("a-small"), &file(std::slice::from_ref(&one), ""));
    put(top.join("b-large"), &file(&[tensor("before", 2, &[3_000_003]), one], "in a longer header"));
    for options in [tiny(), middle(), InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() }] {
        let place = Place::new(&options);
        let report = whole(&place, &top);
        let ids = |name: &str| -> Vec<BlobId> {
            let node = node(&place, &report, &top.join(name));
            let at = table(&place, &node).unwrap().seams.last().unwrap().offset;
            chunks(&place, &node).into_iter().filter(|c| c.0 >= at).map(|c| c.1).collect()
        };
        assert_eq!(ids("a-small"), ids("b-large"));
        assert!(!ids("a-small").is_empty());
    }
}

#[test]
fn the_first_version_of_the_cutter_sees_no_tensors() {
    let (_dir, top) = temp();
    put(top.join("m"), &file(&model(), ""));
    let options = |version| InitOptions { cut: CutParams { version, ..middle().cut }, ..middle() };
    for (version, sees) in [(1, false), (2, true), (3, true)] {
        let place = Place::new(&options(version));
        let report = whole(&place, &top);
        assert_eq!(node(&place, &report, &top.join("m")).seams.is_some(), sees);
        assert_eq!(whole(&place, &top).files_unchanged, 1);
        assert_eq!(place.open().cut_params().version, version);
    }
}

fn set_mtime(path: &Path, secs: u64) {
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(secs));
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// A seam that moved, a header that breaks, a vocabulary that grows: with the parent's chunks at hand
/// the cuts are those of a first snapshot.
#[test]
fn cuts_of_a_model_do_not_depend_on_history() {
    let (_dir, top) = temp();
    let name = top.join("large");
    let part = |name: &str, seed, len| Tensor {
        dtype: "U8",
        shape: vec![len as u64],
        data: bytes(seed, len),
        name: name.into(),
    };
    // The first fills more than a window: behind it the parent's chunks are asked for again,
    // though the header is another.
    let old = [
        part("first", 1, 17 << 20),
        part("a", 2, 2_000_000),
        part("b", 3, 2_000_000),
        part("c", 4, 3_000_000),
    ];
    let original = file(&old, "");
    let with = |sizes: [usize; 3]| {
        let mut rest = old[1..].iter().flat_map(|t| t.data.clone()).chain(bytes(5, 2_000_000));
        let mut new = old.to_vec();
        for (t, len) in new[1..].iter_mut().zip(sizes) {
            t.data = rest.by_ref().take(len).collect();
            t.shape = vec![len as u64];
        }
        let new = file(&new, "");
        assert_eq!(new[..8], original[..8], "else all would lie elsewhere");
        new
    };
    let place = Place::new(&middle());
    put(&name, &original);
    let first = whole(&place, &top);
    let first = node(&place, &first, &name);
    let begin = table(&place, &first).unwrap().seams[1].offset;
    // Cuts by content in `a`, as lengths of it.
    let cuts: Vec<usize> = chunks(&place, &first)
        .iter()
        .filter_map(|(at, _)| at.checked_sub(begin).and_then(|at| usize::try_from(at).ok()))
        .filter(|at| (1_000_000..2_000_000).contains(at))
        .collect();
    let mut broken = original.clone();
    broken[9] = b'x';
    let mut flipped = original.clone();
    flipped[20_000_000] ^= 1;
    let mut cases = vec![
        ("broken".to_owned(), broken),
        ("a bit in a tensor".into(), flipped),
        ("one longer".into(), with([2_000_000, 2_000_000, 3_500_000])),
        ("one shorter".into(), with([2_000_000, 2_000_000, 2_345_678])),
        ("all moved".into(), with([1_500_000, 2_300_003, 3_199_997])),
    ];
    for more in [0, 1, 2, 5, 7, 8, 9] {
        let a = cuts[cuts.len() / 2] + more;
        cases.push((format!("a seam {more} bytes behind a cut"), with([a, 4_000_000 - a, 3_000_000])));
    }
    for (n, (what, now)) in cases.iter().enumerate() {
        for (back, now) in [(0, now), (1, &original)] {
            put(&name, now);
            set_mtime(&name, 1_000_000 + 2 * n as u64 + back);
            let with = whole(&place, &top);
            let bare = Place { store: place.store.clone(), cache: tempfile::tempdir().unwrap() };
            let alone = bare.run(&SnapshotOptions { parent: Parent::None, ..of(&top) }).unwrap();
            let [with, alone] = [with, alone].map(|r| node(&bare, &r, &name));
            assert!(with.content == alone.content && with.seams == alone.seams, "{what}, {back}");
            assert_eq!(with.seams.is_some(), what != "broken" || back == 1, "{what}");
        }
    }
}

#[test]
fn holes_in_a_model() {
    let (_dir, top) = temp();
    let mut tensors =
        vec![tensor("a", 1, &[500_001]), tensor("zeros", 2, &[5_000_000]), tensor("b", 3, &[900_001])];
    tensors[1].data.fill(0);
    let content = file(&tensors, "");
    put(top.join("dense"), &content);
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.set_len(content.len() as u64).unwrap();
    let begin = header(&tensors, "").len() + tensors[0].data.len();
    let end = begin + tensors[1].data.len();
    sparse.write_all_at(&content[..begin], 0).unwrap();
    sparse.write_all_at(&content[end..], end as u64).unwrap();
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let found = ["dense", "sparse"].map(|name| node(&place, &report, &top.join(name)));
    assert!(found[0].seams.is_some() && found[0].seams == found[1].seams);
    let last =
        |node: &Node| -> Vec<_> { chunks(&place, node).into_iter().filter(|c| c.0 >= end as u64).collect() };
    assert!(!last(&found[0]).is_empty());
    assert_eq!(last(&found[0]), last(&found[1]), "behind a hole a tensor is cut as ever");
}

/// Headers that are nearly right, and files that are not what their header says.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let tensors = [tensor("a", 1, &[1000, 300]), tensor("b", 2, &[7]), tensor("c", 3, &[1_300_000])];
    let good = file(&tensors, "");
    let data = &good[header(&tensors, "").len()..];
    let len = data.len();
    let with = |json: String| [&framed(json.as_bytes())[..], data].concat();
    let one = |name: &str, begin: usize, end: usize| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end - begin)
    };
    let many: Vec<String> = (0..200_000).map(|n| one(&n.to_string(), n, n + 1)).collect();
    let mut long = good.clone();
    long.extend_from_slice(b"behind the end");
    vec![
        ("cut short", good[..good.len() - 1].to_vec()),
        ("cut within the header", good[..100].to_vec()),
        ("cut behind the header", good[..header(&tensors, "").len()].to_vec()),
        ("longer", long),
        ("the longest length", [&[0xff; 8][..], &good[8..]].concat()),
        ("a length beyond the file", [&(1_u64 << 40).to_le_bytes()[..], &good[8..]].concat()),
        ("a name twice", with(format!("{{{},{}}}", one("a", 0, 9), one("a", 9, len)))),
        ("an overlap", with(format!("{{{},{}}}", one("a", 0, 9), one("b", 8, len)))),
        ("a hole", with(format!("{{{},{}}}", one("a", 0, 9), one("b", 10, len)))),
        ("not to the end", with(format!("{{{}}}", one("a", 0, len - 1)))),
        ("an unknown type", with(format!("{{{}}}", one("a", 0, len).replace("U8", "Q4_K")))),
        ("a shape too large", with(format!("{{{}}}", one("a", 0, len).replace("shape\":[", "shape\":[2,")))),
        (
            "an overflow",
            with(format!("{{{}}}", one("a", 0, len).replace("shape\":[", "shape\":[18446744073709551615,"))),
        ),
        (
            "an unknown field",
            with(format!("{{{}}}", one("a", 0, len).replace("\"shape\"", "\"x\":[[[]]],\"shape\""))),
        ),
        ("deep", with("[".repeat(1 << 20))),
        ("deeper", with("{\"a\":".repeat(1 << 20))),
        ("too many", with(format!("{{{},{}}}", many.join(","), one("rest", 200_000, len)))),
        ("too long", with(format!("{{{}}}{}", one("a", 0, len), " ".repeat(17 << 20)))),
        (
            "no text",
            with(format!("{{{}}}", one("a", 0, len)))
                .iter()
                .map(|b| if *b == b'a' { 0xff } else { *b })
                .collect(),
        ),
    ]
}

#[test]
fn hostile_headers_are_bytes_like_any_other() {
    let (_dir, top) = temp();
    for (name, content) in hostile() {
        put(top.join(name), &content);
    }
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let all = nodes(&place.open(), report.snapshot.unwrap());
    for (name, _) in hostile() {
        assert_eq!(all[&top.join(name)].seams, None, "{name}");
    }
}

/// The most that is taken for a model.
#[test]
fn a_header_at_the_limits() {
    let (_dir, top) = temp();
    let tensors: Vec<Tensor> = (0..1 << 17)
        .map(|n: u64| Tensor {
            dtype: "U8",
            data: vec![n as u8],
            shape: vec![1],
            ..tensor(format!("{n:x}"), 0, &[0])
        })
        .collect();
    put(top.join("m"), &file(&tensors, ""));
    let place = Place::new(&middle());
    let report = whole(&place, &top);
    let node = node(&place, &report, &top.join("m"));
    assert_eq!(table(&place, &node).unwrap().seams.len(), 1 << 17);
}

/// Whatever happens to the file meanwhile, the seams are those of the header that was stored.
#[test]
fn a_model_that_changes_while_it_is_read() {
    for garbage in [&b"garbage"[..], &header(&model()[1..], "")[..]] {
        let (_dir, top) = temp();
        let name = top.join("m");
        let content = file(&transformer(1, 6, 512, 20_000), "");
        put(&name, &content);
        let place = Place::new(&middle());
        let (path, bad) = (name.clone(), garbage.to_vec());
        let once = std::sync::Once::new();
        let calls = Calls::with_hook(move |what, _| {
            if what == "advance" {
                once.call_once(|| {
                    File::options().write(true).open(&path).unwrap().write_all_at(&bad, 0).unwrap()
                });
            }
        });
        let report = snapshot::run(&place.open(), &of(&top), &calls).unwrap();
        assert_eq!(report.problems.len(), 1, "it is said that it changed");
        let node = node(&place, &report, &name);
        let reader = Reader::open(&place.open()).unwrap();
        let stored: Vec<u8> = chunks(&place, &node)
            .iter()
            .flat_map(|(_, id)| reader.blob(ballast::id::BlobKind::Chunk, *id).unwrap().to_vec())
            .collect();
        assert!(stored == content, "the first window was read before");
        assert_eq!(table(&place, &node).unwrap().seams.len(), transformer(1, 6, 8, 8).len());
    }
}

/// What is not whole has no table that says more than is there.
#[test]
fn a_model_that_shrinks_while_it_is_read() {
    let (_dir, top) = temp();
    let name = top.join("m");
    put(&name, &file(&transformer(1, 6, 512, 20_000), ""));
    let place = Place::new(&middle());
    let path = name.clone();
    let once = std::sync::Once::new();
    let calls = Calls::with_hook(move |what, _| {
        if what == "advance" {
            once.call_once(|| File::options().write(true).open(&path).unwrap().set_len(17 << 20).unwrap());
        }
    });
    let report = snapshot::run(&place.open(), &of(&top), &calls).unwrap();
    assert_eq!(report.problems.len(), 1);
    let node = node(&place, &report, &name);
    assert_eq!(node.seams, None);
    assert!(chunks(&place, &node).len() > 50, "what was read is there");
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(proptest::sample::Index, u8),
    Remove(proptest::sample::Index, usize),
    Insert(proptest::sample::Index, Vec<u8>),
    Copy(proptest::sample::Index, proptest::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<proptest::sample::Index>;
    let digits = prop::collection::vec(prop::sample::select(&b"0123456789,:[]{}\" "[..]), 1..6);
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), 1..40_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at(), digits).prop_map(|(at, text)| Edit::Insert(at, text)),
        (at(), at(), 1..80_usize).prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
    ]
}

fn edited(text: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Flip(at, bit) => {
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
        }
        Edit::Remove(at, len) => {
            let at = at.index(text.len());
            text.drain(at..(at + len).min(text.len() - usize::from(at == 0)));
        }
        Edit::Insert(at, new) => {
            let at = at.index(text.len());
            text.splice(at..at, new.iter().copied());
        }
        Edit::Copy(from, to, len) => {
            let from = from.index(text.len());
            let piece = text[from..(from + len).min(text.len())].to_vec();
            let to = to.index(text.len());
            text.splice(to..to, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Any mutation of a header gives a snapshot that brings the same bytes back.
    #[test]
    fn any_header_comes_back(edits in prop::collection::vec(prop::collection::vec(edit(), 0..4), 1..8)) {
        let (_dir, top) = temp();
        let small = [tensor("a", 1, &[100, 70]), tensor("b", 2, &[]), tensor("c", 3, &[30, 40])];
        let large = [tensor("a", 1, &[1_000_000]), tensor("b", 2, &[7]), tensor("c", 3, &[1_200_000])];
        for (n, edits) in edits.iter().enumerate() {
            let tensors = if n % 4 == 0 { &large } else { &small };
            let mut text = header(tensors, "")[8..].to_vec();
            edits.iter().for_each(|edit| edited(&mut text, edit));
            let mut content = framed(&text);
            tensors.iter().for_each(|t| content.extend_from_slice(&t.data));
            put(top.join(n.to_string()), &content);
        }
        let place = Place::default();
        let report = whole(&place, &top);
        for (path, node) in nodes(&place.open(), report.snapshot.unwrap()) {
            if let Some(table) = table(&place, &node) {
                let last = table.seams.last().unwrap();
                prop_assert_eq!(last.offset + last.len, node.size, "{}", path.display());
            }
        }
    }
}

/// `minilm-weeks` in `BALLAST_TEST_DATA`, or in a `shared/data` beside the repository.
fn week0() -> Option<Vec<u8>> {
    let given = std::env::var_os("BALLAST_TEST_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared/data"));
    let mut found = given.into_iter().chain(beside).map(|dir| dir.join("minilm-weeks/week0.safetensors"));
    found.find_map(|path| fs::read(path).ok())
}

#[test]
#[allow(clippy::print_stderr)]
fn a_real_model_sharded_anew() {
    let Some(content) = week0() else {
        eprintln!("skipped: no real model files here");
        return;
    };
    let end = 8 + usize::try_from(u64::from_le_bytes(content[..8].try_into().unwrap())).unwrap();
    let map: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&content[8..end]).unwrap();
    let number = |v: &serde_json::Value| usize::try_from(v.as_u64().unwrap()).unwrap();
    let tensors: Vec<Tensor> = map
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, info)| Tensor {
            name: name.clone(),
            dtype: "BF16",
            shape: info["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect(),
            data: content[end + number(&info["data_offsets"][0])..end + number(&info["data_offsets"][1])]
                .to_vec(),
        })
        .collect();
    let (front, back) = tensors.split_at(tensors.len() / 3);
    let shards = [("1", file(front, "")), ("2", file(back, ""))];
    let options = InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() };
    let share = added(&options, &[("m", content.clone())], &shards);
    // Two headers and tables are 0.001 of a model of 11 MB.
    assert!(share <= 0.0015, "{share}");
}
