//! Types of ggml by their numbers: how many elements a block holds and how many bytes it takes.

use crate::chunk::layout::TENSOR_RULE;
use crate::chunk::region::{Policy, Rule};

/// One type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    number: u32,
    /// safetensors' word for plain numbers, else ggml's name.
    pub(super) word: &'static str,
    /// Elements of a block.
    elements: u64,
    /// Bytes of a block.
    bytes: u32,
}

const fn of(number: u32, word: &'static str, elements: u64, bytes: u32) -> Type {
    Type { number, word, elements, bytes }
}

/// What version 3 of the cutter knows: a later type needs a later version. `Q8_1` is never stored, and its
/// block has had two lengths.
const TYPES: [Type; 33] = [
    of(0, "F32", 1, 4),
    of(1, "F16", 1, 2),
    of(2, "Q4_0", 32, 18),
    of(3, "Q4_1", 32, 20),
    of(6, "Q5_0", 32, 22),
    of(7, "Q5_1", 32, 24),
    of(8, "Q8_0", 32, 34),
    of(10, "Q2_K", 256, 84),
    of(11, "Q3_K", 256, 110),
    of(12, "Q4_K", 256, 144),
    of(13, "Q5_K", 256, 176),
    of(14, "Q6_K", 256, 210),
    of(15, "Q8_K", 256, 292),
    of(16, "IQ2_XXS", 256, 66),
    of(17, "IQ2_XS", 256, 74),
    of(18, "IQ3_XXS", 256, 98),
    of(19, "IQ1_S", 256, 50),
    of(20, "IQ4_NL", 32, 18),
    of(21, "IQ3_S", 256, 110),
    of(22, "IQ2_S", 256, 82),
    of(23, "IQ4_XS", 256, 136),
    of(24, "I8", 1, 1),
    of(25, "I16", 1, 2),
    of(26, "I32", 1, 4),
    of(27, "I64", 1, 8),
    of(28, "F64", 1, 8),
    of(29, "IQ1_M", 256, 56),
    of(30, "BF16", 1, 2),
    of(34, "TQ1_0", 256, 54),
    of(35, "TQ2_0", 256, 66),
    of(39, "MXFP4", 32, 17),
    of(40, "NVFP4", 64, 36),
    of(41, "Q1_0", 128, 18),
];

impl Type {
    /// The type of that number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        TYPES.iter().find(|known| known.number == number).copied()
    }

    /// Bytes of a tensor whose innermost dimension comes first; `None` if they are too many to count, or its rows no
    /// whole blocks.
    pub(super) fn bytes_of(self, innermost_first: &[u64]) -> Option<u64> {
        let row = innermost_first.first().copied().unwrap_or(1);
        let elements = innermost_first.iter().try_fold(1_u64, |product, n| product.checked_mul(*n))?;
        let whole = row.is_multiple_of(self.elements);
        whole.then(|| (elements / self.elements).checked_mul(self.bytes.into())).flatten()
    }
}

/// How a tensor of this type is cut: between blocks, and on eight bytes where an element is one number.
pub fn rule(word: &[u8]) -> Rule {
    match TYPES.iter().find(|known| known.word.as_bytes() == word) {
        Some(known) if known.elements > 1 => Rule { grid: known.bytes, policy: Policy::Cdc },
        _ => TENSOR_RULE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole() {
        let bytes = |number, shape: &[u64]| Type::from_number(number).unwrap().bytes_of(shape);
        assert_eq!(bytes(0, &[3, 5]), Some(60));
        assert_eq!(bytes(0, &[]), Some(4));
        assert_eq!(bytes(8, &[64, 3]), Some(6 * 34));
        assert_eq!(bytes(8, &[3, 64]), None);
        assert_eq!(bytes(8, &[]), None);
        assert_eq!(bytes(14, &[256, 0]), Some(0));
        assert_eq!(bytes(0, &[1 << 32, 1 << 32]), None);
        assert_eq!(bytes(27, &[1 << 62]), None);
        assert_eq!(Type::from_number(9), None);
        assert_eq!(Type::from_number(4), None);
    }

    #[test]
    fn every_type_has_a_grid() {
        for known in TYPES {
            let Rule { grid, .. } = rule(known.word.as_bytes());
            assert_eq!(grid, if known.elements > 1 { known.bytes } else { 8 }, "{}", known.word);
            assert!(grid <= CUT_LEAST, "{}: no repository by default sizes refuses it", known.word);
        }
        assert_eq!(rule(b""), TENSOR_RULE);
    }

    const CUT_LEAST: u32 = 256 << 10;
}
