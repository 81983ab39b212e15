//! The content of one file, in order, fetched ahead ([`crate::repo::ahead`]) and written by the caller's thread.

use std::io::Write;

use super::refused;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repo::ahead;
use crate::repo::reader::Reader;
use crate::repo::trees::Piece;

/// Zeros written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Asked about a chunk that cannot be had: zeros in its place, or the end?
pub type OnLost<'f> = &'f mut dyn FnMut(&Piece, Error) -> Result<()>;

/// Writes all pieces to `out`.
pub fn stream(
    reader: &Reader,
    pieces: &[Piece],
    out: &mut dyn Write,
    progress: &dyn Progress,
    on_lost: OnLost<'_>,
) -> Result<()> {
    progress.check()?;
    ahead::each(reader, pieces, &mut |piece, content| {
        progress.check()?;
        let len = piece.entry.content_len();
        match content {
            Ok(Some(bytes)) => out.write_all(bytes).map_err(refused)?,
            Ok(None) => zeros(out, len, progress)?,
            Err(error) => {
                on_lost(piece, error)?;
                zeros(out, len, progress)?;
            }
        }
        progress.advance(0, len);
        Ok(())
    })
}

fn zeros(out: &mut dyn Write, mut len: u64, progress: &dyn Progress) -> Result<()> {
    while len > 0 {
        progress.check()?;
        let step = len.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..usize::try_from(step).unwrap_or(0)]).map_err(refused)?;
        len -= step;
    }
    Ok(())
}
