//! From arguments to roots: what is to be walked, each thing once.
//!
//! A link in an argument, be it its last name, a parent or one of a chain, is
//! followed, and link and target are both recorded: the link at its own place,
//! the target as a root at its real path. So `/models/current` brings the model
//! and the link that says which one was current. A root inside another one is
//! dropped, as is a link inside a root: the walk meets both.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::at::{At, shown};
use super::meta::{Names, node_of};
use super::resolve::resolve;
use crate::error::{Problem, ProblemKind};
use crate::format::tree::{EXT_FOLLOWED, Node};
use crate::format::wire::Extension;

/// Roots and links found so far. Invariant: no root lies inside another.
#[derive(Debug, Default)]
pub struct Plan {
    roots: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// What more arguments changed.
#[derive(Debug, Default)]
pub struct Added {
    /// Roots that are new; none of them was one before.
    pub roots: Vec<PathBuf>,
    /// Roots of before that lie inside one of the new roots. They are roots no longer.
    pub swallowed: Vec<PathBuf>,
    /// Arguments that lead nowhere.
    pub problems: Vec<Problem>,
}

impl Plan {
    /// Without a root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in arguments; relative ones start at `cwd`, which must be absolute.
    pub fn add<P: AsRef<Path>>(&mut self, arguments: &[P], cwd: &Path) -> Added {
        let before = self.roots.clone();
        let mut problems = Vec::new();
        for argument in arguments {
            problems.extend(self.add_one(argument.as_ref(), cwd));
        }
        Added {
            roots: self.roots.difference(&before).cloned().collect(),
            swallowed: before.difference(&self.roots).cloned().collect(),
            problems,
        }
    }

    fn add_one(&mut self, argument: &Path, cwd: &Path) -> Option<Problem> {
        if argument.as_os_str().is_empty() {
            return Some(Problem::new(ProblemKind::Missing, "(an empty path)", "names nothing"));
        }
        let found = resolve(&cwd.join(argument));
        for link in &found.links {
            self.links.entry(link.clone()).or_insert_with(|| resolve(link).path);
        }
        if let Some(error) = found.failed {
            let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
            let kind = if missing { ProblemKind::Missing } else { ProblemKind::Unreadable };
            let message = match (missing, found.links.is_empty()) {
                (true, true) => "is not there".to_owned(),
                (true, false) => format!("leads to {}, which is not there", shown(&found.path)),
                (false, _) => format!("cannot be looked at: {error}"),
            };
            return Some(Problem::new(kind, shown(argument), message));
        }
        if !self.covers(&found.path) {
            // Paths are ordered by components: what lies below a path follows it.
            let below = |old: &&PathBuf| old.starts_with(&found.path);
            let swallowed: Vec<PathBuf> =
                self.roots.range(found.path.clone()..).take_while(below).cloned().collect();
            for old in swallowed {
                self.roots.remove(&old);
            }
            self.roots.insert(found.path);
        }
        None
    }

    /// Is `path` a root, or inside one?
    pub fn covers(&self, path: &Path) -> bool {
        path.ancestors().any(|a| self.roots.contains(a))
    }

    /// Real paths to walk, sorted; none lies inside another.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(PathBuf::as_path)
    }

    /// Links that no walk will meet, each with the real path it leads to, sorted.
    pub fn links(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.links.iter().map(|(l, t)| (l.as_path(), t.as_path())).filter(|(l, _)| !self.covers(l))
    }

    /// Nodes of [`Plan::links`], each with where it led ([`EXT_FOLLOWED`]), for the skeleton.
    pub fn link_nodes(&self, names: &Names) -> (Vec<(PathBuf, Node)>, Vec<Problem>) {
        let mut nodes = Vec::new();
        let mut problems = Vec::new();
        for (link, real) in self.links() {
            let looked = At::of_path(link).and_then(|at| at.stat().map(|stat| (at, stat)));
            let (at, stat) = match looked {
                Ok(looked) => looked,
                Err(e) => {
                    problems.push(Problem::new(ProblemKind::Vanished, shown(link), e));
                    continue;
                }
            };
            let (mut node, found) = node_of(&at, &stat, names);
            problems.extend(found);
            if node.link_target().is_some() {
                let data = real.as_os_str().as_bytes().into();
                node.extensions.push(Extension { tag: EXT_FOLLOWED, critical: false, data });
                nodes.push((link.to_owned(), node));
            }
        }
        (nodes, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn models() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("v2/x")).unwrap();
        fs::File::create(top.join("v2/x/f")).unwrap();
        symlink("v2", top.join("current")).unwrap();
        symlink(top.join("current"), top.join("stable")).unwrap();
        symlink("gone", top.join("dangling")).unwrap();
        (dir, top)
    }

    fn paths<'a>(it: impl Iterator<Item = &'a Path>) -> Vec<PathBuf> {
        it.map(Path::to_owned).collect()
    }

    #[test]
    fn a_link_and_its_target_are_both_recorded() {
        let (_dir, top) = models();
        let mut plan = Plan::new();
        let added = plan.add(&["stable"], &top);
        assert_eq!(added.roots, [top.join("v2")]);
        assert!(added.problems.is_empty());
        let links: Vec<_> = plan.links().map(|(l, t)| (l.to_owned(), t.to_owned())).collect();
        assert_eq!(links, [(top.join("current"), top.join("v2")), (top.join("stable"), top.join("v2"))]);
        let (nodes, problems) = plan.link_nodes(&Names::new());
        assert!(problems.is_empty());
        assert_eq!(nodes[0].1.link_target(), Some(&b"v2"[..]));
        assert_eq!(&**nodes[1].1.extension(EXT_FOLLOWED).unwrap(), top.join("v2").as_os_str().as_bytes());
    }

    #[test]
    fn links_in_parents_count_too() {
        let (_dir, top) = models();
        let mut plan = Plan::new();
        plan.add(&[top.join("current/x")], Path::new("/"));
        assert_eq!(paths(plan.roots()), [top.join("v2/x")]);
        assert_eq!(paths(plan.links().map(|l| l.0)), [top.join("current")]);
    }

    #[test]
    fn nested_roots_are_one() {
        let (_dir, top) = models();
        let mut plan = Plan::new();
        plan.add(&["v2/x/f", "v2/x", "./v2/../v2/x/", "current/x"], &top);
        assert_eq!(paths(plan.roots()), [top.join("v2/x")]);
        let added = plan.add(&["."], &top);
        assert_eq!(added.roots, std::slice::from_ref(&top));
        assert_eq!(added.swallowed, [top.join("v2/x")]);
        assert_eq!(plan.links().count(), 0, "the walk meets the link");
        assert!(plan.add(&["v2"], &top).roots.is_empty());
        let all = plan.add(&["/"], &top);
        assert_eq!((all.roots, all.swallowed), (vec![PathBuf::from("/")], vec![top]));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_not_nested() {
        let (_dir, top) = models();
        fs::create_dir(top.join("v2b")).unwrap();
        let mut plan = Plan::new();
        plan.add(&["v2", "v2b"], &top);
        assert_eq!(plan.roots().count(), 2);
    }

    #[test]
    fn what_is_missing_is_a_problem_and_its_link_is_kept() {
        let (_dir, top) = models();
        let mut plan = Plan::new();
        let added = plan.add(&["none", "dangling", "v2/x/f/below", ""], &top);
        assert!(added.roots.is_empty());
        assert!(added.problems.iter().all(|p| p.kind == ProblemKind::Missing), "{:?}", added.problems);
        assert_eq!(added.problems.len(), 4);
        assert!(added.problems[1].message.contains("gone"));
        assert_eq!(paths(plan.links().map(|l| l.0)), [top.join("dangling")]);
    }
}
