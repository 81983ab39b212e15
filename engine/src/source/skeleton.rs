//! The top of a snapshot's tree: from results at absolute paths to one tree.
//!
//! Between `/` and the roots stand directories that are stored with their own
//! metadata but only the children that are needed. Invariant: nothing is kept
//! below a directory that came complete.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::at::{At, shown};
use super::meta::{Names, node_of};
use crate::error::{Problem, ProblemKind};
use crate::format::content::Entry;
use crate::format::tree::{MARK_INCOMPLETE, Node, NodeKind};
use crate::id::BlobId;

/// Nodes at their absolute paths.
#[derive(Debug, Default)]
pub struct Skeleton {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Skeleton {
    /// Empty: `/` without children.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a finished node at `path`: a link, a file with its content, or a
    /// directory with its tree. It replaces what was there and below; it is
    /// ignored (`false`) where a complete directory stands above it.
    pub fn insert(&mut self, path: &Path, node: Node) -> bool {
        let complete = |p: &Path| self.nodes.get(p).is_some_and(|n| n.subtree().is_some());
        if path.ancestors().skip(1).any(complete) {
            return false;
        }
        // Paths are ordered by components: what lies below `path` follows it.
        let below = |(old, _): &(&PathBuf, &Node)| old.starts_with(path);
        let replaced: Vec<PathBuf> =
            self.nodes.range(path.to_owned()..).take_while(below).map(|(old, _)| old.clone()).collect();
        for old in replaced {
            self.nodes.remove(&old);
        }
        self.nodes.insert(path.to_owned(), node);
        true
    }

    /// Puts plain directories, owned and dated like `file`, above what stands at `path`: they need not exist on this
    /// machine.
    pub fn invent_above(&mut self, path: &Path, file: &Node) {
        for above in path.ancestors().skip(1).filter(|above| above.parent().is_some()) {
            let name = above.file_name().unwrap_or_default().as_bytes();
            let directory = Node {
                mode: 0o755,
                uid: file.uid,
                gid: file.gid,
                user: file.user.clone(),
                group: file.group.clone(),
                mtime: file.mtime,
                ctime: file.ctime,
                ..Node::blank(name, NodeKind::Directory)
            };
            self.nodes.entry(above.to_owned()).or_insert(directory);
        }
    }

    /// Reads the metadata of the directories above what was inserted. One that is
    /// gone meanwhile is replaced by a stand-in: what was stored below it stays.
    pub fn complete(&mut self, names: &Names) -> Vec<Problem> {
        let mut problems = Vec::new();
        let wanted: BTreeSet<PathBuf> =
            self.nodes.keys().flat_map(|p| p.ancestors().skip(1)).map(Path::to_owned).collect();
        for path in wanted {
            if self.nodes.contains_key(&path) || path == Path::new("/") {
                continue;
            }
            match At::of_path(&path).and_then(|at| at.stat().map(|stat| (at, stat))) {
                Ok((at, stat)) => {
                    let (node, found) = node_of(&at, &stat, names);
                    problems.extend(found);
                    // Were it replaced meanwhile, what was stored still hangs below it.
                    self.nodes
                        .insert(path, Node { kind: NodeKind::Directory, size: 0, content: vec![], ..node });
                }
                Err(e) => {
                    problems.push(Problem::new(ProblemKind::Vanished, shown(&path), e));
                    let name = path.file_name().unwrap_or_default().as_bytes();
                    let stand_in = Node {
                        mode: 0o700,
                        marks: MARK_INCOMPLETE,
                        ..Node::blank(name, NodeKind::Directory)
                    };
                    self.nodes.insert(path, stand_in);
                }
            }
        }
        problems
    }

    /// Makes the trees, deepest first, by `make_tree` (which is given the path
    /// of a directory and its nodes, sorted by name, and stores them), and
    /// returns that of `/`. A node whose parent is unknown is left out: call
    /// [`Skeleton::complete`] before.
    pub fn build<E>(
        self,
        mut make_tree: impl FnMut(&Path, Vec<Node>) -> Result<BlobId, E>,
    ) -> Result<BlobId, E> {
        let mut children: HashMap<PathBuf, Vec<Node>> = HashMap::new();
        let mut by_depth: Vec<(PathBuf, Node)> = self.nodes.into_iter().collect();
        by_depth.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        let mut sorted = |path: &Path, nodes: Option<Vec<Node>>| {
            let mut nodes = nodes.unwrap_or_default();
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            make_tree(path, nodes)
        };
        for (path, mut node) in by_depth {
            let Some(parent) = path.parent() else {
                if let Some(id) = node.subtree() {
                    return Ok(id);
                }
                continue;
            };
            if node.kind == NodeKind::Directory && node.subtree().is_none() {
                let id = sorted(&path, children.remove(&path))?;
                node.content = vec![Entry::Tree { id }];
            }
            children.entry(parent.to_owned()).or_default().push(node);
        }
        let top = Path::new("/");
        sorted(top, children.remove(top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;

    fn node(path: &Path) -> Node {
        let at = At::of_path(path).unwrap();
        let stat = at.stat().unwrap();
        node_of(&at, &stat, &Names::new()).0
    }

    fn build(skeleton: Skeleton) -> Vec<(PathBuf, Vec<Vec<u8>>)> {
        let mut made: Vec<(PathBuf, Vec<Vec<u8>>)> = Vec::new();
        let id = skeleton
            .build(|path, nodes| {
                assert!(nodes.iter().all(|n| n.kind != NodeKind::Directory || n.subtree().is_some()));
                made.push((path.to_owned(), nodes.iter().map(|n| n.name.to_vec()).collect()));
                Ok::<_, Infallible>(BlobId([u8::try_from(made.len()).unwrap(); 32]))
            })
            .unwrap();
        assert_eq!(usize::from(id.0[0]), made.len(), "the last tree is the top");
        made
    }

    #[test]
    fn results_meet_at_the_top_deepest_first() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("b/c")).unwrap();
        for f in ["b/c/2", "b/c/1", "a"] {
            fs::File::create(top.join(f)).unwrap();
        }
        let mut skeleton = Skeleton::new();
        for f in ["b/c/2", "a", "b/c/1"] {
            assert!(skeleton.insert(&top.join(f), node(&top.join(f))));
        }
        assert!(skeleton.complete(&Names::new()).is_empty());
        let made = build(skeleton);
        assert_eq!(made[0], (top.join("b/c"), vec![b"1".to_vec(), b"2".to_vec()]));
        assert_eq!(made[2], (top.clone(), vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(made.last().unwrap().0, Path::new("/"));
        assert_eq!(made.last().unwrap().1.len(), 1, "only what is needed");
    }

    #[test]
    fn a_complete_directory_holds_all_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::File::create(top.join("f")).unwrap();
        let mut skeleton = Skeleton::new();
        assert!(skeleton.insert(&top.join("f"), node(&top.join("f"))));
        let mut whole = node(&top);
        whole.content = vec![Entry::Tree { id: BlobId([9; 32]) }];
        assert!(skeleton.insert(&top, whole.clone()));
        assert!(!skeleton.insert(&top.join("f"), node(&top.join("f"))));
        skeleton.complete(&Names::new());
        assert!(build(skeleton).iter().all(|(p, _)| *p != top));

        let mut root = Skeleton::new();
        root.insert(Path::new("/"), whole);
        let id = root.build(|_, _| -> Result<BlobId, ()> { Err(()) });
        assert_eq!(id, Ok(BlobId([9; 32])), "the root directory as an argument");
        assert_eq!(build(Skeleton::new()).len(), 1, "nothing at all is an empty tree");
    }
}
