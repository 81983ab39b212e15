use super::*;
use proptest::prelude::*;

fn layouts() -> Vec<Layout> {
    [2, 4]
        .into_iter()
        .flat_map(|width| (0..width).map(move |lead| (width, lead)))
        .flat_map(|(width, lead)| {
            [false, true].map(|rotated| Layout { width, lead, rotated, coded: [true; 4] })
        })
        .collect()
}

fn round(plain: &[u8], layout: Layout) -> usize {
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    assert!(encode(plain, layout, &mut scratch, &mut out));
    let mut back = vec![0x55; plain.len()];
    decode(&out, &mut scratch, &mut back).unwrap();
    assert_eq!(back, plain, "{layout:?}");
    assert!(decodes_to(&out, &mut scratch, &back).unwrap(), "{layout:?}");
    for at in [0, back.len() / 2, back.len().saturating_sub(1)] {
        if let Some(byte) = back.get_mut(at) {
            *byte ^= 1;
            assert!(!decodes_to(&out, &mut scratch, &back).unwrap(), "{layout:?}, byte {at}");
            back[at] ^= 1;
        }
    }
    out.len()
}

#[test]
fn every_length_and_layout_comes_back() {
    for layout in layouts() {
        for len in layout.lead..40 {
            let plain: Vec<u8> = (0..len as u8).map(|b| b.wrapping_mul(37)).collect();
            round(&plain, layout);
        }
    }
}

#[test]
fn every_bf16_and_odd_f32_comes_back() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    round(&all, Layout { width: 2, lead: 0, rotated: true, coded: [true; 4] });
    let odd = [f32::NAN, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 8.0, 1.0];
    let mut plain: Vec<u8> = odd.iter().flat_map(|f| f.to_bits().to_le_bytes()).collect();
    plain.extend_from_slice(&0x7fc0_1234u32.to_le_bytes());
    round(&plain, Layout { width: 4, lead: 0, rotated: true, coded: [true; 4] });
}

#[test]
fn a_constant_plane_costs_nothing() {
    let plain: Vec<u8> =
        (0..100_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) & 0xffff_0000).to_le_bytes()).collect();
    let len = round(&plain, Layout { width: 4, lead: 0, rotated: false, coded: [true; 4] });
    assert!(len < 201_000, "{len}");
}

#[test]
fn lies_are_errors() {
    let plain: Vec<u8> = (0..4000u32).flat_map(|i| ((i % 7) as u16 * 300).to_le_bytes()).collect();
    let mut out = Vec::new();
    assert!(encode(
        &plain,
        Layout { width: 2, lead: 1, rotated: true, coded: [true; 4] },
        &mut Scratch::default(),
        &mut out
    ));
    let decode_to = |bytes: &[u8], len: usize| decode(bytes, &mut Scratch::default(), &mut vec![0; len]);
    assert!(decode_to(&out, plain.len()).is_ok());
    for len in [0, 1, plain.len() - 1, plain.len() + 1, plain.len() + 2] {
        assert!(decode_to(&out, len).is_err(), "{len}");
    }
    for cut in 0..out.len() {
        assert!(decode_to(&out[..cut], plain.len()).is_err(), "{cut}");
    }
    for (at, value) in [(0, 3), (0, 4), (1, 2), (2, 2), (3, 9), (4, 0xff), (7, 0x7f)] {
        let mut bad = out.clone();
        bad[at] = value;
        assert!(decode_to(&bad, plain.len()).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn anything_comes_back(plain in proptest::collection::vec(any::<u8>(), 4..600), which in 0usize..12) {
        round(&plain, layouts()[which]);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), len in 0usize..300) {
        drop(decode(&bytes, &mut Scratch::default(), &mut vec![0; len]));
    }
}
