//! Tensors of models in snapshots: listed, dumped, loaded; since when they are as they are; hostile tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ballast::chunk::CutParams;
use ballast::format::content::Entry;
use ballast::format::ledger::{Event, ForgetV1};
use ballast::format::record::LostV1;
use ballast::format::seams::{LAYOUT_SAFETENSORS, Seam, SeamTableV1};
use ballast::format::tree::Node;
use ballast::format::wire;
use ballast::id::{BlobKind, BlobRef, ObjectKind, SessionId, SnapshotId};
use ballast::op::dump::{self, TensorFormat, TensorOptions};
use ballast::op::tensors::{self, TensorsOptions, TensorsReport};
use ballast::op::{diff, open, snapshot};
use ballast::progress::Silent;
use ballast::repo::InitOptions;
use ballast::repo::Repository;
use ballast::repo::ledger::Append;
use ballast::repo::reader::Reader;
use ballast::source::stream::{Reading, Tap};
use ballast::store::call::Method;
use safetensors::SafeTensors;
use support::models::{self, Tensor, file, tensor, transformer};
use support::{Place, bytes, of, tiny};

use crate::files::{node_of, recorded, stored};
use crate::scene::Scene;

#[path = "../../../engine/examples/load_model.rs"]
mod load_model;

/// Chunks of 64 KiB on average, each in a frame of its own if it is that long.
fn middle() -> InitOptions {
    let cut = CutParams { min: 16 << 10, avg: 64 << 10, max: 256 << 10, ..CutParams::default() };
    InitOptions { cut, ..tiny() }
}

fn scene() -> Scene {
    Scene::at(Place::new(&middle()))
}

fn list(repo: &Repository, id: SnapshotId, path: &[u8], patterns: &[&str]) -> TensorsReport {
    let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
    tensors::run(repo, &TensorsOptions { snapshot: id, path: path.to_vec(), patterns }, &Silent).unwrap()
}

fn dump_as(
    repo: &Repository,
    id: SnapshotId,
    path: &[u8],
    tensors: &[&str],
    format: TensorFormat,
) -> ballast::error::Result<Vec<u8>> {
    let tensors = tensors.iter().map(|t| (*t).to_owned()).collect();
    let options = TensorOptions { snapshot: id, path: path.to_vec(), tensors, format };
    let mut out = Vec::new();
    let report = dump::tensors(repo, &options, &mut out, &Silent)?;
    assert_eq!(report.bytes, out.len() as u64);
    Ok(out)
}

fn raw(repo: &Repository, id: SnapshotId, path: &[u8], name: &str) -> ballast::error::Result<Vec<u8>> {
    dump_as(repo, id, path, &[name], TensorFormat::Raw)
}

/// A model of some megabytes in two shards with their index, and in one file.
fn sharded(scene: &Scene) -> Vec<Tensor> {
    let all = transformer(1, 3, 256, 3000);
    let (front, back) = all.split_at(6);
    let mut map = BTreeMap::new();
    for (name, part) in [("model-1-of-2.safetensors", front), ("model-2-of-2.safetensors", back)] {
        scene.put(&format!("sharded/{name}"), &file(part, "x"));
        map.extend(part.iter().map(|t| (t.name.clone(), name)));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    scene.put("sharded/model.safetensors.index.json", index.as_bytes());
    scene.put("one/model.safetensors", &file(&all, "x"));
    scene.put("one/config.json", b"{}");
    all
}

#[test]
fn one_tensor_costs_what_is_stored_of_it() {
    let cut = CutParams { min: 64 << 10, avg: 128 << 10, max: 512 << 10, ..CutParams::default() };
    let scene = Scene::at(Place::new(&InitOptions { cut, ..tiny() }));
    let all: Vec<Tensor> = (0..6).map(|n| tensor(format!("t{n}"), n, &[1024, 2048])).collect();
    scene.put("m", &file(&all, ""));
    let id = scene.take(1);
    let path = scene.path("m");
    let whole = list(&scene.repo(), id, &path, &[]);
    assert_eq!((whole.rows.len(), whole.total_bytes), (6, 24 << 20));
    let sum: u64 = whole.rows.iter().map(|row| row.stored_bytes).sum();
    assert!(sum.abs_diff(whole.stored_bytes) <= 6, "nothing is shared: {sum}");
    let (repo, store) = recorded(&scene.place);
    let reader = Reader::open(&repo).unwrap();
    let (pieces, _) = reader.pieces(&node_of(&reader, &repo, id, &path).content).unwrap();
    let row = &whole.rows[3];
    let end = row.tensor.offset + row.tensor.len;
    let chunks = pieces.iter().filter(|p| p.offset >= row.tensor.offset && p.offset < end);
    let wanted = stored(
        &reader,
        chunks.map(|p| match p.entry {
            ballast::format::content::Entry::Chunk { id, .. } => id,
            _ => panic!("no chunk"),
        }),
    );
    let share = row.stored_bytes;
    assert!(share <= wanted && share > 4 << 20, "what does not compress: {share} of {wanted}");
    store.take();
    assert!(raw(&repo, id, &path, "t3").unwrap() == all[3].data);
    let read = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    assert!(read >= wanted && read < share * 11 / 10, "{read} for {share}");
    store.take();
    let copy = dump_as(&repo, id, &path, &["t3"], TensorFormat::Safetensors).unwrap();
    let read = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    assert!(read < share * 11 / 10, "{read} for {share}");
    assert!(copy.ends_with(&all[3].data));
    store.take();
    let weights = open::model(&repo, id, &path).unwrap();
    assert!(weights.bytes(b"t3").unwrap() == all[3].data);
    let mut tensor = Vec::new();
    let mut part = weights.tensor(weights.model().tensor(b"t3").unwrap()).unwrap();
    std::io::Read::read_to_end(&mut part, &mut tensor).unwrap();
    assert!(tensor == all[3].data);
    let read = store.bytes(Method::GetRange, Some(ObjectKind::Pack));
    assert!(read < share * 22 / 10, "nothing ahead of it or behind it: {read} for twice {share}");
}

#[test]
fn tensors_are_dumped_out_of_files_and_shards() {
    let scene = scene();
    let all = sharded(&scene);
    let id = scene.take(1);
    let repo = scene.repo();
    for name in ["sharded", "sharded/model.safetensors.index.json", "one", "one/model.safetensors"] {
        let path = scene.path(name);
        let rows = list(&repo, id, &path, &[]).rows;
        assert_eq!(rows.len(), all.len(), "{name}");
        for t in &all {
            assert!(raw(&repo, id, &path, &t.name).unwrap() == t.data, "{name}: {}", t.name);
        }
        let copy = dump_as(
            &repo,
            id,
            &path,
            &["layer.?.query*", "*.scale", "!layer.1.*"],
            TensorFormat::Safetensors,
        );
        let copy = copy.unwrap();
        let read = SafeTensors::deserialize(&copy).unwrap();
        let mut names = read.names();
        names.sort();
        assert_eq!(names, ["layer.0.query.weight", "layer.0.scale", "layer.2.query.weight", "layer.2.scale"]);
        for (found, view) in read.tensors() {
            let t = all.iter().find(|t| t.name == found).unwrap();
            assert!(
                view.data() == t.data && view.shape().iter().map(|n| *n as u64).eq(t.shape.iter().copied())
            );
            assert_eq!(format!("{:?}", view.dtype()), t.dtype);
        }
        let (len, meta) = SafeTensors::read_metadata(&copy).unwrap();
        assert!(len.is_multiple_of(8));
        assert_eq!(meta.metadata().as_ref().unwrap()["format"], "pt", "what libraries ask for is kept");
    }
    assert_eq!(list(&repo, id, &scene.path("one"), &["*.scale"]).rows.len(), 3);
    let refused = |names: &[&str], format| {
        dump_as(&repo, id, &scene.path("one"), names, format).unwrap_err().to_string()
    };
    assert!(refused(&["*.scale"], TensorFormat::Raw).ends_with("one/model.safetensors: 3 tensors fit"));
    assert!(refused(&["none"], TensorFormat::Raw).starts_with("tensor none in /"));
    assert!(refused(&["*.scale", "nil*"], TensorFormat::Safetensors).contains("tensor nil* in"));
    let none = raw(&repo, id, &scene.path("one/config.json"), "x").unwrap_err().to_string();
    assert!(none.contains("holds no tensors that are known"), "{none}");
}

/// A hub's cache: files named by their hash, and folders of links to them with the names.
#[test]
fn links_of_a_cache_are_followed() {
    let scene = scene();
    let all = sharded(&scene);
    let names = ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"];
    let rev = scene.top.join("hub/snapshots/rev");
    std::fs::create_dir_all(&rev).unwrap();
    for (number, name) in names.iter().enumerate() {
        let content = std::fs::read(scene.top.join("sharded").join(name)).unwrap();
        scene.put(&format!("hub/blobs/{number}"), &content);
        std::os::unix::fs::symlink(format!("../../blobs/{number}"), rev.join(name)).unwrap();
    }
    for (target, link) in [("nowhere", "tokenizer.json"), ("/etc", "outside"), ("config.json", "config.json")]
    {
        std::os::unix::fs::symlink(target, rev.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("snapshots/rev", scene.top.join("hub/current")).unwrap();
    let id = scene.take(1);
    let repo = scene.repo();
    for name in ["hub/snapshots/rev", "hub/current", "hub/current/model.safetensors.index.json"] {
        let path = scene.path(name);
        assert_eq!(list(&repo, id, &path, &[]).rows.len(), all.len(), "{name}");
        let last = all.last().unwrap();
        assert_eq!(raw(&repo, id, &path, &last.name).unwrap(), last.data, "{name}");
    }
    let one = list(&repo, id, &scene.path("hub/current/model-1-of-2.safetensors"), &[]);
    assert_eq!(one.rows.len(), 6);
}

#[test]
fn widths_are_mixed_and_stay_aligned() {
    let scene = scene();
    let of = |name: &str, dtype, shape: &[u64], bits: usize| {
        let elements: u64 = shape.iter().product();
        let data = bytes(name.len() as u64, usize::try_from(elements).unwrap() * bits / 8);
        Tensor { name: name.into(), dtype, shape: shape.to_vec(), data }
    };
    let all = [
        of("f8", "F8_E4M3", &[3], 8),
        of("quote\"\u{1b}\n\u{202e}\\", "BF16", &[3, 5], 16),
        of("half", "F16", &[1], 16),
        of("four", "F4", &[2], 4),
        of("none", "I64", &[0, 9], 64),
        of("wide", "I64", &[7], 64),
        of("single", "F32", &[], 32),
    ];
    scene.put("m", &file(&all, ""));
    let id = scene.take(1);
    let copy = dump_as(&scene.repo(), id, &scene.path("m"), &["**"], TensorFormat::Safetensors).unwrap();
    let read = SafeTensors::deserialize(&copy).unwrap();
    assert_eq!(read.len(), all.len());
    for t in &all {
        let view = read.tensor(&t.name).unwrap();
        assert_eq!((view.data(), view.shape().len()), (&t.data[..], t.shape.len()), "{}", t.name);
        let at = view.data().as_ptr() as usize - copy.as_ptr() as usize;
        let width = t.data.len().checked_div(t.shape.iter().product::<u64>() as usize).unwrap_or(1).max(1);
        assert!(at.is_multiple_of(width), "{} at {at}", t.name);
    }
}

#[test]
fn what_was_stored_from_a_pipe_is_looked_into() {
    let scene = scene();
    let all = transformer(3, 1, 128, 500);
    let tap = Tap::new(Reading(std::io::Cursor::new(file(&all, ""))));
    let stream = Some(snapshot::StreamOptions { path: "/m".into(), tap });
    let options = snapshot::SnapshotOptions { paths: Vec::new(), stream, ..of("/") };
    let id = scene.take_by("here", 1, &options);
    let repo = scene.repo();
    let reader = Reader::open(&repo).unwrap();
    let node = node_of(&reader, &repo, id, b"/m");
    let rows = list(&repo, id, b"/m", &[]).rows;
    assert_eq!(rows.len(), all.len(), "{:?}", node.seams);
    for t in &all {
        assert!(raw(&repo, id, b"/m", &t.name).unwrap() == t.data, "{}", t.name);
    }
}

/// The day of the snapshot since which each tensor is the same.
fn since(repo: &Repository, id: SnapshotId, path: &[u8], days: &[SnapshotId]) -> BTreeMap<String, usize> {
    let report = list(repo, id, path, &[]);
    let day = |id| days.iter().position(|day| *day == id).unwrap() + 1;
    let row = |row: tensors::TensorRow| (String::from_utf8(row.tensor.name).unwrap(), day(row.since.id));
    report.rows.into_iter().map(row).collect()
}

#[test]
fn since_when_it_is_as_it_is() {
    let scene = scene();
    let mut now: Vec<Tensor> = ["frozen", "changed", "back", "retyped", "moved"]
        .iter()
        .zip(1..)
        .map(|(n, s)| tensor(*n, s, &[64, 512]))
        .collect();
    let mut days = Vec::new();
    let mut take = |scene: &Scene, now: &[Tensor], name: &str, day| {
        scene.put(name, &file(now, &format!("day {day}")));
        days.push(scene.take(day));
        days.clone()
    };
    take(&scene, &now, "m", 1);
    now[1].data = bytes(90, now[1].data.len());
    let (kept, other) = (now[2].data.clone(), bytes(91, now[2].data.len()));
    now[2].data = other;
    take(&scene, &now, "m", 2);
    now[2].data = kept;
    now[3].dtype = "F16";
    now.reverse();
    take(&scene, &now, "m", 3);
    // Another host's model is nobody's business.
    let others = [Tensor { data: bytes(99, now[0].data.len()), ..now[0].clone() }];
    scene.put("m", &file(&others, ""));
    let _ = scene.take_by("there", 4, &of(&scene.top));
    now.insert(0, tensor("new", 77, &[8]));
    take(&scene, &now, "m", 5);
    let days = take(&scene, &now, "m", 6);
    let repo = scene.repo();
    let path = scene.path("m");
    let found =
        |id, days: &[SnapshotId]| since(&scene.repo(), id, &path, days).into_iter().collect::<Vec<_>>();
    let named =
        |pairs: &[(&str, usize)]| pairs.iter().map(|(n, d)| ((*n).to_owned(), *d)).collect::<Vec<_>>();
    let all = [("back", 3), ("changed", 2), ("frozen", 1), ("moved", 1), ("new", 4), ("retyped", 3)];
    assert_eq!(found(days[4], &days), named(&all));
    assert_eq!(
        found(days[2], &days),
        named(&[("back", 3), ("changed", 2), ("frozen", 1), ("moved", 1), ("retyped", 3)])
    );
    assert_eq!(
        found(days[0], &days),
        named(&["back", "changed", "frozen", "moved", "retyped"].map(|n| (n, 1)))
    );
    // A forgotten snapshot is no part of the row, and does not break it.
    let mut ledger = repo.ledger(true).unwrap();
    let forget = Event::Forget(ForgetV1 { snapshots: vec![days[0], days[3]], reason: "test".into() });
    assert_eq!(ledger.append(&repo, SessionId([9; 16]), &forget).unwrap(), Append::Done);
    let all = [("back", 3), ("changed", 2), ("frozen", 2), ("moved", 2), ("new", 5), ("retyped", 3)];
    assert_eq!(found(days[4], &days), named(&all));
    // Under another name it is another model, and while it is away the row is broken.
    std::fs::rename(scene.top.join("m"), scene.top.join("n")).unwrap();
    let seventh = scene.take(7);
    std::fs::rename(scene.top.join("n"), scene.top.join("m")).unwrap();
    let eighth = scene.take(8);
    let alone =
        |id, path: &[u8]| list(&scene.repo(), id, path, &[]).rows.iter().all(|row| row.since.id == id);
    assert!(alone(seventh, &scene.path("n")) && alone(eighth, &path));
}

#[test]
fn a_long_row_of_equal_snapshots_is_not_read_again_and_again() {
    let scene = scene();
    scene.put("m", &file(&transformer(5, 2, 128, 2000), ""));
    let first = scene.take(1);
    let last = (2..12).fold(first, |_, day| scene.take(day));
    let (repo, store) = recorded(&scene.place);
    let mut reads = Vec::new();
    for id in [first, last] {
        store.take();
        let report = list(&repo, id, &scene.path("m"), &[]);
        assert!(report.rows.iter().all(|row| row.since.id == first));
        reads.push(store.count(Method::GetRange, Some(ObjectKind::Pack)));
    }
    assert!(reads[1] <= reads[0] + 2, "{reads:?}");
}

/// A snapshot of one file with a seam table that says whatever one likes.
fn with_table(scene: &Scene, seams: Vec<Seam>) -> (Repository, SnapshotId) {
    let made = scene.doctored("m", |session, node| {
        let table = SeamTableV1 { layout: LAYOUT_SAFETENSORS, seams, extensions: Vec::new() };
        let seams = session.store(BlobKind::Seams, &wire::encode(&table)).unwrap().id;
        Node { seams: Some(seams), name: b"m"[..].into(), ..node }
    });
    (scene.repo(), made)
}

#[test]
fn what_a_table_says_is_not_believed() {
    let scene = scene();
    let content = file(&[tensor("t", 1, &[1000])], "");
    scene.put("m", &content);
    scene.take(1);
    let seam = |name: &[u8], dtype: &str, shape: &[u64], offset, len| Seam {
        name: name.into(),
        dtype: dtype.as_bytes().into(),
        shape: shape.to_vec(),
        offset,
        len,
    };
    let end = content.len() as u64;
    let (repo, id) = with_table(
        &scene,
        vec![
            seam(b"beyond", "U8", &[9], end - 8, 9),
            seam(b"far", "U8", &[9], u64::MAX - 3, 9),
            seam(b"twice", "U8", &[4], 0, 4),
            seam(b"twice", "U8", &[4], 4, 4),
            seam(b"Q", "Q8_0", &[4], 0, 4),
            seam(b"short", "F32", &[u64::MAX, u64::MAX], 0, 4),
            seam(b"\xff\x1b\n", "U8", &[2], 8, 2),
            seam(b"__metadata__", "U8", &[2], 8, 2),
            seam(b"", "U8", &[1], 8, 1),
            seam(b"empty", "U8", &[0], end, 0),
        ],
    );
    let rows = list(&repo, id, b"/m", &[]).rows;
    assert_eq!(rows.len(), 8, "what lies outside of the file is none");
    let refused =
        |names: &[&str]| dump_as(&repo, id, b"/m", names, TensorFormat::Safetensors).unwrap_err().to_string();
    for (names, words) in [
        (&["beyond"][..], "was not found"),
        (&["twice"], "tensor twice is there twice"),
        (&["empty", "Q"], "tensor Q is of type Q8_0, which safetensors does not have"),
        (&["short"], "not those of its type and shape"),
        (&["*", "!twice", "!Q", "!short"], "\\xff\\u{1b}\\n has a name that is no UTF-8"),
        (&["__metadata__"], "has a name that safetensors has for something else"),
    ] {
        assert!(refused(names).contains(words), "{names:?}: {}", refused(names));
    }
    assert_eq!(raw(&repo, id, b"/m", "Q").unwrap(), &content[..4]);
    assert_eq!(raw(&repo, id, b"/m", "empty").unwrap(), b"");
    assert_eq!(raw(&repo, id, b"/m", "twice").unwrap_err().to_string(), "/m: 2 tensors fit");
    let copy = dump_as(&repo, id, b"/m", &["empty", ""], TensorFormat::Safetensors);
    assert_eq!(SafeTensors::deserialize(&copy.unwrap()).unwrap().tensor("").unwrap().data(), &content[8..9]);
}

/// A table of safetensors over a file that is none, whose first bytes would be the length of a header.
#[test]
fn a_header_that_is_none_is_not_looked_for() {
    let scene = scene();
    scene.put("m", &[0xff; 1000]);
    scene.take(1);
    let seam = Seam { name: b"t"[..].into(), dtype: b"U8"[..].into(), shape: vec![4], offset: 8, len: 4 };
    let (repo, id) = with_table(&scene, vec![seam]);
    let copy = dump_as(&repo, id, b"/m", &["t"], TensorFormat::Safetensors).unwrap();
    assert_eq!(SafeTensors::deserialize(&copy).unwrap().tensor("t").unwrap().data(), [0xff; 4]);
}

/// A node that says more than its content has: what lies behind that is an error, neither nothing nor zeros.
#[test]
fn tensors_behind_the_content_are_errors() {
    let scene = scene();
    scene.put("m", &file(&[tensor("t", 1, &[1000])], ""));
    scene.take(1);
    let id = scene.doctored("m", |session, node| {
        let (name, dtype) = (b"t"[..].into(), b"U8"[..].into());
        let seams = vec![Seam { name, dtype, shape: vec![50], offset: node.size - 10, len: 50 }];
        let table = SeamTableV1 { layout: LAYOUT_SAFETENSORS, seams, extensions: Vec::new() };
        let seams = session.store(BlobKind::Seams, &wire::encode(&table)).unwrap().id;
        Node { seams: Some(seams), size: node.size + 40, ..node }
    });
    let repo = scene.repo();
    assert!(list(&repo, id, b"/m", &[]).rows[0].damaged);
    for error in [
        raw(&repo, id, b"/m", "t").unwrap_err(),
        open::model(&repo, id, b"/m").unwrap().bytes(b"t").unwrap_err(),
    ] {
        assert!(error.to_string().contains("reach beyond"), "{error}");
    }
}

/// As often as there are tensors would all of the file be read.
#[test]
fn a_table_of_tensors_on_one_another_is_not_compared() {
    let scene = scene();
    let content = file(&[tensor("t", 1, &[1000])], "");
    scene.put("m", &content);
    let first = scene.take(1);
    let end = content.len() as u64;
    let all_of_it = |count: usize| -> Vec<Seam> {
        let seam = |n: usize| Seam {
            name: format!("t{n}").into_bytes().into(),
            dtype: b"U8"[..].into(),
            shape: vec![end],
            offset: 0,
            len: end,
        };
        (0..count).map(seam).collect()
    };
    let side = |snapshot, path: &[u8]| diff::Side { snapshot, path: Some(path.to_vec()) };
    for (count, refused) in [(16, 0), (17, 1)] {
        let (repo, id) = with_table(&scene, all_of_it(count));
        let mut models = 0;
        let report =
            diff::tensors::run(&repo, &side(first, &scene.path("m")), &side(id, b"/m"), &Silent, &mut |_| {
                models += 1;
                Ok(())
            });
        let report = report.unwrap();
        assert_eq!((models, report.unreadable.len()), (1 - refused, refused), "{count}");
        assert!(report.unreadable.iter().all(|(_, why)| why.contains("lie on one another")), "{report:?}");
        let dumped = dump_as(&repo, id, b"/m", &["*"], TensorFormat::Safetensors);
        assert_eq!(dumped.is_err(), refused > 0, "{count}");
        // The next table is made of a snapshot of the directory again.
        scene.take(2);
    }
}

#[test]
fn the_example_loads_models() {
    let scene = scene();
    let all = sharded(&scene);
    let dir = tempfile::tempdir().unwrap();
    let vault = dir.path().join("vault");
    let store = Arc::new(ballast::store::local::LocalStore::new(&vault).unwrap());
    let open = ballast::repo::OpenOptions::default();
    let repo =
        Repository::init(store, b"p", &middle(), &open, ballast::entropy::Surroundings::system()).unwrap();
    snapshot::run(&repo, &of(&scene.top), &Silent).unwrap();
    for name in ["one/model.safetensors", "sharded"] {
        let mut out = Vec::new();
        let path = scene.top.join(name);
        let (vault, path) = (vault.to_str().unwrap(), path.to_str().unwrap());
        load_model::load(vault, b"p", None, "latest", path, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), all.len() + 1, "{out}");
        assert!(out.contains("embeddings.weight BF16 [3000, 256]"), "{out}");
        assert!(
            out.contains(&format!("\n{} bytes in", all.iter().map(|t| t.data.len()).sum::<usize>())),
            "{out}"
        );
    }
    assert!(
        load_model::load(vault.to_str().unwrap(), b"p", None, "latest", "/none", &mut Vec::new()).is_err()
    );
    // The header of this module's models is read by the crate as it is by us.
    assert_eq!(SafeTensors::read_metadata(&models::file(&all, "")).unwrap().1.tensors().len(), all.len());
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/examples/load_model.rs").exists());
}

/// What is lost of one tensor is said of that one; an older snapshot that cannot be read ends the rows, and is named.
#[test]
fn what_is_damaged_is_said() {
    let scene = scene();
    let mut all: Vec<Tensor> = (0..3).map(|n| tensor(format!("t{n}"), n, &[64, 1024])).collect();
    scene.put("m", &file(&all, ""));
    let first = scene.take(1);
    all[1].data = bytes(90, all[1].data.len());
    scene.put("m", &file(&all, "another header, so another table"));
    let second = scene.take(2);
    let path = scene.path("m");
    let said = |id, path: &[u8]| {
        let report = list(&scene.repo(), id, path, &[]);
        let damaged: Vec<bool> = report.rows.iter().map(|row| row.damaged).collect();
        let since: Vec<bool> = report.rows.iter().map(|row| row.since.id == first).collect();
        (damaged, since, report.unreadable.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    };
    assert_eq!(said(second, &path), (vec![false; 3], vec![true, false, true], vec![]));
    let marked = scene.doctored("m", |_, mut node| {
        let mut lost = LostV1::default();
        lost.push(node.size - 1, 1);
        node.mark_lost(lost);
        node
    });
    assert_eq!(said(marked, b"/m").0, [false, false, true]);
    let repo = scene.repo();
    let root = repo.snapshot(first).unwrap().record.root;
    scene.lose(&BlobRef::new(BlobKind::Tree, root));
    assert_eq!(said(second, &path), (vec![false; 3], vec![false; 3], vec![first]));
    let reader = Reader::open(&repo).unwrap();
    let (pieces, _) = reader.pieces(&node_of(&reader, &repo, second, &path).content).unwrap();
    let middle = list(&repo, second, &path, &[]).rows[1].tensor.offset;
    let Entry::Chunk { id, .. } = pieces.iter().find(|p| p.offset == middle).unwrap().entry else { panic!() };
    scene.lose(&BlobRef::new(BlobKind::Chunk, id));
    assert_eq!(said(second, &path).0, [false, true, false]);
}
