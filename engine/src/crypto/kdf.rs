//! Argon2id: from a password to a wrapping key and a commitment.
//!
//! The parameters stand in the key file. A key is never made below
//! [`MIN_MEMORY_KIB`], so that a stolen key file costs an attacker real memory; it is
//! never read above [`MAX_MEMORY_KIB`] and [`MAX_PASSES`], so that a forged one
//! cannot exhaust the machine. The second half of the output is stored and compared: a
//! sealed body alone would not commit to its key (partitioning oracles; Len et al.,
//! USENIX Security 2021).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::error::{Error, Malformed, Result};
use crate::format::keyfile::KdfParams;

/// Least memory for a new key.
pub const MIN_MEMORY_KIB: u32 = 64 << 10;
/// Most memory that a key file may ask for.
pub const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes that a key file may ask for.
pub const MAX_PASSES: u32 = 16;
/// Most lanes that a key file may ask for.
pub const MAX_LANES: u32 = 16;

/// For new keys: 64 MiB, three passes.
pub const DEFAULT: KdfParams = KdfParams { memory_kib: MIN_MEMORY_KIB, passes: 3, lanes: 1 };

/// Not a defence at all: for tests only.
#[cfg(feature = "testing")]
pub const CHEAP: KdfParams = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };

/// What a password leads to.
pub struct Derived {
    /// Seals the body of the key file.
    pub wrapping: [u8; 32],
    /// Stored in the clear.
    pub commitment: [u8; 32],
}

impl Drop for Derived {
    fn drop(&mut self) {
        self.wrapping.zeroize();
    }
}

/// May a key be made with these?
pub fn check_for_writing(params: &KdfParams) -> Result<()> {
    #[cfg(feature = "testing")]
    if *params == CHEAP {
        return Ok(());
    }
    if params.memory_kib < MIN_MEMORY_KIB {
        return Err(Error::Usage(format!(
            "key derivation with {} KiB is too weak: at least {MIN_MEMORY_KIB} KiB",
            params.memory_kib
        )));
    }
    check_for_reading(params).map_err(|e| Error::Usage(e.0))
}

/// May a key file ask for these?
pub fn check_for_reading(params: &KdfParams) -> Result<(), Malformed> {
    if params.memory_kib > MAX_MEMORY_KIB || params.passes > MAX_PASSES || params.lanes > MAX_LANES {
        return Err(Malformed::new(format!(
            "asks for {} KiB, {} passes and {} lanes of key derivation, over the limit",
            params.memory_kib, params.passes, params.lanes
        )));
    }
    Params::new(params.memory_kib, params.passes, params.lanes, Some(64))
        .map(drop)
        .map_err(|e| Malformed::new(format!("has impossible key derivation parameters: {e}")))
}

/// 64 bytes of Argon2id, version 0x13: wrapping key ‖ commitment.
pub fn derive(password: &[u8], salt: &[u8; 32], params: &KdfParams) -> Result<Derived> {
    check_for_reading(params).map_err(|e| e.of("key file"))?;
    let argon = Params::new(params.memory_kib, params.passes, params.lanes, Some(64))
        .map_err(|e| Error::Internal(format!("key derivation: {e}")))?;
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(argon.block_count())
        .map_err(|_| Error::Internal(format!("no {} KiB of memory for key derivation", params.memory_kib)))?;
    memory.resize(argon.block_count(), Block::default());
    let mut out = [0; 64];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, argon)
        .hash_password_into_with_memory(password, salt, &mut out, &mut memory)
        .map_err(|e| Error::Internal(format!("key derivation: {e}")))?;
    let mut derived = Derived { wrapping: [0; 32], commitment: [0; 32] };
    derived.wrapping.copy_from_slice(&out[..32]);
    derived.commitment.copy_from_slice(&out[32..]);
    out.zeroize();
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_both_ways() {
        assert!(check_for_writing(&DEFAULT).is_ok());
        assert!(check_for_writing(&KdfParams { memory_kib: 1024, ..DEFAULT }).is_err());
        assert!(check_for_reading(&KdfParams { memory_kib: u32::MAX, ..DEFAULT }).is_err());
        assert!(check_for_reading(&KdfParams { passes: 1 << 20, ..DEFAULT }).is_err());
        assert!(check_for_reading(&KdfParams { lanes: 0, ..DEFAULT }).is_err());
        assert!(check_for_reading(&KdfParams { memory_kib: 0, ..DEFAULT }).is_err());
    }

    #[test]
    fn password_and_salt_count() {
        let cheap = KdfParams { memory_kib: 8, passes: 1, lanes: 1 };
        let a = derive(b"one", &[1; 32], &cheap).unwrap();
        let b = derive(b"two", &[1; 32], &cheap).unwrap();
        let c = derive(b"one", &[2; 32], &cheap).unwrap();
        assert!(a.wrapping != b.wrapping && a.commitment != b.commitment);
        assert!(a.wrapping != c.wrapping && a.wrapping != a.commitment);
    }
}
