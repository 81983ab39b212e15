//! The inner loops, compiled for what the processor has. What writes codes 64 bytes at a time is held against the plain
//! loop by a test.

#![allow(unsafe_code)]

use super::frame::STREAMS;
use super::read::Table;
use super::write::{Codes, Span, Writer};
use crate::codec::widest::widest;

widest! {
    /// Decodes streams. Without BMI2, shifts by a register are three instructions.
    pub fn read(table: &Table, coded: [&[u8]; STREAMS], out: &mut [u8]) -> Option<()> = Table::read
}

widest! {
    /// Which values occur.
    pub fn span(bytes: &[u8]) -> Span = Span::of
}

/// Appends one stream. `None`: there is no room.
pub fn write(writer: &mut Writer<'_>, codes: &Codes, bytes: &[u8]) -> Option<()> {
    let front = by_lines(writer, codes, bytes)?;
    writer.codes(codes, front)?;
    writer.end()
}

/// Appends the codes of whole lines from the end of `bytes` on, where the processor can, and gives back what is before.
fn by_lines<'b>(writer: &mut Writer<'_>, codes: &Codes, bytes: &'b [u8]) -> Option<&'b [u8]> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("bmi2")
    {
        let (front, lines) = bytes.as_rchunks();
        // SAFETY: the processor has what the function is compiled for.
        unsafe { avx512::lines(writer, codes, lines) }?;
        return Some(front);
    }
    let _ = (writer, codes);
    Some(bytes)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::super::tree::MAX_BITS;
    use super::super::write::{Codes, MOST_BITS, MOST_VALUES, Run, Writer};

    const LINE: usize = 64;
    /// Room for the codes of a line, of up to eleven bits each, and for the last store.
    const ROOM: usize = 128;
    const _: () = assert!(LINE * MAX_BITS / 8 + size_of::<u64>() < ROOM);
    /// Swaps neighbours among eight.
    const SWAP: i32 = 0b01_00_11_10;

    fn vector(bytes: &[u8; LINE]) -> __m512i {
        // SAFETY: both are 64 bytes, and any bytes are a vector.
        unsafe { transmute(*bytes) }
    }

    fn numbers(vector: __m512i) -> [u64; 8] {
        // SAFETY: both are 64 bytes, and any bytes are numbers.
        unsafe { transmute(vector) }
    }

    fn halves(table: &[u8; MOST_VALUES]) -> [__m512i; 2] {
        let (halves, _) = table.as_chunks();
        [vector(&halves[0]), vector(&halves[1])]
    }

    /// Appends the codes of `lines`, the last byte first.
    ///
    /// Codes and lengths of 64 bytes are looked up at once, then joined with their neighbours: two, four, eight, 16. Of two the
    /// later byte's code is lower. What is longer than a step of the writer takes is put in halves.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,bmi2")]
    pub fn lines(writer: &mut Writer<'_>, codes: &Codes, lines: &[[u8; LINE]]) -> Option<()> {
        let ([lens_a, lens_b], [lows_a, lows_b], [highs_a, highs_b]) =
            (halves(&codes.lens), halves(&codes.lows), halves(&codes.highs));
        let shift = _mm512_set1_epi8(codes.shift.cast_signed());
        let (byte, half, word) =
            (_mm512_set1_epi16(0xff), _mm512_set1_epi32(0xffff), _mm512_set1_epi64(0xffff_ffff));
        let most = _mm512_set1_epi64(MOST_BITS.cast_signed());
        for line in lines.iter().rev() {
            let place = _mm512_subs_epu8(vector(line), shift);
            let len = _mm512_permutex2var_epi8(lens_a, place, lens_b);
            let low = _mm512_permutex2var_epi8(lows_a, place, lows_b);
            let high = _mm512_permutex2var_epi8(highs_a, place, highs_b);

            // One byte: the code of the first of two, and of the second, in 16 bits each.
            let first = _mm512_or_si512(_mm512_and_si512(low, byte), _mm512_slli_epi16::<8>(high));
            let second = _mm512_or_si512(_mm512_srli_epi16::<8>(low), _mm512_andnot_si512(byte, high));
            let second_len = _mm512_srli_epi16::<8>(len);
            let len = _mm512_add_epi16(_mm512_and_si512(len, byte), second_len);
            // Two bytes, in 32 bits: of the first two of four, and of the others.
            let lower = |x| _mm512_and_si512(x, half);
            let upper = |x| _mm512_srli_epi32::<16>(x);
            let front = _mm512_or_si512(lower(second), _mm512_sllv_epi32(lower(first), lower(second_len)));
            let back = _mm512_or_si512(upper(second), _mm512_sllv_epi32(upper(first), upper(second_len)));
            let (back_len, len) = (upper(len), _mm512_add_epi32(lower(len), upper(len)));
            // Four bytes, in 64 bits: of the first four of eight, and of the others.
            let lower = |x| _mm512_and_si512(x, word);
            let upper = |x| _mm512_srli_epi64::<32>(x);
            let first = _mm512_or_si512(lower(back), _mm512_sllv_epi64(lower(front), lower(back_len)));
            let second = _mm512_or_si512(upper(back), _mm512_sllv_epi64(upper(front), upper(back_len)));
            let (first_len, second_len) = (lower(len), upper(len));
            // Eight, where they fit.
            let eight = _mm512_or_si512(second, _mm512_sllv_epi64(first, second_len));
            let eight_len = _mm512_add_epi64(first_len, second_len);
            let other_len = _mm512_shuffle_epi32::<SWAP>(eight_len);
            let both_len = _mm512_add_epi64(eight_len, other_len);

            let mut run: Run<'_, ROOM> = writer.run()?;
            if _mm512_cmpgt_epu64_mask(both_len, most) == 0 {
                let other = _mm512_shuffle_epi32::<SWAP>(eight);
                let both = numbers(_mm512_or_si512(other, _mm512_sllv_epi64(eight, other_len)));
                let lens = numbers(both_len);
                for at in [6, 4, 2, 0] {
                    run.put(both[at], lens[at]);
                }
            } else if _mm512_cmpgt_epu64_mask(eight_len, most) == 0 {
                let (eight, lens) = (numbers(eight), numbers(eight_len));
                for at in (0..8).rev() {
                    run.put(eight[at], lens[at]);
                }
            } else {
                let (first, second) = (numbers(first), numbers(second));
                let (first_len, second_len) = (numbers(first_len), numbers(second_len));
                for at in (0..8).rev() {
                    run.put(second[at], second_len[at]);
                    run.put(first[at], first_len[at]);
                }
            }
            let (at, held, bits) = (run.at, run.held, run.bits);
            writer.ran(at, held, bits);
        }
        Some(())
    }
}
