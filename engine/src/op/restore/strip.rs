//! `--strip-components`: the first names of each path are left away, so that what several directories hold comes
//! into one. Directories that then share a name become one; any other two of one name are a collision, found
//! before anything is written.

use std::sync::Arc;

use super::aside::database_of;
use super::plan::{Item, Trees, Walk};
use super::select::Verdict;
use crate::error::{Error, Result, printable};
use crate::format::tree::NodeKind;

impl<T: Trees> Walk<'_, T> {
    /// The walk without the first `count` names of each path. What has no more than those is left out.
    pub fn stripped(mut self, count: usize) -> Result<Self> {
        if count == 0 {
            return Ok(self);
        }
        let mut items = self.take_top();
        let is_directory = !self.top_origins.is_empty();
        self.top_origins.clear();
        let mut said = Vec::new();
        for _ in 0..count {
            self.top_origins.clear();
            let mut below = Vec::new();
            for item in items {
                let verdict = self.judge(&item);
                if item.node.kind == NodeKind::Directory && verdict != Verdict::Skip {
                    self.top_whole &= item.node.marks & crate::format::tree::MARK_INCOMPLETE == 0;
                    let (nodes, from) = self.open(&item, verdict, &mut said);
                    below.extend(nodes);
                    self.top_origins.push(from);
                }
            }
            items = below;
        }
        self.top_whole &= said.is_empty() && is_directory;
        self.ready.extend(said);
        let items = merged(items);
        self.refuse_collisions(&items)?;
        self.begin_with(items);
        Ok(self)
    }

    /// Below directories that became one, too.
    fn refuse_collisions(&self, items: &[Item]) -> Result<()> {
        let mut todo: Vec<Vec<Item>> = Vec::new();
        self.look(items, &mut todo)?;
        while let Some(items) = todo.pop() {
            self.look(&items, &mut todo)?;
        }
        Ok(())
    }

    /// The first that is wanted of what became one: what comes of the others takes the name as well.
    fn wanted_of<'i>(&self, item: &'i Item) -> Option<&'i Item> {
        std::iter::once(item).chain(&item.also).find(|part| self.judge(part) != Verdict::Skip)
    }

    fn look(&self, items: &[Item], todo: &mut Vec<Vec<Item>>) -> Result<()> {
        let wanted: Vec<&Item> = items.iter().filter(|item| self.wanted_of(item).is_some()).collect();
        for pair in wanted.windows(2) {
            if pair[0].node.name == pair[1].node.name {
                let [one, other] = [pair[0], pair[1]].map(|item| self.wanted_of(item).unwrap_or(item));
                return Err(collision(one, other, "have the same name"));
            }
        }
        for item in &wanted {
            let database = database_of(&item.node.name).filter(|_| item.node.kind == NodeKind::File);
            let at =
                database.and_then(|name| wanted.binary_search_by(|other| other.node.name[..].cmp(name)).ok());
            if let Some(other) = at.map(|at| wanted[at])
                && other.node.kind == NodeKind::File
                && !Arc::ptr_eq(&other.from, &item.from)
            {
                return Err(collision(other, item, "would be taken for one database"));
            }
            if !item.also.is_empty() {
                let parts = std::iter::once(*item).chain(&item.also);
                let parts = parts.map(|part| (self.judge(part), part)).filter(|(v, _)| *v != Verdict::Skip);
                let below = parts.flat_map(|(verdict, part)| self.open(part, verdict, &mut Vec::new()).0);
                todo.push(merged(below.collect()));
            }
        }
        Ok(())
    }
}

fn collision(one: &Item, other: &Item, what: &str) -> Error {
    let paths = [one, other].map(|item| printable(&item.path()).to_string());
    Error::Usage(format!("--strip-components: {} and {} {what} without it", paths[0], paths[1]))
}

/// Sorted by name; directories of one name become one item, in the order in which they came. Any others of one
/// name stay beside each other.
pub fn merged(mut items: Vec<Item>) -> Vec<Item> {
    // Directories first: whatever else has their name, wanted or not, does not keep them apart.
    let key = |item: &Item| item.node.kind != NodeKind::Directory;
    items.sort_by(|a, b| a.node.name.cmp(&b.node.name).then(key(a).cmp(&key(b))));
    let mut out: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        let both = |last: &Item| {
            last.node.name == item.node.name
                && last.node.kind == NodeKind::Directory
                && item.node.kind == NodeKind::Directory
        };
        match out.last_mut() {
            Some(last) if both(last) => last.also.push(item),
            _ => out.push(item),
        }
    }
    out
}
