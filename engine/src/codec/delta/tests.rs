use super::*;
use proptest::prelude::*;

fn round(plain: &[u8], bases: &[&[u8]], hint: Hint) -> Option<(usize, usize)> {
    let mut out = vec![1, 2, 3];
    let (how, used) = encode_delta(plain, bases, hint, &mut out)?;
    assert_eq!(how, Encoded { encoding: Encoding::Delta, codec_version: CODEC_VERSION });
    let mut back = vec![0xaa; plain.len()];
    crate::codec::decode(how.encoding as u8, how.codec_version, &out, &bases[..used], &mut back).unwrap();
    assert_eq!(back, plain);
    let mut alone = Vec::new();
    let how = encode_as(plain, hint, &mut alone);
    let most = if how.encoding == Encoding::Raw { plain.len() } else { alone.len() };
    assert!(
        out.len() < most,
        "{} {most} {how:?} {hint:?} {:?}",
        out.len(),
        estimate::look_as(plain, hint.element)
    );
    Some((out.len(), used))
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

#[test]
fn only_what_gains_is_used() {
    let (a, b) = (noise(1, 300_000), noise(2, 300_000));
    assert_eq!(round(&a, &[], Hint::NONE), None);
    assert_eq!(round(&a, &[&[]], Hint::NONE), None);
    assert_eq!(round(&[], &[&a], Hint::NONE), None);
    assert_eq!(round(&a, &[&b], Hint::NONE), None);
    let (len, used) = round(&a.clone(), &[&a, &b], Hint::NONE).unwrap();
    assert!(len < 200 && used == 1, "{len}, {used}");
    let both = [&a[..150_000], &b[..150_000]].concat();
    let (len, used) = round(&both, &[&a, &b], Hint::NONE).unwrap();
    assert!(len < 300 && used == 2, "{len}, {used}");
}

/// Weights, and what a step of training makes of them.
fn weights(count: usize, steps: usize) -> Vec<f32> {
    let sum = |c: &[u8]| c.iter().map(|b| f32::from(*b) - 127.5).sum::<f32>();
    let mut made: Vec<f32> = noise(7, count * 4).chunks_exact(4).map(|c| sum(c) * 4e-4).collect();
    for step in 0..steps {
        for (weight, c) in made.iter_mut().zip(noise(8 + step as u8, count * 2).chunks_exact(2)) {
            *weight += sum(c) * 1e-6 + 3e-4;
        }
    }
    made
}

fn bytes(weights: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::Bf16 => weights.iter().flat_map(|w| ((w.to_bits() >> 16) as u16).to_le_bytes()).collect(),
        _ => weights.iter().flat_map(|w| w.to_bits().to_le_bytes()).collect(),
    }
}

#[test]
fn a_step_of_training_costs_little() {
    for (element, most) in [(Element::Bf16, 0.30), (Element::F32, 0.62)] {
        let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(300_000, steps), element));
        for hint in [Hint { element }, Hint::NONE] {
            let (one, used) = round(&new, &[&base], hint).unwrap();
            assert_eq!(used, 1);
            assert!(one < (new.len() as f64 * most) as usize, "{element:?} {one} of {}", new.len());
            let (two, _) = round(&new, &[&base, &older], hint).unwrap();
            assert!(two <= one, "{two} {one}");
        }
    }
    // The second step is much like the first.
    let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(300_000, steps), Element::F32));
    assert_eq!(round(&new, &[&base, &older], Hint { element: Element::F32 }).unwrap().1, 2);
}

#[test]
fn bases_of_other_lengths_serve_as_far_as_they_go() {
    let element = Element::Bf16;
    let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(200_000, steps), element));
    let whole = round(&new, &[&base], Hint { element }).unwrap().0;
    let (half, _) = round(&new, &[&base[..200_001]], Hint { element }).unwrap();
    assert!(half > whole && half < new.len() * 6 / 10, "{half}");
    let longer = [&base[..], &noise(3, 1001)].concat();
    assert_eq!(round(&new, &[&longer], Hint { element }).unwrap().0, whole);
    round(&new, &[&base[..100_000], &older[..50_003]], Hint { element }).unwrap();
    for cut in 1..4 {
        round(&new[..new.len() - cut], &[&base, &older], Hint { element }).unwrap();
        round(&new[cut..], &[&base[cut..]], Hint::NONE).unwrap();
    }
}

#[test]
fn lies_about_numbers_are_errors() {
    let element = Element::Bf16;
    let [older, base, new] = [0, 1, 2].map(|steps| bytes(&weights(5000, steps), element));
    let (new, mut out) = (&new[..9001], Vec::new());
    let (_, used) = encode_delta(new, &[&base[..8000]], Hint { element }, &mut out).unwrap();
    assert_eq!((used, out[0]), (1, METHOD_NUMBERS));
    let made = |bytes: &[u8], bases: &[&[u8]], len: usize| decode(bytes, bases, &mut vec![0; len]).is_ok();
    let base = &base[..8000];
    assert!(made(&out, &[base], new.len()));
    for cut in 0..out.len() {
        assert!(!made(&out[..cut], &[base], new.len()), "{cut}");
    }
    for len in [0, 1, 7999, 8000, new.len() - 1, new.len() + 1] {
        assert!(!made(&out, &[base], len), "{len}");
    }
    assert!(!made(&out, &[], new.len()));
    assert!(!made(&out, &[&base[..1]], new.len()));
    assert!(!made(&out, &[base, &older], new.len()));
    // Whatever a byte says instead, it is refused or decodes to something else, and no more.
    for at in 0..out.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = out.clone();
            bad[at] ^= flip;
            for bases in [&[base][..], &[base, &older]] {
                made(&bad, bases, new.len());
            }
        }
    }
}

#[test]
fn a_delta_does_not_end_in_a_delta() {
    // Sixteen equal numbers of two bytes, and one byte after them.
    let (base, mut out) = (noise(5, 32), vec![0xaa; 33]);
    let header = [METHOD_NUMBERS, 0, 0, 0, 8];
    let segment = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0];
    let zeros = [0; 16];
    let escapes = [0; 4];
    let good = [&header[..], &segment, &zeros, &escapes, &[Encoding::Raw as u8, 7]].concat();
    decode(&good, &[&base], &mut out).unwrap();
    assert_eq!(out, [&base[..], &[7]].concat());
    for tail in
        [&[Encoding::Delta as u8, METHOD_PREFIX][..], &[Encoding::Delta as u8], &[9, 7], &[0, 7, 7], &[]]
    {
        let bad = [&header[..], &segment, &zeros, &escapes, tail].concat();
        assert!(decode(&bad, &[&base], &mut out).is_err(), "{tail:?}");
    }
}

/// All patterns of two bytes, and what is odd among those of four, each against others: NaNs with
/// payloads, both zeros, infinities, subnormals.
#[test]
fn every_pattern_comes_back() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let words =
        |f: &dyn Fn(u16) -> u16| -> Vec<u8> { all.iter().flat_map(|w| f(*w).to_le_bytes()).collect() };
    let new = words(&|w| w);
    let bases: [&dyn Fn(u16) -> u16; 5] =
        [&|w| w ^ 1, &|w| w.wrapping_add(3), &|w| w ^ 0x8000, &|w| w.rotate_left(5), &|w| !w];
    let odd = [
        0u32,
        0x8000_0000,
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0x7fc0_1234,
        0xffff_ffff,
        1,
        0x8000_0001,
        0x007f_ffff,
        0x0080_0000,
        0x3f80_0000,
        0x7f7f_ffff,
    ];
    let singles = |turn: usize| -> Vec<u8> {
        (0..40_000).flat_map(|i| odd[(i / 7 + i * turn) % odd.len()].to_le_bytes()).collect()
    };
    let mut shorter = 0;
    for cut in [0, 1, 3] {
        for (base, element) in bases.iter().flat_map(|b| [Element::Bf16, Element::F16].map(|e| (b, e))) {
            let base = words(base);
            shorter += usize::from(round(&new[..new.len() - cut], &[&base], Hint { element }).is_some());
            round(&new[cut..], &[&base[cut..], &new[cut..]], Hint { element });
        }
        for turn in [1, 3] {
            let (new, base) = (singles(0), singles(turn));
            let hint = Hint { element: Element::F32 };
            shorter += usize::from(round(&new[..new.len() - cut], &[&base], hint).is_some());
            round(&new, &[&base[..base.len() - cut], &singles(2)], hint);
        }
    }
    assert!(shorter > 12, "{shorter}: it tells nothing where no difference is made");
}

proptest! {
    #[test]
    fn anything_comes_back(
        plain in proptest::collection::vec(any::<u8>(), 0..600),
        bases in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..4),
        copied in 0usize..600,
    ) {
        let mut plain = plain;
        if let Some(base) = bases.last() {
            plain.extend_from_slice(&base[..copied.min(base.len())]);
        }
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        round(&plain, &bases, Hint::NONE);
    }

    #[test]
    fn any_numbers_come_back(
        words in proptest::collection::vec((any::<u32>(), 0u32..9, 0u32..5), 40..3000),
        element in proptest::sample::select(vec![
            Element::Unknown, Element::Bf16, Element::F16, Element::F32,
            Element::Bytes(2), Element::Bytes(4),
        ]),
        cut in 0usize..9,
        zeros in 0u32..2,
    ) {
        // Like words with a step, or with all their bits changed, or odd values.
        let odd = [0x7f80_0000, 0xff80_0001, 0x8000_0000, 0x0000_0001, 0xffff_ffff, 0x7fc0_1234];
        let low = if zeros == 1 { 0xffff_0000 } else { 0xffff_ffff };
        let [mut older, mut base, mut new] = [const { Vec::new() }; 3];
        for (word, step, odds) in words {
            let a = if odds == 0 { odd[word as usize % odd.len()] } else { word };
            let step = if step == 8 { word.rotate_left(7) } else { (1u32 << (step * 2)) - 1 };
            older.extend_from_slice(&(a & low).to_le_bytes());
            base.extend_from_slice(&(a.wrapping_add(step) & low).to_le_bytes());
            new.extend_from_slice(&(a.wrapping_add(step).wrapping_add(step) & low).to_le_bytes());
        }
        let len = new.len() - cut;
        let hint = Hint { element };
        round(&new[..len], &[&base], hint);
        round(&new[cut..], &[&base, &older], hint);
        round(&new, &[&base[..len], &older], hint);
    }

    #[test]
    fn garbage_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        method in 0u8..6,
        bases in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
        len in 0usize..300,
    ) {
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        drop(decode(&[&[method], &bytes[..]].concat(), &bases, &mut vec![0; len]));
    }
}
