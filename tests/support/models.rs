//! Safetensors files: made of tensors, and taken apart again without the engine.

use serde_json::{Map, Value, json};

use crate::tree::bytes;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

/// A tensor of random two-byte numbers.
pub fn tensor(name: impl Into<String>, seed: u64, shape: &[u64]) -> Tensor {
    let len = usize::try_from(shape.iter().product::<u64>() * 2).unwrap();
    Tensor { name: name.into(), dtype: "BF16", shape: shape.to_vec(), data: bytes(seed, len) }
}

/// The header alone: the length, and JSON padded to eight bytes.
pub fn header(tensors: &[Tensor], note: &str) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("__metadata__".into(), json!({ "format": "pt", "note": note }));
    let mut at = 0;
    for t in tensors {
        let end = at + t.data.len();
        map.insert(t.name.clone(), json!({"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut text = Value::Object(map).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    framed(text.as_bytes())
}

/// Any text as a header.
pub fn framed(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// The whole file.
pub fn file(tensors: &[Tensor], note: &str) -> Vec<u8> {
    let mut out = header(tensors, note);
    tensors.iter().for_each(|t| out.extend_from_slice(&t.data));
    out
}

/// A transformer of `layers` blocks, matrices of `width`², with small vectors between them.
pub fn transformer(seed: u64, layers: u64, width: u64, words: u64) -> Vec<Tensor> {
    let mut all = vec![tensor("embeddings.weight", seed, &[words, width])];
    for layer in 0..layers {
        let parts: [(&str, &[u64]); 5] = [
            ("norm.bias", &[width]),
            ("norm.weight", &[width]),
            ("query.weight", &[width, width]),
            ("mlp.weight", &[width, 4 * width]),
            ("scale", &[]),
        ];
        all.extend((1..).zip(parts).map(|(n, (name, shape))| {
            tensor(format!("layer.{layer}.{name}"), seed + 100 * (layer + 1) + n, shape)
        }));
    }
    all
}
