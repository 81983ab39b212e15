//! What a run added to a repository, and how much of that is padding.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use ballast::error::Result;
use ballast::format::envelope::{NONCE_LEN, PREFIX_LEN, TAG_LEN};
use ballast::format::pack::{FOOTER_LEN, Trailer};
use ballast::id::{ObjectKind, ObjectName, PackId, SessionId};
use ballast::repo::{Repository, packfile};

/// What the packs hold that came since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewPacks {
    /// Bytes of padding.
    pub padding_bytes: u64,
    /// Stored bytes of frames that stand alone.
    pub alone_bytes: u64,
    /// Stored bytes of frames that are the difference to others.
    pub delta_bytes: u64,
    /// The greatest height of a frame.
    pub highest: u8,
}

/// The packs that were looked at.
#[derive(Debug, Default)]
pub struct Packs(HashSet<String>);

impl Packs {
    /// Reads the trailers of those that are new.
    pub fn read_new(&mut self, repo: &Repository) -> Result<NewPacks> {
        let mut new = NewPacks::default();
        for name in repo.store().list(ObjectKind::Pack)? {
            if !self.0.insert(name.clone()) {
                continue;
            }
            let id: PackId = name.parse().expect("because a store lists names of packs");
            let (_, pack) = packfile::read_trailer(repo, id)?;
            for frame in &pack.frames {
                let bytes = if frame.height == 0 { &mut new.alone_bytes } else { &mut new.delta_bytes };
                *bytes += u64::from(frame.stored_len);
                new.highest = new.highest.max(frame.height);
            }
            let region: u64 = pack.frames.iter().map(|f| u64::from(f.stored_len)).sum();
            let trailer = Trailer {
                session: SessionId([0; 16]),
                pack_kind: 0,
                flags: 0,
                region_len: 0,
                region_hash: [0; 32],
                frames: pack.frames,
                extensions: Vec::new(),
            };
            let fixed = PREFIX_LEN + NONCE_LEN + trailer.encode().0.len() + TAG_LEN + FOOTER_LEN;
            let size = repo.store().stat(&ObjectName::from(id))?.size_bytes;
            new.padding_bytes += size - region - fixed as u64;
        }
        Ok(new)
    }
}

/// Bytes of all files below a directory, but for leases.
pub fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(m) if m.is_dir() && entry.file_name() != "locks" => bytes_below(&entry.path()),
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}
