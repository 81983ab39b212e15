//! Makes the files that the side-by-side benches work on.
//!
//! ```text
//! workload model PATH BYTES SEED [FROZEN_SEED]   safetensors, bf16; with FROZEN_SEED every third
//!                                                tensor is as that seed makes it (30 % frozen)
//! workload noise PATH BYTES SEED                 what no coder can shrink
//! ```
#![allow(clippy::print_stderr, reason = "a program for the command line")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use ballast_benches::{noise, weights};

const TENSOR_BYTES: usize = 32 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse::<u64>().ok());
    let (Some(kind), Some(path), Some(bytes), Some(seed)) =
        (arguments.first(), arguments.get(1), number(2), number(3))
    else {
        eprintln!("usage: workload model|noise PATH BYTES SEED [FROZEN_SEED]");
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
        out.write_all(&header(&tensors))?;
    }
    for (i, len) in tensors.iter().enumerate() {
        let i = i as u64;
        let seed = frozen.filter(|_| i % 10 < 3).unwrap_or(seed) * 1_000_003 + i;
        out.write_all(&if kind == "model" { weights(*len, seed) } else { noise(*len, seed) })?;
    }
    out.flush()
}

/// Length and JSON of a safetensors file.
fn header(tensors: &[usize]) -> Vec<u8> {
    let mut json = String::from("{");
    let mut at = 0;
    for (i, len) in tensors.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
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
