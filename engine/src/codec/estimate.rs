//! What is worth trying, from a sample: three pieces of 16 KiB through the fastest
//! zstd. Cheap beside the coder itself (a twentieth of a megabyte's work), and
//! wrong only towards `raw`, which costs room, never correctness.

use super::zstd;

const PIECE: usize = 16 << 10;
/// Less than this share saved by the sample is not worth a decoder's time at restore.
const WORTH: f64 = 0.97;
/// Below this ratio there are matches to be found, and level 3 finds more of them.
const MATCHES: f64 = 0.60;
/// Frames up to this size are tried whole: a sample would be nearly as long.
const SMALL: usize = 4 * PIECE;

/// The zstd level to encode `plain` with, or `None` for raw.
pub fn zstd_level(plain: &[u8]) -> Option<i32> {
    if plain.len() < 32 {
        return None;
    }
    if plain.len() <= SMALL {
        return Some(3);
    }
    let mut scratch = Vec::new();
    let (mut input, mut output) = (0usize, 0usize);
    for piece in 0..3 {
        let start = (plain.len() - PIECE) / 2 * piece;
        let bytes = &plain[start..start + PIECE];
        input += bytes.len();
        output += if zstd::compress(bytes, 1, &mut scratch) { scratch.len().min(PIECE) } else { PIECE };
    }
    let ratio = output as f64 / input as f64;
    match ratio {
        r if r > WORTH => None,
        r if r > MATCHES => Some(1),
        _ => Some(3),
    }
}
