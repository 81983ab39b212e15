//! What a first snapshot and a restore of bf16 weights cannot do without, each stage alone and by all cores at once, and the sum.
//!
//! ```text
//! limits MODEL_BYTES [DIRECTORY]     DIRECTORY: where files are written and read; default: the temporary directory
//! ```
//!
//! Prints a table: GB/s of what the stage works on, and its seconds for the model. A stage runs over one chunk again and
//! again, as the pipeline does while a chunk is in the cache; files go through more than caches hold,
//! and what is written stays for a round (a second's writing, a gigabyte or two).
//! Medians of several rounds, stages in turn.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use ballast::chunk::{CutParams, Cutter, Rule};
use ballast::codec::{self, Element, Hint};
use ballast::crypto::aead::SealKey;
use ballast::crypto::hash::{IdKeys, object_name};
use ballast::id::BlobKind;
use ballast_benches::weights;

const CHUNK: usize = 864 << 10;
const LARGE: usize = 256 << 20;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(300);
const TAG: usize = 16;

/// What a stage works on, as a share of the model.
#[derive(Clone, Copy)]
enum Share {
    Plain,
    Stored,
}

struct Stage {
    name: &'static str,
    share: Share,
    in_snapshot: bool,
    in_restore: bool,
    /// Makes what one thread does again and again; that gives the bytes it went through.
    begin: fn(&Path) -> Box<dyn FnMut() -> usize>,
}

const STAGES: [Stage; 13] = [
    stage("read a file that is in memory", Share::Plain, true, false, |dir| read(dir, 4 << 20)),
    stage("search for cuts, minimum skipped", Share::Plain, true, false, |_| {
        let cutter = Cutter::new(&[9; 32], 1, CutParams::default()).expect("valid parameters");
        let data = weights(8 << 20, 2);
        Box::new(move || {
            black_box(cutter.cut_window(black_box(&data), true, Rule::PLAIN));
            data.len()
        })
    }),
    stage("id, keyed BLAKE3", Share::Plain, true, true, |_| {
        let (keys, data) = (IdKeys::derive(&[1; 32]), weights(CHUNK, 3));
        Box::new(move || {
            black_box(keys.id(BlobKind::Chunk, black_box(&data)));
            CHUNK
        })
    }),
    stage("encode: planes, Huffman", Share::Plain, true, false, |_| {
        let (data, mut out) = (weights(CHUNK, 4), Vec::new());
        Box::new(move || {
            black_box(codec::encode_as(black_box(&data), bf16(), &mut out));
            CHUNK
        })
    }),
    stage("seal, XChaCha20-Poly1305", Share::Stored, true, false, |_| {
        let (key, data) = (SealKey::new(&[2; 32]), weights(CHUNK, 5));
        let mut out = vec![0; CHUNK + TAG];
        Box::new(move || {
            key.seal_into(&[3; 24], b"associated", black_box(&data), &mut out);
            CHUNK
        })
    }),
    stage("open", Share::Stored, true, true, |_| {
        let key = SealKey::new(&[2; 32]);
        let (sealed, mut out) = (key.seal(&[3; 24], b"associated", &weights(CHUNK, 6)), vec![0; CHUNK]);
        Box::new(move || {
            key.open_into(&[3; 24], b"associated", black_box(&sealed), &mut out).expect("what was sealed");
            CHUNK
        })
    }),
    stage("decode and compare", Share::Plain, true, false, |_| {
        let (data, mut stored, mut room) = (weights(CHUNK, 7), Vec::new(), Vec::new());
        let how = codec::encode_as(&data, bf16(), &mut stored);
        Box::new(move || {
            let same = codec::decodes_to(
                how.encoding as u8,
                how.codec_version,
                black_box(&stored),
                &data,
                &mut room,
            );
            assert_eq!(same, Ok(true));
            CHUNK
        })
    }),
    stage("decode", Share::Plain, false, true, |_| {
        let (data, mut stored) = (weights(CHUNK, 7), Vec::new());
        let (how, mut out) = (codec::encode_as(&data, bf16(), &mut stored), vec![0; CHUNK]);
        Box::new(move || {
            codec::decode(how.encoding as u8, how.codec_version, black_box(&stored), &[], &mut out)
                .expect("what was encoded");
            CHUNK
        })
    }),
    stage("copy into a pack", Share::Stored, true, false, |_| {
        let (from, mut to, mut at) = (vec![7u8; CHUNK], vec![1u8; 16 << 20], 0);
        Box::new(move || {
            at = (at + CHUNK) % (to.len() - CHUNK);
            to[at..at + CHUNK].copy_from_slice(black_box(&from));
            CHUNK
        })
    }),
    stage("name of a pack, BLAKE3", Share::Stored, true, false, |_| {
        let data = weights(16 << 20, 8);
        Box::new(move || {
            black_box(object_name(black_box(&data)));
            data.len()
        })
    }),
    stage("write packs into new files", Share::Stored, true, false, |dir| write(dir, 16 << 20)),
    stage("read packs that are in memory", Share::Stored, false, true, |dir| read(dir, CHUNK)),
    stage("write chunks into new files", Share::Plain, false, true, |dir| write(dir, CHUNK)),
];

const fn stage(
    name: &'static str,
    share: Share,
    in_snapshot: bool,
    in_restore: bool,
    begin: fn(&Path) -> Box<dyn FnMut() -> usize>,
) -> Stage {
    Stage { name, share, in_snapshot, in_restore, begin }
}

fn bf16() -> Hint {
    Hint { element: Element::Bf16 }
}

/// Pieces of `len` into one file after the other. They stay for the round, as they do in a repository: pages that were
/// given back a moment ago are cheaper than others. As much memory is asked for before, as by the comparison with
/// others (`--touch`): a virtual machine's host may have to be asked for it, which is not what is measured.
fn write(dir: &Path, len: usize) -> Box<dyn FnMut() -> usize> {
    let (dir, data): (PathBuf, _) = (dir.to_owned(), vec![7u8; len]);
    drop(black_box(vec![1u8; 4 * LARGE]));
    let (mut files, mut left) = (Vec::new(), 0);
    Box::new(move || {
        if left == 0 {
            files.push(tempfile::tempfile_in(&dir).expect("a temporary file"));
            left = LARGE / len;
        }
        left -= 1;
        let file: &mut std::fs::File = files.last_mut().expect("the one just made");
        file.write_all(black_box(&data)).expect("room for it");
        len
    })
}

/// Pieces of `len` out of a file that is larger than caches are.
fn read(dir: &Path, len: usize) -> Box<dyn FnMut() -> usize> {
    let mut file = tempfile::tempfile_in(dir).expect("a temporary file");
    file.write_all(&vec![7; LARGE]).expect("room for it");
    let mut out = vec![0; len];
    Box::new(move || {
        if file.read_exact(&mut out).is_err() {
            file.seek(SeekFrom::Start(0)).expect("a file has a beginning");
            return 0;
        }
        len
    })
}

/// GB/s of all cores together.
fn rate(stage: &Stage, dir: &Path, cores: usize) -> f64 {
    let begin = Barrier::new(cores);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    // A stage that cannot begin must not keep the others waiting.
                    let made = std::panic::catch_unwind(|| {
                        let mut work = (stage.begin)(dir);
                        work();
                        work
                    });
                    begin.wait();
                    let mut work = made.expect("a stage");
                    let (from, mut bytes) = (Instant::now(), 0usize);
                    while from.elapsed() < ROUND {
                        bytes += work();
                    }
                    bytes as f64 / from.elapsed().as_secs_f64() / 1e9
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a stage")).sum()
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(model) = arguments.first().and_then(|bytes| bytes.parse::<f64>().ok()) else {
        eprintln!("usage: limits MODEL_BYTES [DIRECTORY]");
        return ExitCode::FAILURE;
    };
    let dir = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut stored = Vec::new();
    codec::encode_as(&weights(CHUNK, 4), bf16(), &mut stored);
    let stored_share = if stored.is_empty() { 1.0 } else { stored.len() as f64 / CHUNK as f64 };

    let mut rates = vec![Vec::new(); STAGES.len()];
    for _ in 0..ROUNDS {
        for (stage, rates) in STAGES.iter().zip(&mut rates) {
            rates.push(rate(stage, &dir, cores));
        }
    }
    println!("| stage, {cores} cores | GB/s | snapshot, s | restore, s |\n|---|---|---|---|");
    let (mut snapshot, mut restore) = (0.0, 0.0);
    for (stage, rates) in STAGES.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        let share = match stage.share {
            Share::Plain => 1.0,
            Share::Stored => stored_share,
        };
        let seconds = model * share / rate / 1e9;
        let cell = |counts: bool, sum: &mut f64| {
            if !counts {
                return "–".to_owned();
            }
            *sum += seconds;
            format!("{seconds:.2}")
        };
        let (a, b) = (cell(stage.in_snapshot, &mut snapshot), cell(stage.in_restore, &mut restore));
        println!("| {} | {rate:.2} | {a} | {b} |", stage.name);
    }
    println!("| **sum** | | **{snapshot:.2}** | **{restore:.2}** |");
    ExitCode::SUCCESS
}
