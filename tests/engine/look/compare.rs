//! `diff --tensors`: which models stand against each other, and what the figures are.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::Error;
use ballast::format::content::Entry;
use ballast::format::record::LostV1;
use ballast::format::seams::{LAYOUT_SAFETENSORS, Seam, SeamTableV1};
use ballast::format::tree::Node;
use ballast::format::wire;
use ballast::id::{BlobId, BlobKind, BlobRef, SnapshotId};
use ballast::op::diff::Side;
use ballast::op::diff::tensors::{self, ModelDiff, Status, TensorDiff, TensorsReport, UnitKind};
use ballast::progress::{Progress, Silent};
use support::Calls;
use support::models::{Tensor, file, header, tensor};

use super::scene::Scene;

fn side(scene: &Scene, snapshot: SnapshotId, path: &str) -> Side {
    Side { snapshot, path: Some(scene.path(path)) }
}

fn compare(
    scene: &Scene,
    old: &Side,
    new: &Side,
    progress: &dyn Progress,
) -> (Vec<ModelDiff>, TensorsReport) {
    let mut all = Vec::new();
    let report = tensors::run(&scene.repo(), old, new, progress, &mut |model| {
        all.push(model.clone());
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!(report.models, all.len() as u64);
    (all, report)
}

/// The two models of a name in two snapshots.
fn one(scene: &Scene, old: SnapshotId, new: SnapshotId, name: &str) -> ModelDiff {
    let (mut all, report) = compare(scene, &side(scene, old, name), &side(scene, new, name), &Silent);
    assert_eq!((all.len(), report.unreadable.len()), (1, 0), "{report:?}");
    let model = all.remove(0);
    assert_eq!(model.all, report.all);
    model
}

fn of<'m>(model: &'m ModelDiff, name: &str) -> &'m TensorDiff {
    model.tensors.iter().find(|t| *t.name == *name.as_bytes()).unwrap()
}

fn f32s(name: &str, shape: &[u64], values: impl Iterator<Item = f32>) -> Tensor {
    let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    assert_eq!(data.len() as u64, shape.iter().product::<u64>() * 4);
    Tensor { name: name.into(), dtype: "F32", shape: shape.to_vec(), data }
}

#[track_caller]
fn near(found: Option<f64>, wanted: f64) {
    let found = found.expect("a number");
    assert!((found - wanted).abs() <= wanted.abs() * 1e-12, "{found} is {wanted}");
}

/// Eighths, so that every sum is exact.
fn eighth(n: u64) -> f32 {
    (n * 37 % 1000) as f32 / 8.0 - 50.0
}

#[test]
fn figures() {
    let scene = Scene::new();
    let n = 50_000_u64;
    let all = |step: &dyn Fn(u64) -> f32| f32s("h.0.mlp.w", &[500, 100], (0..n).map(|i| eighth(i) + step(i)));
    // Changed in two places far from each other, of a tensor of many chunks.
    let spots = |i: u64| {
        if i == 3 {
            0.5
        } else if (40_000..40_100).contains(&i) {
            -0.25
        } else {
            0.0
        }
    };
    let half = |bits: u16, count: usize| bits.to_le_bytes().repeat(count);
    let raw = |name: &str, dtype, shape: &[u64], data: Vec<u8>| Tensor {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data,
    };
    let strange = [1.0, f32::NAN, 2.0, f32::INFINITY];
    scene.put(
        "m",
        &file(
            &[
                all(&|_| 0.0),
                f32s("h.10.same", &[9000], (0..9000).map(eighth)),
                f32s("h.2.strange", &[4], strange.into_iter()),
                raw("h.2.bf16", "BF16", &[2, 500], half(0x3f80, 1000)),
                raw("h.2.f16", "F16", &[1000], half(0x3c00, 1000)),
                raw("h.2.f8", "F8_E5M2", &[1000], vec![0x3c; 1000]),
                raw("h.2.i64", "I64", &[2], [7_u8, 0, 0, 0, 0, 0, 0, 0].repeat(2)),
                f32s("grown", &[10, 100], (0..1000).map(eighth)),
                f32s("turned", &[10, 100], (0..1000).map(eighth)),
                f32s("cast", &[1000], (0..1000).map(eighth)),
                tensor("gone", 7, &[10]),
            ],
            "old",
        ),
    );
    let old = scene.take(1);
    scene.put(
        "m",
        &file(
            &[
                tensor("come", 8, &[10]),
                all(&spots),
                f32s("h.10.same", &[9000], (0..9000).map(eighth)),
                f32s("h.2.strange", &[4], [f32::NEG_INFINITY, f32::NAN, 2.5, f32::INFINITY].into_iter()),
                raw("h.2.bf16", "BF16", &[2, 500], [half(0x3f80, 750), half(0x4000, 250)].concat()),
                raw("h.2.f16", "F16", &[1000], [half(0x3c00, 999), half(0xbc00, 1)].concat()),
                raw("h.2.f8", "F8_E5M2", &[1000], [vec![0x3c; 500], vec![0x40; 500]].concat()),
                raw("h.2.i64", "I64", &[2], [[7_u8, 0, 0, 0, 0, 0, 0, 0], [0xff; 8]].concat()),
                f32s("grown", &[12, 100], (0..1200).map(|i| eighth(i) + if i < 100 { 1.0 } else { 0.0 })),
                f32s("turned", &[100, 10], (0..1000).map(eighth)),
                raw("cast", "F16", &[1000], half(0x3c00, 1000)),
            ],
            "new, and its header is longer",
        ),
    );
    let new = scene.take(2);
    let model = one(&scene, old, new, "m");
    let names: Vec<&str> = model.layers.iter().map(|l| std::str::from_utf8(&l.layer).unwrap()).collect();
    assert_eq!(names, ["cast", "come", "gone", "grown", "h.0", "h.2", "h.10", "turned"]);

    let w = of(&model, "h.0.mlp.w");
    assert_eq!((w.status, w.unit, w.units, w.changed_units), (Status::Changed, UnitKind::Element, n, 101));
    let squares: f64 = (0..n).map(|i| f64::from(eighth(i)).powi(2)).sum();
    near(w.figures.share, 101.0 / 50_000.0);
    near(w.figures.largest, 0.5);
    near(w.figures.mean, 25.5 / 50_000.0);
    near(w.figures.relative, ((0.25 + 100.0 * 0.0625) / squares).sqrt());
    assert_eq!(model.layers[4].figures, w.figures);

    let same = of(&model, "h.10.same");
    assert_eq!(
        (same.status, same.units, same.figures.mean, same.figures.relative),
        (Status::Identical, 9000, Some(0.0), Some(0.0))
    );
    let strange = of(&model, "h.2.strange");
    assert_eq!((strange.changed_units, strange.figures.not_finite), (2, 1));
    near(strange.figures.mean, 0.5 / 3.0);
    near(strange.figures.relative, 0.25);
    for (name, changed, largest, mean) in [
        ("h.2.bf16", 250, 1.0, 0.25),
        ("h.2.f16", 1, 2.0, 0.002),
        ("h.2.f8", 500, 1.0, 0.5),
        ("h.2.i64", 1, 8.0, 4.0),
    ] {
        let found = of(&model, name);
        assert_eq!(found.changed_units, changed, "{name}");
        near(found.figures.largest, largest);
        near(found.figures.mean, mean);
    }
    let grown = of(&model, "grown");
    assert_eq!(
        (grown.status, grown.common_rows, grown.units, grown.changed_units),
        (Status::Changed, Some(10), 1000, 100)
    );
    near(grown.figures.mean, 0.1);
    assert_eq!(
        (&grown.old.as_ref().unwrap().shape, &grown.new.as_ref().unwrap().shape),
        (&vec![10, 100], &vec![12, 100])
    );
    for (name, status) in [
        ("turned", Status::Reshaped),
        ("cast", Status::Reshaped),
        ("come", Status::Added),
        ("gone", Status::Removed),
    ] {
        let found = of(&model, name);
        assert_eq!((found.status, found.units, found.figures.share), (status, 0, None), "{name}");
    }
    let all = &model.all;
    assert_eq!(
        (all.tensors, all.identical, all.changed, all.reshaped, all.added, all.removed),
        (12, 1, 7, 2, 1, 1)
    );
    let two = &model.layers[5];
    assert_eq!(
        (two.tensors, two.compared_bytes, two.changed_bytes),
        (5, 16 + 2000 + 2000 + 1000 + 16, 8 + 500 + 2 + 500 + 8)
    );
    near(two.figures.largest, 8.0);

    // The same at every run, and nothing against itself.
    for _ in 0..4 {
        assert_eq!(one(&scene, old, new, "m"), model);
    }
    let itself = one(&scene, new, new, "m");
    assert_eq!((itself.all.identical, itself.all.tensors, itself.all.figures.relative), (11, 11, Some(0.0)));
}

/// What both sides have in the same chunks is known to be equal; of it the old side is read, and only if the rest of
/// the tensor changed.
#[test]
fn what_is_known_is_not_read() {
    let scene = Scene::new();
    let tensors = |changed: &[usize]| -> Vec<Tensor> {
        let one = |n: usize| {
            let mut t = tensor(format!("layers.{n}.w"), n as u64, &[100_000]);
            if changed.contains(&n) {
                t.data[77] ^= 1;
            }
            t
        };
        (0..5).map(one).collect()
    };
    let mut ids = Vec::new();
    for (day, changed) in [(1, &[][..]), (2, &[3])] {
        scene.put("m", &file(&tensors(changed), ""));
        ids.push(scene.take(day));
    }
    let read = std::sync::Arc::new(AtomicU64::new(0));
    let counter = read.clone();
    let calls = Calls::with_hook(move |what, bytes| {
        counter.fetch_add(if what == "advance" { bytes } else { 0 }, Ordering::Relaxed);
    });
    let (all, _) = compare(&scene, &side(&scene, ids[0], "m"), &side(&scene, ids[1], "m"), &calls);
    assert_eq!(
        (all[0].all.identical, all[0].all.changed, of(&all[0], "layers.3.w").changed_units),
        (4, 1, 1)
    );
    assert_eq!(read.load(Ordering::Relaxed), 200_000, "one tensor of five");
}

#[test]
fn holes_and_zeros_are_equal() {
    let scene = Scene::new();
    let tensors = [tensor("a", 1, &[1000]), Tensor { data: vec![0; 400_000], ..tensor("b", 2, &[200_000]) }];
    let content = file(&tensors, "");
    scene.put("m", &content);
    let dense = scene.take(1);
    let start = header(&tensors, "").len() + 2000;
    let sparse = std::fs::File::create(scene.top.join("m")).unwrap();
    sparse.set_len(content.len() as u64).unwrap();
    sparse.write_all_at(&content[..start], 0).unwrap();
    drop(sparse);
    let holes = scene.take(2);
    let model = one(&scene, dense, holes, "m");
    assert_eq!((model.all.identical, model.all.tensors), (2, 2), "{model:?}");
}

/// Files of one model: two shards and their index.
fn shards(scene: &Scene, dir: &str, tensors: &[Tensor]) {
    let (front, back) = tensors.split_at(tensors.len() / 2);
    let mut map = BTreeMap::new();
    for (name, part) in
        [("model-00001-of-00002.safetensors", front), ("model-00002-of-00002.safetensors", back)]
    {
        scene.put(&format!("{dir}/{name}"), &file(part, ""));
        map.extend(part.iter().map(|t| (t.name.clone(), name)));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    scene.put(&format!("{dir}/model.safetensors.index.json"), index.to_string().as_bytes());
}

#[test]
fn which_models_stand_against_each_other() {
    let scene = Scene::new();
    let model = |seed: u64| -> Vec<Tensor> {
        (0..6).map(|n| tensor(format!("layers.{n}.w"), seed * 10 + n, &[3000])).collect()
    };
    scene.put("base/model.safetensors", &file(&model(1), ""));
    scene.put("base/config.json", b"{}");
    shards(&scene, "big", &model(2));
    scene.put("still/model.safetensors", &file(&model(3), ""));
    scene.put("adapters/2026-03-01/adapter_model.safetensors", &file(&model(4), ""));
    scene.put("gone/x.safetensors", &file(&model(5), ""));
    let old = scene.take(1);
    let mut tuned = model(2);
    tuned[5].data[0] ^= 1;
    shards(&scene, "big", &tuned);
    scene.put("adapters/2026-03-08/adapter_model.safetensors", &file(&model(4)[..5], ""));
    std::fs::remove_dir_all(scene.top.join("gone")).unwrap();
    std::fs::remove_file(scene.top.join("base/model.safetensors")).unwrap();
    shards(&scene, "base", &model(1));
    let new = scene.take(2);
    let between = |a: &str, b: &str| -> Vec<(Option<String>, Option<String>, u64, u64)> {
        let name = |path: &Option<Vec<u8>>| path.as_ref().map(|p| scene.name(p).to_owned());
        let (all, report) = compare(&scene, &side(&scene, old, a), &side(&scene, new, b), &Silent);
        assert!(report.unreadable.is_empty(), "{report:?}");
        all.iter().map(|m| (name(&m.old), name(&m.new), m.all.identical, m.all.changed)).collect()
    };
    let both = |name: &str| (Some(name.to_owned()), Some(name.to_owned()));
    let index = "model.safetensors.index.json";
    // Everything: what is the same is not told, shards are one model.
    let all = between("", "");
    let paths: Vec<_> = all.iter().map(|(a, b, ..)| (a.as_deref(), b.as_deref())).collect();
    assert_eq!(
        paths,
        [
            (None, Some("adapters/2026-03-08/adapter_model.safetensors")),
            (Some("base/model.safetensors"), None),
            (None, Some("base/model.safetensors.index.json")),
            (Some("big/model.safetensors.index.json"), Some("big/model.safetensors.index.json")),
            (Some("gone/x.safetensors"), None),
        ]
    );
    assert_eq!((all[3].2, all[3].3), (5, 1));
    let (a, b) = both(&format!("big/{index}"));
    assert_eq!(between("big", "big"), [(a.clone(), b.clone(), 5, 1)]);
    assert_eq!(between(&format!("big/{index}"), "big"), [(a, b, 5, 1)]);
    // One file became two, other names, other folders, a file and a directory.
    let sharded = (Some("base/model.safetensors".to_owned()), Some(format!("base/{index}")), 6, 0);
    assert_eq!(between("base", "base"), std::slice::from_ref(&sharded));
    assert_eq!(between("base/model.safetensors", "base"), [sharded]);
    let dated = between("adapters/2026-03-01", "adapters/2026-03-08");
    assert_eq!((dated.len(), dated[0].2, dated[0].3), (1, 5, 0));
    assert_eq!(between("still", "still"), []);
    assert_eq!(between("still/model.safetensors", "still/model.safetensors").len(), 1, "it was asked for");
    let moved = between("still/model.safetensors", "base");
    assert_eq!((moved[0].2, moved[0].3), (0, 6));
    // What is no model.
    let none = tensors::run(
        &scene.repo(),
        &side(&scene, old, "base/config.json"),
        &side(&scene, new, "base"),
        &Silent,
        &mut |_| Ok(()),
    );
    assert!(matches!(none, Err(Error::Usage(_))), "{none:?}");
    let none = tensors::run(
        &scene.repo(),
        &side(&scene, old, "nowhere"),
        &side(&scene, new, "base"),
        &Silent,
        &mut |_| Ok(()),
    );
    assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
}

/// The cache of a hub: files named by their hash, and a folder of links to them for each version.
#[test]
fn folders_of_links_are_followed() {
    let scene = Scene::new();
    let model = |seed: u64| -> Vec<Tensor> {
        (0..4).map(|n| tensor(format!("layers.{n}.w"), n + if n < 3 { 0 } else { seed }, &[3000])).collect()
    };
    let link = |target: &str, name: &str| {
        std::fs::create_dir_all(scene.top.join(name).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, scene.top.join(name)).unwrap();
    };
    for (number, seed) in [(1, 10), (2, 20)] {
        scene.put(&format!("hub/blobs/{number}"), &file(&model(seed), ""));
        link(&format!("../../blobs/{number}"), &format!("hub/snapshots/{number}/model.safetensors"));
    }
    link("../../blobs/1", "hub/snapshots/again/weights.safetensors");
    link("../../none", "hub/snapshots/empty/model.safetensors");
    scene.put("copied/model.safetensors", &file(&model(20), ""));
    let (front, back) = ("a.safetensors", "b.safetensors");
    scene.put("hub/blobs/a", &file(&model(10)[..2], ""));
    scene.put("hub/blobs/b", &file(&model(30)[2..], ""));
    let map: BTreeMap<String, &str> =
        (0..4).map(|n| (format!("layers.{n}.w"), if n < 2 { front } else { back })).collect();
    scene.put("hub/blobs/i", serde_json::json!({ "weight_map": map }).to_string().as_bytes());
    for (blob, name) in [("a", front), ("b", back), ("i", "model.safetensors.index.json")] {
        link(&format!("../../blobs/{blob}"), &format!("hub/snapshots/shards/{name}"));
    }
    let old = scene.take(1);
    let between = |a: &str, b: &str| -> Vec<(Option<String>, Option<String>, u64, u64)> {
        let name =
            |path: &Option<Vec<u8>>| path.as_ref().map(|p| scene.name(p).replace("hub/snapshots/", ""));
        let (all, report) = compare(&scene, &side(&scene, old, a), &side(&scene, old, b), &Silent);
        assert!(report.unreadable.is_empty(), "{report:?}");
        all.iter().map(|m| (name(&m.old), name(&m.new), m.all.identical, m.all.changed)).collect()
    };
    let at = |version: &str| format!("hub/snapshots/{version}");
    let both = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    let one_changed = |a: &str, b: &str| {
        let (a, b) = both(a, b);
        (a, b, 3, 1)
    };
    assert_eq!(between(&at("1"), &at("2")), [one_changed("1/model.safetensors", "2/model.safetensors")]);
    assert_eq!(between(&at("1"), &at("1")), []);
    assert_eq!(
        between(&at("2"), &at("shards")),
        [one_changed("2/model.safetensors", "shards/model.safetensors.index.json")]
    );
    // Another name for the same file; links against a file; a link that leads nowhere.
    assert_eq!(between(&at("1"), &at("again")), []);
    assert_eq!(between(&at("1"), "copied"), [one_changed("1/model.safetensors", "copied/model.safetensors")]);
    let (a, b) = both("copied/model.safetensors", "2/model.safetensors");
    assert_eq!(between("copied", &at("2")), [(a, b, 4, 0)]);
    assert_eq!(between(&at("empty"), &at("1")), [(None, Some("1/model.safetensors".into()), 0, 0)]);
    assert_eq!(between(&at("empty"), &at("empty")), []);
    // All of the cache: its files are models, and folders of several are none.
    let names: Vec<_> =
        between("hub", "hub/snapshots").into_iter().map(|(old, new, ..)| (old, new)).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|(old, new)| old.is_some() && new.is_none()), "{names:?}");
}

#[test]
fn what_is_lost_is_told_and_the_rest_compared() {
    let scene = Scene::new();
    let model = |day: u64| -> Vec<Tensor> {
        (0..4).map(|n| tensor(format!("layers.{n}.w"), day * 10 + n, &[300_000])).collect()
    };
    scene.put("m", &file(&model(1), ""));
    let old = scene.take(1);
    scene.put("m", &file(&model(2), ""));
    let new = scene.take(2);
    let repo = scene.repo();
    let reader = ballast::repo::reader::Reader::open(&repo).unwrap();
    let root = repo.snapshot(new).unwrap().record.root;
    let found = ballast::repo::model::Model::find(&reader, root, &scene.path("m")).unwrap();
    let (pieces, _) = reader.pieces(&found.shards[0].node.content).unwrap();
    let at = found.tensors[2].offset;
    let lost = pieces.iter().find(|p| p.offset > at).unwrap();
    let ballast::format::content::Entry::Chunk { id, .. } = lost.entry else { panic!("no chunk") };
    scene.lose(&BlobRef::new(BlobKind::Chunk, id));
    let (all, report) = compare(&scene, &side(&scene, old, "m"), &side(&scene, new, "m"), &Silent);
    let model = &all[0];
    assert_eq!(of(model, "layers.2.w").status, Status::Unreadable);
    assert!(report.all.unreadable >= 1 && report.all.changed >= 1, "{:?}", report.all);
    assert_eq!(report.unreadable.len() as u64, report.all.unreadable);
    assert!(
        report.unreadable.iter().any(|(what, why)| what.ends_with("layers.2.w") && why.contains("missing"))
    );
}

/// A run that is asked to stop does.
#[test]
fn a_stop_is_heard() {
    let scene = Scene::new();
    let mut ids = Vec::new();
    for day in 1..=2 {
        scene.put("m", &file(&[tensor("w", 100 + day as u64, &[2_000_000])], ""));
        ids.push(scene.take(day));
    }
    let run = |progress: &dyn Progress| {
        tensors::run(
            &scene.repo(),
            &side(&scene, ids[0], "m"),
            &side(&scene, ids[1], "m"),
            progress,
            &mut |_| Ok(()),
        )
    };
    assert!(run(&Silent).is_ok());
    assert!(matches!(run(&Calls::stopping_at(2)), Err(Error::Interrupted)));
}

/// Marks of loss, lengths that lie, directories that are gone: nothing is made up of them.
#[test]
fn what_nodes_say_is_not_believed() {
    let scene = Scene::new();
    let tensors = [tensor("a", 1, &[3000]), tensor("b", 2, &[3000])];
    scene.put("d/m", &file(&tensors, ""));
    scene.put("m", &file(&tensors, "another"));
    let first = scene.take(1);
    let lost = scene.doctored("m", |_, mut node| {
        let mut lost = LostV1::default();
        lost.push(node.size - 100, 50);
        node.mark_lost(lost);
        node
    });
    scene.take(1);
    let longer = scene.doctored("m", |_, node| Node { size: node.size + 1, ..node });
    scene.take(1);
    let gone = scene.doctored("d", |_, node| {
        let content = vec![Entry::Tree { id: BlobId([7; 32]) }];
        Node { content, ..node }
    });
    for (id, name, words) in
        [(lost, "m", "50 of its"), (longer, "m", "not as long as its directory says"), (gone, "d", "missing")]
    {
        let there = Side { snapshot: id, path: Some([b"/", name.as_bytes()].concat()) };
        for (old, new) in [(&side(&scene, first, name), &there), (&there, &side(&scene, first, name))] {
            let (all, report) = compare(&scene, old, new, &Silent);
            assert!(all.is_empty(), "{name}: {all:?}");
            let [(_, why)] = &report.unreadable[..] else { panic!("{name}: {report:?}") };
            assert!(why.contains(words), "{name}: {why}");
        }
    }
}

/// Of holes nothing is read, however long they are; what lies between two of them counts.
#[test]
fn holes_are_passed_over() {
    let scene = Scene::new();
    scene.put("m", &file(&[tensor("t", 1, &[10])], ""));
    scene.take(1);
    let floats = |value: f32, count: usize| value.to_le_bytes().repeat(count);
    const LONG: u64 = 1 << 61;
    let made = |first: f32| {
        scene.doctored("m", |session, node| {
            let mut content = Vec::new();
            let chunk = |value, count: usize| {
                let bytes = floats(value, count);
                let id = session.store(BlobKind::Chunk, &bytes).unwrap().id;
                Entry::Chunk { id, len: bytes.len() as u32 }
            };
            content.push(chunk(first, 100));
            content.push(Entry::Hole { len: 4000 });
            content.push(chunk(2.0, 200));
            content.push(Entry::Hole { len: LONG });
            let size = 400 + 4000 + 800 + LONG;
            let seam = Seam {
                name: b"t"[..].into(),
                dtype: b"F32"[..].into(),
                shape: vec![size / 4],
                offset: 0,
                len: size,
            };
            let table = SeamTableV1 { layout: LAYOUT_SAFETENSORS, seams: vec![seam], extensions: Vec::new() };
            let seams = session.store(BlobKind::Seams, &wire::encode(&table)).unwrap().id;
            Node { seams: Some(seams), content, size, ..node }
        })
    };
    let at = |snapshot| Side { snapshot, path: Some(b"/m".to_vec()) };
    let old = made(1.0);
    scene.take(1);
    let new = made(1.5);
    let (all, report) = compare(&scene, &at(old), &at(new), &Silent);
    assert!(report.unreadable.is_empty(), "{report:?}");
    let t = of(&all[0], "t");
    assert_eq!((t.units, t.changed_units), ((400 + 4000 + 800 + LONG) / 4, 100));
    near(t.figures.relative, (100.0 * 0.25 / (100.0 + 200.0 * 4.0_f64)).sqrt());
}
