//! zstd, one frame a call, with contexts kept per thread.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, ParamSwitch, compress_bound};

use crate::error::Malformed;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static MATCHER: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static LITERALS: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Compresses into `out` (replaced). `false` if zstd refuses, and the caller stores raw.
///
/// The frame carries neither a checksum (the seal is stronger) nor a dictionary id; its
/// content size is in its header.
pub fn compress(plain: &[u8], level: i32, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.reserve(compress_bound(plain.len()));
    COMPRESSOR.with_borrow_mut(|ctx| {
        let set = ctx.set_parameter(CParameter::CompressionLevel(level)).is_ok()
            && ctx.set_parameter(CParameter::ChecksumFlag(false)).is_ok()
            && ctx.set_parameter(CParameter::ContentSizeFlag(true)).is_ok();
        set && ctx.compress2(out, plain).is_ok()
    })
}

/// Does the fastest search find enough of `plain` again in it to pay (so it says if zstd refuses)? Literals are
/// not coded for that.
pub fn repeats(plain: &[u8], scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    scratch.reserve(compress_bound(plain.len()));
    MATCHER.with_borrow_mut(|ctx| {
        if ctx.is_none() {
            *ctx = context(1, ParamSwitch::Disable);
        }
        let made = ctx.as_mut().and_then(|ctx| ctx.compress2(scratch, plain).ok());
        made.is_none_or(|len| len < plain.len())
    })
}

/// One frame of `plain` into `out` (replaced) in which nothing but its literals is coded: no matches
/// are looked for, and Huffman is used wherever it gains. `false` if zstd refuses.
pub fn compress_literals(plain: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    out.reserve(compress_bound(plain.len()));
    LITERALS.with_borrow_mut(|ctx| {
        if ctx.is_none() {
            // The most negative level skips match search; without the explicit mode it would also skip Huffman.
            *ctx = context(-131_072, ParamSwitch::Enable);
        }
        ctx.as_mut().is_some_and(|ctx| ctx.compress2(out, plain).is_ok())
    })
}

fn context(level: i32, literals: ParamSwitch) -> Option<CCtx<'static>> {
    let mut ctx = CCtx::create();
    ctx.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    ctx.set_parameter(CParameter::LiteralCompressionMode(literals)).ok()?;
    ctx.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
    ctx.set_parameter(CParameter::ContentSizeFlag(true)).ok()?;
    Some(ctx)
}

/// Decompresses exactly one frame into exactly `out`.
pub fn decompress(encoded: &[u8], out: &mut [u8]) -> Result<(), Malformed> {
    one_frame(encoded)?;
    let wanted = out.len();
    let made = DECOMPRESSOR
        .with_borrow_mut(|ctx| ctx.decompress(out, encoded))
        .map_err(|code| Malformed::new(format!("zstd: {}", zstd::zstd_safe::get_error_name(code))))?;
    if made == wanted {
        Ok(())
    } else {
        Err(Malformed::new(format!("decodes to {made} bytes where {wanted} are stated")))
    }
}

/// Two frames in a row would be decoded as one text; what is stored is one.
pub fn one_frame(encoded: &[u8]) -> Result<(), Malformed> {
    match zstd::zstd_safe::find_frame_compressed_size(encoded) {
        Ok(len) if len == encoded.len() => Ok(()),
        _ => Err(Malformed::new("is not one zstd frame")),
    }
}
