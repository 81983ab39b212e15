//! A directory of a snapshot, or all of it, as a tar or zip archive.
//!
//! Names are relative to the directory that was asked for. Memory: the nodes of the directories on the way to the present
//! one; small files whole; what is fetched ahead of the stream; for tar a name for each file with several names of which
//! not all came by, for zip some 100 bytes and the name for each entry.
//!
//! A file of which part is lost is left out, and is a Problem; with `salvage` zeros stand in the place of what is lost. Small
//! files are read whole before their header is written, of others the index is asked for every chunk. If a
//! chunk of those turns out to be damaged later on, the run ends without the archive's end, so that nobody takes it
//! for whole.

use std::io::Write;
use std::vec::IntoIter;

use serde::Serialize;

use super::{say_marks, stream, tar, zip};
use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::content::Entry;
use crate::format::snapshot::KEPT_PROBLEMS;
use crate::format::tree::{EXT_XATTRS, Node, NodeKind, XattrsV1, check_name};
use crate::format::wire;
use crate::id::{BlobKind, BlobRef, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::reader::Reader;
use crate::repo::trees::Piece;

/// Files up to here are read whole before anything of them is written.
const WHOLE_BYTES: u64 = 8 << 20;

/// What kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveFormat {
    /// POSIX tar with PAX records: all that a node holds but birth times and attribute flags.
    Tar,
    /// Zip, not compressed: files, directories, links.
    Zip,
}

/// What to write.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Absolute path inside it; links in it are followed. `/` for everything.
    pub path: Vec<u8>,
    /// As what.
    pub format: ArchiveFormat,
    /// Also files of which part is lost, with zeros in its place.
    pub salvage: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ArchiveReport {
    /// Files, each name of a file with several.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links, pipes, devices.
    pub others: u64,
    /// Content of files.
    pub bytes: u64,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// A name and what it is, as a format needs it.
pub struct Named<'n> {
    /// Relative, without a slash at its end.
    pub name: &'n [u8],
    /// What it is.
    pub node: &'n Node,
    /// Extended attributes.
    pub xattrs: XattrsV1,
}

/// Where entries of one format go.
pub trait Format {
    /// Why nothing of this kind can be in such an archive.
    fn refuses(&self, kind: NodeKind) -> Option<&'static str>;
    /// Names may have so many bytes.
    fn longest_name(&self) -> usize;
    /// Anything without content.
    fn plain(&mut self, out: &mut dyn Write, named: &Named<'_>) -> Result<()>;
    /// Another name of a file that is in the archive; `false`: it is to be written as a file of its own.
    fn linked(&mut self, out: &mut dyn Write, named: &Named<'_>) -> Result<bool>;
    /// A small file.
    fn small(&mut self, out: &mut dyn Write, named: &Named<'_>, content: &[u8]) -> Result<()>;
    /// A file of `len` bytes, which `write` writes.
    fn large(
        &mut self,
        out: &mut dyn Write,
        named: &Named<'_>,
        len: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<()>;
    /// The end of the archive.
    fn end(&mut self, out: &mut dyn Write) -> Result<()>;
}

/// Writes an archive to `out`. What `out` refuses is [`Error::Io`] with the kind it gave; after any error the archive
/// has no end.
pub fn archive(
    repo: &Repository,
    options: &ArchiveOptions,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<ArchiveReport> {
    let snapshot = repo.snapshot(options.snapshot)?.record;
    let reader = Reader::open(repo)?;
    let found = lookup::resolve(&reader, snapshot.root, &options.path, LastLink::Follow)?;
    let counts = &snapshot.counts;
    let totals = (found.path == b"/").then(|| (counts.files(), counts.total_bytes));
    progress.phase("dumping", totals.map(|t| t.0), totals.map(|t| t.1));
    let mut run =
        Run { reader: &reader, progress, salvage: options.salvage, report: ArchiveReport::default() };
    let (nodes, base) = match (found.tree, found.node) {
        (Some(tree), node) => {
            if let Some(node) = node {
                run.say_lost_names(&node, &found.path);
            }
            (reader.tree(tree)?, found.path)
        }
        (None, Some(node)) => {
            let above = found.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
            (vec![node], found.path[..above].to_vec())
        }
        (None, None) => return Err(Error::Internal("a path without a node".into())),
    };
    match options.format {
        ArchiveFormat::Tar => run.all(&mut tar::Tar::default(), nodes, &base, out)?,
        ArchiveFormat::Zip => run.all(&mut zip::Zip::default(), nodes, &base, out)?,
    }
    out.flush().map_err(super::refused)?;
    Ok(run.report)
}

struct Run<'r> {
    reader: &'r Reader,
    progress: &'r dyn Progress,
    salvage: bool,
    report: ArchiveReport,
}

/// The content of a file, as far as it can be had.
enum Content {
    Whole(Vec<u8>),
    Pieces(Vec<Piece>, u64),
    Lost,
}

impl Run<'_> {
    fn all(
        &mut self,
        format: &mut dyn Format,
        nodes: Vec<Node>,
        base: &[u8],
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut levels: Vec<(Vec<u8>, IntoIter<Node>)> = vec![(Vec::new(), nodes.into_iter())];
        while let Some((above, nodes)) = levels.last_mut() {
            self.progress.check()?;
            let Some(node) = nodes.next() else {
                levels.pop();
                continue;
            };
            let path =
                join(base, &if above.is_empty() { node.name.to_vec() } else { join(above, &node.name) });
            if let Err(e) = check_name(&node.name) {
                self.problem(ProblemKind::Refused, &path, e);
                continue;
            }
            let name = if above.is_empty() { node.name.to_vec() } else { join(above, &node.name) };
            self.progress.current(&printable(&path));
            self.entry(format, &name, &node, &path, out)?;
            if let Some(tree) = node.subtree() {
                self.say_lost_names(&node, &path);
                match self.reader.tree(tree) {
                    Ok(nodes) => levels.push((name, nodes.into_iter())),
                    Err(error) => self.lost(&path, error)?,
                }
            }
        }
        format.end(out)
    }

    fn entry(
        &mut self,
        format: &mut dyn Format,
        name: &[u8],
        node: &Node,
        path: &[u8],
        out: &mut dyn Write,
    ) -> Result<()> {
        if let Some(why) = format.refuses(node.kind) {
            // A socket is of no use without the process that made it.
            match node.kind {
                NodeKind::Socket => self.progress.note(&format!("{} is a socket: left out", printable(path))),
                _ => self.problem(ProblemKind::Refused, path, why),
            }
            return Ok(());
        }
        if name.len() >= format.longest_name() {
            self.problem(ProblemKind::Refused, path, "its path is too long for such an archive: left out");
            return Ok(());
        }
        let xattrs =
            node.extension(EXT_XATTRS).map_or(Ok(XattrsV1 { pairs: Vec::new() }), |data| wire::decode(data));
        let xattrs = xattrs.unwrap_or_else(|e| {
            self.problem(ProblemKind::Metadata, path, e);
            XattrsV1 { pairs: Vec::new() }
        });
        let named = Named { name, node, xattrs };
        match node.kind {
            NodeKind::File => return self.file(format, &named, path, out),
            NodeKind::Directory => self.report.directories += 1,
            _ => self.report.others += 1,
        }
        format.plain(out, &named)
    }

    fn file(
        &mut self,
        format: &mut dyn Format,
        named: &Named<'_>,
        path: &[u8],
        out: &mut dyn Write,
    ) -> Result<()> {
        if format.linked(out, named)? {
            self.report.files += 1;
            self.progress.advance(1, named.node.size);
            return Ok(());
        }
        if let Some(lost) = named.node.lost() {
            let what = format!("{} of its {} bytes are lost", lost.bytes(), named.node.size);
            let rest = if self.salvage { "zeros stand in their place" } else { "left out" };
            self.problem(ProblemKind::Damaged, path, format!("{what}; {rest}"));
            if !self.salvage {
                return Ok(());
            }
        }
        let len = match self.content(named.node, path)? {
            Content::Lost => return Ok(()),
            Content::Whole(content) => {
                format.small(out, named, &content)?;
                self.progress.advance(0, content.len() as u64);
                content.len() as u64
            }
            Content::Pieces(pieces, len) => {
                let _kept = self.reader.prepare_pieces(&pieces, self.progress)?;
                let (reader, progress) = (self.reader, self.progress);
                let mut write = |out: &mut dyn Write| {
                    stream::stream(reader, &pieces, out, progress, &mut |_, error| match self.salvage {
                        true => self.lost(path, error),
                        false => Err(error),
                    })
                };
                format.large(out, named, len, &mut write)?;
                len
            }
        };
        self.report.files += 1;
        self.report.bytes += len;
        self.progress.advance(1, 0);
        say_marks(named.node, &mut |kind, message| self.problem(kind, path, message));
        Ok(())
    }

    fn content(&mut self, node: &Node, path: &[u8]) -> Result<Content> {
        let (pieces, len) = match self.reader.pieces(&node.content) {
            Ok(pieces) => pieces,
            // Its length is not known: there is nothing to be salvaged.
            Err(error) => return self.lost(path, error).map(|()| Content::Lost),
        };
        if len > WHOLE_BYTES {
            let places = self.reader.places();
            for piece in &pieces {
                if let Entry::Chunk { id, .. } = &piece.entry {
                    let blob = BlobRef::new(BlobKind::Chunk, *id);
                    if !self.salvage && places.places(&blob)?.is_empty() {
                        let error =
                            Error::Missing { blob: blob.to_string(), reason: "no pack has it".into() };
                        return self.lost(path, error).map(|()| Content::Lost);
                    }
                }
            }
            return Ok(Content::Pieces(pieces, len));
        }
        let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        for piece in &pieces {
            match &piece.entry {
                Entry::Chunk { id, len } => match self.reader.chunk(*id, *len) {
                    Ok(bytes) => content.extend_from_slice(&bytes),
                    Err(error) => {
                        self.lost(path, error)?;
                        if !self.salvage {
                            return Ok(Content::Lost);
                        }
                        content.resize(content.len() + *len as usize, 0);
                    }
                },
                Entry::Inline { bytes } => content.extend_from_slice(bytes),
                hole => content.resize(content.len() + usize::try_from(hole.content_len()).unwrap_or(0), 0),
            }
        }
        Ok(Content::Whole(content))
    }

    fn say_lost_names(&mut self, node: &Node, path: &[u8]) {
        if let Some(lost) = node.lost() {
            let message = match lost.names {
                0 => "what was in this directory is lost".to_owned(),
                names => format!("at least {names} names in this directory are lost"),
            };
            self.problem(ProblemKind::Damaged, path, message);
        }
    }

    /// Data that cannot be had is a Problem of its path; anything else ends the run.
    fn lost(&mut self, path: &[u8], error: Error) -> Result<()> {
        match error {
            Error::Missing { .. } | Error::Corrupt { .. } | Error::Store(_) | Error::NotFound { .. } => {
                let rest = if self.salvage { "zeros stand in its place" } else { "left out" };
                self.problem(ProblemKind::Damaged, path, format!("{error}; {rest}"));
                Ok(())
            }
            error => Err(error),
        }
    }

    fn problem(&mut self, kind: ProblemKind, path: &[u8], message: impl std::fmt::Display) {
        let problem = Problem::new(kind, printable(path), message);
        self.progress.problem(&problem);
        self.report.problem_count += 1;
        if self.report.problems.len() < KEPT_PROBLEMS {
            self.report.problems.push(problem);
        }
    }
}
