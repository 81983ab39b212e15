//! XChaCha20-Poly1305: one key, a nonce of 192 random bits for every message.
//!
//! The crate makes every tag. Tags of long messages are checked by [`super::poly1305`] where the processor can, three times as
//! fast: a frame is opened once as it is written and again whenever it is read. A message that it refuses is given to the crate, whose word counts; what one of
//! both made and the other accepts is the same message to both.

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::poly1305::{self, Poly1305};
use crate::error::Malformed;
use crate::format::envelope::{NONCE_LEN, TAG_LEN};

/// Messages from here on are worth the eight powers of a key.
const LONG: usize = 2 << 10;
/// What ChaCha20 makes of a key before the message: the key of its tag, and as much again.
const FIRST_BLOCK_LEN: usize = 64;

/// A key for sealing. Dropping it wipes it.
pub struct SealKey {
    aead: XChaCha20Poly1305,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// From 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { aead: XChaCha20Poly1305::new(key.into()), key: Zeroizing::new(*key) }
    }

    /// Seals `plain` into `out`, which must be exactly [`TAG_LEN`] longer.
    pub fn seal_into(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8], out: &mut [u8]) {
        let (body, tag) = out.split_at_mut(plain.len());
        let buffer = InOutBuf::new(plain, body).expect("because both are as long as the plaintext");
        let made = self
            .aead
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
        if body.len() >= LONG && poly1305::is_wide() {
            let mut cipher = XChaCha20::new((&*self.key).into(), nonce.into());
            if same(&expected(&mut cipher, aad, body), tag) {
                return cipher.try_apply_keystream_inout(buffer).map_err(|_| forged());
            }
        }
        self.aead.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).map_err(|_| forged())
    }

    /// Plaintext of `sealed`.
    pub fn open(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = vec![0; sealed.len().saturating_sub(TAG_LEN)];
        self.open_into(nonce, aad, sealed, &mut out)?;
        Ok(out)
    }
}

/// The tag that RFC 8439 §2.8 asks of a sealed message. Leaves `cipher` where the message begins.
fn expected(cipher: &mut XChaCha20, aad: &[u8], sealed: &[u8]) -> [u8; TAG_LEN] {
    let mut first = Zeroizing::new([0; FIRST_BLOCK_LEN]);
    cipher.apply_keystream(&mut *first);
    let key = Zeroizing::new(std::array::from_fn(|i| first[i]));
    let mut mac = Poly1305::new(&key);
    mac.update_padded(aad);
    mac.update_padded(sealed);
    let lens = [aad.len() as u64, sealed.len() as u64].map(u64::to_le_bytes);
    mac.update_padded(lens.as_flattened());
    mac.finish()
}

/// In time that does not depend on where they differ.
fn same(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    std::hint::black_box(u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)) == 0
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

    /// What the crate sealed is opened, and nothing else, at lengths where tags are checked by other means.
    #[test]
    fn every_bit_of_a_long_message_counts() {
        let (key, nonce) = (SealKey::new(&[7; 32]), [1; 24]);
        for len in [LONG - 1, LONG, LONG + 1, LONG + 77, LONG + 128, 100_000] {
            let plain: Vec<u8> = (0..len).map(|i| ((i * i) >> 3) as u8).collect();
            let sealed = key.seal(&nonce, b"aad", &plain);
            assert_eq!(key.open(&nonce, b"aad", &sealed).unwrap(), plain);
            // Else every message would be left to the crate, and nobody would see it but a clock.
            let mut cipher = XChaCha20::new((&*key.key).into(), (&nonce).into());
            assert!(expected(&mut cipher, b"aad", &sealed[..len]) == sealed[len..], "the tag the crate made");
            let places = [0, 1, 15, 16, 127, 128, len / 2, len - 1, len, len + 7, len + TAG_LEN - 1];
            for (at, bit) in places.into_iter().flat_map(|at| [(at, 1), (at, 0x80)]) {
                let mut bad = sealed.clone();
                bad[at] ^= bit;
                assert!(key.open(&nonce, b"aad", &bad).is_err(), "bit {bit:x} at {at} of {len}");
            }
            assert!(key.open(&nonce, b"aae", &sealed).is_err());
            assert!(key.open(&nonce, b"aad\0", &sealed).is_err());
            assert!(key.open(&[2; 24], b"aad", &sealed).is_err());
            assert!(SealKey::new(&[8; 32]).open(&nonce, b"aad", &sealed).is_err());
            assert!(key.open(&nonce, b"aad", &sealed[..len + TAG_LEN - 1]).is_err());
            assert!(key.open_into(&nonce, b"aad", &sealed, &mut vec![0; len + 1]).is_err());
        }
    }
}
