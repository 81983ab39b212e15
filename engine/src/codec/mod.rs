//! Encoding and decoding of one frame (design §5, `docs/format.md`, "Encodings").
//!
//! [`encode`] chooses by a sample and never stores more than the plaintext;
//! [`decode`] writes exactly the stated length or fails. What is chosen is
//! invisible to deduplication: ids are of plaintext.

mod delta;
mod estimate;
mod fields;
pub mod grains;
mod literals;
mod planes;
mod widest;
mod zstd;

use std::cell::RefCell;

pub use delta::{Element, Hint, encode_delta};
use estimate::Choice;
pub use fields::blocks::BlockType;

use crate::error::Malformed;
use crate::format::MAX_FRAME_PLAIN_BYTES;
use crate::format::frame::Encoding;

/// Version of each encoding that this program writes and reads; of delta there is a second one
/// ([`grains::VERSION`]), and of planes (fields of blocks).
pub const CODEC_VERSION: u8 = 1;

/// Can a frame like this be decoded by this program?
pub fn is_known(encoding: u8, codec_version: u8) -> bool {
    let known = Encoding::from_byte(encoding);
    known.is_some() && codec_version == CODEC_VERSION
        || known == Some(Encoding::Planes) && codec_version == fields::VERSION
        || is_by_grains(encoding, codec_version)
}

/// Is a frame like this a delta by grains?
pub fn is_by_grains(encoding: u8, codec_version: u8) -> bool {
    Encoding::from_byte(encoding) == Some(Encoding::Delta) && codec_version == grains::VERSION
}

/// A frame's bytes, encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// How.
    pub encoding: Encoding,
    /// Version of that encoding.
    pub codec_version: u8,
}

/// Encodes `plain` by what a sample says, into `out` (cleared first). Where the
/// answer is raw, `out` stays empty and `plain` itself is what is to be stored.
pub fn encode(plain: &[u8], out: &mut Vec<u8>) -> Encoded {
    encode_as(plain, Hint::NONE, out)
}

/// The same where it is known what the plaintext is. A wrong hint costs room at most, and never more
/// than raw takes.
pub fn encode_as(plain: &[u8], hint: Hint, out: &mut Vec<u8>) -> Encoded {
    let made = match estimate::choose_as(plain, hint.element) {
        Choice::Raw => None,
        Choice::Zstd(level) => zstd::compress(plain, level, out).then_some((Encoding::Zstd, CODEC_VERSION)),
        Choice::Literals => literals::compress(plain, out).then_some((Encoding::Zstd, CODEC_VERSION)),
        Choice::Planes(layout) => PLANES
            .with_borrow_mut(|scratch| planes::encode(plain, layout, scratch, out))
            .then_some((Encoding::Planes, CODEC_VERSION)),
        Choice::Fields(block) => FIELDS
            .with_borrow_mut(|scratch| fields::encode(plain, block.alone(), scratch, out))
            .then_some((Encoding::Planes, fields::VERSION)),
    };
    let (encoding, codec_version) = made.filter(|_| out.len() < plain.len()).unwrap_or_else(|| {
        out.clear();
        (Encoding::Raw, CODEC_VERSION)
    });
    Encoded { encoding, codec_version }
}

thread_local! {
    static PLANES: RefCell<planes::Scratch> = RefCell::default();
    static FIELDS: RefCell<fields::Scratch> = RefCell::default();
}

/// Decodes into `out`, whose length is the frame's plain length. `bases` are the bytes the frame's
/// edges name, in their order: none but for a delta.
pub fn decode(
    encoding: u8,
    codec_version: u8,
    encoded: &[u8],
    bases: &[&[u8]],
    out: &mut [u8],
) -> Result<(), Malformed> {
    if out.len() > MAX_FRAME_PLAIN_BYTES as usize {
        return Err(Malformed::new(format!("a frame of {} bytes is over the limit", out.len())));
    }
    let known = Encoding::from_byte(encoding);
    match known {
        Some(Encoding::Delta) if codec_version == grains::VERSION => {
            let lens = bases.iter().map(|base| u32::try_from(base.len()));
            let lens = lens.collect::<std::result::Result<Vec<_>, _>>();
            let lens = lens.map_err(|_| Malformed::new("has bases over the limit"))?;
            let base = grains::BaseGrains::new(bases);
            grains::decode(encoded, &lens, |number| base.get(number), out)
        }
        Some(Encoding::Planes) if codec_version == fields::VERSION && bases.is_empty() => {
            FIELDS.with_borrow_mut(|scratch| fields::decode(encoded, scratch, out))
        }
        Some(_) if codec_version != CODEC_VERSION => {
            Err(Malformed::new(format!("is encoded with version {codec_version} of encoding {encoding}")))
        }
        Some(Encoding::Raw | Encoding::Zstd | Encoding::Planes) if !bases.is_empty() => {
            Err(Malformed::new("has bases that its encoding does not use"))
        }
        Some(Encoding::Raw) if encoded.len() == out.len() => {
            out.copy_from_slice(encoded);
            Ok(())
        }
        Some(Encoding::Raw) => Err(Malformed::new("raw bytes have another length than stated")),
        Some(Encoding::Zstd) => zstd::decompress(encoded, out),
        Some(Encoding::Planes) => PLANES.with_borrow_mut(|scratch| planes::decode(encoded, scratch, out)),
        Some(Encoding::Delta) => delta::decode(encoded, bases, out),
        None => Err(Malformed::new(format!(
            "is stored with encoding {encoding}, which this program does not know"
        ))),
    }
}

/// Does a frame without bases decode to exactly `plain`? As [`decode`] would tell, with `room` for what must be decoded
/// to be compared.
pub fn decodes_to(
    encoding: u8,
    codec_version: u8,
    encoded: &[u8],
    plain: &[u8],
    room: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    if plain.len() > MAX_FRAME_PLAIN_BYTES as usize {
        return Err(Malformed::new(format!("a frame of {} bytes is over the limit", plain.len())));
    }
    match Encoding::from_byte(encoding) {
        Some(Encoding::Raw) if codec_version == CODEC_VERSION => Ok(encoded == plain),
        Some(Encoding::Planes) if codec_version == CODEC_VERSION => {
            PLANES.with_borrow_mut(|scratch| planes::decodes_to(encoded, scratch, plain))
        }
        _ => {
            if room.len() < plain.len() {
                room.resize(plain.len(), 0);
            }
            let decoded = &mut room[..plain.len()];
            decode(encoding, codec_version, encoded, &[], decoded)?;
            Ok(decoded == plain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
        out
    }

    fn round(plain: &[u8]) -> (Encoding, usize) {
        let mut out = Vec::new();
        let how = encode(plain, &mut out);
        let stored = if how.encoding == Encoding::Raw { plain } else { &out };
        assert!(stored.len() <= plain.len());
        let mut back = vec![0xaa; plain.len()];
        decode(how.encoding as u8, how.codec_version, stored, &[], &mut back).unwrap();
        assert_eq!(back, plain);
        (how.encoding, stored.len())
    }

    #[test]
    fn the_smaller_is_chosen() {
        assert_eq!(round(&[]).0, Encoding::Raw);
        assert_eq!(round(&noise(1 << 20)).0, Encoding::Raw);
        assert_eq!(round(&noise(20)).0, Encoding::Raw);
        let text = b"the quick brown fox jumps over the lazy dog. ".repeat(5000);
        let (how, len) = round(&text);
        assert!(how == Encoding::Zstd && len < text.len() / 50);
        assert!(round(&[0; 300]).1 < 40);
        // Compressible only at its end: the sample sees the end.
        let mixed = [noise(200_000), vec![0; 800_000]].concat();
        assert!(round(&mixed).1 < 210_000);
    }

    #[test]
    fn lies_are_errors() {
        let text = b"lies and damned lies ".repeat(1000);
        let mut out = Vec::new();
        let how = encode(&text, &mut out);
        assert_eq!(how.encoding, Encoding::Zstd);
        for len in [0, 1, text.len() - 1, text.len() + 1] {
            assert!(decode(1, 1, &out, &[], &mut vec![0; len]).is_err(), "{len}");
        }
        assert!(decode(1, 1, &out[..out.len() - 1], &[], &mut vec![0; text.len()]).is_err());
        assert!(decode(1, 1, &[&out[..], &out].concat(), &[], &mut vec![0; text.len()]).is_err());
        assert!(decode(1, 2, &out, &[], &mut vec![0; text.len()]).is_err());
        assert!(decode(0, 1, &out, &[], &mut vec![0; text.len()]).is_err());
        assert!(decode(1, 1, &out, &[&text], &mut vec![0; text.len()]).is_err());
        assert!(decode(0, 1, &text, &[&[]], &mut vec![0; text.len()]).is_err());
        assert!(decode(200, 1, &out, &[], &mut vec![0; text.len()]).is_err());
    }
}
