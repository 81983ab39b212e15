//! Where a path really leads, and by which links.
//!
//! Component by component, as the system does it: `..` is taken after a link
//! was followed, so `link/..` is the parent of what the link leads to. The
//! prefix resolved so far is always a real path.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Links followed on one way before it is taken for a circle; the system's own bound.
const MAX_LINKS: usize = 40;

/// The end of a way.
#[derive(Debug)]
pub struct Resolved {
    /// The real path: no link in it. If `failed`, the path that could not be looked at.
    pub path: PathBuf,
    /// Real places of the links that were passed, in order, each once.
    pub links: Vec<PathBuf>,
    /// Why it led nowhere.
    pub failed: Option<io::Error>,
}

/// Follows `path`, which must be absolute.
pub fn resolve(path: &Path) -> Resolved {
    let mut real = PathBuf::from("/");
    let mut links: Vec<PathBuf> = Vec::new();
    let mut hops = 0;
    let mut todo = Vec::new();
    push(&mut todo, path);
    while let Some(name) = todo.pop() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        let looked = next.symlink_metadata().and_then(|meta| {
            if !meta.is_symlink() {
                return Ok(None);
            }
            hops += 1;
            if hops > MAX_LINKS {
                return Err(io::Error::from(rustix::io::Errno::LOOP));
            }
            std::fs::read_link(&next).map(Some)
        });
        match looked {
            Ok(None) => real = next,
            Ok(Some(target)) => {
                if !links.contains(&next) {
                    links.push(next);
                }
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                push(&mut todo, &target);
            }
            Err(e) => {
                let rest = todo.iter().rev().map(OsString::as_os_str);
                let path = std::iter::once(next.as_os_str()).chain(rest).collect();
                return Resolved { path, links, failed: Some(e) };
            }
        }
    }
    Resolved { path: real, links, failed: None }
}

/// Puts the names of `path` on the stack, its first on top.
fn push(todo: &mut Vec<OsString>, path: &Path) {
    let names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    });
    todo.extend(names.rev().map(OsStr::to_owned));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_dots_chains_and_circles() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/deep")).unwrap();
        fs::File::create(top.join("a/x")).unwrap();
        symlink("a/deep", top.join("l")).unwrap();
        symlink(top.join("l"), top.join("chain")).unwrap();
        symlink("circle", top.join("circle")).unwrap();
        let to = |p: &str| resolve(&top.join(p));

        let found = to("chain/../x");
        assert!(found.failed.is_none());
        assert_eq!(found.path, top.join("a/x"), "the parent of where the link leads");
        assert_eq!(found.links, [top.join("chain"), top.join("l")]);
        assert_eq!(to("./a/../l/.").path, top.join("a/deep"));
        assert_eq!(resolve(Path::new("/../..")).path, Path::new("/"));
        let missing = to("l/none/more");
        assert_eq!(missing.failed.unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(missing.path, top.join("a/deep/none/more"));
        assert_eq!(to("circle").failed.unwrap().raw_os_error(), Some(libc::ELOOP));
    }
}
