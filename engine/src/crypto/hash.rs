//! BLAKE3, keyed for blob ids and plain for the names of objects.

use zeroize::Zeroize;

use crate::id::{BlobId, BlobKind};

/// One key for each kind of blob, so that ids of different kinds never collide.
pub struct IdKeys([[u8; 32]; BlobKind::ALL.len()]);

impl std::fmt::Debug for IdKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKeys")
    }
}

impl Drop for IdKeys {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl IdKeys {
    /// From the config's id secret: `derive_key("ballast v1 id <kind number>", secret)`.
    pub fn derive(id_secret: &[u8; 32]) -> Self {
        Self(
            BlobKind::ALL.map(|kind| blake3::derive_key(&format!("ballast v1 id {}", kind as u8), id_secret)),
        )
    }

    /// Id of a blob: BLAKE3 of its plaintext under the key of its kind.
    pub fn id(&self, kind: BlobKind, plain: &[u8]) -> BlobId {
        BlobId(*blake3::keyed_hash(&self.0[kind as usize], plain).as_bytes())
    }
}

/// Name of an object: plain BLAKE3 of its bytes, so that a storage box can scrub without a key.
pub fn object_name(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Equal in constant time.
pub fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*a) == blake3::Hash::from_bytes(*b)
}
