//! The frame around the streams (RFC 8878, 3.1.1): heads of frames, blocks and literals sections.

use super::tree::MAX_BITS;

/// Bytes of a block at most, decoded (3.1.1.2.4).
pub const BLOCK_BYTES: usize = 128 << 10;
/// Streams of a section.
pub const STREAMS: usize = 4;
/// Of a block, and of a section that states its lengths in 18 bits.
pub const BLOCK_HEAD: usize = 3 + 5;
/// Lengths of all streams but the last.
pub const JUMPS: usize = 2 * (STREAMS - 1);
/// A sequences section without any (3.1.1.3.2.1).
pub const NO_SEQUENCES: [u8; 1] = [0];

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// One segment; its length in four bytes; no checksum, no dictionary.
const DESCRIPTOR: u8 = 0b1010_0000;
const BLOCK_RAW: u32 = 0;
const BLOCK_COMPRESSED: u32 = 2;
const LITERALS_COMPRESSED: u64 = 2;
const LITERALS_TREELESS: u64 = 3;
/// Four streams, lengths of 18 bits.
const SIZES_OF_18_BITS: u64 = 3;

/// A frame that states its length and has neither checksum nor dictionary.
pub struct Frame<'a> {
    /// Bytes it decodes to.
    pub len: u64,
    /// What follows its head.
    pub blocks: &'a [u8],
}

/// A block that this coder knows.
pub enum Block<'a> {
    /// Stored as it is.
    Raw(&'a [u8]),
    /// Literals in four streams, and nothing else.
    Literals {
        /// Bytes they decode to.
        made: usize,
        /// Tree and streams, if it has a tree of its own.
        tree: Option<&'a [u8]>,
        /// Streams, if it has none.
        coded: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// `None`: not such a frame.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (descriptor, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
        if descriptor & 0b1111 != 0 {
            return None;
        }
        let single = descriptor >> 5 & 1 == 1;
        let rest = rest.get(usize::from(!single)..)?;
        let (size, more) = match descriptor >> 6 {
            0 if single => (1, 0),
            1 => (2, 256),
            2 => (4, 0),
            3 => (8, 0),
            _ => return None,
        };
        let (len, blocks) = rest.split_at_checked(size)?;
        Some(Self { len: number(len).checked_add(more)?, blocks })
    }

    /// Takes the next block; is it the last? `None`: not a block that this coder knows.
    pub fn next(blocks: &mut &'a [u8]) -> Option<(Block<'a>, bool)> {
        let (head, rest) = blocks.split_at_checked(3)?;
        let head = number(head) as u32;
        let (block, rest) = rest.split_at_checked((head >> 3) as usize)?;
        *blocks = rest;
        let block = match head >> 1 & 3 {
            BLOCK_RAW => Block::Raw(block),
            BLOCK_COMPRESSED if block.len() <= BLOCK_BYTES => Self::literals(block)?,
            _ => return None,
        };
        Some((block, head & 1 == 1))
    }

    fn literals(block: &'a [u8]) -> Option<Block<'a>> {
        let (width, head_len) = match block.first()? >> 2 & 3 {
            1 => (10, 3),
            2 => (14, 4),
            3 => (18, 5),
            _ => return None,
        };
        let (head, body) = block.split_at_checked(head_len)?;
        let (head, mask) = (number(head), (1u64 << width) - 1);
        let (made, coded) = ((head >> 4 & mask) as usize, (head >> (4 + width) & mask) as usize);
        let (coded, sequences) = body.split_at_checked(coded)?;
        if sequences != NO_SEQUENCES || made > BLOCK_BYTES {
            return None;
        }
        match head & 3 {
            LITERALS_COMPRESSED => Some(Block::Literals { made, tree: Some(coded), coded: &[] }),
            LITERALS_TREELESS => Some(Block::Literals { made, tree: None, coded }),
            _ => None,
        }
    }
}

/// At most eight bytes, little-endian.
fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

/// The four streams behind their jump table (3.1.1.3.1.6).
pub fn streams(coded: &[u8]) -> Option<[&[u8]; STREAMS]> {
    let (jumps, mut rest) = coded.split_at_checked(JUMPS)?;
    let mut streams = [&coded[..0]; STREAMS];
    for (stream, len) in streams.iter_mut().zip(jumps.as_chunks().0) {
        (*stream, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    }
    streams[STREAMS - 1] = rest;
    Some(streams)
}

/// Head of a frame of `len` bytes.
pub fn head(len: usize) -> [u8; 9] {
    let mut head = [0; 9];
    head[..4].copy_from_slice(&MAGIC);
    head[4] = DESCRIPTOR;
    head[5..].copy_from_slice(&(len as u32).to_le_bytes());
    head
}

/// The jump table of streams that begin at `begin` and end at `ends`.
pub fn jumps(begin: usize, ends: &[usize; STREAMS]) -> Option<[u8; JUMPS]> {
    let mut jumps = [0; JUMPS];
    let mut from = begin;
    for (jump, end) in jumps.as_chunks_mut().0.iter_mut().zip(ends) {
        *jump = u16::try_from(end - from).ok()?.to_le_bytes();
        from = *end;
    }
    Some(jumps)
}

/// Head of a block from `begin` to `end`, and of its section of `made` bytes. `None`: it did not get shorter, heads and all; what
/// stands in a block may be no longer than a block decodes to (3.1.1.2.4).
pub fn block_head(begin: usize, end: usize, made: usize, tree: bool, last: bool) -> Option<[u8; BLOCK_HEAD]> {
    let (content, coded) = (end - begin - 3, end - begin - BLOCK_HEAD - NO_SEQUENCES.len());
    if content >= made {
        return None;
    }
    let block = u32::from(last) | BLOCK_COMPRESSED << 1 | (content as u32) << 3;
    let kind = if tree { LITERALS_COMPRESSED } else { LITERALS_TREELESS };
    let section = kind | SIZES_OF_18_BITS << 2 | (made as u64) << 4 | (coded as u64) << 22;
    let mut head = [0; BLOCK_HEAD];
    head[..3].copy_from_slice(&block.to_le_bytes()[..3]);
    head[3..].copy_from_slice(&section.to_le_bytes()[..5]);
    Some(head)
}

// Four streams of a block fit the jump table whatever is in them.
const _: () = assert!(BLOCK_BYTES / STREAMS * MAX_BITS / 8 < u16::MAX as usize);
