//! zstd frames in which nothing but literals is coded, written and read by our own coder (RFC 8878;
//! `docs/decisions/0023-literals.md`).
//!
//! The exponents of weights are a few dozen values of two or three bits each, and there is one for each weight: the one thing
//! that must be coded. zstd counts every byte of every block first and then writes and reads one byte a step. Here
//! the tree comes from a sample, is written once for the whole frame, and several bytes are written and
//! read a step. What is written is a zstd frame like any other; what does not suit this coder (short, of many values, not
//! like its sample) is left to zstd, in both directions.

mod frame;
mod read;
mod simd;
mod tree;
mod write;

use std::cell::RefCell;

use super::zstd;
use crate::error::Malformed;
use frame::{BLOCK_BYTES, Block, Frame, STREAMS};
use read::Table;
use tree::Tree;
use write::{Codes, Writer};

/// Shorter than this, and making the tables takes longer than they save.
const SHORTEST: usize = 64 << 10;
/// Bytes that the tree is made from, in lines spread over all.
const SAMPLE_BYTES: usize = 16 << 10;
const SAMPLE_LINE: usize = 64;
/// Bytes that occur, perhaps, and are not in the sample: each takes a 2048th of all codes. With more the tree would be bad.
const MOST_UNSEEN: usize = 12;
/// A table that yields fewer bytes than this a look-up is no better than zstd's.
const LEAST_YIELD: usize = 2;

#[derive(Default)]
struct Scratch {
    sample: Vec<u8>,
    coded: Vec<u8>,
    table: Option<Table>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One frame of `plain` into `out` (replaced). `false` if zstd refuses, and the caller stores raw.
pub fn compress(plain: &[u8], out: &mut Vec<u8>) -> bool {
    let done = SCRATCH.with_borrow_mut(|scratch| encode(plain, scratch, out));
    done.is_some() || zstd::compress_literals(plain, out)
}

/// Decompresses exactly one frame, whoever made it, into exactly `out`.
pub fn decompress(encoded: &[u8], out: &mut [u8]) -> Result<(), Malformed> {
    let done = SCRATCH.with_borrow_mut(|scratch| decode(encoded, scratch.table.get_or_insert_default(), out));
    // What is wrong with a damaged frame is zstd's to say.
    if done.is_some() { Ok(()) } else { zstd::decompress(encoded, out) }
}

/// `None`: not for this coder.
fn encode(plain: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<()> {
    if plain.len() < SHORTEST || u32::try_from(plain.len()).is_err() {
        return None;
    }
    let span = simd::span(plain);
    if span.width() > write::MOST_VALUES {
        return None;
    }
    let Scratch { sample, coded, .. } = scratch;
    take_sample(plain, &span, sample)?;
    if !zstd::compress_literals(sample, coded) {
        return None;
    }
    let mut frame = Frame::parse(coded)?;
    let Block::Literals { tree: Some(described), .. } = Frame::next(&mut frame.blocks)?.0 else {
        return None;
    };
    let (tree, described_len) = Tree::parse(described)?;
    let codes = Codes::new(&tree, &span);

    // All blocks are equally long, so that the last is no exception.
    let blocks = plain.len().div_ceil(BLOCK_BYTES);
    let block_bytes = plain.len().div_ceil(blocks);
    // Much longer than the sample foretells: it was not like the rest.
    let foretold = plain.len() as u64 * coded.len() as u64 / sample.len() as u64;
    let bound = usize::try_from(foretold + foretold / 16).ok()? + blocks * 2048;
    if out.len() < bound {
        out.resize(bound, 0);
    }
    let mut writer = Writer::new(&mut out[..bound]);
    writer.bytes(&frame::head(plain.len()))?;
    for (number, part) in plain.chunks(block_bytes).enumerate() {
        let begin = writer.skip(frame::BLOCK_HEAD)?;
        if number == 0 {
            writer.bytes(&described[..described_len])?;
        }
        let jumps = writer.skip(frame::JUMPS)?;
        let mut ends = [0; STREAMS];
        for (stream, end) in part.chunks(part.len().div_ceil(STREAMS)).zip(&mut ends) {
            simd::write(&mut writer, &codes, stream)?;
            *end = writer.at;
        }
        writer.bytes(&frame::NO_SEQUENCES)?;
        let last = number + 1 == blocks;
        writer.patch(jumps, &frame::jumps(jumps + frame::JUMPS, &ends)?);
        writer.patch(begin, &frame::block_head(begin, writer.at, part.len(), number == 0, last)?);
    }
    let len = writer.at;
    out.truncate(len);
    Some(())
}

/// Lines of `plain`, and one of each value that may occur beside.
fn take_sample(plain: &[u8], span: &write::Span, sample: &mut Vec<u8>) -> Option<()> {
    sample.clear();
    let step = plain.len() / (SAMPLE_BYTES / SAMPLE_LINE);
    plain.chunks_exact(step).for_each(|piece| sample.extend_from_slice(&piece[..SAMPLE_LINE]));
    let mut seen = [false; 256];
    sample.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let before = sample.len();
    sample.extend(span.values().filter(|byte| !seen[usize::from(*byte)]));
    (sample.len() - before <= MOST_UNSEEN).then_some(())
}

/// `None`: not for this coder, or damaged. `out` may hold anything then.
fn decode(encoded: &[u8], table: &mut Table, mut out: &mut [u8]) -> Option<()> {
    if out.len() < SHORTEST {
        return None;
    }
    let mut frame = Frame::parse(encoded).filter(|frame| frame.len == out.len() as u64)?;
    let mut known = false;
    loop {
        let (block, last) = Frame::next(&mut frame.blocks)?;
        match block {
            Block::Raw(bytes) => out.split_off_mut(..bytes.len())?.copy_from_slice(bytes),
            Block::Literals { made, tree, mut coded } => {
                if let Some(described) = tree {
                    let (tree, len) = Tree::parse(described)?;
                    known = table.fill(&tree) >= LEAST_YIELD;
                    coded = described.get(len..)?;
                }
                let streams = frame::streams(coded)?;
                simd::read(table, streams, out.split_off_mut(..made).filter(|_| known)?)?;
            }
        }
        if last {
            return (frame.blocks.is_empty() && out.is_empty()).then_some(());
        }
    }
}

#[cfg(test)]
mod tests;
