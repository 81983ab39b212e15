//! Data for benches: numbers with the statistics of real weights, and text; whole repositories in
//! [`synthetic`]. What repositories take, ours ([`stored`]) and others ([`restic`]).

pub mod restic;
pub mod stored;
pub mod synthetic;

/// A small generator; good enough for data, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Seeded.
    pub fn new(seed: u64) -> Self {
        // Mixed once: seeds side by side must not give the same stream, shifted.
        Self(Self(seed.wrapping_mul(0xd6e8_feb8_6659_fd93)).bits())
    }

    /// The next 64 bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal, mean 0, deviation 1: eight 8-bit uniforms summed.
    pub fn normal(&mut self) -> f32 {
        let sum: u32 = self.bits().to_le_bytes().iter().map(|b| u32::from(*b)).sum();
        (f32::from(u16::try_from(sum).unwrap_or(0)) - 1020.0) / 209.0
    }
}

/// `len` bytes that nothing can compress.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&random.bits().to_le_bytes());
    }
    out.truncate(len);
    out
}

/// `len` bytes of bf16 weights: normal, deviation about 0.02 as in real layers; the low mantissa
/// bits are noise.
pub fn weights(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let scale = 0.012 + 0.004 * f32::from(u8::try_from(seed % 7).unwrap_or(0));
    let mut out = Vec::with_capacity(len + 2);
    while out.len() < len {
        let jitter = f32::from(u16::try_from(random.bits() & 0xff).unwrap_or(0)) / 256.0 - 0.5;
        let value = (random.normal() + jitter * 0.02) * scale;
        out.extend_from_slice(&((value.to_bits() + 0x8000) >> 16).to_le_bytes()[..2]);
    }
    out.truncate(len);
    out
}

/// `len` bytes of text that compresses like source code.
pub fn text(len: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "let ",
        "fn ",
        "self.",
        "return ",
        "match ",
        "(",
        ")",
        " {\n",
        "}\n",
        "value",
        "index",
        " = ",
        ";\n",
        "    ",
        "if ",
        "else ",
        "&str",
        "Result<",
        "Vec<u8>",
        "::new",
        "error",
        "// the ",
        "u64",
        ".unwrap_or(",
    ];
    let mut random = Random::new(seed);
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let r = random.bits();
        out.extend_from_slice(WORDS[usize::try_from(r % 24).unwrap_or(0)].as_bytes());
        if r >> 32 & 7 == 0 {
            out.extend_from_slice(format!("{:x}", r >> 40).as_bytes());
        }
    }
    out.truncate(len);
    out
}
