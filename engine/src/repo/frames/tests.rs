use super::*;
use crate::crypto::kdf;
use crate::entropy::Surroundings;
use crate::id::{BlobId, BlobKind};
use crate::repo::{InitOptions, OpenOptions};
use crate::store::memory::MemoryStore;
use std::sync::Arc;

/// What a fault of memory, coder or processor may do between the first copy and the upload.
#[test]
fn a_fault_is_found_before_upload() {
    let init = InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() };
    let (store, open) = (Arc::new(MemoryStore::new()), OpenOptions::default());
    let repo = Repository::init(store, b"p", &init, &open, Surroundings::system()).unwrap();
    let text = "words that compress ".repeat(5000).into_bytes();
    let noise: Vec<u8> = (0u32..4000).flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).collect();
    for (plain, encoding) in [(text, Encoding::Zstd), (noise, Encoding::Raw)] {
        let len = u32::try_from(plain.len()).unwrap();
        let blob = FrameBlob { kind: BlobKind::Chunk as u8, len, id: BlobId([1; 32]) };
        let mut frame = make(&repo, &plain, vec![blob], codec::Hint::NONE, Vec::new()).unwrap();
        assert_eq!(frame.record.encoding, encoding as u8);
        let mut scratch = Scratch::default();
        assert_eq!(prove(&repo, &frame, &plain, &Beneath::NOTHING, &mut scratch), Ok(()));
        for at in [0, NONCE_LEN, frame.bytes.len() / 2, frame.bytes.len() - 1] {
            frame.bytes[at] ^= 0x40;
            assert!(
                prove(&repo, &frame, &plain, &Beneath::NOTHING, &mut scratch).is_err(),
                "a bit of the sealed bytes, {at}"
            );
            frame.bytes[at] ^= 0x40;
        }
        // The private copy is the witness: sealed and decoded alike, but not what was hashed.
        let mut other = plain.clone();
        other[len as usize / 2] ^= 1;
        let other = make(&repo, &other, frame.record.blobs.clone(), codec::Hint::NONE, Vec::new()).unwrap();
        let error = prove(&repo, &other, &plain, &Beneath::NOTHING, &mut scratch).unwrap_err();
        assert_eq!(error.0, "decodes to something else");
        // Its record would take all others of its pack with it.
        for wrong in [&plain[..plain.len() - 1], &[]] {
            let made = make(&repo, wrong, frame.record.blobs.clone(), codec::Hint::NONE, Vec::new());
            assert!(matches!(made, Err(Error::Internal(_))), "{} bytes", wrong.len());
        }
        let record = FrameRecord { codec_version: 9, ..frame.record.clone() };
        assert!(
            prove(&repo, &SealedFrame { record, ..frame }, &plain, &Beneath::NOTHING, &mut scratch).is_err()
        );
    }
}
