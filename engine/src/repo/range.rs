//! What chunks a range of a file is made of, and where two ranges need not be read to know that they are equal.

use crate::format::content::Entry;
use crate::repo::trees::Piece;

/// A part of a range that lies in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'p> {
    /// Where it begins in the range.
    pub at: u64,
    /// Its length, never 0.
    pub len: u64,
    /// What it is a part of.
    pub entry: &'p Entry,
    /// How much of that lies before it.
    pub skip: u64,
}

/// The parts of `len` bytes of a file from `offset` on. `pieces` are all of the file, in order; where they end
/// before the range does, the parts end with them.
pub fn spans(pieces: &[Piece], offset: u64, len: u64) -> impl Iterator<Item = Span<'_>> {
    let first = pieces.partition_point(|piece| piece.offset + piece.entry.content_len() <= offset);
    let end = offset.saturating_add(len);
    pieces[first..].iter().take_while(move |piece| piece.offset < end).map(move |piece| {
        let start = piece.offset.max(offset);
        let stop = (piece.offset + piece.entry.content_len()).min(end);
        Span { at: start - offset, len: stop - start, entry: &piece.entry, skip: start - piece.offset }
    })
}

/// Where two ranges of `len` bytes may differ: stretches in order, that do not touch. All others hold the same part
/// of the same chunk, or nothing but a hole on both sides.
pub fn differing<'p>(
    old: impl Iterator<Item = Span<'p>>,
    new: impl Iterator<Item = Span<'p>>,
    len: u64,
) -> Vec<(u64, u64)> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < len {
        let end = |span: Option<&Span<'_>>| span.map_or(len, |span| span.at + span.len);
        let next = end(old.peek()).min(end(new.peek())).max(at + 1);
        let same = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => match (a.entry, b.entry) {
                (Entry::Chunk { id: x, .. }, Entry::Chunk { id: y, .. }) => {
                    x == y && a.skip + (at - a.at) == b.skip + (at - b.at)
                }
                (Entry::Hole { .. }, Entry::Hole { .. }) => true,
                _ => false,
            },
            _ => false,
        };
        if !same {
            match found.last_mut() {
                Some((start, run)) if *start + *run == at => *run = next - *start,
                _ => found.push((at, next - at)),
            }
        }
        at = next;
        old.next_if(|span| span.at + span.len <= at);
        new.next_if(|span| span.at + span.len <= at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobId;

    fn file(parts: &[(u8, u64)]) -> Vec<Piece> {
        let mut offset = 0;
        let piece = |(n, len): &(u8, u64)| {
            let entry = match n {
                0 => Entry::Hole { len: *len },
                n => Entry::Chunk { id: BlobId([*n; 32]), len: *len as u32 },
            };
            offset += len;
            Piece { offset: offset - len, entry }
        };
        parts.iter().map(piece).collect()
    }

    /// Which chunk each byte is of, and which of its bytes.
    fn bytes(pieces: &[Piece], offset: u64, len: u64) -> Vec<Option<(BlobId, u64)>> {
        let each = pieces.iter().flat_map(|p| {
            (0..p.entry.content_len()).map(|at| match p.entry {
                Entry::Chunk { id, .. } => Some((id, at)),
                _ => None,
            })
        });
        each.skip(offset as usize).take(len as usize).collect()
    }

    #[test]
    fn what_differs_is_what_differs_byte_by_byte() {
        let files = [
            file(&[(1, 10), (2, 7), (3, 5), (0, 6), (4, 12)]),
            file(&[(1, 10), (5, 7), (3, 5), (0, 6), (4, 12)]),
            file(&[(3, 5), (1, 10), (0, 3), (0, 9), (2, 7), (4, 12)]),
            file(&[(4, 12), (4, 12), (4, 12), (4, 4)]),
        ];
        let mut seen = [false; 2];
        for a in &files {
            for b in &files {
                for (from, to) in [(0, 0), (3, 3), (0, 5), (10, 0), (7, 12), (28, 1)] {
                    for len in [1, 2, 9, 20] {
                        if from + len > 40 || to + len > 40 {
                            continue;
                        }
                        let found = differing(spans(a, from, len), spans(b, to, len), len);
                        let (x, y) = (bytes(a, from, len), bytes(b, to, len));
                        let equal = |at: u64| x.get(at as usize) == y.get(at as usize);
                        let inside =
                            |at: u64| found.iter().any(|(start, run)| (*start..start + run).contains(&at));
                        for at in 0..len.min(x.len() as u64).min(y.len() as u64) {
                            assert_eq!(inside(at), !equal(at), "{from} {to} {len}: {at} in {found:?}");
                            seen[usize::from(inside(at))] = true;
                        }
                        assert!(found.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0), "{found:?}");
                    }
                }
            }
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn what_is_not_there_differs() {
        let (short, long) = (file(&[(1, 10)]), file(&[(1, 10), (2, 10)]));
        assert_eq!(differing(spans(&short, 0, 20), spans(&long, 0, 20), 20), [(10, 10)]);
        assert_eq!(differing(spans(&[], 0, 5), spans(&[], 0, 5), 5), [(0, 5)]);
        assert_eq!(spans(&long, u64::MAX, 7).count(), 0);
    }
}
