//! `synthetic DIR [SNAPSHOTS [FILES [CHUNKS [MAX_BYTES]]]]`: the repository of
//! [`ballast_benches::synthetic`] in a directory; its password is `bench`.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the command line")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use ballast::store::local::LocalStore;
use ballast_benches::synthetic::{Shape, make};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(dir) = arguments.first() else {
        eprintln!("usage: synthetic DIR [SNAPSHOTS [FILES [CHUNKS [MAX_BYTES]]]]");
        return ExitCode::from(2);
    };
    let number = |i: usize, default: usize| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let usual = Shape::default();
    let shape = Shape {
        snapshots: number(1, usual.snapshots),
        files: number(2, usual.files),
        chunks: number(3, usual.chunks),
        max_bytes: number(4, usual.max_bytes),
        ..usual
    };
    let begun = Instant::now();
    let made = LocalStore::new(std::path::Path::new(dir))
        .map_err(Into::into)
        .and_then(|store| make(Arc::new(store), &shape, 1));
    match made {
        Ok((_, snapshots)) => {
            println!("{} snapshots in {:.1} s", snapshots.len(), begun.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{dir}: {error}");
            ExitCode::FAILURE
        }
    }
}
