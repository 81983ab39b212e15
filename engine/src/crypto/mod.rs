//! Sealing, key derivation and keyed hashing (design §6, `docs/format.md`,
//! "Keys"). Thin over reviewed crates: no construction of our own beyond what the
//! format page states.

pub mod aead;
pub mod hash;
pub mod kdf;
pub mod keys;
