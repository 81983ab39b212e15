//! Records of the format as JSON, for `cat`. Secrets are never shown.

use ballast::format::config::ConfigV1;
use ballast::format::frame::{Encoding, FrameRecord};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::format::keyfile::Clear;
use ballast::format::ledger::{Event, LedgerEntryV1};
use ballast::format::snapshot::SnapshotV1;
use ballast::id::{BlobKind, ObjectName, to_hex};
use ballast::repo::keys::KeyInfo;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;

/// Any record as it is. Moments become text where it is printed.
pub fn value(record: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(record).map_err(|e| Failure::failed(format!("cannot be shown as JSON: {e}")))
}

/// The config without its secrets.
pub fn config(config: &ConfigV1) -> Result<Value, Failure> {
    let mut value = value(config)?;
    for secret in ["cut_secret", "id_secret"] {
        value[secret] = json!("(not shown)");
    }
    Ok(value)
}

/// A snapshot.
pub fn snapshot(snapshot: &SnapshotV1) -> Result<Value, Failure> {
    value(snapshot)
}

/// A key file: what stands in the clear, and its label.
pub fn key(clear: &Clear, info: Option<KeyInfo>) -> Result<Value, Failure> {
    Ok(json!({
        "info": value(&info)?,
        "repository": clear.repo_id,
        "kdf": {
            "name": "argon2id",
            "memory_kib": clear.kdf.memory_kib,
            "passes": clear.kdf.passes,
            "lanes": clear.kdf.lanes,
        },
        "salt": to_hex(&clear.salt),
        "commitment": to_hex(&clear.commitment),
    }))
}

/// A ledger entry with its event.
pub fn ledger(entry: &LedgerEntryV1, name: &ObjectName) -> Result<Value, Failure> {
    let event = Event::decode(entry.kind, &entry.body).map_err(|e| Failure::from(e.of(name)))?;
    let (word, body) = match &event {
        Event::Commit(body) => ("commit", value(body)?),
        Event::Forget(body) => ("forget", value(body)?),
        Event::Condemn(body) => ("condemn", value(body)?),
        Event::Verified(body) => ("verified", value(body)?),
        Event::Raise(body) => ("raise", value(body)?),
        Event::Unknown(_) => ("unknown", json!(to_hex(&entry.body))),
    };
    let mut value = value(entry)?;
    value["previous"] = json!(to_hex(&entry.previous));
    value["event"] = json!(word);
    value["body"] = body;
    Ok(value)
}

/// An index object.
pub fn index(index: &IndexObject) -> Result<Value, Failure> {
    Ok(json!({
        "session": index.session,
        "replaces": index.replaces,
        "packs": index.packs.iter().map(pack).collect::<Vec<_>>(),
        "extensions": value(&index.extensions)?,
    }))
}

fn pack(pack: &IndexedPack) -> Value {
    let kind = match pack.pack_kind {
        1 => json!("data"),
        2 => json!("metadata"),
        other => json!(other),
    };
    let frames: Vec<_> = pack.frames.iter().map(frame).collect();
    json!({ "id": pack.id, "size": pack.size, "kind": kind, "flags": pack.flags, "epoch": pack.epoch,
        "frames": frames })
}

fn blob_kind(byte: u8) -> Value {
    BlobKind::from_byte(byte).map_or(json!(byte), |kind| json!(kind))
}

fn frame(frame: &FrameRecord) -> Value {
    let encoding = match Encoding::from_byte(frame.encoding) {
        Some(known) => json!(format!("{known:?}").to_lowercase()),
        None => json!(frame.encoding),
    };
    let edges: Vec<_> =
        frame.edges.iter().map(|e| json!({ "how": e.how, "kind": blob_kind(e.kind), "id": e.id })).collect();
    let blobs: Vec<_> = frame
        .blobs
        .iter()
        .map(|b| json!({ "kind": blob_kind(b.kind), "id": b.id, "length": b.len }))
        .collect();
    json!({ "offset": frame.offset, "stored": frame.stored_len, "plain": frame.plain_len,
        "encoding": encoding, "codec_version": frame.codec_version, "height": frame.height,
        "flags": frame.flags, "edges": edges, "blobs": blobs })
}
