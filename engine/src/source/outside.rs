//! Links that lead to what is not stored.
//!
//! A snapshot of a Hugging Face revision folder, all links into `../../blobs`,
//! would restore to links to nothing. So every link that is met is noted here
//! ([`Links::note`]), and asked about at the end of the walks ([`Links::outside`]):
//! what leads outside of the roots, or to something that was left out, is
//! counted, sized and named. With `--follow-outside` the caller adds
//! [`OutsideReport::further`] to its plan, walks the new roots, and asks again
//! until nothing is new.
//!
//! Links that lead nowhere, or to devices, pipes and sockets, are only links.
//! A link whose way leads back inside through a link outside counts as inside.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::at::shown;
use super::exclude::Exclude;
use super::measure::measure;
use super::resolve::resolve;
use crate::error::{Problem, ProblemKind};

/// Names looked at in all to size what lies outside.
const MEASURE_BUDGET: u64 = 100_000;
/// Links named in the one problem that is recorded.
const NAMED: usize = 3;

/// What is stored: all below the roots but what was left out.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Real paths of the roots.
    pub roots: &'a BTreeSet<PathBuf>,
    /// Patterns, repository and cache.
    pub exclude: &'a Exclude,
    /// Directories whose content was left out though no pattern says so: tagged
    /// caches and other file systems ([`super::Excluded`]).
    pub left_out: &'a HashSet<PathBuf>,
}

impl Stored<'_> {
    /// Is the real path `path` stored?
    pub fn holds(&self, path: &Path, is_dir: bool) -> bool {
        let Some(root) = path.ancestors().find(|a| self.roots.contains(*a)) else {
            return false;
        };
        let left_out = || path.ancestors().skip(1).any(|a| self.left_out.contains(a));
        !self.exclude.hides(root, path, is_dir) && (self.left_out.is_empty() || !left_out())
    }

    fn in_roots(&self, path: &Path) -> bool {
        path.ancestors().any(|a| self.roots.contains(a))
    }
}

/// Links met so far: path and target.
#[derive(Debug, Default)]
pub struct Links {
    met: Vec<(PathBuf, Box<[u8]>)>,
    count: u64,
}

/// A link to something that is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideLink {
    /// Where the link is.
    pub link: PathBuf,
    /// Its text.
    pub target: PathBuf,
    /// The real path of what it leads to.
    pub real: PathBuf,
    /// Size of that: a lower bound unless `whole`.
    pub bytes: u64,
    /// Was all of it sized?
    pub whole: bool,
    /// It lies inside of a root and was left out on purpose: it is not followed.
    pub excluded: bool,
}

/// All links that lead to what is not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutsideReport {
    /// They, sorted by place.
    pub links: Vec<OutsideLink>,
    /// Size of all they lead to, each thing once: a lower bound unless `whole`.
    pub bytes: u64,
    /// Was everything sized?
    pub whole: bool,
}

impl Links {
    /// None met yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a link at the real path `link`. One whose text alone shows that it
    /// leads to something stored is only counted: should there be another link on
    /// its way, that one is noted itself.
    pub fn note(&mut self, link: &Path, target: &[u8], stored: &Stored<'_>) {
        self.count += 1;
        let parent = link.parent().unwrap_or(link);
        let plain = lexical(parent, Path::new(OsStr::from_bytes(target)));
        if !plain.is_some_and(|path| stored.holds(&path, true) && stored.holds(&path, false)) {
            self.met.push((link.to_owned(), target.into()));
        }
    }

    /// How many links were met.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Which of them lead to what is not stored. Looks at the file system.
    pub fn outside(&self, stored: &Stored<'_>) -> OutsideReport {
        let mut report = OutsideReport { whole: true, ..OutsideReport::default() };
        let mut budget = MEASURE_BUDGET;
        let mut sizes: BTreeMap<PathBuf, (u64, bool)> = BTreeMap::new();
        for (link, target) in &self.met {
            let target = Path::new(OsStr::from_bytes(target));
            let found = resolve(&link.parent().unwrap_or(link).join(target));
            let Some(meta) = found.path.symlink_metadata().ok().filter(|_| found.failed.is_none()) else {
                continue;
            };
            if !(meta.is_file() || meta.is_dir()) || stored.holds(&found.path, meta.is_dir()) {
                continue;
            }
            let (bytes, whole) = *sizes.entry(found.path.clone()).or_insert_with(|| {
                let sum = measure(&found.path, &mut budget);
                (sum.bytes, sum.whole)
            });
            report.links.push(OutsideLink {
                link: link.clone(),
                target: target.to_owned(),
                excluded: stored.in_roots(&found.path)
                    || stored.exclude.hides(&found.path, &found.path, meta.is_dir()),
                real: found.path,
                bytes,
                whole,
            });
        }
        report.links.sort_by(|a, b| a.link.cmp(&b.link));
        // What lies inside of another is counted with it: paths sort below their parents.
        let mut last: Option<&Path> = None;
        for (path, (bytes, whole)) in &sizes {
            if last.is_none_or(|outer| !path.starts_with(outer)) {
                report.bytes = report.bytes.saturating_add(*bytes);
                report.whole &= whole;
                last = Some(path);
            }
        }
        report
    }
}

impl OutsideReport {
    /// The links themselves, to be added to the plan as arguments: it follows
    /// them, and records further links on the way.
    pub fn further(&self) -> Vec<PathBuf> {
        self.links.iter().filter(|l| !l.excluded).map(|l| l.link.clone()).collect()
    }

    /// One problem that counts, sizes and names them.
    pub fn problem(&self) -> Option<Problem> {
        let first = self.links.first()?;
        let mut message = match self.links.len() {
            1 => "this link leads".to_owned(),
            n => format!("{n} links lead"),
        };
        let bound = if self.whole { "" } else { "at least " };
        message.push_str(&format!(" to what is not stored ({bound}{} bytes): ", self.bytes));
        let one = |l: &OutsideLink| {
            let name = l.link.file_name().map_or(l.link.as_path(), Path::new);
            format!("{} -> {}", shown(name), shown(&l.target))
        };
        message.push_str(&self.links.iter().take(NAMED).map(one).collect::<Vec<_>>().join(", "));
        if let Some(more) = self.links.len().checked_sub(NAMED).filter(|n| *n > 0) {
            message.push_str(&format!(" and {more} more"));
        }
        Some(Problem::new(ProblemKind::OutsideLink, shown(&first.link), message))
    }
}

/// Where `target` leads from the real directory `parent` by its text alone; not
/// known if a `..` comes after a name, which may be a link.
fn lexical(parent: &Path, target: &Path) -> Option<PathBuf> {
    let mut path = parent.to_owned();
    let mut named = false;
    for part in target.components() {
        match part {
            Component::RootDir => path = PathBuf::from("/"),
            Component::ParentDir if named => return None,
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => {
                named = true;
                path.push(name);
            }
            _ => {}
        }
    }
    // An absolute text may pass links above the roots: it is real only below one.
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A hub cache as `huggingface_hub` lays it out.
    fn hub() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("snapshots/rev")).unwrap();
        fs::create_dir(top.join("blobs")).unwrap();
        fs::File::create(top.join("blobs/abc")).unwrap().set_len(5000).unwrap();
        symlink("../../blobs/abc", top.join("snapshots/rev/model.safetensors")).unwrap();
        (dir, top)
    }

    fn ask(links: &[PathBuf], roots: &[PathBuf], exclude: &Exclude) -> OutsideReport {
        let (roots, left_out) = (roots.iter().cloned().collect(), HashSet::new());
        let stored = Stored { roots: &roots, exclude, left_out: &left_out };
        let mut met = Links::new();
        for link in links {
            met.note(link, fs::read_link(link).unwrap().as_os_str().as_bytes(), &stored);
        }
        assert_eq!(met.count(), links.len() as u64);
        met.outside(&stored)
    }

    #[test]
    fn a_revision_folder_alone_leads_outside() {
        let (_dir, top) = hub();
        let link = top.join("snapshots/rev/model.safetensors");
        let report = ask(std::slice::from_ref(&link), &[top.join("snapshots/rev")], &Exclude::nothing());
        assert_eq!((report.links.len(), report.bytes, report.whole), (1, 5000, true));
        assert_eq!(report.links[0].real, top.join("blobs/abc"));
        assert_eq!(report.further(), std::slice::from_ref(&link));
        let problem = report.problem().unwrap();
        assert_eq!(problem.kind, ProblemKind::OutsideLink);
        assert!(problem.message.contains("5000 bytes"), "{problem}");
        let whole = ask(&[link], &[top], &Exclude::nothing());
        assert!(whole.links.is_empty() && whole.problem().is_none());
    }

    #[test]
    fn links_to_nothing_and_to_devices_are_only_links() {
        let (_dir, top) = hub();
        let at = |name: &str, target: &str| {
            symlink(target, top.join(name)).unwrap();
            top.join(name)
        };
        let links = [at("d", "gone/x"), at("n", "/dev/null"), at("c", "c")];
        assert!(ask(&links, &[top.join("snapshots")], &Exclude::nothing()).links.is_empty());
    }

    #[test]
    fn the_same_thing_is_sized_once() {
        let (_dir, top) = hub();
        let root = top.join("snapshots");
        let mut links = vec![root.join("rev/model.safetensors")];
        for (name, target) in [("again", "../blobs/abc"), ("all", "../blobs"), ("self", "rev")] {
            symlink(target, root.join(name)).unwrap();
            links.push(root.join(name));
        }
        let report = ask(&links, &[root], &Exclude::nothing());
        assert_eq!((report.links.len(), report.bytes), (3, 5000));
    }

    #[test]
    fn what_was_left_out_is_told_and_not_followed() {
        let (_dir, top) = hub();
        let link = top.join("snapshots/rev/model.safetensors");
        let options = crate::source::ExcludeOptions { patterns: vec!["blobs/".into()], ..Default::default() };
        let report = ask(&[link], &[top], &Exclude::new(&options).unwrap());
        assert!(report.links[0].excluded);
        assert!(report.further().is_empty());
        assert!(report.problem().is_some());
    }

    #[test]
    fn a_way_through_another_link_is_seen() {
        let (_dir, top) = hub();
        let root = top.join("snapshots");
        symlink("../blobs", root.join("b")).unwrap();
        symlink("b/abc", root.join("x")).unwrap();
        symlink("b/../snapshots", root.join("back")).unwrap();
        let links = [root.join("b"), root.join("x"), root.join("back")];
        let report = ask(&links, std::slice::from_ref(&root), &Exclude::nothing());
        let named: Vec<_> = report.links.iter().map(|l| l.link.clone()).collect();
        assert_eq!(named, [root.join("b")], "x is lexically inside: the link it passes is named");
    }
}
