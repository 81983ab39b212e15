//! A session that a host holds open over several steps, so that others work, prune and hold it for
//! dead meanwhile. What it stores are versions of a few large things, as differences to other
//! versions wherever that is possible, and a few small things that both hosts have.

use std::sync::Arc;

use ballast::error::Result;
use ballast::format::content::Entry;
use ballast::format::snapshot::SnapshotV1;
use ballast::format::tree::{Node, NodeKind};
use ballast::format::wire::{Stamp, Text};
use ballast::id::{BlobId, BlobKind, BlobRef, SnapshotId};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::store::Store;
use ballast::store::fault::FaultStore;

use super::{Content, World, count};
use crate::tree::bytes;

/// Versions of one thing.
const VERSIONS: u8 = 5;

/// The bytes of a version: each differs a little from the one before.
fn version(thing: u8, version: u8) -> Vec<u8> {
    let mut body = bytes(1000 + u64::from(thing), 14_000);
    for flip in 0..usize::from(version) * 12 {
        body[(flip * 977) % 14_000] ^= 0x5a;
    }
    body
}

/// See the module's words.
pub struct Sitting {
    session: Session,
    reader: Reader,
    content: Content,
    nodes: Vec<Node>,
    /// Its store, which may be told to die.
    pub fault: Arc<FaultStore>,
}

impl Sitting {
    /// W1 to W3.
    pub fn begin(world: &World, host: usize, fault: Arc<FaultStore>, store: Arc<dyn Store>) -> Result<Self> {
        let repo = world.open(host, store)?;
        let session = Session::begin(&repo, "snapshot", false, &Silent)?;
        count(&world.counts.adopted, session.stats().adopted_packs);
        let reader = Reader::with_index(&repo, session.index().clone());
        Ok(Self { session, reader, content: Content::new(), nodes: Vec::new(), fault })
    }

    /// Stores some version of some thing, and a small thing beside it.
    pub fn add(&mut self, world: &World, choice: u8) -> Result<()> {
        let (thing, number) = (choice % 2, choice / 2 % VERSIONS);
        let body = version(thing, number);
        let repo = self.session.repo().clone();
        // The others, nearest first; the one before may be a base of the one that is a base of this.
        let mut others: Vec<u8> = (0..VERSIONS).filter(|other| *other != number).collect();
        others.sort_by_key(|other| other.abs_diff(number));
        let base = |other: &u8| {
            BlobRef::new(BlobKind::Chunk, repo.blob_id(BlobKind::Chunk, &version(thing, *other)))
        };
        let known = |blob: &BlobRef| self.session.height_of(blob).is_ok_and(|height| height.is_some());
        let bases: Vec<BlobRef> = others.iter().map(base).filter(known).take(1).collect();
        let stored = crate::store_against(&self.session, &self.reader, &body, &bases)?;
        if stored.new && !bases.is_empty() {
            count(&world.counts.deltas, 1);
        }
        self.file(format!("/thing{thing}"), stored.id, body);
        let small = bytes(u64::from(choice % 6), 700);
        let stored = self.session.store(BlobKind::Chunk, &small)?;
        self.file(format!("/small{}", choice % 3), stored.id, small);
        Ok(())
    }

    fn file(&mut self, name: String, id: BlobId, body: Vec<u8>) {
        let mut node = Node::blank(&name.as_bytes()[1..], NodeKind::File);
        node.content = vec![Entry::Chunk { id, len: u32::try_from(body.len()).unwrap() }];
        node.size = body.len() as u64;
        self.nodes.retain(|other| other.name != node.name);
        self.nodes.push(node);
        self.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        self.content.insert(name, body);
    }

    /// W4, without an end: what was stored so far is durable and listed.
    pub fn flush(&mut self) -> Result<()> {
        self.session.flush().map(drop)
    }

    /// W4 to W6.
    pub fn commit(mut self, world: &World, host: usize) -> Result<SnapshotId> {
        let root = self.session.store_tree(std::mem::take(&mut self.nodes))?;
        let label = world.try_for(std::mem::take(&mut self.content));
        let flushed = self.session.flush()?;
        let done = self.session.commit(&record(root, world.hosts[host].name, label), None, flushed);
        count(&world.counts.rescues, self.session.stats().rescues);
        done
    }
}

fn record(root: BlobId, host: &str, label: String) -> SnapshotV1 {
    SnapshotV1 {
        time: Stamp::from_ns(1_700_000_000_000_000_000),
        utc_offset_secs: 0,
        host: Text(host.into()),
        user: "tester".into(),
        paths: Vec::new(),
        tags: Vec::new(),
        description: Text(label),
        parent: None,
        program: "test".into(),
        partial: false,
        root,
        counts: Default::default(),
        problem_count: 0,
        problems: Vec::new(),
        extensions: Vec::new(),
    }
}
