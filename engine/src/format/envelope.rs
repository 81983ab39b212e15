//! The header of every sealed object (`docs/format.md`, "Envelope").
//!
//! ```text
//!  0  7  magic "ballast"
//!  7  1  format version, 1
//!  8  1  object kind
//!  9  1  suite: 1 = XChaCha20-Poly1305 with BLAKE3
//! 10  2  key epoch
//! 12 24  nonce
//! 36  n  ciphertext
//!    16  tag
//! ```
//! A pack begins with the first twelve bytes only; its frames, trailer and
//! footer are sealed one by one.

use crate::error::Malformed;
use crate::format::FORMAT_VERSION;
use crate::format::bytes::{Put, Take};
use crate::id::{ObjectKind, RepoId};

/// First bytes of every object.
pub const MAGIC: &[u8; 7] = b"ballast";
/// XChaCha20-Poly1305 with BLAKE3.
pub const SUITE_XCHACHA_BLAKE3: u8 = 1;
/// Magic, version, kind, suite, epoch.
pub const PREFIX_LEN: usize = 12;
/// Nonce of the suite.
pub const NONCE_LEN: usize = 24;
/// Tag of the suite.
pub const TAG_LEN: usize = 16;
/// Prefix and nonce.
pub const HEADER_LEN: usize = PREFIX_LEN + NONCE_LEN;
/// What an envelope adds to a plaintext.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// What the first twelve bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Kind of object.
    pub kind: ObjectKind,
    /// Cipher suite.
    pub suite: u8,
    /// Which master secret.
    pub epoch: u16,
}

impl Prefix {
    /// For an object of `kind` under `epoch`, with the only suite there is.
    pub fn new(kind: ObjectKind, epoch: u16) -> Self {
        Self { kind, suite: SUITE_XCHACHA_BLAKE3, epoch }
    }

    /// Its twelve bytes.
    pub fn encode(&self) -> [u8; PREFIX_LEN] {
        let mut out = [0; PREFIX_LEN];
        out[..7].copy_from_slice(MAGIC);
        out[7] = FORMAT_VERSION;
        out[8] = self.kind as u8;
        out[9] = self.suite;
        out[10..].copy_from_slice(&self.epoch.to_le_bytes());
        out
    }

    /// Reads and checks twelve bytes that must begin an object of `kind`.
    pub fn decode(bytes: &[u8], kind: ObjectKind) -> Result<Self, Malformed> {
        let mut take = Take(bytes);
        if take.bytes(MAGIC.len())? != MAGIC {
            return Err(Malformed::new("does not begin as a Ballast object"));
        }
        let version = take.u8()?;
        if version != FORMAT_VERSION {
            return Err(Malformed::new(format!("has format {version}, this program knows {FORMAT_VERSION}")));
        }
        let found = take.u8()?;
        if found != kind as u8 {
            return Err(Malformed::new(format!("is marked as kind {found}, not as {}", kind.word())));
        }
        let suite = take.u8()?;
        if suite != SUITE_XCHACHA_BLAKE3 {
            return Err(Malformed::new(format!(
                "uses cipher suite {suite}, which this program does not know"
            )));
        }
        Ok(Self { kind, suite, epoch: take.u16()? })
    }
}

/// An envelope taken apart.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// First twelve bytes.
    pub prefix: Prefix,
    /// Nonce.
    pub nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    pub sealed: &'a [u8],
    /// Prefix and nonce as they stand: part of the associated data.
    pub header: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an object of `kind` apart.
    pub fn decode(bytes: &'a [u8], kind: ObjectKind) -> Result<Self, Malformed> {
        let prefix = Prefix::decode(bytes, kind)?;
        if bytes.len() < OVERHEAD {
            return Err(Malformed::new("is shorter than an empty envelope"));
        }
        let (header, sealed) = bytes.split_at(HEADER_LEN);
        let nonce = Take(&header[PREFIX_LEN..]).array()?;
        Ok(Self { prefix, nonce, sealed, header })
    }
}

/// Prefix and nonce in one.
pub fn header(prefix: &Prefix, nonce: &[u8; NONCE_LEN]) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[..PREFIX_LEN].copy_from_slice(&prefix.encode());
    out[PREFIX_LEN..].copy_from_slice(nonce);
    out
}

/// Associated data of an object named by its bytes (index, snapshot): repository ‖ header.
pub fn aad(repo: &RepoId, header: &[u8]) -> Vec<u8> {
    let mut put = Put::with_capacity(RepoId::LEN + header.len());
    put.bytes(repo.as_bytes()).bytes(header);
    put.0
}

/// Associated data of an object whose name is chosen (config, ledger, lease): the same ‖ name.
pub fn aad_named(repo: &RepoId, header: &[u8], name: &str) -> Vec<u8> {
    let mut out = aad(repo, header);
    out.extend_from_slice(name.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_refuses_what_it_does_not_know() {
        let good = Prefix::new(ObjectKind::Index, 7).encode();
        assert_eq!(Prefix::decode(&good, ObjectKind::Index).unwrap().epoch, 7);
        for at in 0..10 {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert!(Prefix::decode(&bad, ObjectKind::Index).is_err(), "byte {at}");
        }
        assert!(Prefix::decode(&good, ObjectKind::Snapshot).is_err());
        assert!(Prefix::decode(&good[..11], ObjectKind::Index).is_err());
        assert!(Envelope::decode(&[&good[..], &[0; 39]].concat(), ObjectKind::Index).is_err());
        assert!(Envelope::decode(&[&good[..], &[0; 40]].concat(), ObjectKind::Index).is_ok());
    }
}
