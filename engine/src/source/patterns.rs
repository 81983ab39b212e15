//! Patterns of names, in the syntax of gitignore, compared with absolute paths.
//!
//! `*` and `?` stay within a name, `**` crosses names, `[…]` is a set, a trailing `/` means directories only, the
//! last pattern that fits decides, and a leading `!` takes back what an earlier one said.
//!
//! | pattern | fits |
//! |---|---|
//! | `*.tmp` — no slash | a name anywhere |
//! | `/var/cache` — leading slash | that absolute path |
//! | `logs/*.txt` — a slash inside | at any depth, as if `**/` stood before it |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Patterns, compiled.
#[derive(Debug)]
pub struct Patterns(Gitignore);

impl Patterns {
    /// A pattern that cannot be meant is an error; `origin` says in it where the pattern comes from.
    pub fn new(patterns: &[String], ignore_case: bool, origin: &str) -> Result<Self> {
        let refused = |e: &dyn std::fmt::Display| Error::Usage(format!("{origin}: {e}"));
        let mut builder = GitignoreBuilder::new("/");
        builder.case_insensitive(ignore_case).map_err(|e| refused(&e))?;
        patterns.iter().try_for_each(|pattern| add(&mut builder, &literal(pattern), origin))?;
        builder.build().map(Self).map_err(|e| refused(&e))
    }

    /// What the last pattern that fits `path` (absolute, raw bytes) says; `None` if none does.
    pub fn judge(&self, path: &[u8], is_dir: bool) -> Option<bool> {
        match self.0.matched(Path::new(OsStr::from_bytes(path)), is_dir) {
            ignore::Match::Ignore(_) => Some(true),
            ignore::Match::Whitelist(_) => Some(false),
            ignore::Match::None => None,
        }
    }
}

/// A pattern from the command line has no comments.
pub(super) fn literal(pattern: &str) -> String {
    if pattern.starts_with('#') { format!("\\{pattern}") } else { pattern.to_owned() }
}

/// Adds one pattern, anchored as the module says.
pub(super) fn add(builder: &mut GitignoreBuilder, pattern: &str, origin: &str) -> Result<()> {
    let refuse = |why: &str| Error::Usage(format!("{origin}: pattern {pattern:?} {why}"));
    let (not, body) = pattern.strip_prefix('!').map_or(("", pattern), |body| ("!", body));
    let inner = body.trim_end().trim_end_matches('/');
    if inner.is_empty() {
        return Err(refuse("names nothing"));
    }
    if inner.split('/').any(|name| name == "." || name == "..") {
        return Err(refuse("can never fit: it is compared with absolute paths"));
    }
    let anywhere = inner.contains('/') && !inner.starts_with('/') && !inner.starts_with("**/");
    let line = format!("{not}{}{body}", if anywhere { "**/" } else { "" });
    builder.add_line(None, &line).map_err(|e| refuse(&e.to_string()))?;
    Ok(())
}
