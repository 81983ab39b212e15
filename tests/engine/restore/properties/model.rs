//! What a restore over something makes of it: the options' descriptions as a program, and the two compared.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use ballast::error::Error;
use ballast::op::restore::{self, Overwrite, RestoreOptions};
use ballast::progress::Silent;
use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::build::{self, Spec, Vault};

/// A thing of either side. Times are seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    File(String, i64),
    Link(String, i64),
    Dir(Tree, i64),
}

type Tree = BTreeMap<String, Thing>;

impl Thing {
    fn time(&self) -> i64 {
        match self {
            Self::File(_, time) | Self::Link(_, time) | Self::Dir(_, time) => *time,
        }
    }
}

const NAMES: [&str; 5] = ["a", "b", "c.tmp", "d.bin", "e"];
const PATTERNS: [&str; 7] = ["*.tmp", "a", "/a", "/b/e", "a/b", "b/*.tmp", "d.bin"];

fn trees() -> impl Strategy<Value = Tree> {
    let time = || (1..4i64).prop_map(|n| n * 100);
    let text = proptest::sample::select(vec!["one", "two", "three"]).prop_map(str::to_owned);
    let leaf = prop_oneof![
        5 => (text.clone(), time()).prop_map(|(text, time)| Thing::File(text, time)),
        1 => (text, time()).prop_map(|(text, time)| Thing::Link(text, time)),
    ];
    let name = || proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
    let thing = leaf.prop_recursive(3, 30, 4, move |inner| {
        (btree_map(name(), inner, 0..4), time()).prop_map(|(tree, time)| Thing::Dir(tree, time))
    });
    let name = proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
    btree_map(name, thing, 0..5)
}

/// The options that are tried.
#[derive(Debug, Clone)]
struct Asked {
    overwrite: Overwrite,
    include: Vec<String>,
    exclude: Vec<String>,
    delete: bool,
    in_place: bool,
    strip: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    use Overwrite::{Always, IfChanged, IfNewer, Never};
    let overwrite = proptest::sample::select(vec![Always, IfChanged, IfNewer, Never]);
    let patterns = || {
        let some = proptest::sample::subsequence(PATTERNS.to_vec(), 1..3);
        let some = some.prop_map(|list| list.into_iter().map(str::to_owned).collect());
        prop_oneof![2 => Just(Vec::new()), 1 => some]
    };
    let strip = prop_oneof![3 => Just(0usize), 1 => Just(1), 1 => Just(2)];
    let all = (overwrite, patterns(), patterns(), any::<bool>(), any::<bool>(), strip);
    all.prop_map(|(overwrite, include, exclude, delete, in_place, strip)| Asked {
        overwrite,
        include,
        exclude,
        delete,
        in_place,
        strip,
    })
}

/// Does one of the patterns above fit this path itself?
fn fits(patterns: &[String], path: &[String]) -> bool {
    let name_fits = |pattern: &str, name: &str| match pattern.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => pattern == name,
    };
    patterns.iter().any(|pattern| {
        let parts: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
        let at_top = pattern.starts_with('/') && path.len() != parts.len();
        !at_top
            && path.len() >= parts.len()
            && parts
                .iter()
                .zip(&path[path.len() - parts.len()..])
                .all(|(pattern, name)| name_fits(pattern, name))
    })
}

impl Asked {
    fn is_excluded(&self, path: &[String]) -> bool {
        (1..=path.len()).any(|len| fits(&self.exclude, &path[..len]))
    }

    /// Selected: it, or what it is in, is included, and nothing of that is excluded.
    fn selects(&self, path: &[String]) -> bool {
        let included =
            self.include.is_empty() || (1..=path.len()).any(|len| fits(&self.include, &path[..len]));
        included && !self.is_excluded(path)
    }

    fn replaces(&self, new: &Thing, old: &Thing) -> bool {
        match self.overwrite {
            Overwrite::Always | Overwrite::IfChanged => true,
            Overwrite::IfNewer => old.time() < new.time(),
            Overwrite::Never => false,
        }
    }
}

/// A directory of the snapshot: its path and what is in it.
type Part<'t> = (Vec<String>, &'t Tree);

fn below(path: &[String], name: &str) -> Vec<String> {
    [path, &[name.to_owned()]].concat()
}

struct Model<'a> {
    asked: &'a Asked,
    removed: u64,
    problems: u64,
}

impl Model<'_> {
    /// Is anything of it to be restored?
    fn is_wanted(&self, path: &[String], thing: &Thing) -> bool {
        if self.asked.is_excluded(path) {
            return false;
        }
        let inside = |tree: &Tree| tree.iter().any(|(name, thing)| self.is_wanted(&below(path, name), thing));
        self.asked.selects(path) || matches!(thing, Thing::Dir(tree, _) if inside(tree))
    }

    /// May it be in the way of another path of the same name?
    fn takes_room(&self, path: &[String], thing: &Thing) -> bool {
        match thing {
            Thing::Dir(..) => !self.asked.is_excluded(path),
            _ => self.asked.selects(path),
        }
    }

    /// By name: what the parts have under it.
    fn merge<'t>(&self, parts: &[Part<'t>]) -> BTreeMap<String, Vec<(Vec<String>, &'t Thing)>> {
        let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (path, tree) in parts {
            for (name, thing) in *tree {
                all.entry(name.clone()).or_default().push((below(path, name), thing));
            }
        }
        all
    }

    fn collides(&self, parts: &[Part<'_>]) -> bool {
        parts.len() > 1
            && self.merge(parts).into_values().any(|mut same| {
                same.retain(|(path, thing)| self.takes_room(path, thing));
                let dirs: Vec<Part<'_>> = dirs(&same);
                (same.len() > 1 && dirs.len() < same.len()) || self.collides(&dirs)
            })
    }

    /// `fresh`: it was made by this restore.
    fn restore(&mut self, target: &mut Tree, parts: &[Part<'_>], fresh: bool) {
        let merged = self.merge(parts);
        let names: BTreeSet<String> = merged.keys().cloned().collect();
        let mut trouble = false;
        for (name, mut same) in merged {
            same.retain(|(path, _)| !self.asked.is_excluded(path));
            // A directory that nothing is wanted of may still be where a stranger would be.
            let dirs = dirs(&same);
            same.retain(|(path, thing)| self.is_wanted(path, thing));
            let Some((_, first)) = same.first().cloned() else { continue };
            if !matches!(first, Thing::Dir(..)) {
                trouble |= !self.leaf(target, &name, parts, first);
            } else {
                // Its own metadata decide: those of the first part that is wanted itself.
                let itself = same.iter().find(|(path, _)| self.asked.selects(path)).map_or(first, |(_, t)| t);
                trouble |= !self.directory(target, &name, &dirs, itself);
            }
        }
        if self.asked.delete && !fresh && !trouble && !parts.is_empty() {
            let strange: Vec<_> = target.keys().filter(|name| !names.contains(*name)).cloned().collect();
            let at: Vec<_> = parts.iter().map(|(path, _)| path.clone()).collect();
            strange.into_iter().for_each(|name| self.remove(target, &name, &at));
        }
    }

    /// `false` after a problem.
    fn leaf(&mut self, target: &mut Tree, name: &str, parts: &[Part<'_>], new: &Thing) -> bool {
        match target.get(name) {
            Some(old) if !self.asked.replaces(new, old) => return true,
            Some(Thing::Dir(..)) => {
                if self.asked.delete {
                    let at: Vec<_> = parts.iter().map(|(path, _)| path.clone()).collect();
                    self.remove(target, name, &at);
                }
                if target.contains_key(name) {
                    self.problems += 1;
                    return false;
                }
            }
            Some(Thing::File(old, time)) => {
                let trusted = self.asked.overwrite == Overwrite::IfChanged;
                if trusted && matches!(new, Thing::File(new, t) if new.len() == old.len() && t == time) {
                    return true;
                }
            }
            _ => {}
        }
        target.insert(name.to_owned(), new.clone());
        true
    }

    fn directory(&mut self, target: &mut Tree, name: &str, parts: &[Part<'_>], new: &Thing) -> bool {
        let refused = match target.get(name) {
            Some(Thing::Link(..)) => true,
            Some(old @ Thing::File(..)) => !self.asked.replaces(new, old),
            _ => false,
        };
        if refused {
            self.problems += 1;
            return false;
        }
        let mut inside = match target.remove(name) {
            Some(Thing::Dir(tree, _)) => (tree, false),
            _ => (Tree::new(), true),
        };
        self.restore(&mut inside.0, parts, inside.1);
        target.insert(name.to_owned(), Thing::Dir(inside.0, 0));
        true
    }

    /// Takes away what is selected of it, wherever it might be in the snapshot.
    fn remove(&mut self, target: &mut Tree, name: &str, at: &[Vec<String>]) {
        let paths: Vec<_> = at.iter().map(|path| below(path, name)).collect();
        if paths.iter().any(|path| self.asked.is_excluded(path)) {
            return;
        }
        if let Some(Thing::Dir(tree, _)) = target.get_mut(name) {
            let names: Vec<_> = tree.keys().cloned().collect();
            names.into_iter().for_each(|inner| self.remove(tree, &inner, &paths));
            if !tree.is_empty() {
                return;
            }
        }
        if paths.iter().all(|path| self.asked.selects(path)) {
            target.remove(name);
            self.removed += 1;
        }
    }
}

fn dirs<'t>(same: &[(Vec<String>, &'t Thing)]) -> Vec<Part<'t>> {
    let tree = |(path, thing): &(Vec<String>, &'t Thing)| match thing {
        Thing::Dir(tree, _) => Some((path.clone(), tree)),
        _ => None,
    };
    same.iter().filter_map(tree).collect()
}

fn specs(tree: &Tree) -> Vec<Spec> {
    let spec = |(name, thing): (&String, &Thing)| {
        let spec = match thing {
            Thing::File(text, _) => build::file(name.as_bytes(), text.as_bytes()),
            Thing::Link(text, _) => build::link(name.as_bytes(), text.as_bytes()),
            Thing::Dir(tree, _) => build::dir(name.as_bytes(), specs(tree)),
        };
        spec.mtime(thing.time(), 0)
    };
    tree.iter().map(spec).collect()
}

fn lay(dir: &Path, tree: &Tree) {
    for (name, thing) in tree {
        let path = dir.join(name);
        match thing {
            Thing::File(text, _) => fs::write(&path, text).unwrap(),
            Thing::Link(text, _) => symlink(text, &path).unwrap(),
            Thing::Dir(tree, _) => {
                fs::create_dir(&path).unwrap();
                lay(&path, tree);
            }
        }
        let time = rustix::fs::Timespec { tv_sec: thing.time(), tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags).unwrap();
    }
}

/// What is there; of directories the time is not compared.
fn found(dir: &Path) -> Tree {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let thing = if meta.is_dir() {
            Thing::Dir(found(&path), 0)
        } else if meta.is_symlink() {
            Thing::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned(), meta.mtime())
        } else {
            Thing::File(fs::read_to_string(&path).unwrap(), meta.mtime())
        };
        (path.file_name().unwrap().to_str().unwrap().to_owned(), thing)
    };
    fs::read_dir(dir).unwrap().map(entry).collect()
}

fn without_times(tree: &Tree) -> Tree {
    let plain = |(name, thing): (&String, &Thing)| {
        let thing = match thing {
            Thing::Dir(tree, _) => Thing::Dir(without_times(tree), 0),
            other => other.clone(),
        };
        (name.clone(), thing)
    };
    tree.iter().map(plain).collect()
}

#[test]
fn over_anything_the_options_do_what_they_say() {
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    // A few for each repository: with each there is more to be looked through.
    let vault = std::cell::RefCell::new((Vault::new(), 0));
    let (removed, collided, problems) = (Cell::new(0), Cell::new(0), Cell::new(0));
    runner
        .run(&(trees(), trees(), asked()), |(stored, there, asked)| {
            let mut place = vault.borrow_mut();
            if place.1 == 16 {
                *place = (Vault::new(), 0);
            }
            place.1 += 1;
            let vault = &place.0;
            let id = vault.snapshot(&specs(&stored));
            let (_keep, target) = build::place();
            lay(&target, &there);
            let options = RestoreOptions {
                overwrite: asked.overwrite,
                include: asked.include.clone(),
                exclude: asked.exclude.clone(),
                delete: asked.delete,
                in_place: asked.in_place,
                strip_components: asked.strip,
                ..build::to(id, &target)
            };
            let mut model = Model { asked: &asked, removed: 0, problems: 0 };
            let mut parts: Vec<Part<'_>> = vec![(Vec::new(), &stored)];
            for _ in 0..asked.strip {
                let all: Vec<_> = parts
                    .iter()
                    .flat_map(|(path, tree)| tree.iter().map(|(name, thing)| (below(path, name), thing)))
                    .filter(|(path, _)| !asked.is_excluded(path))
                    .collect();
                parts = dirs(&all);
            }
            let mut expected = there.clone();
            let dry =
                restore::run(&vault.repo, &RestoreOptions { dry_run: true, ..options.clone() }, &Silent);
            prop_assert_eq!(found(&target), without_times(&there), "a dry run changes nothing");
            let done = restore::run(&vault.repo, &options, &Silent);
            // Whoever restores all to a directory that has nothing of it forgot a path.
            let strangers = asked.delete && asked.strip == 0 && !there.is_empty();
            let strangers = strangers && !there.keys().any(|name| stored.contains_key(name));
            if strangers || model.collides(&parts) {
                prop_assert!(matches!(&done, Err(Error::Usage(_))), "{:?}", done);
                prop_assert!(matches!(&dry, Err(Error::Usage(_))), "{:?}", dry);
                collided.set(collided.get() + u64::from(!strangers));
            } else {
                model.restore(&mut expected, &parts, false);
                let report = done.unwrap();
                prop_assert_eq!(
                    (report.problem_count, report.deleted_count),
                    (model.problems, model.removed)
                );
                let dry = dry.unwrap();
                prop_assert_eq!(dry.directories >= report.directories, true);
                if model.problems == 0 && dry.deleted_count != report.deleted_count {
                    prop_assert!(asked.delete && dry.deleted_count < report.deleted_count);
                }
            }
            prop_assert_eq!(found(&target), without_times(&expected));
            removed.set(removed.get() + model.removed);
            problems.set(problems.get() + model.problems);
            Ok(())
        })
        .unwrap();
    let counted = (removed.get(), collided.get(), problems.get());
    assert!(counted.0 > 50 && counted.1 > 1 && counted.2 > 1, "{counted:?}");
}
