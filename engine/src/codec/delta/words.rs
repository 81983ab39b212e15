//! Numbers as integers: what is left of them after a prediction, and the exponent of the base.
//!
//! Everything here wraps and is undone bit for bit, whatever the bits mean: no float is computed
//! with, so NaN payloads, -0 and subnormals are numbers like others.

/// How elements are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Bytes of an element, 2 or 4.
    pub width: usize,
    /// Bits below the exponent.
    shift: u32,
    /// The exponent's bits, shifted down.
    mask: u32,
}

impl Kind {
    pub const BF16: Self = Self { width: 2, shift: 7, mask: 0xff };
    pub const F16: Self = Self { width: 2, shift: 10, mask: 0x1f };
    pub const F32: Self = Self { width: 4, shift: 23, mask: 0xff };
    pub const I16: Self = Self { width: 2, shift: 0, mask: 0 };
    pub const I32: Self = Self { width: 4, shift: 0, mask: 0 };
    /// By their numbers in a frame.
    pub const ALL: [Self; 5] = [Self::BF16, Self::F16, Self::F32, Self::I16, Self::I32];

    /// Steps of the last place double with the exponent; below 1 they do not.
    fn exponent(self, word: u32) -> u8 {
        (word >> self.shift & self.mask).max(1) as u8
    }
}

/// A difference as an unsigned number, in as few bytes as its elements have: what is ordered and split is
/// moved through the caches several times.
pub trait Number: Copy + Default + Ord + std::ops::BitOr<Output = Self> {
    /// All bits set.
    const MAX: Self;
    /// Widened.
    fn wide(self) -> u32;
    /// The low bits of a wider one.
    fn narrow(wide: u32) -> Self;
    /// Shifted down by fewer than its bits.
    fn down(self, bits: u32) -> Self;
    /// Shifted up; nothing is left of it if by its bits or more.
    fn up(self, bits: u32) -> Self;
    /// Half of it, rounded up, as a float; the fewest instructions.
    fn half(self) -> f32;
}

macro_rules! number {
    ($word:ty, $number:ident => $half:expr) => {
        impl Number for $word {
            const MAX: Self = Self::MAX;
            #[inline]
            fn wide(self) -> u32 {
                self as u32
            }
            #[inline]
            fn narrow(wide: u32) -> Self {
                wide as Self
            }
            #[inline]
            fn down(self, bits: u32) -> Self {
                self >> (bits & (Self::BITS - 1))
            }
            #[inline]
            fn up(self, bits: u32) -> Self {
                self.unbounded_shl(bits)
            }
            #[inline]
            fn half(self) -> f32 {
                let $number = self;
                $half
            }
        }
    };
}

number!(u8, n => f32::from(n.div_ceil(2)));
number!(u16, n => ((i32::from(n) + 1) >> 1) as f32);
number!(u32, n => n.div_ceil(2) as i32 as f32);

/// What is expected of an element: the base, and a share of the step that led to it.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// What the new bytes are compared with.
    pub base: &'a [u8],
    /// What stood there before the base, if it is used. Not shorter than `base`.
    pub older: &'a [u8],
    /// Quarters of the step from `older` to `base` that are expected again, 0–4.
    pub quarters: u8,
}

impl<'a> Prediction<'a> {
    /// Of the bytes in a range.
    pub fn range(self, start: usize, end: usize) -> Self {
        let older = if self.quarters == 0 { self.older } else { &self.older[start..end] };
        Self { base: &self.base[start..end], older, ..self }
    }
}

/// An element and its number.
pub trait Word: Number {
    /// Differences of all elements of `plain` as unsigned numbers (0, -1, 1, -2 … → 0, 1, 2, 3 …) and
    /// the exponents of their bases; `zeros` low bits, in which nothing differs, are left out. Slices of
    /// equal element counts.
    fn differences(
        kind: Kind,
        plain: &[u8],
        prediction: Prediction<'_>,
        zeros: u32,
        out: &mut [Self],
        exponents: &mut [u8],
    );
    /// Reverse of [`Word::differences`].
    fn restore(numbers: &[Self], prediction: Prediction<'_>, zeros: u32, plain: &mut [u8]);
}

/// The exponents of the bases alone.
pub fn exponents(kind: Kind, base: &[u8], out: &mut [u8]) {
    if kind.width == 2 {
        for (out, base) in out.iter_mut().zip(base.as_chunks().0) {
            *out = kind.exponent(u16::from_le_bytes(*base).into());
        }
    } else {
        for (out, base) in out.iter_mut().zip(base.as_chunks().0) {
            *out = kind.exponent(u32::from_le_bytes(*base));
        }
    }
}

/// Low bits that are the same in every element and its prediction.
pub fn common_zeros(kind: Kind, plain: &[u8], prediction: Prediction<'_>) -> u32 {
    let mut any = 0;
    each(kind, plain, prediction, |difference, _| {
        any |= difference;
        // Nearly always the first few say it.
        any & 1 == 0
    });
    any.trailing_zeros().min(kind.width as u32 * 8 - 1)
}

/// Every number (with no bits left out) and its base's exponent, until `f` says `false`.
pub fn each(kind: Kind, plain: &[u8], prediction: Prediction<'_>, mut f: impl FnMut(u32, u8) -> bool) {
    let quarters = prediction.quarters;
    if kind.width == 2 {
        let older = if quarters == 0 { prediction.base } else { prediction.older };
        for ((new, base), older) in
            plain.as_chunks().0.iter().zip(prediction.base.as_chunks().0).zip(older.as_chunks().0)
        {
            let base = u16::from_le_bytes(*base);
            let expected = expect2(base, u16::from_le_bytes(*older), quarters);
            let difference = u16::from_le_bytes(*new).wrapping_sub(expected);
            if !f(difference.into(), kind.exponent(base.into())) {
                return;
            }
        }
    } else {
        let older = if quarters == 0 { prediction.base } else { prediction.older };
        for ((new, base), older) in
            plain.as_chunks().0.iter().zip(prediction.base.as_chunks().0).zip(older.as_chunks().0)
        {
            let base = u32::from_le_bytes(*base);
            let expected = expect4(base, u32::from_le_bytes(*older), quarters);
            let difference = u32::from_le_bytes(*new).wrapping_sub(expected);
            if !f(difference, kind.exponent(base)) {
                return;
            }
        }
    }
}

#[inline]
fn expect2(base: u16, older: u16, quarters: u8) -> u16 {
    let step = base.wrapping_sub(older) as i16;
    base.wrapping_add(((i32::from(step) * i32::from(quarters)) >> 2) as u16)
}

#[inline]
fn expect4(base: u32, older: u32, quarters: u8) -> u32 {
    let step = base.wrapping_sub(older) as i32;
    base.wrapping_add(((i64::from(step) * i64::from(quarters)) >> 2) as u32)
}

/// Zigzag of a difference without its `zeros` low bits.
#[inline]
pub fn fold2(difference: u16, zeros: u32) -> u16 {
    let d = difference as i16 >> zeros;
    ((d << 1) ^ (d >> 15)) as u16
}

#[inline]
pub fn fold4(difference: u32, zeros: u32) -> u32 {
    let d = difference as i32 >> zeros;
    ((d << 1) ^ (d >> 31)) as u32
}

#[inline]
fn unfold2(number: u16, zeros: u32) -> u16 {
    ((number >> 1) ^ (number & 1).wrapping_neg()) << zeros
}

#[inline]
fn unfold4(number: u32, zeros: u32) -> u32 {
    ((number >> 1) ^ (number & 1).wrapping_neg()) << zeros
}

impl Word for u16 {
    fn differences(
        kind: Kind,
        plain: &[u8],
        prediction: Prediction<'_>,
        zeros: u32,
        out: &mut [Self],
        exponents: &mut [u8],
    ) {
        let base = prediction.base.as_chunks().0;
        let all = out.iter_mut().zip(exponents).zip(plain.as_chunks().0).zip(base);
        if prediction.quarters == 0 {
            for (((out, exponent), new), base) in all {
                let (new, base) = (u16::from_le_bytes(*new), u16::from_le_bytes(*base));
                *exponent = kind.exponent(base.into());
                *out = fold2(new.wrapping_sub(base), zeros);
            }
        } else {
            for ((((out, exponent), new), base), older) in all.zip(prediction.older.as_chunks().0) {
                let (new, base) = (u16::from_le_bytes(*new), u16::from_le_bytes(*base));
                let expected = expect2(base, u16::from_le_bytes(*older), prediction.quarters);
                *exponent = kind.exponent(base.into());
                *out = fold2(new.wrapping_sub(expected), zeros);
            }
        }
    }

    fn restore(numbers: &[Self], prediction: Prediction<'_>, zeros: u32, plain: &mut [u8]) {
        let base = prediction.base.as_chunks().0;
        let all = plain.as_chunks_mut().0.iter_mut().zip(numbers).zip(base);
        if prediction.quarters == 0 {
            for ((out, number), base) in all {
                *out = u16::from_le_bytes(*base).wrapping_add(unfold2(*number, zeros)).to_le_bytes();
            }
        } else {
            for (((out, number), base), older) in all.zip(prediction.older.as_chunks().0) {
                let expected =
                    expect2(u16::from_le_bytes(*base), u16::from_le_bytes(*older), prediction.quarters);
                *out = expected.wrapping_add(unfold2(*number, zeros)).to_le_bytes();
            }
        }
    }
}

impl Word for u32 {
    fn differences(
        kind: Kind,
        plain: &[u8],
        prediction: Prediction<'_>,
        zeros: u32,
        out: &mut [Self],
        exponents: &mut [u8],
    ) {
        let base = prediction.base.as_chunks().0;
        let all = out.iter_mut().zip(exponents).zip(plain.as_chunks().0).zip(base);
        if prediction.quarters == 0 {
            for (((out, exponent), new), base) in all {
                let (new, base) = (u32::from_le_bytes(*new), u32::from_le_bytes(*base));
                *exponent = kind.exponent(base);
                *out = fold4(new.wrapping_sub(base), zeros);
            }
        } else {
            for ((((out, exponent), new), base), older) in all.zip(prediction.older.as_chunks().0) {
                let (new, base) = (u32::from_le_bytes(*new), u32::from_le_bytes(*base));
                let expected = expect4(base, u32::from_le_bytes(*older), prediction.quarters);
                *exponent = kind.exponent(base);
                *out = fold4(new.wrapping_sub(expected), zeros);
            }
        }
    }

    fn restore(numbers: &[Self], prediction: Prediction<'_>, zeros: u32, plain: &mut [u8]) {
        let base = prediction.base.as_chunks().0;
        let all = plain.as_chunks_mut().0.iter_mut().zip(numbers).zip(base);
        if prediction.quarters == 0 {
            for ((out, number), base) in all {
                *out = u32::from_le_bytes(*base).wrapping_add(unfold4(*number, zeros)).to_le_bytes();
            }
        } else {
            for (((out, number), base), older) in all.zip(prediction.older.as_chunks().0) {
                let expected =
                    expect4(u32::from_le_bytes(*base), u32::from_le_bytes(*older), prediction.quarters);
                *out = expected.wrapping_add(unfold4(*number, zeros)).to_le_bytes();
            }
        }
    }
}
