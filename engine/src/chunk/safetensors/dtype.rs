//! Element types of safetensors, by the words that headers use.

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype(u8);

/// Word and width in bits. What version 2 of the cutter knows: a later word needs a later version.
const TYPES: [(&str, u8); 23] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2FNUZ", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E8M0", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
    ("C128", 128),
];

impl Dtype {
    /// The type of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        let at = TYPES.iter().position(|(known, _)| *known == word)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        TYPES[usize::from(self.0)].0
    }

    /// Width of one element.
    pub fn bits(self) -> u64 {
        TYPES[usize::from(self.0)].1.into()
    }

    /// Bytes of a tensor of this shape; `None` if they are too many to count, or not whole.
    pub fn bytes_of(self, shape: &[u64]) -> Option<u64> {
        let elements = shape.iter().try_fold(1_u64, |product, n| product.checked_mul(*n))?;
        let bits = elements.checked_mul(self.bits())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}
