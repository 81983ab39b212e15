//! `config`: what a repository is, in words. Nothing of it can be changed after `init`
//! (`docs/decisions/0017-output.md`).

use ballast::format::FORMAT_VERSION;
use ballast::format::config::{ConfigV1, Features, PADDING_PADME, STORE_ATOMIC_CREATE};
use ballast::format::wire::Bytes;
use ballast::repo::Repository;
use serde_json::{Value, json};

use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{counted, name, size};
use crate::printer::Printer;
use crate::time;

/// Runs it.
pub fn run(p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let features = repo.ledger(false)?.features(repo.config().features);
    let keys = repo.keys()?.len() as u64;
    connect::notices(p, &repo);
    if p.global.json {
        p.json(&as_json(&repo, features, keys));
        return Ok(Exit::Done);
    }
    let place = name(repo.store().location().as_bytes());
    let head = p.style().bold(&format!("repository {} at {place}", repo.config().repo_id.short()));
    p.data(&head);
    let created = time::local(repo.config().created, &p.io.zone);
    for (label, text) in words(repo.config(), features, &created, keys) {
        p.data(&format!("  {label:<10} {text}"));
    }
    Ok(Exit::Done)
}

fn words(c: &ConfigV1, features: Features, created: &str, keys: u64) -> Vec<(&'static str, String)> {
    let bytes = |n: u32| size(n.into());
    let sets = [
        ("incompatible", features.incompatible),
        ("read-only", features.read_only),
        ("compatible", features.compatible),
    ];
    let sets: Vec<String> = sets.iter().filter_map(|(word, set)| Features::names(word, *set, 0)).collect();
    let tensors = match c.cutter_version {
        ..2 => "",
        2 => "; safetensors at their tensors",
        _ => "; models at their tensors",
    };
    vec![
        ("created", created.to_owned()),
        ("format", FORMAT_VERSION.to_string()),
        ("features", if sets.is_empty() { "none beyond the format".into() } else { sets.join(", ") }),
        (
            "chunks",
            format!(
                "{} on average, {} to {}, cut by content{tensors}",
                bytes(c.chunk_avg_bytes),
                bytes(c.chunk_min_bytes),
                bytes(c.chunk_max_bytes)
            ),
        ),
        ("cutter", format!("version {}, table {}", c.cutter_version, c.table_version)),
        ("databases", format!("units of {}", bytes(c.sqlite_unit_bytes))),
        (
            "frames",
            format!(
                "blobs below {} share one, up to {} together",
                bytes(c.small_blob_bytes),
                bytes(c.frame_target_bytes)
            ),
        ),
        (
            "packs",
            format!(
                "data {} to {}, metadata {}",
                bytes(c.data_pack_min_bytes),
                bytes(c.data_pack_max_bytes),
                bytes(c.metadata_pack_max_bytes)
            ),
        ),
        (
            "padding",
            match c.padding {
                PADDING_PADME => "Padmé: the length of a pack tells little".into(),
                _ => "none: the lengths of packs are those of their content".into(),
            },
        ),
        (
            "store",
            match c.store_mode {
                STORE_ATOMIC_CREATE => {
                    "creates a name only if it is absent: runs need not wait for prune".into()
                }
                _ => "cannot create a name only if it is absent: prune runs alone".into(),
            },
        ),
        ("keys", counted(keys, "key", "keys")),
    ]
}

fn as_json(repo: &Repository, features: Features, keys: u64) -> Value {
    let c = repo.config();
    json!({
        "repository": c.repo_id,
        "location": Bytes::from(repo.store().location().into_bytes()),
        "created": c.created,
        "format": FORMAT_VERSION,
        "features": features,
        "cutter_version": c.cutter_version,
        "table_version": c.table_version,
        "chunk_min_bytes": c.chunk_min_bytes,
        "chunk_avg_bytes": c.chunk_avg_bytes,
        "chunk_max_bytes": c.chunk_max_bytes,
        "sqlite_unit_bytes": c.sqlite_unit_bytes,
        "small_blob_bytes": c.small_blob_bytes,
        "frame_target_bytes": c.frame_target_bytes,
        "data_pack_min_bytes": c.data_pack_min_bytes,
        "data_pack_max_bytes": c.data_pack_max_bytes,
        "metadata_pack_max_bytes": c.metadata_pack_max_bytes,
        "padding": if c.padding == PADDING_PADME { "padme" } else { "none" },
        "atomic_create": c.store_mode == STORE_ATOMIC_CREATE,
        "keys": keys,
    })
}
