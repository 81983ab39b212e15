//! Elements of tensors as numbers, and what a tensor is counted in.
//!
//! Every decoder is exact: each value of these types of at most 32 bits, and each `F64`, is a number of 64 bits.

use serde::Serialize;

/// What is counted of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// Its elements.
    Element,
    /// Blocks of quantised elements, which share a scale.
    Block,
    /// Its bytes: what they mean is not known.
    Byte,
}

/// A unit of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// What it is.
    pub kind: UnitKind,
    /// Its length.
    pub bytes: u64,
    /// How it is read, if it is a number.
    pub number: Option<Number>,
}

/// A type of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Upper half of an `F32`.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// binary32.
    F32,
    /// binary64.
    F64,
    /// One byte.
    Mini(Mini),
    /// A whole number of so many bytes.
    Signed(u8),
    /// The same, never negative.
    Unsigned(u8),
}

/// Layout of a floating-point number of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mini {
    /// Bits of the mantissa; one is the sign, the others are the exponent.
    mantissa: u8,
    bias: i32,
    special: Special,
}

/// Which patterns are no finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    /// The greatest exponent, as in IEEE 754.
    Ieee,
    /// Only all bits but the sign set.
    AllOnes,
    /// Only the sign, which is no zero then.
    SignAlone,
}

const fn mini(mantissa: u8, bias: i32, special: Special) -> Number {
    Number::Mini(Mini { mantissa, bias, special })
}

/// Words of safetensors, with what they stand for.
const NUMBERS: [(&[u8], Number); 17] = [
    (b"BF16", Number::Bf16),
    (b"F16", Number::F16),
    (b"F32", Number::F32),
    (b"F64", Number::F64),
    (b"F8_E4M3", mini(3, 7, Special::AllOnes)),
    (b"F8_E5M2", mini(2, 15, Special::Ieee)),
    (b"F8_E4M3FNUZ", mini(3, 8, Special::SignAlone)),
    (b"F8_E5M2FNUZ", mini(2, 16, Special::SignAlone)),
    (b"I8", Number::Signed(1)),
    (b"I16", Number::Signed(2)),
    (b"I32", Number::Signed(4)),
    (b"I64", Number::Signed(8)),
    (b"U8", Number::Unsigned(1)),
    (b"BOOL", Number::Unsigned(1)),
    (b"U16", Number::Unsigned(2)),
    (b"U32", Number::Unsigned(4)),
    (b"U64", Number::Unsigned(8)),
];

/// Quantised types of GGML, with the length of a block.
const BLOCKS: [(&[u8], u64); 24] = [
    (b"Q4_0", 18),
    (b"Q4_1", 20),
    (b"Q5_0", 22),
    (b"Q5_1", 24),
    (b"Q8_0", 34),
    (b"Q8_1", 36),
    (b"Q2_K", 84),
    (b"Q3_K", 110),
    (b"Q4_K", 144),
    (b"Q5_K", 176),
    (b"Q6_K", 210),
    (b"Q8_K", 292),
    (b"IQ1_S", 50),
    (b"IQ1_M", 56),
    (b"IQ2_XXS", 66),
    (b"IQ2_XS", 74),
    (b"IQ2_S", 82),
    (b"IQ3_XXS", 98),
    (b"IQ3_S", 110),
    (b"IQ4_NL", 18),
    (b"IQ4_XS", 136),
    (b"TQ1_0", 54),
    (b"TQ2_0", 66),
    (b"MXFP4", 17),
];

/// Widest element of which only its equality is known.
const MAX_OPAQUE_BYTES: u64 = 16;

impl Unit {
    /// What tensors of this type, shape and length are counted in. A length that does not fit the type is counted
    /// in bytes.
    pub fn of(dtype: &[u8], shape: &[u64], len: u64) -> Self {
        let elements = shape.iter().try_fold(1_u64, |product, n| product.checked_mul(*n));
        let byte = Self { kind: UnitKind::Byte, bytes: 1, number: None };
        if let Some((_, number)) = NUMBERS.iter().find(|(word, _)| *word == dtype) {
            let bytes = number.bytes();
            let fits = elements.and_then(|n| n.checked_mul(bytes)) == Some(len);
            return if fits { Self { kind: UnitKind::Element, bytes, number: Some(*number) } } else { byte };
        }
        if let Some((_, bytes)) = BLOCKS.iter().find(|(word, _)| *word == dtype) {
            let fits = len.is_multiple_of(*bytes);
            return if fits { Self { kind: UnitKind::Block, bytes: *bytes, number: None } } else { byte };
        }
        match elements.filter(|n| *n > 0 && len.is_multiple_of(*n)).map(|n| len / n) {
            Some(bytes @ 1..=MAX_OPAQUE_BYTES) => Self { kind: UnitKind::Element, bytes, number: None },
            _ => byte,
        }
    }
}

impl Number {
    /// Length of one.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Mini(_) => 1,
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Signed(bytes) | Self::Unsigned(bytes) => bytes.into(),
        }
    }
}

/// Value of a bf16.
pub fn bf16(bytes: [u8; 2]) -> f64 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16).into()
}

/// Value of a binary16.
pub fn f16(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bytes);
    let (sign, magnitude) = (u64::from(bits >> 15) << 63, u64::from(bits & 0x7fff));
    match magnitude >> 10 {
        // 2^-24 steps, exact in any wider type.
        0 => f64::from_bits((magnitude as f64 / 16_777_216.0).to_bits() | sign),
        0x1f => f64::from_bits(sign | (0x7ff << 52) | ((magnitude & 0x3ff) << 42)),
        _ => f64::from_bits(sign | ((magnitude << 42) + ((1023 - 15) << 52))),
    }
}

impl Mini {
    /// The value of every pattern.
    pub fn values(self) -> [f64; 256] {
        let mut values = [0.0; 256];
        for (bits, value) in (0..=u8::MAX).zip(&mut values) {
            *value = self.value(bits);
        }
        values
    }

    fn value(self, bits: u8) -> f64 {
        let (negative, magnitude) = (bits & 0x80 != 0, i32::from(bits & 0x7f));
        let (exponent, mantissa) = (magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1));
        let greatest = 0x7f >> self.mantissa;
        let special = match self.special {
            Special::Ieee => exponent == greatest,
            Special::AllOnes => magnitude == 0x7f,
            Special::SignAlone => bits == 0x80,
        };
        if special {
            let infinite = self.special == Special::Ieee && mantissa == 0;
            let value = if infinite { f64::INFINITY } else { f64::NAN };
            return if negative { -value } else { value };
        }
        let (implied, exponent) = if exponent == 0 { (0, 1) } else { (1 << self.mantissa, exponent) };
        let scale = f64::from(exponent - self.bias - i32::from(self.mantissa)).exp2();
        let value = f64::from(implied + mantissa) * scale;
        if negative { -value } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition of such numbers, with nothing but powers and products.
    fn by_definition(bits: u32, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> f64 {
        let field = |at: u32, len: u32| (bits >> at) & ((1 << len) - 1);
        let (sign, exponent) = (field(exponent_bits + mantissa_bits, 1), field(mantissa_bits, exponent_bits));
        let fraction = f64::from(field(0, mantissa_bits)) / 2_f64.powi(mantissa_bits as i32);
        let sign = if sign == 1 { -1.0 } else { 1.0 };
        match exponent {
            0 => sign * fraction * 2_f64.powi(1 - bias),
            _ => sign * (1.0 + fraction) * 2_f64.powi(exponent as i32 - bias),
        }
    }

    fn ieee(bits: u32, exponent_bits: u32, mantissa_bits: u32) -> f64 {
        let greatest = (1 << exponent_bits) - 1;
        let (exponent, mantissa) = ((bits >> mantissa_bits) & greatest, bits & ((1 << mantissa_bits) - 1));
        let negative = bits >> (exponent_bits + mantissa_bits) == 1;
        match (exponent == greatest, mantissa) {
            (true, 0) if negative => f64::NEG_INFINITY,
            (true, 0) => f64::INFINITY,
            (true, _) => f64::NAN,
            _ => by_definition(bits, exponent_bits, mantissa_bits, (greatest >> 1) as i32),
        }
    }

    #[track_caller]
    fn same(found: f64, wanted: f64, bits: u32) {
        let alike = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
        assert!(alike, "{bits:#x}: {found} is {wanted}");
    }

    #[test]
    fn every_pattern_of_two_bytes() {
        for bits in 0..=u16::MAX {
            same(bf16(bits.to_le_bytes()), ieee(bits.into(), 8, 7), bits.into());
            same(f16(bits.to_le_bytes()), ieee(bits.into(), 5, 10), bits.into());
        }
    }

    fn values(word: &[u8]) -> [f64; 256] {
        match Unit::of(word, &[1], 1).number {
            Some(Number::Mini(mini)) => mini.values(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_pattern_of_one_byte() {
        let (e4m3, e5m2) = (values(b"F8_E4M3"), values(b"F8_E5M2"));
        let (e4m3fnuz, e5m2fnuz) = (values(b"F8_E4M3FNUZ"), values(b"F8_E5M2FNUZ"));
        for bits in 0..=255_u32 {
            let at = bits as usize;
            let nan = bits & 0x7f == 0x7f;
            same(e4m3[at], if nan { f64::NAN } else { by_definition(bits, 4, 3, 7) }, bits);
            same(e5m2[at], ieee(bits, 5, 2), bits);
            let nan = bits == 0x80;
            same(e4m3fnuz[at], if nan { f64::NAN } else { by_definition(bits, 4, 3, 8) }, bits);
            same(e5m2fnuz[at], if nan { f64::NAN } else { by_definition(bits, 5, 2, 16) }, bits);
        }
        assert_eq!(
            (e4m3[0x7e], e5m2[0x7b], e4m3fnuz[0x7f], e5m2fnuz[0x7f]),
            (448.0, 57344.0, 240.0, 57344.0)
        );
    }

    #[test]
    fn units() {
        use UnitKind::*;
        for (dtype, shape, len, kind, bytes, number) in [
            (&b"BF16"[..], &[3, 5][..], 30, Element, 2, true),
            (b"BF16", &[3, 5], 31, Byte, 1, false),
            (b"F64", &[], 8, Element, 8, true),
            (b"F32", &[0, 7], 0, Element, 4, true),
            (b"I64", &[u64::MAX, 2], 16, Byte, 1, false),
            (b"C64", &[2, 3], 48, Element, 8, false),
            (b"F4", &[8], 4, Byte, 1, false),
            (b"Q8_0", &[64], 68, Block, 34, false),
            (b"Q4_K", &[256], 145, Byte, 1, false),
            (b"what", &[2], 1000, Byte, 1, false),
            (b"what", &[0], 1000, Byte, 1, false),
        ] {
            let unit = Unit::of(dtype, shape, len);
            assert_eq!((unit.kind, unit.bytes, unit.number.is_some()), (kind, bytes, number), "{dtype:?}");
        }
    }
}
