//! NumPy's file of one array: `\x93NUMPY`, a version, and a header that is a literal of Python
//! (`docs/format.md`, "Regions of models").

use super::layout::{MAX_DIMENSIONS, Tensor};
use super::safetensors::Dtype;

/// First bytes.
pub const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header: NumPy itself refuses longer ones.
const MAX_HEADER_BYTES: usize = 10_000;
/// First bytes, version, length and header at most.
pub const FRONT_BYTES: u64 = (MAGIC.len() + 2 + 4 + MAX_HEADER_BYTES) as u64;
/// What its one seam is called.
const NAME: &str = "array";

/// The array of a file of `size` bytes that begins with `first`. Its dimensions are those of memory: of an
/// array in Fortran's order, the last first.
pub fn tensor(first: &[u8], size: u64) -> Option<Tensor> {
    let rest = first.strip_prefix(MAGIC)?;
    let (len, rest) = match rest {
        [1, 0, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => {
            (usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?, rest)
        }
        _ => return None,
    };
    let text = rest.get(..len).filter(|text| text.len() <= MAX_HEADER_BYTES)?;
    let offset = (first.len() - rest.len() + len) as u64;
    let (dtype, shape) = header(text)?;
    let len = dtype.bytes_of(&shape)?;
    let whole = offset.checked_add(len) == Some(size);
    whole.then(|| Tensor { name: NAME.into(), dtype: dtype.word(), shape, offset, len })
}

/// Type and shape by a header's text: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, with
/// its members in any order, each once.
fn header(text: &[u8]) -> Option<(Dtype, Vec<u64>)> {
    let mut text = Text(text);
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    text.mark(b'{')?;
    while text.mark(b'}').is_none() {
        let key = text.quoted()?;
        text.mark(b':')?;
        let twice = match key {
            b"descr" => descr.replace(dtype(text.quoted()?)?).is_some(),
            b"fortran_order" => fortran.replace(text.truth()?).is_some(),
            b"shape" => shape.replace(text.shape()?).is_some(),
            _ => return None,
        };
        if twice || (text.mark(b',').is_none() && text.peek()? != b'}') {
            return None;
        }
    }
    if text.peek().is_some() {
        return None;
    }
    let mut shape = shape?;
    if fortran? {
        shape.reverse();
    }
    Some((descr?, shape))
}

/// Numbers of this machine's order, or of one byte.
fn dtype(descr: &[u8]) -> Option<Dtype> {
    Dtype::from_word(match descr {
        b"|b1" => "BOOL",
        b"|i1" => "I8",
        b"|u1" => "U8",
        b"<i2" => "I16",
        b"<u2" => "U16",
        b"<f2" => "F16",
        b"<i4" => "I32",
        b"<u4" => "U32",
        b"<f4" => "F32",
        b"<i8" => "I64",
        b"<u8" => "U64",
        b"<f8" => "F64",
        b"<c8" => "C64",
        b"<c16" => "C128",
        _ => return None,
    })
}

/// What of a header is left.
struct Text<'t>(&'t [u8]);

impl<'t> Text<'t> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn mark(&mut self, mark: u8) -> Option<()> {
        (self.peek()? == mark).then(|| self.0 = &self.0[1..])
    }

    fn until(&mut self, end: impl Fn(u8) -> bool) -> Option<&'t [u8]> {
        let (taken, rest) = self.0.split_at(self.0.iter().position(|byte| end(*byte))?);
        self.0 = rest;
        Some(taken)
    }

    fn quoted(&mut self) -> Option<&'t [u8]> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        self.mark(quote)?;
        let text = self.until(|byte| byte == quote || byte == b'\\')?;
        self.mark(quote)?;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        self.peek()?;
        match self.until(|byte| !byte.is_ascii_alphabetic())? {
            b"True" => Some(true),
            b"False" => Some(false),
            _ => None,
        }
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        let mut shape = Vec::new();
        self.mark(b'(')?;
        while self.mark(b')').is_none() {
            self.peek()?;
            let digits = self.until(|byte| !byte.is_ascii_digit())?;
            // Python 2 wrote long numbers so.
            self.0 = self.0.strip_prefix(b"L").unwrap_or(self.0);
            shape.push(std::str::from_utf8(digits).ok()?.parse().ok()?);
            let more = self.mark(b',').is_some();
            // A number in brackets alone is a number.
            if shape.len() > MAX_DIMENSIONS || (!more && (shape.len() == 1 || self.peek()? != b')')) {
                return None;
            }
        }
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: usize) -> Vec<u8> {
        let mut out = [MAGIC, &[version, 0]].concat();
        match version {
            1 => out.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes()),
            _ => out.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes()),
        }
        out.extend_from_slice(header.as_bytes());
        out.resize(out.len() + data, 7);
        out
    }

    fn parse(header: &str, data: usize) -> Option<Tensor> {
        let file = file(1, header, data);
        tensor(&file, file.len() as u64)
    }

    #[test]
    fn arrays_are_seen() {
        let usual = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }    \n";
        for version in 1..=3 {
            let file = file(version, usual, 48);
            let found = tensor(&file, file.len() as u64).unwrap();
            assert_eq!((&*found.name, found.dtype, &found.shape[..]), ("array", "F32", &[3, 4][..]));
            assert_eq!((found.offset, found.len), (file.len() as u64 - 48, 48));
            assert_eq!(tensor(&file, file.len() as u64 + 1), None);
            assert_eq!(tensor(&file[..60], file.len() as u64), None);
            // The data need not be at hand.
            assert!(tensor(&file[..file.len() - 48], file.len() as u64).is_some());
        }
        let fortran = parse("{'shape':(3,4),'fortran_order':True,'descr':\"<i8\"}", 96).unwrap();
        assert_eq!((fortran.dtype, &fortran.shape[..]), ("I64", &[4, 3][..]));
        assert_eq!(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}", 5).unwrap().shape, [5]);
        assert_eq!(parse("{'descr': '|u1', 'fortran_order': False, 'shape': (5L,)}", 5).unwrap().shape, [5]);
        let scalar = parse("{'descr': '<c16', 'fortran_order': False, 'shape': ()}", 16).unwrap();
        assert!(scalar.shape.is_empty());
        assert_eq!(parse("{'descr': '<f2', 'fortran_order': False, 'shape': (0, 9)}", 0).unwrap().len, 0);
    }

    #[test]
    fn anything_odd_is_opaque() {
        for header in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} x",
            "{'descr': '<f4', 'fortran_order': False 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (12)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': [3, 4]}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 3)}",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<V2', 'fortran_order': False, 'shape': (24,)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (12,)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'more': 1}",
            "{'descr': '<f4', 'shape': (3, 4)}",
            "{'descr': '<f\\x34', 'fortran_order': False, 'shape': (3, 4)}",
        ] {
            assert_eq!(parse(header, 48), None, "{header}");
        }
        let deep = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({})}}", "1,".repeat(65));
        assert_eq!(parse(&deep, 1), None);
        let long =
            format!("{}{}", "{'descr': '|u1', 'fortran_order': False, 'shape': ()}", " ".repeat(10_000));
        assert_eq!(parse(&long, 1), None);
        for bytes in [&b"\x93NUMPY"[..], b"\x93NUMPY\x01\0\xff\xff", b"\x93NUMPY\x04\0\0\0\0\0", b"\x93NUMPX"]
        {
            assert_eq!(tensor(bytes, bytes.len() as u64), None);
        }
    }
}
