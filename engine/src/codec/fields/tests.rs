use proptest::prelude::*;

use super::blocks::BlockType;
use super::layout::{Part, Stream, Term};
use super::*;
use crate::codec::{Element, Encoded, Hint, encode, encode_as, encode_delta};
use crate::format::frame::Encoding;

const WORDS: [&str; 13] = [
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
    "MXFP4",
];

fn types() -> impl Iterator<Item = BlockType> {
    WORDS.iter().map(|word| BlockType::of_word(word.as_bytes()).unwrap())
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

/// Weights and what a step of training makes of them, in blocks of 32 with a scale each, as Q8_0 has.
fn q8(blocks: usize, steps: u8) -> Vec<u8> {
    let sum = |c: &[u8]| c.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>();
    let mut weights: Vec<f32> = noise(1, blocks * 128).chunks_exact(4).map(sum).collect();
    for step in 0..steps {
        for (weight, c) in weights.iter_mut().zip(noise(2 + step, blocks * 64).chunks_exact(2)) {
            *weight += sum(c) * 3e-3;
        }
    }
    let block = |weights: &[f32]| {
        let scale = weights.iter().fold(0f32, |most, w| most.max(w.abs())) / 127.0;
        // Some bits of the scale as a half: enough for a coder.
        let bits = ((scale.to_bits() >> 13) - (112 << 10)) as u16;
        let numbers = weights.iter().map(move |w| (w / scale).round() as i8 as u8);
        bits.to_le_bytes().into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    weights.chunks_exact(32).flat_map(block).collect()
}

fn round(plain: &[u8], layout: &Layout) -> Vec<u8> {
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    assert!(super::encode(plain, layout, &mut scratch, &mut out));
    let mut back = vec![0x55; plain.len()];
    decode(&out, &mut Scratch::default(), &mut back).unwrap();
    assert_eq!(back, plain);
    out
}

/// The header of a layout, as a reader takes it.
fn taken(layout: &Layout) -> Result<Layout, Malformed> {
    let mut header = Vec::new();
    layout.put(&mut header);
    let mut take = Take(&header);
    let layout = Layout::take(&mut take)?;
    take.end()?;
    Ok(layout)
}

#[test]
fn every_type_says_how_it_is_read() {
    for this in types() {
        for layout in [this.alone(), this.against()] {
            assert_eq!(layout.period, this.bytes(), "{this:?}");
            assert_eq!(taken(layout).as_ref(), Ok(layout), "{this:?}");
        }
        assert!(this.against().is_flat());
    }
    for layout in [blocks::bytes(), blocks::halves_of_bytes()] {
        assert_eq!(taken(layout).as_ref(), Ok(layout));
    }
    assert_eq!(BlockType::of_word(b"Q4_1 "), None);
}

#[test]
fn every_type_and_length_comes_back() {
    for this in types() {
        for layout in [this.alone(), this.against()] {
            for len in [0, 1, layout.period - 1, layout.period, 3 * layout.period + 1, 70_003] {
                round(&noise(3, len), layout);
            }
            // Few values: groups, peaks and codes are in use.
            let plain: Vec<u8> = noise(4, 150_000).iter().map(|b| b & 3 | b >> 7 << 5).collect();
            let len = round(&plain, layout).len();
            assert!(len < plain.len() * 3 / 4, "{this:?} {len}");
        }
    }
}

#[test]
fn quantised_weights_take_less() {
    let plain = q8(30_000, 0);
    let hint = Hint { element: Element::Blocks(BlockType::Q8_0) };
    let (mut out, mut today) = (Vec::new(), Vec::new());
    let how = encode_as(&plain, hint, &mut out);
    assert_eq!(how, Encoded { encoding: Encoding::Planes, codec_version: VERSION });
    encode(&plain, &mut today);
    // Of even noise without long tails: 7.75 bits a number.
    assert!(out.len() < plain.len() * 96 / 100, "{} of {}", out.len(), plain.len());
    assert!(today.is_empty() || out.len() < today.len());
    assert!(crate::codec::is_known(how.encoding as u8, how.codec_version));
    assert!(!crate::codec::is_known(how.encoding as u8, VERSION + 1));
    assert!(!crate::codec::is_known(Encoding::Zstd as u8, VERSION));
    let mut back = vec![0; plain.len()];
    crate::codec::decode(2, VERSION, &out, &[], &mut back).unwrap();
    assert_eq!(back, plain);
    assert!(crate::codec::decode(2, VERSION, &out, &[&plain], &mut back).is_err(), "it has no bases");
    assert!(crate::codec::decode(2, 1, &out, &[], &mut back).is_err());
}

#[test]
fn a_step_of_training_moves_few_numbers() {
    let (base, plain) = (q8(30_000, 0), q8(30_000, 1));
    let bytes = |blocks: &[u8]| blocks.chunks(34).flat_map(|b| b[2..].to_vec()).collect::<Vec<u8>>();
    for (plain, base, element) in [
        (plain.clone(), base.clone(), Element::Blocks(BlockType::Q8_0)),
        (bytes(&plain), bytes(&base), Element::Bytes(1)),
    ] {
        let most = plain.len() * 3 / 10;
        for (plain, base) in
            [(&plain[..], &base[..]), (&plain[..plain.len() - 5], &base), (&plain, &base[..base.len() - 5])]
        {
            let mut out = Vec::new();
            let (how, used) = encode_delta(plain, &[base, base], Hint { element }, &mut out).unwrap();
            assert_eq!((how.codec_version, used, out[0]), (1, 1, 4));
            assert!(out.len() < most, "{element:?}: {} of {}", out.len(), plain.len());
            let mut back = vec![0xaa; plain.len()];
            crate::codec::decode(3, 1, &out, &[base], &mut back).unwrap();
            assert_eq!(back, plain);
            assert!(crate::codec::decode(3, 1, &out, &[base, base], &mut back).is_err());
            assert!(crate::codec::decode(3, 1, &out, &[], &mut back).is_err());
            assert!(crate::codec::decode(3, 1, &out, &[&base[..30]], &mut back).is_err());
        }
    }
}

/// Whatever is said of it, nothing takes more than raw, nor much more than without a word.
#[test]
fn a_hint_is_only_a_hint() {
    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(2500);
    let mixed = [noise(6, 40_000), vec![0; 100_000], text[..30_000].to_vec()].concat();
    for plain in [noise(5, 100_000), vec![7; 100_000], text, mixed, q8(3000, 0), noise(5, 500), Vec::new()] {
        let (mut out, mut today) = (Vec::new(), Vec::new());
        encode(&plain, &mut today);
        let least = if today.is_empty() { plain.len() } else { today.len() };
        let blocks = types().map(Element::Blocks);
        for element in blocks.chain([Element::Bytes(1), Element::Bytes(4), Element::Bytes(0), Element::Bf16])
        {
            let how = encode_as(&plain, Hint { element }, &mut out);
            let stored = if how.encoding == Encoding::Raw { &plain } else { &out };
            assert!(stored.len() <= plain.len().min(least + least / 50 + 64), "{element:?} {}", stored.len());
            let mut back = vec![0; plain.len()];
            crate::codec::decode(how.encoding as u8, how.codec_version, stored, &[], &mut back).unwrap();
            assert_eq!(back, plain);
        }
    }
}

#[test]
fn lies_are_errors() {
    let plain = &q8(600, 0)[..20_395];
    let out = round(plain, BlockType::Q8_0.alone());
    let made = |bytes: &[u8], len: usize| decode(bytes, &mut Scratch::default(), &mut vec![0; len]).is_ok();
    assert!(made(&out, plain.len()));
    for len in [0, 1, plain.len() - 35, plain.len() - 1, plain.len() + 1, plain.len() + 34] {
        assert!(!made(&out, len), "{len}");
    }
    for cut in (0..out.len()).filter(|at| *at < 300 || at % 97 == 0) {
        assert!(!made(&out[..cut], plain.len()), "{cut}");
    }
    assert!(!made(&[&out[..], &[0]].concat(), plain.len()));
    // Whatever a byte says instead, it is refused or decodes to something else, and no more.
    for at in (0..out.len()).filter(|at| *at < 300 || at % 101 == 0) {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut bad = out.clone();
            bad[at] ^= flip;
            made(&bad, plain.len());
        }
    }
}

#[test]
fn layouts_that_lie_are_errors() {
    let field = |run, lanes: &[[Part; 2]]| Stream {
        run,
        lanes: lanes.to_vec(),
        peak: None,
        key: Vec::new(),
        is_halved: false,
    };
    let of = |offset, shift, width| [Part::new(offset, shift, width), Part::default()];
    let layout = |period, streams: &[Stream]| Layout { period, streams: streams.to_vec() };
    let (byte, run) = (field(1, &[of(0, 0, 8)]), field(3, &[of(1, 0, 8)]));
    let key = |stream, reading| vec![Term { stream, reading, weight: -1 }];
    let good = layout(4, &[byte.clone(), Stream { key: key(0, 3), peak: Some([1, 2]), ..run.clone() }]);
    assert_eq!(taken(&good), Ok(good));
    let whole = |len| field(len, &[of(0, 0, 8)]);
    let wide = layout(8, &[whole(8)]);
    assert_eq!(taken(&wide), Ok(wide));
    for (why, bad) in [
        ("a bit is left out", layout(5, &[byte.clone(), run.clone()])),
        ("a bit is left out", layout(1, &[field(1, &[of(0, 1, 7)])])),
        ("past the end", layout(3, &[byte.clone(), run.clone()])),
        ("twice", layout(4, &[byte.clone(), byte.clone(), run.clone()])),
        ("twice", layout(1, &[field(1, &[[Part::new(0, 0, 4), Part::new(0, 3, 4)]])])),
        ("over eight bits", layout(2, &[field(1, &[[Part::new(0, 0, 8), Part::new(1, 0, 1)]])])),
        ("past a byte", layout(1, &[field(1, &[of(0, 4, 5)])])),
        ("different bits", layout(2, &[field(1, &[of(0, 0, 8), of(1, 0, 4)])])),
        ("no part", layout(1, &[field(1, &[of(0, 0, 0)]), byte.clone()])),
        ("no run", layout(1, &[field(0, &[of(0, 0, 8)]), byte.clone()])),
        ("no lane", layout(1, &[field(1, &[]), byte.clone()])),
        ("no block", layout(0, &[])),
        ("too long", layout(513, &[whole(255)])),
        ("its own key", layout(4, &[byte.clone(), Stream { key: key(1, 0), ..run.clone() }])),
        ("an unknown reading", layout(4, &[byte.clone(), Stream { key: key(0, 4), ..run.clone() }])),
        ("too many terms", layout(4, &[byte.clone(), Stream { key: key(0, 0).repeat(9), ..run.clone() }])),
        (
            "many keys",
            layout(
                4,
                &[byte.clone(), Stream { key: key(0, 0), ..field(1, &[1, 2, 3].map(|at| of(at, 0, 8))) }],
            ),
        ),
        ("a peak in a long run", layout(128, &[Stream { peak: Some([0, 0]), ..whole(128) }])),
        ("too many symbols", layout(1, &[field(1, &[0, 1, 2, 3, 4, 5, 6, 7].map(|bit| of(0, bit, 1)))])),
    ] {
        assert!(taken(&bad).is_err(), "{why}");
    }
    // Groups that do not rise, too many of them, a peak behind its run.
    let head = |stream: Stream| {
        let mut header = Vec::new();
        layout(2, &[byte.clone(), stream]).put(&mut header);
        header
    };
    let second = field(1, &[of(1, 0, 8)]);
    let keyed = head(Stream { key: key(0, 0), ..second.clone() });
    let raw = |bytes: &[u8]| [&[0][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
    let made = |parts: &[&[u8]]| decode(&parts.concat(), &mut Scratch::default(), &mut [0; 2]).is_ok();
    let (zero, one) = (raw(&[]), raw(&[9]));
    assert!(made(&[&keyed, &one, &[1], &5i32.to_le_bytes(), &one, &zero]));
    assert!(!made(&[&keyed, &one, &[2], &5i32.to_le_bytes(), &5i32.to_le_bytes(), &one, &zero, &zero]));
    let rising: Vec<u8> = (0..64i32).flat_map(i32::to_le_bytes).collect();
    assert!(!made(&[&keyed, &one, &[64], &rising, &one, &zero.repeat(64)]));
    let peaked = head(Stream { peak: Some([7, 8]), ..second });
    assert!(made(&[&peaked, &one, &raw(&[NO_PEAK]), &one]));
    assert!(made(&[&peaked, &one, &raw(&[SECOND]), &zero]));
    assert!(!made(&[&peaked, &one, &raw(&[1]), &zero]));
}

/// What a delta of fields says of its escapes, its groups and its end is counted.
#[test]
fn deltas_that_lie_are_errors() {
    let byte = [[Part::new(0, 0, 8), Part::default()]].to_vec();
    let field = Stream { run: 1, lanes: byte, peak: None, key: Vec::new(), is_halved: false };
    let head = |stream: &Stream| {
        let mut header = Vec::new();
        Layout { period: 1, streams: vec![stream.clone()] }.put(&mut header);
        header
    };
    let raw = |bytes: &[u8]| [&[0][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
    let delta = |header: &[u8], symbols: &[u8], count: u32, escapes: &[u8], end: &[u8]| {
        let escapes = if escapes.is_empty() { Vec::new() } else { raw(escapes) };
        [&[4][..], header, &[0], &raw(symbols), &count.to_le_bytes(), &escapes, end].concat()
    };
    let made = |encoded: &[u8], base: &[u8]| {
        let mut out = vec![0x55; 4];
        crate::codec::decode(Encoding::Delta as u8, 1, encoded, &[base], &mut out)
            .map(|()| out)
            .map_err(|e| e.to_string())
    };
    let (flat, base) = (head(&field), [10, 20, 30, 40]);
    assert_eq!(made(&delta(&flat, &[2, 1, 0, 0], 0, &[], &[]), &base), Ok(vec![11, 19, 30, 40]));
    assert_eq!(made(&delta(&flat, &[255, 0, 0, 0], 1, &[0], &[]), &base), Ok(vec![138, 20, 30, 40]));
    let rest = [Encoding::Raw as u8, 7, 8];
    assert_eq!(made(&delta(&flat, &[2, 1], 0, &[], &rest), &base[..2]), Ok(vec![11, 19, 7, 8]));
    for (bad, base, words) in [
        (delta(&flat, &[255, 255, 0, 0], 1, &[0], &[]), &base[..], "too few escapes"),
        (delta(&flat, &[255, 0, 0, 0], 2, &[0, 0], &[]), &base, "too many escapes"),
        (delta(&flat, &[255, 0, 0, 0], u32::MAX, &[0], &[]), &base, "more escapes than numbers"),
        (delta(&flat, &[], 0, &[], &[Encoding::Raw as u8, 1, 2, 3, 4]), &[], "cover nothing"),
        (delta(&head(&Stream { is_halved: true, ..field.clone() }), &[0; 4], 0, &[], &[]), &base, "ordered"),
        (delta(&flat, &[0; 4], 0, &[], &[0]), &base, ""),
        (delta(&flat, &[2, 1], 0, &[], &[Encoding::Delta as u8, 7, 8]), &base[..2], "end is a delta"),
    ] {
        let refused = made(&bad, base).expect_err(words);
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

proptest! {
    #[test]
    fn anything_comes_back(
        plain in proptest::collection::vec(any::<u8>(), 0..1200),
        base in proptest::collection::vec(any::<u8>(), 0..1200),
        repeat in 1usize..20,
        which in 0usize..WORDS.len(),
        narrow in any::<u8>(),
        like in any::<bool>(),
    ) {
        let this = types().nth(which).unwrap();
        let plain: Vec<u8> = plain.repeat(repeat).iter().map(|b| b & narrow).collect();
        let mut base = base.repeat(repeat);
        if like {
            base.clone_from(&plain);
            base.iter_mut().step_by(7).for_each(|b| *b = b.wrapping_add(1));
        }
        round(&plain, this.alone());
        round(&plain, this.against());
        for element in [Element::Blocks(this), Element::Bytes(1), Element::Bytes(4)] {
            let (hint, mut out, mut back) = (Hint { element }, Vec::new(), vec![0xaa; plain.len()]);
            let how = encode_as(&plain, hint, &mut out);
            let stored = if how.encoding == Encoding::Raw { &plain } else { &out };
            crate::codec::decode(how.encoding as u8, how.codec_version, stored, &[], &mut back).unwrap();
            prop_assert_eq!(&back, &plain);
            if let Some((how, used)) = encode_delta(&plain, &[&base], hint, &mut out) {
                prop_assert!(out.len() < plain.len());
                back.fill(0xaa);
                crate::codec::decode(3, how.codec_version, &out, &[&base[..]][..used], &mut back).unwrap();
                prop_assert_eq!(&back, &plain);
            }
        }
    }

    #[test]
    fn garbage_never_panics(
        which in 0usize..WORDS.len(),
        against in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        keep in 0usize..200,
        len in 0usize..2000,
    ) {
        let this = types().nth(which).unwrap();
        let mut encoded = Vec::new();
        (if against { this.against() } else { this.alone() }).put(&mut encoded);
        encoded.truncate(keep);
        encoded.extend_from_slice(&bytes);
        drop(decode(&encoded, &mut Scratch::default(), &mut vec![0; len]));
        let base = noise(9, 1500);
        drop(crate::codec::decode(3, 1, &[&[4], &encoded[..]].concat(), &[&base], &mut vec![0; len]));
    }
}
