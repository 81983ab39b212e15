//! The tree of a Huffman-coded literals section (RFC 8878, 4.2.1): which codes its bytes have.

/// Longest code of a byte.
pub const MAX_BITS: usize = 11;
/// Highest accuracy of the table of weights.
const MAX_ACCURACY: u32 = 6;

/// Lengths and values of the codes. They are complete: every sequence of bits is one of codes.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Of each byte, in bits; 0: it does not occur.
    pub lens: [u8; 256],
    /// Of each byte, its first bit highest.
    pub codes: [u16; 256],
}

impl Tree {
    /// The tree at the beginning of `bytes`, and how many bytes describe it. `None`: not such a tree.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (first, rest) = bytes.split_first()?;
        let mut weights = [0u8; 256];
        let (count, len) = if *first >= 128 {
            let count = usize::from(*first) - 127;
            let len = count.div_ceil(2);
            for (pair, byte) in weights.chunks_exact_mut(2).zip(rest.get(..len)?) {
                pair.copy_from_slice(&[byte >> 4, byte & 15]);
            }
            weights[count..].fill(0);
            (count, len)
        } else {
            let len = usize::from(*first);
            (unpack_weights(rest.get(..len)?, &mut weights)?, len)
        };
        Some((Self::from_weights(weights, count)?, 1 + len))
    }

    /// From all weights but the last, which follows from them.
    fn from_weights(mut weights: [u8; 256], count: usize) -> Option<Self> {
        if count == 0 || count > 255 || weights.iter().any(|weight| usize::from(*weight) > MAX_BITS) {
            return None;
        }
        let sum: usize = weights[..count].iter().map(|weight| 1 << weight >> 1).sum();
        let room = (sum + 1).next_power_of_two();
        let bits = room.ilog2() as usize;
        if sum == 0 || bits > MAX_BITS || !(room - sum).is_power_of_two() {
            return None;
        }
        weights[count] = (room - sum).ilog2() as u8 + 1;
        let (mut lens, mut codes, mut next) = ([0; 256], [0; 256], 0usize);
        for weight in 1..=bits as u8 {
            for byte in (0..256).filter(|byte| weights[*byte] == weight) {
                lens[byte] = bits as u8 + 1 - weight;
                codes[byte] = (next >> (weight - 1)) as u16;
                next += 1 << (weight - 1);
            }
        }
        Some(Self { lens, codes })
    }
}

/// Weights coded by FSE with two states (4.1, 4.2.1.2). How many there are.
fn unpack_weights(bytes: &[u8], weights: &mut [u8; 256]) -> Option<usize> {
    let mut bits = Forward { bytes, at: 0 };
    let accuracy = bits.take(4)? + 5;
    if accuracy > MAX_ACCURACY {
        return None;
    }
    let size = 1i32 << accuracy;
    let mut norm = [0i32; MAX_BITS + 2];
    let (mut left, mut symbol) = (size, 0);
    while left > 0 {
        let width = (left + 1).ilog2() + 1;
        let (low, spare) = ((1 << (width - 1)) - 1, (1 << width) - 2 - left);
        let value = bits.peek(width)? as i32;
        let (value, used) = match value {
            _ if value & low < spare => (value & low, width - 1),
            _ if value > low => (value - spare, width),
            _ => (value, width),
        };
        bits.at += used as usize;
        let share = value - 1;
        left -= share.abs();
        *norm.get_mut(symbol)? = share;
        symbol += 1;
        if share == 0 {
            // Others without a share, three at most each time that this is said.
            loop {
                let zeros = bits.take(2)?;
                symbol += zeros as usize;
                if zeros < 3 {
                    break;
                }
            }
        }
    }
    if left < 0 {
        return None;
    }
    let table = Cell::table(&norm, accuracy)?;
    let mut bits = Backward::new(bytes.get(bits.at.div_ceil(8)..)?)?;
    let mut states = [bits.take(accuracy), bits.take(accuracy)];
    let mut count = 0;
    loop {
        for one in 0..2 {
            let cell = table[states[one]];
            *weights.get_mut(count)? = cell.symbol;
            states[one] = cell.base + bits.take(cell.bits);
            count += 1;
            if bits.left < 0 {
                *weights.get_mut(count)? = table[states[1 - one]].symbol;
                return Some(count + 1);
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Cell {
    symbol: u8,
    bits: u32,
    base: usize,
}

impl Cell {
    fn table(norm: &[i32], accuracy: u32) -> Option<[Self; 1 << MAX_ACCURACY]> {
        let size = 1usize << accuracy;
        let mut table = [Self::default(); 1 << MAX_ACCURACY];
        let mut next = [0usize; MAX_BITS + 2];
        let mut high = size;
        for (symbol, share) in norm.iter().enumerate() {
            next[symbol] = share.unsigned_abs() as usize;
            if *share < 0 {
                high -= 1;
                table[high].symbol = symbol as u8;
            }
        }
        let (step, mut at) = ((size >> 1) + (size >> 3) + 3, 0);
        for (symbol, share) in norm.iter().enumerate() {
            for _ in 0..*share {
                table[at].symbol = symbol as u8;
                loop {
                    at = (at + step) & (size - 1);
                    if at < high {
                        break;
                    }
                }
            }
        }
        if at != 0 {
            return None;
        }
        for cell in &mut table[..size] {
            let state = next[usize::from(cell.symbol)];
            next[usize::from(cell.symbol)] += 1;
            cell.bits = accuracy - state.checked_ilog2()?;
            cell.base = (state << cell.bits) - size;
        }
        Some(table)
    }
}

/// Bits from the lowest of the first byte on.
struct Forward<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Forward<'_> {
    fn peek(&self, width: u32) -> Option<u32> {
        let mut four = [0; 4];
        let rest = self.bytes.get(self.at / 8..).filter(|rest| !rest.is_empty())?;
        let len = rest.len().min(4);
        four[..len].copy_from_slice(&rest[..len]);
        Some(u32::from_le_bytes(four) >> (self.at % 8) & ((1 << width) - 1))
    }

    fn take(&mut self, width: u32) -> Option<u32> {
        let value = self.peek(width)?;
        self.at += width as usize;
        Some(value)
    }
}

/// Bits from the one below the highest set bit of the last byte down; zeros below the first.
struct Backward<'a> {
    bytes: &'a [u8],
    left: isize,
}

impl<'a> Backward<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let top = bytes.last()?.checked_ilog2()?;
        Some(Self { bytes, left: (bytes.len() as isize - 1) * 8 + top as isize })
    }

    fn take(&mut self, width: u32) -> usize {
        (0..width).fold(0, |value, _| {
            self.left -= 1;
            let byte = usize::try_from(self.left).ok().and_then(|at| self.bytes.get(at / 8));
            value << 1 | byte.map_or(0, |byte| usize::from(byte >> (self.left & 7) & 1))
        })
    }
}
