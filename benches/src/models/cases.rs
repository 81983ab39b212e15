//! The cases: what each run stores, and what is asked of it.

use std::io;
use std::path::Path;

use ballast::codec;
use ballast::crypto::aead::SealKey;
use ballast_benches::{noise, text};

use super::tensors::{self, Tensor};
use super::vault::Files;

/// A share of the files' bytes that is asked for, and what is allowed beside it.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// Nothing: it only makes ready.
    Nothing,
    /// At most this share.
    Share(f64),
    /// At most so many bytes and one thousandth of the file.
    Bytes(u64),
}

/// One run.
pub struct Step {
    /// What it is called in the table.
    pub name: String,
    /// What the source directory holds.
    pub files: Files,
    /// What is asked.
    pub asked: Asked,
}

/// Runs into one repository.
pub type Case = Vec<Step>;

fn step(name: &str, asked: Asked, files: Files) -> Step {
    Step { name: name.into(), asked, files }
}

fn model(tensors: &[Tensor]) -> Files {
    vec![("model.safetensors".into(), tensors::write(tensors))]
}

/// Weeks of a fine-tune, each in the place of the one before. `directory` holds `week0.safetensors` …
/// (bf16) and `f32-week0.safetensors` …
pub fn weeks(directory: &Path) -> io::Result<Vec<Case>> {
    let read = |prefix: &str, week: usize| {
        let path = directory.join(format!("{prefix}week{week}.safetensors"));
        tensors::read(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    };
    let case = |what: &str, prefix: &str, asked: &[f64], cast: fn(&[Tensor]) -> Vec<Tensor>| {
        let steps = asked.iter().enumerate().map(|(week, share)| {
            let asked = if *share > 0.0 { Asked::Share(*share) } else { Asked::Nothing };
            Ok(step(&format!("{what} week {week}"), asked, model(&cast(&read(prefix, week)?))))
        });
        steps.collect::<io::Result<Case>>()
    };
    Ok(vec![
        case("bf16", "", &[0.672, 0.205, 0.172, 0.172], <[Tensor]>::to_vec)?,
        case("f32", "f32-", &[0.0, 0.605, 0.585], <[Tensor]>::to_vec)?,
        case("f16 (cast)", "f32-", &[0.0, 0.45, 0.45], tensors::to_f16)?,
        case("f32 holding bf16,", "f32-", &[0.36, 0.0, 0.0], tensors::through_bf16)?,
    ])
}

/// A whole model of f32.
pub fn whole(path: &Path) -> io::Result<Vec<Case>> {
    let f32s = tensors::read(path)?;
    let bf16 = tensors::to_bf16(&f32s);
    let alone = |name: &str, share, tensors: &[Tensor]| vec![step(name, Asked::Share(share), model(tensors))];
    let mut cases = vec![
        alone("whole model alone, bf16", 0.668, &bf16),
        alone("whole model alone, f32", 0.825, &f32s),
        alone("whole model alone, f16", 0.850, &tensors::to_f16(&f32s)),
        alone("whole model alone, f32 holding bf16", 0.36, &tensors::through_bf16(&f32s)),
    ];
    let changed = |name: &str, asked, now: Files| {
        vec![step("(before)", Asked::Nothing, model(&bf16)), step(name, asked, now)]
    };
    let (front, back) = bf16.split_at(bf16.len() / 2);
    let shards = vec![
        ("model-00001-of-00002.safetensors".into(), tensors::write(back)),
        ("model-00002-of-00002.safetensors".into(), tensors::write(front)),
    ];
    cases.push(changed("sharded anew", Asked::Share(0.001), shards));
    let renamed = |t: &Tensor| Tensor { name: format!("bert.{}", t.name), ..t.clone() };
    let renamed: Vec<Tensor> = bf16.iter().map(renamed).collect();
    cases.push(changed("tensors renamed", Asked::Share(0.001), model(&renamed)));
    let reversed: Vec<Tensor> = bf16.iter().rev().cloned().collect();
    cases.push(changed("tensors in another order", Asked::Share(0.001), model(&reversed)));
    let mut grown = bf16.clone();
    if let Some(words) = grown.iter_mut().max_by_key(|t| t.data.len()) {
        let rows = 8 * words.data.len() / usize::try_from(words.shape[0]).unwrap_or(1);
        let more = words.data[..rows].iter().rev().copied().collect::<Vec<u8>>();
        words.shape[0] += 8;
        words.data.extend_from_slice(&more);
    }
    cases.push(changed("8 new rows of the vocabulary", Asked::Share(0.01), model(&grown)));
    let mut one = bf16.clone();
    let mut by_size: Vec<&mut Tensor> = one.iter_mut().collect();
    by_size.sort_by_key(|t| t.data.len());
    // One of the many matrices, its numbers in another order: weights, and none where they were.
    let middle = by_size.len() * 3 / 4;
    let tensor = &mut by_size[middle];
    let mut numbers: Vec<[u8; 2]> = tensor.data.as_chunks().0.to_vec();
    numbers.reverse();
    tensor.data = numbers.concat();
    let alone = stored_alone(&tensor.data);
    let name = format!("one tensor of {} changed", bf16.len());
    cases.push(changed(&name, Asked::Bytes(alone), model(&one)));
    Ok(cases)
}

/// Bytes that nothing makes smaller.
pub fn incompressible(jpeg: Option<&Path>) -> io::Result<Vec<Case>> {
    const BYTES: usize = 64 << 20;
    let one =
        |name: &str, bytes: Vec<u8>| vec![step(name, Asked::Share(1.002), vec![("file".into(), bytes)])];
    let sealed = SealKey::new(&[7; 32]).seal(&[9; 24], &[], &text(BYTES, 3));
    let mut cases = vec![one("random bytes", noise(BYTES, 1)), one("an encrypted file", sealed)];
    if let Some(path) = jpeg {
        cases.push(one("a JPEG", std::fs::read(path)?));
    }
    Ok(cases)
}

/// Bytes that a tensor takes, alone and in pieces.
fn stored_alone(data: &[u8]) -> u64 {
    let mut out = Vec::new();
    let stored = |piece: &[u8]| {
        codec::encode(piece, &mut out);
        if out.is_empty() { piece.len() as u64 } else { out.len() as u64 }
    };
    data.chunks(1 << 20).map(stored).sum()
}
