use proptest::prelude::*;

use super::*;

/// Bytes like exponents: each step down from `top` half as often.
fn exponents(len: usize, top: u8, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| top - (next() | 1 << 20).trailing_zeros() as u8 - (next() & 1) as u8).collect()
}

fn own(plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0x55; 100];
    encode(plain, &mut Scratch::default(), &mut out)?;
    Some(out)
}

fn zstds(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(zstd::compress_literals(plain, &mut out));
    out
}

fn read_by_both(coded: &[u8], plain: &[u8]) {
    let mut back = vec![0x55; plain.len()];
    decode(coded, &mut Table::default(), &mut back).expect("our own reader");
    assert!(back == plain);
    read_by_zstd(coded, plain);
}

fn read_by_zstd(coded: &[u8], plain: &[u8]) {
    let mut back = vec![0xaa; plain.len()];
    zstd::decompress(coded, &mut back).expect("zstd");
    assert!(back == plain);
}

#[test]
fn what_is_written_is_a_frame_for_zstd_and_no_longer_than_its_own() {
    let lens = [SHORTEST, SHORTEST + 1, BLOCK_BYTES, BLOCK_BYTES + 1, BLOCK_BYTES + 77, 327_677, 1 << 20];
    for (len, top) in lens.into_iter().zip([255, 126, 129, 40, 200, 130, 128]) {
        let plain = exponents(len, top, len as u64);
        let coded = own(&plain).expect("it suits");
        read_by_both(&coded, &plain);
        assert!(coded.len() <= zstds(&plain).len() * 1005 / 1000 + 64, "{len}");
    }
}

/// zstd refuses a block whose content is longer than a block decodes to, older ones one that is as long.
#[test]
fn a_block_is_shorter_than_what_it_decodes_to() {
    for made in [BLOCK_BYTES, 100_000] {
        assert!(frame::block_head(5, 5 + 3 + made - 1, made, false, true).is_some());
        for longer in 0..10 {
            assert!(
                frame::block_head(5, 5 + 3 + made + longer, made, false, true).is_none(),
                "{made} {longer}"
            );
        }
    }
    // Seven blocks of three bits a byte, one of eleven at most: as a whole much shorter, that one is not.
    let mut state = 7u64;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % most
    };
    let mut plain: Vec<u8> = (0..8 * BLOCK_BYTES).map(|_| 100 + next(7) as u8).collect();
    for byte in &mut plain[3 * BLOCK_BYTES..4 * BLOCK_BYTES] {
        *byte = 60 + next(32) as u8;
    }
    for common in [0, 10, 20, 40, 1000, 20_000] {
        let mut plain = plain.clone();
        for _ in 0..common {
            plain[3 * BLOCK_BYTES + next(BLOCK_BYTES as u64) as usize] = 100;
        }
        let mut out = Vec::new();
        assert!(compress(&plain, &mut out));
        read_by_zstd(&out, &plain);
    }
}

#[test]
fn what_zstd_writes_is_read() {
    for len in [SHORTEST, 300_001, 1 << 20] {
        let plain = exponents(len, 130, 7);
        let mut back = vec![0; len];
        decode(&zstds(&plain), &mut Table::default(), &mut back).expect("four streams a block");
        assert!(back == plain);
    }
}

#[test]
fn zeros_and_rare_values_have_codes() {
    let mut plain = exponents(400_000, 125, 3);
    for at in (0..plain.len()).step_by(1000) {
        plain[at] = 0;
    }
    plain[123_456] = 130;
    plain[399_999] = 96;
    let coded = own(&plain);
    // Values from 96 to 130: some of them are not in the sample.
    if let Some(coded) = &coded {
        read_by_both(coded, &plain);
    }
    let plain: Vec<u8> =
        plain.iter().map(|byte| if *byte < 106 && *byte > 0 { 106 } else { *byte }).collect();
    read_by_both(&own(&plain).expect("few values that the sample lacks"), &plain);
}

#[test]
fn what_does_not_suit_is_left_to_zstd() {
    let mut noise = vec![0; 200_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    // Half of it as the sample foretells, half of it not: the sample is every 781st line or so.
    let mut unlike = exponents(1 << 20, 120, 9);
    let step = unlike.len() / (SAMPLE_BYTES / SAMPLE_LINE);
    for (at, byte) in unlike.iter_mut().enumerate() {
        if at % step >= SAMPLE_LINE {
            *byte = 110 - (at as u8 & 7);
        }
    }
    let mut many = exponents(200_000, 200, 5);
    many[100_000] = 3;
    for plain in [noise, vec![0; 100_000], vec![7; 100_000], unlike, many, exponents(SHORTEST - 1, 120, 1)] {
        assert!(own(&plain).is_none());
        let (mut out, mut back) = (Vec::new(), vec![0; plain.len()]);
        assert!(compress(&plain, &mut out));
        decompress(&out, &mut back).unwrap();
        assert!(back == plain);
    }
}

#[test]
fn lines_at_once_and_byte_by_byte_are_the_same_stream() {
    // Few and many bits a byte, so that 16, eight and four are put at once.
    for (len, width) in [(64, 2u64), (1000, 5), (32 << 10, 30), (777, 120), (5000, 127)] {
        let mut plain = exponents(len, 127, 11);
        let mut state = 1u64;
        for byte in &mut plain {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if state >> 60 == 0 || width > 100 {
                *byte = 127 - (state >> 33 & 127) as u8 % width as u8;
            }
        }
        let span = write::Span::of(&plain);
        let mut sample: Vec<u8> = exponents(20_000, 127, 2);
        sample.extend(span.values());
        let coded = zstds(&sample);
        let Some((Block::Literals { tree: Some(tree), .. }, _)) =
            Frame::parse(&coded).and_then(|mut frame| Frame::next(&mut frame.blocks))
        else {
            panic!("a sample of exponents has a tree");
        };
        let codes = Codes::new(&Tree::parse(tree).unwrap().0, &span);
        let (mut fast, mut slow) = (vec![0; 2 * len + 300], vec![0; 2 * len + 300]);
        let mut writer = Writer::new(&mut fast);
        simd::write(&mut writer, &codes, &plain).unwrap();
        let fast_len = writer.at;
        let mut writer = Writer::new(&mut slow);
        writer.codes(&codes, &plain).unwrap();
        writer.end().unwrap();
        let slow_len = writer.at;
        assert!(fast[..fast_len] == slow[..slow_len], "{len} {width}");
    }
}

#[test]
fn spans_are_what_occurs() {
    for bytes in [&b"\x00"[..], b"\x01", b"\xff", b"\x00\xff", b"\x07\x03\x05", b"\x00\x09\x04\x00"] {
        for len in [bytes.len(), 64, 65, 200] {
            let all: Vec<u8> = bytes.iter().copied().cycle().take(len.max(bytes.len())).collect();
            let (span, others) = (simd::span(&all), bytes.iter().filter(|byte| **byte > 0));
            assert_eq!(span, write::Span::of(&all));
            assert_eq!(span.zero, bytes.contains(&0));
            if let (Some(least), Some(greatest)) = (others.clone().min(), others.max()) {
                assert_eq!((span.least, span.greatest), (*least, *greatest));
            }
            assert!(bytes.iter().all(|byte| span.values().any(|value| value == *byte)));
        }
    }
}

/// Damage is an error or other bytes, as long as stated; never a panic.
#[test]
fn damage_never_panics() {
    let plain = exponents(SHORTEST + 5, 126, 4);
    let coded = own(&plain).unwrap();
    let (mut table, mut back) = (Table::default(), vec![0; plain.len()]);
    for cut in (0..coded.len()).step_by(97).chain(0..64) {
        assert!(decode(&coded[..cut], &mut table, &mut back).is_none(), "{cut}");
    }
    for at in (0..200).chain((200..coded.len()).step_by(31)) {
        for bit in 0..8 {
            let mut bad = coded.clone();
            bad[at] ^= 1 << bit;
            // Heads and trees have bits that mean nothing; streams have none.
            if decode(&bad, &mut table, &mut back).is_some() && at >= 200 {
                assert!(back != plain, "byte {at} bit {bit} means nothing");
            }
        }
    }
    for wrong in [plain.len() - 1, plain.len() + 1] {
        assert!(decode(&coded, &mut table, &mut vec![0; wrong]).is_none());
    }
}

proptest! {
    #[test]
    fn trees_of_garbage_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..140)) {
        if let Some((tree, len)) = Tree::parse(&bytes) {
            prop_assert!(len <= bytes.len());
            let room: usize = tree.lens.iter().filter(|len| **len > 0).map(|len| (1 << tree::MAX_BITS) >> len).sum();
            prop_assert_eq!(room, 1 << tree::MAX_BITS);
            Table::default().fill(&tree);
        }
    }

    #[test]
    fn streams_of_garbage_never_panic(seed in any::<u64>(), junk in proptest::collection::vec(any::<u8>(), 1..4000)) {
        let plain = exponents(SHORTEST, 120, seed);
        let mut coded = own(&plain).unwrap();
        let from = 200.min(coded.len());
        let len = junk.len().min(coded.len() - from);
        coded[from..from + len].copy_from_slice(&junk[..len]);
        let mut back = vec![0; plain.len()];
        let done = decode(&coded, &mut Table::default(), &mut back);
        prop_assert!(done.is_none() || back != plain || junk.is_empty() || coded == own(&plain).unwrap());
    }
}
