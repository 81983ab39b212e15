//! What is added up while two tensors are gone through.
//!
//! Sums of `f64`, of a few megabytes each, joined in the order of the tensor: the same figures at every run, however
//! many threads there are.

use super::number::{Number, Unit, bf16, f16};

/// Of one stretch, of a tensor, of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Units compared, also those that were not read as they are known to be equal.
    pub units: u64,
    /// Of them with other bits.
    pub changed: u64,
    /// Of these where either side is no finite number: they are in none of the sums below.
    pub not_finite: u64,
    /// Σ |new − old|
    pub absolute: f64,
    /// The largest |new − old|.
    pub largest: f64,
    /// Σ (new − old)²
    pub squares: f64,
    /// Σ old²
    pub old_squares: f64,
}

impl Sums {
    /// Of both.
    pub fn add(&mut self, more: &Self) {
        self.units += more.units;
        self.changed += more.changed;
        self.not_finite += more.not_finite;
        self.absolute += more.absolute;
        self.largest = self.largest.max(more.largest);
        self.squares += more.squares;
        self.old_squares += more.old_squares;
    }

    /// Takes in two stretches of whole units and of the same length.
    pub fn compare(&mut self, old: &[u8], new: &[u8], unit: &Unit) {
        self.units += old.len() as u64 / unit.bytes.max(1);
        let Some(number) = unit.number else { return self.bits(old, new, unit.bytes) };
        match number {
            Number::Bf16 => self.floats(old, new, bf16),
            Number::F16 => self.floats(old, new, f16),
            Number::F32 => self.floats(old, new, |bytes| f32::from_le_bytes(bytes).into()),
            Number::F64 => self.floats(old, new, f64::from_le_bytes),
            Number::Mini(mini) => {
                let values = mini.values();
                self.floats(old, new, |[byte]| values[usize::from(byte)]);
            }
            Number::Signed(1) => self.whole(old, new, |bytes| i8::from_le_bytes(bytes).into()),
            Number::Signed(2) => self.whole(old, new, |bytes| i16::from_le_bytes(bytes).into()),
            Number::Signed(4) => self.whole(old, new, |bytes| i32::from_le_bytes(bytes).into()),
            Number::Signed(_) => self.whole(old, new, |bytes| i64::from_le_bytes(bytes).into()),
            Number::Unsigned(1) => self.whole(old, new, |bytes| u8::from_le_bytes(bytes).into()),
            Number::Unsigned(2) => self.whole(old, new, |bytes| u16::from_le_bytes(bytes).into()),
            Number::Unsigned(4) => self.whole(old, new, |bytes| u32::from_le_bytes(bytes).into()),
            Number::Unsigned(_) => self.whole(old, new, |bytes| u64::from_le_bytes(bytes).into()),
        }
    }

    /// Takes in a stretch that both sides have: nothing changed in it, but it is part of what the change is a
    /// share of.
    pub fn equal(&mut self, both: &[u8], unit: &Unit) {
        self.compare(both, both, unit);
    }

    fn bits(&mut self, old: &[u8], new: &[u8], width: u64) {
        let width = usize::try_from(width).unwrap_or(1).max(1);
        let pairs = old.chunks_exact(width).zip(new.chunks_exact(width));
        self.changed += pairs.filter(|(a, b)| a != b).count() as u64;
    }

    fn floats<const N: usize>(&mut self, old: &[u8], new: &[u8], value: impl Fn([u8; N]) -> f64) {
        // Own variables: the loop is most of the work.
        let mut sums = Self::default();
        for (a, b) in old.as_chunks::<N>().0.iter().zip(new.as_chunks::<N>().0) {
            let x = value(*a);
            if a == b {
                sums.old_squares += if x.is_finite() { x * x } else { 0.0 };
                continue;
            }
            sums.change(x, value(*b) - x);
        }
        self.add(&sums);
    }

    fn whole<const N: usize>(&mut self, old: &[u8], new: &[u8], value: impl Fn([u8; N]) -> i128) {
        let mut sums = Self::default();
        for (a, b) in old.as_chunks::<N>().0.iter().zip(new.as_chunks::<N>().0) {
            let x = value(*a);
            match a == b {
                true => sums.old_squares += x as f64 * x as f64,
                // Two words of 64 bits are too close in f64.
                false => sums.change(x as f64, (value(*b) - x) as f64),
            }
        }
        self.add(&sums);
    }

    fn change(&mut self, old: f64, step: f64) {
        self.changed += 1;
        if step.is_finite() {
            self.absolute += step.abs();
            self.largest = self.largest.max(step.abs());
            self.squares += step * step;
            self.old_squares += old * old;
        } else {
            self.not_finite += 1;
        }
    }

    /// |new − old| of an element on average, over all finite ones.
    pub fn mean(&self) -> Option<f64> {
        let elements = self.units - self.not_finite.min(self.units);
        finite(self.absolute / elements as f64)
    }

    /// Length of the change as a share of the length of the old: √(Σ (new − old)² / Σ old²).
    pub fn relative(&self) -> Option<f64> {
        match self.squares == 0.0 {
            true => Some(0.0),
            false => finite((self.squares / self.old_squares).sqrt()),
        }
    }

    /// The largest |new − old|.
    pub fn largest(&self) -> Option<f64> {
        finite(self.largest)
    }
}

fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dtype: &[u8], width: usize, old: &[u8], new: &[u8]) -> Sums {
        let unit = Unit::of(dtype, &[(old.len() / width) as u64], old.len() as u64);
        assert_eq!(unit.bytes, width as u64);
        let mut sums = Sums::default();
        sums.compare(old, new, &unit);
        sums
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let old = f32s(&[1.0, 2.0, f32::NAN, f32::INFINITY, 3.0, 0.0, f32::NAN]);
        let new = f32s(&[1.5, 2.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::NAN]);
        let sums = of(b"F32", 4, &old, &new);
        assert_eq!((sums.units, sums.changed, sums.not_finite), (7, 4, 2));
        assert_eq!((sums.largest(), sums.mean()), (Some(0.5), Some(0.1)));
        assert_eq!(sums.relative(), Some((0.25_f64 / 5.0).sqrt()));
    }

    #[test]
    fn what_cannot_be_said_is_not_said() {
        let sums = of(b"F32", 4, &f32s(&[0.0]), &f32s(&[1.0]));
        assert_eq!((sums.mean(), sums.relative()), (Some(1.0), None), "of nothing");
        let sums = of(b"F32", 4, &f32s(&[f32::NAN]), &f32s(&[1.0]));
        assert_eq!((sums.mean(), sums.largest()), (None, Some(0.0)));
        let sums = of(b"F64", 8, &f64::MAX.to_le_bytes(), &f64::MIN.to_le_bytes());
        assert_eq!((sums.changed, sums.not_finite, sums.mean()), (1, 1, None), "the step is beyond f64");
        assert_eq!(Sums::default().mean(), None);
    }

    #[test]
    fn whole_numbers_keep_their_last_bits() {
        let of64 = |old: i64, new: i64| of(b"I64", 8, &old.to_le_bytes(), &new.to_le_bytes());
        assert_eq!(of64(1 << 60, (1 << 60) + 1).largest, 1.0);
        assert_eq!(of64(i64::MIN, i64::MAX).largest, u64::MAX as f64);
        let sums = of(b"U64", 8, &u64::MAX.to_le_bytes(), &0_u64.to_le_bytes());
        assert_eq!((sums.largest, sums.relative()), (u64::MAX as f64, Some(1.0)));
        for (dtype, old, new, step) in
            [(&b"I8"[..], 0x80, 0x7f, 255.0), (b"U8", 0x80, 0x7f, 1.0), (b"BOOL", 1, 0, 1.0)]
        {
            assert_eq!(of(dtype, 1, &[old], &[new]).largest, step, "{dtype:?}");
        }
        for (dtype, step) in [(&b"I16"[..], 2.0), (b"U16", 65_534.0)] {
            assert_eq!(of(dtype, 2, &[0xff, 0xff], &[1, 0]).largest, step);
        }
        for (dtype, step) in [(&b"I32"[..], 2.0), (b"U32", 4_294_967_294.0)] {
            assert_eq!(of(dtype, 4, &[0xff; 4], &[1, 0, 0, 0]).largest, step);
        }
    }

    #[test]
    fn blocks_and_words_are_counted() {
        let (old, mut new) = (vec![7; 3 * 34], vec![7; 3 * 34]);
        new[34] = 8;
        new[67] = 9;
        let sums = of(b"Q8_0", 34, &old, &new);
        assert_eq!((sums.units, sums.changed, sums.largest), (3, 1, 0.0));
    }

    /// A tensor in parts is the tensor in one.
    #[test]
    fn parts_add_up() {
        let old: Vec<u8> = (0..4000_u32).flat_map(|n| (n as f32 * 0.25).to_le_bytes()).collect();
        let new: Vec<u8> = (0..4000_u32).flat_map(|n| ((n ^ (n % 3)) as f32 * 0.25).to_le_bytes()).collect();
        let whole = of(b"F32", 4, &old, &new);
        let mut parts = Sums::default();
        for (a, b) in old.chunks(4 * 777).zip(new.chunks(4 * 777)) {
            parts.add(&of(b"F32", 4, a, b));
        }
        assert_eq!(whole, parts, "all of these are sums of quarters");
        assert!(whole.changed > 2000 && whole.absolute > 0.0);
        let mut equal = Sums::default();
        equal.equal(&old, &Unit::of(b"F32", &[4000], 16_000));
        assert_eq!((equal.changed, equal.old_squares), (0, whole.old_squares));
    }
}
