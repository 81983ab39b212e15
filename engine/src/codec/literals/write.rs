//! Codes of bytes, and streams of them.

use super::tree::{MAX_BITS, Tree};

/// Values that a table of one step holds, the one for zero among them.
pub const MOST_VALUES: usize = 128;

/// Which values occur at most: zero perhaps, and all from `least` to `greatest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Does zero occur?
    pub zero: bool,
    /// Of the others.
    pub least: u8,
    /// Of all.
    pub greatest: u8,
}

impl Span {
    /// Of `bytes`. Plain loops over lines, which the compiler turns into vector code.
    #[inline(always)]
    pub fn of(bytes: &[u8]) -> Self {
        let (lines, rest) = bytes.as_chunks::<64>();
        let mut last = [bytes.last().copied().unwrap_or(0); 64];
        last[..rest.len()].copy_from_slice(rest);
        let (mut least, mut below, mut greatest) = ([255u8; 64], [255u8; 64], [0u8; 64]);
        for line in lines.iter().chain([&last]) {
            for at in 0..64 {
                least[at] = least[at].min(line[at]);
                // Zero becomes the greatest.
                below[at] = below[at].min(line[at].wrapping_sub(1));
                greatest[at] = greatest[at].max(line[at]);
            }
        }
        let least_of = |all: &[u8; 64]| all.iter().copied().min().unwrap_or(255);
        Self {
            zero: least_of(&least) == 0,
            least: least_of(&below).saturating_add(1),
            greatest: greatest.into_iter().max().unwrap_or(0),
        }
    }

    /// Values from zero's to the greatest's place in a table.
    pub fn width(&self) -> usize {
        usize::from(self.greatest.saturating_sub(self.least)) + 2
    }

    /// Each that may occur.
    pub fn values(&self) -> impl Iterator<Item = u8> {
        self.zero.then_some(0).into_iter().chain(self.least..=self.greatest)
    }
}

/// Codes of a span, by place: zero first, the others behind it from the least on.
pub struct Codes {
    /// What is taken off a byte, down to zero, for its place.
    pub shift: u8,
    /// In bits; 0: it has none.
    pub lens: [u8; MOST_VALUES],
    /// The lowest eight bits.
    pub lows: [u8; MOST_VALUES],
    /// The others.
    pub highs: [u8; MOST_VALUES],
}

impl Codes {
    /// For a span of at most [`MOST_VALUES`].
    pub fn new(tree: &Tree, span: &Span) -> Self {
        let shift = span.least.saturating_sub(1);
        let none = [0; MOST_VALUES];
        let mut codes = Self { shift, lens: none, lows: none, highs: none };
        for byte in span.values() {
            let place = usize::from(byte.saturating_sub(shift)).min(MOST_VALUES - 1);
            let [low, high] = tree.codes[usize::from(byte)].to_le_bytes();
            (codes.lens[place], codes.lows[place], codes.highs[place]) =
                (tree.lens[usize::from(byte)], low, high);
        }
        codes
    }

    /// Code and length of a byte.
    #[inline(always)]
    fn of(&self, byte: u8) -> (u64, u64) {
        let place = usize::from(byte.saturating_sub(self.shift)) & (MOST_VALUES - 1);
        (u64::from(self.lows[place]) | u64::from(self.highs[place]) << 8, u64::from(self.lens[place]))
    }
}

/// Writes bytes and streams of bits behind one another.
pub struct Writer<'o> {
    out: &'o mut [u8],
    /// Bytes written.
    pub at: usize,
    /// Bits that do not fill a byte yet, and how many: less than eight between two calls.
    held: u64,
    bits: u64,
}

/// Bits that [`Writer::put`] takes at most.
pub const MOST_BITS: u64 = 56;

impl<'o> Writer<'o> {
    /// Into `out`.
    pub fn new(out: &'o mut [u8]) -> Self {
        Self { out, at: 0, held: 0, bits: 0 }
    }

    /// Appends. `None`: there is no room.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let begin = self.skip(bytes.len())?;
        self.patch(begin, bytes);
        Some(())
    }

    /// Leaves so many bytes free, and says where.
    pub fn skip(&mut self, len: usize) -> Option<usize> {
        let begin = self.at;
        self.at = begin.checked_add(len).filter(|end| *end <= self.out.len())?;
        Some(begin)
    }

    /// Overwrites what was written.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Room for as many bytes behind what is written, for a while of [`Run::put`].
    #[inline(always)]
    pub fn run<const ROOM: usize>(&mut self) -> Option<Run<'_, ROOM>> {
        let room = self.out.get_mut(self.at..)?.first_chunk_mut()?;
        Some(Run { room, at: 0, held: self.held, bits: self.bits })
    }

    /// Ends such a while.
    #[inline(always)]
    pub fn ran(&mut self, at: usize, held: u64, bits: u64) {
        self.at += at;
        (self.held, self.bits) = (held, bits);
    }

    /// Appends the codes of `bytes`, the last first.
    #[inline(always)]
    pub fn codes(&mut self, codes: &Codes, bytes: &[u8]) -> Option<()> {
        // Bytes whose codes are put at once.
        const GROUP: usize = MOST_BITS as usize / MAX_BITS;
        for group in bytes.rchunks(GROUP) {
            let (mut code, mut len) = (0, 0);
            for byte in group.iter().rev() {
                let (next, next_len) = codes.of(*byte);
                if next_len == 0 {
                    return None;
                }
                code |= next << len;
                len += next_len;
            }
            let mut run = self.run::<8>()?;
            run.put(code, len);
            let (at, held, bits) = (run.at, run.held, run.bits);
            self.ran(at, held, bits);
        }
        Some(())
    }

    /// Ends a stream: a bit that is set behind its last, zeros up to the byte.
    pub fn end(&mut self) -> Option<()> {
        let last = (self.held | 1 << self.bits) as u8;
        (self.held, self.bits) = (0, 0);
        self.bytes(&[last])
    }
}

/// A [`Writer`] in its inner loop.
pub struct Run<'o, const ROOM: usize> {
    room: &'o mut [u8; ROOM],
    /// Bytes written.
    pub at: usize,
    /// As in the writer.
    pub held: u64,
    /// As in the writer.
    pub bits: u64,
}

impl<const ROOM: usize> Run<'_, ROOM> {
    /// Appends a code of at most [`MOST_BITS`].
    #[inline(always)]
    pub fn put(&mut self, code: u64, len: u64) {
        self.held |= code << (self.bits & 63);
        if let Some(eight) = self.room.get_mut(self.at..self.at + 8) {
            eight.copy_from_slice(&self.held.to_le_bytes());
        }
        self.bits += len & 63;
        self.at += (self.bits >> 3) as usize;
        self.held >>= self.bits & 56;
        self.bits &= 7;
    }
}
