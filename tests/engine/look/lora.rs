//! The life of adapters: saved under dated folders after every run, looked at across them, merged into their base.

use ballast::chunk::CutParams;
use ballast::op::diff::Side;
use ballast::op::diff::tensors::{self, Status};
use ballast::op::find::{self, FindOptions};
use ballast::op::stats::models;
use ballast::progress::Silent;
use ballast::repo::InitOptions;
use ballast::repo::model::Model;
use ballast::repo::reader::Reader;
use ballast::repo::snapshots::Filter;
use support::models::{Tensor, file};
use support::{bytes, of, tiny};

use super::scene::Scene;

const ROWS: usize = 192;
const COLUMNS: usize = 512;
const RANK: usize = 4;
const LAYERS: u64 = 3;

fn scene() -> Scene {
    let cut = CutParams { min: 16 << 10, avg: 64 << 10, max: 128 << 10, ..CutParams::default() };
    Scene::with(&InitOptions { cut, ..tiny() })
}

/// Numbers about zero, `size` at most, more small ones than large ones.
fn weights(seed: u64, count: usize, size: f32) -> Vec<f32> {
    let one = |b: &[u8; 4]| b.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>() / 510.0 * size;
    bytes(seed, 4 * count).as_chunks::<4>().0.iter().map(one).collect()
}

fn bf16(values: &[f32]) -> Vec<u8> {
    // To the nearest, ties to even, as trainers do.
    let round = |v: &f32| ((v.to_bits() + 0x7fff + ((v.to_bits() >> 16) & 1)) >> 16) as u16;
    values.iter().flat_map(|v| round(v).to_le_bytes()).collect()
}

fn matrix(name: String, values: &[f32], rows: usize) -> Tensor {
    let shape = vec![rows as u64, (values.len() / rows) as u64];
    Tensor { name, dtype: "BF16", shape, data: bf16(values) }
}

/// A, and B, which grows from run to run.
fn factors(layer: u64, run: u64) -> (Vec<f32>, Vec<f32>) {
    let seed = 1000 * (layer + 1);
    let steps = (1..=run).map(|run| weights(seed + 10 * run, ROWS * RANK, 0.004));
    let b =
        steps.fold(vec![0.0; ROWS * RANK], |sum, step| sum.iter().zip(step).map(|(a, b)| a + b).collect());
    (weights(seed, RANK * COLUMNS, 0.05), b)
}

fn adapter(run: u64) -> Vec<u8> {
    let pair = |layer: u64| {
        let (a, b) = factors(layer, run);
        let name = |which: &str| {
            format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{which}.weight")
        };
        [matrix(name("A"), &a, RANK), matrix(name("B"), &b, ROWS)]
    };
    file(&(0..LAYERS).flat_map(pair).collect::<Vec<_>>(), "")
}

/// The base, with the adapter of a run merged into its q_proj: all else is as it was.
fn merged(run: u64) -> Vec<u8> {
    let layer = |layer: u64| {
        let mut q = weights(77 + layer, ROWS * COLUMNS, 0.08);
        let (a, b) = factors(layer, run);
        for (at, value) in q.iter_mut().enumerate() {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let product = (0..RANK).map(|r| b[row * RANK + r] * a[r * COLUMNS + column]).sum::<f32>();
            // The base was bf16 too.
            let base = f32::from_bits((value.to_bits() >> 16) << 16);
            *value = base + if run == 0 { 0.0 } else { 2.0 * product };
        }
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let mlp = weights(177 + layer, ROWS * COLUMNS, 0.08);
        [matrix(name("self_attn.q_proj"), &q, ROWS), matrix(name("mlp.up_proj"), &mlp, ROWS)]
    };
    file(&(0..LAYERS).flat_map(layer).collect::<Vec<_>>(), "")
}

#[test]
fn adapters_in_dated_folders() {
    let scene = scene();
    let mut last = None;
    for run in 1..=3_u64 {
        scene.put(&format!("adapters/2026-03-{run:02}/adapter_model.safetensors"), &adapter(run));
        scene.put(&format!("adapters/2026-03-{run:02}/adapter_config.json"), b"{\"r\": 4}");
        last = Some(scene.take(run.try_into().unwrap()));
    }
    let last = last.unwrap();
    // find: one version in each folder, there from its day on.
    let options =
        FindOptions { patterns: vec!["adapter_model.safetensors".into()], ..FindOptions::default() };
    let found = find::run(&scene.repo(), &options, &Silent).unwrap();
    let seen: Vec<(String, usize, u64)> = found
        .paths
        .iter()
        .map(|f| (scene.name(&f.path).to_owned(), f.versions.len(), f.versions[0].snapshots))
        .collect();
    let name = |run: u64| format!("adapters/2026-03-{run:02}/adapter_model.safetensors");
    assert_eq!(seen, [(name(1), 1, 3), (name(2), 1, 2), (name(3), 1, 1)]);
    // The tensors of one of them.
    let repo = scene.repo();
    let reader = Reader::open(&repo).unwrap();
    let root = repo.snapshot(last).unwrap().record.root;
    let model = Model::find(&reader, root, &scene.path("adapters/2026-03-02")).unwrap();
    assert_eq!(model.tensors.len() as u64, 2 * LAYERS);
    // diff: A was frozen, B moved on, by layer.
    let side =
        |run: u64| Side { snapshot: last, path: Some(scene.path(&format!("adapters/2026-03-{run:02}"))) };
    let mut models = Vec::new();
    let report = tensors::run(&repo, &side(1), &side(3), &Silent, &mut |model| {
        models.push(model.clone());
        Ok(())
    });
    assert_eq!(report.unwrap().models, 1);
    for tensor in &models[0].tensors {
        let frozen = tensor.name.ends_with(b"lora_A.weight");
        assert_eq!(tensor.status, if frozen { Status::Identical } else { Status::Changed }, "{tensor:?}");
        assert!(
            frozen || tensor.figures.share > Some(0.9) && tensor.figures.relative > Some(0.3),
            "{tensor:?}"
        );
    }
    let layers: Vec<(&[u8], u64, u64)> =
        models[0].layers.iter().map(|l| (&l.layer[..], l.identical, l.changed)).collect();
    assert_eq!(layers[2], (&b"base_model.model.model.layers.2"[..], 1, 1));
    // stats: a run cost its B; its A was there.
    let report = models::models(&repo, &[(last, None)], &Filter::default(), &Silent).unwrap();
    let new: Vec<u64> = report.models.iter().map(|m| m.versions[0].new_bytes).collect();
    let b = LAYERS * (ROWS * RANK * 2) as u64;
    assert!(
        new[0] > 2 * b && (b..b + 2000).contains(&new[1]) && (b..b + 2000).contains(&new[2]),
        "{new:?} {b}"
    );
}

/// Wherever the base lies: another directory, another snapshot, another host.
#[test]
fn a_merged_adapter_is_the_difference_to_its_base() {
    let alone = {
        let scene = scene();
        scene.put("merged/model.safetensors", &merged(3));
        let report = scene.place.take(&scene.top);
        report.stored_bytes
    };
    for elsewhere in [false, true] {
        let scene = scene();
        scene.put("base/model-of-another-name.safetensors", &merged(0));
        let host = |name: &str, part: &str, day| scene.take_by(name, day, &of(scene.top.join(part)));
        host("trainer", "base", 1);
        // Something else in between, and a host that has never seen the base.
        scene.put("notes/a", &bytes(5, 50_000));
        host("trainer", "notes", 2);
        scene.put("merged/model.safetensors", &merged(3));
        let (by, part) = if elsewhere { ("server", "merged") } else { ("trainer", "merged") };
        let before = ballast::op::stats::repository(&scene.repo(), &Silent).unwrap();
        let id = host(by, part, 3);
        let after = ballast::op::stats::repository(&scene.repo(), &Silent).unwrap();
        let grown = after.stored_bytes - before.stored_bytes;
        assert!(grown * 5 < alone, "elsewhere {elsewhere}: {grown} of {alone}");
        let deltas = after.encodings.iter().find(|e| e.encoding == "delta").map_or(0, |e| e.plain_bytes);
        assert!(deltas > LAYERS * (ROWS * COLUMNS) as u64, "the matrices that moved: {:?}", after.encodings);
        // Half of the tensors are the base's; the others moved a little.
        let repo = scene.repo();
        let base = repo.snapshots(&repo.ledger(false).unwrap(), &Filter::default()).unwrap().0[0].id;
        let sides = [(base, "base"), (id, "merged")]
            .map(|(snapshot, path)| Side { snapshot, path: Some(scene.path(path)) });
        let report = tensors::run(&repo, &sides[0], &sides[1], &Silent, &mut |_| Ok(())).unwrap();
        assert_eq!(
            (report.models, report.all.identical, report.all.changed),
            (1, LAYERS, LAYERS),
            "{report:?}"
        );
        assert!(
            report.all.figures.relative > Some(0.0) && report.all.figures.relative < Some(0.05),
            "{report:?}"
        );
    }
}
