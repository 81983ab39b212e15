//! Which models stand against each other.
//!
//! Two directories are gone through side by side, nothing is read where both have the same. Shards that an index in
//! their directory names are no models of their own. A directory in which no file is a model may hold links to one, as
//! in the caches of hubs: these are followed in the two directories that were named. Memory: the nodes of the
//! directories that wait, one model with its index, a number for each other index of a directory, and one node of each
//! model that differs.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::error::{Error, Result, printable};
use crate::format::tree::{Node, NodeKind};
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::model::{Model, is_index};
use crate::repo::reader::Reader;

/// One of the two sides.
pub struct Place {
    /// Tree of the snapshot.
    pub root: BlobId,
    /// Absolute path in it.
    pub path: Vec<u8>,
}

/// A model on one side.
struct Found {
    root: BlobId,
    path: Vec<u8>,
    /// `None`: the model is wherever the path leads.
    node: Option<Node>,
}

impl Found {
    fn model(&self, reader: &Reader) -> Result<Model> {
        let model = match &self.node {
            None => Model::find(reader, self.root, &self.path).map(Some),
            Some(node) => Model::of_node(reader, self.root, &self.path, node),
        };
        let empty = || Model { path: self.path.clone(), shards: Vec::new(), tensors: Vec::new() };
        Ok(model?.unwrap_or_else(empty))
    }

    fn is_directly_in(&self, directory: &[u8]) -> bool {
        self.path == join(directory, name_of(&self.path))
    }
}

/// Two models, or one that only one side has.
pub struct Pair {
    old: Option<Found>,
    new: Option<Found>,
}

impl Pair {
    /// Its path on the new side, or else on the old one.
    pub fn path(&self) -> &[u8] {
        self.new.as_ref().or(self.old.as_ref()).map(|found| &found.path[..]).unwrap_or_default()
    }

    /// Both sides.
    pub fn models(&self, reader: &Reader) -> Result<(Option<Model>, Option<Model>)> {
        let of = |side: &Option<Found>| side.as_ref().map(|found| found.model(reader)).transpose();
        Ok((of(&self.old)?, of(&self.new)?))
    }
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The pairs, in the order of paths. Directories that cannot be read are told to `unreadable`.
pub fn find(
    reader: &Reader,
    old: &Place,
    new: &Place,
    progress: &dyn Progress,
    unreadable: &mut Vec<(String, String)>,
) -> Result<Vec<Pair>> {
    let resolve = |place: &Place| lookup::resolve(reader, place.root, &place.path, LastLink::Follow);
    let (a, b) = (resolve(old)?, resolve(new)?);
    let (Some(olds), Some(news)) = (a.tree, b.tree) else {
        let side = |place: &Place| Some(Found { root: place.root, path: place.path.clone(), node: None });
        return Ok(vec![Pair { old: side(old), new: side(new) }]);
    };
    progress.phase("looking for models", None, None);
    let mut walk = Walk {
        reader,
        roots: (old.root, new.root),
        unreadable,
        pairs: Vec::new(),
        met: (false, false),
        key: RandomState::new(),
    };
    let mut todo: Vec<(At, At)> = vec![(Some((olds, a.path.clone())), Some((news, b.path.clone())))];
    while let Some((old, new)) = todo.pop() {
        progress.check()?;
        walk.level(old, new, &mut todo)?;
    }
    if walk.met != (true, true)
        && walk.pairs.len() <= 1
        && walk.unreadable.is_empty()
        && let Some(linked) = walk.linked(old, new)?
    {
        return Ok(linked);
    }
    let mut pairs = walk.pairs;
    pairs.sort_by(|a, b| a.path().cmp(b.path()));
    // One model on each side that has no counterpart: renamed, or sharded, or in another format.
    if let [x, y] = &mut pairs[..] {
        let (gone, come) = if x.new.is_none() { (x, y) } else { (y, x) };
        let lone = gone.new.is_none() && come.old.is_none();
        let direct = |found: &Option<Found>, path| found.as_ref().is_some_and(|f| f.is_directly_in(path));
        if lone && direct(&gone.old, &a.path) && direct(&come.new, &b.path) {
            return Ok(vec![Pair { old: gone.old.take(), new: come.new.take() }]);
        }
    }
    Ok(pairs)
}

/// A directory of one side: its tree, its path.
type At = Option<(BlobId, Vec<u8>)>;

struct Walk<'w> {
    reader: &'w Reader,
    roots: (BlobId, BlobId),
    unreadable: &'w mut Vec<(String, String)>,
    pairs: Vec<Pair>,
    /// Was there any model, on either side?
    met: (bool, bool),
    key: RandomState,
}

/// A directory of one side, read.
#[derive(Default)]
struct Listing {
    path: Vec<u8>,
    nodes: Vec<Node>,
    /// What each index in it stands for.
    indexed: BTreeMap<Vec<u8>, Print>,
    /// Files that are parts of these.
    shards: HashSet<Vec<u8>>,
}

/// What of a directory is compared by name: models, and directories below.
enum Thing<'n> {
    File(&'n Node),
    Index(&'n Node, Print),
}

/// Equal where tensors, names of files and their contents are: all that is kept of a model. By a key of this run's
/// own, so that nobody makes two models with one.
type Print = u64;

fn print(key: &RandomState, model: &Model) -> Print {
    let files: Vec<_> = model.shards.iter().map(|s| (name_of(&s.path), &s.node.content)).collect();
    key.hash_one((files, &model.tensors))
}

impl Thing<'_> {
    fn node(&self) -> &Node {
        match self {
            Self::File(node) | Self::Index(node, _) => node,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a.content == b.content && a.seams == b.seams,
            (Self::Index(_, a), Self::Index(_, b)) => a == b,
            _ => false,
        }
    }
}

impl Walk<'_> {
    /// What the named directories have where one of them has models by links only. `None`: neither has.
    fn linked(&mut self, old: &Place, new: &Place) -> Result<Option<Vec<Pair>>> {
        let mut found = [None, None];
        for (found, place) in found.iter_mut().zip([old, new]) {
            match Model::find(self.reader, place.root, &place.path) {
                Ok(model) => *found = Some(print(&self.key, &model)),
                // None, or several.
                Err(Error::Usage(_) | Error::NotFound { .. }) => {}
                Err(error) => {
                    self.unreadable.push((printable(&place.path), super::passable(error)?));
                    return Ok(Some(Vec::new()));
                }
            }
        }
        let [was, is] = found;
        let by_link = was.is_some() && !self.met.0 || is.is_some() && !self.met.1;
        if !by_link || was.is_none() && self.met.0 || is.is_none() && self.met.1 {
            return Ok(None);
        }
        if was == is {
            return Ok(Some(Vec::new()));
        }
        let side = |place: &Place| Found { root: place.root, path: place.path.clone(), node: None };
        Ok(Some(vec![Pair { old: was.map(|_| side(old)), new: is.map(|_| side(new)) }]))
    }

    fn level(&mut self, old: At, new: At, todo: &mut Vec<(At, At)>) -> Result<()> {
        if let (Some((a, _)), Some((b, _))) = (&old, &new)
            && a == b
        {
            return Ok(());
        }
        let (Some(old), Some(new)) = (self.list(old, self.roots.0)?, self.list(new, self.roots.1)?) else {
            return Ok(());
        };
        let mut below: BTreeMap<&[u8], (At, At)> = BTreeMap::new();
        for node in &old.nodes {
            if let Some(tree) = node.subtree() {
                below.entry(&node.name).or_default().0 = Some((tree, join(&old.path, &node.name)));
            }
        }
        for node in &new.nodes {
            if let Some(tree) = node.subtree() {
                below.entry(&node.name).or_default().1 = Some((tree, join(&new.path, &node.name)));
            }
        }
        todo.extend(below.into_values());
        let (mut olds, news) = (old.models(), new.models());
        self.met = (self.met.0 || !olds.is_empty(), self.met.1 || !news.is_empty());
        let (roots, found) = (self.roots, |root, listing: &Listing, thing: &Thing<'_>| {
            let node = thing.node();
            Some(Found { root, path: join(&listing.path, &node.name), node: Some(node.clone()) })
        });
        for (name, is) in news {
            let was = olds.remove(name);
            if was.as_ref().is_some_and(|was| was.is_same(&is)) {
                continue;
            }
            let was = was.and_then(|was| found(roots.0, &old, &was));
            self.pairs.push(Pair { old: was, new: found(roots.1, &new, &is) });
        }
        for was in olds.into_values() {
            self.pairs.push(Pair { old: found(roots.0, &old, &was), new: None });
        }
        Ok(())
    }

    /// `None`: it could not be read, and half a comparison would call everything added or removed.
    fn list(&mut self, at: At, root: BlobId) -> Result<Option<Listing>> {
        let Some((tree, path)) = at else { return Ok(Some(Listing::default())) };
        let nodes = match self.reader.tree(tree) {
            Ok(nodes) => nodes,
            Err(error) => {
                self.unreadable.push((printable(&path), super::passable(error)?));
                return Ok(None);
            }
        };
        let mut listing = Listing { path, nodes, ..Listing::default() };
        for node in listing.nodes.iter().filter(|n| n.kind == NodeKind::File && is_index(&n.name)) {
            let path = join(&listing.path, &node.name);
            let model = match Model::of_node(self.reader, root, &path, node) {
                Ok(model) => model,
                // An index of something else, or of shards that are not all there: these stand alone.
                Err(Error::Usage(_) | Error::NotFound { .. }) => None,
                Err(error) => {
                    self.unreadable.push((printable(&path), super::passable(error)?));
                    None
                }
            };
            if let Some(model) = model {
                listing.indexed.insert(node.name.to_vec(), print(&self.key, &model));
                listing.shards.extend(model.shards.into_iter().map(|shard| shard.path));
            }
        }
        Ok(Some(listing))
    }
}

impl Listing {
    fn models(&self) -> BTreeMap<&[u8], Thing<'_>> {
        let mut models = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.kind == NodeKind::File) {
            if let Some(print) = self.indexed.get(&node.name[..]) {
                models.insert(&node.name[..], Thing::Index(node, *print));
            } else if node.seams.is_some() && !self.shards.contains(&join(&self.path, &node.name)) {
                models.insert(&node.name[..], Thing::File(node));
            }
        }
        models
    }
}
