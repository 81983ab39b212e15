//! `stats --models`: what each version of a model cost.

use ballast::error::Error;
use ballast::id::SnapshotId;
use ballast::op::snapshot::{SnapshotOptions, StreamOptions};
use ballast::op::stats;
use ballast::op::stats::models::{self, Lineage, ModelsReport};
use ballast::progress::Silent;
use ballast::repo::layers::Part;
use ballast::repo::snapshots::Filter;
use ballast::source::stream::{Reading, Tap};
use support::models::{Tensor, file, tensor};
use support::{bytes, of};

use super::scene::Scene;

fn told(scene: &Scene, of: &[(SnapshotId, Option<Vec<u8>>)], filter: &Filter) -> ModelsReport {
    let report = models::models(&scene.repo(), of, filter, &Silent).unwrap();
    assert!(report.unreadable.is_empty(), "{report:?}");
    report
}

fn all(scene: &Scene, id: SnapshotId) -> ModelsReport {
    told(scene, &[(id, None)], &Filter::default())
}

fn lineage<'r>(scene: &Scene, report: &'r ModelsReport, name: &str) -> &'r Lineage {
    report.models.iter().find(|m| scene.name(&m.path) == name).unwrap()
}

/// `changed` are other than on the first day.
fn model(changed: &[(&str, u64)]) -> Vec<Tensor> {
    let names = [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "lm_head.weight",
    ];
    let one = |(n, name): (u64, &str)| {
        let seed = changed.iter().find(|(other, _)| *other == name).map_or(n, |(_, seed)| *seed);
        tensor(name, seed, &[100, 200])
    };
    (1..).zip(names).map(one).collect()
}

const MLP: &str = "model.layers.0.mlp.up_proj.weight";
const HEAD: &str = "lm_head.weight";

#[test]
fn each_week_and_each_part() {
    let scene = Scene::new();
    let mut ids = Vec::new();
    for (day, changed) in [(1, &[][..]), (2, &[(MLP, 50)]), (3, &[(MLP, 50)]), (4, &[(MLP, 51), (HEAD, 52)])]
    {
        scene.put("llm/model.safetensors", &file(&model(changed), ""));
        ids.push(scene.take(day));
    }
    let report = all(&scene, ids[3]);
    assert_eq!((report.snapshots, report.models.len()), (4, 1));
    let versions = &report.models[0].versions;
    let changed: Vec<bool> = versions.iter().map(|v| v.changed).collect();
    assert_eq!(changed, [true, true, false, true]);
    assert_eq!(versions.iter().map(|v| v.snapshot).collect::<Vec<_>>(), ids);
    let has = |n: usize, part| versions[n].parts.get(&part).copied().unwrap_or(0);
    // A matrix of noise takes its length.
    for (n, part, there) in [
        (0, Part::Embeddings, true),
        (0, Part::Attention, true),
        (0, Part::Mlp, true),
        (0, Part::Head, true),
        (1, Part::Mlp, true),
        (1, Part::Head, false),
        (1, Part::Embeddings, false),
        (2, Part::Mlp, false),
        (3, Part::Mlp, true),
        (3, Part::Head, true),
        (3, Part::Attention, false),
    ] {
        let wanted = if there { 38_000..42_000 } else { 0..1 };
        assert!(wanted.contains(&has(n, part)), "{n} {part:?}: {:?}", versions[n]);
    }
    assert_eq!((versions[2].stored_bytes, versions[2].new_bytes), (0, 0));
    for version in versions {
        let sum: u64 = version.parts.values().sum();
        assert!(sum.abs_diff(version.stored_bytes) <= 6, "{version:?}");
    }
    // Together it is all there is: nothing else is in this repository.
    let whole = stats::repository(&scene.repo(), &Silent).unwrap();
    assert_eq!(versions.iter().map(|v| v.new_bytes).sum::<u64>(), whole.unique_bytes);
    let stored: u64 = versions.iter().map(|v| v.stored_bytes).sum();
    assert!(
        stored <= whole.stored_bytes && stored > whole.stored_bytes - 10_000,
        "{stored} of {}",
        whole.stored_bytes
    );
    // What came later is not looked at, and what the filter leaves out neither.
    assert_eq!(all(&scene, ids[1]).models[0].versions.len(), 2);
    let since = Filter { since_ns: Some(Scene::day(4)), ..Filter::default() };
    let late = told(&scene, &[(ids[3], None)], &since);
    assert_eq!(late.models[0].versions.len(), 1);
    assert!(late.models[0].versions[0].stored_bytes > 4 * 38_000);
}

#[test]
fn which_models_are_told() {
    let scene = Scene::new();
    scene.put("a/base.safetensors", &file(&model(&[]), ""));
    scene.put("a/notes.txt", &bytes(3, 9000));
    let first = scene.take(1);
    // Another host has another history.
    scene.put("a/base.safetensors", &file(&model(&[(MLP, 60)]), ""));
    scene.take_by("other", 2, &of(&scene.top));
    // A copy, and a tune of it, cost what is new in them.
    scene.put("a/base.safetensors", &file(&model(&[]), ""));
    scene.put("b/copy.safetensors", &file(&model(&[]), ""));
    scene.put("b/tune.safetensors", &file(&model(&[(HEAD, 61)]), ""));
    let last = scene.take(3);
    let report = all(&scene, last);
    assert_eq!(report.snapshots, 2);
    let names: Vec<&str> = report.models.iter().map(|m| scene.name(&m.path)).collect();
    assert_eq!(names, ["a/base.safetensors", "b/copy.safetensors", "b/tune.safetensors"]);
    let cost = |name| lineage(&scene, &report, name).versions.iter().map(|v| v.new_bytes).collect::<Vec<_>>();
    assert!(cost("a/base.safetensors")[0] > 160_000 && cost("a/base.safetensors")[1] == 0);
    assert!(cost("b/copy.safetensors")[0] < 2000, "{:?}", cost("b/copy.safetensors"));
    assert!((40_000..42_000).contains(&cost("b/tune.safetensors")[0]));
    let paths = |given: &[&str]| -> Vec<String> {
        let of: Vec<_> = given.iter().map(|path| (last, Some(scene.path(path)))).collect();
        let report = told(&scene, &of, &Filter::default());
        report.models.iter().map(|m| scene.name(&m.path).to_owned()).collect()
    };
    assert_eq!(paths(&["b/tune.safetensors"]), ["b/tune.safetensors"]);
    assert_eq!(paths(&["a"]), ["a/base.safetensors"]);
    assert_eq!(
        paths(&["b", "a", "b/copy.safetensors"]),
        ["a/base.safetensors", "b/copy.safetensors", "b/tune.safetensors"]
    );
    // The price does not depend on what is asked about.
    let alone = told(&scene, &[(last, Some(scene.path("b/tune.safetensors")))], &Filter::default());
    assert_eq!(alone.models[0].versions, lineage(&scene, &report, "b/tune.safetensors").versions);
    for (path, id) in [("a/notes.txt", last), ("a/notes.txt", first)] {
        let refused =
            models::models(&scene.repo(), &[(id, Some(scene.path(path)))], &Filter::default(), &Silent);
        assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
    }
    let missing =
        models::models(&scene.repo(), &[(first, Some(scene.path("b")))], &Filter::default(), &Silent);
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

/// Shards of one index are one model; sharded anew it costs next to nothing.
#[test]
fn shards_are_one_model() {
    let scene = Scene::new();
    let shards = |parts: &[&[Tensor]]| {
        let mut map = serde_json::Map::new();
        for (n, part) in parts.iter().enumerate() {
            let name = format!("model-{n}.safetensors");
            scene.put(&format!("llm/{name}"), &file(part, ""));
            map.extend(part.iter().map(|t| (t.name.clone(), name.clone().into())));
        }
        let index = serde_json::json!({ "weight_map": map });
        scene.put("llm/model.safetensors.index.json", index.to_string().as_bytes());
    };
    let all_of = model(&[]);
    shards(&[&all_of[..2], &all_of[2..]]);
    scene.take(1);
    shards(&[&all_of[..1], &all_of[1..3], &all_of[3..]]);
    let last = scene.take(2);
    let report = all(&scene, last);
    assert_eq!(report.models.len(), 1);
    let lineage = lineage(&scene, &report, "llm/model.safetensors.index.json");
    let versions: Vec<_> =
        lineage.versions.iter().map(|v| (v.changed, v.bytes > 160_000, v.new_bytes > 160_000)).collect();
    assert_eq!(versions, [(true, true, true), (true, true, false)]);
    assert!(lineage.versions[1].new_bytes < 2000, "{lineage:?}");
}

/// Two snapshots of one row, asked for the same, are told of once, by the newer; asked for something else, or of
/// another row, each is.
#[test]
fn a_row_is_told_once() {
    let scene = Scene::new();
    scene.put("a.safetensors", &file(&model(&[]), ""));
    scene.put("b.safetensors", &file(&model(&[(HEAD, 70)]), ""));
    let first = scene.take(1);
    let second = scene.take(2);
    let other = scene.take_by("other", 3, &of(&scene.top));
    let (a, b) = (Some(scene.path("a.safetensors")), Some(scene.path("b.safetensors")));
    let told_of = |of: &[(SnapshotId, Option<Vec<u8>>)]| -> Vec<(String, Vec<SnapshotId>)> {
        let report = told(&scene, of, &Filter::default());
        let one = |m: &Lineage| {
            (scene.name(&m.path).to_owned(), m.versions.iter().map(|v| v.snapshot).collect::<Vec<_>>())
        };
        report.models.iter().map(one).collect()
    };
    let row = |name: &str, ids: &[SnapshotId]| (name.to_owned(), ids.to_vec());
    let (both_a, both_b) = (row("a.safetensors", &[first, second]), row("b.safetensors", &[first, second]));
    for of in [
        &[(first, a.clone()), (second, a.clone())][..],
        &[(second, a.clone()), (first, a.clone())],
        &[(first, a.clone()), (second, a.clone()), (first, a.clone())],
    ] {
        assert_eq!(told_of(of), std::slice::from_ref(&both_a));
    }
    assert_eq!(
        told_of(&[(first, a.clone()), (second, a.clone()), (second, b.clone())]),
        [both_a.clone(), both_b.clone()]
    );
    assert_eq!(told_of(&[(first, b), (second, a.clone())]), [both_a.clone(), row("b.safetensors", &[first])]);
    assert_eq!(told_of(&[(first, a.clone()), (other, a.clone())]).len(), 2);
    // What the filter leaves out is in no row but its own.
    let since = Filter { since_ns: Some(Scene::day(2)), ..Filter::default() };
    let late = told(&scene, &[(first, a.clone()), (second, a)], &since);
    assert_eq!(late.models.iter().map(|m| m.versions.len()).collect::<Vec<_>>(), [1, 1]);
}

/// What a link leads to, and what came from a pipe and so has no seam table, was paid for all the same.
#[test]
fn links_and_pipes_are_paid_for() {
    let scene = Scene::new();
    scene.put("hub/blobs/1", &file(&model(&[]), ""));
    std::fs::create_dir_all(scene.top.join("hub/snapshots/rev")).unwrap();
    let link = scene.top.join("hub/snapshots/rev/model.safetensors");
    std::os::unix::fs::symlink("../../blobs/1", link).unwrap();
    let id = scene.take(1);
    for path in ["hub/snapshots/rev", "hub/snapshots/rev/model.safetensors"] {
        let report = told(&scene, &[(id, Some(scene.path(path)))], &Filter::default());
        let version = &report.models[0].versions[0];
        assert!((160_000..170_000).contains(&version.new_bytes), "{path}: {version:?}");
        assert!(version.parts[&Part::Mlp] > 38_000, "{path}: {version:?}");
    }
    let mut piped = Vec::new();
    for (day, head) in [(2, 71), (3, 72)] {
        let tap = Tap::new(Reading(std::io::Cursor::new(file(&model(&[(HEAD, head)]), ""))));
        let stream = Some(StreamOptions { path: "/m".into(), tap });
        piped.push(scene.take_by("here", day, &SnapshotOptions { paths: Vec::new(), stream, ..of("/") }));
    }
    let report = told(&scene, &[(piped[1], Some(b"/m".to_vec()))], &Filter::default());
    let brought: Vec<_> = report.models[0].versions.iter().map(|v| (v.changed, v.new_bytes)).collect();
    assert_eq!(brought.len(), 2);
    assert!(brought[0].0 && brought[0].1 > 160_000, "{brought:?}");
    assert!(brought[1].0 && (35_000..80_000).contains(&brought[1].1), "{brought:?}");
    assert!(report.models[0].versions.iter().all(|v| v.stored_bytes > 30_000), "{report:?}");
}
