//! Types of blocks that files name, and how each is best laid out: alone, and against older blocks.
//!
//! Only an encoder knows them: what it writes says how it is read. A type that is not here, or
//! wrong, costs room and nothing else.

use std::sync::LazyLock;

use super::layout::{Layout, Part, Stream, Term};

/// A type of block, by ggml's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// 32 numbers of four bits, a scale.
    Q4_0,
    /// 32 numbers of four bits, scale and least value.
    Q4_1,
    /// 32 numbers of five bits, a scale.
    Q5_0,
    /// 32 numbers of five bits, scale and least value.
    Q5_1,
    /// 32 numbers of eight bits, a scale.
    Q8_0,
    /// 256 numbers of two bits.
    Q2K,
    /// 256 numbers of three bits.
    Q3K,
    /// 256 numbers of four bits.
    Q4K,
    /// 256 numbers of five bits.
    Q5K,
    /// 256 numbers of six bits.
    Q6K,
    /// 32 numbers of four bits that name values of a table, a scale.
    Iq4Nl,
    /// 256 of these.
    Iq4Xs,
    /// 32 numbers of four bits, an exponent.
    Mxfp4,
}

impl BlockType {
    const ALL: [(Self, &'static str, usize); 13] = [
        (Self::Q4_0, "Q4_0", 18),
        (Self::Q4_1, "Q4_1", 20),
        (Self::Q5_0, "Q5_0", 22),
        (Self::Q5_1, "Q5_1", 24),
        (Self::Q8_0, "Q8_0", 34),
        (Self::Q2K, "Q2_K", 84),
        (Self::Q3K, "Q3_K", 110),
        (Self::Q4K, "Q4_K", 144),
        (Self::Q5K, "Q5_K", 176),
        (Self::Q6K, "Q6_K", 210),
        (Self::Iq4Nl, "IQ4_NL", 18),
        (Self::Iq4Xs, "IQ4_XS", 136),
        (Self::Mxfp4, "MXFP4", 17),
    ];

    /// By the word that a file names it with.
    pub fn of_word(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| known.as_bytes() == word).map(|(this, ..)| *this)
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        Self::ALL[self as usize].2
    }

    /// For blocks that stand alone.
    pub fn alone(self) -> &'static Layout {
        &LAYOUTS[self as usize].0
    }

    /// For blocks against others; a symbol is one number.
    pub fn against(self) -> &'static Layout {
        &LAYOUTS[self as usize].1
    }
}

/// For bytes against others, each a number.
pub fn bytes() -> &'static Layout {
    static BYTES: LazyLock<Layout> = LazyLock::new(|| Layout { period: 32, streams: vec![run_of(0, 32)] });
    &BYTES
}

/// For numbers of four bits against others, two to a byte.
pub fn halves_of_bytes() -> &'static Layout {
    static NIBBLES: LazyLock<Layout> =
        LazyLock::new(|| Layout { period: 32, streams: vec![of_parts(32, &[(0, 0, 4), (0, 4, 4)])] });
    &NIBBLES
}

static LAYOUTS: LazyLock<Vec<(Layout, Layout)>> = LazyLock::new(|| {
    let types = BlockType::ALL.iter();
    types
        .map(|(this, _, period)| {
            let of = |against| Layout { period: *period, streams: streams(*this, against) };
            (of(false), of(true))
        })
        .collect()
});

fn stream(run: usize, lanes: Vec<[Part; 2]>) -> Stream {
    Stream { run, lanes, peak: None, key: Vec::new(), is_halved: false }
}

/// Bytes as they stand.
fn run_of(offset: usize, len: usize) -> Stream {
    of_parts(len, &[(offset, 0, 8)])
}

/// Runs with one part: offset, shift, width.
fn of_parts(run: usize, lanes: &[(usize, u8, u8)]) -> Stream {
    let part =
        |(offset, shift, width): &(usize, u8, u8)| [Part::new(*offset, *shift, *width), Part::default()];
    stream(run, lanes.iter().map(part).collect())
}

const fn term(stream: u8, reading: u8, weight: i16) -> Term {
    Term { stream, reading, weight }
}

const VALUE: u8 = 0;
const LOG: u8 = 1;
const LOG_OF_SIGNED: u8 = 2;
const UNSIGNED: u8 = 3;

/// A half: its high byte and, ordered by that, its low byte. Of scales that come from short
/// floats, few low bytes occur after each high one.
fn half(offset: usize, number: u8, streams: &mut Vec<Stream>) {
    streams.push(run_of(offset + 1, 1));
    streams.push(Stream { key: vec![term(number, VALUE, 1)], ..run_of(offset, 1) });
}

/// The bits of a half without its sign, of streams that [`half`] made.
fn bits_of_half(number: u8, weight: i16) -> [Term; 2] {
    [term(number, UNSIGNED, 256 * weight), term(number + 1, VALUE, weight)]
}

/// Scales and least values of the eight sub-blocks of Q4_K and Q5_K: six bits each, in twelve
/// bytes from `at` on.
fn six_bits(at: usize) -> [Stream; 2] {
    let scales = (0..8).map(|j| match j {
        0..4 => [Part::new(at + j, 0, 6), Part::default()],
        _ => [Part::new(at + j + 4, 0, 4), Part::new(at + j - 4, 6, 2)],
    });
    let leasts = (0..8).map(|j| match j {
        0..4 => [Part::new(at + j + 4, 0, 6), Part::default()],
        _ => [Part::new(at + j + 4, 4, 4), Part::new(at + j, 6, 2)],
    });
    [stream(1, scales.collect()), stream(1, leasts.collect())]
}

fn streams(this: BlockType, against: bool) -> Vec<Stream> {
    let mut all = Vec::new();
    match this {
        BlockType::Q8_0 => {
            half(0, 0, &mut all);
            let key = bits_of_half(0, 1).to_vec();
            // The scale is the largest number's 127th part. Whole numbers spread so evenly that zstd
            // takes them for noise.
            all.push(Stream { key, peak: Some([0x7f, 0x81]), is_halved: true, ..run_of(2, 32) });
        }
        BlockType::Q4_0 | BlockType::Iq4Nl => {
            half(0, 0, &mut all);
            all.push(Stream { key: bits_of_half(0, 1).to_vec(), ..nibbles(2, 16, against) });
        }
        BlockType::Mxfp4 => {
            all.push(run_of(0, 1));
            all.push(Stream { key: vec![term(0, VALUE, 1)], ..nibbles(1, 16, against) });
        }
        BlockType::Q4_1 => {
            half(0, 0, &mut all);
            half(2, 2, &mut all);
            let key = [bits_of_half(2, 1), bits_of_half(0, -1)].concat();
            all.push(Stream { key, ..nibbles(4, 16, against) });
        }
        BlockType::Q5_0 | BlockType::Q5_1 => {
            half(0, 0, &mut all);
            let at = if this == BlockType::Q5_1 { 4 } else { 2 };
            if at == 4 {
                half(2, 2, &mut all);
            }
            all.push(if against {
                of_parts(4, &[0, 1, 2, 3, 4, 5, 6, 7].map(|bit| (at, bit, 1)))
            } else {
                run_of(at, 4)
            });
            all.push(nibbles(at + 4, 16, against));
        }
        BlockType::Q2K => {
            all.push(run_of(0, 16));
            all.push(if against {
                of_parts(64, &[0, 2, 4, 6].map(|bit| (16, bit, 2)))
            } else {
                run_of(16, 64)
            });
            half(80, 2, &mut all);
            half(82, 4, &mut all);
        }
        BlockType::Q3K => {
            if against {
                let lanes = (0..8usize)
                    .map(|j| [Part::new(32 + 32 * (j / 4), 2 * (j as u8 % 4), 2), Part::new(0, j as u8, 1)]);
                all.push(stream(32, lanes.collect()));
            } else {
                all.extend([run_of(0, 32), run_of(32, 64)]);
            }
            all.push(run_of(96, 12));
            let number = all.len() as u8;
            half(108, number, &mut all);
        }
        BlockType::Q4K | BlockType::Q5K => {
            half(0, 0, &mut all);
            half(2, 2, &mut all);
            all.extend(six_bits(4));
            let numbers = match (this, against) {
                (BlockType::Q4K, true) => nibbles(16, 128, true),
                // Both halves of a symbol are of one sub-block.
                (BlockType::Q4K, false) => {
                    let lanes = (0..8usize).map(|j| {
                        let (at, shift) = (16 + 32 * (j / 2), 4 * (j as u8 % 2));
                        [Part::new(at, shift, 4), Part::new(at + 16, shift, 4)]
                    });
                    stream(16, lanes.collect())
                }
                _ => {
                    let lanes = (0..8usize).map(|j| {
                        [Part::new(48 + 32 * (j / 2), 4 * (j as u8 % 2), 4), Part::new(16, j as u8, 1)]
                    });
                    stream(32, lanes.collect())
                }
            };
            // Where zero lies among the numbers: least value by scale.
            let key = [&[term(5, LOG, 1), term(4, LOG, -1)][..], &bits_of_half(2, 1), &bits_of_half(0, -1)];
            all.push(Stream { key: key.concat(), ..numbers });
        }
        BlockType::Q6K => {
            half(208, 0, &mut all);
            all.push(run_of(192, 16));
            // Sixteen sub-blocks of sixteen: four bits here, two there.
            let lanes = (0..16usize).map(|j| {
                let (half, quarter, second) = (j / 8, j / 2 % 4, j % 2 * 16);
                let low = 64 * half + 32 * (quarter % 2) + second;
                let high = 128 + 32 * half + second;
                [Part::new(low, 4 * (quarter as u8 / 2), 4), Part::new(high, 2 * quarter as u8, 2)]
            });
            let key = [&[term(2, LOG_OF_SIGNED, 1)][..], &bits_of_half(0, 1)].concat();
            all.push(Stream { key, ..stream(16, lanes.collect()) });
        }
        BlockType::Iq4Xs => {
            half(0, 0, &mut all);
            all.extend([run_of(2, 2), run_of(4, 4), nibbles(8, 128, against)]);
        }
    }
    if against {
        for stream in &mut all {
            (stream.key, stream.peak, stream.is_halved) = (Vec::new(), None, false);
        }
    }
    all
}

/// Bytes of two numbers each, as they stand or apart.
fn nibbles(offset: usize, len: usize, apart: bool) -> Stream {
    if apart { of_parts(len, &[(offset, 0, 4), (offset, 4, 4)]) } else { run_of(offset, len) }
}
