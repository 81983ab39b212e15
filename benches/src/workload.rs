//! Makes the files that the side-by-side benches work on.
//!
//! ```text
//! workload model PATH BYTES SEED [FROZEN_SEED]   safetensors, bf16; with FROZEN_SEED every third
//!                                                tensor is as that seed makes it (30 % frozen)
//! workload noise PATH BYTES SEED                 what no coder can shrink
//! workload tuned PATH FROM SEED                  a model after a week of fine-tuning: 30 % of its tensors as
//!                                                they were, the others moved by a little
//! workload sharded DIRECTORY FROM                the same tensors in two files, in the opposite order
//! ```
#![allow(clippy::print_stderr, reason = "a program for the command line")]

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use ballast_benches::{Random, noise, weights};

const TENSOR_BYTES: usize = 32 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<u64>().ok());
    let from = arguments.get(2).map(Path::new);
    let changed = match (arguments.first().map(String::as_str), arguments.get(1), from, number(3)) {
        (Some("tuned"), Some(path), Some(from), Some(seed)) => Some(tuned(path, from, seed)),
        (Some("sharded"), Some(directory), Some(from), _) => Some(sharded(Path::new(directory), from)),
        _ => None,
    };
    match changed {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{}: {error}", arguments[1]);
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let (Some(kind), Some(path), Some(bytes), Some(seed)) =
        (arguments.first(), arguments.get(1), number(2), number(3))
    else {
        eprintln!(
            "usage: workload model|noise PATH BYTES SEED [FROZEN_SEED] | tuned PATH FROM SEED | sharded DIR FROM"
        );
        return ExitCode::from(2);
    };
    let bytes = usize::try_from(bytes).unwrap_or(0);
    match write(kind, path, bytes, seed, number(4)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(kind: &str, path: &str, bytes: usize, seed: u64, frozen: Option<u64>) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let tensors: Vec<usize> =
        (0..bytes.div_ceil(TENSOR_BYTES)).map(|i| TENSOR_BYTES.min(bytes - i * TENSOR_BYTES)).collect();
    if kind == "model" {
        out.write_all(&header(tensors.iter().copied().enumerate()))?;
    }
    for (i, len) in tensors.iter().enumerate() {
        let i = i as u64;
        let seed = frozen.filter(|_| i % 10 < 3).unwrap_or(seed) * 1_000_003 + i;
        out.write_all(&if kind == "model" { weights(*len, seed) } else { noise(*len, seed) })?;
    }
    out.flush()
}

/// The tensors of a model made here: the bytes of each.
fn tensors_of(from: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(from)?);
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = i64::try_from(u64::from_le_bytes(length)).unwrap_or(i64::MAX);
    file.seek_relative(header)?;
    let mut tensors = Vec::new();
    loop {
        let mut tensor = Vec::with_capacity(TENSOR_BYTES);
        file.by_ref().take(TENSOR_BYTES as u64).read_to_end(&mut tensor)?;
        if tensor.is_empty() {
            return Ok(tensors);
        }
        tensors.push(tensor);
    }
}

/// About what a week of a real fine-tune moves the weights of [`weights`] by: such a week is stored in a fifth.
const STEP: f32 = 1.5e-4;

fn tuned(path: &str, from: &Path, seed: u64) -> std::io::Result<()> {
    let mut tensors = tensors_of(from)?;
    for (i, tensor) in tensors.iter_mut().enumerate().filter(|(i, _)| i % 10 >= 3) {
        let mut random = Random::new(seed * 1_000_003 + i as u64);
        for word in tensor.as_chunks_mut::<2>().0 {
            let value = f32::from_bits(u32::from(u16::from_le_bytes(*word)) << 16) + random.normal() * STEP;
            *word = (((value.to_bits() + 0x8000) >> 16) as u16).to_le_bytes();
        }
    }
    save(Path::new(path), tensors.iter().enumerate())
}

fn sharded(directory: &Path, from: &Path) -> std::io::Result<()> {
    let tensors = tensors_of(from)?;
    let half = tensors.len() / 2;
    let numbered = || tensors.iter().enumerate().rev();
    save(&directory.join("model-00001-of-00002.safetensors"), numbered().filter(|(i, _)| *i >= half))?;
    save(&directory.join("model-00002-of-00002.safetensors"), numbered().filter(|(i, _)| *i < half))
}

fn save<'t>(path: &Path, tensors: impl Iterator<Item = (usize, &'t Vec<u8>)>) -> std::io::Result<()> {
    let tensors: Vec<_> = tensors.collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&header(tensors.iter().map(|(i, tensor)| (*i, tensor.len()))))?;
    for (_, tensor) in tensors {
        out.write_all(tensor)?;
    }
    out.flush()
}

/// Length and JSON of a safetensors file.
fn header(tensors: impl Iterator<Item = (usize, usize)>) -> Vec<u8> {
    let mut json = String::from("{");
    let mut at = 0;
    for (i, len) in tensors {
        let comma = if at == 0 { "" } else { "," };
        json.push_str(&format!(
            "{comma}\"model.layers.{i}.weight\":{{\"dtype\":\"BF16\",\"shape\":[{}],\"data_offsets\":[{at},{}]}}",
            len / 2,
            at + len
        ));
        at += len;
    }
    json.push('}');
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    out
}
