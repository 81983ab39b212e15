//! Safetensors files as tensors in memory: read, cast, rearranged, written again. No float is
//! computed with but where a cast rounds.

use std::io;
use std::path::Path;

use ballast::chunk::safetensors::Header;

use ballast_benches::Random;

/// One tensor.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// As the header spells it.
    pub name: String,
    /// Type of its elements, as the header spells it.
    pub dtype: &'static str,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The tensors of a file, in their order.
pub fn read(path: &Path) -> io::Result<Vec<Tensor>> {
    let bytes = std::fs::read(path)?;
    let header = Header::parse(&bytes, bytes.len() as u64)
        .ok_or_else(|| io::Error::other(format!("{} is no safetensors file", path.display())))?;
    let part = |t: &ballast::chunk::layout::Tensor| {
        let start = usize::try_from(t.offset).unwrap_or(usize::MAX);
        bytes[start..][..usize::try_from(t.len).unwrap_or(usize::MAX)].to_vec()
    };
    let tensors = header.tensors.iter();
    Ok(tensors
        .map(|t| Tensor { name: t.name.clone(), dtype: t.dtype, shape: t.shape.clone(), data: part(t) })
        .collect())
}

/// The file that holds them.
pub fn write(tensors: &[Tensor]) -> Vec<u8> {
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut at = 0;
    for t in tensors {
        let (end, name) = (at + t.data.len(), t.name.replace('\\', r"\\").replace('"', "\\\""));
        let (dtype, shape) = (t.dtype, &t.shape);
        json.push_str(&format!(
            r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#
        ));
        at = end;
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    tensors.iter().for_each(|t| out.extend_from_slice(&t.data));
    out
}

/// Every f32 tensor with its elements changed one by one; others stay.
fn each_f32(tensors: &[Tensor], dtype: &'static str, f: impl Fn(u32, &mut Vec<u8>)) -> Vec<Tensor> {
    let cast = |t: &Tensor| {
        if t.dtype != "F32" {
            return t.clone();
        }
        let mut data = Vec::with_capacity(t.data.len());
        t.data.as_chunks().0.iter().for_each(|bytes| f(u32::from_le_bytes(*bytes), &mut data));
        Tensor { dtype, data, ..t.clone() }
    };
    tensors.iter().map(cast).collect()
}

/// As bf16, to nearest, ties to even.
pub fn to_bf16(tensors: &[Tensor]) -> Vec<Tensor> {
    each_f32(tensors, "BF16", |word, out| out.extend_from_slice(&bf16(word).to_le_bytes()))
}

/// As f16, to nearest, ties to even.
pub fn to_f16(tensors: &[Tensor]) -> Vec<Tensor> {
    each_f32(tensors, "F16", |word, out| out.extend_from_slice(&f16(word).to_le_bytes()))
}

/// Still f32, every value one that bf16 can hold.
pub fn through_bf16(tensors: &[Tensor]) -> Vec<Tensor> {
    each_f32(tensors, "F32", |word, out| {
        out.extend_from_slice(&(u32::from(bf16(word)) << 16).to_le_bytes());
    })
}

/// The bits of an f32 as bf16.
pub fn bf16(word: u32) -> u16 {
    if word & 0x7fff_ffff > 0x7f80_0000 {
        return (word >> 16) as u16 | 0x40;
    }
    ((word + 0x7fff + (word >> 16 & 1)) >> 16) as u16
}

/// The bits of an f32 as f16.
pub fn f16(word: u32) -> u16 {
    let sign = (word >> 16 & 0x8000) as u16;
    let magnitude = word & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // Shifted so that the lowest bit of the result is bit 0; what falls out rounds.
    let (value, shift) = if magnitude >= 0x3880_0000 {
        (magnitude - 0x3800_0000, 13)
    } else {
        // Subnormal: 2^-24 is the last place.
        let shift = 126 - (magnitude >> 23).min(126);
        ((magnitude & 0x7f_ffff) | 0x80_0000, shift.min(31))
    };
    let (kept, rest, half) = (value >> shift, value & ((1 << shift) - 1), 1u32 << (shift - 1));
    let up = rest > half || (rest == half && kept & 1 == 1);
    sign | (kept + u32::from(up)).min(0x7c00) as u16
}

/// A bf16 model `copies` times as large in every first dimension: copy after copy of the rows, each number
/// of a copy times a factor of its own between 3/4 and 5/4, the same whatever the week.
/// So no stretch occurs twice, exponents and the relative size of a week's steps are the real ones.
pub fn tiled(tensors: &[Tensor], copies: u64) -> Vec<Tensor> {
    let mut out = tensors.to_vec();
    for (n, t) in (0u64..).zip(out.iter_mut().filter(|t| t.dtype == "BF16" && !t.shape.is_empty())) {
        let one = std::mem::take(&mut t.data);
        t.data.reserve_exact(one.len() * usize::try_from(copies).unwrap_or(1));
        t.shape[0] *= copies;
        for copy in 0..copies {
            let mut random = Random::new(n << 32 | copy);
            for element in one.as_chunks::<2>().0 {
                let value = f32::from_bits(u32::from(u16::from_le_bytes(*element)) << 16);
                let share = f32::from(u16::try_from(random.bits() >> 48).unwrap_or(0)) / 65536.0;
                let scaled = (value * (0.75 + 0.5 * share)).to_bits();
                t.data.extend_from_slice(&bf16(scaled).to_le_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_round_to_nearest_even() {
        let halves = |x: f32| f16(x.to_bits());
        assert_eq!(halves(1.0), 0x3c00);
        assert_eq!(halves(-2.0), 0xc000);
        assert_eq!(halves(65504.0), 0x7bff);
        assert_eq!(halves(65520.0), 0x7c00);
        assert_eq!(halves(1e30), 0x7c00);
        assert_eq!(halves(2f32.powi(-14)), 0x0400);
        assert_eq!(halves(2f32.powi(-24)), 0x0001);
        assert_eq!(halves(2f32.powi(-25)), 0x0000);
        assert_eq!(halves(1.5 * 2f32.powi(-25)), 0x0001);
        assert_eq!(halves(1023.5 * 2f32.powi(-24)), 0x0400);
        assert_eq!(halves(1.0 + 2f32.powi(-11)), 0x3c00);
        assert_eq!(halves(1.0 + 3.0 * 2f32.powi(-11)), 0x3c02);
        assert_eq!(halves(f32::NAN) & 0x7fff, 0x7e00);
        assert_eq!(halves(f32::NEG_INFINITY), 0xfc00);
        assert_eq!((halves(0.0), halves(-0.0), halves(1e-30)), (0, 0x8000, 0));
        // Every f16 is its own nearest.
        for bits in 0..0x7c00u16 {
            let (exponent, fraction) = (i32::from(bits >> 10), f32::from(bits & 0x3ff));
            let value = match exponent {
                0 => fraction * 2f32.powi(-24),
                e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
            };
            assert_eq!(halves(value), bits);
        }
        assert_eq!(bf16(1.0f32.to_bits()), 0x3f80);
        assert_eq!(bf16(0x3f80_8000), 0x3f80);
        assert_eq!(bf16(0x3f81_8000), 0x3f82);
        assert_eq!(bf16(0x7f7f_ffff), 0x7f80);
        assert_eq!(bf16(0x7f80_0001), 0x7fc0);
    }
}
