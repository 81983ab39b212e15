//! Sizes of chunks by content, and the masks that follow from them
//! (`docs/format.md`, "Cutting").
//!
//! The masks are a function of `avg` alone. With *b* the whole number nearest to
//! log2(avg), `mask_s` has *b* + 1 bits set and `mask_l` *b* − 1: normalization
//! level 1. They are the entries *b* + 1 and *b* − 1 of the table of the FastCDC
//! paper's implementations, which `fastcdc::v2020::MASKS` reprints:
//!
//! | avg | mask_s | mask_l |
//! |---|---|---|
//! | 1 KiB | `0x0000d90003530000` | `0x0000019000353000` |
//! | 64 KiB | `0x0000d90703537000` | `0x0000d90f03530000` |
//! | 256 KiB | `0x0000d91707537000` | `0x0000d90703537000` |
//! | 640 KiB (default) | `0x0000d91747537000` | `0x0000d90707537000` |
//! | 1 MiB | `0x0000d91767537000` | `0x0000d91707537000` |
//! | 4 MiB | `0x0000d93777537000` | `0x0000d91767537000` |
//!
//! No mask has a bit below 12 or above 47.

use fastcdc::v2020::{self, Normalization};

use crate::error::Malformed;

/// Version of the cutting rule that new repositories get, kept in config. 1: keyed FastCDC as
/// `docs/format.md` states it, over whole files. 2: the same, and the regions of safetensors
/// files. 3: and those of torch archives, GGUF and NumPy's arrays. A repository keeps the version it was made with.
pub const CUTTER_VERSION: u16 = 3;

/// No chunk is longer, of whatever policy: a frame's plaintext ends here.
pub const MAX_CHUNK_LIMIT: u32 = 16 << 20;

/// Smallest `min` of the fastcdc crate.
const MIN_LEAST: u32 = 64;
/// Largest `min` of the fastcdc crate.
const MIN_MOST: u32 = 1 << 20;
/// Smallest `avg`: for smaller ones hardly any table leaves all runs whole.
const AVG_LEAST: u32 = 1 << 10;
/// Largest `avg` of the fastcdc crate.
const AVG_MOST: u32 = 4 << 20;
/// From `min` to `avg` at least: the hash has then forgotten where it began.
const AVG_OVER_MIN: u32 = 64;

/// Sizes, in bytes, of chunks that are cut by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutParams {
    /// 1 … [`CUTTER_VERSION`].
    pub version: u16,
    /// No chunk is shorter, but the last of a region and by rounding to the grid.
    pub min: u32,
    /// Up to here `mask_s` decides, from here on `mask_l`.
    pub avg: u32,
    /// No chunk is longer.
    pub max: u32,
}

impl Default for CutParams {
    /// 512 KiB, 640 KiB, 2 MiB: some 860 KiB on average, of which 350 are searched for the cut (decision 2).
    fn default() -> Self {
        Self { version: CUTTER_VERSION, min: 512 << 10, avg: 640 << 10, max: 2 << 20 }
    }
}

/// The two tests of a cut: a hash that has no bit of the mask set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    /// Below `avg`.
    pub(super) strict: u64,
    /// From `avg` on.
    pub(super) loose: u64,
}

impl CutParams {
    /// Refuses what the rule is not defined for.
    pub fn validate(&self) -> Result<(), Malformed> {
        let Self { version, min, avg, max } = *self;
        let refuse = |why: String| Err(Malformed::new(why));
        if !(1..=CUTTER_VERSION).contains(&version) {
            return refuse(format!("cutter version {version} is not known"));
        }
        if [min, avg, max].iter().any(|size| size % 2 != 0) {
            return refuse(format!("chunk sizes {min}, {avg}, {max} are not all even"));
        }
        if !(MIN_LEAST..=MIN_MOST).contains(&min) {
            return refuse(format!("least chunk size {min} is not within {MIN_LEAST} and {MIN_MOST}"));
        }
        if !(AVG_LEAST..=AVG_MOST).contains(&avg) {
            return refuse(format!("average chunk size {avg} is not within {AVG_LEAST} and {AVG_MOST}"));
        }
        if avg < min + AVG_OVER_MIN {
            return refuse(format!("average chunk size {avg} is not {AVG_OVER_MIN} over the least, {min}"));
        }
        if max <= avg || max > MAX_CHUNK_LIMIT {
            return refuse(format!("greatest chunk size {max} is not within {avg} and {MAX_CHUNK_LIMIT}"));
        }
        Ok(())
    }

    /// The masks of `avg`. Only for parameters that were validated.
    pub(super) fn masks(&self) -> Masks {
        let avg = usize::try_from(self.avg).unwrap_or(usize::MAX);
        let (strict, loose) = v2020::select_masks(avg, Normalization::Level1);
        Masks { strict, loose }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::layout::Format;

    fn params(min: u32, avg: u32, max: u32) -> CutParams {
        CutParams { version: CUTTER_VERSION, min, avg, max }
    }

    #[test]
    fn sizes_outside_the_rule_are_refused() {
        assert!(CutParams::default().validate().is_ok());
        assert!(params(256, 1024, 4096).validate().is_ok());
        assert!(params(1 << 20, 4 << 20, 16 << 20).validate().is_ok());
        assert!(params(960, 1024, 1026).validate().is_ok());
        for (min, avg, max) in [
            (0, 0, 0),
            (62, 1024, 4096),
            (255, 1024, 4096),
            (256, 1023, 4096),
            (256, 1024, 4095),
            (256, 512, 4096),
            (962, 1024, 4096),
            (4096, 1024, 8192),
            (256, 1024, 1024),
            (256, 4 << 20, (16 << 20) + 2),
            (256, (4 << 20) + 2, 16 << 20),
            ((1 << 20) + 2, 4 << 20, 16 << 20),
            (u32::MAX - 1, u32::MAX - 1, u32::MAX - 1),
        ] {
            assert!(params(min, avg, max).validate().is_err(), "{min} {avg} {max}");
        }
        for (version, known) in [(0, false), (1, true), (2, true), (3, true), (4, false), (u16::MAX, false)] {
            let params = CutParams { version, ..CutParams::default() };
            assert_eq!(params.validate().is_ok(), known);
            assert_eq!(params.sees(Format::Safetensors), version >= 2);
            assert!(
                [Format::Torch, Format::Gguf, Format::Npy].iter().all(|f| params.sees(*f) == (version >= 3))
            );
        }
    }

    #[test]
    fn masks_are_those_of_the_format() {
        for (avg, strict, loose) in [
            (1 << 10, 0x0000_d900_0353_0000, 0x0000_0190_0035_3000),
            (1 << 16, 0x0000_d907_0353_7000, 0x0000_d90f_0353_0000),
            (1 << 18, 0x0000_d917_0753_7000, 0x0000_d907_0353_7000),
            (640 << 10, 0x0000_d917_4753_7000, 0x0000_d907_0753_7000),
            (1 << 20, 0x0000_d917_6753_7000, 0x0000_d917_0753_7000),
            (1 << 22, 0x0000_d937_7753_7000, 0x0000_d917_6753_7000),
        ] {
            assert_eq!(params(256, avg, 16 << 20).masks(), Masks { strict, loose }, "{avg}");
        }
        for bits in 10..=22_u32 {
            let masks = params(256, 1 << bits, 16 << 20).masks();
            assert_eq!((masks.strict.count_ones(), masks.loose.count_ones()), (bits + 1, bits - 1));
            assert_eq!((masks.strict | masks.loose) & !0x0000_ffff_ffff_f000, 0);
        }
    }
}
