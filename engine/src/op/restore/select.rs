//! What of a snapshot is wanted: `--include` and `--exclude`.
//!
//! Syntax of gitignore: `*` and `?` stay within a name, `**` crosses names, `[…]` is a set, a
//! trailing `/` means directories only, the last pattern that fits decides, and a leading
//! `!` takes back what an earlier one said. Patterns are compared with absolute paths of the
//! snapshot:
//!
//! | pattern | fits |
//! |---|---|
//! | `*.tmp` — no slash | a name anywhere |
//! | `/var/cache` — leading slash | that absolute path |
//! | `logs/*.txt` — a slash inside | at any depth, as if `**/` stood before it |
//!
//! What fits an include pattern is wanted with all that is below it. What fits an exclude
//! pattern is not, nor is anything below it: it is never entered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// What a path is to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wanted, with what is below it.
    Take,
    /// Not wanted itself; something below may be.
    Look,
    /// Not wanted, nor anything below.
    Skip,
}

/// Include and exclude patterns.
#[derive(Debug)]
pub struct Selection {
    include: Option<Gitignore>,
    exclude: Option<Gitignore>,
}

impl Selection {
    /// A pattern that cannot be meant is an error: ignoring it would restore too much or too little.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        Ok(Self { include: compile(include, "--include")?, exclude: compile(exclude, "--exclude")? })
    }

    /// Is everything wanted?
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// What is wanted of `path` (absolute), whose directory was judged `above`?
    pub fn judge(&self, path: &[u8], is_dir: bool, above: Verdict) -> Verdict {
        let path = Path::new(OsStr::from_bytes(path));
        if self.exclude.as_ref().is_some_and(|x| x.matched(path, is_dir).is_ignore()) {
            return Verdict::Skip;
        }
        let Some(include) = &self.include else { return Verdict::Take };
        let taken = match include.matched(path, is_dir) {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            Match::None => above == Verdict::Take,
        };
        match (taken, is_dir) {
            (true, _) => Verdict::Take,
            (false, true) => Verdict::Look,
            (false, false) => Verdict::Skip,
        }
    }

    /// How what is directly below the top is judged from above.
    pub fn at_top(&self) -> Verdict {
        if self.include.is_none() { Verdict::Take } else { Verdict::Look }
    }
}

fn compile(patterns: &[String], origin: &str) -> Result<Option<Gitignore>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut builder = GitignoreBuilder::new("/");
    for pattern in patterns {
        let refuse = |why: &str| Error::Usage(format!("{origin}: pattern {pattern:?} {why}"));
        let (not, body) = pattern.strip_prefix('!').map_or(("", pattern.as_str()), |body| ("!", body));
        let inner = body.trim_end().trim_end_matches('/');
        if inner.is_empty() {
            return Err(refuse("names nothing"));
        }
        if inner.split('/').any(|name| name == "." || name == "..") {
            return Err(refuse("can never fit: it is compared with absolute paths"));
        }
        // A pattern is not a line of a file: `#` begins no comment here.
        let literal = if not.is_empty() && body.starts_with('#') { "\\" } else { "" };
        let anywhere = inner.contains('/') && !inner.starts_with('/') && !inner.starts_with("**/");
        let line = format!("{not}{}{literal}{body}", if anywhere { "**/" } else { "" });
        builder.add_line(None, &line).map_err(|e| refuse(&e.to_string()))?;
    }
    builder.build().map(Some).map_err(|e| Error::Usage(format!("{origin}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let owned = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Selection::new(&owned(include), &owned(exclude)).unwrap()
    }

    /// Judges as a walk would: from the top, directory by directory.
    fn takes(s: &Selection, path: &str, is_dir: bool) -> bool {
        let mut above = s.at_top();
        let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(i, _)| i);
        for end in ends.chain([path.len()]) {
            let last = end == path.len();
            above = s.judge(&path.as_bytes()[..end], is_dir || !last, above);
            if above == Verdict::Skip {
                return false;
            }
        }
        above == Verdict::Take
    }

    #[test]
    fn the_table_of_patterns() {
        const DIR: bool = true;
        const FILE: bool = false;
        let table: &[(&[&str], &[&str], &str, bool, bool)] = &[
            (&[], &[], "/a/b", FILE, true),
            (&["*.txt"], &[], "/a/b.txt", FILE, true),
            (&["*.txt"], &[], "/a/b.bin", FILE, false),
            (&["b"], &[], "/a/b/c/d", FILE, true),
            (&["b"], &[], "/a", DIR, false),
            (&["b/"], &[], "/a/b", FILE, false),
            (&["b/"], &[], "/a/b", DIR, true),
            (&["/a/b"], &[], "/a/b/c", FILE, true),
            (&["/a/b"], &[], "/x/a/b", FILE, false),
            (&["/b"], &[], "/a/b", FILE, false),
            (&["a/b"], &[], "/x/a/b", FILE, true),
            (&["a/*.t"], &[], "/x/a/y/z.t", FILE, false),
            (&["a/**/z"], &[], "/x/a/y/q/z", FILE, true),
            (&["src", "!src/tmp"], &[], "/src/tmp", DIR, false),
            (&["src", "!src/tmp"], &[], "/src/tmp/x", FILE, false),
            (&["src", "!src/tmp"], &[], "/src/lib/x", FILE, true),
            (&[], &["*.o"], "/a/x.o", FILE, false),
            (&[], &["*.o", "!keep.o"], "/a/keep.o", FILE, true),
            (&[], &["cache/"], "/a/cache/x", FILE, false),
            (&[], &["cache/", "!cache/x"], "/a/cache/x", FILE, false),
            (&["a"], &["a/secret"], "/q/a/secret/x", FILE, false),
            (&["a"], &["a/secret"], "/q/a/open/x", FILE, true),
            (&["#x"], &[], "/a/#x", FILE, true),
            (&["\\!x"], &[], "/a/!x", FILE, true),
        ];
        for (include, exclude, path, is_dir, expected) in table {
            let s = selection(include, exclude);
            assert_eq!(takes(&s, path, *is_dir), *expected, "+{include:?} -{exclude:?} {path}");
        }
        let odd = selection(&["*.tmp"], &[]);
        assert_eq!(odd.judge(b"/a/\xff.tmp", false, Verdict::Look), Verdict::Take);
    }

    #[test]
    fn what_can_never_fit_is_refused() {
        for bad in ["", "/", "!", "./a", "../a", "a/../b", "a/[z-a]b"] {
            for (include, exclude) in [(vec![bad.to_owned()], vec![]), (vec![], vec![bad.to_owned()])] {
                assert!(matches!(Selection::new(&include, &exclude), Err(Error::Usage(_))), "{bad:?}");
            }
        }
    }
}
