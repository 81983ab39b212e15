//! Key files (`docs/format.md`, "Key file"): 1536 bytes, always.
//!
//! ```text
//!    0   12  prefix (kind 2; epoch 0)
//!   12    2  key file version, 1
//!   14    1  KDF: 1 = Argon2id, version 0x13
//!   15    1  0
//!   16    4  KDF memory, KiB
//!   20    4  KDF passes
//!   24    4  KDF lanes
//!   28    4  0
//!   32   32  salt
//!   64   32  repository id
//!   96   32  commitment: second half of the KDF's output
//!  128  280  label: nonce 24, ciphertext 240, tag 16; under the repository's label key
//!  408 1128  body: nonce 24, ciphertext 1088, tag 16; under the first half of the KDF's output
//! ```
//! Associated data of the label is bytes 0–127, of the body bytes 0–407: so the
//! parameters, the salt, the commitment and the label are bound to the body.
//! Both plaintexts are `length u16`, a record, zeros.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};
use crate::format::envelope::{NONCE_LEN, PREFIX_LEN, Prefix, TAG_LEN};
use crate::format::wire::{self, Bytes, Extension, Record, Stamp, Text, seq};
use crate::id::{ObjectKind, RepoId};

/// Length of a key file.
pub const KEYFILE_LEN: usize = 1536;
/// Header in the clear.
pub const CLEAR_LEN: usize = 128;
/// Plaintext of the label section.
pub const LABEL_PLAIN_LEN: usize = 240;
/// Label section.
pub const LABEL_LEN: usize = NONCE_LEN + LABEL_PLAIN_LEN + TAG_LEN;
/// Plaintext of the body.
pub const BODY_PLAIN_LEN: usize = KEYFILE_LEN - CLEAR_LEN - LABEL_LEN - NONCE_LEN - TAG_LEN;
/// Argon2id, version 0x13.
pub const KDF_ARGON2ID: u8 = 1;
/// All rights. Others are reserved.
pub const RIGHTS_FULL: u8 = 0;
/// Most epochs in one key file.
pub const MAX_EPOCHS: usize = 4;
const VERSION: u16 = 1;

/// Cost of the key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// The clear part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// Cost.
    pub kdf: KdfParams,
    /// Salt.
    pub salt: [u8; 32],
    /// Repository.
    pub repo_id: RepoId,
    /// What the password must lead to.
    pub commitment: [u8; 32],
}

impl Clear {
    /// Its 128 bytes.
    pub fn encode(&self) -> [u8; CLEAR_LEN] {
        let mut put = Put::with_capacity(CLEAR_LEN);
        put.bytes(&Prefix::new(ObjectKind::Key, 0).encode()).u16(VERSION).u8(KDF_ARGON2ID).u8(0);
        put.u32(self.kdf.memory_kib).u32(self.kdf.passes).u32(self.kdf.lanes).u32(0);
        put.bytes(&self.salt).bytes(self.repo_id.as_bytes()).bytes(&self.commitment);
        let mut out = [0; CLEAR_LEN];
        out.copy_from_slice(&put.0);
        out
    }

    /// Reads the clear part of a whole key file.
    pub fn decode(file: &[u8]) -> Result<Self, Malformed> {
        if file.len() != KEYFILE_LEN {
            return Err(Malformed::new(format!("is {} bytes long, not {KEYFILE_LEN}", file.len())));
        }
        Prefix::decode(file, ObjectKind::Key)?;
        let mut take = Take(&file[PREFIX_LEN..CLEAR_LEN]);
        let (version, kdf) = (take.u16()?, take.u8()?);
        if version != VERSION {
            return Err(Malformed::new(format!("has key file version {version}")));
        }
        if kdf != KDF_ARGON2ID {
            return Err(Malformed::new(format!(
                "uses key derivation {kdf}, which this program does not know"
            )));
        }
        take.u8()?;
        let kdf = KdfParams { memory_kib: take.u32()?, passes: take.u32()?, lanes: take.u32()? };
        take.u32()?;
        Ok(Self { kdf, salt: take.array()?, repo_id: RepoId(take.array()?), commitment: take.array()? })
    }
}

/// What a person needs to tell keys apart. Sealed under the repository's own label
/// key: whoever can open the repository can list its keys, nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelV1 {
    /// Free text, at most 120 bytes.
    pub label: Text,
    /// When it was made.
    pub created: Stamp,
    /// Where, at most 64 bytes.
    pub host: Text,
}

impl Record for LabelV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = LABEL_PLAIN_LEN - 2;
    const WHAT: &'static str = "key label";
}

/// What the password protects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyV1 {
    /// [`RIGHTS_FULL`].
    pub rights: u8,
    /// Epoch and master secret, newest last, at most four.
    #[serde(deserialize_with = "seq")]
    pub secrets: Vec<(u16, [u8; 32])>,
    /// The config record, whole.
    pub config: Bytes,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for BodyV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = BODY_PLAIN_LEN - 2;
    const WHAT: &'static str = "key file body";
}

impl std::fmt::Debug for BodyV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyV1")
    }
}

impl Drop for BodyV1 {
    fn drop(&mut self) {
        self.secrets.iter_mut().for_each(|(_, secret)| secret.zeroize());
        self.config.0.zeroize();
    }
}

/// A record in a field of fixed length.
pub fn pad_record<R: Record>(record: &R, len: usize) -> Result<Vec<u8>, Malformed> {
    let mut bytes = wire::encode(record);
    if bytes.len() + 2 > len {
        bytes.zeroize();
        return Err(Malformed::new(format!("{} of {} bytes does not fit", R::WHAT, bytes.len())));
    }
    let mut put = Put::with_capacity(len);
    put.u16(u16::try_from(bytes.len()).expect("because the field is smaller than that")).bytes(&bytes);
    let rest = len - put.0.len();
    put.zeros(rest);
    bytes.zeroize();
    Ok(put.0)
}

/// Reverse of [`pad_record`].
pub fn unpad_record<R: Record>(field: &[u8]) -> Result<R, Malformed> {
    let mut take = Take(field);
    let len = usize::from(take.u16()?);
    let record = wire::decode(take.bytes(len)?)?;
    take.zeros()?;
    Ok(record)
}
