//! What comes out of a pipe: read like a large file, stored under the path it was given.
//!
//! Nothing of the file system is looked at. Its directories are invented, and so is the metadata: the
//! time of this run, whoever runs it. The file bears `recheck`: a real file of this path is never
//! taken for it.

use super::{Conductor, Done, Hands};
use crate::error::{Error, Result};
use crate::format::tree::{MARK_RECHECK, Node, NodeKind};
use crate::format::wire::Stamp;
use crate::id::BlobId;
use crate::op::snapshot::builder::Slot;
use crate::op::snapshot::database::Source;
use crate::op::snapshot::large::Before;
use crate::op::snapshot::options::StreamOptions;
use crate::op::snapshot::reading::ToRead;
use crate::op::snapshot::tally::Compared;
use crate::source::{At, Skeleton, Stat, Stream, restat, shown};

/// Whoever runs this, and nobody else: dumps are as secret as what they are dumps of.
const MODE: u32 = 0o600;

impl Conductor<'_> {
    /// Reads it to its end and makes the one file of this snapshot. It must end well: else there is no
    /// snapshot.
    pub(super) fn read_stream<'s, 't: 's>(
        &mut self,
        options: &StreamOptions,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<BlobId> {
        let path = &options.path;
        let at = At::nominal(path).map_err(|e| Error::io("/", e))?;
        let stat = self.stat_of_stream();
        let mut node = Node { marks: MARK_RECHECK, ..Node::blank(at.name(), NodeKind::File) };
        restat(&mut node, &stat, &self.names);
        let known = self.parent.node_at(path, self.session).filter(|n| n.kind == NodeKind::File);
        let compared = if known.is_some() { Compared::Changed } else { Compared::New };
        self.progress.found(1, 0);
        self.progress.current(&shown(path));
        let (familiar, trusted) = self.parent.familiar(known.as_ref(), hands.tools.cutter.params());
        let before = Before { node: known.as_ref(), familiar: &familiar, trusted };
        let slot = Slot::Root(path.clone());
        let file =
            ToRead { before: None, at, stat, node, slot, compared, refused: None, problems: Vec::new() };
        let source = Source::Stream(Box::new(Stream::new(options.tap.clone(), path)));
        let number = self.next_large;
        self.next_large += 1;
        let large = hands
            .reader
            .read(number, file, source, &before, &hands.sender, Done::Chunk, scope)
            .map_err(|error| match error {
                Error::Stream { reason, .. } => Error::Stream { stream: options.tap.name(), reason },
                error => error,
            })?;
        if let Err(reason) = options.tap.finish() {
            // Whoever was asked to stop may have stopped the command himself.
            self.progress.check()?;
            return Err(Error::Stream { stream: options.tap.name(), reason });
        }
        self.large.insert(number, large);
        self.settle_large(number, hands)?;
        self.drain(hands, scope)?;
        let mut skeleton = Skeleton::new();
        for (path, node) in self.builder.take_roots() {
            skeleton.invent_above(&path, &node);
            skeleton.insert(&path, node);
        }
        self.build(skeleton)
    }

    fn stat_of_stream(&self) -> Stat {
        let now = Stamp::from_ns(self.session.repo().surroundings().clock.now_ns());
        Stat {
            kind: NodeKind::File,
            mode: MODE,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            size: 0,
            allocated_bytes: 0,
            mtime: now,
            ctime: now,
            btime: None,
            inode: 0,
            device: 0,
            nlink: 1,
            rdev: 0,
            attr_flags: 0,
        }
    }
}
