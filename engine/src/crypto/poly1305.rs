//! Poly1305 (RFC 8439 §2.5), 128 bytes a step, for checking tags of long messages.
//!
//! With `r` and `s` the halves of a one-time key, the tag of blocks m₁ … mₙ, each 16 bytes with 2¹²⁸ added, is
//! (m₁·rⁿ + m₂·rⁿ⁻¹ + … + mₙ·r mod 2¹³⁰−5) + s mod 2¹²⁸. Eight lanes take every eighth block and multiply by r⁸; at the
//! end, lane by lane, what is missing is multiplied on (Goll and Gueron, "Vectorization of Poly1305 message authentication code", 2015).
//! Numbers are three limbs of 44, 44 and 42 bits: products of limbs are within what the processor multiplies at once (AVX-512 IFMA).
//!
//! No branch and no address depends on a key or a message, only on lengths. Who uses it: [`super::aead`].
#![allow(unsafe_code)]

use zeroize::Zeroizing;

/// Length of a tag.
pub const TAG_LEN: usize = 16;
/// Length of a block.
pub const BLOCK_LEN: usize = 16;
/// Blocks that are taken at once.
const LANES: usize = 8;
const GROUP_LEN: usize = LANES * BLOCK_LEN;

const MASK_44: u64 = (1 << 44) - 1;
const MASK_42: u64 = (1 << 42) - 1;
/// 2¹²⁸ in the highest limb.
const HIGH_BIT: u64 = 1 << 40;

/// A number modulo 2¹³⁰−5 by limbs of weight 1, 2⁴⁴, 2⁸⁸; the first two below 2⁴⁵, so that the sum with a block can be multiplied.
type Limbs = [u64; 3];

/// Can this processor take eight blocks at once?
pub fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// A message on its way to its tag, whole blocks at a time.
pub struct Poly1305 {
    sum: Zeroizing<Limbs>,
    /// r¹ … r⁸.
    powers: Zeroizing<[Limbs; LANES]>,
    s: Zeroizing<[u64; 2]>,
    wide: bool,
}

impl Poly1305 {
    /// By a key that is used for one message only.
    pub fn new(key: &[u8; 32]) -> Self {
        Self::with(key, is_wide())
    }

    fn with(key: &[u8; 32], wide: bool) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| key[at + i]));
        let (low, high) = (word(0) & 0x0fff_fffc_0fff_ffff, word(8) & 0x0fff_fffc_0fff_fffc);
        let r = limbs(low, high);
        let mut powers = Zeroizing::new([r; LANES]);
        for at in 1..LANES {
            powers[at] = multiply(&powers[at - 1], &r);
        }
        Self { sum: Zeroizing::default(), powers, s: Zeroizing::new([word(16), word(24)]), wide }
    }

    /// Takes `bytes`, and zeros up to a whole block: what RFC 8439 §2.8 does with each part of a message.
    pub fn update_padded(&mut self, bytes: &[u8]) {
        let groups = if self.wide { bytes.len() / GROUP_LEN } else { 0 };
        let (front, rest) = bytes.split_at(groups * GROUP_LEN);
        #[cfg(target_arch = "x86_64")]
        if !front.is_empty() {
            // SAFETY: `wide` says that the processor has what the function is compiled for.
            *self.sum = unsafe { wide::absorb(&self.sum, &self.powers, front.as_chunks().0) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = front;
        let (blocks, end) = rest.as_chunks();
        blocks.iter().for_each(|block| self.block(block));
        if !end.is_empty() {
            let mut last = [0; BLOCK_LEN];
            last[..end.len()].copy_from_slice(end);
            self.block(&last);
        }
    }

    fn block(&mut self, block: &[u8; BLOCK_LEN]) {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| block[at + i]));
        let m = limbs(word(0), word(8));
        let sum = [self.sum[0] + m[0], self.sum[1] + m[1], self.sum[2] + m[2] + HIGH_BIT];
        *self.sum = multiply(&sum, &self.powers[0]);
    }

    /// The tag.
    pub fn finish(self) -> [u8; TAG_LEN] {
        let [mut a, mut b, mut c] = *self.sum;
        // Twice around, so that every limb is within its bits.
        for _ in 0..2 {
            b += a >> 44;
            a &= MASK_44;
            c += b >> 44;
            b &= MASK_44;
            a += (c >> 42) * 5;
            c &= MASK_42;
        }
        b += a >> 44;
        a &= MASK_44;
        // Less 2¹³⁰−5, where that is not below zero.
        let (x, y) = (a + 5, b);
        let y = y + (x >> 44);
        let z = c + (y >> 44);
        let reduced = (z >> 42).wrapping_neg();
        let choose = |plain: u64, less: u64| (plain & !reduced) | (less & reduced);
        let (a, b, c) = (choose(a, x & MASK_44), choose(b, y & MASK_44), choose(c, z & MASK_42));
        let sum = u128::from(a | b << 44) | u128::from(b >> 20 | c << 24) << 64;
        let s = u128::from(self.s[0]) | u128::from(self.s[1]) << 64;
        sum.wrapping_add(s).to_le_bytes()
    }
}

fn limbs(low: u64, high: u64) -> Limbs {
    [low & MASK_44, (low >> 44 | high << 20) & MASK_44, high >> 24]
}

/// `a`·`b`, for limbs below 2⁴⁶ in `a` and within their bits or little more in `b`.
fn multiply(a: &Limbs, b: &Limbs) -> Limbs {
    let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
    // What overflows 2¹³² is worth 4 · 5 at the low end.
    let (b1, b2) = (b[1] * 20, b[2] * 20);
    let low = product(a[0], b[0]) + product(a[1], b2) + product(a[2], b1);
    let middle = product(a[0], b[1]) + product(a[1], b[0]) + product(a[2], b2);
    let high = product(a[0], b[2]) + product(a[1], b[1]) + product(a[2], b[0]);
    let part = |x: u128, mask: u64| x as u64 & mask;
    let middle = middle + (low >> 44);
    let high = high + (middle >> 44);
    let low = u128::from(part(low, MASK_44)) + (high >> 42) * 5;
    [part(low, MASK_44), part(middle, MASK_44) + (low >> 44) as u64, part(high, MASK_42)]
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{GROUP_LEN, HIGH_BIT, LANES, Limbs, MASK_42, MASK_44, multiply};

    /// Limbs of eight numbers.
    type Wide = [__m512i; 3];

    fn vector(words: [u64; LANES]) -> __m512i {
        // SAFETY: both are 64 bytes, of which every value is allowed.
        unsafe { transmute(words) }
    }

    fn words(vector: __m512i) -> [u64; LANES] {
        // SAFETY: as above.
        unsafe { transmute(vector) }
    }

    /// The power that a lane is multiplied with in the end. Blocks lie in the lanes as unpacking leaves them: 0, 4, 1, 5, 2, 6, 3, 7.
    const POWERS: [usize; LANES] = [8, 4, 7, 3, 6, 2, 5, 1];

    /// What a sum is after these blocks.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub fn absorb(sum: &Limbs, powers: &[Limbs; LANES], groups: &[[u8; GROUP_LEN]]) -> Limbs {
        let Some((last, groups)) = groups.split_last() else { return *sum };
        let step = Factor::new(std::array::from_fn(|limb| _mm512_set1_epi64(powers[LANES - 1][limb] as i64)));
        let ends =
            Factor::new(std::array::from_fn(|limb| vector(POWERS.map(|power| powers[power - 1][limb]))));
        // Block 0, to which the sum belongs, is in lane 0.
        let mut lanes: Wide = std::array::from_fn(|limb| vector([sum[limb], 0, 0, 0, 0, 0, 0, 0]));
        for group in groups {
            lanes = step.times(add(lanes, load(group)));
        }
        lanes = ends.times(add(lanes, load(last)));
        // Eight numbers of limbs below 2⁴⁵; by one, which carries.
        let total = lanes.map(|limb| words(limb).iter().sum());
        multiply(&total, &[1, 0, 0])
    }

    #[target_feature(enable = "avx512f")]
    fn add(a: Wide, b: Wide) -> Wide {
        [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
    }

    #[target_feature(enable = "avx512f")]
    fn load(group: &[u8; GROUP_LEN]) -> Wide {
        // SAFETY: both are 128 bytes, of which every value is allowed.
        let [front, back]: [__m512i; 2] = unsafe { transmute(*group) };
        let (low, high) = (_mm512_unpacklo_epi64(front, back), _mm512_unpackhi_epi64(front, back));
        let mask = _mm512_set1_epi64(MASK_44 as i64);
        let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
        let top = _mm512_or_si512(_mm512_srli_epi64::<24>(high), _mm512_set1_epi64(HIGH_BIT as i64));
        [_mm512_and_si512(low, mask), _mm512_and_si512(middle, mask), top]
    }

    /// What all lanes are multiplied with, its upper limbs also times 20.
    struct Factor {
        limbs: Wide,
        by_20: [__m512i; 2],
    }

    impl Factor {
        #[target_feature(enable = "avx512f")]
        fn new(limbs: Wide) -> Self {
            let by_20 = |x| _mm512_add_epi64(_mm512_slli_epi64::<4>(x), _mm512_slli_epi64::<2>(x));
            Self { limbs, by_20: [by_20(limbs[1]), by_20(limbs[2])] }
        }

        /// For limbs below 2⁴⁷. A product is given in two parts, of which the upper weighs 2⁵² times the lower, so 2⁸ times the next limb:
        /// sums of three are below 2⁵⁴, and shifted below 2⁵⁶.
        #[target_feature(enable = "avx512f,avx512ifma")]
        fn times(&self, a: Wide) -> Wide {
            let ([b0, b1, b2], [c1, c2]) = (self.limbs, self.by_20);
            let zero = _mm512_setzero_si512();
            let low = |x: [__m512i; 3]| {
                let sum = _mm512_madd52lo_epu64(zero, a[0], x[0]);
                let sum = _mm512_madd52lo_epu64(sum, a[1], x[1]);
                _mm512_madd52lo_epu64(sum, a[2], x[2])
            };
            let high = |x: [__m512i; 3]| {
                let sum = _mm512_madd52hi_epu64(zero, a[0], x[0]);
                let sum = _mm512_madd52hi_epu64(sum, a[1], x[1]);
                _mm512_madd52hi_epu64(sum, a[2], x[2])
            };
            let (to_0, to_1, to_2) = ([b0, c2, c1], [b1, b0, c2], [b2, b1, b0]);
            let (l0, l1, l2) = (low(to_0), low(to_1), low(to_2));
            let (h0, h1, h2) = (high(to_0), high(to_1), high(to_2));
            let by_5 = |x| _mm512_add_epi64(x, _mm512_slli_epi64::<2>(x));
            // The upper part of the highest limb weighs 2¹⁴⁰: 5 · 2¹⁰ at the low end.
            let d0 = _mm512_add_epi64(l0, _mm512_slli_epi64::<10>(by_5(h2)));
            let d1 = _mm512_add_epi64(l1, _mm512_slli_epi64::<8>(h0));
            let d2 = _mm512_add_epi64(l2, _mm512_slli_epi64::<8>(h1));
            let (mask, top) = (_mm512_set1_epi64(MASK_44 as i64), _mm512_set1_epi64(MASK_42 as i64));
            let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<44>(d0));
            let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<44>(d1));
            let over = by_5(_mm512_srli_epi64::<42>(d2));
            [
                _mm512_add_epi64(_mm512_and_si512(d0, mask), over),
                _mm512_and_si512(d1, mask),
                _mm512_and_si512(d2, top),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poly1305::universal_hash::{KeyInit, UniversalHash};
    use proptest::prelude::*;

    /// By the crate.
    fn other(key: &[u8; 32], parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let mut mac = poly1305::Poly1305::new(key.into());
        parts.iter().for_each(|part| mac.update_padded(part));
        mac.finalize().into()
    }

    fn ours(key: &[u8; 32], parts: &[&[u8]], wide: bool) -> [u8; TAG_LEN] {
        let mut mac = Poly1305::with(key, wide);
        parts.iter().for_each(|part| mac.update_padded(part));
        mac.finish()
    }

    fn ways() -> Vec<bool> {
        [false, true].into_iter().filter(|wide| !wide || is_wide()).collect()
    }

    /// RFC 8439, A.3, vectors 7 to 11: sums about 2^130-5 and 2^128.
    #[test]
    fn vectors_at_the_edges() {
        let key = |r: &[u8], s: u8| -> [u8; 32] {
            std::array::from_fn(|i| if i < 16 { r.get(i).copied().unwrap_or(0) } else { s })
        };
        let block =
            |first: u8, rest: u8| -> [u8; 16] { std::array::from_fn(|i| if i == 0 { first } else { rest }) };
        let tag = |first: u8| -> [u8; 16] { block(first, 0) };
        let cases: [(_, Vec<u8>, _); 5] = [
            (key(&[2], 0), block(0xff, 0xff).to_vec(), tag(3)),
            (key(&[2], 0xff), block(2, 0).to_vec(), tag(3)),
            (key(&[1], 0), [block(0xff, 0xff), block(0xf0, 0xff), block(0x11, 0)].concat(), tag(5)),
            (key(&[1], 0), [block(0xff, 0xff), block(0xfb, 0xfe), block(1, 1)].concat(), tag(0)),
            (key(&[2], 0), block(0xfd, 0xff).to_vec(), block(0xfa, 0xff)),
        ];
        for (key, message, tag) in cases {
            assert_eq!(ours(&key, &[&message], false), tag);
        }
    }

    /// Keys and messages of the greatest limbs, and sums about the modulus in every lane.
    #[test]
    fn extremes_of_every_length() {
        let keys = [
            [0xff; 32],
            [0; 32],
            std::array::from_fn(|i| u8::from(i == 0)),
            std::array::from_fn(|i| i as u8),
        ];
        for fill in [0u8, 0xff, 0xfe, 0xfb] {
            let message = vec![fill; 5 * GROUP_LEN + 40];
            for key in &keys {
                for len in 0..message.len() {
                    let parts: [&[u8]; 2] = [&message[..len], &message[..len / 3]];
                    for wide in ways() {
                        assert_eq!(
                            ours(key, &parts, wide),
                            other(key, &parts),
                            "{len} times {fill:x}, wide: {wide}"
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn as_the_crate(
            key in any::<[u8; 32]>(),
            aad in proptest::collection::vec(any::<u8>(), 0..300),
            text in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..4000),
        ) {
            let parts: [&[u8]; 3] = [&aad, &text, &[7; 16]];
            for wide in ways() {
                prop_assert_eq!(ours(&key, &parts, wide), other(&key, &parts), "wide: {}", wide);
            }
        }
    }
}
