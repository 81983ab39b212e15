//! What a week of training costs, encoded against the weeks before: shares stored and speeds of one
//! thread, tensor by tensor in pieces. `cargo bench -p ballast-benches --bench delta -- DIRECTORY`,
//! where `week0.safetensors`, `week1.safetensors` … (bf16) and `f32-week0.safetensors` … stand.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use ballast::codec::{self, Element, Hint};

/// Every figure is the best of so many runs.
const RUNS: usize = 3;

fn main() {
    let Some(directory) = std::env::args().skip(1).find(|a| !a.starts_with('-')) else {
        println!("skipped: no directory of checkpoints is given");
        return;
    };
    for (prefix, element) in [("week", Element::Bf16), ("f32-week", Element::F32)] {
        let name = |week: usize| format!("{prefix}{week}.safetensors");
        let read = |week| std::fs::read(Path::new(&directory).join(name(week))).ok();
        let weeks: Vec<Vec<u8>> = (0..).map_while(read).collect();
        if weeks.is_empty() {
            println!("skipped: {} is not there", name(0));
        }
        for piece in [256 << 10, 1 << 20, 4 << 20] {
            for week in 0..weeks.len() {
                report(&name(week), &weeks[..=week], piece, Hint { element });
            }
        }
    }
}

fn report(name: &str, weeks: &[Vec<u8>], piece: usize, hint: Hint) {
    let (mut encoding, mut decoding) = (Duration::MAX, Duration::MAX);
    let (mut plain_bytes, mut stored_bytes) = (0, 0);
    for _ in 0..RUNS {
        (plain_bytes, stored_bytes) = (0, 0);
        let (mut encoded_in, mut decoded_in) = (Duration::ZERO, Duration::ZERO);
        let (mut encoded, mut back) = (Vec::new(), Vec::new());
        for bytes in pieces(weeks, piece) {
            let (plain, bases) = (bytes[0], &bytes[1..]);
            let start = Instant::now();
            let (how, used) = codec::encode_delta(plain, bases, hint, &mut encoded)
                .unwrap_or_else(|| (codec::encode(plain, &mut encoded), 0));
            encoded_in += start.elapsed();
            let stored = if how.encoding as u8 == 0 { plain } else { &encoded };
            back.resize(plain.len(), 0);
            let start = Instant::now();
            let decoded =
                codec::decode(how.encoding as u8, how.codec_version, stored, &bases[..used], &mut back);
            decoded_in += start.elapsed();
            assert!(decoded.is_ok() && back == plain);
            plain_bytes += plain.len();
            stored_bytes += stored.len();
        }
        (encoding, decoding) = (encoding.min(encoded_in), decoding.min(decoded_in));
    }
    let speed = |time: Duration| plain_bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{name}, pieces of {} KiB: {:.4} stored, encode {:.0} MB/s, decode {:.0} MB/s",
        piece >> 10,
        stored_bytes as f64 / plain_bytes as f64,
        speed(encoding),
        speed(decoding)
    );
}

/// The last week's pieces, each before the same range of the two weeks before it, newest first.
fn pieces(weeks: &[Vec<u8>], piece: usize) -> Vec<Vec<&[u8]>> {
    let newest = weeks.iter().rev().take(3);
    let tensors: Vec<Vec<&[u8]>> = newest.map(|week| tensors(week)).collect();
    let mut out = Vec::new();
    for tensor in 0..tensors[0].len() {
        let ranges = tensors.iter().map(|week| week[tensor].chunks(piece).collect::<Vec<_>>());
        let ranges: Vec<_> = ranges.collect();
        out.extend((0..ranges[0].len()).map(|i| ranges.iter().map(|week| week[i]).collect()));
    }
    out
}

/// The bytes of every tensor, by the offsets that the header of a safetensors file names; the weeks
/// name them in the same order.
fn tensors(file: &[u8]) -> Vec<&[u8]> {
    let len = u64::from_le_bytes(file[..8].try_into().expect("because it is long enough")) as usize;
    let header = std::str::from_utf8(&file[8..8 + len]).expect("because headers are text");
    let offsets = header.split("\"data_offsets\":[").skip(1).map(|rest| {
        let pair = rest.split(']').next().unwrap_or_default();
        let mut pair =
            pair.split(',').map(|n| n.trim().parse::<usize>().expect("because offsets are numbers"));
        (pair.next().unwrap_or(0), pair.next().unwrap_or(0))
    });
    offsets.map(|(start, end)| &file[8 + len + start..8 + len + end]).collect()
}
