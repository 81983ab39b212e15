//! XChaCha20-Poly1305: one key, a nonce of 192 random bits for every message.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use crate::error::Malformed;
use crate::format::envelope::{NONCE_LEN, TAG_LEN};

/// A key for sealing. Dropping it wipes it.
pub struct SealKey(XChaCha20Poly1305);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// From 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Seals `plain` into `out`, which must be exactly [`TAG_LEN`] longer.
    pub fn seal_into(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8], out: &mut [u8]) {
        let (body, tag) = out.split_at_mut(plain.len());
        let buffer = InOutBuf::new(plain, body).expect("because both are as long as the plaintext");
        let made = self
            .0
            .encrypt_inout_detached(nonce.into(), aad, buffer)
            .expect("because messages are far below 256 GiB");
        tag.copy_from_slice(&made);
    }

    /// Ciphertext and tag.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; plain.len() + TAG_LEN];
        self.seal_into(nonce, aad, plain, &mut out);
        out
    }

    /// Opens `sealed` (ciphertext and tag) into `out`, which must be exactly [`TAG_LEN`] shorter.
    pub fn open_into(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), Malformed> {
        let forged = || Malformed::new("does not match its seal (damaged, forged, or of another repository)");
        let (body, tag) = sealed
            .len()
            .checked_sub(TAG_LEN)
            .and_then(|at| sealed.split_at_checked(at))
            .ok_or_else(|| Malformed::new("is shorter than its seal"))?;
        let tag: &[u8; TAG_LEN] = tag.try_into().map_err(|_| forged())?;
        let buffer =
            InOutBuf::new(body, out).map_err(|_| Malformed::new("has another length than stated"))?;
        self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).map_err(|_| forged())
    }

    /// Plaintext of `sealed`.
    pub fn open(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = vec![0; sealed.len().saturating_sub(TAG_LEN)];
        self.open_into(nonce, aad, sealed, &mut out)?;
        Ok(out)
    }
}

/// Which wide back-ends are compiled in, for `ballast version`.
pub fn backends() -> Vec<(&'static str, bool)> {
    vec![("chacha20 avx512 (chosen at run time)", cfg!(chacha20_avx512))]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn vector_of_the_draft() {
        let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
        let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let sealed = SealKey::new(&key).seal(&nonce, &aad, text);
        assert_eq!(crate::id::to_hex(&sealed[..16]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(crate::id::to_hex(&sealed[text.len()..]), "c0875924c1c7987947deafd8780acf49");
        assert_eq!(SealKey::new(&key).open(&nonce, &aad, &sealed).unwrap(), text);
    }

    #[test]
    fn every_bit_counts() {
        let key = SealKey::new(&[7; 32]);
        let sealed = key.seal(&[1; 24], b"aad", b"plain");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open(&[1; 24], b"aad", &bad).is_err());
        }
        assert!(key.open(&[1; 24], b"aae", &sealed).is_err());
        assert!(key.open(&[2; 24], b"aad", &sealed).is_err());
        assert!(key.open(&[1; 24], b"aad", &sealed[..10]).is_err());
    }
}
