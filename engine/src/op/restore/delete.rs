//! `--delete`: what stands in a restored directory and the snapshot does not have is removed.
//!
//! Only what the patterns select: what is excluded stays, and with it the directories on the way to it. Never through a
//! link, never where something is mounted. Nothing goes from a directory of which the snapshot may not know all that was
//! there (names were lost, it could not be read, a problem was recorded in it), nor from one in which something could
//! not be restored. Logs of a database that stands there stay, as do those that were moved out of its way.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::vec::IntoIter;

use rustix::fs::{AtFlags, FileType, unlinkat};
use rustix::io::Errno;

use super::aside::{database_of, is_moved_aside};
use super::dir::Dir;
use super::plan::{Kept, Origin};
use super::run::{Trouble, cannot};
use super::select::{Selection, Verdict};
use super::{door, links};
use crate::error::{ProblemKind, printable};
use crate::format::snapshot::SnapshotV1;
use crate::format::wire::Bytes;
use crate::repo::lookup::join;

/// Where a snapshot may lack what was there when it was taken.
#[derive(Debug, Default)]
pub struct Unsure {
    everywhere: bool,
    /// Directories, as they are printed.
    paths: HashSet<String>,
}

impl Unsure {
    /// By the problems that it records. Those that come with a node, whole or not, are none here.
    pub fn of(snapshot: &SnapshotV1) -> Self {
        let harmless = [
            ProblemKind::Changed,
            ProblemKind::LiveDatabase,
            ProblemKind::OutsideLink,
            ProblemKind::Metadata,
            ProblemKind::Empty,
        ];
        let harmless = harmless.map(|kind| kind as u8);
        let unnamed = snapshot.problem_count > snapshot.problems.len() as u64;
        let mut paths = HashSet::new();
        for problem in snapshot.problems.iter().filter(|problem| !harmless.contains(&problem.kind)) {
            let above = problem.path.iter().rposition(|b| *b == b'/').unwrap_or(0);
            paths.insert(printable(&problem.path).to_string());
            paths.insert(printable(if above == 0 { b"/" } else { &problem.path[..above] }).to_string());
        }
        Self { everywhere: unnamed || (snapshot.partial && snapshot.problems.is_empty()), paths }
    }

    /// May something be missing in this directory?
    fn about(&self, path: &[u8]) -> bool {
        let path = if path.is_empty() { b"/" } else { path };
        self.everywhere || self.paths.contains(&*printable(path))
    }

    /// Does it know all that was in all of these?
    pub fn knows(&self, kept: &Kept) -> bool {
        kept.whole && !kept.origins.iter().any(|origin| self.about(&origin.path))
    }
}

/// What becomes of what is found.
pub trait Fate {
    /// It goes, or would go; the path is below the target.
    fn gone(&mut self, below: &[u8]);
    /// It stays, for this reason.
    fn stays(&mut self, below: &[u8], why: &str);
    /// It could not be removed.
    fn failed(&mut self, below: &[u8], trouble: Trouble) -> Result<(), Trouble>;
    /// Must the run end?
    fn check(&self) -> Result<(), Trouble>;
    /// Is it removed, or only said?
    fn removes(&self) -> bool;
}

/// One directory on the way down.
struct Frame {
    dir: Option<File>,
    name: Vec<u8>,
    names: IntoIter<Vec<u8>>,
    /// What it would be in the snapshot.
    origins: Vec<Arc<Origin>>,
    below: Vec<u8>,
    gone: BTreeSet<Vec<u8>>,
    stays: bool,
}

/// Takes all that is not `kept` away from the directory `dir`, which is at `below` in the target. `sure`: the
/// snapshot knows all that was there, and all of it was restored; else it is only said that something stays.
pub fn sweep(
    selection: &Selection,
    dir: &File,
    below: &[u8],
    kept: &Kept,
    sure: bool,
    fate: &mut dyn Fate,
) -> Result<(), Trouble> {
    let names = door::names(dir).map_err(|e| cannot("list the directory", e))?;
    let identity = |name: &[u8]| door::look(dir, name).ok().flatten().map(|stat| links::identity(&stat));
    let strange = strangers(names, &kept.names, &identity);
    clear(selection, dir, below, strange, kept.origins.clone(), sure, fate)
}

/// What of these is not kept. A file system that takes several spellings for one name (exFAT, SMB, macOS) may list
/// what is kept under another one: it is known by its inode, and stays.
fn strangers(
    names: Vec<Vec<u8>>,
    kept: &BTreeSet<Bytes>,
    identity: &dyn Fn(&[u8]) -> Option<(u64, u64)>,
) -> Vec<Vec<u8>> {
    let listed: HashSet<Vec<u8>> = names.iter().filter(|name| kept.contains(&name[..])).cloned().collect();
    let mut strange: Vec<Vec<u8>> = names.into_iter().filter(|name| !kept.contains(&name[..])).collect();
    if !strange.is_empty() {
        let unlisted = kept.iter().filter(|name| !listed.contains(&name[..]));
        let respelled: HashSet<_> = unlisted.filter_map(|name| identity(name)).collect();
        strange.retain(|name| {
            respelled.is_empty() || identity(name).is_none_or(|found| !respelled.contains(&found))
        });
    }
    strange
}

/// Takes a directory away that stands where a file must be, with all in it that the patterns select.
pub fn makes_way(dir: &Dir<'_>, name: &[u8]) -> bool {
    let Some(kept) = dir.kept.as_ref().filter(|_| dir.may_clear()) else { return false };
    let mut fate = Removing(dir);
    let cleared = clear(
        dir.run.selection,
        &dir.file,
        dir.below(),
        vec![name.to_vec()],
        kept.origins.clone(),
        true,
        &mut fate,
    );
    cleared.is_ok() && matches!(door::look(&dir.file, name), Ok(None))
}

/// The directory is complete: what is too much goes.
pub fn finish(dir: &Dir<'_>) {
    if let Some(kept) = &dir.kept {
        let mut fate = Removing(dir);
        if let Err(trouble) = sweep(
            dir.run.selection,
            &dir.file,
            dir.below(),
            kept,
            dir.may_clear() && !dir.is_troubled(),
            &mut fate,
        ) {
            dir.run.settle(&dir.path(), trouble);
        }
    }
}

struct Removing<'d, 'r>(&'d Dir<'r>);

impl Fate for Removing<'_, '_> {
    fn gone(&mut self, below: &[u8]) {
        self.0.run.deleted(below);
    }

    fn stays(&mut self, below: &[u8], why: &str) {
        self.0.run.progress.note(&format!("{} was not removed: {why}", self.0.run.shown(below)));
    }

    fn failed(&mut self, below: &[u8], trouble: Trouble) -> Result<(), Trouble> {
        match trouble {
            Trouble::Say(kind, message) => {
                self.0.run.problem(kind, self.0.run.shown(below).as_bytes(), message);
                Ok(())
            }
            trouble => Err(trouble),
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        self.0.run.check()
    }

    fn removes(&self) -> bool {
        true
    }
}

fn clear(
    selection: &Selection,
    dir: &File,
    below: &[u8],
    names: Vec<Vec<u8>>,
    origins: Vec<Arc<Origin>>,
    sure: bool,
    fate: &mut dyn Fate,
) -> Result<(), Trouble> {
    let mut frames = vec![Frame {
        dir: None,
        name: Vec::new(),
        names: names.into_iter(),
        origins,
        below: below.to_vec(),
        gone: BTreeSet::new(),
        stays: false,
    }];
    while let Some(frame) = frames.last_mut() {
        fate.check()?;
        let here = frame.dir.as_ref().unwrap_or(dir);
        let Some(name) = frame.names.next() else {
            let done = frames.pop();
            if let (Some(done), Some(above)) = (done, frames.last_mut()) {
                let wanted = done.origins.iter().all(|origin| origin.verdict == Verdict::Take);
                if done.stays || !wanted {
                    above.stays = true;
                } else {
                    let here = above.dir.as_ref().unwrap_or(dir);
                    remove(
                        here,
                        &done.name,
                        AtFlags::REMOVEDIR,
                        &done.below,
                        &mut above.gone,
                        &mut above.stays,
                        fate,
                    )?;
                }
            }
            continue;
        };
        let path = if frame.below.is_empty() { name.clone() } else { join(&frame.below, &name) };
        let stat = match door::look(here, &name) {
            Ok(Some(stat)) => stat,
            Ok(None) => continue,
            Err(e) => {
                frame.stays = true;
                fate.failed(&path, cannot("look at what stands there", e))?;
                continue;
            }
        };
        let is_dir = door::type_of(&stat) == FileType::Directory;
        let judge = |origin: &Arc<Origin>| {
            let path = join(&origin.path, &name);
            let verdict = match origin.verdict {
                Verdict::Skip => Verdict::Skip,
                above => selection.judge(&path, is_dir, above),
            };
            Arc::new(Origin { path, verdict })
        };
        let origins: Vec<_> = frame.origins.iter().map(judge).collect();
        if origins.is_empty() || origins.iter().any(|origin| origin.verdict == Verdict::Skip) {
            frame.stays = true;
            continue;
        }
        if is_moved_aside(&name) || belongs_to_what_stays(here, &name, &frame.gone) {
            frame.stays = true;
            continue;
        }
        if !sure {
            let why = "the snapshot may not know all that belongs there, or not all of it was restored";
            fate.stays(&path, why);
            return Ok(());
        }
        if !is_dir {
            remove(here, &name, AtFlags::empty(), &path, &mut frame.gone, &mut frame.stays, fate)?;
            continue;
        }
        match door::open_dir_here(here, &name).and_then(|dir| Ok((door::names(&dir)?, dir))) {
            Ok((names, dir)) => frames.push(Frame {
                dir: Some(dir),
                name,
                names: names.into_iter(),
                origins,
                below: path,
                gone: BTreeSet::new(),
                stays: false,
            }),
            Err(Errno::XDEV) => {
                frame.stays = true;
                fate.stays(&path, "something is mounted there");
            }
            Err(e) => {
                frame.stays = true;
                fate.failed(&path, cannot("open the directory, to remove it", e))?;
            }
        }
    }
    Ok(())
}

fn remove(
    dir: &File,
    name: &[u8],
    flags: AtFlags,
    path: &[u8],
    gone: &mut BTreeSet<Vec<u8>>,
    stays: &mut bool,
    fate: &mut dyn Fate,
) -> Result<(), Trouble> {
    let done = if fate.removes() { unlinkat(dir, name, flags) } else { Ok(()) };
    match done {
        Ok(()) => {
            fate.gone(path);
            gone.insert(name.to_vec());
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(e) => {
            *stays = true;
            fate.failed(path, cannot("remove it", e))
        }
    }
}

/// Is it a log of a database that stands beside it? What was restored has none of another's; so it is that of one
/// which was left as it was, or of somebody who has opened it since.
fn belongs_to_what_stays(dir: &File, name: &[u8], gone: &BTreeSet<Vec<u8>>) -> bool {
    database_of(name)
        .is_some_and(|database| !gone.contains(database) && matches!(door::look(dir, database), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_under_another_spelling_stays() {
        let kept: BTreeSet<Bytes> = [&b"Readme"[..], b"data", b"gone"].into_iter().map(Bytes::from).collect();
        let listed = || [&b"README"[..], b"data", b"extra"].map(<[u8]>::to_vec).to_vec();
        // Case does not matter there.
        let folding = |name: &[u8]| match name.to_ascii_lowercase().as_slice() {
            b"readme" => Some((1, 1)),
            b"data" => Some((1, 2)),
            b"extra" => Some((1, 3)),
            _ => None,
        };
        assert_eq!(strangers(listed(), &kept, &folding), [b"extra"]);
        // Here it does: another name, even of the same file, is another name.
        let exact = |name: &[u8]| match name {
            b"README" | b"data" => Some((1, 2)),
            b"extra" => Some((1, 3)),
            _ => None,
        };
        assert_eq!(strangers(listed(), &kept, &exact), [&b"README"[..], b"extra"]);
    }
}
