//! From plaintext to a sealed, checked frame and back (invariants 4 and 5).
//!
//! A frame is opened again, decoded and compared with the private copy its ids were computed
//! from before anyone may upload it: a fault of memory or of a coder is found now, not at
//! restore. Buffers are kept per thread.

use std::cell::RefCell;

use crate::codec;
use crate::crypto::keys::Purpose;
use crate::error::{Error, Malformed, Result};
use crate::format::MAX_FRAME_STORED_BYTES;
use crate::format::envelope::{NONCE_LEN, SUITE_XCHACHA_BLAKE3, TAG_LEN};
use crate::format::frame::{self, Edge, Encoding, FrameBlob, FrameRecord, SEAL_OVERHEAD};
use crate::repo::Repository;

/// A sealed frame, not yet in a pack: nonce, ciphertext and tag.
pub struct SealedFrame {
    /// Its record; `offset` is set by the pack that takes it.
    pub record: FrameRecord,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct Scratch {
    encoded: Vec<u8>,
    opened: Vec<u8>,
    decoded: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The first `len` bytes of `buffer`, grown if need be: no clearing of what is overwritten anyway.
fn room(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Encodes, seals, opens again, decodes and compares. `blobs` lie one after the other in `plain`.
pub fn make(
    repo: &Repository,
    plain: &[u8],
    blobs: Vec<FrameBlob>,
    mut bytes: Vec<u8>,
) -> Result<SealedFrame> {
    SCRATCH.with_borrow_mut(|scratch| {
        let how = codec::encode(plain, &mut scratch.encoded);
        let stored: &[u8] = if how.encoding == Encoding::Raw { plain } else { &scratch.encoded };
        let plain_len =
            u32::try_from(plain.len()).map_err(|_| Error::Internal("a frame over 4 GiB".into()))?;
        let epoch = repo.keyring().current_epoch();
        let aad = frame::aad(
            &repo.config().repo_id,
            SUITE_XCHACHA_BLAKE3,
            epoch,
            how.encoding as u8,
            how.codec_version,
            plain_len,
            &[],
        );
        let nonce: [u8; NONCE_LEN] = repo.surroundings().random()?;
        let sealed_len = NONCE_LEN + stored.len() + TAG_LEN;
        room(&mut bytes, sealed_len);
        bytes.truncate(sealed_len);
        bytes[..NONCE_LEN].copy_from_slice(&nonce);
        repo.keyring().current(Purpose::Frame).seal_into(&nonce, &aad, stored, &mut bytes[NONCE_LEN..]);

        let record = FrameRecord {
            offset: 0,
            stored_len: u32::try_from(sealed_len)
                .map_err(|_| Error::Internal("a frame over 4 GiB".into()))?,
            plain_len,
            encoding: how.encoding as u8,
            codec_version: how.codec_version,
            height: 0,
            flags: 0,
            edges: Vec::new(),
            blobs,
        };
        let reopened = room(&mut scratch.opened, stored.len());
        let fault =
            |e: Malformed| Error::Internal(format!("a frame just sealed {e}: faulty memory or processor"));
        repo.keyring()
            .current(Purpose::Frame)
            .open_into(&nonce, &aad, &bytes[NONCE_LEN..], reopened)
            .map_err(fault)?;
        let same = if how.encoding == Encoding::Raw {
            reopened == plain
        } else {
            let decoded = room(&mut scratch.decoded, plain.len());
            codec::decode(record.encoding, record.codec_version, reopened, decoded).map_err(fault)?;
            decoded == plain
        };
        if !same {
            return Err(fault(Malformed::new("decodes to something else")));
        }
        Ok(SealedFrame { record, bytes })
    })
}

/// What is needed to open a frame, wherever its description came from.
#[derive(Debug, Clone, Copy)]
pub struct FrameHead<'a> {
    /// Key epoch of its pack.
    pub epoch: u16,
    /// Encoding tag.
    pub encoding: u8,
    /// Codec version.
    pub codec_version: u8,
    /// Length of the plaintext.
    pub plain_len: u32,
    /// Bases.
    pub edges: &'a [Edge],
}

/// Opens and decodes a stored frame. Its blobs are not verified yet: that is for who knows their ids.
pub fn open(repo: &Repository, head: &FrameHead<'_>, stored: &[u8]) -> Result<Vec<u8>, Malformed> {
    if stored.len() < SEAL_OVERHEAD as usize || stored.len() > MAX_FRAME_STORED_BYTES as usize {
        return Err(Malformed::new(format!("is stored in {} bytes", stored.len())));
    }
    if head.plain_len > crate::format::MAX_FRAME_PLAIN_BYTES {
        return Err(Malformed::new(format!("states {} bytes of plaintext", head.plain_len)));
    }
    if !head.edges.is_empty() && Encoding::from_byte(head.encoding) != Some(Encoding::Delta) {
        return Err(Malformed::new("names bases that its encoding does not use"));
    }
    let (nonce, sealed) = stored.split_at(NONCE_LEN);
    let nonce = nonce.try_into().map_err(|_| Malformed::new("ends early"))?;
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        head.epoch,
        head.encoding,
        head.codec_version,
        head.plain_len,
        head.edges,
    );
    let key = repo.keyring().key(Purpose::Frame, head.epoch)?;
    let mut plain = vec![0; head.plain_len as usize];
    if Encoding::from_byte(head.encoding) == Some(Encoding::Raw) && head.codec_version == codec::CODEC_VERSION
    {
        key.open_into(&nonce, &aad, sealed, &mut plain)?;
        return Ok(plain);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let encoded = room(&mut scratch.opened, sealed.len() - TAG_LEN);
        key.open_into(&nonce, &aad, sealed, encoded)?;
        codec::decode(head.encoding, head.codec_version, encoded, &mut plain)
    })?;
    Ok(plain)
}
