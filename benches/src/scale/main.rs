//! `scale DIR [--chunks N] [--snapshots N] [--small-files N] [--steps A,B …]`: a repository of N chunks and N snapshots without data
//! behind it (see `make`), and what it costs to use it. What is made stays in DIR and is used again by the
//! next call with the same numbers. Results: docs/scale.md.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the command line")]
#![allow(clippy::disallowed_methods, reason = "what is measured is made with plain writes")]

mod hollow;
mod make;
mod shape;
mod steps;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use ballast::error::{Error, Result};

use shape::{Shape, record_bytes};

const USAGE: &str =
    "usage: scale DIR [--chunks N] [--snapshots N] [--small-files N] [--steps A,B,...] [--step NAME]";

struct Arguments {
    dir: PathBuf,
    shape: Shape,
    /// All, if none are named.
    steps: Vec<String>,
    /// This process is the one that measures it.
    step: Option<String>,
}

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut all = Arguments {
        dir: given.next().filter(|dir| !dir.starts_with('-'))?.into(),
        shape: Shape { chunks: 1_000_000, snapshots: 10_000, small_files: 200_000 },
        steps: Vec::new(),
        step: None,
    };
    while let Some(option) = given.next() {
        let value = given.next()?;
        match option.as_str() {
            "--chunks" => all.shape.chunks = value.parse().ok()?,
            "--snapshots" => all.shape.snapshots = value.parse().ok().filter(|n| *n >= 1000)?,
            "--small-files" => all.shape.small_files = value.parse().ok().filter(|n| *n >= 3)?,
            "--steps" => all.steps = value.split(',').map(str::to_owned).collect(),
            "--step" => all.step = Some(value),
            _ => return None,
        }
    }
    Some(all)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match &arguments.step {
        Some(step) => measure(step, &arguments),
        None => all(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", arguments.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn measure(step: &str, arguments: &Arguments) -> Result<()> {
    for line in steps::run(step, &arguments.dir, &arguments.shape)? {
        println!("{line}");
    }
    println!("peak: {} MiB", peak_mib());
    Ok(())
}

/// The most memory this process has had.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn all(arguments: &Arguments) -> Result<()> {
    let (dir, shape) = (&arguments.dir, &arguments.shape);
    println!(
        "{} chunks in {} runs of {}; {} bytes of index a chunk alone, {} a difference",
        shape.total(),
        shape.snapshots,
        shape.per_model(),
        record_bytes(0),
        record_bytes(1)
    );
    for (name, make) in [("repo", make::large as fn(&Path, &Shape) -> Result<()>), ("small", make::small)] {
        let marker = dir.join(format!("{name}.made"));
        let wanted = format!("{shape:?}");
        if fs::read_to_string(&marker).is_ok_and(|made| made == wanted) {
            continue;
        }
        let begun = Instant::now();
        drop(fs::remove_dir_all(dir.join(name)));
        fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        make(dir, shape)?;
        fs::write(&marker, wanted).map_err(|e| Error::io(&marker, e))?;
        println!("{name} made: {:.0} s", begun.elapsed().as_secs_f64());
    }
    for (step, words) in steps::STEPS {
        if !arguments.steps.is_empty() && !arguments.steps.iter().any(|named| named == step) {
            continue;
        }
        println!("{step}: {words}");
        child(step, arguments)?;
    }
    Ok(())
}

fn child(step: &str, arguments: &Arguments) -> Result<()> {
    let program = std::env::current_exe().map_err(|e| Error::io("this program", e))?;
    let shape = &arguments.shape;
    let out = Command::new(program)
        .arg(&arguments.dir)
        .args(["--chunks", &shape.chunks.to_string(), "--snapshots", &shape.snapshots.to_string()])
        .args(["--small-files", &shape.small_files.to_string(), "--step", step])
        .output()
        .map_err(|e| Error::io("this program", e))?;
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        println!("    {line}");
    }
    if !out.status.success() {
        eprintln!("    failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
