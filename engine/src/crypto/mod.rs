//! Sealing, key derivation and keyed hashing (design §6, `docs/format.md`,
//! "Keys"). Thin over reviewed crates: no construction of our own beyond what the
//! format page states, and no primitive but one that checks what a crate made
//! (`poly1305`, `docs/decisions/0025-tags.md`).

pub mod aead;
pub mod hash;
pub mod kdf;
pub mod keys;
mod poly1305;
