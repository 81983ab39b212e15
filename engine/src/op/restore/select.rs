//! What of a snapshot is wanted: `--include` and `--exclude`.
//!
//! Patterns are compared with absolute paths of the snapshot ([`Patterns`]).
//!
//! What fits an include pattern is wanted with all that is below it. What fits an exclude
//! pattern is not, nor is anything below it: it is never entered.

use crate::error::Result;
use crate::source::Patterns;

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
    include: Option<Patterns>,
    exclude: Option<Patterns>,
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
        if self.exclude.as_ref().is_some_and(|x| x.judge(path, is_dir) == Some(true)) {
            return Verdict::Skip;
        }
        let Some(include) = &self.include else { return Verdict::Take };
        let taken = include.judge(path, is_dir).unwrap_or(above == Verdict::Take);
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

fn compile(patterns: &[String], origin: &str) -> Result<Option<Patterns>> {
    (!patterns.is_empty()).then(|| Patterns::new(patterns, false, origin)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

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
