//! Archives of PyTorch, GGUF files and NumPy's arrays, laid byte by byte as their programs write them.

use crate::models::Tensor;

/// What a pickle says of one tensor.
#[derive(Debug, Clone)]
pub struct View {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    /// Of its storage: the key, the elements, and how many of them stand before the tensor.
    pub key: String,
    pub elements: u64,
    pub offset: u64,
    /// If not that of elements one after the other.
    pub stride: Option<Vec<u64>>,
}

/// Opcodes of a pickle of protocol 2, with memo numbers as Python gives them.
#[derive(Debug, Default)]
pub struct Pickle {
    pub bytes: Vec<u8>,
    memo: u32,
}

impl Pickle {
    pub fn new() -> Self {
        Self { bytes: b"\x80\x02".to_vec(), memo: 0 }
    }

    pub fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Remembers what is on top, under the next number.
    pub fn put(&mut self) -> &mut Self {
        match u8::try_from(self.memo) {
            Ok(number) => self.bytes.extend_from_slice(&[b'q', number]),
            Err(_) => self.bytes.extend([&b"r"[..], &self.memo.to_le_bytes()].concat()),
        }
        self.memo += 1;
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        let len = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.op(b"X").op(&len).op(text.as_bytes()).put()
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        match number {
            0..=0xff => self.op(&[b'K', number as u8]),
            0x100..=0xffff => self.op(b"M").op(&(number as u16).to_le_bytes()),
            0x1_0000..=0x7fff_ffff => self.op(b"J").op(&(number as u32).to_le_bytes()),
            0x8000_0000..=0x7fff_ffff_ffff_ffff => self.op(&[0x8a, 8]).op(&number.to_le_bytes()),
            _ => self.op(&[0x8a, 9]).op(&number.to_le_bytes()).op(b"\0"),
        }
    }

    pub fn numbers(&mut self, numbers: &[u64]) -> &mut Self {
        match numbers.len() {
            0 => return self.op(b")"),
            1..=3 => {
                for n in numbers {
                    self.number(*n);
                }
                self.op(&[0x84 + numbers.len() as u8])
            }
            _ => {
                self.op(b"(");
                for n in numbers {
                    self.number(*n);
                }
                self.op(b"t")
            }
        };
        self.put()
    }

    /// An empty ordered dictionary.
    pub fn ordered(&mut self) -> &mut Self {
        self.op(b"ccollections\nOrderedDict\n").put().op(b")R").put()
    }

    pub fn tensor(&mut self, view: &View) -> &mut Self {
        let kind = match view.dtype {
            "BF16" => "BFloat16",
            "F16" => "Half",
            "F32" => "Float",
            "F64" => "Double",
            "I64" => "Long",
            _ => "Byte",
        };
        let usual =
            |shape: &[u64]| (0..shape.len()).map(|n| shape[n + 1..].iter().product()).collect::<Vec<u64>>();
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n").put().op(b"((").text("storage");
        self.op(format!("ctorch\n{kind}Storage\n").as_bytes()).put().text(&view.key).text("cpu");
        self.number(view.elements).op(b"t").put().op(b"Q").number(view.offset).numbers(&view.shape);
        let stride = view.stride.clone().unwrap_or_else(|| usual(&view.shape));
        self.numbers(&stride).op(b"\x89").ordered().op(b"t").put().op(b"R").put()
    }

    /// A dictionary of tensors by their names.
    pub fn tensors(&mut self, views: &[View]) -> &mut Self {
        self.ordered().op(b"(");
        for view in views {
            self.text(&view.name).tensor(view);
        }
        self.op(b"u")
    }

    pub fn finish(&mut self) -> Vec<u8> {
        self.op(b".").bytes.clone()
    }
}

/// Each tensor in a storage of its own, as `torch.save` writes it.
pub fn torch(tensors: &[Tensor]) -> Vec<u8> {
    let views: Vec<View> = (0..).zip(tensors).map(|(n, t): (u64, _)| view(t, &n.to_string())).collect();
    let storages: Vec<(String, &[u8])> =
        (0..).zip(tensors).map(|(n, t): (u64, _)| (format!("data/{n}"), &t.data[..])).collect();
    archive("archive", &Pickle::new().tensors(&views).finish(), &storages)
}

/// All of a storage.
pub fn view(tensor: &Tensor, key: &str) -> View {
    View {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        key: key.into(),
        elements: tensor.shape.iter().product(),
        offset: 0,
        stride: None,
    }
}

/// An archive of this pickle and these entries.
pub fn archive(folder: &str, pickle: &[u8], entries: &[(String, &[u8])]) -> Vec<u8> {
    let mut all = vec![("data.pkl".to_owned(), pickle), ("byteorder".to_owned(), &b"little"[..])];
    all.extend(entries.iter().cloned());
    all.push(("version".into(), b"3\n"));
    let named: Vec<(String, &[u8])> =
        all.into_iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes)).collect();
    zip(&named)
}

/// Entries as they are, on multiples of 64, their lengths behind them.
pub fn zip(entries: &[(String, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let at = u32::try_from(out.len()).unwrap();
        let (name_len, len) =
            (u16::try_from(name.len()).unwrap().to_le_bytes(), u32::try_from(bytes.len()).unwrap());
        let unpadded = out.len() + 30 + name.len() + 4;
        let padding = u16::try_from(unpadded.next_multiple_of(64) - unpadded).unwrap();
        out.extend_from_slice(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        out.extend([&name_len[..], &(padding + 4).to_le_bytes(), name.as_bytes(), b"FB"].concat());
        out.extend_from_slice(&padding.to_le_bytes());
        out.resize(out.len() + usize::from(padding), b'Z');
        out.extend_from_slice(bytes);
        // No checksum: nobody here looks at it, but it changes with the bytes.
        let sum = blake3::hash(bytes).as_bytes()[..4].to_vec();
        let sizes = [len.to_le_bytes(), len.to_le_bytes()].concat();
        out.extend([&b"PK\x07\x08"[..], &sum, &sizes].concat());
        directory.extend_from_slice(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
        directory.extend([&sum[..], &sizes, &name_len, &[0; 12], &at.to_le_bytes()].concat());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let len = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let at = u32::try_from(out.len()).unwrap().to_le_bytes();
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &len, &at, &[0, 0]].concat());
    out
}

/// Pairs of a GGUF file's front: an architecture, words, numbers.
pub fn pairs(note: &str) -> Vec<(String, u32, Vec<u8>)> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let words: Vec<u8> = ["<s>", "</s>", "a"].iter().flat_map(|word| text(word)).collect();
    let array =
        |kind: u32, count: u64, items: &[u8]| [&kind.to_le_bytes()[..], &count.to_le_bytes(), items].concat();
    vec![
        ("general.architecture".into(), 8, text("llama")),
        ("general.name".into(), 8, text(note)),
        ("llama.block_count".into(), 4, vec![2, 0, 0, 0]),
        ("llama.rope".into(), 6, 1e-5_f32.to_le_bytes().to_vec()),
        ("a.truth".into(), 7, vec![1]),
        ("tokenizer.ggml.tokens".into(), 9, array(8, 3, &words)),
        ("tokenizer.ggml.scores".into(), 9, array(6, 3, &[0; 12])),
        ("arrays".into(), 9, array(9, 1, &array(5, 2, &[1; 8]))),
    ]
}

/// A GGUF file of version 3. Types by the words of safetensors or ggml's names.
pub fn gguf(tensors: &[Tensor], note: &str) -> Vec<u8> {
    gguf_of(3, &pairs(note), tensors)
}

/// A GGUF file: version, pairs of key, type and value, tensors.
pub fn gguf_of(version: u32, pairs: &[(String, u32, Vec<u8>)], tensors: &[Tensor]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let counts = [(tensors.len() as u64).to_le_bytes(), (pairs.len() as u64).to_le_bytes()].concat();
    let mut out = [&b"GGUF"[..], &version.to_le_bytes(), &counts].concat();
    for (key, kind, value) in pairs {
        out.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
    }
    let alignment = pairs.iter().find(|(key, ..)| key == "general.alignment");
    let alignment =
        alignment.map_or(32, |(.., value)| u32::from_le_bytes(value[..].try_into().unwrap()) as usize);
    let mut at = 0_usize;
    for t in tensors {
        out.extend(text(&t.name));
        out.extend_from_slice(&u32::try_from(t.shape.len()).unwrap().to_le_bytes());
        t.shape.iter().rev().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        out.extend([&kind(t.dtype).to_le_bytes()[..], &(at as u64).to_le_bytes()].concat());
        at = (at + t.data.len()).next_multiple_of(alignment);
    }
    for t in tensors {
        out.resize(out.len().next_multiple_of(alignment), 0);
        out.extend_from_slice(&t.data);
    }
    out
}

fn kind(dtype: &str) -> u32 {
    match dtype {
        "F32" => 0,
        "F16" => 1,
        "Q8_0" => 8,
        "Q4_K" => 12,
        "Q6_K" => 14,
        "U8" => 24,
        "I64" => 27,
        "BF16" => 30,
        "MXFP4" => 39,
        _ => 77,
    }
}

/// One array, as `numpy.save` writes it.
pub fn npy(descr: &str, shape: &[u64], data: &[u8]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    let len = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), data].concat()
}
