//! What is worth trying, from a sample: three pieces of the plaintext through the fastest zstd,
//! and the entropy of their bytes by position. Of a frame of small files that is plainly text, one piece is enough, or only a look
//! at it; of numbers whose type is known, a search for repeats.
//! Cheap beside the coder itself, and wrong only towards `raw`, which costs room, never correctness.

use super::delta::Element;
use super::fields::blocks::BlockType;
use super::planes::Layout;
use super::{fields, zstd};

/// What to encode with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nothing gains.
    Raw,
    /// zstd at this level.
    Zstd(i32),
    /// Byte planes.
    Planes(Layout),
    /// zstd that looks for no matches: bytes that are each a number.
    Literals,
    /// Fields of blocks.
    Fields(BlockType),
}

const PIECE: usize = 16 << 10;
/// Of numbers whose type is known less is enough.
const PIECE_OF_FLOATS: usize = 4 << 10;
/// Less than this share saved by the sample is not worth a decoder's time at restore.
const WORTH: f64 = 0.97;
/// Below this ratio there are matches to be found, and level 3 finds more of them.
const MATCHES: f64 = 0.60;
/// Frames up to this size are of small files, many or one.
const FRAME: usize = 256 << 10;
/// From here to [`FRAME`] level 2 looks for matches as level 3 does, in smaller tables: text takes a fifth less time
/// and within 0.2 % the same room.
const SECOND_LEVEL_FROM: usize = (128 << 10) + 1;
/// Frames up to this size go through zstd whole, unless one piece says that they are numbers.
const SMALL: usize = 4 * PIECE;
/// Below this nothing is known of numbers.
const FEW: usize = 2 << 10;
/// One piece has to be this sure of numbers.
const CLEARLY: f64 = 0.93;
/// Two positions in an element have the same byte if their entropies differ by less (bits).
const SAME_BITS: f64 = 0.25;
/// Where every position has more bits than this, no plane is worth coding, rotated or not.
const NOISE_BITS: f64 = 7.9;
/// A plane that would save less is stored as it is (zstd itself asks for a sixty-fourth).
const PLANE_WORTH: f64 = 0.98;
/// A Huffman coder's distance from the entropy (share of a plane).
const CODER_LOSS: f64 = 0.006;

/// Coding bytes alone is so much faster than looking for matches that it may store so much more.
const FASTER: f64 = 1.01;

/// Three pieces: begin, middle, end; each begins at a multiple of four from the start.
fn pieces(plain: &[u8], len: usize) -> [&[u8]; 3] {
    [0, 1, 2].map(|i| {
        let start = ((plain.len() - len) / 2 * i) & !3;
        &plain[start..start + len]
    })
}

/// What a sample says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// What to encode with.
    pub choice: Choice,
    /// The share of the plaintext it would take; `None` where no sample was needed.
    pub share: Option<f64>,
}

/// What to encode `plain` with, of which it is known what its elements are, and what it would cost.
pub fn look_as(plain: &[u8], element: Element) -> Look {
    let piece = match element {
        Element::Bf16 | Element::F16 | Element::F32 => PIECE_OF_FLOATS,
        _ => PIECE,
    };
    let mut look = look(plain, piece);
    let (choice, share) = match element {
        Element::Blocks(block) => {
            // What nearly nothing is left of, zstd takes to less.
            (Choice::Fields(block), fields::share(plain, block.alone()).max(CODER_LOSS))
        }
        Element::Bytes(1) if plain.len() > SMALL => (Choice::Literals, literals(plain)),
        _ => return look,
    };
    if share < WORTH && look.share.is_none() {
        let mut whole = Vec::new();
        let made = zstd::compress(plain, 3, &mut whole);
        look.share = Some(if made { whole.len() as f64 / plain.len() as f64 } else { 1.0 });
    }
    let slack = if choice == Choice::Literals { FASTER } else { 1.0 };
    if share < WORTH && share < look.share.unwrap_or(1.0) * slack {
        look = Look { choice, share: Some(share) };
    }
    look
}

/// What to encode `plain` with, of which it is known what its elements are. As [`look_as`], and sooner where nobody asks for
/// the cost: small files that are plainly text need no trial.
pub fn choose_as(plain: &[u8], element: Element) -> Choice {
    if element == Element::Unknown
        && (SECOND_LEVEL_FROM..=FRAME).contains(&plain.len())
        && is_text(pieces(plain, PIECE)[1])
    {
        return Choice::Zstd(2);
    }
    look_as(plain, element).choice
}

/// Words and lines: not numbers, nor digits that stand for something else (base64, which has no blanks).
fn is_text(piece: &[u8]) -> bool {
    fn count(piece: &[u8], is: impl Fn(u8) -> bool) -> usize {
        // Sums that fit a byte: sixty-four comparisons at a time.
        piece.chunks(192).map(|part| usize::from(part.iter().map(|b| u8::from(is(*b))).sum::<u8>())).sum()
    }
    let blanks = count(piece, |b| b == b' ' || b == b'\n' || b == b'\t' || b == b'\r');
    let visible = count(piece, |b| b.wrapping_sub(0x21) < 0x5e);
    if blanks * 20 < piece.len() || (blanks + visible) * 100 < piece.len() * 97 {
        return false;
    }
    // Columns of a fixed width are numbers as well: there positions differ.
    let bits = by_position(&[piece]).each_ref().map(entropy);
    bits.iter().all(|b| (b - bits[0]).abs() < SAME_BITS)
}

/// Share in which bytes are stored that are coded one by one.
fn literals(plain: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in pieces(plain, PIECE).into_iter().flatten() {
        counts[usize::from(*byte)] += 1;
    }
    entropy(&counts) / 8.0 + CODER_LOSS
}

/// What `plain` is to be encoded with, and what that would cost, by pieces of this length.
fn look(plain: &[u8], piece: usize) -> Look {
    let unseen = |choice| Look { choice, share: None };
    if plain.len() < 32 {
        return unseen(Choice::Raw);
    }
    if plain.len() < FEW {
        return unseen(Choice::Zstd(3));
    }
    if plain.len() <= SMALL {
        let start = (plain.len().saturating_sub(PIECE) / 2) & !3;
        return small(&plain[start..plain.len().min(start + PIECE)]);
    }
    let pieces = pieces(plain, piece);
    let mut scratch = Vec::new();
    if piece == PIECE_OF_FLOATS {
        // Where nothing is found again, zstd would code bytes whatever their position: planes are never noticeably worse.
        let (numbers, layout) = numbers(&pieces);
        if numbers < WORTH && !pieces.iter().any(|piece| zstd::repeats(piece, &mut scratch)) {
            return Look { choice: Choice::Planes(layout), share: Some(numbers) };
        }
    }
    let mut coded = |bytes: &[u8]| match zstd::compress(bytes, 1, &mut scratch) {
        true => scratch.len().min(piece),
        false => piece,
    };
    let thorough = Choice::Zstd(if (SECOND_LEVEL_FROM..=FRAME).contains(&plain.len()) { 2 } else { 3 });
    let middle = coded(pieces[1]);
    let ratio = middle as f64 / piece as f64;
    if plain.len() <= FRAME && ratio <= MATCHES && ratio < least_as_numbers(pieces[1]) {
        return Look { choice: thorough, share: Some(ratio) };
    }
    let (numbers, layout) = numbers(&pieces);
    let ratio = (coded(pieces[0]) + middle + coded(pieces[2])) as f64 / (3 * piece) as f64;
    let (choice, share) = match ratio {
        r if numbers < WORTH && numbers < r * WORTH => (Choice::Planes(layout), numbers),
        r if r > WORTH => (Choice::Raw, 1.0),
        r if r > MATCHES => (Choice::Zstd(1), r),
        r => (thorough, r),
    };
    Look { choice, share: Some(share) }
}

/// A piece takes no smaller share than this under any layout of [`numbers`]: planes of fewer positions mix
/// theirs, which adds entropy, and a rotation takes at most one bit from each.
fn least_as_numbers(piece: &[u8]) -> f64 {
    let bits = by_position(&[piece]).iter().map(entropy).sum::<f64>() / 4.0;
    (bits - 1.0) / 8.0
}

fn small(piece: &[u8]) -> Look {
    let (share, layout) = numbers(&[piece]);
    let mut scratch = Vec::new();
    if share < CLEARLY
        && zstd::compress(piece, 1, &mut scratch)
        && share < scratch.len() as f64 / piece.len() as f64 * CLEARLY
    {
        return Look { choice: Choice::Planes(layout), share: Some(share) };
    }
    Look { choice: Choice::Zstd(3), share: None }
}

/// The best layout as numbers, and the share it would be stored in.
fn numbers(pieces: &[&[u8]]) -> (f64, Layout) {
    let bits = by_position(pieces).each_ref().map(entropy);
    if bits.iter().all(|b| *b > NOISE_BITS) {
        return (1.0, Layout { width: 2, lead: 0, rotated: false, coded: [false; 4] });
    }
    let same = |a: usize, b: usize| (bits[a] - bits[b]).abs() < SAME_BITS;
    let width = if same(0, 2) && same(1, 3) { 2 } else { 4 };
    // The position of least entropy holds the exponent: the top byte. Elements end after it.
    let top = (0..width).min_by(|a, b| bits[*a].total_cmp(&bits[*b])).unwrap_or(0);
    let lead = (top + 1) % width;
    let mut plain = Layout { width, lead, rotated: false, coded: [false; 4] };
    let mut rotated = Layout { rotated: true, ..plain };
    let (a, b) = (share(pieces, &mut plain), share(pieces, &mut rotated));
    if b < a { (b, rotated) } else { (a, plain) }
}

/// How often each byte occurs at each position of four.
fn by_position(pieces: &[&[u8]]) -> [[u32; 256]; 4] {
    let mut counts = [[0u32; 256]; 4];
    for group in pieces.iter().flat_map(|p| p.chunks_exact(4)) {
        for (count, byte) in counts.iter_mut().zip(group) {
            count[usize::from(*byte)] += 1;
        }
    }
    counts
}

/// Share of its length that the sample would be stored in under a layout; notes which planes are
/// worth coding.
fn share(pieces: &[&[u8]], layout: &mut Layout) -> f64 {
    let mut counts = [[0u32; 256]; 4];
    let turn = u32::from(layout.rotated);
    for element in pieces.iter().flat_map(|p| p[layout.lead..].chunks_exact(layout.width)) {
        let bytes = match *element {
            [a, b] => {
                let [a, b] = u16::from_le_bytes([a, b]).rotate_left(turn).to_le_bytes();
                [a, b, 0, 0]
            }
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).rotate_left(turn).to_le_bytes(),
            _ => continue,
        };
        for (count, byte) in counts.iter_mut().zip(bytes).take(layout.width) {
            count[usize::from(byte)] += 1;
        }
    }
    let mut sum = 0.0;
    for (count, coded) in counts[..layout.width].iter().zip(&mut layout.coded) {
        let share = entropy(count) / 8.0 + CODER_LOSS;
        *coded = share < PLANE_WORTH;
        sum += if *coded { share } else { 1.0 };
    }
    sum / layout.width as f64
}

/// Bits of all that were counted, order 0.
pub fn bits_of(counts: &[u32; 256]) -> f64 {
    let total: u32 = counts.iter().sum();
    if total == 0 { 0.0 } else { entropy(counts) * f64::from(total) }
}

/// Bits a byte, order 0; 8 of nothing.
fn entropy(counts: &[u32; 256]) -> f64 {
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 8.0;
    }
    let total = f64::from(total);
    let seen = counts.iter().filter(|c| **c > 0);
    seen.map(|c| f64::from(*c)).map(|c| -(c / total) * (c / total).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(plain: &[u8]) -> Choice {
        look(plain, PIECE).choice
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"estimate").finalize_xof().fill(&mut out);
        out
    }

    /// Weights: a sum of noise, so that exponents cluster.
    fn floats(count: usize) -> Vec<f32> {
        noise(count * 8)
            .chunks_exact(8)
            .map(|c| c.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>() * 1e-4 + 1e-9)
            .collect()
    }

    #[test]
    fn numbers_are_seen_wherever_they_begin() {
        let bf16: Vec<u8> =
            floats(200_000).iter().flat_map(|f| ((f.to_bits() >> 16) as u16).to_le_bytes()).collect();
        for lead in 0..2 {
            let Choice::Planes(layout) = choose(&bf16[lead..]) else { panic!("not seen at {lead}") };
            assert_eq!((layout.width, layout.lead, layout.rotated), (2, lead, true));
            assert!(layout.coded[1]);
        }
        let f32s: Vec<u8> = floats(100_000)
            .iter()
            .zip(noise(100_000))
            .flat_map(|(f, n)| (f.to_bits() ^ u32::from(n) ^ (u32::from(n) << 7)).to_le_bytes())
            .collect();
        for lead in 0..4 {
            let Choice::Planes(layout) = choose(&f32s[(4 - lead) % 4..]) else {
                panic!("not seen at {lead}")
            };
            assert_eq!((layout.width, layout.lead), (4, lead));
        }
    }

    #[test]
    fn other_data_is_left_to_others() {
        assert_eq!(choose(&noise(1 << 20)), Choice::Raw);
        let text = b"the quick brown fox jumps over the lazy dog, ".repeat(10_000);
        assert_eq!(choose(&text), Choice::Zstd(3));
        assert_eq!(choose(&text[..200 << 10]), Choice::Zstd(2), "level 2 has tables made for it");
        assert_eq!(choose(&text[..100 << 10]), Choice::Zstd(3));
        assert_eq!(choose(&[0; 10]), Choice::Raw);
        assert_eq!(choose(&[0; 1000]), Choice::Zstd(3));
        assert!(matches!(choose(&vec![0; 1 << 20]), Choice::Zstd(_)));
    }

    #[test]
    fn known_numbers_of_which_nothing_comes_again_need_no_trial() {
        let bf16: Vec<u8> =
            floats(200_000).iter().flat_map(|f| ((f.to_bits() >> 16) as u16).to_le_bytes()).collect();
        let look = look_as(&bf16, Element::Bf16);
        assert_eq!(look.choice, self::look(&bf16, PIECE).choice, "what the trial says, too");
        assert_eq!(look.share, Some(numbers(&pieces(&bf16, PIECE_OF_FLOATS)).0));
        // Rows that come again: matches are worth more than planes.
        let row = &bf16[..512];
        assert!(matches!(look_as(&row.repeat(800), Element::Bf16).choice, Choice::Zstd(_)));
        let ends = [&[0; 64 << 10][..], &bf16[..128 << 10], &[0; 64 << 10]].concat();
        let trial = self::look(&ends, PIECE);
        assert_eq!(look_as(&ends, Element::Bf16).choice, trial.choice, "repeats at the ends are seen");
        let mut scratch = Vec::new();
        for (bytes, expected) in
            [(&bf16[..PIECE_OF_FLOATS], false), (&row.repeat(8), true), (&[0; 4096], true)]
        {
            assert_eq!(zstd::repeats(bytes, &mut scratch), expected);
        }
    }

    #[test]
    fn plain_text_needs_no_trial() {
        let of = |alphabet: &'static [u8]| -> Vec<u8> {
            noise(200 << 10).iter().map(|b| alphabet[usize::from(*b) % alphabet.len()]).collect()
        };
        let prose = of(b"etaoin shrdlu etaoin cmfwypvb\n");
        assert!(is_text(&prose));
        assert_eq!(choose_as(&prose, Element::Unknown), Choice::Zstd(2));
        let code = include_bytes!("estimate.rs").repeat(20);
        let code = &code[..200 << 10];
        assert!(is_text(&code[..PIECE]));
        assert_eq!(choose_as(code, Element::Unknown), look_as(code, Element::Unknown).choice);
        // Digits of something else, numbers, and noise are looked at.
        let base64 = of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
        let bf16: Vec<u8> =
            floats(100 << 10).iter().flat_map(|f| ((f.to_bits() >> 16) as u16).to_le_bytes()).collect();
        let columns: Vec<u8> = noise(100 << 10).iter().flat_map(|b| [b'0' + b % 10, b' ']).collect();
        for other in [base64, bf16, noise(200 << 10), vec![b' '; 200 << 10], columns, of(b"\0 \x01ab ")] {
            let blank = other[0] == b' ' && other[1] == b' ';
            assert!(is_text(&other) == blank);
            assert_eq!(choose_as(&other, Element::Unknown), look_as(&other, Element::Unknown).choice);
        }
    }

    #[test]
    fn one_piece_of_text_is_enough_and_hides_no_numbers() {
        let words = |seed: u8| -> Vec<u8> {
            let pick = |b: &u8| b"etaoin shrdlu\ncmfwypvbgkqjxz"[usize::from(*b ^ seed) % 28];
            noise(2 << 10).iter().map(pick).collect::<Vec<_>>().repeat(8)
        };
        let kinds: [Vec<u8>; 6] = [
            words(1),
            floats(8 << 10).iter().flat_map(|f| ((f.to_bits() >> 16) as u16).to_le_bytes()).collect(),
            floats(4 << 10).iter().flat_map(|f| f.to_le_bytes()).collect(),
            floats(4 << 10).iter().flat_map(|f| f.abs().to_be_bytes()).collect(),
            (0..4u32 << 10).flat_map(|n| (n / 7).to_le_bytes()).collect(),
            noise(16 << 10).iter().map(|b| b & 0x81).collect(),
        ];
        for (kind, piece) in kinds.iter().enumerate() {
            let (share, _) = numbers(&[piece]);
            assert!(least_as_numbers(piece) <= share, "{kind}");
        }
        // Decided by the middle alone, whatever stands at the ends.
        let ends = vec![0; 64 << 10];
        let mixed = [&ends[..], &words(3), &words(5), &words(7), &words(9), &ends].concat();
        assert_eq!(look(&mixed, PIECE).choice, Choice::Zstd(2));
        assert!(
            look(&mixed, PIECE).share.is_some_and(|share| share > 0.1),
            "of the middle: of all it were a third"
        );
        let weights = [&ends[..], &kinds[1], &kinds[1], &kinds[1], &kinds[1], &ends].concat();
        assert!(matches!(look(&weights, PIECE).choice, Choice::Planes(_) | Choice::Zstd(_)));
        assert!(look(&weights, PIECE).share.is_some_and(|share| share < 0.3), "of all");
    }
}
