//! One pack: built in memory, closed with trailer and footer, and read back from its end
//! (`docs/format.md`, "Pack").

use crate::crypto::keys::Purpose;
use crate::error::{Error, Malformed, Result};
use crate::format::config::PADDING_PADME;
use crate::format::envelope::{NONCE_LEN, PREFIX_LEN, Prefix, TAG_LEN};
use crate::format::frame::FrameRecord;
use crate::format::index::IndexedPack;
use crate::format::pack::{FOOTER_LEN, Footer, MIN_PACK_LEN, PackKind, Trailer, footer_aad, trailer_aad};
use crate::format::{MAX_PACK_BYTES, padme};
use crate::id::{ObjectKind, ObjectName, PackId, SessionId};
use crate::repo::Repository;
use crate::repo::frames::SealedFrame;

/// Version, kind, flags, session, region length and hash, counts of a trailer's plaintext.
const TRAILER_FIXED_LEN: usize = 4 + 16 + 8 + 32 + 4 + 2;

/// A pack that still takes frames.
pub struct OpenPack {
    kind: PackKind,
    buffer: Vec<u8>,
    frames: Vec<FrameRecord>,
    records_len: usize,
}

/// A pack ready to be stored.
pub struct ClosedPack {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its entry in an index object.
    pub indexed: IndexedPack,
}

impl OpenPack {
    /// Empty, in `buffer` (cleared).
    pub fn new(kind: PackKind, epoch: u16, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&Prefix::new(ObjectKind::Pack, epoch).encode());
        Self { kind, buffer, frames: Vec::new(), records_len: 0 }
    }

    /// Holds no frame?
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Length of its frames' records, which its trailer and an index object will hold.
    pub fn records_len(&self) -> usize {
        self.records_len
    }

    /// Length if it were closed now, without padding.
    pub fn closed_len(&self) -> u64 {
        (self.buffer.len() + self.tail_len(0)) as u64
    }

    /// Length if it took one more frame and were closed then, without padding.
    pub fn closed_len_with(&self, frame: &SealedFrame) -> u64 {
        (self.buffer.len() + frame.bytes.len() + self.tail_len(frame.record.encoded_len())) as u64
    }

    fn tail_len(&self, more_records: usize) -> usize {
        NONCE_LEN + TRAILER_FIXED_LEN + self.records_len + more_records + TAG_LEN + FOOTER_LEN
    }

    /// Takes a frame.
    pub fn push(&mut self, frame: &SealedFrame) -> Result<()> {
        let mut record = frame.record.clone();
        record.offset =
            u32::try_from(self.buffer.len()).map_err(|_| Error::Internal("a pack over 4 GiB".into()))?;
        self.records_len += record.encoded_len();
        self.buffer.extend_from_slice(&frame.bytes);
        self.frames.push(record);
        Ok(())
    }

    /// Takes all frames of another: nothing in a frame knows its pack.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        for record in &other.frames {
            let (start, end) = (record.offset as usize, (record.offset + record.stored_len) as usize);
            let mut record = record.clone();
            record.offset =
                u32::try_from(self.buffer.len()).map_err(|_| Error::Internal("a pack over 4 GiB".into()))?;
            self.buffer.extend_from_slice(&other.buffer[start..end]);
            self.records_len += record.encoded_len();
            self.frames.push(record);
        }
        Ok(())
    }

    /// Seals trailer and footer. The padding goes inside the trailer.
    pub fn close(self, repo: &Repository, session: SessionId) -> Result<ClosedPack> {
        let padded = if repo.config().padding == PADDING_PADME {
            padme::padded_len(self.closed_len())
        } else {
            self.closed_len()
        };
        let padding = usize::try_from(padded - self.closed_len()).unwrap_or(0);
        let Self { kind, mut buffer, frames, .. } = self;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&buffer);
        let trailer = Trailer {
            session,
            pack_kind: kind as u8,
            flags: 0,
            region_len: buffer.len() as u64,
            region_hash: *hasher.finalize().as_bytes(),
            frames,
            extensions: Vec::new(),
        };
        let trailer_offset = buffer.len();
        let mut plain = trailer.encode();
        plain.zeros(padding);
        let (keyring, repo_id) = (repo.keyring(), &repo.config().repo_id);
        let prefix = Prefix::new(ObjectKind::Pack, keyring.current_epoch());
        let key = keyring.current(Purpose::Trailer);
        let mut seal = |aad: Vec<u8>, plain: &[u8]| -> Result<()> {
            let nonce: [u8; NONCE_LEN] = repo.surroundings().random()?;
            buffer.extend_from_slice(&nonce);
            let at = buffer.len();
            buffer.resize(at + plain.len() + TAG_LEN, 0);
            key.seal_into(&nonce, &aad, plain, &mut buffer[at..]);
            Ok(())
        };
        seal(trailer_aad(repo_id, prefix.suite, prefix.epoch), &plain.0)?;
        let footer = Footer {
            trailer_offset: trailer_offset as u64,
            trailer_len: (NONCE_LEN + plain.0.len() + TAG_LEN) as u64,
        };
        seal(footer_aad(repo_id, prefix.suite, prefix.epoch), &footer.encode())?;
        hasher.update(&buffer[trailer_offset..]);
        let id = PackId(*hasher.finalize().as_bytes());
        debug_assert_eq!(buffer.len() as u64, padded);
        let indexed = IndexedPack {
            id,
            size: buffer.len() as u64,
            pack_kind: trailer.pack_kind,
            flags: 0,
            epoch: prefix.epoch,
            frames: trailer.frames,
        };
        Ok(ClosedPack { bytes: buffer, indexed })
    }
}

/// Reads the trailer of a stored pack: all that is needed to list it in an index object.
pub fn read_trailer(repo: &Repository, id: PackId) -> Result<(SessionId, IndexedPack)> {
    let name: ObjectName = id.into();
    let size = repo.store().stat(&name)?.size_bytes;
    let tail = read_tail(repo, id, size, |offset, len| Ok(repo.store().get_range(&name, offset, len)?))?;
    Ok((tail.session, tail.indexed))
}

/// What a pack says of itself at its end.
pub struct Tail {
    /// Who wrote it.
    pub session: SessionId,
    /// Its entry in an index object.
    pub indexed: IndexedPack,
    /// Length of the frame region: up to the trailer.
    pub region_len: u64,
    /// BLAKE3 of the frame region.
    pub region_hash: [u8; 32],
}

/// Opens footer and trailer of a pack of `size` bytes, of which `read` gives stretches.
pub fn read_tail<B: AsRef<[u8]>>(
    repo: &Repository,
    id: PackId,
    size: u64,
    read: impl Fn(u64, usize) -> Result<B>,
) -> Result<Tail> {
    let name: ObjectName = id.into();
    if !(MIN_PACK_LEN..=MAX_PACK_BYTES).contains(&size) {
        return Err(Error::corrupt(name, format!("is {size} bytes long")));
    }
    let prefix = read(0, PREFIX_LEN)?;
    let prefix = Prefix::decode(prefix.as_ref(), ObjectKind::Pack).map_err(|e| e.of(&name))?;
    let open = |aad: Vec<u8>, sealed: &[u8]| -> Result<Vec<u8>, Malformed> {
        let (nonce, sealed) =
            sealed.split_at_checked(NONCE_LEN).ok_or_else(|| Malformed::new("ends early"))?;
        let nonce = nonce.try_into().map_err(|_| Malformed::new("ends early"))?;
        repo.keyring().key(Purpose::Trailer, prefix.epoch)?.open(&nonce, &aad, sealed)
    };
    let repo_id = &repo.config().repo_id;
    let footer = read(size - FOOTER_LEN as u64, FOOTER_LEN)?;
    let footer = open(footer_aad(repo_id, prefix.suite, prefix.epoch), footer.as_ref())
        .and_then(|plain| Footer::decode(&plain, size))
        .map_err(|e| e.of(&name))?;
    let len = usize::try_from(footer.trailer_len).map_err(|_| Error::corrupt(&name, "has a huge trailer"))?;
    let trailer = read(footer.trailer_offset, len)?;
    let trailer = open(trailer_aad(repo_id, prefix.suite, prefix.epoch), trailer.as_ref())
        .and_then(|plain| Trailer::decode(&plain))
        .map_err(|e| e.of(&name))?;
    if trailer.region_len != footer.trailer_offset {
        return Err(Error::corrupt(name, "its trailer does not stand at the end of its frames"));
    }
    let indexed = IndexedPack {
        id,
        size,
        pack_kind: trailer.pack_kind,
        flags: trailer.flags,
        epoch: prefix.epoch,
        frames: trailer.frames,
    };
    let (region_len, region_hash) = (trailer.region_len, trailer.region_hash);
    Ok(Tail { session: trailer.session, indexed, region_len, region_hash })
}
