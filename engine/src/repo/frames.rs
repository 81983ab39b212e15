//! From plaintext to a sealed, checked frame and back (invariants 4 and 5).
//!
//! A frame is opened again, decoded and compared with the private copy its ids were computed
//! from before anyone may upload it: a fault of memory or of a coder is found now, not at
//! restore. Buffers are kept per thread.

use std::cell::RefCell;

use crate::codec::{self, grains};
use crate::crypto::keys::Purpose;
use crate::error::{Error, Malformed, Result};
use crate::format::bytes::Put;
use crate::format::delta;
use crate::format::envelope::{NONCE_LEN, SUITE_XCHACHA_BLAKE3, TAG_LEN};
use crate::format::frame::{self, Edge, Encoding, FrameBlob, FrameRecord, SEAL_OVERHEAD};
use crate::format::{MAX_FRAME_PLAIN_BYTES, MAX_FRAME_STORED_BYTES};
use crate::id::ObjectName;
use crate::repo::Repository;
use crate::repo::index::Place;
use crate::repo::plain::Plain;
use crate::repo::reader::BlobBytes;

/// What a frame may be coded against: a stretch of the bytes of some blobs, one after the other.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The edges a frame will name, with their bytes, whose ids were recomputed.
    pub blobs: Vec<(Edge, &'a [u8])>,
    /// Where the stretch begins in their bytes.
    pub offset: u32,
    /// Its length.
    pub len: u32,
    /// The greatest of the least heights of their copies.
    pub height: u8,
}

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

/// Encodes, seals, opens again, decodes and compares. `blobs` lie one after the other in `plain`, whose
/// elements `hint` tells.
pub fn make(
    repo: &Repository,
    plain: &[u8],
    blobs: Vec<FrameBlob>,
    hint: codec::Hint,
    bytes: Vec<u8>,
) -> Result<SealedFrame> {
    SCRATCH.with_borrow_mut(|scratch| {
        let how = codec::encode_as(plain, hint, &mut scratch.encoded);
        seal(repo, plain, blobs, bytes, scratch, how, &Beneath::NOTHING)
    })
}

/// What a frame is decoded against: for its record, and for its proof.
struct Beneath<'a> {
    edges: &'a [Edge],
    height: u8,
    decode: &'a dyn Fn(&[u8], &mut [u8]) -> Result<(), Malformed>,
}

impl Beneath<'static> {
    const NOTHING: Self = Self {
        edges: &[],
        height: 0,
        decode: &|_, _| Err(Malformed::new("has no bases to be decoded against")),
    };
}

/// A delta by grains: what was coded, and what it stands on.
pub struct ByGrains<'a> {
    /// By [`grains::encode`].
    pub encoded: &'a [u8],
    /// Edges of the frame, each a blob.
    pub edges: &'a [Edge],
    /// Their lengths.
    pub lens: &'a [u32],
    /// Grains of these blobs, whose ids were recomputed.
    pub grain: &'a dyn Fn(u32) -> Option<&'a [u8]>,
    /// The greatest of the heights that their copies were relied on for.
    pub height: u8,
}

/// Seals a delta by grains, opens it again, decodes and compares.
pub fn make_by_grains(
    repo: &Repository,
    plain: &[u8],
    blobs: Vec<FrameBlob>,
    made: &ByGrains<'_>,
) -> Result<SealedFrame> {
    let height = above(made.height)?;
    let how = codec::Encoded { encoding: Encoding::Delta, codec_version: grains::VERSION };
    let decode = |encoded: &[u8], out: &mut [u8]| grains::decode(encoded, made.lens, made.grain, out);
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.encoded.clear();
        scratch.encoded.extend_from_slice(made.encoded);
        let beneath = Beneath { edges: made.edges, height, decode: &decode };
        seal(repo, plain, blobs, Vec::new(), scratch, how, &beneath)
    })
}

fn above(height: u8) -> Result<u8> {
    height.checked_add(1).ok_or_else(|| Error::Internal("a chain of more than 255 bases".into()))
}

/// The same against `sources`, likeliest first, where that is shorter than alone, by at least so
/// many percent; at most [`delta::MAX_SOURCES`] of them count. Also says how many were of use.
pub fn make_against<'a>(
    repo: &Repository,
    plain: &[u8],
    blobs: Vec<FrameBlob>,
    sources: &[Source<'a>],
    hint: codec::Hint,
    least_gain_percent: u8,
) -> Result<(SealedFrame, usize)> {
    let bytes = Vec::new();
    let sources = &sources[..sources.len().min(delta::MAX_SOURCES)];
    let blobs_of = |source: &Source<'a>| source.blobs.iter().map(|(_, bytes)| *bytes).collect();
    let parts: Vec<Vec<&[u8]>> = sources.iter().map(blobs_of).collect();
    let stretches = sources
        .iter()
        .zip(&parts)
        .map(|(source, blobs)| delta::stretch(blobs, source.offset as usize, source.len as usize));
    let stretches = stretches.collect::<Result<Vec<_>, _>>().map_err(|e| Error::Internal(e.0))?;
    SCRATCH.with_borrow_mut(|scratch| {
        let plains: Vec<&[u8]> = stretches.iter().map(AsRef::as_ref).collect();
        let mut made = codec::encode_delta(plain, &plains, hint, &mut scratch.encoded);
        // The proof takes them from their blobs again, as a reader will.
        drop(plains);
        drop(stretches);
        if made.is_some() && least_gain_percent > 0 {
            let how = codec::encode_as(plain, hint, &mut scratch.decoded);
            let alone = if how.encoding == Encoding::Raw { plain.len() } else { scratch.decoded.len() };
            let most = alone as u64 * u64::from(100 - least_gain_percent.min(100)) / 100;
            made = made.filter(|_| scratch.encoded.len() as u64 <= most);
        }
        let Some((how, used)) = made else {
            let how = codec::encode_as(plain, hint, &mut scratch.encoded);
            return Ok((seal(repo, plain, blobs, bytes, scratch, how, &Beneath::NOTHING)?, 0));
        };
        let mut head = Put::with_capacity(32);
        let described: Vec<delta::Source> = sources[..used]
            .iter()
            .map(|s| {
                let edges =
                    u8::try_from(s.blobs.len()).map_err(|_| Error::Internal("too many edges".into()))?;
                Ok(delta::Source { edges, offset: s.offset, len: s.len })
            })
            .collect::<Result<_>>()?;
        delta::encode(&described, &mut head);
        scratch.encoded.splice(..0, head.0);
        let named = || sources[..used].iter().flat_map(|source| &source.blobs);
        let edges: Vec<Edge> = named().map(|(edge, _)| *edge).collect();
        let bases: Vec<&[u8]> = named().map(|(_, bytes)| *bytes).collect();
        let height = above(sources[..used].iter().map(|source| source.height).max().unwrap_or(0))?;
        let against = |encoded: &[u8], out: &mut [u8]| {
            decode(how.encoding as u8, how.codec_version, encoded, &bases, out)
        };
        let beneath = Beneath { edges: &edges, height, decode: &against };
        Ok((seal(repo, plain, blobs, bytes, scratch, how, &beneath)?, used))
    })
}

/// Seals what stands encoded in `scratch` (or `plain` itself, if that is raw), and proves it.
fn seal(
    repo: &Repository,
    plain: &[u8],
    blobs: Vec<FrameBlob>,
    mut bytes: Vec<u8>,
    scratch: &mut Scratch,
    how: codec::Encoded,
    beneath: &Beneath<'_>,
) -> Result<SealedFrame> {
    // No reader would take its record, nor anything else of its pack.
    if blobs.iter().map(|blob| u64::from(blob.len)).sum::<u64>() != plain.len() as u64 {
        return Err(Error::Internal("a frame that is not as long as its blobs".into()));
    }
    let edges = beneath.edges.to_vec();
    let stored: &[u8] = if how.encoding == Encoding::Raw { plain } else { &scratch.encoded };
    let plain_len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a frame over 4 GiB".into()))?;
    let epoch = repo.keyring().current_epoch();
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        epoch,
        how.encoding as u8,
        how.codec_version,
        plain_len,
        &edges,
    );
    let nonce: [u8; NONCE_LEN] = repo.surroundings().random()?;
    let sealed_len = NONCE_LEN + stored.len() + TAG_LEN;
    room(&mut bytes, sealed_len);
    bytes.truncate(sealed_len);
    bytes[..NONCE_LEN].copy_from_slice(&nonce);
    repo.keyring().current(Purpose::Frame).seal_into(&nonce, &aad, stored, &mut bytes[NONCE_LEN..]);

    let record = FrameRecord {
        offset: 0,
        stored_len: u32::try_from(sealed_len).map_err(|_| Error::Internal("a frame over 4 GiB".into()))?,
        plain_len,
        encoding: how.encoding as u8,
        codec_version: how.codec_version,
        height: beneath.height,
        flags: 0,
        edges,
        blobs,
    };
    let frame = SealedFrame { record, bytes };
    prove(repo, &frame, plain, beneath, scratch)
        .map_err(|e| Error::Internal(format!("a frame just sealed {e}: faulty memory or processor")))?;
    Ok(frame)
}
/// Decodes a frame's bytes; those of a delta say first which stretches of its bases it takes.
fn decode<B: AsRef<[u8]>>(
    encoding: u8,
    codec_version: u8,
    encoded: &[u8],
    bases: &[B],
    out: &mut [u8],
) -> Result<(), Malformed> {
    if Encoding::from_byte(encoding) != Some(Encoding::Delta) || codec_version != codec::CODEC_VERSION {
        let bases: Vec<&[u8]> = bases.iter().map(AsRef::as_ref).collect();
        return codec::decode(encoding, codec_version, encoded, &bases, out);
    }
    let (sources, encoded) = delta::decode(encoded, bases)?;
    let sources: Vec<&[u8]> = sources.iter().map(AsRef::as_ref).collect();
    codec::decode(encoding, codec_version, encoded, &sources, out)
}

/// Opens and decodes a frame as a reader would, and compares it with what it was made of.
fn prove(
    repo: &Repository,
    frame: &SealedFrame,
    plain: &[u8],
    beneath: &Beneath<'_>,
    scratch: &mut Scratch,
) -> Result<(), Malformed> {
    let SealedFrame { record, bytes } = frame;
    let keyring = repo.keyring();
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        keyring.current_epoch(),
        record.encoding,
        record.codec_version,
        record.plain_len,
        &record.edges,
    );
    let ended = || Malformed::new("ends early");
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(ended)?;
    let nonce = nonce.try_into().map_err(|_| ended())?;
    let reopened = room(&mut scratch.opened, sealed.len().checked_sub(TAG_LEN).ok_or_else(ended)?);
    keyring.current(Purpose::Frame).open_into(&nonce, &aad, sealed, reopened)?;
    let same = if beneath.edges.is_empty() {
        codec::decodes_to(record.encoding, record.codec_version, reopened, plain, &mut scratch.decoded)?
    } else {
        let decoded = room(&mut scratch.decoded, plain.len());
        (beneath.decode)(reopened, decoded)?;
        decoded == plain
    };
    if same { Ok(()) } else { Err(Malformed::new("decodes to something else")) }
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

/// Reads a frame from its pack, opens and decodes it. Its blobs are not verified yet: that is for
/// who knows their ids.
pub fn fetch(
    repo: &Repository,
    pack: &ObjectName,
    offset: u32,
    stored_len: u32,
    head: &FrameHead<'_>,
    bases: &[BlobBytes],
) -> Result<Plain> {
    let damaged = |e: Malformed| e.of(format!("{pack}, frame at {offset}"));
    if !(SEAL_OVERHEAD..=MAX_FRAME_STORED_BYTES).contains(&stored_len) {
        return Err(damaged(Malformed::new(format!("is stored in {stored_len} bytes"))));
    }
    thread_local! {
        static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    STORED.with_borrow_mut(|buffer| {
        let stored = room(buffer, stored_len as usize);
        repo.store().read_range(pack, offset.into(), stored)?;
        open(repo, head, bases, stored).map_err(damaged)
    })
}

/// Reads a frame from its pack and opens it, for who decodes it himself.
pub fn fetch_encoded(repo: &Repository, pack: &ObjectName, epoch: u16, place: &Place) -> Result<Vec<u8>> {
    let damaged = |e: Malformed| e.of(format!("{pack}, frame at {}", place.offset));
    if !(SEAL_OVERHEAD..=MAX_FRAME_STORED_BYTES).contains(&place.stored_len) {
        return Err(damaged(Malformed::new(format!("is stored in {} bytes", place.stored_len))));
    }
    let stored = repo.store().get_range(pack, place.offset.into(), place.stored_len as usize)?;
    open_encoded(repo, epoch, place, &stored).map_err(damaged)
}

/// Opens a frame's stored bytes and decodes nothing.
pub fn open_encoded(
    repo: &Repository,
    epoch: u16,
    place: &Place,
    stored: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let ended = || Malformed::new("is shorter than its seal");
    let (nonce, sealed) = stored.split_at_checked(NONCE_LEN).ok_or_else(ended)?;
    let nonce = nonce.try_into().map_err(|_| ended())?;
    let aad = frame::aad(
        &repo.config().repo_id,
        SUITE_XCHACHA_BLAKE3,
        epoch,
        place.encoding,
        place.codec_version,
        place.plain_len,
        &place.edges,
    );
    let mut encoded = vec![0; sealed.len().checked_sub(TAG_LEN).ok_or_else(ended)?];
    repo.keyring().key(Purpose::Frame, epoch)?.open_into(&nonce, &aad, sealed, &mut encoded)?;
    Ok(encoded)
}

/// Opens and decodes a frame's stored bytes. Its blobs are not verified yet.
pub fn open(
    repo: &Repository,
    head: &FrameHead<'_>,
    bases: &[BlobBytes],
    stored: &[u8],
) -> Result<Plain, Malformed> {
    if head.plain_len > MAX_FRAME_PLAIN_BYTES {
        return Err(Malformed::new(format!("states {} bytes of plaintext", head.plain_len)));
    }
    if !head.edges.is_empty() && Encoding::from_byte(head.encoding) != Some(Encoding::Delta) {
        return Err(Malformed::new("names bases that its encoding does not use"));
    }
    if stored.len() < SEAL_OVERHEAD as usize {
        return Err(Malformed::new("is shorter than its seal"));
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
    let mut plain = Plain::with_room(head.plain_len as usize);
    if Encoding::from_byte(head.encoding) == Some(Encoding::Raw) && head.codec_version == codec::CODEC_VERSION
    {
        key.open_into(&nonce, &aad, sealed, plain.bytes_mut())?;
        return Ok(plain);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let encoded = room(&mut scratch.opened, sealed.len() - TAG_LEN);
        key.open_into(&nonce, &aad, sealed, encoded)?;
        decode(head.encoding, head.codec_version, encoded, bases, plain.bytes_mut())
    })?;
    Ok(plain)
}

#[cfg(all(test, feature = "testing"))]
mod tests;
