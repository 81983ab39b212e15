//! A model in a snapshot: its tensors, by name, in one file or in the shards that an index names.
//!
//! Tensors are those of the files' seam tables (`docs/format.md`, "Seam table"): nothing of the files themselves
//! is read, but for a file that was asked for by name and has no table. An index is a JSON object whose `weight_map` names the file of each tensor, in the same directory,
//! as the `*.safetensors.index.json` and `*.bin.index.json` of model hubs.
//!
//! Memory: some 150 bytes and its name for each tensor.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use crate::error::{Error, Result, printable};
use crate::format::seams::SeamTableV1;
use crate::format::tree::{Node, NodeKind};
use crate::id::BlobId;
use crate::repo::lookup::{self, Found, LastLink, join};
use crate::repo::reader::Reader;
use crate::repo::seams::{table_inside, table_of};

/// Longest index that is read.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Most files that one index may name.
const MAX_SHARDS: usize = 4096;
/// How the name of an index ends.
const INDEX_ENDING: &[u8] = b".index.json";

/// A file of a model.
#[derive(Debug, Clone)]
pub struct Shard {
    /// Absolute, in its snapshot.
    pub path: Vec<u8>,
    /// Its node.
    pub node: Node,
    /// What its seams were read from: [`crate::format::seams::LAYOUT_SAFETENSORS`] and the like.
    pub layout: u8,
}

/// A tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// As its file spells it.
    pub name: Vec<u8>,
    /// Type of its elements, as its layout spells it: `BF16`, `F32`, …
    pub dtype: Vec<u8>,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Which of [`Model::shards`] holds it.
    pub shard: usize,
    /// First byte in that file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// See the module's words.
#[derive(Debug, Clone)]
pub struct Model {
    /// What it was found by: a file of tensors, or an index.
    pub path: Vec<u8>,
    /// Its files, in the order of their names.
    pub shards: Vec<Shard>,
    /// By shard, then by offset.
    pub tensors: Vec<Tensor>,
}

/// Is a file of this name an index of shards?
pub fn is_index(name: &[u8]) -> bool {
    name.ends_with(INDEX_ENDING)
}

/// What of an index is read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Model {
    /// The model at `path` below the tree `root`, links inside the snapshot followed: a file of tensors, an
    /// index, or a directory that holds one index, or one file of tensors.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no model; those of reading.
    pub fn find(reader: &Reader, root: BlobId, path: &[u8]) -> Result<Self> {
        let mut found = lookup::resolve(reader, root, path, LastLink::Keep)?;
        let mut real = found.path.clone();
        if found.node.as_ref().is_some_and(|node| node.kind == NodeKind::Symlink) {
            let target = lookup::resolve(reader, root, path, LastLink::Follow)?;
            // A link to a file keeps its own name: what it leads to may have none to go by, as in the caches of hubs.
            let path = if target.tree.is_some() { target.path.clone() } else { found.path };
            real = target.path.clone();
            found = Found { path, ..target };
        }
        let Found { path, node, tree } = found;
        match (node, tree) {
            (_, Some(tree)) => Self::in_directory(reader, root, &path, reader.tree(tree)?),
            (Some(node), None) => match Self::named(reader, root, &path, &node)? {
                Some(model) => Ok(model.lying_at(&real)),
                None => Err(Error::Usage(format!("{} holds no tensors that are known", printable(&path)))),
            },
            (None, None) => Err(Error::Internal("a path that leads to nothing".into())),
        }
    }

    /// The model that `node` at `path` is, or is an index of; `None` if it is none.
    pub fn of_node(reader: &Reader, root: BlobId, path: &[u8], node: &Node) -> Result<Option<Self>> {
        if node.kind != NodeKind::File {
            return Ok(None);
        }
        if let Some(table) = table_of(node, reader)? {
            return Ok(Self::of_table(path, node, table));
        }
        if is_index(path) { Self::of_index(reader, root, path, node).map(Some) } else { Ok(None) }
    }

    /// The same of a file that was asked for by its name, and is looked into if need be.
    fn named(reader: &Reader, root: BlobId, path: &[u8], node: &Node) -> Result<Option<Self>> {
        match Self::of_node(reader, root, path, node)? {
            Some(model) => Ok(Some(model)),
            None if node.seams.is_some() => Ok(None),
            None => {
                let table = table_inside(reader, path, node)?;
                Ok(table.and_then(|table| Self::of_table(path, node, table)))
            }
        }
    }

    fn of_table(path: &[u8], node: &Node, table: SeamTableV1) -> Option<Self> {
        let mut model = Self { path: path.to_vec(), shards: Vec::new(), tensors: Vec::new() };
        model.add(path.to_vec(), node.clone(), table, |_| true);
        (!model.tensors.is_empty()).then_some(model)
    }

    fn in_directory(reader: &Reader, root: BlobId, path: &[u8], nodes: Vec<Node>) -> Result<Self> {
        // Each by its name here, where it lies, and its node.
        let mut files: Vec<(Vec<u8>, Vec<u8>, Node)> = Vec::new();
        let mut links = 0;
        for node in nodes {
            let at = join(path, &node.name);
            match node.kind {
                NodeKind::File => files.push((at.clone(), at, node)),
                NodeKind::Symlink if links < MAX_SHARDS => {
                    links += 1;
                    // One that leads nowhere, or out of the snapshot, is no model.
                    let target = lookup::resolve(reader, root, &at, LastLink::Follow).ok();
                    if let Some(Found { path: real, node: Some(node), tree: None }) = target {
                        files.push((at, real, node));
                    }
                }
                _ => {}
            }
        }
        let here = printable(path);
        let (indexes, mut files): (Vec<_>, Vec<_>) = files.into_iter().partition(|(at, ..)| is_index(at));
        files.retain(|(.., node)| node.seams.is_some());
        let mut found: Vec<Self> = Vec::new();
        let mut refused = None;
        for (at, _, node) in &indexes {
            match Self::of_node(reader, root, at, node) {
                Ok(model) => found.extend(model),
                // Of something else, perhaps.
                Err(Error::Usage(why)) => drop(refused.get_or_insert(why)),
                Err(error) => return Err(error),
            }
            if found.len() == 2 {
                break;
            }
        }
        if found.is_empty() {
            let mut seen = HashSet::new();
            files.retain(|(_, real, _)| seen.insert(real.clone()));
            for (at, real, node) in files.iter().take(2) {
                found.extend(Self::of_node(reader, root, at, node)?.map(|model| model.lying_at(real)));
            }
        }
        match (found.len(), refused) {
            (0, Some(why)) => Err(Error::Usage(why)),
            (0, None) => {
                Err(Error::Usage(format!("{here} holds no model directly: name a file, or its directory")))
            }
            (1, _) => Ok(found.remove(0)),
            _ => Err(Error::Usage(format!(
                "{here} holds several models: name one, {} or {}",
                printable(&found[0].path),
                printable(&found[1].path)
            ))),
        }
    }

    /// A file that was found by a link lies elsewhere.
    fn lying_at(mut self, real: &[u8]) -> Self {
        if let [shard] = &mut self.shards[..]
            && shard.path == self.path
        {
            shard.path = real.to_vec();
        }
        self
    }

    /// All shards that an index names. One that is missing is an error: a part of a model is no model.
    fn of_index(reader: &Reader, root: BlobId, path: &[u8], node: &Node) -> Result<Self> {
        let refuse = |why: String| Err(Error::Usage(format!("{}: {why}", printable(path))));
        let Some(bytes) = reader.whole(&node.content, MAX_INDEX_BYTES)? else {
            return refuse("is too long for an index of shards".into());
        };
        let index: Index = match serde_json::from_slice(&bytes) {
            Ok(index) => index,
            Err(error) => return refuse(format!("is no index of shards: {error}")),
        };
        let mut shards: BTreeMap<&str, HashSet<&[u8]>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            shards.entry(file).or_default().insert(tensor.as_bytes());
        }
        if shards.len() > MAX_SHARDS || shards.is_empty() {
            return refuse(format!("names {} files", shards.len()));
        }
        let directory = path.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
        let mut model = Self { path: path.to_vec(), shards: Vec::new(), tensors: Vec::new() };
        for (file, tensors) in shards {
            let at = join(directory, file.as_bytes());
            let found = lookup::resolve(reader, root, &at, LastLink::Follow)?;
            let table = match &found.node {
                Some(node) if node.seams.is_some() => table_of(node, reader)?,
                Some(node) => table_inside(reader, &found.path, node)?,
                None => None,
            };
            let (Some(node), Some(table)) = (found.node, table) else {
                return refuse(format!("{} holds no tensors that are known", printable(&found.path)));
            };
            model.add(found.path, node, table, |name| tensors.contains(name));
        }
        Ok(model)
    }

    fn add(&mut self, path: Vec<u8>, node: Node, table: SeamTableV1, wanted: impl Fn(&[u8]) -> bool) {
        let (shard, size) = (self.shards.len(), node.size);
        // A table may lie, and what it says is used to read.
        let inside = |offset: u64, len: u64| offset.checked_add(len).is_some_and(|end| end <= size);
        let seams =
            table.seams.into_iter().filter(|seam| inside(seam.offset, seam.len) && wanted(&seam.name));
        self.tensors.extend(seams.map(|seam| Tensor {
            name: seam.name.to_vec(),
            dtype: seam.dtype.to_vec(),
            shape: seam.shape,
            shard,
            offset: seam.offset,
            len: seam.len,
        }));
        self.shards.push(Shard { path, node, layout: table.layout });
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &[u8]) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Length of all tensors together.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.len))
    }
}
