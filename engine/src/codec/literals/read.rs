//! Four streams of codes, read.

use super::frame::STREAMS;
use super::tree::{MAX_BITS, Tree};

const ENTRIES: usize = 1 << MAX_BITS;
/// Look-ups between two refills: at least 57 bits are held then.
const STEPS: usize = 5;
/// Bytes that a look-up yields at most.
const YIELD: usize = 4;
/// Room for what a round writes, the last of it behind what it keeps.
const ROOM: usize = 32 + YIELD;

const _: () = assert!(STEPS * MAX_BITS <= 57 && STEPS * YIELD < 32);

/// What the next [`MAX_BITS`] bits stand for.
pub struct Table {
    /// As many bytes as they hold whole codes of: the bits of these in the lowest byte, how many bytes in the next, the bytes
    /// themselves from bit 32 on.
    runs: Box<[u64; ENTRIES]>,
    /// The first byte, and above it the bits of its code.
    first: Box<[u16; ENTRIES]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { runs: Box::new([0; ENTRIES]), first: Box::new([0; ENTRIES]) }
    }
}

impl Table {
    /// Fills it. How many bytes a look-up yields, on average over bits as this tree makes them, rounded down.
    pub fn fill(&mut self, tree: &Tree) -> usize {
        for (byte, (len, code)) in (0..=255u8).zip(tree.lens.iter().zip(&tree.codes)) {
            if *len > 0 {
                let spare = MAX_BITS - usize::from(*len);
                let at = usize::from(*code) << spare;
                self.first[at..at + (1 << spare)].fill(u16::from(byte) | u16::from(*len) << 8);
            }
        }
        let mut yields = 0;
        for (at, entry) in self.runs.iter_mut().enumerate() {
            let (mut bytes, mut bits, mut count) = (0u64, 0u64, 0u64);
            for _ in 0..YIELD {
                let next = self.first[at << bits & (ENTRIES - 1)];
                // What does not fit now does not fit later either: no branch.
                let fits = u64::from(bits + u64::from(next >> 8) <= MAX_BITS as u64);
                bytes |= (u64::from(next & 0xff) * fits) << ((8 * count) & 63);
                bits += u64::from(next >> 8) * fits;
                count += fits;
            }
            yields += count as usize;
            *entry = bits | count << 8 | bytes << 32;
        }
        yields / ENTRIES
    }

    /// Decodes streams into `out`: a quarter each, rounded up. `None`: they are not what they should be.
    #[inline(always)]
    pub fn read(&self, coded: [&[u8]; STREAMS], mut out: &mut [u8]) -> Option<()> {
        let quarter = out.len().div_ceil(STREAMS);
        let mut next = |coded, len| Stream::new(coded, out.split_off_mut(..len)?);
        let (a, b, c) = (next(coded[0], quarter)?, next(coded[1], quarter)?, next(coded[2], quarter)?);
        let d = Stream::new(coded[3], out)?;
        let mut streams = [a, b, c, d];
        // Rounds of different streams do not wait for one another.
        'rounds: loop {
            for stream in &mut streams {
                if !stream.round(&self.runs) {
                    break 'rounds;
                }
            }
        }
        for stream in streams {
            stream.finish(&self.first)?;
        }
        Some(())
    }
}

/// One stream on its way: its codes are read from its end to its beginning.
struct Stream<'c, 'o> {
    coded: &'c [u8],
    /// Bytes before here are still to be read, but for the highest bits of the last of them, fewer than eight.
    end: usize,
    used: u32,
    out: &'o mut [u8],
    made: usize,
}

impl<'c, 'o> Stream<'c, 'o> {
    fn new(coded: &'c [u8], out: &'o mut [u8]) -> Option<Self> {
        let used = 8 - coded.last()?.checked_ilog2()?;
        Some(Self { coded, end: coded.len() - (used / 8) as usize, used: used % 8, out, made: 0 })
    }

    /// A few look-ups, if there is room for them on both sides.
    #[inline(always)]
    fn round(&mut self, runs: &[u64; ENTRIES]) -> bool {
        let room = self.out.get_mut(self.made..).and_then(<[u8]>::first_chunk_mut::<ROOM>);
        let eight = self.coded.get(..self.end).and_then(<[u8]>::last_chunk::<8>);
        let (Some(room), Some(eight)) = (room, eight) else { return false };
        let mut held = u64::from_le_bytes(*eight) << self.used;
        // Bits in the lowest byte, bytes in the next.
        let mut sum = 0u32;
        for _ in 0..STEPS {
            let entry = runs[(held >> (64 - MAX_BITS)) as usize];
            let at = (sum >> 8 & 31) as usize;
            room[at..at + YIELD].copy_from_slice(&((entry >> 32) as u32).to_le_bytes());
            held <<= entry & 63;
            sum = sum.wrapping_add(entry as u32);
        }
        self.made += (sum >> 8 & 0xff) as usize;
        let bits = self.used + (sum & 0xff);
        self.end -= (bits >> 3) as usize;
        self.used = bits & 7;
        true
    }

    /// The last bytes, one by one.
    fn finish(mut self, first: &[u16; ENTRIES]) -> Option<()> {
        while self.made < self.out.len() {
            let rest = &self.coded[self.end.saturating_sub(8)..self.end];
            let mut eight = [0; 8];
            eight[8 - rest.len()..].copy_from_slice(rest);
            let held = u64::from_le_bytes(eight) << self.used;
            let entry = first[(held >> (64 - MAX_BITS)) as usize];
            let bits = self.used + u32::from(entry >> 8);
            self.end = self.end.checked_sub((bits >> 3) as usize)?;
            self.used = bits & 7;
            self.out[self.made] = entry as u8;
            self.made += 1;
        }
        (self.end == 0 && self.used == 0).then_some(())
    }
}
