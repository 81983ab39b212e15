//! What a coder is told of a chunk: the type of the tensor that it is cut from.

use crate::codec::{BlockType, Element, Hint};
use crate::format::seams::Seam;

/// Seams before a byte that are looked at for one that holds it: parts of a tensor, and other names of it.
const LOOKED_AT: usize = 64;

/// The tensor that holds a chunk of a file, by all of its names; of tensors in each other the innermost. Seams are in the
/// order of a seam table: by offset, longer ones first, so that names for the same bytes stand together.
pub fn seams_at(seams: &[Seam], offset: u64, len: u64) -> &[Seam] {
    let after = seams.partition_point(|seam| seam.offset <= offset);
    let near = &seams[after.saturating_sub(LOOKED_AT)..after];
    let end = offset.saturating_add(len.max(1));
    let holds = |seam: &Seam| seam.len > 0 && end <= seam.offset.saturating_add(seam.len);
    let Some(last) = near.iter().rposition(holds) else { return &[] };
    let place = |seam: &Seam| (seam.offset, seam.len);
    let names = near[..last].iter().rev().take_while(|seam| place(seam) == place(&near[last])).count();
    &near[last - names..=last]
}

/// What the chunk at `offset` of a file is. A chunk of blocks that begins within one is not known.
pub fn hint_at(seams: &[Seam], offset: u64, len: u64) -> Hint {
    seams_at(seams, offset, len).first().map_or(Hint::NONE, |seam| hint_of(seam, offset - seam.offset))
}

/// What the bytes `within` a tensor are.
pub fn hint_of(seam: &Seam, within: u64) -> Hint {
    match element(&seam.dtype) {
        Element::Blocks(block) if !within.is_multiple_of(block.bytes() as u64) => Hint::NONE,
        element => Hint { element },
    }
}

/// Bytes of a tensor that belong together: a block, or eight of numbers.
pub fn grid_of(seam: &Seam) -> u64 {
    match element(&seam.dtype) {
        Element::Blocks(block) => block.bytes() as u64,
        _ => 8,
    }
}

/// Elements by the word for them: of safetensors, and ggml's for blocks.
fn element(word: &[u8]) -> Element {
    match word {
        b"BF16" => Element::Bf16,
        b"F16" => Element::F16,
        b"F32" => Element::F32,
        b"F64" | b"I64" | b"U64" => Element::Bytes(8),
        b"I32" | b"U32" => Element::Bytes(4),
        b"I16" | b"U16" => Element::Bytes(2),
        b"I8" | b"U8" | b"BOOL" | b"F8_E4M3" | b"F8_E5M2" => Element::Bytes(1),
        _ => BlockType::of_word(word).map_or(Element::Unknown, Element::Blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seam(dtype: &str, offset: u64, len: u64) -> Seam {
        let name = format!("t{offset}").into_bytes().into();
        Seam { name, dtype: dtype.as_bytes().into(), shape: vec![len], offset, len }
    }

    #[test]
    fn a_chunk_is_what_its_tensor_is() {
        let seams = [seam("F32", 10, 8), seam("BF16", 18, 0), seam("Q8_0", 18, 68), seam("odd", 90, 5)];
        let of = |offset| hint_at(&seams, offset, 1).element;
        assert_eq!([9, 86, 89, 95, u64::MAX].map(of), [Element::Unknown; 5]);
        assert_eq!([of(10), of(17)], [Element::F32; 2]);
        assert_eq!([of(18), of(52)], [Element::Blocks(BlockType::Q8_0); 2]);
        assert_eq!([19, 51, 53, 85, 90].map(of), [Element::Unknown; 5], "within a block, or no known word");
        assert_eq!(hint_at(&[], 0, 1), Hint::NONE);
        assert_eq!(hint_at(&[seam("F32", u64::MAX - 1, u64::MAX)], 7, 1).element, Element::Unknown);
    }
    #[test]
    fn the_innermost_tensor_holds_a_byte_by_all_its_names() {
        let named =
            |name: &str, offset, len| Seam { name: name.as_bytes().into(), ..seam("F32", offset, len) };
        let seams = [
            named("whole", 0, 100),
            named("a", 10, 20),
            named("b", 10, 20),
            named("none", 10, 0),
            named("part", 40, 8),
        ];
        let at = |offset| -> Vec<String> {
            let found = seams_at(&seams, offset, 1).iter();
            found.map(|seam| String::from_utf8_lossy(&seam.name).into_owned()).collect()
        };
        assert_eq!([at(0), at(30), at(99)], [["whole"], ["whole"], ["whole"]]);
        assert_eq!(at(12), ["a", "b"]);
        assert_eq!(at(47), ["part"]);
        assert!(at(100).is_empty() && seams_at(&[], 3, 1).is_empty());
        // A chunk that goes on behind a tensor is not of it.
        assert_eq!(seams_at(&seams, 40, 8).len(), 1);
        assert_eq!(&*seams_at(&seams, 40, 9)[0].name, b"whole");
        assert!(seams_at(&seams, 40, 61).is_empty());
    }
}
