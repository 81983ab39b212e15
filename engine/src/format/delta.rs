//! What stands before the codec's bytes in a delta frame (`docs/format.md`, "Delta"): which
//! stretches of the bytes its edges name are the sources of the difference.
//!
//! ```text
//! sources u8 (1 or 2), each { edges u8, offset u32, length u32 }
//! ```
//! The edges of a frame are taken in order: a source is a stretch of the bytes of so many of them,
//! one after the other. Chunks of a tensor's new version seldom begin where those of the old one do.

use std::borrow::Cow;

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};

/// Most sources of one frame.
pub const MAX_SOURCES: usize = 2;

/// One source, as it stands before a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Edges it takes.
    pub edges: u8,
    /// Where it begins in their bytes.
    pub offset: u32,
    /// Its length.
    pub len: u32,
}

/// Appends the head of a delta.
pub fn encode(sources: &[Source], put: &mut Put) {
    debug_assert!((1..=MAX_SOURCES).contains(&sources.len()));
    put.u8(u8::try_from(sources.len()).expect("because writers bound sources"));
    for source in sources {
        put.u8(source.edges).u32(source.offset).u32(source.len);
    }
}

/// Takes the head of a delta apart: its sources' bytes, out of `bases`, the bytes of the frame's edges
/// in order; and the codec's bytes.
pub fn decode<'b, 'e, B: AsRef<[u8]>>(
    encoded: &'e [u8],
    bases: &'b [B],
) -> Result<(Vec<Cow<'b, [u8]>>, &'e [u8]), Malformed> {
    let mut take = Take(encoded);
    let count = usize::from(take.u8()?);
    if !(1..=MAX_SOURCES).contains(&count) {
        return Err(Malformed::new(format!("is a difference to {count} sources")));
    }
    let mut rest = bases;
    let mut sources = Vec::with_capacity(count);
    for _ in 0..count {
        let (edges, offset, len) = (usize::from(take.u8()?), take.u32()? as usize, take.u32()? as usize);
        if edges == 0 || edges > rest.len() {
            return Err(Malformed::new("names other edges than it has"));
        }
        let (own, others) = rest.split_at(edges);
        rest = others;
        sources.push(stretch(own, offset, len)?);
    }
    if !rest.is_empty() {
        return Err(Malformed::new("has edges that no source takes"));
    }
    Ok((sources, take.0))
}

/// `len` bytes from `offset` of several blobs, one after the other; copied only if they lie in more
/// than one.
pub fn stretch<B: AsRef<[u8]>>(blobs: &[B], offset: usize, len: usize) -> Result<Cow<'_, [u8]>, Malformed> {
    let beyond = || Malformed::new("has a source beyond the bytes of its bases");
    let end = offset.checked_add(len).ok_or_else(beyond)?;
    if let [one] = blobs {
        return one.as_ref().get(offset..end).map(Cow::Borrowed).ok_or_else(beyond);
    }
    let total: usize = blobs.iter().map(|b| b.as_ref().len()).sum();
    if end > total {
        return Err(beyond());
    }
    let (mut out, mut at) = (Vec::with_capacity(len), 0);
    for blob in blobs {
        let blob = blob.as_ref();
        let from = offset.saturating_sub(at).min(blob.len());
        let to = end.saturating_sub(at).min(blob.len());
        out.extend_from_slice(&blob[from..to]);
        at += blob.len();
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(sources: &[Source]) -> Vec<u8> {
        let mut put = Put::with_capacity(32);
        encode(sources, &mut put);
        put.bytes(b"rest");
        put.0
    }

    #[test]
    fn sources_are_stretches_of_what_edges_name() {
        let bases: [&[u8]; 4] = [b"abc", b"", b"defg", b"hij"];
        let two = [Source { edges: 3, offset: 2, len: 4 }, Source { edges: 1, offset: 0, len: 3 }];
        let bytes = head(&two);
        let (sources, rest) = decode(&bytes, &bases).unwrap();
        assert_eq!((&sources[0][..], &sources[1][..], rest), (&b"cdef"[..], &b"hij"[..], &b"rest"[..]));
        let one = head(&[Source { edges: 1, offset: 1, len: 2 }]);
        let (sources, _) = decode(&one, &bases[..1]).unwrap();
        assert!(matches!(sources[0], Cow::Borrowed(b"bc")));
    }

    #[test]
    fn lies_are_errors() {
        let bases: [&[u8]; 2] = [b"abc", b"defg"];
        for (edges, offset, len) in
            [(0, 0, 0), (1, 0, 1), (3, 0, 1), (2, 0, 8), (2, 8, 0), (2, 4, u32::MAX), (2, u32::MAX, u32::MAX)]
        {
            assert!(
                decode(&head(&[Source { edges, offset, len }]), &bases).is_err(),
                "{edges} {offset} {len}"
            );
        }
        assert!(decode(&head(&[Source { edges: 2, offset: 7, len: 0 }]), &bases).is_ok());
        for bytes in [&[][..], &[0], &[3], &[1, 2, 0, 0], &[255; 40]] {
            assert!(decode(bytes, &bases).is_err());
        }
    }
}
